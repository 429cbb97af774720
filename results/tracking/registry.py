"""Models in MLflow's registry: networks of confirmed trials, kept with what they are and what they achieved.

A network is kept as an exported graph (``torch.export``, pt2): it can be loaded without this package, and loading it
runs no pickled code.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from results.errors import TrackingUnavailable
from results.tracking.held import KEY, experiment_id, held_runs
from results.tracking.tracker import Tracker


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """A model in the registry."""

    name: str
    version: str
    """Counted by MLflow, from 1."""
    new: bool
    """Whether it was made now; the same network is registered once under a name."""

    @property
    def uri(self) -> str:
        """What ``mlflow.pytorch.load_model`` takes."""
        return f"models:/{self.name}/{self.version}"


def registered(client: Any, name: str, key: str) -> ModelVersion | None:  # Any: mlflow is untyped
    """The version of a model that is the network of a trial; None if there is none.

    Args:
        client: An ``MlflowClient``.
        name: Of the model.
        key: Of the trial: the study's id, a slash and its name.
    """
    for found in client.search_model_versions(f"name = '{name}'"):
        if found.tags.get(KEY) == key:
            return ModelVersion(name=name, version=str(found.version), new=False)
    return None


def register_network(
    client: Any,  # mlflow is untyped
    tracker: Tracker,
    *,
    key: str,
    name: str,
    network: Any,  # a torch module: this package knows no torch
    inputs: Any,  # numpy array
    outputs: Any,  # numpy array
    epoch: int,
    description: str,
    tags: Mapping[str, str],
    details: Mapping[str, Any],  # JSON
) -> ModelVersion:
    """Logs a network under the run of its trial, and registers it; its metrics of the epoch go with it.

    Args:
        client: An ``MlflowClient`` of the tracker.
        tracker: Where to.
        key: Of the trial: the study's id, a slash and its name.
        name: Of the model.
        network: In evaluation mode on the CPU, from ``inputs`` to ``outputs``.
        inputs: (N, ...) samples, N >= 2; they are kept as an example, and N is free in the exported graph.
        outputs: What the network gives for them.
        epoch: After which the network was taken; 1-based.
        description: For readers.
        tags: Of the version.
        details: Kept in the file ``MLmodel``.

    Returns:
        The new version.

    Raises:
        TrackingUnavailable: The trial has no run; or, from mlflow, anything else.
    """
    import mlflow.pytorch
    from mlflow.models import Model, infer_signature

    experiment = experiment_id(client, tracker.experiment)
    study = key.partition("/")[0]
    runs = held_runs(client, experiment, study) if experiment else iter(())
    run = next((run for run in runs if run.key == key), None)
    if run is None:
        raise TrackingUnavailable(f"a trial must be in MLflow to have a model, but {key} is not. Bring it there: sync")
    mlflow.set_tracking_uri(tracker.uri)
    with contextlib.redirect_stderr(io.StringIO()):  # mlflow says there what we say better
        info = Model.log(
            artifact_path=None,
            name=name,
            flavor=mlflow.pytorch,
            run_id=run.id,
            registered_model_name=name,
            step=epoch,
            tags={**tags, KEY: key},
            metadata=dict(details),
            pytorch_model=network,
            serialization_format="pt2",
            signature=infer_signature(inputs, outputs),
            input_example=inputs,
            pip_requirements=[f"{library}=={metadata.version(library)}" for library in ("mlflow", "torch", "numpy")],
        )
    version = str(info.registered_model_version)
    client.update_model_version(name, version, description=description)
    return ModelVersion(name=name, version=version, new=True)
