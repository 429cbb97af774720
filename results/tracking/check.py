"""Whether MLflow holds what the records say: every run, parameter and value, none missing and none twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from results.facts import load_facts
from results.formats import count, listed
from results.places import Place
from results.query import StudyView
from results.schema import METRICS, StudyState
from results.tracking.content import RunContent, Value, contents, legal
from results.tracking.files import hashes, paths, report_files, sent_hashes, study_files
from results.tracking.held import HeldRun, experiment_id, held_runs
from results.tracking.tracker import Tracker

_AT_ONCE = 4
"""Runs whose histories are asked for at the same time: a server has several workers."""
_OURS = frozenset(map(legal, METRICS))

Points = Mapping[int, Sequence[tuple[float, int]]]
"""A metric's history: by step, every value with its time in milliseconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What the comparison found."""

    runs: int
    """Runs that should be there, the study's own included."""
    values: int
    """Metric values that should be there."""
    params: int
    """Parameters that should be there."""
    files: int
    """Files that should be there."""
    differences: tuple[str, ...]
    """What is missing, doubled or different, a clause each; none if all is as it should be."""
    damaged: frozenset[str]
    """Ids of the runs with a wrong value or parameter, which MLflow can neither change nor remove."""
    running: bool
    """Whether a driver works on the study, so that MLflow may be a few seconds behind."""
    mend: str | None
    """The command that mends the differences; None where there is none that it can mend."""

    def __str__(self) -> str:
        counts = (
            f"{count(self.runs, 'run')}, {count(self.values, 'metric value')}, {count(self.params, 'parameter')} and "
            f"{count(self.files, 'file')}"
        )
        if not self.differences:
            return f"{counts}: all there, none twice"
        mend = f"Mend it with: {self.mend}"
        if self.running:
            mend = f"The study is running, and MLflow follows a few seconds behind. When it has ended: {self.mend}"
        return "\n".join(
            [f"{counts} should be in MLflow: {count(len(self.differences), 'difference')}"]
            + [f"  {difference}" for difference in self.differences]
            + ([mend] if self.mend else [])
        )


def check(study_dir: Place, tracking_uri: str | None = None, *, command: str = "thermotune") -> CheckResult:
    """Compares MLflow with a study's records, and sends nothing.

    Args:
        study_dir: Folder of the study.
        tracking_uri: MLflow server or store; default as for ``sync``.
        command: How the user calls this program, for the commands in messages.

    Returns:
        Counts and differences.

    Raises:
        TrackingUnavailable: The tracker does not answer.
        ResultsError: The study or its records cannot be read.
    """
    load_facts(study_dir)
    mend = f"{command} sync {study_dir.name}"
    tracker = Tracker(study_dir, tracking_uri, then=f"{mend} --check")
    with tracker.errors():
        client = tracker.connect()
        view = StudyView(study_dir)
        running = view.state is StudyState.RUNNING
        files = study_files(study_dir) | ({} if running else report_files(study_dir))
        wanted = list(contents(view))
        experiment = experiment_id(client, tracker.experiment)
        held: dict[str, list[HeldRun]] = defaultdict(list)
        for run in held_runs(client, experiment, view.facts.id) if experiment else ():
            held[run.key].append(run)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = list(pool.map(lambda content: _of_run(client, content, held.get(content.key, ())), wanted))
        differences = [difference for of_run, _ in found for difference in of_run]
        if wanted and wanted[0].key in held:
            differences += _of_files(client, held[wanted[0].key][0], files)
        unknown = held.keys() - {content.key for content in wanted}
        differences += [
            f"{key.partition('/')[2] or key}: the records know no such trial; sync leaves its run, delete it in MLflow"
            for key in sorted(unknown)
        ]
        return CheckResult(
            runs=len(wanted),
            values=sum(len(content.values) for content in wanted),
            params=sum(len(content.params) for content in wanted),
            files=len(files) if wanted else 0,
            differences=tuple(differences),
            damaged=frozenset(run for _, run in found if run is not None),
            running=running,
            mend=mend if len(differences) > len(unknown) else None,
        )


def _of_run(
    client: Any,  # mlflow is untyped
    content: RunContent,
    held: Sequence[HeldRun],
) -> tuple[list[str], str | None]:
    """The differences of a run, and its id if MLflow cannot change what differs."""
    name = content.name
    if len(held) != 1:
        how_many = f"it has {len(held)} runs, and should have one" if held else "its run is missing"
        return [f"{name}: {how_many}"], None
    (run,) = held
    status = f"{name}: its status is {run.status}, and should be {content.status}"
    changeable = [status] if run.status != content.status else []
    changeable += _of_texts(name, "tag", content.tags, run.tags)
    fixed = [*_of_texts(name, "parameter", content.params, run.params), *_of_values(client, content, run)]
    return changeable + fixed, run.id if fixed else None


def _of_texts(name: str, kind: str, wanted: Mapping[str, str], held: Mapping[str, str]) -> Iterator[str]:
    for key, value in wanted.items():
        if held.get(key) != value:
            is_now = f"is {held[key]!r}" if key in held else "is missing"
            yield f"{name}: the {kind} {key} {is_now}, and should be {value!r}"


def _of_values(client: Any, content: RunContent, run: HeldRun) -> Iterator[str]:  # Any: mlflow is untyped
    wanted: dict[str, list[Value]] = defaultdict(list)
    for point in content.values:
        wanted[point.name].append(point)
    names = [key for key in run.metrics if key in wanted or key in _OURS]
    for metric in dict.fromkeys([*wanted, *names]):
        history = _points(client, run.id, metric) if metric in names else {}
        yield from _of_metric(content, metric, wanted[metric], history)


def _of_metric(content: RunContent, metric: str, wanted: Sequence[Value], held: Points) -> Iterator[str]:
    place, step = f"{content.name}: {metric}", "test opening" if content.is_study else "epoch"
    missing = [value.step for value in wanted if value.step not in held]
    if missing:
        yield f"{place} lacks {count(len(missing), 'value')}, the first of {step} {missing[0]}"
    twice = [s for s, points in held.items() if len(points) > 1]
    if twice:
        yield f"{place} has more than one value at {listed([f'{step} {s}' for s in sorted(twice)[:3]])}"
    other = [v.step for v in wanted if len(points := held.get(v.step, ())) == 1 and points[0] != (v.value, v.time_ms)]
    if other:
        yield f"{place} has another value than the records at {step} {other[0]}"
    surplus = [] if content.is_study else sorted(held.keys() - {value.step for value in wanted})
    if surplus:  # the study's own run also keeps the results of earlier rounds
        yield f"{place} has {count(len(surplus), 'value')} that the records do not, the first at {step} {surplus[0]}"


def _of_files(client: Any, run: HeldRun, files: Mapping[str, bytes]) -> Iterator[str]:  # Any: mlflow is untyped
    there, sent = paths(client, run, files), sent_hashes(run)
    for name, digest in hashes(files).items():
        if name not in there:
            yield f"the file {name} is missing"
        elif sent.get(name) != digest:
            yield f"the file {name} has changed since it was sent"


def _points(client: Any, run: str, metric: str) -> Points:  # Any: mlflow is untyped
    points: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for point in client.get_metric_history(run, metric):
        points[point.step].append((point.value, point.timestamp))
    return points
