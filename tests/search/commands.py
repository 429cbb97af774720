"""Running the command line as a user does, in processes of its own, and killing it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from results.places import Place
from results.schema import AnyRow
from results.store import read_rows

THERMOTUNE = str(Path(sys.executable).parent / "thermotune")


def environment(home: Path, **extra: str) -> dict[str, str]:
    foreign = ("MLFLOW_", "RAY_", "TUNE_", "THERMOTUNE_", "UV_RUN_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    calm = {"RAY_memory_monitor_refresh_ms": "0"}  # a machine full of tests must not cost them their workers
    return {**kept, **calm, "HOME": str(home), "NO_COLOR": "1", "COLUMNS": "120", **extra}


def thermotune(
    root: Place, *arguments: str, home: Path | None = None, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, at home, or beside its root; the default root needs no flag, as for a user."""
    home = home or _beside(root)
    named = () if root.name == "thermotune-runs" else ("--root", str(root))
    return subprocess.run(
        [THERMOTUNE, *arguments, *named],
        capture_output=True,
        text=True,
        env=environment(home, **extra),
        cwd=home,
        timeout=240,
        check=False,
    )


class Driver:
    """A driver in the background, in a session of its own."""

    def __init__(
        self,
        root: Place,
        *arguments: str,
        home: Path | None = None,
        program: Sequence[str] = (THERMOTUNE,),
        **extra: str,
    ) -> None:
        home = home or _beside(root)
        self.log = home / f"driver-{time.time_ns()}.log"
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                [*program, *arguments, "--root", str(root)],
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment(home, **extra),
                start_new_session=True,
            )

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 120) -> bool:
        """Waits until the condition holds; False if the driver ended before."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if condition():
                return True
            if self.process.poll() is not None:
                return False
            time.sleep(0.02)
        raise TimeoutError(self.log.read_text())

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Sends a signal and waits for the end; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


def _beside(root: Place) -> Path:
    assert isinstance(root, Path), "a remote root has no folder here: name a home"
    return root.parent


def rows_of(folder: Place) -> list[AnyRow]:
    return read_rows(folder) if (folder / "records").is_dir() else []
