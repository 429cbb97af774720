"""The environment that a study needs on a cluster as it does here: storage, the tracker, data sets."""

from __future__ import annotations

import os
from collections.abc import Callable
from urllib.parse import urlsplit

from results.environment import mask

STORAGE = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
)
TRACKER = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_INSECURE_TLS",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_S3_ENDPOINT_URL",
    "MLFLOW_S3_IGNORE_TLS",
)
DATA = ("THERMOTUNE_DATA",)
SENT = (*STORAGE, *TRACKER, *DATA)
"""Variables that go along wherever they are set; no others do."""

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_FILES = ("", "file", "sqlite")


def sent(say: Callable[[str], None]) -> dict[str, str]:
    """Those of the variables that are set here, with their values. Never print or record the values.

    Args:
        say: Is told the names, for the user to know what goes along.
    """
    found = {name: value for name in SENT if (value := os.environ.get(name))}
    if found:
        say(f"From your environment, these go along: {', '.join(found)}. Who may use the cluster can see their values.")
    return found


def only_here() -> str | None:
    """What to say if the tracker is named as only this machine understands it, and a driver elsewhere does not."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    its = urlsplit(uri)
    if uri in ("", "databricks") or not (its.hostname in _THIS_MACHINE if its.netloc else its.scheme in _FILES):
        return None
    what = "server" if its.netloc else "file"
    return (
        f"MLFLOW_TRACKING_URI is {mask(uri)}, which the job takes for a {what} of the cluster's head, not of this "
        "machine. For one MLflow everywhere, name a server by an address that both reach"
    )
