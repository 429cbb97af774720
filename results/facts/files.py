"""Where the studies of a root are, and the files that say what a study is."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from results.errors import RootUnreadable, StudyNotFound, StudyUnreadable
from results.places import Place, each, reason, remedy

_AMENDMENT = re.compile(r"study(?:-([2-9]|[1-9][0-9]+))?\.yaml")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def find_study(root: Place, name: str) -> Place:
    """The folder of a study.

    Args:
        root: Folder of all studies.
        name: Name of the study.

    Returns:
        Its folder.

    Raises:
        RootUnreadable: The root is no folder, or cannot be read.
        StudyNotFound: There is none of that name; the message lists those there are.
    """
    names = [path.name for path in study_dirs(root)]
    if name in names:
        return root / name
    if not names:
        there = f"{root} holds no study yet. Submit one, or give another --root"
    else:
        near = difflib.get_close_matches(name, names, n=1)
        there = f"{root} holds: {', '.join(names)}." + (f" Did you mean {near[0]}?" if near else "")
    raise StudyNotFound(f"a study must exist to be asked about, but there is no study {name!r}; {there}")


def study_dirs(root: Place) -> list[Place]:
    """Folders of all studies of a root, by name; empty when the root does not exist.

    Args:
        root: Folder of all studies.

    Returns:
        Folders with a ``study.yaml``, and those of which nobody can say because they cannot be read.

    Raises:
        RootUnreadable: The root is no folder, or cannot be read.
    """
    try:
        folders: list[Place] = sorted(root.iterdir())  # glob would take an unreadable folder for an empty one
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RootUnreadable(
            f"the root must be a folder that can be read, got {root} ({reason(error)}). {remedy(root)}"
        ) from error
    return [folder for folder, may_be in zip(folders, each(_may_be_study, folders), strict=True) if may_be]


def amendments(study_dir: Place) -> list[tuple[int, Place]]:
    """The study files of a study: what it began with, and what ``resume --trials`` made of it since.

    Args:
        study_dir: Folder of the study.

    Returns:
        Number and file, sorted by number: ``study.yaml`` as 1, then every ``study-N.yaml`` with N from 2. Files of
        other names, such as ``study-old.yaml``, are none of them.

    Raises:
        StudyNotFound: There is no ``study.yaml`` in the folder.
        StudyUnreadable: The folder cannot be read.
    """
    try:
        names = {path.name for path in study_dir.iterdir()}  # glob would take an unreadable folder for an empty one
    except (FileNotFoundError, NotADirectoryError):
        names = set()
    except OSError as error:
        raise _unreadable(study_dir, error) from error
    if "study.yaml" not in names:
        raise StudyNotFound(
            f"a study's folder must hold study.yaml, but {study_dir} does not. Check the name of the study and --root"
        )
    return sorted((int(m[1] or 1), study_dir / m[0]) for m in map(_AMENDMENT.fullmatch, names) if m)


def read_document(path: Place) -> Mapping[str, Any]:  # Any: YAML, checked by whoever takes a value
    """A study file as it is written.

    Raises:
        StudyUnreadable: It cannot be read, or is no YAML mapping.
    """
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except OSError as error:
        raise _unreadable(path, error) from error
    except (yaml.YAMLError, ValueError) as error:
        raise malformed(path, error) from error
    if not isinstance(document, Mapping):
        raise malformed(path, TypeError(f"it holds a {type(document).__name__}"))
    return document


def flat(value: Any, prefix: str = "") -> Iterator[tuple[str, object]]:  # Any: YAML
    """Every value that is no mapping, or an empty one, by dotted key."""
    if isinstance(value, Mapping) and (value or not prefix):
        for key, inner in value.items():
            yield from flat(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def malformed(path: Place, error: Exception) -> StudyUnreadable:
    """What is said of a study file that thermotune did not write so."""
    return StudyUnreadable(
        f"a resolved study must be a YAML mapping as thermotune writes it, but {path} is not: {error}. Restore the file"
    )


def _may_be_study(folder: Place) -> bool:
    try:
        return (folder / "study.yaml").is_file()
    except PermissionError:
        return True


def _unreadable(path: Place, error: OSError) -> StudyUnreadable:
    return StudyUnreadable(
        f"a study must be readable, but {path} is not ({reason(error)}). Give yourself the right to read it, or "
        "choose another root with --root or THERMOTUNE_ROOT"
    )
