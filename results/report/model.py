"""What a report consists of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from results.query import Amendment, Spent, StudyView
from results.report.audit import Audit
from results.report.pareto import Pareto
from results.report.stability import StabilityBin
from results.schema import Stage, StudyState, TrialState
from results.statistics import Comparison, MeanInterval, Outcome, SeedsNeeded


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An explored trial that was run again on fresh seeds."""

    trial: str
    """The explored trial."""
    arm: str
    """Its arm."""
    settings: Mapping[str, object]
    """The searched values in its recipe, those fixed by its arm included."""
    explored: float | None
    """Its validation metric in the search, mean over the search seeds."""
    seeds: int
    """Fresh seeds it is to be run on."""
    ended: int
    """Of these, seeds that ended, however."""
    diverged: int
    """Seeds on which it diverged."""
    failed: int
    """Seeds that failed for a technical reason."""
    validation: MeanInterval | None
    """The study's metric over the seeds trained to the end; None if there are none."""
    test: MeanInterval | None
    """The same metric on the test split."""
    validation_by_seed: Mapping[int, float]
    """Validation metric by seed."""
    test_by_seed: Mapping[int, float]
    """Test metric by seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The best configuration as far as it is known."""

    trial: str
    """The explored trial."""
    arm: str
    """Its arm."""
    reference: bool
    """Whether that is the reference arm."""
    settings: Mapping[str, object]
    """The searched values in its recipe."""
    value: float
    """Validation metric: mean over the confirm seeds, or of the search while nothing is confirmed."""
    source: str
    """Where the value comes from: split, epoch, seeds."""
    confirmed: bool
    """Whether fresh seeds confirm the value."""
    origin: str | None
    """Why its values were tried, in words; None in older studies."""
    retrain: str
    """The command that trains it again."""
    recipe: Mapping[str, object]
    """Its whole recipe, nested as in a study file; nothing is rounded."""
    study_file: str
    """A study file (YAML) of this configuration alone, ready to copy."""

    @property
    def title(self) -> str:
        """What it is, as a heading: ``Best configuration: t0026 of the reference arm baseline``."""
        kind = "Best configuration" if self.confirmed else "Best configuration so far, not confirmed"
        return f"{kind}: {self.trial} of {'the reference arm' if self.reference else 'arm'} {self.arm}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How sure the place of a candidate is: as the choice on validation, and in what the test split shows."""

    trial: str
    """The explored trial."""
    arm: str
    """Its arm."""
    optimism: MeanInterval | None
    """By how much the search had made it look better than fresh seeds do, on validation: above 0 is luck. In the unit
    of the metric, with the 95 % interval of a prediction: as far as a search value and a mean of fresh seeds lie apart
    by the spread of the seeds alone; None without both values."""
    first_share: float | None
    """Share of resamples of the confirm seeds in which it has the best mean on validation; 0..1, None where it
    diverged, or fewer than two candidates have two seeds in common."""
    comparison: Comparison | None
    """Against the best of the reference arm on the test split, p corrected for all such comparisons; None for the
    reference itself, for one that diverged, and without a reference."""
    may_be_best: bool | None
    """Whether no other candidate is shown to be better on the test split, by pairs or in ``comparison``; None where it
    is not compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResult:
    """The best confirmed candidate of an arm on the test split."""

    arm: str
    """The arm."""
    trial: str
    """The explored trial."""
    settings: Mapping[str, object]
    """The searched values in its recipe."""
    test: MeanInterval | None
    """The test metric over the confirm seeds."""
    comparison: Comparison | None
    """Against the best of the reference arm, on common seeds, p corrected for all candidates; None for the reference
    itself and without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How sure a candidate is of itself on the test split, before and after one temperature was fitted."""

    trial: str
    """The explored trial."""
    arm: str
    """Its arm."""
    seeds: int
    """Confirm seeds that the means are over."""
    nll: float | None
    """Negative log-likelihood as trained, mean over the seeds; nats."""
    nll_refit: float | None
    """The same at the temperature fitted on the validation split; nats."""
    ece: float | None
    """Expected calibration error as trained; 0..1."""
    ece_refit: float | None
    """The same at that temperature; 0..1."""
    temperature: float | None
    """That temperature; below 1 the network was not sure enough, above 1 too sure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherRow:
    """A teacher as it stands."""

    name: str
    model: str | None
    """Its network."""
    trial: str | None
    """Its latest trial; None until there is one."""
    state: TrialState | None
    """Where that stands."""
    reused: bool
    """Whether it was trained before, by another study."""
    epochs: int
    """Epochs trained here."""
    length: int | None
    """Epochs that it is to be trained; None where the study file does not name it."""
    schedule: int | None
    """Epochs of its whole schedule; more than its length where it is stopped early."""
    accuracy: float | None
    """Accuracy on the validation split at its last epoch; None for one that was trained before."""
    learns_from: str | None
    """Its own teacher."""
    adds_to: str | None
    """The trained network to whose logits it adds its own."""
    reason: str | None
    """Why it ended."""

    @property
    def lost(self) -> bool:
        """Whether it ended without a network."""
        return self.state in (TrialState.DIVERGED, TrialState.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What a trial's teacher told its student: means over the training split, taken before the first epoch."""

    trial: str
    arm: str
    teacher: str | None
    tau1: float | None
    """Temperature of the teacher's logit of the true class."""
    tau2: float | None
    """Temperature of its other logits."""
    target_logit: float | None
    """Logit of the true class."""
    wrong_logit_std: float | None
    """Standard deviation of the other logits."""
    target_probability: float | None
    """Probability of the true class at these temperatures; 0..1."""
    derived_average: float | None
    """DA: mean probability of a wrong class."""
    derived_std: float | None
    """Root of DV: standard deviation of these."""
    inherent_variance: float | None
    """IV: variance of the softmax over the wrong classes alone."""
    flip_rate: float | None
    """Share of samples whose most probable class the temperatures change; 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopTrial:
    """A row of the list of explored trials."""

    trial: str
    arm: str
    settings: Mapping[str, object]
    epochs: int
    state: TrialState
    value: float | None
    """Validation metric at its last epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmCount:
    """Trials of an arm and stage, by state."""

    arm: str
    """The arm; in the stage teach the teacher's name."""
    stage: Stage
    planned: int
    """Trials that the study asks for; 0 where that is not known yet."""
    states: Mapping[TrialState, int]
    """Trials in each state; states without trials are left out."""

    @property
    def ended(self) -> int:
        """Trials in a final state."""
        return sum(n for state, n in self.states.items() if state.is_final)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeUse:
    """Where the time went."""

    training_s: float
    """All epochs of all trials, repeated ones and teachers included; s."""
    teaching_s: float
    """Of these, epochs of teachers; s."""
    wall_s: float
    """All driver sessions; s."""
    sessions: int
    """Driver sessions."""
    epochs: int
    """Epochs trained that count."""
    stopped_saved_s: float
    """Epochs that stopped trials were spared, at each trial's own pace; s."""
    stopped_saved_epochs: int
    """The same in epochs."""
    diverged_saved_s: float
    """Epochs that diverged trials were spared; s."""
    diverged_saved_epochs: int
    """The same in epochs."""
    restarts: int
    """Attempts beyond the first, over all trials."""
    restarted_trials: int
    """Trials with more than one attempt."""
    crashes: int
    """Attempts that ended because a worker raised an exception or died."""
    moves: int
    """Attempts that ended because a node was lost or taken away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a study is."""

    state: StudyState
    explored: int
    """Explored trials that ended."""
    to_explore: int
    """Trials to explore in all arms."""
    completed: int
    """Explored trials trained to the end with a finite value."""
    paused: int
    """Explored trials that wait at a rung."""
    confirmed: int
    """Confirm trials of the candidates that ended."""
    to_confirm: int
    """Confirm trials of the candidates; 0 until these are chosen."""
    taught: int = 0
    """Teachers that are there."""
    to_teach: int = 0
    """Teachers that the study needs."""
    lost_teachers: tuple[str, ...] = ()
    """Those of them that diverged or failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer, in words."""

    outcome: Outcome
    headline: str
    """One sentence."""
    details: tuple[str, ...]
    """What the sentence rests on, a sentence each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of text."""

    title: str
    caption: str
    """A sentence, or empty."""
    columns: tuple[str, ...]
    right: tuple[bool, ...]
    """Which columns are numbers, set flush right."""
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A command that may come next."""

    purpose: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything a report says; what it draws is in ``view``."""

    study: str
    state: StudyState
    generated_at: datetime
    metric: str
    test_metric: str
    mode: str
    space: Mapping[str, str]
    """What is searched: path to range, in words."""
    derived: Mapping[str, str]
    """What follows from searched values: path to rule, in words."""
    reference_arm: str | None
    progress: Progress
    verdict: Verdict
    best: Best | None
    candidates: tuple[Candidate, ...]
    """Trials to be confirmed, best validation first; none until every planned trial of the search has ended."""
    earlier: tuple[Candidate, ...]
    """Trials whose confirmation began in an earlier round, and that are no candidates any more; not ranked."""
    challenger: Candidate | None
    """The best confirmed trial of the arms other than the reference."""
    reference: Candidate | None
    """The best confirmed trial of the reference arm."""
    comparison: Comparison | None
    """Challenger against reference on the test split; None until both are confirmed."""
    arms: tuple[ArmResult, ...]
    """The best of every arm on the test split, once all is confirmed; only of studies with several arms to compare."""
    calibration: tuple[Calibration, ...]
    """Of the candidates whose calibration was measured."""
    teachers: tuple[TeacherRow, ...]
    signals: tuple[Signal, ...]
    """What teachers told the candidates, or before there are any the best of every arm."""
    test_openings: int
    """How often the test split was looked at: rounds of confirmation."""
    pareto: Pareto | None
    """The explored trials as several objectives see them."""
    audit: Audit | None
    """Whether early stopping ended the right trials; None where none was audited."""
    stability: tuple[StabilityBin, ...]
    """Where trials diverged or failed to train; none where all trained."""
    amendments: tuple[Amendment, ...]
    """What was changed after the study began."""
    repeated: tuple[str, ...]
    """What was trained more than once after a crash, a sentence without a full stop each."""
    spent: tuple[Spent, ...]
    """What was used of the budget."""
    top: tuple[TopTrial, ...]
    counts: tuple[ArmCount, ...]
    time: TimeUse
    notes: tuple[str, ...]
    """What a reader should know before trusting the numbers."""
    steps: tuple[Step, ...]
    run_on: str
    """Code version, libraries and machine of the last session, in a line."""
    standings: tuple[Standing, ...]
    """How sure each candidate's place is, in the order of ``candidates``; none until all is confirmed."""
    seeds_needed: SeedsNeeded | None
    """Confirm seeds that would decide between challenger and reference; None where nothing is open, or their
    differences have no spread to go by."""
    view: StudyView = field(repr=False, compare=False)
