"""Explain a trial: why it was chosen, what the stopping rule said to it, how it ended and what came of it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator

from results import formats
from results.schema import DecisionRow, Stage, TrialState, Verdict
from search.errors import UsageError
from search.explain_runs import failed, rows_of, runs
from search.explanation import Explanation, Records, sections_of
from search.history import Trial
from search.settings import Asha, Hyperband, Median

_SAID = {
    Verdict.CONTINUE: "it went on",
    Verdict.STOP: "it was stopped",
    Verdict.AUDIT: "it would have been stopped, and ran on because it is audited",
    Verdict.PAUSE: "it paused",
    Verdict.PROMOTE: "it was promoted",
}


def about_trial(records: Records, name: str) -> Explanation:
    """A trial in words.

    Args:
        records: Of its study.
        name: Of the trial.

    Raises:
        UsageError: There is no such trial.
    """
    trials = records.history.trials
    if name not in trials:
        raise UsageError(f"a trial must be one of the study's, got {name!r}. {_near(name, list(trials))}")
    trial = trials[name]
    return Explanation(
        study=records.study.name,
        trial=name,
        headline=_headline(trial),
        sections=sections_of(
            (
                ("Why it was chosen", _why_chosen(records, trial)),
                ("What the stopping rule said", _meetings(records, trial)),
                ("How it ran", runs(records, trial)),
                ("How it ended" if trial.state.is_final else "Where it stands", _end(records, trial)),
                ("Whether it is confirmed on fresh seeds", _confirm(records, trial)),
            )
        ),
    )


def _near(name: str, names: list[str]) -> str:
    if not names:
        return "It has none yet"
    digits = name.lstrip("tT")
    padded = f"t{int(digits):04d}" if digits.isdecimal() else name
    near = [padded] if padded in names else difflib.get_close_matches(padded, names, n=3)
    return f"Did you mean {' or '.join(near)}?" if near else f"Its trials are {names[0]} to {names[-1]}"


def _headline(trial: Trial) -> str:
    match trial.stage:
        case Stage.TEACH:
            what = f"the teacher {trial.arm}"
        case Stage.EXPLORE:
            what = f"explored trial {trial.number + 1} of arm {trial.arm}"
        case _:
            what = f"confirm run of {trial.source} of arm {trial.arm}"
    epochs = formats.count(trial.last_epoch, "epoch")
    return f"{trial.name}, {what}: {trial.state} {'after' if trial.state.is_final else 'at'} {epochs}."


def _why_chosen(records: Records, trial: Trial) -> Iterator[str]:
    study = records.study_in(rows_of(records, trial)[0].session)
    match trial.stage:
        case Stage.TEACH:
            yield "Trials learn from this network, so it is trained before they begin."
            return
        case Stage.CONFIRM:
            yield (
                f"Its configuration is that of {trial.source}, which is measured on fresh seeds; this run has seed "
                f"{', '.join(map(str, trial.seeds))}."
            )
        case _:
            yield f"{_capital(trial.origin or 'no reason is on record')}."
            if study.search.warm_start is not None and study.search.sampler.name in ("tpe", "gp", "cmaes"):
                yield f"The sampler knew the trials of {study.search.warm_start} as well, from the start."
    yield f"Values: {_values(trial.params)}."
    chosen = {path: value for path, value in trial.coordinates.items() if trial.params.get(path) != value}
    if chosen:
        yield f"In the coordinates of the sampler, before the space rescales: {_values(chosen)}."
    if trial.stage is Stage.EXPLORE:
        if len(study.arms) > 1:
            yield f"Arms take turns: {trial.arm} had the fewest trials ({trial.number}) of those with more to try."
        if trial.audited:
            yield "It was drawn for the audit: where the stopping rule would end it, it runs on."


def _values(values: dict[str, str | int | float | bool]) -> str:
    return ", ".join(f"{path} {value}" for path, value in values.items()) or "none vary"


def _meetings(records: Records, trial: Trial) -> Iterator[str]:
    """What was said at every rung, in the order of the records; a later attempt is told nothing again."""
    met = set[int]()
    for row in records.rows:
        if not isinstance(row, DecisionRow) or row.trial != trial.name:
            continue
        if row.verdict != Verdict.PROMOTE and row.rung in met:
            continue
        met.add(row.rung)
        metric = records.study.search.metric
        bracket = f" of bracket {row.bracket}" if row.bracket else ""
        needed = _needed(records, row)
        said = _SAID[Verdict(row.verdict)]
        value = formats.metric(metric, row.value)
        yield f"Epoch {row.rung}: {value}, rank {row.rank} of {row.n}{bracket}; {needed}; {said}."
    if not met and trial.stage is not Stage.EXPLORE:
        yield "None: only explored trials are compared."
    elif not met:
        yield "Nothing: it came to no epoch at which trials are compared."


def _needed(records: Records, row: DecisionRow) -> str:
    """What a verdict was measured by, by the rule of the session that gave it."""
    study = records.study_in(row.session)
    cutoff = formats.metric(study.search.metric, row.cutoff)
    if not math.isfinite(row.value):
        return "no finite value can go on"
    match study.stopping:
        case Asha(form="promotion", reduction_factor=factor) if row.verdict == Verdict.PROMOTE:
            best = row.n // factor
            if row.rank > best:
                return "nobody else was to come, and the arm would have had too few trials to confirm"
            return f"the best {best} ({row.n} // {factor}) go on"
        case Asha(form="promotion", reduction_factor=factor):
            return _few(factor) if row.n < factor else f"the best {row.n // factor} ({row.n} // {factor}) go on"
        case Asha(reduction_factor=factor) | Hyperband(reduction_factor=factor):
            if row.n < factor:
                return f"fewer than {factor} were there to compare"
            if row.cutoff is None:
                return f"the best {row.n // factor} ({row.n} // {factor}) go on"
            return f"needed {cutoff} (rank {row.n // factor} = {row.n} // {factor})"
        case Median(min_trials=least):
            if row.cutoff is None:
                return f"no median to compare with (from {formats.count(least, 'trial')} before it on)"
            return f"needed {cutoff}, the median of the {row.n - 1} before it"
    return "no rule"


def paused(records: Records, trial: Trial) -> str:
    """What a paused trial waits for, as the rest of a sentence."""
    epoch = max(trial.decisions)
    if trial.is_promoted:
        return f"is promoted from epoch {epoch}, and goes on with the next session."
    rung = records.history.rung(trial.arm, 0, epoch)
    place, n = rung.place(trial.name, records.study.search.mode), len(rung)
    factor = getattr(records.study.stopping, "reduction_factor", 1)  # an amendment may have put another rule in place
    room = f"must be among the best {n // factor} ({n} // {factor})" if n >= factor else _few(factor)
    return f"waits at epoch {epoch} to be promoted: place {place} of {n} there, and {room}."


def _few(factor: int) -> str:
    """Why nobody is promoted yet."""
    return f"nobody goes on before {factor} have come"


def _end(records: Records, trial: Trial) -> Iterator[str]:
    metric = records.study.search.metric
    value = trial.value(metric)
    lanes = f", mean of {len(trial.seeds)} seeds" if len(trial.seeds) > 1 else ""
    newest = (
        "" if value is None else f" {metric} is {formats.metric(metric, value)} after epoch {trial.last_epoch}{lanes}."
    )
    match trial.state:
        case TrialState.COMPLETED:
            yield f"Completed: {trial.reason}.{newest}"
        case TrialState.PRUNED:
            yield f"Ended early: {trial.reason}.{newest}"
        case TrialState.DIVERGED:
            yield f"Diverged in epoch {trial.last_epoch}: {trial.reason}. It counts as worse than all others."
        case TrialState.FAILED:
            yield from failed(rows_of(records, trial), records.study.resources.max_failures)
        case TrialState.PAUSED:
            yield f"It {paused(records, trial)}{newest}"
        case TrialState.RUNNING if records.view.holder is not None:
            yield f"It is being trained.{newest}"
        case TrialState.RUNNING:
            yield f"It was being trained when the driver stopped; the next one goes on with it.{newest}"
        case _ if trial.epochs:
            yield f"It waits for a free worker, to go on.{newest}"
        case _:
            yield "It is proposed, and has not begun."
    if trial.is_spared:
        yield "It is spared: without the audit, the stopping rule would have ended it before."


def _confirm(records: Records, trial: Trial) -> Iterator[str]:
    if trial.stage is not Stage.EXPLORE:
        return
    study, history = records.study, records.history
    metric, mode = study.search.metric, study.search.mode
    runs = [run for run in history.of(trial.arm, Stage.CONFIRM) if run.source == trial.name]
    top = study.confirmed_trials(trial.arm)
    if not trial.state.is_final:
        yield "Not yet: it has not ended."
        return
    if trial.state is not TrialState.COMPLETED:
        yield f"No: only trials that were trained to the end can be chosen, and it is {trial.state.lower()}."
        return
    ranked = [other.name for other in history.best(trial.arm, metric, mode, len(history.of(trial.arm)))]
    if trial.name not in ranked:
        yield f"No: it has no {metric}."
        return
    place = f"place {ranked.index(trial.name) + 1} of {len(ranked)} completed trials of arm {trial.arm} by {metric}"
    chosen = records.conductor.agenda.candidates()
    best = f"the best {top} of the arm are" if top > 1 else "the best one of the arm is"
    if not chosen and not runs:
        yield f"Not decided: some explored trials have not ended. It has {place} so far; {best} chosen in the end."
    elif trial in chosen:
        yield f"Yes: it has {place}, and {best} measured on fresh seeds."
    elif runs:
        yield f"It was, before trials were added; now it has {place}, and {best} chosen."
    else:
        yield f"No: it has {place}, and {best} measured on fresh seeds."
    for run in runs:
        measured = {name: run.value(name) for name in (metric, records.view.facts.test_metric)}
        values = ", ".join(
            f"{name} {formats.metric(name, value)}" for name, value in measured.items() if value is not None
        )
        seeds = ", ".join(map(str, run.seeds))
        yield f"{run.name}, seed {seeds}: {run.state}" + (f", {values}." if values else ".")
    todo = [seed for seed in study.confirm_seeds if all(seed not in run.seeds for run in runs)]
    if trial in chosen and todo:
        yield f"Still to be begun: seed {', '.join(map(str, todo))}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
