"""How a recorded row differs from the one that was chosen again in its place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from results.schema import AnyRow, DecisionRow, EpochRow, SessionRow, TrialRow, TrialState, Verdict
from trainables.recipe import Recipe
from trainables.values import flatten

_PROPOSAL = ("coordinates", "origin", "audited", "params", "recipe", "seeds", "source")
_FOLLOW = ("params", "recipe")  # from the coordinates
_DECISION = ("value", "cutoff", "rank", "n", "verdict", "bracket")
_END = ("epochs", "value")
_LATER = ("origin", "audited", "bracket")  # columns that older records lack
_JSON = ("coordinates", "params", "recipe", "seeds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A recorded row that is not what the rows before it lead to."""

    seq: int
    """The row."""
    trial: str
    """Its trial."""
    what: str
    """The column that differs, or the kind of choice."""
    recorded: str
    """What the records say."""
    replayed: str
    """What was chosen again."""


def differences(row: TrialRow | DecisionRow | EpochRow, again: AnyRow | None) -> Iterator[Difference]:
    """Where a row differs from the one that was chosen again.

    Args:
        row: As recorded.
        again: What was chosen again; None if there was nothing to choose.

    Yields:
        One for every column that differs; a single one where the two are different choices.
    """
    if _words(row) != _words(again):
        yield Difference(seq=row.seq, trial=row.trial, what="choice", recorded=_words(row), replayed=_words(again))
        return
    found = set[str]()
    for column in _columns(row):
        recorded, replayed = (_value(each, column) for each in (row, again))
        if recorded == replayed or (recorded is None and column in _LATER):
            continue
        if column in _FOLLOW and "coordinates" in found:
            continue
        found.add(column)
        if isinstance(recorded, dict) and isinstance(replayed, dict):
            recorded, replayed = _apart(recorded, replayed), _apart(replayed, recorded)
        yield Difference(seq=row.seq, trial=row.trial, what=column, recorded=_text(recorded), replayed=_text(replayed))


def _columns(row: AnyRow) -> tuple[str, ...]:
    """What is chosen in a row of its kind."""
    if isinstance(row, DecisionRow):
        return _DECISION
    return _PROPOSAL if isinstance(row, TrialRow) and row.state == TrialState.PENDING else _END


def _words(row: AnyRow | None) -> str:
    """What kind of choice a row is: rows of different kinds have nothing to compare."""
    match row:
        case TrialRow(state=TrialState.PENDING):
            return f"{row.stage} {row.trial} of {row.arm}, number {row.number + 1}"
        case TrialRow():
            return f"{row.trial} {row.state.lower()}"
        case DecisionRow(verdict=Verdict.PROMOTE):
            return f"promotion of {row.trial} from epoch {row.rung}"
        case DecisionRow():
            return f"verdict on {row.trial} at epoch {row.rung}"
        case EpochRow():
            return f"epoch {row.epoch} of {row.trial}"
    return "nothing"


def _value(row: object, column: str) -> object:
    """A column's value such that equal ones are equal: JSON is parsed, NaN equals NaN."""
    value = getattr(row, column)
    if column in _JSON and value is not None:
        parsed = json.loads(value)
        if column == "recipe":
            parsed = _with_defaults(parsed)
        return flatten(parsed) if isinstance(parsed, dict) else parsed
    return "NaN" if isinstance(value, float) and value != value else value


def _with_defaults(recipe: dict[str, Any]) -> dict[str, Any]:  # Any: JSON
    """A recipe with the values of today that the version which recorded it did not know."""
    try:
        return Recipe.model_validate(recipe).model_dump(mode="json")
    except ValueError:  # whatever it is, it is compared as it stands
        return recipe


def _apart(values: Mapping[str, object], others: Mapping[str, object]) -> dict[str, object]:
    """The values that the others have not, or have otherwise."""
    return {key: value for key, value in values.items() if key not in others or others[key] != value}


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items()) or "nothing"
    return "nothing" if value is None else str(value)


def contradiction(row: AnyRow, why: str) -> Difference:
    """A row that cannot follow those before it; with it a replay ends."""
    trial = "" if isinstance(row, SessionRow) else row.trial
    what = f"{_words(row)}; nothing after it was replayed"
    return Difference(seq=row.seq, trial=trial, what="contradiction", recorded=what, replayed=why)
