"""What stands beside the verdict: every arm on the test split, calibration, the teachers and what they tell."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from results.query import StudyView, Trial
from results.report.model import ArmResult, Calibration, Candidate, Signal, TeacherRow
from results.report.standing import is_ranked
from results.report.trials import number
from results.schema import Stage, TrialState
from results.statistics import Comparison

SEVERAL = 3
"""Arms from which on each is set against the reference in a table; with two the verdict says it all."""


def arm_results(
    view: StudyView, candidates: Sequence[Candidate], comparisons: Mapping[str, Comparison]
) -> tuple[ArmResult, ...]:
    """The best candidate of every arm, each against the reference's.

    Args:
        view: The records.
        candidates: Confirmed candidates, best first.
        comparisons: Against the reference, by the candidate's trial.

    Returns:
        One result an arm that has a candidate, in the order of the study file; none with fewer than ``SEVERAL`` arms or
        without a reference arm.
    """
    facts = view.facts
    if facts.reference is None or len(facts.arms) < SEVERAL:
        return ()
    bests = (next((c for c in candidates if c.arm == arm and is_ranked(c)), None) for arm in facts.arms)
    return tuple(
        ArmResult(
            arm=best.arm,
            trial=best.trial,
            settings=best.settings,
            test=best.test,
            comparison=comparisons.get(best.trial),
        )
        for best in bests
        if best is not None
    )


def calibrations(view: StudyView, candidates: Sequence[Candidate]) -> tuple[Calibration, ...]:
    """The calibration of every candidate for which it was measured.

    Args:
        view: The records.
        candidates: Candidates, in the order of the report.

    Returns:
        Means over the confirm seeds that were trained to the end.
    """
    found = []
    for candidate in candidates:
        runs = [
            t.trial
            for t in view.trials
            if t.stage is Stage.CONFIRM and t.source == candidate.trial and t.state is TrialState.COMPLETED
        ]
        measured = [trial for trial in runs if view.measured(trial, "test/loss_refit", last=True) is not None]
        if measured:
            means = {
                name: _mean([view.measured(trial, metric, last=True) for trial in measured])
                for name, metric in (
                    ("nll", "test/loss"),
                    ("nll_refit", "test/loss_refit"),
                    ("ece", "test/ece"),
                    ("ece_refit", "test/ece_refit"),
                    ("temperature", "val/refit_temperature"),
                )
            }
            found.append(Calibration(trial=candidate.trial, arm=candidate.arm, seeds=len(measured), **means))
    return tuple(found)


def teachers(view: StudyView) -> tuple[TeacherRow, ...]:
    """The teachers that the study needs or has begun to train, each by its latest trial."""
    latest = {t.arm: t for t in view.trials if t.stage is Stage.TEACH}
    names = dict.fromkeys([*view.facts.needed, *latest])
    return tuple(_teacher(view, name, latest.get(name)) for name in names)


def _teacher(view: StudyView, name: str, trial: Trial | None) -> TeacherRow:
    known = view.facts.teachers.get(name)
    return TeacherRow(
        name=name,
        model=known.model if known else None,
        trial=trial.trial if trial else None,
        state=trial.state if trial else None,
        reused=trial is not None and trial.state is TrialState.COMPLETED and trial.epochs == 0,
        epochs=trial.epochs if trial else 0,
        length=known.epochs if known else None,
        schedule=known.schedule_epochs if known else None,
        accuracy=view.measured(trial.trial, "val/accuracy", last=True) if trial else None,
        learns_from=known.learns_from if known else None,
        adds_to=known.adds_to if known else None,
        reason=trial.reason if trial else None,
    )


def signals(view: StudyView, trials: Sequence[Trial]) -> tuple[Signal, ...]:
    """What the teachers told these trials, for those where it was measured."""
    return tuple(found for trial in trials if (found := _signal(view, trial)) is not None)


def _signal(view: StudyView, trial: Trial) -> Signal | None:
    measured = {
        name: view.measured(trial.trial, f"teacher/{name}")
        for name in (
            "target_logit",
            "wrong_logit_std",
            "target_probability",
            "derived_average",
            "derived_std",
            "inherent_variance",
            "flip_rate",
        )
    }
    if all(value is None for value in measured.values()):
        return None
    teacher = trial.setting("loss.teacher")
    tau1, gap = number(trial.setting("loss.tau1")), number(trial.setting("loss.gap"))
    return Signal(
        trial=trial.trial,
        arm=trial.arm,
        teacher=teacher if isinstance(teacher, str) else None,
        tau1=tau1,
        tau2=None if tau1 is None or gap is None else tau1 - gap,
        **measured,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
