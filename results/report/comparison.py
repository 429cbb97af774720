"""Studies side by side: what each found, and by how much its best configuration differs from that of the first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from results import formats
from results.errors import ResultsError
from results.facts import StudyFacts
from results.places import Place
from results.report.build import build
from results.report.model import Best, Candidate, Report, Step
from results.report.recipe_differences import RecipeDifference, recipe_cautions, recipe_differences
from results.schema import Stage, StudyState
from results.statistics import LEVEL, Outcome, PairedDifference, holm, paired_difference


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedStudy:
    """A study as a comparison shows it."""

    facts: StudyFacts
    """What it set out to do."""
    state: StudyState
    explored: int
    """Explored trials that ended."""
    to_explore: int
    """Trials to explore in all arms."""
    best: Best | None
    """Its best configuration, chosen on the validation split."""
    confirmed: Candidate | None
    """The same on fresh seeds; None until it is confirmed."""
    arm_trials: int | None
    """Explored trials of the best one's arm; None where nothing varies in it, so that it is as well tuned as can be."""
    verdict: str
    """What the study says for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyDifference:
    """The best configuration of a study against that of the first: test split, common confirm seeds."""

    study: str
    first: str
    outcome: Outcome
    """What is shown of ``study``: BETTER or WORSE only where the corrected p value is below ``LEVEL``."""
    difference: PairedDifference | None
    """``study`` minus ``first``; None where the two do not compare."""
    p_corrected: float | None
    """The p value after Holm's correction for all differences of the comparison; None without one."""
    reason: str
    """Why the outcome is what it is, as a clause without a full stop."""
    cautions: tuple[str, ...]
    """What else may be behind the difference, a sentence each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudiesComparison:
    """Two or more studies, and their differences to the first."""

    studies: tuple[ComparedStudy, ...]
    differences: tuple[StudyDifference, ...]
    """One for every study but the first."""
    recipe: tuple[RecipeDifference, ...]
    """What differs in their recipes beside what is searched or set in an arm."""
    steps: tuple[Step, ...]


def compare_studies(dirs: Sequence[Place], *, command: str = "thermotune") -> StudiesComparison:
    """Sets studies side by side; the first is what the others are measured by.

    A study is represented by its best configuration. Differences are paired by confirm seed, and their p values are
    corrected by Holm's method (Scandinavian Journal of Statistics 6, 1979).

    Args:
        dirs: Folders of two or more studies.
        command: What the printed commands begin with.

    Returns:
        The comparison; a study in progress is shown as far as it is.

    Raises:
        ResultsError: There are fewer than two folders, or one stands there twice; else as ``build``.
    """
    if len({folder.resolve() for folder in dirs}) < max(2, len(dirs)):
        given = ", ".join(folder.name for folder in dirs) or "none"
        raise ResultsError(f"a comparison needs two or more different studies, got {given}. Name each study once")
    studies = [_study(build(folder, command=command)) for folder in dirs]
    first, *others = studies
    return StudiesComparison(
        studies=tuple(studies),
        differences=tuple(_differences(others, first)),
        recipe=recipe_differences([study.facts for study in studies]),
        steps=tuple(
            Step(purpose=f"finish {study.facts.name}", command=f"{command} resume {study.facts.name}")
            for study in studies
            if study.state in (StudyState.NEW, StudyState.INTERRUPTED)
        ),
    )


def _study(report: Report) -> ComparedStudy:
    facts, best = report.view.facts, report.best
    arm_trials = None
    if best is not None and facts.varies(best.arm):
        explored = (t for t in report.view.trials if t.stage is Stage.EXPLORE and t.arm == best.arm)
        arm_trials = sum(t.state.is_final for t in explored)
    return ComparedStudy(
        facts=facts,
        state=report.state,
        explored=report.progress.explored,
        to_explore=report.progress.to_explore,
        best=best,
        confirmed=next((c for c in report.candidates if best and best.confirmed and c.trial == best.trial), None),
        arm_trials=arm_trials,
        verdict=report.verdict.headline,
    )


def _tested(study: ComparedStudy) -> Mapping[int, float]:
    """Test metric of the best configuration by confirm seed."""
    return study.confirmed.test_by_seed if study.confirmed else {}


def _why_not(study: ComparedStudy, first: ComparedStudy) -> str:
    """Why two studies do not compare, as a clause; empty if they do."""
    a, b = study.facts, first.facts
    if a.data.name != b.data.name:
        return f"they are trained on different data, {a.data.name} and {b.data.name}"
    if a.data.digest and b.data.digest and a.data.digest != b.data.digest:
        return f"they are trained on different versions of {a.data.name}"
    if a.test_metric != b.test_metric:
        return f"they are measured by different metrics, {a.test_metric} and {b.test_metric}"
    waiting = [s.facts.name for s in (study, first) if s.confirmed is None]
    if waiting:
        verb = "has" if len(waiting) == 1 else "have"
        return f"{' and '.join(waiting)} {verb} no configuration confirmed on fresh seeds yet"
    common = len(_tested(study).keys() & _tested(first).keys())
    if common < 2:
        many = "only one confirm seed" if common else "no confirm seed"
        return (
            f"they have {many} in common, and a paired difference needs 2; studies of the same search.seed have the "
            f"same confirm seeds ({a.name} has {a.seed}, {b.name} {b.seed})"
        )
    return ""


def _differences(others: Sequence[ComparedStudy], first: ComparedStudy) -> Iterator[StudyDifference]:
    gaps = [None if _why_not(study, first) else paired_difference(_tested(study), _tested(first)) for study in others]
    known = {place: 1.0 if gap.p is None else gap.p for place, gap in enumerate(gaps) if gap is not None}
    corrected = dict(zip(known, holm(list(known.values())), strict=True))
    for place, (study, gap) in enumerate(zip(others, gaps, strict=True)):
        if gap is None:
            p, outcome, reason = None, Outcome.NOT_COMPARED, _why_not(study, first)
        elif gap.p is None:
            same = f"all {gap.n} differences are the same, which says nothing about their spread"
            p, outcome, reason = None, Outcome.NOT_SHOWN, same
        else:
            p = corrected[place]
            outcome, reason = _judged(study, first, gap, p, len(known))
        yield StudyDifference(
            study=study.facts.name,
            first=first.facts.name,
            outcome=outcome,
            difference=gap,
            p_corrected=p,
            reason=reason,
            cautions=tuple(_cautions(study.facts, first.facts)) if gap else (),
        )


def _judged(
    study: ComparedStudy, first: ComparedStudy, gap: PairedDifference, corrected: float, several: int
) -> tuple[Outcome, str]:
    """What a difference with a p value shows, and why."""
    p = formats.p_value(corrected) + (f" after correction for {several} differences" if several > 1 else "")
    if corrected >= LEVEL:
        return Outcome.NOT_SHOWN, p
    ahead = (gap.mean > 0) == (study.facts.test_mode == "max")
    winner, loser = (study, first) if ahead else (first, study)
    if loser.arm_trials is not None and winner.arm_trials is not None and loser.arm_trials < winner.arm_trials:
        return (
            Outcome.NOT_COMPARED,
            f"{loser.facts.name} was not tuned as well as {winner.facts.name}: {loser.arm_trials} trials in the arm of "
            f"its best configuration against {winner.arm_trials}",
        )
    return (Outcome.BETTER if ahead else Outcome.WORSE), p


def _cautions(study: StudyFacts, first: StudyFacts) -> list[str]:
    found = list(recipe_cautions(study, first))
    if not (study.data.digest and first.data.digest):
        unknown = " and ".join(f.name for f in (study, first) if not f.data.digest)
        found.append(f"Whether {study.data.name} is the very same in both is not on record for {unknown}.")
    if study.metric != first.metric:
        found.append(f"{study.name} went by {study.metric} and {first.name} by {first.metric}.")
    return found
