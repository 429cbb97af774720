"""A comparison of studies as text."""

from __future__ import annotations

from results import formats
from results.report.comparison import ComparedStudy, StudiesComparison, StudyDifference
from results.report.model import Table
from results.report.output import Format, json_text, render_short
from results.statistics import Outcome


def render_comparison(comparison: StudiesComparison, form: Format, *, width: int = 100, color: bool = False) -> str:
    """A comparison as text.

    Args:
        comparison: What ``compare_studies`` gave.
        form: ``table``, ``json`` or ``markdown``.
        width: Columns of the terminal; only for ``table``.
        color: Whether terminal colours may be used; only for ``table``.

    Raises:
        ResultsError: A comparison is not written in this format.
    """
    if form is Format.JSON:
        return json_text(_document(comparison))
    head = [_sentence(comparison, difference) for difference in comparison.differences]
    head += dict.fromkeys(caution for difference in comparison.differences for caution in difference.cautions)
    head += [f"{study.facts.name} for itself: {study.verdict}" for study in comparison.studies]
    tables = [_side_by_side(comparison), _recipes(comparison), _gaps(comparison)]
    return render_short(head, tables, comparison.steps, form, width, color)


def _sentence(comparison: StudiesComparison, found: StudyDifference) -> str:
    metric = comparison.studies[0].facts.test_metric
    if found.difference is None:
        return f"{found.study} and {found.first} are not compared: {found.reason}."
    gap = f"{formats.metric_words(metric)} {formats.difference(metric, found.difference)}"
    gap += f" over {found.difference.n} common seeds" if found.difference.low is not None else ""
    match found.outcome:
        case Outcome.BETTER | Outcome.WORSE:
            return f"{found.study} is {found.outcome} than {found.first}: {gap}, {found.reason}."
        case Outcome.NOT_SHOWN:
            return f"{found.study} is not shown to differ from {found.first}: {gap}; {found.reason}."
        case Outcome.NOT_COMPARED:
            return f"No winner is named between {found.study} and {found.first}, because {found.reason}: {gap}."


def _side_by_side(comparison: StudiesComparison) -> Table:
    rows = {
        "state": [s.state.value for s in comparison.studies],
        "data": [s.facts.data.name for s in comparison.studies],
        "epochs": [str(s.facts.epochs) for s in comparison.studies],
        "goes by": [s.facts.metric for s in comparison.studies],
        "searched": ["; ".join(f"{p} {r}" for p, r in s.facts.space.items()) or "nothing" for s in comparison.studies],
        "explored": [f"{s.explored} of {s.to_explore} trials" for s in comparison.studies],
        "best": [f"{s.best.trial}, arm {s.best.arm}" if s.best else formats.NONE for s in comparison.studies],
        "settings": [formats.settings(s.best.settings) if s.best else formats.NONE for s in comparison.studies],
        "validation": [_validated(s) for s in comparison.studies],
        "test": [
            formats.interval(s.facts.test_metric, s.confirmed.test, n=False) if s.confirmed else formats.NONE
            for s in comparison.studies
        ],
        "confirm seeds": [
            f"{s.confirmed.ended} of {s.confirmed.seeds}" if s.confirmed else formats.NONE for s in comparison.studies
        ],
    }
    return Table(
        title="Side by side",
        caption="The best configuration of each, chosen by the mean on the validation split; means with 95 % t "
        "intervals over the confirm seeds.",
        columns=("", *(s.facts.name for s in comparison.studies)),
        right=(False,) * (1 + len(comparison.studies)),
        rows=tuple((name, *cells) for name, cells in rows.items()),
    )


def _validated(study: ComparedStudy) -> str:
    if study.confirmed is not None:
        return formats.interval(study.facts.metric, study.confirmed.validation, n=False)
    return f"{formats.metric(study.facts.metric, study.best.value)}, not confirmed" if study.best else formats.NONE


def _recipes(comparison: StudiesComparison) -> Table:
    names = [s.facts.name for s in comparison.studies]
    return Table(
        title="Recipes that differ",
        caption="Beside what is searched, and what the arms set.",
        columns=("", *names),
        right=(False,) * (1 + len(names)),
        rows=tuple(
            (d.path, *(formats.setting(d.values[name]) if name in d.values else formats.NONE for name in names))
            for d in comparison.recipe
        ),
    )


def _gaps(comparison: StudiesComparison) -> Table:
    first = comparison.studies[0].facts
    unit = "percentage points" if first.test_metric.endswith("accuracy") else "nats"
    return Table(
        title=f"Against {first.name} on the test split",
        caption=f"Difference in {formats.metric_words(first.test_metric)}, in {unit}, paired over common confirm "
        "seeds, with its 95 % t interval; p value as it is and after Holm's correction for several differences.",
        columns=("study", "difference", "paired t test", "corrected", "seeds", "verdict"),
        right=(False, True, True, True, True, False),
        rows=tuple(
            (
                d.study,
                formats.difference_only(first.test_metric, d.difference),
                formats.p_value(d.difference.p),
                formats.p_value(d.p_corrected),
                str(d.difference.n),
                d.outcome.value,
            )
            for d in comparison.differences
            if d.difference is not None
        ),
    )


def _document(comparison: StudiesComparison) -> dict[str, object]:
    """The comparison as JSON, names and numbers without the folders they come from."""
    studies = [
        {
            "study": s.facts.name,
            "state": s.state,
            "data": {"name": s.facts.data.name, "digest": s.facts.data.digest},
            "metric": s.facts.metric,
            "test_metric": s.facts.test_metric,
            "epochs": s.facts.epochs,
            "space": s.facts.space,
            "explored": s.explored,
            "to_explore": s.to_explore,
            "best": s.best,
            "confirmed": s.confirmed,
            "verdict": s.verdict,
        }
        for s in comparison.studies
    ]
    return {
        "studies": studies,
        "differences": comparison.differences,
        "recipe": comparison.recipe,
        "steps": comparison.steps,
    }
