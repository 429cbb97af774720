from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.s3 import make_bucket, s3_server


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
