"""MLflow: whether it takes the copy of a study."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from results.environment import mask
from results.errors import TrackingUnavailable
from results.places import Place, RemotePath
from results.tracking import Tracker, default_uri
from search.doctor.check import Check, explained, ok, warning


def tracker(root: Place) -> Iterator[Check]:
    """Whether MLflow answers, and knows us. Nothing is made there; the import takes seconds.

    Args:
        root: Folder of all studies.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if not given and isinstance(root, RemotePath):
        yield warning(
            "MLflow",
            "off: studies on an object store have no folder for its database",
            "To have their curves in MLflow, set MLFLOW_TRACKING_URI",
        )
        return
    uri = default_uri(root / "any")
    if not given and not Path(uri.removeprefix("sqlite:///")).exists():
        yield ok("MLflow", f"{root / 'mlflow.db'} will be made by the first study")
        return
    tracker = Tracker(root / "any", uri)
    try:
        client = tracker.connect()
        with tracker.errors():
            experiment = client.get_experiment_by_name(tracker.experiment)
    except TrackingUnavailable as error:
        found = explained("MLflow", error)
        yield replace(found, remedy=found.remedy.removesuffix(". The records are safe"))  # there are none yet
        return
    there = "has" if experiment is not None else "will get"
    yield ok("MLflow", f"{mask(uri)} answers, and {there} the experiment {tracker.experiment}")
