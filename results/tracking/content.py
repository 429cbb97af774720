"""What MLflow should hold about a study: one run for the study, below it one for every trial; from the records alone.

A trial is one run however often it was paused, promoted or restarted, so that it is one curve; its tag ``attempt`` says
with which start it ended. Where a restart repeated epochs that had been sent, the run is made anew, because MLflow can
neither change nor remove a value.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from results.facts import load_facts
from results.formats import setting
from results.query import EpochMean, StudyView, Trial
from results.report.build import report_of
from results.schema import Stage, StudyState, TrialState

NOTHING_SENT = "0 0"
"""Mark of a run of which no value was sent."""

_PARAM_LENGTH = 6000
_TAG_LENGTH = 1000
_ILLEGAL = re.compile(r"[^\w\-. :/]")

_STATUS = {
    TrialState.COMPLETED: "FINISHED",
    TrialState.PRUNED: "FINISHED",
    TrialState.DIVERGED: "FAILED",
    TrialState.FAILED: "FAILED",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A metric value; MLflow keeps it once, however often it is sent with the same time and step."""

    name: str
    value: float
    time_ms: int
    """When it was reported; milliseconds since 1970."""
    step: int
    """Epoch, 1-based; of a study's results, how often the test split was opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContent:
    """A run as it should be. Names and texts are in the form that MLflow takes."""

    key: str
    """The study's id, for a trial followed by a slash and its name."""
    name: str
    start: datetime
    status: str
    """RUNNING, FINISHED, FAILED or KILLED."""
    end: datetime | None
    tags: Mapping[str, str]
    params: Mapping[str, str]
    values: tuple[Value, ...]
    """In order of their steps."""
    stamps: Mapping[int, str] = field(default_factory=dict)
    """Which version of a step the values are: the attempt that trained the epoch, or a hash of the results."""

    @property
    def is_study(self) -> bool:
        """Whether it is the run of the study itself."""
        return "/" not in self.key

    @property
    def mark(self) -> str:
        """What is noted at the run when all values have arrived: the last step and its stamp."""
        last = max(self.stamps, default=0)
        return f"{last} {self.stamps[last]}" if last else NOTHING_SENT

    def unsent(self, mark: str) -> list[Value]:
        """The values that came after a mark; all of them if the records do not know the mark."""
        step = _step_of(mark)
        known = step > 0 and self._knows(mark)
        return [value for value in self.values if not known or value.step > step]

    def replaces(self, mark: str) -> bool:
        """Whether a later attempt has replaced epochs that were sent, so that the run has to be made anew."""
        return not self.is_study and _step_of(mark) > 0 and not self._knows(mark)

    def _knows(self, mark: str) -> bool:
        step = _step_of(mark)
        return self.stamps.get(step) == mark.partition(" ")[2]


def contents(view: StudyView) -> Iterator[RunContent]:
    """Every run that MLflow should hold about a study, that of the study first; none before its first session.

    Args:
        view: The records.
    """
    if view.sessions:
        yield _of_study(view)
        yield from (_of_trial(view, trial) for trial in view.trials if trial.attempt > 0 or trial.state.is_final)


def _of_study(view: StudyView) -> RunContent:
    tags = {"thermotune.state": str(view.state), "thermotune.trials": str(sum(view.facts.trials.values()))}
    for amendment in view.amendments:
        tags[f"thermotune.amendment.{amendment.number}"] = ", ".join(map(str, amendment.changes)) or "-"
    values: tuple[Value, ...] = ()
    stamps = {}
    if any(t.stage is Stage.CONFIRM for t in view.trials):
        values, verdict = _study_results(view)
        if values:
            tags |= {"thermotune.verdict": verdict, "mlflow.note.content": verdict}
            digest = hashlib.sha256(json.dumps([[v.name, v.value, v.step] for v in values]).encode()).hexdigest()
            stamps = {values[0].step: digest[:16]}
    last = view.sessions[-1]
    status = {StudyState.RUNNING: "RUNNING", StudyState.COMPLETED: "FINISHED"}.get(view.state, "KILLED")
    return RunContent(
        key=view.facts.id,
        name=view.facts.name,
        start=view.sessions[0].started_at,
        status=status,
        end=None if status == "RUNNING" else last.ended_at or last.last_row_at,
        tags=_tags(tags),
        params=_params_of_study(view),
        values=values,
        stamps=stamps,
    )


def _params_of_study(view: StudyView) -> dict[str, str]:
    """As the study began: MLflow refuses to change a parameter, and amendments are tags."""
    facts = view.facts if view.facts.amendment == 1 else load_facts(view.study_dir, first=True)
    return _params(
        {
            "study": facts.name,
            "metric": facts.metric,
            "mode": facts.mode,
            "epoch_rule": facts.epoch_rule,
            "epochs": str(facts.epochs),
            "sampler": facts.sampler,
            "seed": str(facts.seed),
            "stopping": facts.stopping,
            "grace_epochs": str(facts.grace_epochs),
            "reduction_factor": f"{facts.reduction_factor:g}",
            "search_seeds": str(facts.search_seeds),
            "confirm_seeds": str(facts.confirm_seeds),
            "confirm_top": str(facts.confirm_top),
            "arms": ", ".join(facts.arms),
            "reference": facts.reference or "none",
            **({"teachers": ", ".join(facts.needed)} if facts.needed else {}),
            **({"require": "; ".join(facts.require)} if facts.require else {}),
            **{f"space/{path}": spec for path, spec in {**facts.space, **facts.derived}.items()},
        }
    )


def _of_trial(view: StudyView, trial: Trial) -> RunContent:
    curve = _settled(trial, view.epoch_means.get(trial.trial, ()))
    tags = {
        "thermotune.state": str(trial.state),
        "arm": trial.arm,
        "stage": str(trial.stage),
        "seed": ", ".join(map(str, trial.seeds)),
        "attempt": str(trial.attempt),
        **({"thermotune.stop_reason": trial.reason} if trial.reason else {}),
        **({"source": trial.source} if trial.source else {}),
        **({"origin": trial.origin} if trial.origin else {}),
        **({"audited": "true"} if trial.audited else {}),
    }
    odd = [f"{name} {value} in epoch {m.epoch}" for m in curve for name, value in m.metrics.items() if value - value]
    if odd:
        tags["thermotune.nonfinite"] = ", ".join(odd)
    start = trial.started_at or trial.created_at
    if trial.state.is_final:
        status, end = _STATUS[trial.state], trial.ended_at
    elif view.state is StudyState.RUNNING:
        status, end = "RUNNING", None
    else:
        status, end = "KILLED", curve[-1].reported_at if curve else start
    return RunContent(
        key=f"{view.facts.id}/{trial.trial}",
        name=trial.trial,
        start=start,
        status=status,
        end=end,
        tags=_tags(tags),
        params=_params_of_trial(view, trial),
        values=tuple(
            Value(name=legal(name), value=value, time_ms=milliseconds(mean.reported_at), step=mean.epoch)
            for mean in curve
            for name, value in mean.metrics.items()
            if math.isfinite(value)
        ),
        stamps={mean.epoch: str(mean.attempt) for mean in curve},
    )


def _params_of_trial(view: StudyView, trial: Trial) -> dict[str, str]:
    searched = {path: trial.setting(path) for path in view.facts.space}
    values = {**{path: value for path, value in searched.items() if value is not None}, **trial.params}
    shown = {path: repr(value) if isinstance(value, float) else setting(value) for path, value in values.items()}
    seeds = {"seed": ", ".join(map(str, trial.seeds))}
    return _params({**shown, "arm": trial.arm, "stage": str(trial.stage), **seeds})


def _settled(trial: Trial, curve: Sequence[EpochMean]) -> list[EpochMean]:
    """Epochs that no later row can change: all lanes reported, and those before them too."""
    ready = []
    for mean in curve:
        if mean.lanes < len(trial.seeds) and not trial.state.is_final:
            break
        ready.append(mean)
    return ready


def _study_results(view: StudyView) -> tuple[tuple[Value, ...], str]:
    """The confirmed results as metrics, and the verdict; no values until every confirm run ended.

    ``difference`` is challenger minus reference; the challenger has metrics of its own where it is not the best.
    """
    report = report_of(view)
    candidate = next((c for c in report.candidates if report.best and c.trial == report.best.trial), None)
    if report.best is None or not report.best.confirmed or candidate is None:
        return (), report.verdict.headline
    found: dict[str, float | None] = {}
    challenger = report.challenger if report.best.reference else None
    for prefix, measured in (("best", candidate), ("challenger", challenger), ("reference", report.reference)):
        means = () if measured is None else ((report.metric, measured.validation), (report.test_metric, measured.test))
        for metric, mean in means:
            if mean is not None:
                name = f"{prefix}/{metric}"
                found |= {name: mean.mean, f"{name}/low": mean.low, f"{name}/high": mean.high}
    if report.comparison and (gap := report.comparison.difference):
        name = f"difference/{report.test_metric}"
        found |= {name: gap.mean, f"{name}/low": gap.low, f"{name}/high": gap.high}
    ended = max(t.ended_at for t in view.trials if t.stage is Stage.CONFIRM and t.ended_at)
    values = tuple(
        Value(name=name, value=value, time_ms=milliseconds(ended), step=report.test_openings)
        for name, value in found.items()
        if value is not None
    )
    return values, report.verdict.headline


def legal(name: str) -> str:
    """A name as MLflow takes it: other characters become underscores, and it is cut at 250."""
    return _ILLEGAL.sub("_", name)[:250]


def milliseconds(moment: datetime) -> int:
    """A time as MLflow keeps it: since 1970."""
    return round(moment.timestamp() * 1000)


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: value[:_TAG_LENGTH] for name, value in tags.items()}


def _params(params: Mapping[str, str]) -> dict[str, str]:
    return {legal(name): value[:_PARAM_LENGTH] or "-" for name, value in params.items()}


def _step_of(mark: str) -> int:
    step = mark.partition(" ")[0]
    return int(step) if step.isdecimal() else 0
