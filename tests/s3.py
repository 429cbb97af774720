"""A server that speaks S3, for tests: moto's, as a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

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


class Proxy:
    """Stands before a server, and can let every byte wait, or cut all connections and refuse new ones.

    Attributes:
        address: Where clients connect.
        delay_s: Every request, and every answer, is held up for so long; seconds.
        swallows: Whether requests pass and answers do not.
        cut_after_bytes: When so many bytes of requests have passed, all connections end, once.
    """

    def __init__(self, target: str) -> None:
        host, port = target.removeprefix("http://").split(":")
        self.delay_s = 0.0
        self.swallows = False
        self.cut_after_bytes = float("inf")
        self._target = host, int(port)
        self._open: list[socket.socket] = []
        self._broken = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Ends all connections; new ones end at once."""
        self._broken = True
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def mend(self) -> None:
        """Lets connections through again."""
        self._broken = False

    def close(self) -> None:
        """Ends the proxy."""
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._broken:
                client.close()
                continue
            server = socket.create_connection(self._target)
            self._open += [client, server]
            for one, other, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pass_on, args=(one, other, answers), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(2**16):
                time.sleep(self.delay_s)
                self.cut_after_bytes -= 0 if answers else len(data)
                if self.cut_after_bytes < 0:
                    self.cut_after_bytes = float("inf")
                    self.cut()
                    self.mend()
                if not (answers and self.swallows):
                    other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)


def make_bucket(name: str, environment: Mapping[str, str]) -> str:
    """Makes a bucket on the server that the environment variables lead to."""
    client(environment).create_bucket(Bucket=name)
    return name


def client(environment: Mapping[str, str]) -> Any:  # Any: boto3 is untyped
    """A client of another make than pyarrow's."""
    import boto3

    return boto3.client("s3", endpoint_url=environment["AWS_ENDPOINT_URL"], region_name=environment["AWS_REGION"],
                        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
                        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"])  # fmt: skip


def keys(bucket: str, prefix: str, environment: Mapping[str, str] = os.environ) -> list[str]:
    """The keys of all objects below a prefix, markers of empty folders left out."""
    pages = client(environment).get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [item["Key"] for page in pages for item in page.get("Contents", ()) if not item["Key"].endswith("/")]


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text()):
            return found[0]
        time.sleep(0.05)
    raise RuntimeError(f"moto's server did not start: {log.read_text()}")


def environment_with(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a subprocess that is to reach the server."""
    return {**os.environ, **extra}
