"""Training the teachers of a study by themselves, in this process and without Ray."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from results import formats
from search.errors import ThermotuneError, UsageError
from search.folder import SHELF
from search.study import Study
from trainables.data import prepare
from trainables.recipe import Teacher
from trainables.session import TrialConfig, TrialSession
from trainables.teachers import Shelf, StoredTeacher, address_of, in_order

REPORT_EVERY_S = 2.0
"""Epochs shorter than this are reported together; seconds."""


def train_teachers(study: Study, names: Sequence[str], root: Path) -> Iterator[str]:
    """Trains teachers that are not on the shelf yet, each after those that it learns from; goes on after a kill.

    Args:
        study: Describes them.
        names: Which; none means all that are described.
        root: Folder of all studies.

    Yields:
        Lines for the user.

    Raises:
        UsageError: The study describes no teacher, or none of such a name.
        ThermotuneError: One diverged.
    """
    if not study.teachers:
        raise UsageError(f"a study must describe teachers to train some, and {study.name} has no section teachers")
    try:
        ordered = in_order(names or study.teachers, study.teachers)
    except ValueError as error:
        raise UsageError(str(error)) from error
    shelf = Shelf(root / SHELF)
    for name in ordered:
        teacher = study.teachers[name]
        address = address_of(name, study.teachers, prepare(teacher.recipe.dataset).digest)
        if shelf.get(address) is not None:
            yield f"{name} is trained already: {address}"
            continue
        yield f"{name} ({teacher.recipe.model} on {teacher.recipe.dataset}) becomes {address}"
        yield from _train(name, teacher, study, shelf, address)
        yield f"{name} is on the shelf: {shelf.root / address}"


def _train(name: str, teacher: Teacher, study: Study, shelf: Shelf, address: str) -> Iterator[str]:
    unfinished = shelf.root / f"{address}.training"
    session = TrialSession(
        TrialConfig(
            trial=name,
            recipe=teacher.recipe.model_dump(mode="json"),
            seeds=(teacher.seed,),
            report_every_s=REPORT_EVERY_S,
            checkpoints=str(unfinished),
            max_loss=study.stopping.max_loss,
            threads=max(1, int(study.resources.cpus)),
            device="cuda" if study.resources.gpus > 0 else "cpu",
            teachers={n: study.teachers[n].model_dump(mode="json") for n in in_order([name], study.teachers)},
            shelf=str(shelf.root),
            until=teacher.epoch,
            publish=name,
        )
    )
    last = teacher.epoch or teacher.recipe.epochs
    while True:
        report = session.advance()
        if report["epochs"]:
            row = report["epochs"][-1]
            shown = (f"{key} {formats.metric(key, row['metrics'][key])}" for key in ("train/loss", "val/accuracy"))
            yield f"  epoch {row['epoch']}/{last}: {', '.join(shown)}"
        if report["divergence"] is not None:
            raise ThermotuneError(f"teacher {name} diverged: {report['divergence']['reason']}. Lower its learning rate")
        if report["finished"]:
            _remove(unfinished)
            return


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def find_teachers(root: Path, wanted: str) -> list[StoredTeacher]:
    """The teachers on the shelf with this name, or whose address begins so; the newest first.

    Raises:
        UsageError: There is none.
    """
    all_of_them = Shelf(root / SHELF).all()
    found = [teacher for teacher in all_of_them if teacher.name == wanted or teacher.address.startswith(wanted)]
    if not found:
        there = ", ".join(sorted({teacher.name for teacher in all_of_them})) or "none yet"
        raise UsageError(f"a teacher must be on the shelf of {root}, got {wanted!r}; there: {there}")
    return found
