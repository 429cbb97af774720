"""This machine: everything a study needs from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from results.places import Place, RemotePath
from search.doctor import hardware, root, software, study
from search.doctor.check import Check, Look, explained, in_time
from search.errors import StudyFileError, UsageError
from search.study import Study
from trainables.data import data_root


def look_here(place: Place, found: Study | None) -> list[Check]:
    """Looks at everything on this machine, where a study would run in a Ray of its own.

    Args:
        place: Folder of all studies.
        found: The study whose needs are looked at; None for no study in particular.
    """
    wants_gpus = found is not None and found.resources.gpus > 0
    return _all(
        {
            "packages": software.installed,
            "memory": hardware.compute,
            "GPU": partial(hardware.gpus, needed=wants_gpus),
            "ports": hardware.sockets,
            "disk": partial(hardware.disks, {"data sets": data_root(), "temporary files": hardware.ray_folder()}),
            **_looks(place, found),
        }
    )


def look_at_driver(place: Place, found: Study | None) -> list[Check]:
    """Looks at what only a study's driver needs, on the machine of a cluster where it would run; as ``look_here``."""
    return _all(_looks(place, found))


def _looks(place: Place, found: Study | None) -> dict[str, Look]:
    from search.doctor.tracking import tracker

    room = {} if isinstance(place, RemotePath) else {"room": partial(hardware.disks, {"studies": place})}
    return {
        "root": partial(root.usable, place),
        **room,
        "MLflow": partial(tracker, place),
        "data": study.known_data if found is None else partial(_data, found),
    }


def _all(looks: Mapping[str, Look]) -> list[Check]:
    return [check for name, look in looks.items() for check in in_time(name, look)]


def read_study(file: str | None, *, here: bool = True) -> tuple[list[Check], Study | None]:
    """The checks of a study file, and the study where they are ok; nothing where no file is named.

    Args:
        file: A study file, or the name of a packaged study.
        here: Whether trials would run on this machine, and must fit there.
    """
    from search.study_file import load

    if file is None:
        return [], None
    try:
        found = load(file, here=here).study
    except StudyFileError as error:
        return list(study.mistakes(error.mistakes)), None
    except UsageError as error:
        return [explained("study", error)], None
    return [study.valid(found)], found


def _data(found: Study) -> Iterator[Check]:
    yield study.data(found.recipe.dataset)
    yield from study.fits_data(found)
