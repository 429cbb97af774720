"""What a driver says when it takes a study up again, and what it had to do again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from results import formats
from results.schema import AnyRow, SessionRow
from search.history import History

MOST_LINES = 5
"""Trials that are named; the rest are counted."""


def news(rows: Sequence[AnyRow], environment: str, amendment: int) -> Iterator[str]:
    """What is different from the last session, a sentence each: code, versions, machine, the study itself.

    Args:
        rows: The records so far.
        environment: Of this session, as its row will have it.
        amendment: Study file that it goes by.
    """
    last = next((row for row in reversed(rows) if isinstance(row, SessionRow)), None)
    if last is None:
        return
    before, now = json.loads(last.environment or "{}"), json.loads(environment)
    changed = [
        f"{name} {formats.first_line(str(old))} -> {formats.first_line(str(new))}"
        for name, old, new in _differences(_facts(before), _facts(now))
    ]
    if changed:
        yield f"Since session {last.session} this has changed, and is on record: {', '.join(changed)}."
    if last.amendment is not None and amendment != last.amendment:
        yield f"The study is amended: study-{amendment}.yaml from now on."


def repeated(history: History, session: str) -> Iterator[str]:
    """The epochs on record that a session trained again, a sentence each.

    Args:
        history: At the end of the session.
        session: Its name.
    """
    found = [repeat for repeat in history.repeats if repeat.session == session]
    for repeat in found[:MOST_LINES]:
        epochs = (
            f"epoch {repeat.first_epoch}"
            if repeat.first_epoch == repeat.last_epoch
            else f"epochs {repeat.first_epoch} to {repeat.last_epoch}"
        )
        yield f"Trained again: {epochs} of {repeat.trial}, which came after its last checkpoint that can be read."
    if len(found) > MOST_LINES:
        yield f"Likewise {len(found) - MOST_LINES} more trials."


def _facts(environment: Mapping[str, Any]) -> dict[str, object]:
    """What may make a difference to numbers, by name."""
    code = environment.get("thermotune") or {}
    changes = f" with local changes {str(code['dirty'])[:6]}" if code.get("dirty") else ""
    cpu = environment.get("cpu") or {}
    return {
        "commit": f"{str(code.get('commit') or 'unknown')[:10]}{changes}",
        **{str(name): version for name, version in (environment.get("versions") or {}).items()},
        "cpu": cpu.get("model"),
        "gpus": ", ".join(map(str, environment.get("gpus") or ())) or "none",
    }


def _differences(before: Mapping[str, object], now: Mapping[str, object]) -> Iterator[tuple[str, object, object]]:
    for name, new in now.items():
        if name in before and before[name] != new:
            yield name, before[name], new
