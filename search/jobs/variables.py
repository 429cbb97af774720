"""The environment that a study needs on a cluster as it does here: storage, the tracker, data sets."""

from __future__ import annotations

import os

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


def sent(names: tuple[str, ...] = SENT) -> dict[str, str]:
    """Those of the variables that are set here, with their values. Never print or record the values."""
    return {name: value for name in names if (value := os.environ.get(name))}
