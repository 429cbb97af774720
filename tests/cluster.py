"""A real Ray cluster on this machine, for tests: a head with its job server and token, and nodes that can be killed."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil

from tests.search.commands import environment

RAY = str(Path(sys.executable).parent / "ray")
START_S = 90.0
TRIES = 3


class RayCluster:
    """One head and any number of nodes, each a ``ray start --block`` of its own, as on separate machines.

    Attributes:
        token: What every client must show.
        jobs: Address of the job server, for ``--address``.
        address: Where drivers on this machine join, for ``--address`` too.
        home: Home folder of all its processes.
        nodes: The ``ray start`` process of every node that was started, the head's first.
    """

    def __init__(self, home: Path, *, head_cpus: int = 2, **variables: str) -> None:
        self.token = secrets.token_hex(32)
        self.home = home
        self.nodes: list[subprocess.Popen[bytes]] = []
        self._variables = variables
        self._temp = Path(tempfile.mkdtemp(prefix="rc-"))  # short: paths of sockets have 107 letters at most
        port, dashboard, client = (_free_port() for _ in range(3))
        self.address = f"127.0.0.1:{port}"
        self.jobs = f"http://127.0.0.1:{dashboard}"
        self._start(
            "--head", f"--port={port}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
            f"--ray-client-server-port={client}", f"--temp-dir={self._temp}", f"--num-cpus={head_cpus}",
            "--include-dashboard=true",
        )  # fmt: skip
        self._wait_for_jobs()

    @property
    def environment(self) -> dict[str, str]:
        """Of a client that may talk to the cluster."""
        return environment(self.home, **self.credentials)

    @property
    def credentials(self) -> dict[str, str]:
        """What a client's environment needs besides the address."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}

    def add_node(self, *arguments: str, cpus: int = 2, prefix: tuple[str, ...] = ()) -> int:
        """Starts another node and waits until the cluster counts it; gives its place in ``nodes``.

        Args:
            arguments: More of ``ray start``, for example ``--labels=zone=b``.
            cpus: That it offers.
            prefix: A command to start it under, for example one that gives it a file system of its own.
        """
        for _ in range(TRIES):  # Ray gives up after 30 s, which a busy machine may need
            number = len(self.nodes)
            own = self._temp / f"n{number}"  # in a shared one Ray would unpack a job's code over that of the others
            where = (f"--address={self.address}", f"--temp-dir={own}")
            self._start(*where, f"--num-cpus={cpus}", *arguments, prefix=prefix)
            log = self.home / f"ray-node-{number}.log"
            while self.nodes[-1].poll() is None:
                if "Ray runtime started" in log.read_text():
                    return number
                time.sleep(0.2)
            _kill_tree(self.nodes.pop())
        raise TimeoutError(f"node {number} did not join: {log.read_text()[-3000:]}")

    def kill_node(self, number: int) -> None:
        """Ends all processes of a node at once, as when its machine loses power."""
        _kill_tree(self.nodes[number])

    def drain(self, node_id: str, deadline_s: int) -> None:
        """Takes a node back, as a cloud does, so many seconds from now; ``node_id`` as ``listed`` gives it."""
        subprocess.run(
            [RAY, "drain-node", f"--address={self.address}", f"--node-id={node_id}", "--reason-message=spot",
             "--reason=DRAIN_NODE_REASON_PREEMPTION", f"--deadline-remaining-seconds={deadline_s}"],
            env=self.environment, check=True, capture_output=True, timeout=60,
        )  # fmt: skip

    def listed(self, what: str) -> list[dict[str, Any]]:
        """What the head lists: ``actors`` or ``nodes``."""
        with self._get(f"/api/v0/{what}?detail=1&limit=1000", timeout_s=30) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]["result"]
            return found

    def close(self) -> None:
        """Ends every process of the cluster."""
        for node in reversed(self.nodes):
            _kill_tree(node)
        for process in psutil.process_iter(["cmdline"]):  # what a dead node left behind
            with contextlib.suppress(psutil.Error):
                if any(str(self._temp) in part for part in process.info["cmdline"] or ()):
                    process.kill()
        shutil.rmtree(self._temp, ignore_errors=True)

    def log(self) -> str:
        """What ``ray start`` of all nodes printed."""
        return "\n".join(file.read_text() for file in sorted(self.home.glob("ray-node-*.log")))

    def _start(self, *arguments: str, prefix: tuple[str, ...] = ()) -> None:
        log = self.home / f"ray-node-{len(self.nodes)}.log"
        with log.open("w") as stream:
            process = subprocess.Popen(
                [*prefix, RAY, "start", *arguments, "--node-ip-address=127.0.0.1", "--disable-usage-stats", "--block",
                 f"--object-store-memory={128 * 2**20}",
                 f"--dashboard-agent-listen-port={_free_port()}"],  # Ray's own is one for all clusters of a machine
                stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, start_new_session=True, cwd=self.home,
                env={**self.environment, **self._variables},
            )  # fmt: skip
        self.nodes.append(process)

    def _wait_for_jobs(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.nodes[0].poll() is None:
            with contextlib.suppress(OSError), self._get("/api/jobs/"):
                return
            time.sleep(0.2)
        log = self.log()
        self.close()
        raise TimeoutError(f"the head did not start: {log}")

    def _get(self, path: str, timeout_s: float = 5):
        request = Request(self.jobs + path, headers={"Authorization": f"Bearer {self.token}"})
        return urlopen(request, timeout=timeout_s)


@contextlib.contextmanager
def ray_cluster(home: Path, *, nodes: int = 0, head_cpus: int = 2, **variables: str) -> Iterator[RayCluster]:
    """A cluster with so many nodes beside its head; a start that a busy machine delays too long is tried again."""
    home.mkdir(parents=True, exist_ok=True)
    for tries_left in reversed(range(TRIES)):
        try:
            cluster = RayCluster(home, head_cpus=head_cpus, **variables)
            break
        except TimeoutError:
            if tries_left == 0:
                raise
    try:
        for _ in range(nodes):
            cluster.add_node()
        yield cluster
    finally:
        cluster.close()


def _free_port() -> int:
    """A port that stays free for the seconds until its server is up: none that the system gives to whoever asks."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)  # Ray's workers take those below, the system those above
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        family = [parent, *parent.children(recursive=True)]
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.send_signal(signal.SIGKILL)
    process.wait()
