"""The tables about the candidates on fresh seeds: their values, how sure these are, the arms, calibration."""

from __future__ import annotations

from results import formats
from results.report.model import Candidate, Report, Standing, Table

_MAY_BE = {True: "maybe", False: "no", None: formats.NONE}


def candidates_table(report: Report) -> Table:
    """Every candidate in the search and on fresh seeds."""
    study = report.view.facts
    caption = (
        "Chosen by the mean on the validation split; the test split is only read off. Means with 95 % t intervals "
        "over seeds only, on one fixed test set: they do not cover what another test set would change."
    )
    if study.reference is not None and len(study.arms) > 1:
        caption += f" The reference arm sends its best trial to the confirmation, every other arm {study.confirm_top}."
    return Table(
        title="Candidates on fresh seeds",
        caption=caption,
        columns=("trial", "arm", "settings", "in the search", report.metric, report.test_metric, "seeds"),
        right=(False, False, False, True, True, True, True),
        rows=tuple(
            (
                c.trial,
                c.arm + (" (ref.)" if c.arm == report.reference_arm else ""),
                formats.settings(c.settings),
                formats.metric(report.metric, c.explored),
                formats.interval(report.metric, c.validation, n=False),
                formats.interval(report.test_metric, c.test, n=False),
                _seeds(c) + (", earlier round" if c in report.earlier else ""),
            )
            for c in (*report.candidates, *report.earlier)
        ),
    )


def standings_table(report: Report) -> Table:
    """How sure the place of each candidate is: only what there is something to say of."""
    metric, test = report.metric, report.test_metric
    found = report.standings
    captions, columns = [], [("trial", False, [s.trial for s in found])]
    if any(s.optimism for s in found):
        captions.append(
            "Luck: how much better a candidate looked in the search than over fresh seeds, on validation, in "
            f"{formats.unit(metric)}, from values before rounding. Where its 95 % prediction interval holds 0, the two "
            "are no more apart than seeds vary."
        )
        luck = [formats.difference_only(metric, s.optimism) if s.optimism else formats.NONE for s in found]
        columns.append(("luck", True, luck))
    if any(s.first_share is not None for s in found):
        captions.append(
            "Leads: how often it is first on validation when the confirm seeds are drawn again from those that were "
            "run."
        )
        leads = [formats.NONE if s.first_share is None else formats.rough_percent(s.first_share) for s in found]
        columns.append(("leads", True, leads))
    if any(s.comparison for s in found):
        captions.append(
            f"Minus the reference: on test, in {formats.unit(test)}, paired by seed, each with its own 95 % interval; "
            "p after Holm's correction for all that are compared, since the best of them is picked on the same seeds."
        )
        against = [_against(test, s, report.reference) for s in found]
        columns += [("minus the reference", True, [gap for gap, _ in against]), ("p", True, [p for _, p in against])]
    if any(s.may_be_best is not None for s in found):
        captions.append(
            "Best: maybe, if on test no other is shown to be better; at least 95 % of such sets hold the best."
        )
        columns.append(("best", False, [_MAY_BE[s.may_be_best] for s in found]))
    return Table(
        title="How sure that is",
        caption=" ".join(captions),
        columns=tuple(name for name, _, _ in columns),
        right=tuple(right for _, right, _ in columns),
        rows=tuple(zip(*(cells for _, _, cells in columns), strict=True)),
    )


def _against(metric: str, standing: Standing, reference: Candidate | None) -> tuple[str, str]:
    """The difference to the reference, and its corrected p value."""
    found = standing.comparison
    if found is None or found.difference is None:
        is_it = reference is not None and standing.trial == reference.trial
        return "the reference" if is_it else formats.NONE, formats.NONE
    known = found.p_corrected is not None
    p = formats.p_value(found.p_corrected).removeprefix("p ").removeprefix("= ") if known else formats.NONE
    return formats.difference_only(metric, found.difference), p


def arms_table(report: Report) -> Table:
    """Every arm's best against the reference."""
    name = report.test_metric
    rows = []
    for result in report.arms:
        comparison = result.comparison
        is_reference = result.arm == report.reference_arm
        gap = comparison.difference if comparison else None
        rows.append(
            (
                result.arm + (" (ref.)" if is_reference else ""),
                result.trial,
                formats.interval(name, result.test, n=False),
                formats.difference_only(name, gap) if gap else formats.NONE,
                formats.p_value(comparison.p_corrected) if comparison and gap else formats.NONE,
                comparison.outcome.value if comparison else formats.NONE,
            )
        )
    compared = next((r.comparison.compared for r in report.arms if r.comparison), 0)
    return Table(
        title="Arms on the test split",
        caption=f"The best candidate of every arm, chosen on the validation split, against that of "
        f"{report.reference_arm} on the same seeds. Intervals are of each row alone; p values, and with them the "
        f"verdicts, are corrected by Holm's method for the {compared} candidates compared.",
        columns=("arm", "trial", name, f"minus the reference ({formats.unit(name)})", "p, corrected", "verdict"),
        right=(False, False, True, True, True, False),
        rows=tuple(rows),
    )


def calibration_table(report: Report) -> Table:
    """How sure the candidates are of themselves, before and after refitting."""
    return Table(
        title="Calibration",
        caption="Negative log-likelihood (NLL, nats) and expected calibration error (ECE) on the test split, as "
        "trained and after one temperature was fitted to the validation split; means over the confirm seeds. A "
        "difference in NLL that vanishes after refitting was only one of confidence.",
        columns=("trial", "arm", "NLL", "NLL refitted", "ECE", "ECE refitted", "temperature", "seeds"),
        right=(False, False, *([True] * 6)),
        rows=tuple(
            (
                c.trial,
                c.arm + (" (ref.)" if c.arm == report.reference_arm else ""),
                formats.number(c.nll, ".4f"),
                formats.number(c.nll_refit, ".4f"),
                formats.percent(c.ece),
                formats.percent(c.ece_refit),
                formats.number(c.temperature, ".3g"),
                str(c.seeds),
            )
            for c in report.calibration
        ),
    )


def _seeds(candidate: Candidate) -> str:
    parts = [f"{candidate.ended} of {candidate.seeds}"]
    parts += [f"{candidate.diverged} diverged"] if candidate.diverged else []
    parts += [f"{candidate.failed} failed"] if candidate.failed else []
    return ", ".join(parts)
