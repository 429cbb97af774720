"""What commands need to know of the terminal that they were called from."""

from __future__ import annotations

import os
import shlex
from typing import TypedDict

from results.places import Place
from search.options import ROOT, ROOT_VARIABLE

SERVER_VARIABLE = "THERMOTUNE_JOB_SERVER"
"""Set in a job: the job server through which the user sent it."""

ROOT_OF_ENVIRONMENT = os.environ.get(ROOT_VARIABLE)
"""What the user's shell says, which need not be repeated in the commands that we print."""


class Look(TypedDict):
    """How text may look on stdout."""

    width: int
    color: bool


def look() -> Look:
    """How wide stdout is, and whether it is a terminal that shows colours."""
    from rich.console import Console

    console = Console()
    return {"width": console.width, "color": console.is_terminal and not console.no_color}


def command_prefix(root: Place) -> str:
    """How the user calls this command, with the root where it is not the default one."""
    called = "uv run thermotune" if "UV_RUN_RECURSION_DEPTH" in os.environ else "thermotune"
    given = root != ROOT and str(root) != ROOT_OF_ENVIRONMENT
    return f"{called} --root {shlex.quote(str(root))}" if given else called


def resume_command(root: Place, study: str, server: str | None = os.environ.get(SERVER_VARIABLE)) -> str:
    """The command with which the user continues a study, on the cluster where it runs.

    Args:
        root: Of the study.
        study: Its name.
        server: Job server of that cluster; in a job the one that it was sent through.
    """
    command = f"{command_prefix(root)} resume {study}"
    return f"{command} --address {server}" if server else command
