"""What tests ask of a real MLflow store, and the studies that they send there."""

from __future__ import annotations

import math
from datetime import timedelta

from mlflow.tracking import MlflowClient

from results.query import StudyView
from results.schema import EpochRow
from tests.results.synthetic import finished


def client(root):
    return MlflowClient(tracking_uri=f"sqlite:///{root / 'mlflow.db'}")


def runs(root, uri=None, experiment="thermotune"):
    """Active runs by key."""
    found = MlflowClient(tracking_uri=uri) if uri else client(root)
    identifier = found.get_experiment_by_name(experiment).experiment_id
    return {r.data.tags["thermotune.key"]: r for r in found.search_runs([identifier], max_results=1000)}


def expected_points(folder):
    """Finite values that a child run must hold: (trial, metric, epoch) to (value, time)."""
    view = StudyView(folder)
    return {
        (trial, name, mean.epoch): (value, round(mean.reported_at.timestamp() * 1000))
        for trial, means in view.epoch_means.items()
        for mean in means
        for name, value in mean.metrics.items()
        if math.isfinite(value)
    }


def points(root, uri=None):
    """What the store holds, every point of every child; twice the same step would be a longer list."""
    found = MlflowClient(tracking_uri=uri) if uri else client(root)
    held = []
    for key, run in runs(root, uri).items():
        _, _, trial = key.partition("/")
        for name in run.data.metrics if trial else ():
            history = found.get_metric_history(run.info.run_id, name)
            held += [((trial, name, p.step), (p.value, p.timestamp)) for p in history]
    return held


def small(root, **options):
    return finished(root, trials=2, confirm_seeds=2, **options)


def report_epoch(study, trial, number, *, attempt=1, start=0, lane=0, value=0.5):
    study.clock += timedelta(seconds=1)
    study.writer.append(
        EpochRow(
            **study.common,
            trial=trial,
            arm="search",
            stage="explore",
            lane=lane,
            seed=lane,
            epoch=number,
            attempt=attempt,
            attempt_start=start,
            epoch_time_s=1.0,
            metrics={"val/accuracy": value},
        )
    )
    study.writer.flush()
