"""Timescales of early learning (methods.md A.2): what was predicted before the first step, and what came.

Times are learning times: sums of the learning rates of the steps. A time divided by the peak learning rate is a number
of steps.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from results import formats
from results.places import Place
from results.query import StudyView, Trial
from results.report.model import Step
from results.report.output import Format, json_text, render_short
from results.report.tables import Table
from results.report.trials import number
from results.schema import Stage

SMALL_NORM = 0.1
"""Norms up to this one are small: the softmax is all but uniform, and what is predicted depends on them no more."""
FEWEST_RANKED = 5
"""Trials from which on a rank correlation is given."""

_OF_TAU_NL = (
    " The measured tau_nl is ten times the time in which the kernel changed by a tenth; with ReLU its prediction "
    "leaves out that units switch on and off."
)
_TITLES = {
    "tau_z": "tau_z: until the logits have changed by their norm",
    "tau_nl": "tau_nl: until the tangent kernel has changed by its norm",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timescale:
    """One timescale of a trial."""

    name: str
    """``tau_z`` or ``tau_nl``."""
    predicted: float | None
    """Learning time; None where it was not measured or has no end."""
    measured: float | None
    """Learning time; None where training ended before."""
    ratio: float | None
    """Measured over predicted."""
    predicted_steps: float | None
    """Steps at the peak learning rate."""
    measured_steps: float | None
    """The same of the measured time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningRow:
    """A trial that recorded timescales."""

    trial: str
    arm: str
    stage: Stage
    beta: float
    """Inverse temperature; 1 for losses without one."""
    lr: float | None
    """Peak learning rate."""
    eta_tilde: float | None
    """lr * beta^2."""
    logit_norm: float | None
    """||Z0||: norm of beta * logits before the first step."""
    tau_z: Timescale
    """Until the logits have changed by their norm."""
    tau_nl: Timescale
    """Until the tangent kernel has changed by its norm."""

    @property
    def scales(self) -> tuple[Timescale, Timescale]:
        """Both timescales."""
        return self.tau_z, self.tau_nl

    @property
    def note(self) -> str:
        """The settings in words."""
        return formats.settings({"beta": self.beta, "lr": self.lr, "||Z0||": self.logit_norm})


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How well a timescale was predicted."""

    name: str
    """``tau_z`` or ``tau_nl``."""
    n: int
    """Trials in which it was both predicted and measured."""
    of: int
    """Trials in which it was predicted; in the others training ended before."""
    median: float
    """Median of measured / predicted."""
    low: float
    """Lowest ratio."""
    high: float
    """Highest ratio."""
    rank_correlation: float | None
    """Spearman's, of predicted and measured; None with fewer than ``FEWEST_RANKED`` trials or equal values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariance:
    """Whether a prediction, freed of beta and ||Z0||, is the same in all trials of the search."""

    quantity: str
    """What theory says to be constant."""
    among: str
    """Which trials are compared."""
    n: int
    """How many these are; 2 or more."""
    spread: float
    """Highest over lowest value; 1 if it is constant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TheoryReport:
    """What a study says about the timescales of early learning."""

    study: str
    rows: tuple[LearningRow, ...]
    """Trials that recorded timescales, in order of proposal."""
    agreements: tuple[Agreement, ...]
    invariances: tuple[Invariance, ...]
    summary: tuple[str, ...]
    """The same in sentences; where nothing was recorded, why, and what to do."""
    steps: tuple[Step, ...]


def theory(study_dir: Place, *, command: str = "thermotune") -> TheoryReport:
    """Sets the measured timescales of a study against the predicted ones.

    Args:
        study_dir: Folder of the study.
        command: What the printed commands begin with.

    Returns:
        The report; without rows where nothing was recorded.

    Raises:
        ResultsError: The study or its records cannot be read.
    """
    view = StudyView(study_dir)
    rows = learning_of(view)
    name = view.facts.name
    if not rows:
        summary = (_why_nothing(view),)
        return TheoryReport(study=name, rows=(), agreements=(), invariances=(), summary=summary, steps=())
    agreements = tuple(a for scale in _TITLES if (a := _agreement(rows, scale)) is not None)
    invariances = _invariances(rows)
    picture = Step(purpose="the picture", command=f"{command} report {name} --open")
    return TheoryReport(
        study=name,
        rows=rows,
        agreements=agreements,
        invariances=invariances,
        summary=(*map(_agreement_words, agreements), *map(_invariance_words, invariances)),
        steps=(picture,),
    )


def render_theory(found: TheoryReport, form: Format, *, width: int = 100, color: bool = False) -> str:
    """The timescales of a study as text.

    Args:
        found: What ``theory`` gave.
        form: ``table``, ``json`` or ``markdown``.
        width: Columns of the terminal; only for ``table``.
        color: Whether terminal colours may be used; only for ``table``.

    Raises:
        ResultsError: They are not written in this format.
    """
    if form is Format.JSON:
        return json_text(found)
    if not found.rows:
        return render_short(found.summary, [], found.steps, form, width, color)
    head = [f"{found.study}: timescales of early learning in {formats.count(len(found.rows), 'trial')}", *found.summary]
    return render_short(head, [_table(found.rows, name) for name in _TITLES], found.steps, form, width, color)


def learning_of(view: StudyView) -> tuple[LearningRow, ...]:
    """The trials of a study that recorded timescales, in order of proposal."""
    return tuple(row for trial in view.trials if (row := _row(view, trial)) is not None)


def _row(view: StudyView, trial: Trial) -> LearningRow | None:
    eta_tilde = view.measured(trial.trial, "theory/eta_tilde")
    lr = number(trial.setting("optimizer.lr"))
    tau_z, tau_nl = _timescale(view, trial, "tau_z", lr), _timescale(view, trial, "tau_nl", lr)
    if eta_tilde is None and all(v is None for s in (tau_z, tau_nl) for v in (s.predicted, s.measured)):
        return None
    beta = number(trial.setting("loss.beta"))
    return LearningRow(
        trial=trial.trial,
        arm=trial.arm,
        stage=trial.stage,
        beta=1.0 if beta is None else beta,
        lr=lr,
        eta_tilde=eta_tilde,
        logit_norm=view.measured(trial.trial, "probe/logit_norm_start"),
        tau_z=tau_z,
        tau_nl=tau_nl,
    )


def _timescale(view: StudyView, trial: Trial, name: str, lr: float | None) -> Timescale:
    predicted = view.measured(trial.trial, f"theory/{name}")
    measured = view.measured(trial.trial, f"theory/{name}_measured", last=True)
    return Timescale(
        name=name,
        predicted=predicted,
        measured=measured,
        ratio=measured / predicted if measured is not None and predicted else None,
        predicted_steps=predicted / lr if predicted is not None and lr else None,
        measured_steps=measured / lr if measured is not None and lr else None,
    )


def _agreement(rows: Sequence[LearningRow], name: str) -> Agreement | None:
    pairs = [
        (scale.predicted, scale.measured, scale.ratio)
        for row in rows
        for scale in row.scales
        if scale.name == name and scale.ratio is not None
    ]
    if not pairs:
        return None
    ratios = [ratio for _, _, ratio in pairs if ratio is not None]
    known = [(p, m) for p, m, _ in pairs if p is not None and m is not None]
    return Agreement(
        name=name,
        n=len(ratios),
        of=sum(scale.predicted is not None for row in rows for scale in row.scales if scale.name == name),
        median=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        rank_correlation=rank_correlation(known) if len(known) >= FEWEST_RANKED else None,
    )


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's rank correlation, equal values sharing their mean rank.

    Args:
        pairs: Two or more pairs of finite numbers.

    Returns:
        -1..1; None where one side has only equal values.

    Example:
        >>> rank_correlation([(1, 10), (2, 20), (3, 90)])
        1.0
    """
    try:
        return statistics.correlation(_ranks([a for a, _ in pairs]), _ranks([b for _, b in pairs]))
    except statistics.StatisticsError:
        return None


def _ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [ordered.index(v) + (ordered.count(v) - 1) / 2 for v in values]


def _invariances(rows: Sequence[LearningRow]) -> tuple[Invariance, ...]:
    """Of the search only: its trials share their seeds, so that nothing but the settings differs."""
    explored = [(row, row.logit_norm) for row in rows if row.stage is Stage.EXPLORE]
    known = [(row, norm) for row, norm in explored if norm is not None and norm > 0]
    small = [(r, r.beta**2 * r.tau_z.predicted / norm) for r, norm in known if norm <= SMALL_NORM and r.tau_z.predicted]
    found = _invariance("beta^2 * tau_z / ||Z0||", f"||Z0|| up to {SMALL_NORM:g}", small)
    bins: dict[int | None, list[LearningRow]] = {}
    for row, norm in known:
        bins.setdefault(None if norm <= SMALL_NORM else math.floor(2 * math.log10(norm)), []).append(row)
    for half, members in sorted(bins.items(), key=lambda item: -math.inf if item[0] is None else item[0]):
        among = (
            f"||Z0|| up to {SMALL_NORM:g}"
            if half is None
            else f"||Z0|| {10 ** (half / 2):.2g} to " + (f"{10 ** ((half + 1) / 2):.2g}")
        )
        values = [(r, r.beta * r.tau_nl.predicted) for r in members if r.tau_nl.predicted]
        found += _invariance("beta * tau_nl", among, values)
    return tuple(found)


def _invariance(quantity: str, among: str, values: Sequence[tuple[LearningRow, float]]) -> list[Invariance]:
    """None where all trials have the same beta: nothing could have varied."""
    if len({row.beta for row, _ in values}) < 2:
        return []
    sizes = [value for _, value in values]
    return [Invariance(quantity=quantity, among=among, n=len(sizes), spread=max(sizes) / min(sizes))]


def _agreement_words(found: Agreement) -> str:
    words = (
        f"{found.name}: measured / predicted has the median {formats.setting(found.median)} and lies between "
        f"{formats.setting(found.low)} and {formats.setting(found.high)}, over {found.n} of "
        f"{formats.count(found.of, 'trial')}"
    )
    if found.n < found.of:
        words += " (in the others training ended before)"
    if found.rank_correlation is not None:
        words += f"; rank correlation {found.rank_correlation:.2f}"
    return words + "."


def _invariance_words(found: Invariance) -> str:
    return (
        f"Predicted {found.quantity} at {found.among}: highest / lowest is {found.spread:.3g} over "
        f"{found.n} trials of the search; theory says 1."
    )


def _why_nothing(view: StudyView) -> str:
    """Why there is nothing to show, and what to do about it."""
    name = view.facts.name
    if any(view.measured(t.trial, "probe/logit_norm_start") is not None for t in view.trials):
        return (
            f"{name} recorded logit norms but no timescales: these are defined for gradient descent. Use a recipe with "
            "optimizer.name: sgd."
        )
    wanted: list[Mapping[str, object]] = [t.recipe.get("diagnostics") or {} for t in view.trials]
    if any(diagnostics.get("theory") for diagnostics in wanted):
        return f"{name} has no timescales yet: they come with the first epoch of a trial. Look again later."
    return (
        f"No trial of {name} recorded the timescales of early learning. Set recipe.diagnostics.theory: true in the "
        "study file and submit it under another name."
    )


def _table(rows: Sequence[LearningRow], name: str) -> Table:
    """One timescale of all trials."""
    return Table(
        title=_TITLES[name],
        caption="Learning times (sums of lr), and in steps at the peak learning rate; - where training ended before."
        + (_OF_TAU_NL if name == "tau_nl" else ""),
        columns=(
            *("trial", "beta", "lr", "lr beta^2", "||Z0||"),
            *("predicted", "measured", "ratio", "steps (pred. / meas.)"),
        ),
        right=(False, *([True] * 8)),
        rows=tuple(
            (
                row.trial,
                *map(formats.setting, (row.beta, row.lr, row.eta_tilde, row.logit_norm)),
                *map(formats.setting, (scale.predicted, scale.measured, scale.ratio)),
                f"{_count(scale.predicted_steps)} / {_count(scale.measured_steps)}",
            )
            for row in rows
            for scale in row.scales
            if scale.name == name
        ),
    )


def _count(steps: float | None) -> str:
    """Steps: whole ones where they are many."""
    if steps is None or 0.01 <= steps < 100:
        return formats.setting(steps)
    return "< 0.01" if steps < 0.01 else f"{steps:.0f}"
