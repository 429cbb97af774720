"""The early-stopping audit: a random share of trials runs on where the rule would end them, to judge the rule itself.

What a rung shows is worth something if its order of trials is that of their ends. Kendall's tau-b between the two says
how far it is, over audited trials only: those that survived by their own merit are no fair sample. After the first
verdict that would have ended it an audited trial is judged no more, so that it does not raise the bar for the others;
whether a rule that begins at a later rung would end it follows from its rank there among the audited trials. At every
rung only those count that meet it: trials of Hyperband's later brackets, and those from before an amendment of the
rule, may be judged for the first time at a later one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from results.formats import count
from results.query import StudyView, Trial
from results.report.stability import Bin, bins
from results.report.trials import number, place_of, verdicts
from results.schema import Stage, TrialState, Verdict
from results.statistics import kendall_tau

ENOUGH = 8
"""Audited trials of an arm, trained to the end, from which on advice is given."""
AGREEMENT = 0.5
"""tau-b from which on a rung is said to tell how trials end: three of four pairs are then in the right order."""

_BINS = 3
_USUAL_FACTOR = 2.0  # of a rule without a reduction factor: the median rule lets the better half go on


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedTrial:
    """A trial that was let run on, trained to the end."""

    trial: str
    arm: str
    x: float | None
    """Its place on the temperature axis; None where it has none."""
    at_rungs: Mapping[int, float]
    """The study's metric at the rungs that it meets, by epoch: those of its arm from its first verdict on. Empty for a
    trial of Hyperband's last bracket, on which there is none."""
    final: float
    """The metric at its last epoch."""
    rank: int
    """Rank of that among the audited trials of its arm, 1 for the best; equals share the better rank."""
    good: bool
    """Whether it ended among the best one in ``keep`` of these."""
    stopped_at: int | None
    """The rung at which the rule would have ended it; None if it would have come through."""

    def stopped_by(self, epoch: int) -> bool:
        """Whether the rule would have ended it at this rung or before."""
        return self.stopped_at is not None and self.stopped_at <= epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class RungAudit:
    """What the audited trials say of a rung."""

    arm: str | None
    """The arm; None for all arms together."""
    bin: Bin | None
    """Part of the temperature's range; None for all of it."""
    epoch: int
    """Epoch of the rung."""
    n: int
    """Audited trials of that group that meet the rung, trained to the end."""
    tau: float | None
    """Kendall's tau-b between value at the rung and final value; None where there is nothing to rank."""
    stopped: int
    """Trials that the rule would have ended at this rung or before."""
    good: int
    """Of these, trials that ended among the best one in ``keep`` of their arm's audited trials."""
    top_lost: int | None
    """Of the best one in ``keep ** 2`` of the arm, which a faultless rule would carry past the next rung too, those
    that a rule which begins here would end; None for a part of the range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Whether early stopping ended the right trials."""

    audited: int
    """Trials that run on whatever the rule says."""
    trials: tuple[AuditedTrial, ...]
    """Those of them that were trained to the end."""
    keep: float
    """The rule keeps one in so many."""
    rungs: tuple[RungAudit, ...]
    """Every rung of every arm."""
    bins: tuple[RungAudit, ...]
    """Every rung by parts of the temperature's range, all arms that search it together; empty where it is no number."""
    advice: str
    """What that means for the grace period, in words."""


def audit(view: StudyView) -> Audit | None:
    """Judges the stopping rule by the trials that ran on.

    Args:
        view: The records.

    Returns:
        The audit; None where no trial was audited.
    """
    audited = [t for t in view.trials if t.stage is Stage.EXPLORE and t.audited]
    if not audited:
        return None
    facts = view.facts
    rungs = {arm: [r.epoch for r in view.rungs if r.arm == arm and r.epoch < facts.epochs] for arm in facts.arms}
    keep = facts.reduction_factor if facts.reduction_factor > 1 else _USUAL_FACTOR
    said = verdicts(view)
    ended = {
        arm: [t for t in audited if t.arm == arm and t.state is TrialState.COMPLETED and number(t.value) is not None]
        for arm in facts.arms
    }
    trials = {arm: _audited(view, ended[arm], rungs[arm], keep, said) for arm in facts.arms}
    by_arm = tuple(
        _of_arm(arm, trials[arm], epoch, rungs[arm][0], keep, facts.mode) for arm in facts.arms for epoch in rungs[arm]
    )
    everyone = [t for of_arm in trials.values() for t in of_arm]
    along = [arm for arm in facts.arms if facts.temperature in facts.varying[arm]]
    places = [x for t in view.trials if t.arm in along and (x := place_of(view, t)) is not None]
    parts = bins(places, _BINS, log=facts.temperature_is_log)
    by_bin = tuple(
        _rung([t for arm in along for t in trials[arm] if t.x is not None and part.holds(t.x)], epoch, part=part)
        for part in parts
        if len(parts) > 1
        for epoch in sorted({epoch for arm in along for epoch in rungs[arm]})
    )
    return Audit(
        audited=len(audited),
        trials=tuple(everyone),
        keep=keep,
        rungs=by_arm,
        bins=by_bin,
        advice=_advice(by_arm, keep, facts.audit),
    )


def _audited(
    view: StudyView,
    ended: Sequence[Trial],
    epochs: Sequence[int],
    keep: float,
    said: Mapping[str, Mapping[int, Verdict]],
) -> list[AuditedTrial]:
    """The audited trials of an arm."""
    finals = [float(t.value or 0.0) for t in ended]
    found = []
    for trial, final in zip(ended, finals, strict=True):
        measured = {e.epoch: number(e.metrics.get(view.facts.metric)) for e in view.epoch_means.get(trial.trial, ())}
        judged = said.get(trial.trial, {})
        spared = [epoch for epoch, verdict in judged.items() if verdict is Verdict.AUDIT]
        meets = [epoch for epoch in epochs if judged and epoch >= min(judged)]
        found.append(
            AuditedTrial(
                trial=trial.trial,
                arm=trial.arm,
                x=place_of(view, trial),
                at_rungs={epoch: value for epoch in meets if (value := measured.get(epoch)) is not None},
                final=final,
                rank=(rank := _rank(final, finals, view.facts.mode)),
                good=rank <= _best(len(finals), keep),
                stopped_at=min(spared, default=None),
            )
        )
    return found


def _rung(trials: Sequence[AuditedTrial], epoch: int, *, part: Bin | None = None) -> RungAudit:
    """What these trials say of a rung."""
    there = [t for t in trials if epoch in t.at_rungs]
    return RungAudit(
        arm=None,
        bin=part,
        epoch=epoch,
        n=len(there),
        tau=kendall_tau([t.at_rungs[epoch] for t in there], [t.final for t in there]),
        stopped=sum(t.stopped_by(epoch) for t in there),
        good=sum(t.stopped_by(epoch) and t.good for t in there),
        top_lost=None,
    )


def _of_arm(arm: str, trials: Sequence[AuditedTrial], epoch: int, first: int, keep: float, mode: str) -> RungAudit:
    there = [t for t in trials if epoch in t.at_rungs]
    values = [t.at_rungs[epoch] for t in there]
    room = math.ceil(len(there) / keep)
    top = [t for t in there if t.rank <= _best(len(trials), keep**2)]
    lost = [
        t for t in top if (t.stopped_by(epoch) if epoch == first else _rank(t.at_rungs[epoch], values, mode) > room)
    ]
    return replace(_rung(trials, epoch), arm=arm, top_lost=len(lost))


def _best(n: int, keep: float) -> int:
    """How many of n are the best one in ``keep``; one at least."""
    return max(1, int(n / keep))


def _rank(value: float, values: Sequence[float], mode: str) -> int:
    return 1 + sum(other > value if mode == "max" else other < value for other in values)


def _advice(rungs: Sequence[RungAudit], keep: float, share: float) -> str:
    """What to do about ``stopping.grace_epochs``: arms with enough audited trials at their first rung have a say."""
    at_first: dict[str | None, int] = {}
    for rung in rungs:
        at_first.setdefault(rung.arm, rung.n)
    most = max(at_first.values(), default=0)
    if most < ENOUGH:
        takes = (
            f" At a share of {share:.2g} that takes about {math.ceil(ENOUGH / share)} trials an arm." if share else ""
        )
        return (
            f"Too few audited trials to advise on grace_epochs: {most} of an arm trained to the end, {ENOUGH} are "
            f"needed.{takes}"
        )
    telling = [r for r in rungs if at_first[r.arm] >= ENOUGH]
    epochs = sorted({r.epoch for r in telling})
    fine = [e for e in epochs if all(_is_fine(r) for r in telling if r.epoch == e)]
    grace = epochs[0]
    if not fine:
        return (
            f"No rung tells enough: {_why([r for r in telling if r.epoch == epochs[-1]])}. Raise stopping.grace_epochs "
            f"beyond {epochs[-1]}, or use stopping none."
        )
    good = f"none of the best 1/{keep**2:g} would be ended there"
    at = [r.tau for r in telling if r.epoch == fine[0] and r.tau is not None]
    if fine[0] == grace:
        return f"Keep grace_epochs at {grace}: values at this rung agree with final ones (tau-b {min(at):.2f}), {good}."
    return (
        f"Raise stopping.grace_epochs from {grace} to {fine[0]}: {_why([r for r in telling if r.epoch == grace])}; "
        f"at epoch {fine[0]} values agree with final ones (tau-b {min(at):.2f}), and {good}."
    )


def _is_fine(rung: RungAudit) -> bool:
    return rung.tau is not None and rung.tau >= AGREEMENT and not rung.top_lost


def _why(rungs: Sequence[RungAudit]) -> str:
    """What speaks against a rung: the least agreement in an arm, and the good trials that it would end."""
    lost, n = sum(r.top_lost or 0 for r in rungs), sum(r.n for r in rungs)
    known = [(r.tau, r.arm) for r in rungs if r.tau is not None]
    words = []
    if not known:
        words.append("values cannot be ranked")
    elif min(known)[0] < AGREEMENT:
        tau, arm = min(known)
        words.append(f"values{f' in {arm}' if len(rungs) > 1 else ''} agree little with final ones (tau-b {tau:.2f})")
    if lost:
        words.append(f"the rule would end {lost} of the best of {count(n, 'audited trial')}")
    return f"at epoch {rungs[0].epoch} " + " and ".join(words)
