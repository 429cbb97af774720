"""What a session ran on: code version, libraries, hardware, command line; without secrets and without heavy imports."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

ORIGIN = "origin.json"
"""Beside code that was sent to a cluster: what ``origin`` found where it was sent from."""

_DISTRIBUTIONS = (
    "duckdb",
    "mlflow",
    "numpy",
    "optuna",
    "plotly",
    "pyarrow",
    "pydantic",
    "ray",
    "scikit-learn",
    "scipy",
    "torch",
    "torchvision",
)
_TIMEOUT_S = 10.0
_HIDDEN = "***"
_SECRET_WORD = r"[\w.-]*(?:token|passw(?:or)?d|passphrase|secret|credential|api[_-]?key|access[_-]?key|private[_-]?key)"
_ASSIGNED = re.compile(rf"(?i)\b({_SECRET_WORD}[\w.-]*\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s&,;]+)")
_FLAG = re.compile(rf"(?i)-{{1,2}}{_SECRET_WORD}[\w-]*")
_IN_URI = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s@]*@")


def collect() -> dict[str, Any]:  # Any: a JSON document, read by people and by the report
    """Facts about code, libraries, machine and command line of this process.

    Takes about 50 ms. What cannot be found out is None; nothing raises.

    Returns:
        A JSON-able mapping: ``thermotune`` and ``project`` (as ``origin`` tells), ``versions``, ``python``, ``os``,
        ``host``, ``cpu`` (model, logical cores that may be used), ``memory_bytes``, ``gpus`` (names) and ``command``
        (arguments with secrets masked).
    """
    code = origin()
    versions = {"thermotune": code["version"], **{name: _version(name) for name in _DISTRIBUTIONS}}
    return {
        "thermotune": code["thermotune"],
        "project": code["project"],
        "versions": {name: version for name, version in versions.items() if version},
        "python": platform.python_version(),
        "os": platform.platform(),
        "host": socket.gethostname(),
        "cpu": {"model": _cpu_model(), "cores": _cores()},
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": graphics_cards(),
        "command": mask_arguments(sys.argv),
    }


def origin() -> dict[str, Any]:  # Any: a part of the document above
    """Which code this is.

    Code that was sent to a cluster lies in no git repository there; the file ``origin.json`` beside it tells.

    Returns:
        ``version`` of thermotune, ``thermotune`` and ``project``: git commit, and a hash of uncommitted changes, of
        this package's checkout and of the working directory; None outside git.
    """
    package = Path(__file__).resolve().parent.parent
    sent = package / ORIGIN
    if sent.is_file():
        found: dict[str, Any] = json.loads(sent.read_text(encoding="utf-8"))
        return found
    checkout = _git_state(package)
    return {
        "version": _version("thermotune"),
        "thermotune": checkout if checkout and Path(checkout["root"]) == package else None,
        "project": _git_state(Path.cwd()),
    }


def mask_arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments without secrets: values of token and password flags, and credentials in URIs.

    Args:
        arguments: A command line, one argument each.

    Returns:
        As many arguments, hidden parts written as ``***``.

    Example:
        >>> mask_arguments(["sync", "--token", "abc", "--uri=https://me:pw@host/x", "password=pw"])
        ['sync', '--token', '***', '--uri=https://***@host/x', 'password=***']
    """
    masked: list[str] = []
    hide_next = False
    for argument in arguments:
        masked.append(_HIDDEN if hide_next else mask(argument))
        hide_next = _FLAG.fullmatch(argument) is not None
    return masked


def mask(text: str) -> str:
    """The text without secrets: ``token=...`` and the like, and credentials in URIs, become ``***``."""
    return _ASSIGNED.sub(rf"\1{_HIDDEN}", _IN_URI.sub(rf"\1{_HIDDEN}@", text))


def _git_state(folder: Path) -> dict[str, Any] | None:  # Any: a part of the document above
    root = _git(folder, "rev-parse", "--show-toplevel")
    if root is None:
        return None
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    changes = _git(folder, "diff", "--no-ext-diff", "--binary", "HEAD") if commit else None
    untracked = _git(folder, "ls-files", "--others", "--exclude-standard", "--full-name", ":/")
    dirty = (changes or "") + (untracked or "")
    return {
        "root": root.strip(),
        "commit": commit.strip() if commit else None,
        "dirty": hashlib.sha256(dirty.encode()).hexdigest()[:16] if dirty else None,
    }


def _git(folder: Path, *arguments: str) -> str | None:
    return _output("git", "-C", str(folder), *arguments)


def _output(*command: str) -> str | None:
    """What a command prints, None if it is missing, fails or takes longer than ten seconds."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", errors="replace")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str | None:
    try:
        listing = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or None
    found = re.search(r"^model name\s*:\s*(.+)$", listing, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or None


def _cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def graphics_cards() -> list[str]:
    """Names of the NVIDIA cards of this machine, whether or not anything can compute on them."""
    names = []
    for card in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        found = re.search(r"^Model:\s*(.+)$", card.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        if found:
            names.append(found[1].strip())
    if names:
        return names
    listing = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return [line.strip() for line in (listing or "").splitlines() if line.strip()]
