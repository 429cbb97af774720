"""A server that speaks S3, for tests: moto's, as a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing-secret", "AWS_REGION": "us-east-1"}


@contextlib.contextmanager
def s3_server() -> Iterator[Mapping[str, str]]:
    """Starts the server; gives the environment variables that lead to it, and ends it afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "moto.log"
        with log.open("w") as stream:
            process = subprocess.Popen(
                [sys.executable, "-c", "from moto.server import main; main(['-H', '127.0.0.1', '-p', '0'])"],
                stdout=stream,
                stderr=stream,
            )
        try:
            yield {**CREDENTIALS, "AWS_ENDPOINT_URL": _address(process, log)}
        finally:
            process.kill()
            process.wait()


def make_bucket(name: str, environment: Mapping[str, str]) -> str:
    """Makes a bucket on the server that the environment variables lead to."""
    import boto3

    boto3.client("s3", endpoint_url=environment["AWS_ENDPOINT_URL"], region_name=environment["AWS_REGION"],
                 aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
                 aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"]).create_bucket(Bucket=name)  # fmt: skip
    return name


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    import time

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text()):
            return found[0]
        time.sleep(0.05)
    raise RuntimeError(f"moto's server did not start: {log.read_text()}")


def environment_with(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a subprocess that is to reach the server."""
    return {**os.environ, **extra}
