"""The folder of a study: making it, and reading what it is."""

from __future__ import annotations

import json

import yaml

from results.environment import collect
from results.facts import amendments
from results.lock import StudyLock
from results.places import Place, reason, remedy, write_whole
from search.errors import ThermotuneError, UsageError
from search.study import SHELF, Study
from trainables.data import PackedDataset, prepare
from trainables.teachers import Shelf, address_of

FILE = "study.yaml"


def shelf_of(folder: Place) -> Place:
    """Where a study's trained teachers are kept: beside it, for all studies of the root."""
    return folder.parent / SHELF


def trained_teachers(study: Study, folder: Place) -> dict[str, str]:
    """Which of the teachers that a study needs are on the shelf, with their addresses."""
    found = {}
    for name in study.needed_teachers:
        address = address_of(name, study.teachers, prepare(study.recipe.dataset).digest)
        if Shelf(shelf_of(folder)).get(address) is not None:
            found[name] = address
    return found


def create(study: Study, root: Place, data: PackedDataset) -> Place:
    """Makes the folder of a new study and writes its ``study.yaml`` and ``environment.json``.

    Args:
        study: With all its defaults.
        root: Of all studies.
        data: What it is trained on; resuming it on other data will be refused.

    Returns:
        The folder.

    Raises:
        UsageError: The root cannot be written, or the study exists.
        Held: Another process makes a study of this name at this moment.
    """
    folder = root / study.name
    facts = {
        "name": data.name,
        "digest": data.digest,
        "source": data.source,
        "sizes": dict(data.sizes),
        "classes": data.num_classes,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _must_be_new(folder)
        with StudyLock(folder):  # of two submits at once, one wins
            _must_be_new(folder)
            write_whole(folder / "environment.json", json.dumps({**collect(), "data": facts}, indent=2) + "\n")
            write_whole(folder / FILE, study.to_yaml())  # the last: from now on it is a study
    except OSError as error:
        raise UsageError(
            f"the root must be a folder that can be written, got {root} ({reason(error)}). {remedy(root)}"
        ) from error
    return folder


def _must_be_new(folder: Place) -> None:
    if (folder / FILE).exists():
        raise UsageError(
            f"a study's name must be new in its root, and {folder.name} exists in {folder.parent}. "
            f"Continue it with resume {folder.name}, or choose another name with --set name=NEW"
        )


def open_study(folder: Place) -> tuple[int, Study]:
    """The study of a folder as its newest amendment has it, with the number of that; 1 is ``study.yaml`` itself.

    Raises:
        ThermotuneError: The file is damaged.
    """
    number, path = amendments(folder)[-1]
    return number, _read(path)


def versions(folder: Place) -> dict[int, Study]:
    """A study as it began, and as every amendment made it, by number.

    Raises:
        ThermotuneError: A file is damaged.
    """
    return {number: _read(path) for number, path in amendments(folder)}


def _read(path: Place) -> Study:
    try:
        return Study.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ThermotuneError(f"{path} must be a study as thermotune writes it, but it is not: {error}") from error
