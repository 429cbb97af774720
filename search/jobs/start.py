"""The start of a job's driver: says what is missing on the cluster, before an import fails."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

ORIGIN = Path("origin.json")
"""What ``search/jobs/package.py`` writes beside the packages."""


def problems(needed: Sequence[str], oldest: Sequence[int]) -> Iterator[str]:
    """What keeps thermotune from running on this Python, as parts of a sentence.

    Args:
        needed: What thermotune needs, such as ``torch>=2.11``; versions are the doctor's to judge.
        oldest: The oldest Python that it runs on, for example ``[3, 11]``.
    """
    if list(sys.version_info[:2]) < list(oldest):  # Ray has versions for older ones
        yield f"Python must be {'.'.join(map(str, oldest))} or newer, got {sys.version.split()[0]}"
    elif missing := [requirement for requirement in needed if not _is_installed(requirement)]:
        yield f"these packages must be installed, but are not: {', '.join(missing)}"


def main() -> None:
    """Runs the command line that the job was given."""
    origin = json.loads(ORIGIN.read_text(encoding="utf-8"))
    for problem in problems(origin["requires"], origin["requires_python"]):
        sys.exit(
            f"thermotune: on the head of the cluster, {problem}. The Python there is {sys.executable}. "
            "Every node needs what thermotune needs; the simplest way is to install thermotune there"
        )
    from search.cli import main as command

    sys.argv[0] = "thermotune"
    command()


def _is_installed(requirement: str) -> bool:
    name = re.match(r"[\w.-]+", requirement)
    assert name is not None, "a requirement begins with a name"
    try:
        metadata.version(name[0])
    except metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    main()
