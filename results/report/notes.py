"""What a reader should know before trusting the numbers, what comes next, and what it ran on."""

from __future__ import annotations

import os
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from results import formats
from results.environment import mask
from results.query import StudyView
from results.report.evidence import SEVERAL
from results.report.model import Best, Candidate, Step, TeacherRow
from results.report.openings import amended_after_looking
from results.report.wording import trial_of
from results.schema import Stage, StudyState, TrialState
from results.statistics import SeedsNeeded, wilson_interval


def notes(
    view: StudyView,
    *,
    confirmed: bool,
    candidates: Sequence[Candidate],
    earlier: Sequence[Candidate],
    teachers: Sequence[TeacherRow],
    trials: Mapping[str, int],
    test_openings: int,
) -> tuple[str, ...]:
    """Everything that speaks against the numbers, a sentence or two each.

    Args:
        view: The records.
        confirmed: Whether every candidate was run on every confirm seed.
        candidates: Those that count.
        earlier: Those of earlier rounds that do not.
        teachers: The teachers as they stand.
        trials: Explored trials that ended, by arm.
        test_openings: How often the test split was looked at.
    """
    facts = view.facts
    found = [_lost(view, teacher) for teacher in teachers if teacher.lost]
    reference = facts.reference
    if confirmed and reference is not None and facts.varies(reference):
        had = trials.get(reference, 0)
        found += [
            f"The reference arm {reference} had {formats.count(had, 'trial')} and {arm} had "
            f"{trials.get(arm, 0)}: no arm is called better than the reference until both had the same chance."
            for arm in facts.arms
            if trials.get(arm, 0) > had
        ]
    if confirmed and len(facts.arms) >= SEVERAL and len({len(paths) for paths in facts.varying.values()}) > 1:
        searched = {arm: len(paths) for arm, paths in facts.varying.items()}
        sizes = "; ".join(
            f"{n} in {', '.join(arm for arm in searched if searched[arm] == n)}" for n in sorted({*searched.values()})
        )
        found.append(
            f"The arms differ in how many values are searched in them ({sizes}): with as many trials, an arm with more "
            "of them may be further from its best."
        )
    if confirmed and facts.confirm_seeds == 2:
        found.append(
            "Two confirm seeds bound next to nothing: the 95 % interval of two values is 12.7 times as wide as the "
            "distance between them. Take five or more."
        )
    for candidate in candidates:
        if candidate.diverged:
            found.append(
                f"{candidate.trial} diverged on {candidate.diverged} of {candidate.seeds} confirm seeds and is out "
                f"of the running{_share(candidate)}."
            )
        if candidate.failed:
            found.append(
                f"{candidate.trial} failed on {candidate.failed} of {candidate.seeds} confirm seeds and ranks "
                "behind candidates that were measured on all of them."
            )
    standing = "no longer among the best" if candidates else "not chosen again until the search has ended"
    found += [
        f"The confirmation of {trial_of(facts, c.trial, c.arm)} ({c.ended} of {c.seeds} seeds) began in an "
        f"earlier round, and it is {standing}: it is not ranked."
        for c in earlier
    ]
    failed = [t for t in view.trials if t.state is TrialState.FAILED and t.stage is not Stage.TEACH]
    if failed:
        found.append(
            f"{formats.count(len(failed), 'trial')} failed for a technical reason, the first {failed[0].trial}: "
            f"{formats.first_line(failed[0].reason or failed[0].error or 'no reason recorded')}"
        )
    if test_openings > 1:
        found.append(
            f"The test split was opened {test_openings} times. Every further look makes the best of them "
            "look better than it is."
        )
    found += [
        f"study-{a.number}.yaml came when the test split had been measured already ({', '.join(map(str, a.changes))}): "
        "what is added after a look at the results shows differences by chance more often than its p value says."
        for a in amended_after_looking(view)
    ]
    return tuple(found)


def _share(candidate: Candidate) -> str:
    """How often it diverges, as far as its seeds say; empty before all of them ended."""
    if candidate.ended < candidate.seeds:
        return ""
    low, high = wilson_interval(candidate.diverged, candidate.seeds)
    return f": its rate of divergence may be anything from {100 * low:.0f} to {100 * high:.0f} % (95 % Wilson interval)"


def _lost(view: StudyView, teacher: TeacherRow) -> str:
    """A teacher without a network, and what to do about it."""
    name = teacher.name
    reason = formats.first_line(teacher.reason or "no reason recorded").rstrip(".")
    if teacher.state is TrialState.DIVERGED:
        return (
            f"The teacher {name} diverged ({reason}), and would again. Lower teachers.{name}.recipe.optimizer.lr in "
            f"the study file and submit that under another name than {view.facts.name}."
        )
    return f"The teacher {name} failed ({reason}). Mend the cause; resume trains it again."


def steps(
    view: StudyView, best: Best | None, candidates: Sequence[Candidate], needed: SeedsNeeded | None, command: str
) -> tuple[Step, ...]:
    """The commands that may come next.

    Args:
        view: The records.
        best: The best configuration known, None if there is none.
        candidates: Those that count.
        needed: Seeds that would decide between challenger and reference, None where nothing is open.
        command: What the commands begin with.
    """
    name = view.facts.name
    found = []
    newest = {t.arm: t.state for t in view.trials if t.stage is Stage.TEACH}
    would_diverge_again = TrialState.DIVERGED in newest.values()
    if view.state in (StudyState.NEW, StudyState.INTERRUPTED) and not would_diverge_again:
        purpose = "start it" if view.state is StudyState.NEW else "go on where it stopped"
        found.append(Step(purpose=purpose, command=f"{command} resume {name}"))
    if needed is not None and needed.likely is not None and view.state is StudyState.COMPLETED:
        found.append(_more_seeds(view, len(candidates), needed.likely, command))
    if best is not None:
        found.append(Step(purpose="train the best configuration again", command=best.retrain))
    if view.state is StudyState.RUNNING:
        found.append(Step(purpose="watch it as a page", command=f"{command} watch {name} --web --open"))
    else:
        found.append(Step(purpose="this report as a page", command=f"{command} report {name} --open"))
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    found.append(Step(purpose="curves of every trial, in MLflow", command=mask(uri) if uri else f"{command} ui {name}"))
    return tuple(found)


def _more_seeds(view: StudyView, candidates: int, seeds: int, command: str) -> Step:
    """Confirm seeds that would probably decide, and what they cost."""
    name = view.facts.name
    times = [t.train_time_s for t in view.trials if t.stage is Stage.CONFIRM and t.state is TrialState.COMPLETED]
    runs = candidates * (seeds - view.facts.confirm_seeds)
    cost = f"{formats.count(runs, 'run')}, about {formats.duration(runs * statistics.fmean(times))} of training"
    return Step(
        purpose=f"decide it with {seeds} confirm seeds in all ({cost}; a second look at the test split, and the "
        "report will say so)",
        command=f"{command} resume {name} --set seeds.confirm={seeds}",
    )


def run_on(view: StudyView) -> str:
    """Code version, libraries and machine of the last session, in a line."""
    if not view.sessions:
        return "not started"
    last = view.sessions[-1]
    known = last.environment
    code = known.get("thermotune") or {}
    versions = known.get("versions") or {}
    parts = [f"{library} {versions[library]}" for library in ("thermotune", "torch", "ray") if library in versions]
    if code.get("commit"):
        parts.append(f"git commit {code['commit'][:10]}{' with local changes' if code.get('dirty') else ''}")
    cpu = known.get("cpu") or {}
    if cpu.get("model"):
        parts.append(f"{cpu['model']} ({cpu.get('cores', '?')} cores)")
    parts += [f"{n} x {gpu}" for gpu, n in Counter(known.get("gpus") or []).items()]
    return ", ".join([*parts, f"host {last.host}", formats.count(last.slots, "slot")])
