"""The plan of a study: what it will take before anything of it has started.

The stages are played through with the stopping rule itself, on as many slots as the machine has, and with made-up
learning curves in place of training. What training costs is measured (see ``search.probe``).
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from results.formats import count
from results.schema import Stage, Verdict
from search.errors import StudyFileError
from search.folder import trained_teachers
from search.machine import Machine
from search.probe import Cost, Measured, measure, recorded
from search.settings import NoStopping, Resources
from search.stopping import Rule, Rung, is_audited, rule_of
from search.study import Study
from trainables.recipe import Teacher

PLAYED_TRIALS = 10_000
"""A study is played through so often that it makes about so many trials, and never less than :data:`FEWEST` times."""
FEWEST, MOST = 8, 200

CORRELATION = 0.85
"""Between the values at two rungs. Four arms on digits, 48 trials each without stopping: rank correlations of 0.68 to
0.96, of 0.72 to 0.84 between the epochs 1 and 27."""
IMPROVEMENT = 1.0
"""How much better than the first trials a model-based sampler's 48th is; standard deviations of a trial's quality.
Studies on digits with TPE and ASHA trained 5.4 epochs a trial, the mean of ten, and 5.6 when made up like this."""
LEARNED_TRIALS = 48
DIVERGING = 0.02
"""Share of trials that diverge in their second epoch, seen likewise."""

EPOCH_BYTES = 20
"""Of the row of an epoch of a lane in the records; parquet compresses well."""
TRIAL_BYTES = 1600
"""Of the rows about a trial and the decisions on it."""
REPORT_EVERY_S = 1.0
"""As search.tune has it: shorter epochs are reported together."""
USUAL_IMPORT_S = 2.5
"""Loading torch in four processes at once on the machine where the overhead was measured, when it had little else to
do."""


@dataclass(frozen=True, kw_only=True)
class Overhead:
    """What Ray and the driver take beside training; measured on digits, four slots on four cores.

    Attributes:
        begin_s: From the command to the first epoch.
        turn_s: From the end of a trial to the beginning of the next one in its slot.
        report_s: From a report to the next epoch.
        driver_s: Of the driver's own time for a trial, while it serves no other slot.
        end_s: From the last epoch to the end of the command: the report, MLflow's last values, Ray's end.
    """

    begin_s: float
    turn_s: float
    report_s: float
    driver_s: float
    end_s: float

    @classmethod
    def at(cls, import_s: float | None) -> Overhead:
        """On a machine, as busy as it is, where loading takes so long; None for the usual.

        Begin and end are partly waiting for each other's processes, whatever the machine; all else is computing.
        """
        loading_s = USUAL_IMPORT_S if import_s is None else import_s
        share = loading_s / USUAL_IMPORT_S
        return cls(
            begin_s=4.5 + 1.5 * loading_s,
            turn_s=0.04 * share,
            report_s=0.015 * share,
            driver_s=0.015 * share,
            end_s=3.5 + 0.5 * loading_s,
        )


# Playing a study through


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Made-up learning curves: a trial's quality, the same at all rungs, and noise of each rung's own.

    Attributes:
        correlation: Between the values at two rungs.
        improvement: By which the qualities grow over the first :data:`LEARNED_TRIALS` trials; standard deviations.
        diverging: Share of trials that diverge in their second epoch.
    """

    correlation: float = CORRELATION
    improvement: float = IMPROVEMENT
    diverging: float = DIVERGING

    @classmethod
    def of(cls, study: Study) -> Curves:
        """As the sampler has it: those that are blind to results do not improve."""
        return cls() if study.search.sampler.name in ("tpe", "gp", "cmaes") else cls(improvement=0.0)


@dataclass(slots=True, kw_only=True)
class _Trial:
    """An explored trial on its way."""

    name: str
    arm: str
    number: int
    quality: float
    diverges: bool
    audited: bool
    rungs: tuple[int, ...]
    epoch: int = 0
    spared: bool = False
    scores: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """What the trials of an arm, or of a teacher's name, come to in a stage.

    Attributes:
        trials: Begun.
        epochs: Trained; each lane's counts.
        busy_s: Of slots that they hold.
    """

    trials: int = 0
    epochs: int = 0
    busy_s: float = 0.0


@dataclass(slots=True)
class Played:
    """A study played through once.

    Attributes:
        tallies: By stage and arm, in order.
        wall_s: Of each stage, from its first trial to its last.
    """

    tallies: dict[tuple[Stage, str], Tally] = field(default_factory=lambda: defaultdict(Tally))
    wall_s: dict[Stage, float] = field(default_factory=dict)


class Simulation:
    """Plays a study through once."""

    def __init__(
        self,
        study: Study,
        *,
        slots: int,
        rule: Rule,
        costs: Mapping[str, Cost],
        curves: Curves,
        overhead: Overhead,
        trained: Collection[str],
        seed: int,
    ) -> None:
        """Takes all that the outcome depends on.

        Args:
            study: What is played.
            slots: Trials at once.
            rule: The study's stopping rule, or another.
            costs: By arm and teacher; those left out take no time.
            curves: Of the explored trials.
            overhead: Between trials.
            trained: Teachers that are on the shelf.
            seed: Of the curves.
        """
        self._study = study
        self._slots = slots
        self._rule = rule
        self._costs = costs
        self._curves = curves
        self._overhead = overhead
        self._trained = trained
        self._random = random.Random(seed)
        self._sign = 1.0 if study.search.mode == "max" else -1.0
        self._completed: dict[str, int] = defaultdict(int)
        self._rungs: dict[tuple[str, int, int], Rung] = defaultdict(Rung)
        self._waiting: dict[str, _Trial] = {}
        self._driver_free_s = 0.0

    def play(self) -> Played:
        """Plays the stages; each begins when all trials of the one before have ended."""
        played = Played()
        for stage, run in ((Stage.TEACH, self._teach), (Stage.EXPLORE, self._explore), (Stage.CONFIRM, self._confirm)):
            self._driver_free_s = 0.0
            played.wall_s[stage] = run(played.tallies)
        return played

    def _train_s(self, name: str, epochs: int, lanes: int, *, starts: bool) -> float:
        """Time in a slot for so many epochs on end."""
        cost = self._costs.get(name)
        if cost is None:
            return 0.0
        train_s = epochs * lanes * cost.epoch_s
        reports = min(epochs, max(1, math.ceil(train_s / REPORT_EVERY_S)))
        begin_s = self._overhead.turn_s + cost.start_s * lanes if starts else 0.0
        return begin_s + train_s + reports * (cost.save_s + self._overhead.report_s)

    def _begin(self, now_s: float) -> float:
        """When a trial begins that a free slot asks for: the driver serves one slot after the other."""
        self._driver_free_s = max(self._driver_free_s, now_s) + self._overhead.driver_s
        return self._driver_free_s

    def _teach(self, tallies: dict[tuple[Stage, str], Tally]) -> float:
        ended_s: dict[str, float] = dict.fromkeys(self._trained, 0.0)
        slots = [0.0] * self._slots
        for name in self._study.needed_teachers:  # each after those that it learns from
            if name in ended_s:
                continue
            teacher = self._study.teachers[name]
            ready_s = max((ended_s[other] for other in teacher.recipe.names), default=0.0)
            spent_s = self._train_s(name, length_of(teacher), 1, starts=True)
            ended_s[name] = max(heapq.heappop(slots), ready_s) + spent_s
            heapq.heappush(slots, ended_s[name])
            tallies[Stage.TEACH, name] = Tally(1, length_of(teacher), spent_s)
        return max(ended_s.values(), default=0.0)

    def _explore(self, tallies: dict[tuple[Stage, str], Tally]) -> float:
        planned = {arm: self._study.planned_trials(arm) for arm in self._study.arms}
        begun = dict.fromkeys(planned, 0)
        ahead: list[tuple[float, int, _Trial]] = []  # when a trial comes to its next rung, or to its end
        order = itertools.count()
        free, now_s = self._slots, 0.0

        def go_on(trial: _Trial, at_s: float, *, starts: bool) -> None:
            stop, lanes, tally = self._next_stop(trial), self._study.seeds.search, tallies[Stage.EXPLORE, trial.arm]
            spent_s = self._train_s(trial.arm, stop - trial.epoch, lanes, starts=starts)
            tally.trials += trial.epoch == 0
            tally.epochs += (stop - trial.epoch) * lanes
            tally.busy_s += spent_s
            trial.epoch = stop
            heapq.heappush(ahead, (at_s + spent_s, next(order), trial))

        while True:
            while free and (trial := self._promoted() or self._new(begun, planned)) is not None:
                free -= 1
                go_on(trial, self._begin(now_s), starts=True)
            if not ahead:
                return now_s
            now_s, _, trial = heapq.heappop(ahead)
            if self._goes_on(trial):
                go_on(trial, now_s, starts=False)
            else:
                free += 1

    def _new(self, begun: dict[str, int], planned: Mapping[str, int]) -> _Trial | None:
        """A new trial for the arm with the fewest, as the conductor has it."""
        arm = min((arm for arm in begun if begun[arm] < planned[arm]), key=lambda arm: begun[arm], default=None)
        if arm is None:
            return None
        number = begun[arm]
        begun[arm] += 1
        learned = self._curves.improvement * min(1.0, number / LEARNED_TRIALS)
        return _Trial(
            name=f"{arm}/{number}",
            arm=arm,
            number=number,
            quality=self._random.gauss(learned, 1.0),
            diverges=self._random.random() < self._curves.diverging,
            audited=is_audited(self._study.search.seed, arm, number, self._study.audit),
            rungs=self._rule.rungs(self._rule.bracket(number)),
        )

    def _next_stop(self, trial: _Trial) -> int:
        if trial.diverges and trial.epoch < 2:
            return min(2, self._study.recipe.epochs)
        ahead = () if trial.spared else (rung for rung in trial.rungs if rung > trial.epoch)
        return next(iter(ahead), self._study.recipe.epochs)

    def _goes_on(self, trial: _Trial) -> bool:
        """Whether a trial that came to a rung, or its end, keeps its slot."""
        if trial.diverges:
            return False
        if trial.epoch == self._study.recipe.epochs:
            self._completed[trial.arm] += 1
            return False
        trial.scores.append(self._value(trial))
        bracket = self._rule.bracket(trial.number)
        rung = self._rungs[trial.arm, bracket, trial.epoch]
        score = self._rule.score(trial.scores)
        verdict = self._rule.decide(rung, score).verdict
        rung.add(trial.name, score, waits=verdict is Verdict.PAUSE)
        if verdict is Verdict.PAUSE:
            self._waiting[trial.name] = trial
            return self._promoted(trial) is trial
        trial.spared = trial.audited and verdict is Verdict.STOP
        return verdict is Verdict.CONTINUE or trial.spared

    def _value(self, trial: _Trial) -> float:
        """What a trial measures: better the longer it has trained, and the better its quality."""
        noise = math.sqrt(1 / max(self._curves.correlation, 1e-6) - 1)
        return self._sign * (10 * math.log(trial.epoch) + trial.quality + self._random.gauss(0.0, noise))

    def _promoted(self, only: _Trial | None = None) -> _Trial | None:
        """The waiting trial that the conductor would let go on first; it waits no longer.

        Args:
            only: Leave all as it is unless it is this one.
        """
        if not self._rule.pauses:
            return None
        for epoch in reversed(self._rule.rungs()):
            for arm in self._study.arms:
                rung = self._rungs[arm, 0, epoch]
                name = self._rule.promotable(rung)
                if name is None:
                    continue
                if only is not None and name != only.name:
                    return None
                rung.promote(name)
                return self._waiting.pop(name)
        return None

    def _confirm(self, tallies: dict[tuple[Stage, str], Tally]) -> float:
        top, epochs = self._study.confirm.top, self._study.recipe.epochs
        slots = [0.0] * self._slots
        for _, arm in itertools.product(self._study.confirm_seeds, self._study.arms):
            for _ in range(min(1 if arm == self._study.reference else top, self._completed[arm])):
                spent_s = self._train_s(arm, epochs, 1, starts=True)
                heapq.heappush(slots, self._begin(heapq.heappop(slots)) + spent_s)
                tally = tallies[Stage.CONFIRM, arm]
                tally.trials += 1
                tally.epochs += epochs
                tally.busy_s += spent_s
        return max(slots)


def length_of(teacher: Teacher) -> int:
    """Epochs that a teacher is trained."""
    return teacher.epoch or teacher.recipe.epochs


# The plan


@dataclass(frozen=True, slots=True)
class Outlook:
    """An amount.

    Attributes:
        expected: The mean over the ways in which the study was played.
        worst: Where no trial is stopped early.
    """

    expected: float
    worst: float

    def __mul__(self, factor: float) -> Outlook:
        return Outlook(self.expected * factor, self.worst * factor)

    def __add__(self, other: Outlook) -> Outlook:
        return Outlook(self.expected + other.expected, self.worst + other.worst)


NOTHING = Outlook(0, 0)


@dataclass(frozen=True, kw_only=True)
class Share:
    """What an arm takes in a stage.

    Attributes:
        stage: Of its trials.
        name: The arm, or the teacher.
        trials: How many.
        epochs: Of all lanes.
        slot_hours: Hours of slots.
    """

    stage: Stage
    name: str
    trials: Outlook
    epochs: Outlook
    slot_hours: Outlook


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a study will take; what needs a measurement is None without one.

    Attributes:
        name: Of the study.
        shares: By stage and arm.
        epochs_range: Of all epochs, where 8 of 10 ways lie in which the study was played.
        slots: Trials at once.
        limit: Why there are not more, in words.
        measured: What training costs.
        wall_hours: From the command to the report.
        wall_range: Likewise 8 of 10.
        cpu_hours: Of the cores that trials hold.
        gpu_hours: Of the GPUs that trials hold.
        records_bytes: Of the records.
        running_bytes: Most of the checkpoints of trials that are not at an end.
        kept_bytes: Of the confirmed models that stay.
        mlflow_values: Metric values in MLflow, a row each.
        memory_bytes: Of the machine.
        remarks: On the study's budget, and on what will hardly go well.
    """

    name: str
    shares: tuple[Share, ...]
    epochs_range: tuple[float, float]
    slots: int
    limit: str
    measured: Measured | None
    wall_hours: Outlook | None
    wall_range: tuple[float, float] | None
    cpu_hours: Outlook | None
    gpu_hours: Outlook | None
    records_bytes: Outlook
    running_bytes: int | None
    kept_bytes: Outlook | None
    mlflow_values: Outlook | None
    memory_bytes: int
    remarks: tuple[str, ...] = ()

    @property
    def trials(self) -> Outlook:
        """Of all stages."""
        return sum((share.trials for share in self.shares), NOTHING)

    @property
    def epochs(self) -> Outlook:
        """Of all stages and lanes."""
        return sum((share.epochs for share in self.shares), NOTHING)


def plan(
    study: Study,
    root: Path,
    *,
    probe: bool = True,
    earlier: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Plan:
    """Says what a study will take on this machine; nothing of it is started.

    Args:
        study: Its data set must be prepared where times are asked for.
        root: Of all studies; teachers that are trained already are taken from there.
        probe: Whether to measure what training costs.
        earlier: Folder of a study whose records say that instead; None for none.
        say: Hears what is being done.

    Raises:
        StudyFileError: No trial fits on this machine.
        UsageError: The earlier study trained nothing like this one.
        ThermotuneError: The recipes cannot be trained here.
    """
    resources = study.resources
    machine = Machine.local(look_for_gpus=resources.gpus > 0)
    if mistakes := machine.mistakes(resources):
        raise StudyFileError(mistakes)
    slots = machine.slots(resources)
    measured, trained = None, {}
    if probe or earlier is not None:
        trained = trained_teachers(study, root / study.name)
        measured = recorded(study, earlier, trained) if earlier else measure(study, root, slots, trained, say)
    return forecast(study, measured, slots=slots, limit=slots_limit(machine, resources), trained=trained)


def forecast(
    study: Study,
    measured: Measured | None,
    *,
    slots: int,
    limit: str = "",
    trained: Collection[str] = (),
    curves: Curves | None = None,
    memory_bytes: int | None = None,
) -> Plan:
    """What a study takes where the costs of its trials are known.

    Args:
        study: What is planned.
        measured: What training costs; None if that is not known.
        slots: Trials at once, >= 1.
        limit: Why not more, in words.
        trained: Teachers that are on the shelf.
        curves: Of the trials; None for those of the study's sampler.
        memory_bytes: Of the machine; None to ask it.
    """
    costs = measured.costs if measured else {}
    overhead = Overhead.at(measured.import_s if measured else None)

    def play(rule: Rule, curves: Curves, seed: int) -> Played:
        return Simulation(
            study, slots=slots, rule=rule, costs=costs, curves=curves, overhead=overhead, trained=trained, seed=seed
        ).play()

    never = rule_of(NoStopping(), epochs=study.recipe.epochs, mode=study.search.mode)
    worst = play(never, Curves(diverging=0.0), 0)
    often = PLAYED_TRIALS // sum(tally.trials for tally in worst.tallies.values())
    curves = curves or Curves.of(study)
    played = [play(study.rule, curves, seed) for seed in range(min(MOST, max(FEWEST, often)))]
    shares = tuple(_share(key, tally, played) for key, tally in worst.tallies.items())
    trials, epochs, slot_hours = (
        sum((getattr(share, name) for share in shares), NOTHING) for name in ("trials", "epochs", "slot_hours")
    )
    walls = [(overhead.begin_s + sum(one.wall_s.values()) + overhead.end_s) / 3600 for one in (worst, *played)]
    found = Plan(
        name=study.name,
        shares=shares,
        epochs_range=_range([sum(tally.epochs for tally in one.tallies.values()) for one in played]),
        slots=slots,
        limit=limit,
        measured=measured,
        wall_hours=Outlook(statistics.fmean(walls[1:]), walls[0]) if measured else None,
        wall_range=_range(walls[1:]) if measured else None,
        cpu_hours=slot_hours * study.resources.cpus if measured else None,
        gpu_hours=slot_hours * study.resources.gpus if measured else None,
        records_bytes=trials * TRIAL_BYTES + epochs * EPOCH_BYTES,
        running_bytes=_running_bytes(study, slots, costs),
        kept_bytes=_kept_bytes(study, shares, costs),
        mlflow_values=_mlflow_values(study, shares, costs) if measured else None,
        memory_bytes=memory_bytes or machine_memory(),
    )
    return replace(found, remarks=(*_on_budget(study, found), *_warnings(study, found)))


def _share(key: tuple[Stage, str], worst: Tally, played: Sequence[Played]) -> Share:
    tallies = [one.tallies.get(key, Tally()) for one in played]
    trials, epochs, busy_s = (
        Outlook(statistics.fmean(getattr(tally, name) for tally in tallies), getattr(worst, name))
        for name in ("trials", "epochs", "busy_s")
    )
    return Share(stage=key[0], name=key[1], trials=trials, epochs=epochs, slot_hours=busy_s * (1 / 3600))


def _range(values: Sequence[float]) -> tuple[float, float]:
    tenths = statistics.quantiles(values, n=10, method="inclusive")
    return tenths[0], tenths[-1]


def slots_limit(machine: Machine, resources: Resources) -> str:
    """What there are not more slots for."""
    if resources.max_concurrent is not None:
        alone = machine.slots(resources.model_copy(update={"max_concurrent": None}))
        if resources.max_concurrent <= alone:
            return f"resources.max_concurrent is {resources.max_concurrent}"
    on_cpus = machine.slots(Resources(cpus=resources.cpus))
    if resources.gpus > 0 and machine.slots(resources) < on_cpus:
        return f"there are {count(machine.gpus, 'GPU')}, and a trial takes {resources.gpus:g}"
    return f"there are {count(machine.cpus, 'CPU core')}, and a trial takes {resources.cpus:g}"


def machine_memory() -> int:
    """Memory that processes of this machine, or container, may take together; bytes."""
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text(encoding="ascii").strip() if limit.is_file() else "max"
    total = int(psutil.virtual_memory().total)
    return min(total, int(text)) if text.isdigit() else total


CHECKPOINTS_KEPT = 2
"""Of every trial, as trainables.checkpoint has it."""


def _running_bytes(study: Study, slots: int, costs: Mapping[str, Cost]) -> int | None:
    """Checkpoints of all slots at once, and of all trials that may wait at a rung."""
    sizes = {name: cost.checkpoint_bytes for name, cost in costs.items()}
    if not sizes or any(size is None for size in sizes.values()):
        return None
    waiting = {arm: study.planned_trials(arm) for arm in study.arms} if study.rule.pauses else {}
    paused = sum((sizes[arm] or 0) * trials for arm, trials in waiting.items())
    return CHECKPOINTS_KEPT * (slots * max(size or 0 for size in sizes.values()) + paused)


def _kept_bytes(study: Study, shares: Sequence[Share], costs: Mapping[str, Cost]) -> Outlook | None:
    total = NOTHING
    for share in shares:
        if share.stage is Stage.CONFIRM:
            size = costs[share.name].checkpoint_bytes if share.name in costs else None
            if size is None:
                return None
            total += share.trials * (CHECKPOINTS_KEPT * size / study.seeds.search)
    return total


def _mlflow_values(study: Study, shares: Sequence[Share], costs: Mapping[str, Cost]) -> Outlook:
    """Those of an epoch are means over lanes."""
    total = NOTHING
    for share in shares:
        lanes = study.seeds.search if share.stage is Stage.EXPLORE else 1
        total += share.epochs * (costs[share.name].metrics / lanes)
    return total


def _on_budget(study: Study, found: Plan) -> Iterator[str]:
    """Whether the study fits its budget, a sentence for each limit."""
    budget = study.budget
    for key, limit, outlook in (
        ("wall_hours", budget.wall_hours, found.wall_hours),
        ("gpu_hours", budget.gpu_hours, found.gpu_hours),
        ("trials", budget.trials, found.trials),
    ):
        if limit is None:
            continue
        if outlook is None:
            yield f"budget.{key} {limit:g}: whether it suffices is not known without a measurement"
        elif outlook.worst <= limit:
            yield f"budget.{key} {limit:g} suffices in any case"
        elif outlook.expected <= limit:
            yield f"budget.{key} {limit:g} should suffice, but not if no trial is stopped early ({outlook.worst:.3g})"
        else:
            yield (
                f"budget.{key} {limit:g} does not suffice: {outlook.expected:.3g} expected. The study will stop there, "
                "and can be resumed with more"
            )


def _warnings(study: Study, found: Plan) -> Iterator[str]:
    measured = found.measured
    if measured is None:
        return
    if measured.slots != found.slots:
        yield (
            f"costs were measured with {count(measured.slots, 'trial')} at once, but {found.slots} will run here; "
            "those that share a machine slow each other"
        )
    gibibytes = 2**30
    if measured.memory_bytes and found.slots * measured.memory_bytes > found.memory_bytes:
        yield (
            f"{found.slots} trials of {measured.memory_bytes / gibibytes:.1f} GiB hardly fit in "
            f"{found.memory_bytes / gibibytes:.1f} GiB of memory; lower resources.max_concurrent"
        )
    shared = int(1 / study.resources.gpus + 1e-9) if 0 < study.resources.gpus < 1 else 1
    if measured.gpu_memory_bytes and measured.gpu_total_bytes:
        on_device = min(shared, found.slots) * measured.gpu_memory_bytes
        if on_device > measured.gpu_total_bytes:
            yield (
                f"{min(shared, found.slots)} trials of {measured.gpu_memory_bytes / gibibytes:.1f} GiB hardly fit on "
                f"a GPU of {measured.gpu_total_bytes / gibibytes:.1f} GiB; raise resources.gpus"
            )
