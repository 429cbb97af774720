"""A real Slurm of one node, this machine, for tests: Debian's slurmctld, slurmd, slurm-client and munge, as root."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "scancel")
START_S = 60.0
MUNGE = (
    ("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"), ("log-file", "log"), ("seed-file", "seed"),
)  # fmt: skip
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/munge.socket
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdSpoolDir={folder}/spool
StateSaveLocation={folder}/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2
PartitionName=all Nodes=ALL Default=YES State=UP
"""


def installed() -> bool:
    """Whether a Slurm can be started here."""
    return os.geteuid() == 0 and all(shutil.which(program) for program in PROGRAMS)


class Slurm:
    """The commands of a running Slurm."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def run(self, *command: str | Path, **more: str) -> str:
        """What a command prints; ``more`` is added to its environment."""
        done = subprocess.run(
            command, env={**self.environment, **more}, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout.strip()

    def state(self, job: str) -> str:
        """For example PENDING or COMPLETED."""
        return self._value(job, "JobState")

    def restarts(self, job: str) -> int:
        """How often the job has gone back into the queue."""
        return int(self._value(job, "Restarts"))

    def _value(self, job: str, name: str) -> str:
        words = self.run("scontrol", "show", "job", job).split()
        return next(word.split("=")[1] for word in words if word.startswith(f"{name}="))


@contextlib.contextmanager
def slurm() -> Iterator[Slurm]:
    """Starts the daemons, waits for the node, and ends them all; a job that still runs is killed."""
    folder, host = Path(tempfile.mkdtemp(prefix="slurm-")), socket.gethostname()
    folder.chmod(0o755)  # munge wants its socket where everybody gets to
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    (key := folder / "munge.key").write_bytes(os.urandom(128))
    key.chmod(0o600)
    file = folder / "slurm.conf"
    file.write_text(CONFIGURATION.format(host=host, folder=folder, ports=[_free_port() for _ in range(2)]))
    there = Slurm({**os.environ, "SLURM_CONF": str(file)})
    munge = [f"--{name}={folder}/munge.{end}" for name, end in MUNGE]
    daemons: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> None:
        with (folder / "daemons.log").open("ab") as log:
            daemons.append(subprocess.Popen(command, env=there.environment, stdout=log, stderr=log))

    try:
        start("munged", "--foreground", "--force", *munge)
        start("slurmctld", "-D")
        start("slurmd", "-D", "-N", host)
        deadline = time.monotonic() + START_S
        while not _ready(there):
            well = time.monotonic() < deadline and all(daemon.poll() is None for daemon in daemons)
            assert well, (folder / "daemons.log").read_text()
            time.sleep(0.2)
        yield there
    finally:
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            there.run("scancel", "--user=root")
            time.sleep(2)
        for daemon in reversed(daemons):
            daemon.kill()
            daemon.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _ready(there: Slurm) -> bool:
    try:
        return "idle" in there.run("sinfo", "--Node", "--noheader", "--format=%T")
    except AssertionError:  # slurmctld does not answer yet
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
