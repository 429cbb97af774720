"""The timed probe: what trials of a study cost on this machine, measured with as many at once as there are slots.

Every slot gets a process that trains real recipes of the study, all of them the same one at the same time: trials
that share cores, memory or a GPU slow each other, and one alone would promise too much. Where an epoch is too long,
some of its steps are timed.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Timer
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from results.formats import count
from search.errors import ThermotuneError, UsageError
from search.study import SHELF, Study
from spaces import Scalar
from trainables.data import PackedDataset, prepare
from trainables.recipe import Recipe, Teacher
from trainables.session import TrialConfig, TrialSession
from trainables.teachers import in_order
from trainables.values import with_values

if TYPE_CHECKING:
    from results.query import EpochMean
    from results.query import Trial as RecordedTrial

SECONDS = 40.0
"""All kinds of trials together are timed for about so long, unless a few steps alone take longer."""
SECONDS_OF_A_KIND = 5.0
"""No kind is timed for longer, likewise."""
FEW_STEPS = 8
"""Steps of the first epochs, which warm up and tell how much of a whole one there is time for."""
LONGEST_S = 900.0
"""A probe that takes longer is given up."""

_EVALUATION = 1 / 3
"""Cost of evaluating a sample, as a share of that of training on it: there are no passes back."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a trial of one kind takes while all slots work.

    Attributes:
        epoch_s: An epoch of one lane, evaluation included.
        start_s: Before the first epoch of a lane, in a process that has trained others, and what that takes longer.
        save_s: Writing a checkpoint.
        metrics: Values on record for an epoch of a lane.
        checkpoint_bytes: Size of a checkpoint of a search trial; None if not known.
        basis: How the epoch was measured, in words.
    """

    epoch_s: float
    start_s: float
    save_s: float
    metrics: int
    checkpoint_bytes: int | None
    basis: str


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is known of the costs of a study.

    Attributes:
        costs: By name of the arm, or of the teacher.
        source: Where they come from, in words.
        slots: Trials that shared the machine meanwhile.
        took_s: How long it took to find out.
        import_s: Until a process has loaded what a trial needs, with all slots at it; None if not known.
        memory_bytes: Most memory that a process took; None if not known.
        gpu_memory_bytes: Most memory of a GPU that a process held; None without a GPU, and if not known.
        gpu_total_bytes: All memory of such a GPU, likewise.
    """

    costs: Mapping[str, Cost]
    source: str
    slots: int
    took_s: float = 0.0
    import_s: float | None = None
    memory_bytes: int | None = None
    gpu_memory_bytes: int | None = None
    gpu_total_bytes: int | None = None


def kind_of(recipe: Recipe) -> str:
    """What of a recipe decides how long its epochs take: not how many there are, nor the values of real numbers.

    Whether a number is zero counts, since much is left out then.
    """

    def blank(value: Any) -> Any:  # Any: JSON
        if isinstance(value, Mapping):
            return {key: blank(inner) for key, inner in value.items()}
        return bool(value) if isinstance(value, float) else value

    timeless = {
        key: value for key, value in recipe.model_dump(mode="json").items() if key not in ("epochs", "schedule")
    }
    return json.dumps(blank(timeless), sort_keys=True)


def middle_recipe(study: Study, arm: str) -> Recipe:
    """The recipe of an arm in the middle of its space, or at a drawn point where ``require`` rules the middle out."""
    space, fixed = study.arm_space(arm), study.fixed[arm]
    full = {path: axis.dimension.decode(0.5) for path, axis in space.axes.items()}
    point: dict[str, Scalar] = {path: full[path] for path in space.active(full)}
    if not space.feasible(point, fixed):
        point = space.sample(np.random.default_rng(study.search.seed), fixed)
    return study.resolve(arm, point)[1]


def measure(
    study: Study, root: Path, slots: int, trained: Collection[str], say: Callable[[str], None] = lambda line: None
) -> Measured:
    """Trains a little of every kind of trial that a study has, in ``slots`` processes at once.

    Args:
        study: Its data set must be prepared.
        root: Of all studies, whose shelf has the trained teachers.
        slots: Trials at once, >= 1.
        trained: Teachers that are on the shelf, and will not be trained again.
        say: Hears what is being timed.

    Raises:
        ThermotuneError: A process died, an epoch could not be trained, or it all takes too long.
    """
    began = time.monotonic()
    with contextlib.ExitStack() as until_the_end:
        scratch = Path(until_the_end.enter_context(tempfile.TemporaryDirectory(prefix="thermotune-probe-")))
        agenda = _agenda(study, root, trained, scratch)
        say(f"starting {slots} processes")
        workers = [_Worker(slot, study, scratch) for slot in range(slots)]
        for worker in workers:
            until_the_end.callback(worker.end)
        limit = Timer(LONGEST_S, _give_up, [workers])
        limit.start()
        until_the_end.callback(limit.cancel)
        pool = until_the_end.enter_context(ThreadPoolExecutor(slots))
        import_s = statistics.fmean(answer["after_s"] for answer in pool.map(_Worker.answer, workers))
        for config in agenda.stand_ins:
            say(f"training a stand-in for the teacher {config.publish}")
            workers[0].ask({"make": config.to_dict()})
            workers[0].answer()
        found: dict[str, Cost] = {}
        answers: list[dict[str, Any]] = []
        for number, (names, config) in enumerate(agenda.kinds, 1):
            say(f"timing {', '.join(names)} ({number} of {len(agenda.kinds)}), {slots} at once")
            for worker in workers:
                mine = replace(config, checkpoints=str(scratch / f"slot-{worker.slot}"))
                seconds = min(SECONDS_OF_A_KIND, SECONDS / len(agenda.kinds))
                worker.ask({"time": mine.to_dict(), "seconds": seconds})
            timed = list(pool.map(_Worker.answer, workers))
            found |= dict.fromkeys(names, _cost(timed))
            answers += timed
        return Measured(
            costs=found,
            source="a timed probe",
            slots=slots,
            took_s=time.monotonic() - began,
            import_s=import_s,
            **{key: max((a[key] for a in answers if a[key]), default=None) for key in _MEMORY},
        )


_SAME_REPORT_S = 0.05
"""Rows that came within so long came with one report."""
_MEMORY = ("memory_bytes", "gpu_memory_bytes", "gpu_total_bytes")


def _cost(timed: Sequence[Mapping[str, Any]]) -> Cost:
    """The mean over the slots."""
    mean = {key: statistics.fmean(one[key] for one in timed) for key in ("epoch_s", "start_s", "save_s")}
    one = timed[0]
    return Cost(**mean, metrics=one["metrics"], checkpoint_bytes=one["checkpoint_bytes"], basis=one["basis"])


def recorded(study: Study, folder: Path, trained: Collection[str] = ()) -> Measured:
    """What the records of an earlier study say about trials like this one's.

    Args:
        study: What is planned.
        folder: Of the earlier study.
        trained: Teachers that are on the shelf, and will not be trained again.

    Raises:
        UsageError: It trained nothing like some arm or teacher.
        ResultsError: Its records cannot be read.
    """
    from results.query import StudyView

    began = time.monotonic()
    view = StudyView(folder)
    alike: dict[str, list[tuple[int, Cost]]] = {}
    for trial in view.trials:
        curve = view.epoch_means.get(trial.trial, ())
        if curve:
            cost = _cost_of(trial, curve, sorted((folder / "checkpoints" / trial.trial).glob("*.pt")))
            alike.setdefault(kind_of(Recipe.model_validate(trial.recipe)), []).append((len(curve), cost))
    recipes = {name: study.teachers[name].recipe for name in study.needed_teachers if name not in trained}
    recipes |= {arm: middle_recipe(study, arm) for arm in study.arms}
    missing = [name for name, recipe in recipes.items() if kind_of(recipe) not in alike]
    if missing:
        raise UsageError(
            f"--from must name a study that trained recipes like those of this one, but {folder.name} has none like "
            f"that of {', '.join(missing)}. Name another, or leave --from out for a timed probe"
        )
    return Measured(
        costs={name: _typical(alike[kind_of(recipe)], study.seeds.search) for name, recipe in recipes.items()},
        source=f"the records of {folder.name}",
        slots=view.sessions[-1].slots,
        took_s=time.monotonic() - began,
    )


def _cost_of(trial: RecordedTrial, curve: Sequence[EpochMean], checkpoints: Sequence[Path]) -> Cost:
    """What one trial took, for each lane."""
    lanes = len(trial.seeds)
    together = [mean for mean in curve if (mean.reported_at - curve[0].reported_at).total_seconds() < _SAME_REPORT_S]
    waited_s = (together[-1].reported_at - (trial.started_at or trial.created_at)).total_seconds()
    return Cost(
        epoch_s=statistics.fmean(mean.epoch_time_s for mean in curve[1:] or curve) / lanes,
        start_s=max(0.0, waited_s - sum(mean.epoch_time_s for mean in together)) / lanes,
        save_s=0.0,
        metrics=min(len(mean.metrics) for mean in curve),
        checkpoint_bytes=checkpoints[-1].stat().st_size // lanes if checkpoints else None,
        basis="",
    )


def _typical(trials: Sequence[tuple[int, Cost]], lanes: int) -> Cost:
    """The mean epoch of trials alike, each with its number of epochs.

    Of starts the median, since one that had to wait for a crashed worker must not count.
    """
    epochs = sum(weight for weight, _ in trials)
    sizes = [cost.checkpoint_bytes for _, cost in trials if cost.checkpoint_bytes is not None]
    return Cost(
        epoch_s=sum(weight * cost.epoch_s for weight, cost in trials) / epochs,
        start_s=statistics.median(cost.start_s for _, cost in trials),
        save_s=0.0,
        metrics=max(cost.metrics for _, cost in trials),
        checkpoint_bytes=max(sizes) * lanes if sizes else None,
        basis=f"mean of {epochs} epochs of {count(len(trials), 'trial')}",
    )


# What is timed


@dataclass(frozen=True, kw_only=True)
class _Agenda:
    """What the processes are to do.

    Attributes:
        stand_ins: Teachers to be put on a shelf of the probe's own, after next to no training.
        kinds: Each kind of trial, with the arms and teachers that are of it.
    """

    stand_ins: list[TrialConfig] = field(default_factory=list)
    kinds: list[tuple[list[str], TrialConfig]] = field(default_factory=list)


def _agenda(study: Study, root: Path, trained: Collection[str], scratch: Path) -> _Agenda:
    needed = study.needed_teachers
    teachers: Mapping[str, Teacher] = study.teachers
    shelf = root / SHELF
    agenda = _Agenda()
    if any(name not in trained for name in needed):
        data = prepare(study.recipe.dataset)
        teachers = {name: _stand_in(study.teachers[name], data) for name in needed}
        shelf = scratch / SHELF

    def config(recipe: Recipe, seeds: Sequence[int]) -> TrialConfig:
        threads = max(1, int(study.resources.cpus))
        return TrialConfig(
            trial="probe",
            recipe=recipe.model_dump(mode="json"),
            seeds=tuple(seeds),
            return_at=tuple(range(1, recipe.epochs + 1)),
            max_loss=study.stopping.max_loss,
            device="cuda" if study.resources.gpus > 0 else "cpu",
            threads=threads,
            workers=max(1, threads - 1) if study.resources.gpus else 1,
            teachers={name: teachers[name].model_dump(mode="json") for name in in_order(recipe.names, teachers)},
            shelf=str(shelf.absolute()),
        )

    kinds: dict[str, tuple[list[str], TrialConfig]] = {}

    def add(name: str, recipe: Recipe, seeds: Sequence[int]) -> None:
        names, _ = kinds.setdefault(kind_of(recipe), ([], config(recipe, seeds)))
        names.append(name)

    if teachers is not study.teachers:
        for name in needed:
            described = {other: teachers[other].model_dump(mode="json") for other in in_order([name], teachers)}
            made = config(teachers[name].recipe, [teachers[name].seed])
            agenda.stand_ins.append(replace(made, teachers=described, until=1, publish=name))
    for name in needed:
        if name not in trained:
            add(name, study.teachers[name].recipe, [study.teachers[name].seed])
    for arm in study.arms:
        add(arm, middle_recipe(study, arm), study.search_seeds)
    agenda.kinds.extend(kinds.values())
    return agenda


def _stand_in(teacher: Teacher, data: PackedDataset) -> Teacher:
    """The same network after a few steps: those who learn from it take as long."""
    few = _few(teacher.recipe, data)
    return teacher.model_copy(update={"recipe": teacher.recipe.model_copy(update={"train_samples": few}), "epoch": 1})


def _few(recipe: Recipe, data: PackedDataset) -> int:
    return min(_size(recipe, data), max(data.num_classes, FEW_STEPS * recipe.batch_size))


def _size(recipe: Recipe, data: PackedDataset) -> int:
    return recipe.train_samples or data.sizes["train"]


# The processes


class _Worker:
    """A process that trains what it is told to, and answers in lines of JSON."""

    def __init__(self, slot: int, study: Study, scratch: Path) -> None:
        self.slot = slot
        self._began = time.monotonic()
        self._too_long = False
        self._log = scratch / f"slot-{slot}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "search.probe"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **_visible_gpus(slot, study.resources.gpus)},
                text=True,
            )

    def ask(self, task: Mapping[str, Any]) -> None:
        """Gives it something to do; a dead process is noticed when it should answer."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(task), file=self._stream(self._process.stdin), flush=True)

    def answer(self) -> dict[str, Any]:
        """Waits until it is done.

        Raises:
            ThermotuneError: It died, or had to be ended.
        """
        line = self._stream(self._process.stdout).readline()
        if line:
            return {**json.loads(line), "after_s": time.monotonic() - self._began}
        if self._too_long:
            raise ThermotuneError(
                f"the probe must end within {LONGEST_S:.0f} s, and did not. Plan with the costs of an earlier study, "
                "--from STUDY, or without hours, --no-probe"
            )
        last = (self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it was killed"])[-1]
        raise ThermotuneError(
            f"the probe must be able to train the study's recipes with as many processes as there are slots, but one "
            f"ended: {last[:300]}. Lower resources.max_concurrent if memory ran out, or plan with --no-probe"
        )

    def end(self, *, too_long: bool = False) -> None:
        """Ends it, whatever it does."""
        self._too_long = self._too_long or too_long
        self._process.kill()
        self._process.wait()

    @staticmethod
    def _stream(stream: IO[str] | None) -> IO[str]:
        assert stream is not None, "it was opened as a pipe"
        return stream


def _give_up(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.end(too_long=True)


def _visible_gpus(slot: int, gpus: float) -> dict[str, str]:
    """The environment in which a process sees the GPUs that Ray would give to the trial in its slot."""
    if gpus == 0:
        return {}
    known = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = max(1, round(gpus))
    first = slot // int(1 / gpus + 1e-9) if gpus <= 1 else slot * count
    mine = range(first, first + count)
    names = known.split(",") if known else [str(device) for device in range(first + count)]
    return {"CUDA_VISIBLE_DEVICES": ",".join(names[device] for device in mine if device < len(names))}


# Inside such a process


@dataclass(frozen=True, kw_only=True)
class _Timing:
    """A few epochs on some of the training samples.

    Attributes:
        samples: How many.
        build_s: Until they could begin.
        epochs_s: Each of the epochs, all lanes together.
        save_s: Mean time of a checkpoint.
        checkpoint_bytes: Size of the last one.
        metrics: Values on record for an ordinary epoch; the first and the last may have more.
    """

    samples: int
    build_s: float
    epochs_s: list[float]
    save_s: float
    checkpoint_bytes: int
    metrics: int

    @property
    def epoch_s(self) -> float:
        """An epoch after the first, which warms up; the first where there is no other."""
        return statistics.fmean(self.epochs_s[1:] or self.epochs_s)


def timed(config: TrialConfig, seconds: float) -> dict[str, Any]:
    """Trains a recipe for about so long, and says what an epoch of all its samples takes.

    Args:
        config: With a folder for checkpoints.
        seconds: After which no other epoch is begun; but two short ones are trained in any case.

    Returns:
        The fields of :class:`Cost`, and the memory of this process as in :class:`Measured`.

    Raises:
        RuntimeError: Not even one epoch could be trained.
    """
    recipe = Recipe.model_validate(config.recipe)
    data = prepare(recipe.dataset)
    size, few, evaluated = _size(recipe, data), _few(recipe, data), _EVALUATION * data.sizes["val"]
    began = time.monotonic()
    short = longer = _train(config, few, epochs=2, seconds=seconds / 2)
    left = seconds - (time.monotonic() - began)
    weight = short.epoch_s / (few + evaluated)
    epoch_s = weight * (size + evaluated)
    basis = f"{FEW_STEPS} steps and the share of evaluation by rule of thumb"
    if few == size or 3 * epoch_s <= left:
        longer = _train(config, size, epochs=recipe.epochs, seconds=left)
        epoch_s = longer.epoch_s
        basis = count(max(1, len(longer.epochs_s) - 1), "whole epoch")
    elif short.epoch_s < seconds / 2:
        fits = (left / 3 / weight - evaluated) / recipe.batch_size
        more = min(size, max(3 * few, int(fits) * recipe.batch_size))
        longer = _train(config, more, epochs=2, seconds=left / 2)
        slope = (longer.epoch_s - short.epoch_s) / (more - few)
        slope = slope if slope > 0 else longer.epoch_s / (more + evaluated)
        epoch_s = longer.epoch_s + slope * (size - more)
        steps = [math.ceil(samples / recipe.batch_size) for samples in (few, more, size)]
        basis = f"{steps[0]} and {steps[1]} of {steps[2]} steps, and evaluation"
    return {
        "epoch_s": epoch_s / len(config.seeds),
        "start_s": (longer.build_s + max(0.0, longer.epochs_s[0] - longer.epoch_s)) / len(config.seeds),
        "save_s": longer.save_s,
        "metrics": longer.metrics,
        "checkpoint_bytes": longer.checkpoint_bytes,
        "basis": basis,
        **_memory(config.device),
    }


def _train(config: TrialConfig, samples: int, *, epochs: int, seconds: float) -> _Timing:
    """At least one epoch, then others up to a number of them, or of seconds."""
    assert config.checkpoints is not None
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=_made(Path(config.checkpoints))) as folder:
        recipe = with_values(config.recipe, {"train_samples": samples})
        session = TrialSession(replace(config, recipe=recipe, checkpoints=folder))
        build_s = time.monotonic() - began
        epochs_s: list[float] = []
        saves_s: list[float] = []
        metrics: list[int] = []
        report: dict[str, Any] = {"finished": False, "divergence": None}
        while not epochs_s or (len(epochs_s) < epochs and time.monotonic() - began < seconds):
            before = time.monotonic()
            report = session.advance()
            if not report["epochs"]:
                raise RuntimeError(f"no epoch could be trained: {report['divergence']}")
            epochs_s.append(sum(row["epoch_time_s"] for row in report["epochs"]))
            saves_s.append(max(0.0, time.monotonic() - before - epochs_s[-1]))
            metrics.append(len(report["epochs"][-1]["metrics"]))
            if report["finished"] or report["divergence"]:
                break
        size = sum(file.stat().st_size for file in sorted(Path(folder).glob("*.pt"))[-1:])
    return _Timing(
        samples=samples,
        build_s=build_s,
        epochs_s=epochs_s,
        save_s=statistics.fmean(saves_s),
        checkpoint_bytes=size,
        metrics=min(metrics),
    )


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _memory(device: str) -> dict[str, int | None]:
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found: dict[str, int | None] = dict.fromkeys(_MEMORY)
    found["memory_bytes"] = kilobytes if sys.platform == "darwin" else kilobytes * 1024
    if device == "cuda":
        import torch

        found["gpu_memory_bytes"] = torch.cuda.max_memory_reserved()
        found["gpu_total_bytes"] = torch.cuda.get_device_properties(0).total_memory
    return found


def _serve(tasks: Iterator[str], reply: Callable[[dict[str, Any]], None]) -> None:
    import torch

    import trainables.engine.train  # noqa: F401  # all else that a trial needs

    torch.set_num_interop_threads(1)  # as trainables.trial does
    reply({})
    for line in tasks:
        task = json.loads(line)
        if "make" in task:
            session = TrialSession(TrialConfig.from_dict(task["make"]))
            while not session.advance()["finished"]:
                pass
            reply({})
        else:
            reply(timed(TrialConfig.from_dict(task["time"]), task["seconds"]))


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not stand among the answers
    _serve(iter(sys.stdin.readline, ""), lambda answer: print(json.dumps(answer), file=answers, flush=True))
