"""Bringing MLflow up to date with the records: reconciles, so that any pass may be cut short or repeated.

How far a run is, stands in its tag ``thermotune.sent``, which arrives with the last of its values; what was sent is not
looked at again. A value sent twice
is no duplicate, because it carries the time of its row and the store's key is (run, name, time, step, value).
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from results.formats import count
from results.query import StudyView
from results.schema import StudyState
from results.tracking.content import NOTHING_SENT, RunContent, Value, contents, milliseconds
from results.tracking.files import FILES, report_files, sent_hashes, study_files, upload
from results.tracking.held import CREATED, KEY, PARENT, STUDY, HeldRun, experiment_id, held_runs

_METRICS_PER_BATCH = 800  # the server takes 1000 items a request, parameters and tags included
_PARAMS_PER_BATCH = 100

_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""MLflow's pages then show what belongs to training, and not what belongs to language models."""

_SENT = "thermotune.sent"
_GENERATION = "thermotune.generation"


@dataclass(slots=True, kw_only=True)
class SyncResult:
    """What a pass did."""

    runs: int = 0
    """Runs of the study in MLflow afterwards, the parent included."""
    created: int = 0
    """Runs made."""
    deleted: int = 0
    """Runs removed, because a restart made them obsolete, or because they were damaged or twins."""
    metrics: int = 0
    """Metric values sent."""
    files: int = 0
    """Files sent."""

    def __add__(self, later: SyncResult) -> SyncResult:
        """What two passes did, one after the other."""
        return SyncResult(
            runs=later.runs,
            created=self.created + later.created,
            deleted=self.deleted + later.deleted,
            metrics=self.metrics + later.metrics,
            files=self.files + later.files,
        )

    def __str__(self) -> str:
        if not (self.created or self.deleted or self.metrics or self.files):
            return f"MLflow was up to date: {count(self.runs, 'run')}"
        parts = [f"{count(self.metrics, 'metric value')} sent", f"{count(self.created, 'run')} made"]
        parts += [f"{count(self.files, 'file')} sent"] if self.files else []
        parts += [f"{count(self.deleted, 'obsolete or damaged run')} removed"] if self.deleted else []
        return f"MLflow is up to date: {', '.join(parts)}, {count(self.runs, 'run')} in all"


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
        self._runs: dict[str, HeldRun] | None = None
        self._made_runs = False
        self._looked_at_files = False

    def remove(self, runs: Collection[str]) -> int:
        """Removes runs that MLflow cannot be made to mend; the next pass makes them anew.

        Args:
            runs: Their ids.

        Returns:
            How many they were.

        Raises:
            Exception: Whatever mlflow raises.
        """
        for run in runs:
            self._client.delete_run(run)
        self._runs = None
        return len(runs)

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
        self._pass(view, done)
        while self._made_runs and view.state is not StudyState.RUNNING:
            self._made_runs, self._runs = False, None  # another mirror may have made the same ones: look again
            self._pass(view, done)
        return done

    def _pass(self, view: StudyView, done: SyncResult) -> None:
        wanted = contents(view)
        of_study = next(wanted, None)
        if of_study is None:
            return
        if self._runs is None:
            self._runs = self._find(view.facts.id, done)
        parent = self._reconcile(view, of_study, None, done)
        for content in wanted:
            self._reconcile(view, content, parent, done)
        self._send_files(view, parent, done)
        done.runs = len(self._runs)

    def _find(self, study: str, done: SyncResult) -> dict[str, HeldRun]:
        """The study's runs by key; the younger of twins are deleted."""
        runs: dict[str, HeldRun] = {}
        for run in held_runs(self._client, self._experiment_of(), study):
            older = min(runs.get(run.key, run), run, key=lambda r: r.age)
            for twin in {run.id, runs.get(run.key, run).id} - {older.id}:
                self._client.delete_run(twin)
                done.deleted += 1
            runs[run.key] = older
        return runs

    def _experiment_of(self) -> str:
        if self._experiment_id is None:
            found = experiment_id(self._client, self._experiment)
            self._experiment_id = found or str(
                self._client.create_experiment(self._experiment, self._artifacts, tags=_EXPERIMENT_TAGS)
            )
        return self._experiment_id

    def _reconcile(self, view: StudyView, content: RunContent, parent: HeldRun | None, done: SyncResult) -> HeldRun:
        assert self._runs is not None
        run, generation = self._runs.get(content.key), 1
        tags = {**content.tags, **({PARENT: parent.id} if parent else {})}  # the parent may have been made anew
        if run is not None and content.replaces(run.tags.get(_SENT, NOTHING_SENT)):
            self._client.delete_run(run.id)
            done.deleted += 1
            generation = int(run.tags.get(_GENERATION, "1")) + 1
            run = None
        if run is None:
            run = self._create(content, {STUDY: view.facts.id, _GENERATION: str(generation), **tags}, done)
        params = content.params if _SENT not in run.tags else {}
        values = content.unsent(run.tags.get(_SENT, NOTHING_SENT))
        self._send(run, values, params, {**tags, _SENT: content.mark}, done)
        self._set_status(run, content)
        return run

    def _create(self, content: RunContent, tags: Mapping[str, str], done: SyncResult) -> HeldRun:
        assert self._runs is not None
        all_tags = {KEY: content.key, CREATED: str(time.time_ns()), **tags}
        made = self._client.create_run(
            self._experiment_of(), start_time=milliseconds(content.start), tags=all_tags, run_name=content.name
        )
        run = HeldRun(id=made.info.run_id, status="RUNNING", end_ms=None, tags=all_tags)
        self._runs[content.key] = run
        self._made_runs = True
        done.created += 1
        return run

    def _send(
        self,
        run: HeldRun,
        values: Sequence[Value],
        params: Mapping[str, str],
        tags: Mapping[str, str],
        done: SyncResult,
    ) -> None:
        """Sends in as few requests as the limits allow; the mark of what was sent goes with the last of them."""
        changed = {name: value for name, value in tags.items() if run.tags.get(name) != value}
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
                params=[Param(*item) for item in items[i * _PARAMS_PER_BATCH : (i + 1) * _PARAMS_PER_BATCH]],
                tags=[RunTag(name, value) for name, value in changed.items()] if i == requests - 1 else [],
            )
            done.metrics += len(part)
        run.tags |= changed

    def _set_status(self, run: HeldRun, content: RunContent) -> None:
        end_ms = None if content.end is None else milliseconds(content.end)
        if content.status == "RUNNING":
            if run.status != "RUNNING":
                self._client.update_run(run.id, status="RUNNING")
        elif (run.status, run.end_ms) != (content.status, end_ms):
            self._client.set_terminated(run.id, content.status, end_ms)
        run.status, run.end_ms = content.status, end_ms

    def _send_files(self, view: StudyView, parent: HeldRun, done: SyncResult) -> None:
        """The study's files change between sessions only, and its report is written at the end of one."""
        running = view.state is StudyState.RUNNING
        if running and self._looked_at_files:
            return
        files = study_files(view.study_dir) | ({} if running else report_files(view.study_dir))
        sent = upload(self._client, parent, files)
        done.files += len(sent)
        if sent:
            self._send(parent, [], {}, {FILES: json.dumps({**sent_hashes(parent), **sent})}, done)
        self._looked_at_files = True
