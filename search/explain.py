"""Explain a study: what it does, where it stands, and what is missing for what has not happened yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from results import formats
from results.places import Place
from results.schema import Stage, StudyState, TrialState
from search.budget import Meter, key_of
from search.explain_trial import about_trial, paused
from search.explanation import Explanation, Records, sections_of
from search.history import Trial
from search.proposing import is_exhausted
from search.settings import Grid

MOST_TRIALS = 8
"""Trials of a kind that are named; the rest are counted."""

MOST_EVENTS = 20
"""Events that are listed; of more, the latest."""

MOST_RUNGS = 6
"""Rungs that are all listed."""


def explain_study(folder: Place, *, command: str = "thermotune") -> Explanation:
    """A study in words, from its records.

    Args:
        folder: Of the study.
        command: What the named commands begin with.

    Raises:
        ResultsError: There is no study, or its records cannot be read.
        ThermotuneError: A study file is damaged.
    """
    records = Records(folder)
    return Explanation(
        study=records.study.name,
        trial=None,
        headline=_headline(records),
        sections=sections_of(
            (
                ("What is searched", _searched(records)),
                ("Where it stands", _standing(records)),
                ("What is pending, and what for", _pending(records, command)),
                ("Where trials ended", _ends(records)),
                ("What happened on the way", _events(records)),
                ("What was amended", _amended(records)),
                ("What was trained again", (f"{_capital(line)}." for line in records.view.repeated_in_words)),
            )
        ),
    )


def explain_trial(folder: Place, name: str) -> Explanation:
    """A trial in words: why it was chosen, what the stopping rule said, how it ended and what came of it.

    Args:
        folder: Of the study.
        name: Of the trial.

    Raises:
        UsageError: There is no such trial.
        ResultsError: There is no study, or its records cannot be read.
        ThermotuneError: A study file is damaged.
    """
    return about_trial(Records(folder), name)


def _headline(records: Records) -> str:
    state, last = records.view.state, records.view.sessions[-1:]
    if records.view.holder is not None:
        return f"{records.study.name} is running: {records.view.holder}."
    if not last:
        return f"{records.study.name} has not begun."
    if state is StudyState.COMPLETED:
        return f"{records.study.name} is complete: {last[0].reason or 'nothing left to run'}."
    if last[0].state is StudyState.RUNNING:
        return f"{records.study.name} is interrupted: the driver of session {last[0].session} died without a word."
    return f"{records.study.name} is interrupted: session {last[0].session} ended ({last[0].reason or 'no reason'})."


def _searched(records: Records) -> Iterator[str]:
    facts, study = records.view.facts, records.study
    goal = "largest" if facts.mode == "max" else "smallest"
    yield (
        f"The {goal} {formats.metric_words(facts.metric)} after {formats.count(facts.epochs, 'epoch')} on "
        f"{facts.data.name}, by the sampler {facts.sampler} with seed {facts.seed}."
    )
    for path, values in facts.space.items():
        arms = [arm for arm in facts.arms if path in facts.varying[arm]]
        where = "" if len(arms) == len(facts.arms) else f" (in {' and '.join(arms) or 'no arm'})"
        yield f"{path}: {values}{where}."
    for path, rule in facts.derived.items():
        yield f"{path} follows from others: {rule}."
    for requirement in facts.require:
        yield f"What must hold: {requirement}."
    if study.search.warm_start is not None:
        yield f"The sampler knew the trials of {study.search.warm_start} from the start."
    rungs = [str(epoch) for epoch in study.rungs]
    listed = ", ".join(rungs if len(rungs) <= MOST_RUNGS else [*rungs[:2], "...", rungs[-1]])
    met = f"trials are compared after epoch {listed}" if rungs else "no trial is ended early"
    yield f"Stopping rule: {facts.stopping}; {met}."


def _standing(records: Records) -> Iterator[str]:
    study, history = records.study, records.history
    for name in study.needed_teachers:
        newest = next((trial for trial in reversed(history.of(name, Stage.TEACH))), None)
        yield f"Teacher {name}: " + ("not begun." if newest is None else f"{newest.name}, {_now(records, newest)}.")
    for arm in study.arms:
        trials = history.of(arm)
        states = Counter(trial.state for trial in trials)
        counts = ", ".join(f"{states[state]} {state.lower()}" for state in TrialState if states[state])
        upper = "at most " if isinstance(study.search.sampler, Grid) and study.search.sampler.refine else ""
        line = f"Arm {arm}: {len(trials)} of {upper}{formats.count(study.planned_trials(arm), 'trial')} proposed"
        line += f" ({counts})" if counts else ""
        best = history.best(arm, study.search.metric, study.search.mode, 1)
        if best:
            value = formats.metric(study.search.metric, best[0].value(study.search.metric))
            line += f"; best {best[0].name} with {value} at {formats.settings(best[0].params)}"
        yield line + "."
    confirmed = history.of(stage=Stage.CONFIRM)
    if confirmed:
        done = sum(trial.state.is_final for trial in confirmed)
        yield f"Confirm: {done} of {formats.count(_to_confirm(records), 'run')} ended."
    for spent in records.view.spent:
        yield f"Budget: {spent}."


def _pending(records: Records, command: str) -> Iterator[str]:
    study, history, conductor = records.study, records.history, records.conductor
    driven, resume = records.view.holder is not None, f"{command} resume {study.name}"
    if conductor.finished:
        more = "" if isinstance(study.search.sampler, Grid) else f" For more trials: {resume} --trials +N"
        yield f"Nothing: all that was planned is done.{more}"
        return
    if driven:
        running = sum(trial.state is TrialState.RUNNING for trial in history.unfinished())
        yield f"{running} of {formats.count(records.view.sessions[-1].slots, 'slot')} busy."
    elif spent := Meter(study, history, session="", clock=lambda: 0.0).spent or (
        conductor.at_rest and conductor.agenda.spent
    ):
        yield f"The budget is used up: {spent}. For more: {resume} --set budget.{key_of(spent)}=N"
    else:
        yield f"No driver runs. To go on: {resume}"
    if (why := conductor.agenda.blocked) is not None:
        yield f"It is blocked by {why}."
    trained = {trial.arm for trial in history.of(stage=Stage.TEACH) if trial.state is TrialState.COMPLETED}
    if missing := [name for name in study.needed_teachers if name not in trained]:
        yield f"No trial is begun before the teachers are trained: {', '.join(missing)}."
    if conductor.agenda.spent is not None and not conductor.at_rest:
        yield f"No new trial is begun: the budget is used up, {conductor.agenda.spent}. What has begun is finished."
    yield from _unfinished(records, driven)
    yield from _to_come(records)


def _unfinished(records: Records, driven: bool) -> Iterator[str]:
    """What has begun and not ended, trial by trial."""
    lines: dict[TrialState, list[str]] = {TrialState.RUNNING: [], TrialState.PAUSED: [], TrialState.PENDING: []}
    for trial in records.history.unfinished():
        lines[trial.state].append(_waiting(records, trial, driven))
    for state, found in lines.items():
        yield from found[:MOST_TRIALS]
        if len(found) > MOST_TRIALS:
            yield f"Likewise {len(found) - MOST_TRIALS} more that are {state.lower()}."


def _waiting(records: Records, trial: Trial, driven: bool) -> str:
    who = f"{trial.name} of {trial.arm}"
    if trial.state is TrialState.PAUSED:
        return f"{who} {paused(records, trial)}"
    if trial.state is TrialState.PENDING and trial.reason:
        return f"{who} waits to be started again, from epoch {trial.last_epoch}: {trial.reason}."
    if trial.state is TrialState.PENDING and trial.epochs:
        return f"{who} is promoted from epoch {trial.last_epoch}, and waits for a free worker."
    if trial.state is TrialState.PENDING:
        return f"{who} is proposed and has not begun" + ("." if driven else ": the next driver begins it.")
    if not driven:
        return f"{who} was at epoch {trial.last_epoch} of {_length(records, trial)} when the driver stopped."
    rule = records.study.rule
    ahead = [epoch for epoch in rule.rungs(rule.bracket(trial.number)) if epoch > trial.last_epoch]
    meets = f"; the stopping rule judges it after epoch {ahead[0]}" if trial.stage is Stage.EXPLORE and ahead else ""
    return f"{who} is at epoch {trial.last_epoch} of {_length(records, trial)}{meets}."


def _to_come(records: Records) -> Iterator[str]:
    """What has not begun."""
    study, history = records.study, records.history
    for arm in study.arms:
        left = study.planned_trials(arm) - len(history.of(arm))
        if left <= 0 or is_exhausted(study, history, arm):
            continue
        sampler = study.search.sampler
        if isinstance(sampler, Grid) and sampler.refine and history.is_open(Stage.EXPLORE, arm):
            yield f"Arm {arm}: at most {formats.count(left, 'trial')} to come; a finer grid waits for the last to end."
        else:
            yield f"Arm {arm}: {formats.count(left, 'trial')} to come."
    todo = _to_confirm(records) - len(history.of(stage=Stage.CONFIRM))
    if not records.conductor.agenda.candidates():
        open_trials = sum(not trial.state.is_final for trial in history.of())
        waits = f", {open_trials} of which run or wait" if open_trials else ""
        yield f"Confirm begins when all explored trials have ended{waits}: then about {todo} runs on fresh seeds."
    elif todo > 0:
        yield f"Confirm: {formats.count(todo, 'run')} to come."


def _to_confirm(records: Records) -> int:
    """Confirm runs, those that have begun among them; an estimate before the search is over."""
    study, history = records.study, records.history
    begun = {(trial.source, seed) for trial in history.of(stage=Stage.CONFIRM) for seed in trial.seeds}
    candidates = records.conductor.agenda.candidates()
    if candidates:
        return len(begun | {(trial.name, seed) for trial in candidates for seed in study.confirm_seeds})
    wanted = sum(map(study.confirmed_trials, study.arms))
    return max(len(begun), wanted * study.seeds.confirm)


def _ends(records: Records) -> Iterator[str]:
    for rung in records.view.rungs:
        parts = [f"{rung.stopped} stopped"] if rung.stopped else []
        parts += [f"{rung.audited} spared by the audit"] if rung.audited else []
        parts += [f"{rung.paused} paused there, {rung.promoted} promoted"] if rung.paused or rung.promoted else []
        if parts:  # with a rule that compares after every epoch, most rungs end nobody
            yield f"Epoch {rung.epoch}, arm {rung.arm}: {', '.join(parts)} of {rung.reached} that came so far."
    for state, verb in ((TrialState.DIVERGED, "diverged"), (TrialState.FAILED, "failed")):
        found = [trial for trial in records.history.trials.values() if trial.state is state]
        named = ", ".join(f"{trial.name} at epoch {trial.last_epoch}" for trial in found[:MOST_TRIALS])
        more = f" and {len(found) - MOST_TRIALS} more" if len(found) > MOST_TRIALS else ""
        if found:
            yield f"{formats.count(len(found), 'trial')} {verb}: {named}{more}."


def _events(records: Records) -> Iterator[str]:
    """What happened to sessions as a whole, and to their trials."""
    events, history = records.history.events, records.history
    for row in events[-MOST_EVENTS:]:
        yield f"{row.reported_at:%Y-%m-%d %H:%M:%S} UTC, session {row.session}: {row.reason}."
    if len(events) > MOST_EVENTS:
        yield f"Before that, {len(events) - MOST_EVENTS} more of the kind."
    for word, counts in (
        ("crashed", {t.name: t.crashes for t in history.trials.values() if t.crashes}),
        ("moved", {t.name: t.moves for t in history.trials.values() if t.moves}),
    ):
        if counts:
            most = sorted(counts, key=lambda name: -counts[name])[:MOST_TRIALS]
            more = f" and {len(counts) - MOST_TRIALS} more" if len(counts) > MOST_TRIALS else ""
            named = ", ".join(f"{name} {formats.count(counts[name], 'time')}" for name in most)
            yield f"{formats.count(len(counts), 'trial')} {word}: {named}{more}."


def _amended(records: Records) -> Iterator[str]:
    for amendment in records.view.amendments:
        since = f"since session {amendment.session}" if amendment.session else "from the next session on"
        yield f"study-{amendment.number}.yaml, {since}: {'; '.join(map(str, amendment.changes)) or 'nothing'}."


def _now(records: Records, trial: Trial) -> str:
    return f"{trial.state.lower()} at epoch {trial.last_epoch} of {_length(records, trial)}"


def _length(records: Records, trial: Trial) -> int:
    teacher = records.study.teachers.get(trial.arm) if trial.stage is Stage.TEACH else None
    return int((teacher and teacher.epoch) or trial.recipe["epochs"])


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
