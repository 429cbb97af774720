"""The root: whether studies can be kept there, and whose clock tells their times."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from results.errors import ResultsError
from results.lock import StudyLock
from results.lock.identity import STALE_AFTER_S
from results.places import Place, RemotePath, names_in, publish, reason, remedy, remove_tree
from search.doctor.check import Check, explained, failed, ok, warning

FILE = "probe"
SKEW_S = 5.0
"""Clocks that differ by less are taken for equal; those of object stores tell whole seconds."""


@contextlib.contextmanager
def probe(root: Place) -> Iterator[Place]:
    """A folder of our own in a root, removed at the end together with the folders that had to be made for it.

    Raises:
        OSError: It cannot be made.
    """
    folder = root.absolute() / f".doctor-{secrets.token_hex(8)}"
    made = []
    if isinstance(folder, Path):
        made = [parent for parent in folder.parents if not parent.exists()]
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        remove_tree(folder)
        for parent in made:  # the innermost first
            with contextlib.suppress(OSError):  # somebody has put something there
                parent.rmdir()


def usable(root: Place) -> Iterator[Check]:
    """Whether a study can write, list, read, replace, lock and remove files in the root; then its clock."""
    doing, did, drift = "reached", list[str](), 0.0
    try:
        with probe(root) as folder:
            for doing, act in _ACTS.items():
                before = time.time()
                act(folder)
                did.append(doing)
                if doing == "written":
                    drift = _written_at(folder / FILE) - (before + time.time()) / 2
    except ResultsError as error:  # of the lock
        yield explained("root", error)
    except OSError as error:
        before_that = f", though it can be {', '.join(did)}" if did else ""
        yield failed("root", f"{root} cannot be {doing} ({reason(error)}){before_that}", remedy(root))
    else:
        yield ok("root", f"{root} can be {', '.join(did)}")
        yield clock("root's clock", drift, "the one that gives files in the root their times")


def clock(name: str, ahead_s: float, whose: str) -> Check:
    """Whether another clock goes with ours.

    Args:
        name: Of the check.
        ahead_s: By how much the other clock is ahead of ours; seconds.
        whose: The other clock, in words.
    """
    apart = abs(ahead_s)
    if apart <= SKEW_S:
        return ok(name, f"within {SKEW_S:g} s")
    found = f"{whose} is {apart:.0f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine's"
    how = "Set both clocks by a time server (chrony or ntpd)"
    if apart < STALE_AFTER_S:
        return warning(name, found, how)
    return failed(name, f"{found}; a driver at work on one machine looks dead from the other", how)


def _write(folder: Place) -> None:
    publish({folder / FILE: b"1"})


def _list(folder: Place) -> None:
    if FILE not in names_in(folder):
        raise OSError(f"a new file is not among {names_in(folder)}")


def _read(folder: Place) -> None:
    if (folder / FILE).read_bytes() != b"1":
        raise OSError("a file has another content than was written")


def _replace(folder: Place) -> None:
    publish({folder / FILE: b"2"})
    if (folder / FILE).read_bytes() != b"2":
        raise OSError("a file has its old content after it was replaced")


def _lock(folder: Place) -> None:
    with StudyLock(folder):
        pass


def _remove(folder: Place) -> None:
    (folder / FILE).unlink()


_ACTS: dict[str, Callable[[Place], None]] = {
    "written": _write,
    "listed": _list,
    "read": _read,
    "replaced": _replace,
    "locked": _lock,
    "cleared": _remove,
}


def _written_at(file: Place) -> float:
    return file.modified_s() if isinstance(file, RemotePath) else file.stat().st_mtime
