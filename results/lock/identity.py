"""Who holds a study: what a driver says about itself, and whether it must still be taken for alive."""

from __future__ import annotations

import json
import socket
import sys
import time
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

import psutil

HEARTBEAT_S = 5.0
"""Seconds between two heartbeats of a holder."""
STALE_AFTER_S = 60.0
"""A holder on another machine is taken for dead when its last heartbeat is older; seconds."""

_START_TOLERANCE_S = 2.0  # start times follow corrections of the clock, so every heartbeat writes the start anew


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds, or held, a study."""

    host: str
    """Host name of the driver."""
    machine: str = ""
    """What tells its machine from others that have the same name; empty where it is not known."""
    pid: int
    """Its process; 0 where the lock could not be read."""
    started: float
    """When that process started; seconds since 1970."""
    session: str
    """Driver session, ``s0001``...; empty until it is known."""
    since: datetime
    """When the lock was taken."""
    heartbeat: float
    """The last sign of life; seconds since 1970."""
    token: str
    """Unique to the taking."""

    def __str__(self) -> str:
        session = f", session {self.session}" if self.session else ""
        return f"process {self.pid} on {self.host}{session}, since {self.since:%Y-%m-%d %H:%M:%S} UTC"

    @property
    def heartbeat_age_s(self) -> float:
        """Seconds since the last sign of life."""
        return max(0.0, time.time() - self.heartbeat)

    @property
    def is_here(self) -> bool:
        """Whether it is a process of this machine."""
        return self.host == socket.gethostname() and self.machine in ("", machine())

    @property
    def is_alive(self) -> bool:
        """Whether the holder must still be taken for working: on this machine its process lives, elsewhere it beats."""
        return self.is_alive_at(self.heartbeat_age_s)

    def is_alive_at(self, age_s: float) -> bool:
        """The same, where somebody else's clock told the age of the last sign of life."""
        if not self.is_here:
            return age_s <= STALE_AFTER_S
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return abs(process.create_time() - self.started) <= _START_TOLERANCE_S
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True

    def to_json(self) -> str:
        """What ``from_json`` reads."""
        return json.dumps({**asdict(self), "since": self.since.isoformat()})

    @classmethod
    def from_json(cls, text: str, changed: float) -> Holder:
        """The holder that is written down.

        Args:
            text: What ``to_json`` gave; if it was cut short by a power failure, its age decides.
            changed: When it was written; seconds since 1970.
        """
        try:
            values = json.loads(text)
            known = {name: values[name] for name in (f.name for f in fields(cls)) if name in values}
            return cls(**{**known, "since": datetime.fromisoformat(values["since"])})
        except (ValueError, TypeError, KeyError):
            return cls(
                host="an unknown host (unreadable lock file)",
                pid=0,
                started=0.0,
                session="",
                since=datetime.fromtimestamp(changed, UTC),
                heartbeat=changed,
                token="",
            )


def machine() -> str:
    """Tells machines of one name apart, and containers on one machine: processes have numbers only within these."""
    if not sys.platform.startswith("linux"):
        return ""
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}/{Path('/proc/self/ns/pid').stat().st_ino}"
