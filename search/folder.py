"""The folder of a study: making it, and reading what it is."""

from __future__ import annotations

import json
import os
from pathlib import Path

import yaml

from results.environment import collect
from results.facts import amendments
from search.errors import ThermotuneError, UsageError
from search.study import SHELF, Study
from trainables.data import PackedDataset, prepare
from trainables.teachers import Shelf, address_of


def shelf_of(folder: Path) -> Path:
    """Where a study's trained teachers are kept: beside it, for all studies of the root."""
    return folder.parent / SHELF


def trained_teachers(study: Study, folder: Path) -> dict[str, str]:
    """Which of the teachers that a study needs are on the shelf, with their addresses."""
    found = {}
    for name in study.needed_teachers:
        address = address_of(name, study.teachers, prepare(study.recipe.dataset).digest)
        if Shelf(shelf_of(folder)).get(address) is not None:
            found[name] = address
    return found


def create(study: Study, root: Path, data: PackedDataset) -> Path:
    """Makes the folder of a new study and writes its ``study.yaml`` and ``environment.json``.

    Args:
        study: With all its defaults.
        root: Of all studies.
        data: What it is trained on; resuming it on other data will be refused.

    Returns:
        The folder.

    Raises:
        UsageError: The root cannot be written, or the study exists.
    """
    folder = root / study.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".study.yaml-{study.id}"
        draft.write_text(study.to_yaml(), encoding="utf-8")
        try:
            os.link(draft, folder / "study.yaml")  # of two submits at once, one wins
        finally:
            draft.unlink()
        trained_on: dict[str, object] = {
            "name": data.name,
            "digest": data.digest,
            "source": data.source,
            "sizes": dict(data.sizes),
        }
        trained_on["classes"] = data.num_classes
        write_whole(folder / "environment.json", json.dumps({**collect(), "data": trained_on}, indent=2) + "\n")
    except FileExistsError as error:
        raise UsageError(
            f"a study's name must be new in its root, and {study.name} exists in {root}. "
            f"Continue it with resume {study.name}, or choose another name with --set name=NEW"
        ) from error
    except OSError as error:
        raise UsageError(
            f"the root must be a folder that can be written, got {root} ({error.strerror or error}). "
            "Choose another with --root or THERMOTUNE_ROOT"
        ) from error
    return folder


def open_study(folder: Path) -> tuple[int, Study]:
    """The study of a folder as its newest amendment has it, with the number of that; 1 is ``study.yaml`` itself.

    Raises:
        ThermotuneError: The file is damaged.
    """
    number, path = amendments(folder)[-1]
    return number, _read(path)


def versions(folder: Path) -> dict[int, Study]:
    """A study as it began, and as every amendment made it, by number.

    Raises:
        ThermotuneError: A file is damaged.
    """
    return {number: _read(path) for number, path in amendments(folder)}


def _read(path: Path) -> Study:
    try:
        return Study.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ThermotuneError(f"{path} must be a study as thermotune writes it, but it is not: {error}") from error


def write_whole(path: Path, text: str) -> None:
    """Writes a file so that a reader, or a kill, finds all of it or nothing."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
