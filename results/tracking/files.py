"""The files of a study that go to MLflow as artifacts of its run: what it set out to do, on what, and the report."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from results.facts import amendments
from results.places import Place
from results.tracking.held import HeldRun

FILES = "thermotune.files"
"""Tag with a hash of every file that was sent, as JSON."""

_REPORT = ("report.html", "report.json")


def study_files(study_dir: Place) -> dict[str, bytes]:
    """The study file with its amendments, and the environment; contents by place among the artifacts."""
    paths = [path for _, path in amendments(study_dir)] + [study_dir / "environment.json"]
    return {f"study/{path.name}": path.read_bytes() for path in paths if path.exists()}


def report_files(study_dir: Place) -> dict[str, bytes]:
    """The report as it was written last; contents by place among the artifacts."""
    paths = [study_dir / name for name in _REPORT]
    return {f"report/{path.name}": path.read_bytes() for path in paths if path.exists()}


def hashes(files: Mapping[str, bytes]) -> dict[str, str]:
    """What tells one form of a file from another, by place."""
    return {name: hashlib.sha256(content).hexdigest()[:16] for name, content in files.items()}


def sent_hashes(run: HeldRun) -> dict[str, str]:
    """The hashes of the files that a run has; none if its tag was damaged."""
    try:
        return dict(json.loads(run.tags.get(FILES, "{}")))
    except ValueError:
        return {}


def paths(client: Any, run: HeldRun, files: Mapping[str, bytes]) -> set[str]:  # Any: mlflow is untyped
    """What a run really has in the folders of these files, by place among the artifacts."""
    folders = {name.partition("/")[0] for name in files}
    return {str(artifact.path) for folder in folders for artifact in client.list_artifacts(run.id, folder)}


def upload(client: Any, run: HeldRun, files: Mapping[str, bytes]) -> dict[str, str]:  # Any: mlflow is untyped
    """Sends the files that the run does not have in this form.

    Args:
        client: An ``MlflowClient``.
        run: Where to.
        files: Contents by place.

    Returns:
        The hashes of what was sent; to be noted in the tag :data:`FILES` after this.
    """
    there, sent = paths(client, run, files), sent_hashes(run)
    changed = {name: digest for name, digest in hashes(files).items() if name not in there or sent.get(name) != digest}
    for name in changed:
        folder, _, leaf = name.rpartition("/")
        with tempfile.TemporaryDirectory() as scratch:
            local = Path(scratch) / leaf
            local.write_bytes(files[name])
            client.log_artifact(run.id, str(local), folder)
    return changed
