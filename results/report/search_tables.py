"""The tables about the search itself: the Pareto set, the audit of early stopping, stability, amendments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from results import formats
from results.report.audit import RungAudit
from results.report.model import Report, Table
from results.report.pareto import ACCURACY, CALIBRATION, LIKELIHOOD, TIME, TIME_STEP
from results.report.stability import Share

_PARETO_ROWS = 12
_RUNGS = 5  # of a rule that compares in every epoch, so many are shown
_HEADS: Mapping[str, str] = {
    ACCURACY: "val/accuracy",
    LIKELIHOOD: "NLL refitted",
    CALIBRATION: "ECE refitted",
    TIME: "time",
}
_WORDS: Mapping[str, str] = {
    ACCURACY: "validation accuracy",
    LIKELIHOOD: "NLL after refitting the temperature",
    CALIBRATION: "calibration error (ECE) after that",
    TIME: "training time",
}


def pareto_table(report: Report) -> Table:
    """The Pareto set, best accuracy first."""
    found = report.pareto
    title = "Pareto set of the search"
    if found is None:
        return Table(title=title, caption="", columns=(), right=(), rows=())
    efficient = found.efficient
    rest = len(efficient) - _PARETO_ROWS
    seeds = report.view.facts.search_seeds
    caption = (
        f"{formats.count(len(efficient), 'trial')} of {len(found.trials)} trained to the end that no other trial "
        f"beats in everything: {_listed(found.objectives)}. The search went by {report.metric} alone, and these are "
        f"its own values, of {'one seed' if seeds == 1 else f'{seeds} seeds'} and not confirmed."
    )
    if TIME in found.objectives:
        caption += f" Times are compared in steps of {100 * (TIME_STEP - 1):.0f} %."
    if found.left_out:
        caption += f" Left out, not measured in all: {_listed(found.left_out)}."
    if found.by_chance:
        caption += f" Left out, right no more often than by chance: {formats.count(found.by_chance, 'trial')}."
    if rest > 0:
        caption += f" {formats.count(rest, 'more trial')} not shown."
    return Table(
        title=title,
        caption=caption,
        columns=("trial", "arm", "settings", *(_HEADS[name] for name in found.objectives)),
        right=(False, False, False, *[True] * len(found.objectives)),
        rows=tuple(
            (
                t.trial,
                t.arm,
                formats.settings(t.settings),
                *(_value(name, t.values[name]) for name in found.objectives),
            )
            for t in efficient[:_PARETO_ROWS]
        ),
    )


def _value(name: str, value: float) -> str:
    if name == TIME:
        return formats.duration(value)
    return f"{value:.4f}" if name == LIKELIHOOD else formats.percent(value)


def audit_tables(report: Report) -> tuple[Table, ...]:
    """What the audited trials say of the rungs: by arm, and by parts of the temperature's range."""
    audit = report.audit
    if audit is None:
        return ()
    facts = report.view.facts
    caption = (
        f"{audit.advice} {formats.count(audit.audited, 'trial')} drawn at random ran on where the rule would end them; "
        f"{len(audit.trials)} of these were trained to the end. tau-b is Kendall's rank correlation of the value at "
        f"the rung with the final one. Good: among the best 1/{audit.keep:g} of the arm's audited trials in the end."
    )
    title = "Early stopping audited"
    by_arm = [(r.arm or "", r) for r in _thinned(audit.rungs)]
    by_bin = [(str(r.bin), r) for r in _thinned(audit.bins)]
    axis = (facts.temperature or "").rpartition(".")[2]
    return (
        _rungs(title, caption, "arm", by_arm),
        _rungs(f"{title}, by {facts.axis_label}", "The arms that search it, together.", axis, by_bin),
    )


def _rungs(title: str, caption: str, first: str, rows: Sequence[tuple[str, RungAudit]]) -> Table:
    return Table(
        title=title,
        caption=caption,
        columns=(first, "epoch", "audited", "tau-b", "ended by then", "good ones ended"),
        right=(False, *[True] * 5),
        rows=tuple(
            (
                name,
                str(r.epoch),
                str(r.n),
                formats.NONE if r.tau is None else f"{r.tau:.2f}",
                str(r.stopped),
                str(r.good),
            )
            for name, r in rows
        ),
    )


def _thinned(rungs: Sequence[RungAudit]) -> list[RungAudit]:
    """The rungs that audited trials met, at a few epochs, evenly spread, the first and the last among them."""
    epochs = sorted({r.epoch for r in rungs if r.n})
    last = len(epochs) - 1
    shown = {epochs[round(i * last / (_RUNGS - 1))] for i in range(_RUNGS)} if last >= _RUNGS else set(epochs)
    return [r for r in rungs if r.n and r.epoch in shown]


def stability_table(report: Report) -> Table:
    """How often trials diverged or failed to train, by parts of the temperature's range."""
    facts = report.view.facts
    judged = facts.chance is not None
    caption = "Explored trials that ended, of all arms, and the share that diverged"
    if facts.chance is not None:
        caption += (
            f" or failed to train: was right no more often than by chance ({formats.percent(facts.chance)}) in any "
            "epoch, as far as it came. Nobody is stopped for that, since small temperatures learn late"
        )
    caption += ". With 95 % Wilson intervals."
    return Table(
        title=f"Stability by {facts.axis_label}",
        caption=caption,
        columns=(
            (facts.temperature or "").rpartition(".")[2],
            "trials",
            "trained",
            "diverged",
            *["failed to train"] * judged,
        ),
        right=(False, True, True, True, *[True] * judged),
        rows=tuple(
            (
                str(b.bin),
                str(b.n),
                str(b.trained),
                _share(b.diverged, b.n),
                *([_share(b.failed_to_train, b.n)] if b.failed_to_train else []),
            )
            for b in report.stability
        ),
    )


def _share(share: Share, n: int) -> str:
    """``2: 12 % [3, 34]``: how many, and their share in percent with its interval."""
    return f"{share.count}: {100 * share.count / n:.0f} % [{100 * share.low:.0f}, {100 * share.high:.0f}]"


def amended_table(report: Report) -> Table:
    """What was changed after the study began."""
    return Table(
        title="Amended",
        caption="The study file was changed after the study had begun; what ended before went by the earlier file.",
        columns=("file", "from session", "since", "changes"),
        right=(False, False, False, False),
        rows=tuple(
            (
                f"study-{a.number}.yaml",
                a.session or "none yet",
                f"{a.since:%Y-%m-%d %H:%M} UTC" if a.since else formats.NONE,
                "; ".join(map(str, a.changes)) or "nothing",
            )
            for a in report.amendments
        ),
    )


def _listed(objectives: Sequence[str]) -> str:
    """Objectives in words."""
    return formats.listed([_WORDS[name] for name in objectives])
