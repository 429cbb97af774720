"""What MLflow should hold about a study, and how to get it there: reconciles, so that any pass may be cut short.

One parent run a study, one child run a trial; runs are found again by the tag ``thermotune.key``. How far a child is,
stands in its tag ``thermotune.sent``. A metric sent twice is no duplicate, because it carries the time of its row and
the store's key is (run, name, time, step, value).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from results.facts import load_facts
from results.formats import count, setting
from results.query import EpochMean, StudyView, Trial
from results.report.build import report_of
from results.schema import Stage, StudyState, TrialState

_METRICS_PER_BATCH = 800  # the server takes 1000 items a request, parameters and tags included
_PARAMS_PER_BATCH = 100
_PARAM_LENGTH = 6000
_TAG_LENGTH = 1000
_PAGE = 1000
_ILLEGAL = re.compile(r"[^\w\-. :/]")

_KEY = "thermotune.key"
_STUDY = "thermotune.study"
_SENT = "thermotune.sent"
_GENERATION = "thermotune.generation"
_CREATED = "thermotune.created"
_PARENT = "mlflow.parentRunId"

_STATUS = {
    TrialState.COMPLETED: "FINISHED",
    TrialState.PRUNED: "FINISHED",
    TrialState.DIVERGED: "FAILED",
    TrialState.FAILED: "FAILED",
}


@dataclass(slots=True, kw_only=True)
class SyncResult:
    """What a pass did."""

    runs: int = 0
    """Runs of the study in MLflow afterwards, the parent included."""
    created: int = 0
    """Runs made."""
    deleted: int = 0
    """Runs removed, because a restart made them obsolete or because they were twins."""
    metrics: int = 0
    """Metric values sent."""

    def __str__(self) -> str:
        if not (self.created or self.deleted or self.metrics):
            return f"MLflow was up to date: {count(self.runs, 'run')}"
        parts = [f"{count(self.metrics, 'metric value')} sent", f"{count(self.created, 'run')} made"]
        parts += [f"{count(self.deleted, 'obsolete run')} removed"] if self.deleted else []
        return f"MLflow is up to date: {', '.join(parts)}, {count(self.runs, 'run')} in all"


@dataclass(slots=True, kw_only=True)
class _Run:
    """A run as MLflow has it."""

    id: str
    status: str
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Value:
    """A metric value to be sent."""

    name: str
    value: float
    time_ms: int
    step: int


class Mirror:
    """Keeps one study's runs in one experiment; remembers between passes what it knows of them."""

    def __init__(self, client: Any, experiment: str, artifacts: str | None) -> None:  # Any: mlflow is untyped
        """Prepares; nothing is sent yet.

        Args:
            client: An ``MlflowClient``.
            experiment: Name of the experiment; made if need be.
            artifacts: Where a new experiment keeps artifacts; None leaves it to the server.
        """
        self._client = client
        self._experiment = experiment
        self._artifacts = artifacts
        self._experiment_id: str | None = None
        self._runs: dict[str, _Run] | None = None

    def bring_up_to_date(self, view: StudyView) -> SyncResult:
        """Sends what MLflow lacks.

        Args:
            view: The records.

        Returns:
            What was done; a pass over a finished study that was sent before sends nothing.

        Raises:
            Exception: Whatever mlflow raises. Nobody knows then what arrived: the next pass needs a new mirror.
        """
        done = SyncResult()
        if not view.sessions:
            return done
        if self._runs is None:
            self._runs = self._find(view.facts.id, done)
        parent = self._parent(view, done)
        for trial in view.trials:
            if trial.attempt > 0 or trial.state.is_final:
                self._child(view, trial, parent, done)
        self._finish_parent(view, parent, done)
        done.runs = len(self._runs)
        return done

    def _find(self, study: str, done: SyncResult) -> dict[str, _Run]:
        """The study's runs by key. Of twins, which a lost reply can make, the older one stays."""
        runs: dict[str, _Run] = {}
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment_of()],
                filter_string=f"tags.`{_STUDY}` = '{study}'",
                max_results=_PAGE,
                page_token=token,
            )
            for found in page:
                run = _Run(id=found.info.run_id, status=found.info.status, tags=dict(found.data.tags))
                if _KEY not in run.tags:
                    continue  # not ours: somebody copied a tag
                other = runs.get(run.tags[_KEY])
                if other is not None:
                    run, younger = sorted((run, other), key=lambda r: (int(r.tags.get(_CREATED, "0")), r.id))
                    self._client.delete_run(younger.id)
                    done.deleted += 1
                runs[run.tags[_KEY]] = run
            token = page.token
            if not token:
                return runs

    def _experiment_of(self) -> str:
        if self._experiment_id is None:
            found = self._client.get_experiment_by_name(self._experiment)
            if found is None:
                self._experiment_id = str(self._client.create_experiment(self._experiment, self._artifacts))
            else:
                self._experiment_id = str(found.experiment_id)
        return self._experiment_id

    def _create(self, key: str, name: str, start: datetime, tags: Mapping[str, str], done: SyncResult) -> _Run:
        assert self._runs is not None
        all_tags = {_KEY: key, _CREATED: str(time.time_ns()), **tags}
        made = self._client.create_run(self._experiment_of(), start_time=_ms(start), tags=all_tags, run_name=name)
        run = _Run(id=made.info.run_id, status="RUNNING", tags=all_tags)
        self._runs[key] = run
        done.created += 1
        return run

    def _parent(self, view: StudyView, done: SyncResult) -> _Run:
        assert self._runs is not None
        facts = view.facts
        run = self._runs.get(facts.id)
        if run is None:
            tags = {_STUDY: facts.id, "thermotune.state": str(StudyState.RUNNING)}
            run = self._create(facts.id, facts.name, view.sessions[0].started_at, tags, done)
        if _SENT not in run.tags:
            facts = load_facts(view.study_dir, first=True)  # a parameter cannot be changed, and a pass may be repeated
            params = {
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
            self._send(run, [], params, {_SENT: "params"}, done)
        return run

    def _finish_parent(self, view: StudyView, run: _Run, done: SyncResult) -> None:
        tags = {"thermotune.state": str(view.state), "thermotune.trials": str(sum(view.facts.trials.values()))}
        for amendment in view.amendments:
            tags[f"thermotune.amendment.{amendment.number}"] = ", ".join(map(str, amendment.changes)) or "-"
        values: list[_Value] = []
        if any(t.stage is Stage.CONFIRM for t in view.trials):
            values, verdict = _study_results(view)
            tags |= {"thermotune.verdict": verdict, "mlflow.note.content": verdict} if values else {}
        digest = hashlib.sha256(json.dumps([[v.name, v.value, v.step] for v in values]).encode()).hexdigest()[:16]
        sent = f"results {digest}" if values else "params"
        tags[_SENT] = sent
        self._send(run, values if run.tags.get(_SENT) != sent else [], {}, tags, done)
        last = view.sessions[-1]
        status = {StudyState.RUNNING: "RUNNING", StudyState.COMPLETED: "FINISHED"}.get(view.state, "KILLED")
        self._set_status(run, status, last.ended_at or last.last_row_at)

    def _child(self, view: StudyView, trial: Trial, parent: _Run, done: SyncResult) -> None:
        assert self._runs is not None
        key = f"{view.facts.id}/{trial.trial}"
        curve = _sendable(trial, view.epoch_means.get(trial.trial, ()))
        run = self._runs.get(key)
        generation = 1
        if run is not None and _is_outdated(run, curve):
            self._client.delete_run(run.id)
            generation = int(run.tags.get(_GENERATION, "1")) + 1
            done.deleted += 1
            run = None
        tags = {
            "thermotune.state": str(trial.state),
            "arm": trial.arm,
            "stage": str(trial.stage),
            "seed": ", ".join(map(str, trial.seeds)),
        }
        if trial.reason:
            tags["thermotune.stop_reason"] = trial.reason
        if trial.source:
            tags["source"] = trial.source
        if trial.origin:
            tags["origin"] = trial.origin
        if trial.audited:
            tags["audited"] = "true"
        if run is None:
            start = trial.started_at or trial.created_at
            identity = {_STUDY: view.facts.id, _PARENT: parent.id, _GENERATION: str(generation)}
            run = self._create(key, trial.trial, start, {**identity, **_cut(tags)}, done)
        params = _params(view, trial) if _SENT not in run.tags else {}
        before = _sent_epoch(run)
        values = [
            _Value(name=_name(name), value=value, time_ms=_ms(mean.reported_at), step=mean.epoch)
            for mean in curve
            if mean.epoch > before
            for name, value in mean.metrics.items()
            if math.isfinite(value)
        ]
        odd = [
            f"{name} {value} in epoch {m.epoch}" for m in curve for name, value in m.metrics.items() if value - value
        ]
        if odd:
            tags["thermotune.nonfinite"] = ", ".join(odd)
        tags[_SENT] = f"{curve[-1].epoch} {curve[-1].attempt}" if curve else "0 0"
        self._send(run, values, params, tags, done)
        if trial.state.is_final:
            self._set_status(run, _STATUS[trial.state], trial.ended_at)
        elif view.state is StudyState.RUNNING:
            self._set_status(run, "RUNNING", None)
        else:
            self._set_status(run, "KILLED", curve[-1].reported_at if curve else trial.started_at)

    def _send(
        self, run: _Run, values: Sequence[_Value], params: Mapping[str, str], tags: Mapping[str, str], done: SyncResult
    ) -> None:
        """Sends in as few requests as the limits allow; the mark of what was sent goes with the last of them."""
        changed = {name: value for name, value in _cut(tags).items() if run.tags.get(name) != value}
        items = list(params.items())
        requests = max(1, -(-len(values) // _METRICS_PER_BATCH), -(-len(items) // _PARAMS_PER_BATCH))
        if not values and not items and not changed:
            return
        from mlflow.entities import Metric, Param, RunTag

        for i in range(requests):
            part = values[i * _METRICS_PER_BATCH : (i + 1) * _METRICS_PER_BATCH]
            self._client.log_batch(
                run.id,
                metrics=[Metric(v.name, v.value, v.time_ms, v.step) for v in part],
                params=[
                    Param(_name(name), value[:_PARAM_LENGTH] or "-")
                    for name, value in items[i * _PARAMS_PER_BATCH : (i + 1) * _PARAMS_PER_BATCH]
                ],
                tags=[RunTag(name, value) for name, value in changed.items()] if i == requests - 1 else [],
            )
            done.metrics += len(part)
        run.tags |= changed

    def _set_status(self, run: _Run, status: str, end: datetime | None) -> None:
        if run.status == status:
            return
        if status == "RUNNING":
            self._client.update_run(run.id, status=status)
        else:
            self._client.set_terminated(run.id, status, _ms(end) if end else None)
        run.status = status


def default_artifacts(root: Path) -> str:
    """Artifact folder of a local store, so that MLflow makes no ``mlruns`` in the working directory."""
    return (Path(root).resolve() / "mlartifacts").as_uri()


def _study_results(view: StudyView) -> tuple[list[_Value], str]:
    """The confirmed results as metrics, and the verdict; no values until every confirm run ended.

    ``difference`` is challenger minus reference; the challenger has metrics of its own where it is not the best.
    """
    report = report_of(view)
    candidate = next((c for c in report.candidates if report.best and c.trial == report.best.trial), None)
    if report.best is None or not report.best.confirmed or candidate is None:
        return [], report.verdict.headline
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
    values = [
        _Value(name=name, value=value, time_ms=_ms(ended), step=report.test_openings)
        for name, value in found.items()
        if value is not None
    ]
    return values, report.verdict.headline


def _sendable(trial: Trial, curve: Sequence[EpochMean]) -> list[EpochMean]:
    """Epochs that no later row can change: all lanes reported, and those before them too."""
    ready = []
    for mean in curve:
        if mean.lanes < len(trial.seeds) and not trial.state.is_final:
            break
        ready.append(mean)
    return ready


def _is_outdated(run: _Run, curve: Sequence[EpochMean]) -> bool:
    """Whether a later attempt replaced epochs that were sent."""
    epoch, _, attempt = run.tags.get(_SENT, "0 0").partition(" ")
    if epoch == "0":
        return False
    return not any(mean.epoch == int(epoch) and mean.attempt == int(attempt) for mean in curve)


def _sent_epoch(run: _Run) -> int:
    return int(run.tags.get(_SENT, "0 0").partition(" ")[0])


def _params(view: StudyView, trial: Trial) -> dict[str, str]:
    searched = {path: trial.setting(path) for path in view.facts.space}
    values = {**{path: value for path, value in searched.items() if value is not None}, **trial.params}
    shown = {path: repr(value) if isinstance(value, float) else setting(value) for path, value in values.items()}
    seeds = {"seed": ", ".join(map(str, trial.seeds))}
    return {**shown, "arm": trial.arm, "stage": str(trial.stage), **seeds}


def _name(name: str) -> str:
    return _ILLEGAL.sub("_", name)[:250]


def _cut(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: value[:_TAG_LENGTH] for name, value in tags.items()}


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
