"""MLflow: whether it takes the copy of a study."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from results.environment import mask
from results.errors import TrackingUnavailable
from results.places import Place, RemotePath
from results.tracking import Tracker, default_uri
from results.tracking.tracker import is_server
from search.doctor.check import Check, explained, failed, ok, warning

ANSWER_S = 3.0
"""Before a study starts, MLflow's server gets so long to answer; seconds."""


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


def reachable() -> Iterator[Check]:
    """Whether a server answers, where MLflow is one; quick, because it is not asked whether it knows us."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not is_server(uri):
        return
    there = urlsplit(uri)
    address = there._replace(netloc=there.netloc.rpartition("@")[2]).geturl()  # without a password
    try:
        urlopen(f"{address.rstrip('/')}/health", timeout=ANSWER_S).close()
    except HTTPError:  # an answer, too
        pass
    except (OSError, HTTPException, ValueError) as error:
        why = error.reason if isinstance(error, URLError) else error
        if not isinstance(why, ssl.SSLError):  # as above
            remedy = "Start the server or correct MLFLOW_TRACKING_URI"
            yield failed("MLflow", f"{mask(uri)} does not answer ({getattr(why, 'strerror', None) or why})", remedy)
