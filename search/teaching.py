"""Teachers by themselves: training them in this process and without Ray, finding them, and what they say."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from results import formats
from results.places import Place, place, reason, remedy
from search.errors import ThermotuneError, UsageError
from search.study import SHELF, Study
from trainables.content import locked
from trainables.data import prepare
from trainables.recipe import Teacher
from trainables.session import TrialConfig, TrialSession
from trainables.teachers import Shelf, StoredTeacher, address_of, in_order

SHORTEST_PREFIX = 4
"""An address may be cut to so many digits."""

REPORT_EVERY_S = 2.0
"""Epochs shorter than this are reported together; seconds."""


def train_teachers(study: Study, names: Sequence[str], root: Place) -> Iterator[str]:
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
        try:
            shelf.root.mkdir(parents=True, exist_ok=True)
            with locked(shelf.root / f".{address}.lock"):  # another process of this machine may train it
                if shelf.get(address) is None:
                    yield from _train(name, teacher, study, shelf, address)
        except OSError as error:
            raise UsageError(
                f"the shelf must be a folder that can be written, got {shelf.origin} ({reason(error)}). {remedy(root)}"
            ) from error
        yield f"{name} is on the shelf: {shelf.origin / address}"


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
            threads=study.resources.threads,
            device=study.resources.device,
            teachers={n: study.teachers[n].model_dump(mode="json") for n in in_order([name], study.teachers)},
            shelf=str(shelf.origin),
            until=teacher.epoch,
            publish=name,
        ),
        place,
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
            shutil.rmtree(unfinished, ignore_errors=True)
            return


def find_teachers(root: Place, wanted: str) -> list[StoredTeacher]:
    """The teachers on the shelf with this name, else those whose address begins so; the newest first.

    Raises:
        UsageError: There is none.
    """
    all_of_them = Shelf(root / SHELF).all()
    found = [teacher for teacher in all_of_them if teacher.name == wanted]
    if not found and len(wanted) >= SHORTEST_PREFIX:
        found = [teacher for teacher in all_of_them if teacher.address.startswith(wanted)]
    if not found:
        there = ", ".join(sorted({teacher.name for teacher in all_of_them})) or "none yet"
        raise UsageError(f"a teacher must be on the shelf of {root}, got {wanted!r}; there: {there}")
    return found


def statistics(
    teacher: StoredTeacher, root: Place, tau1: float, gap: float, per_sample: Path | None
) -> dict[str, float]:
    """What a teacher tells a student at tau1 and tau2 = tau1 - gap, over the training split (methods.md C.2).

    Args:
        teacher: From the shelf.
        root: Whose shelf it is.
        tau1: Temperature of the true class.
        gap: tau1 - tau2.
        per_sample: A parquet file to write, with a row for every training sample in the order of the pack; or None.

    Returns:
        The means, by the names in ``results.schema.METRICS``.

    Raises:
        UsageError: A temperature is not > 0, the file cannot be written, the data set is another one by now, or the
            files of the teacher are damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch

    from trainables.diagnostics import mean_teacher_statistics, teacher_statistics
    from trainables.engine.feed import feed
    from trainables.engine.teaching import TeacherLogits

    tau2 = tau1 - gap
    if not (0 < tau1 < math.inf and 0 < tau2 < math.inf):
        raise UsageError(f"tau1 and tau2 = tau1 - gap must be > 0 and finite, got {tau1:g} and {tau2:g}")
    data = feed(teacher.recipe, torch.device("cpu"))
    if data.packed.digest != teacher.data:
        raise UsageError(
            f"the data set {teacher.recipe.dataset} must be the one that {teacher.name} learnt, and is not"
        )
    shelf = Shelf(root / SHELF)
    stored = shelf.get(teacher.address)
    if stored is None:
        raise UsageError(f"the files of {teacher.name} in {root} must be sound, and are not. Train it again")
    logits = TeacherLogits(stored, shelf, data, augmented=False).over(data)
    labels = data.targets("train")
    if per_sample is not None:
        columns = vars(teacher_statistics(logits, labels, tau1=tau1, tau2=tau2))
        table = pa.table({"target": labels.numpy(), **{name: column.numpy() for name, column in columns.items()}})
        try:
            pq.write_table(table, per_sample)
        except OSError as error:
            raise UsageError(
                f"--per-sample must name a file that can be written, got {per_sample} ({error})"
            ) from error
    return mean_teacher_statistics(logits, labels, tau1=tau1, tau2=tau2)
