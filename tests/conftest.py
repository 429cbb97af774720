"""What holds for all tests: hypothesis judges by results, never by time, since CI machines are busy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.s3 import make_bucket, s3_server

settings.register_profile("thermotune", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("thermotune")


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """A bucket on an S3 server of the test session's own, to which this process's environment leads."""
    with s3_server() as variables:
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        yield make_bucket("lab", variables)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


TOGETHER = ("test_jobs_cluster.py", "test_cluster_driver.py", "test_main_job.py")
"""Modules whose tests share something dear, and go to one process with ``--dist loadgroup``.

xdist's own marks for that have no effect with pytest 9.
"""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:  # Any: xdist's, which need not be there
    from xdist.scheduler import LoadScopeScheduling

    class Grouped(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.partition("::")[0]
            return module if module.endswith(TOGETHER) else nodeid

    return Grouped(config, log) if config.getvalue("dist") == "loadgroup" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, by the time they are allowed, so that no process is left alone with one in the end."""
    items.sort(key=lambda item: -max((mark.args[0] for mark in item.iter_markers("timeout")), default=0))


os.environ.pop("UV_RUN_RECURSION_DEPTH", None)  # printed commands are the same however pytest was started
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"  # read when Ray is imported: else it copies .venv, 7 GB, under uv run
