"""Where a study stands at one moment: all that its display shows, small enough for a line of JSON."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from results import formats
from results.schema import TrialState

if TYPE_CHECKING:
    from search.conductor import Conductor

SHOWN = (
    TrialState.RUNNING,
    TrialState.PAUSED,
    TrialState.COMPLETED,
    TrialState.PRUNED,
    TrialState.DIVERGED,
    TrialState.FAILED,
)
"""States that are counted in the display, in this order."""


@dataclass(frozen=True, slots=True)
class Group:
    """The trials of one arm in one stage."""

    stage: str
    arm: str
    states: dict[str, int]
    """Trials by state; states without trials are left out."""


@dataclass(frozen=True, slots=True)
class Best:
    """The best trial of an arm so far."""

    trial: str
    value: float
    """Of the study's metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Where a study stands."""

    study: str
    metric: str
    done: int
    """Trials that ended."""
    total: int
    """Trials that there will be at most."""
    left_s: float | None
    """Seconds until the end at the pace of this session; None where it cannot be told yet."""
    elapsed_s: float
    """Seconds of this session so far."""
    at: float
    """When that was; seconds since 1970."""
    pauses: bool
    """Whether trials can wait at a rung."""
    epochs: tuple[int, ...]
    """Epochs at which trials are counted: the rungs, and the last."""
    groups: tuple[Group, ...]
    reached: dict[str, list[int]]
    """Trials that reached these epochs, by arm."""
    best: dict[str, Best]
    """By arm."""

    @classmethod
    def of(cls, conductor: Conductor, *, elapsed_s: float, done_before: int) -> Snapshot:
        """The present state of a study.

        Args:
            conductor: Of the running study.
            elapsed_s: Seconds of this session so far.
            done_before: Trials that had ended when it began.
        """
        study, history = conductor.study, conductor.history
        states: dict[tuple[str, str], Counter[TrialState]] = {}
        for trial in history.trials.values():
            states.setdefault((trial.stage, trial.arm), Counter())[trial.state] += 1
        done = sum(counts[state] for counts in states.values() for state in counts if state.is_final)
        candidates = sum(map(study.confirmed_trials, study.arms))
        total = sum(study.planned_trials(arm) for arm in study.arms) + candidates * study.seeds.confirm
        total = max(total + len(study.needed_teachers), len(history.trials))
        epochs = (*study.rungs, study.recipe.epochs)
        best: dict[str, Best] = {}
        for arm in study.arms:
            for trial in history.best(arm, study.search.metric, study.search.mode, 1):
                value = trial.value(study.search.metric)
                best[arm] = Best(trial.name, math.nan if value is None else value)
        paced = done - done_before >= 3 and done < total
        return cls(
            study=study.name,
            metric=study.search.metric,
            done=done,
            total=total,
            left_s=elapsed_s / (done - done_before) * (total - done) if paced else None,
            elapsed_s=elapsed_s,
            at=time.time(),
            pauses=study.rule.pauses,
            epochs=epochs,
            groups=tuple(
                Group(stage, arm, {state.value: n for state, n in counts.items() if n})
                for (stage, arm), counts in states.items()
            ),
            reached={arm: [sum(1 for t in history.of(arm) if t.last_epoch >= e) for e in epochs] for arm in study.arms},
            best=best,
        )

    @property
    def line(self) -> str:
        """The snapshot in one line."""
        everything: Counter[str] = sum((Counter(group.states) for group in self.groups), Counter())
        counts = ", ".join(f"{everything[state]} {state.lower()}" for state in SHOWN if everything[state])
        best = "; ".join(
            f"best of {arm} {formats.metric(self.metric, best.value)} ({best.trial})" for arm, best in self.best.items()
        )
        return f"{self.done}/{self.total} trials: {counts or 'none yet'}" + (f"; {best}" if best else "")

    @property
    def content(self) -> str:
        """All but the time, as text: equal for two snapshots between which nothing happened."""
        timeless = {key: value for key, value in asdict(self).items() if key not in ("at", "elapsed_s", "left_s")}
        return json.dumps(timeless)

    def to_json(self) -> dict[str, Any]:  # Any: JSON
        """What ``from_json`` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Snapshot:  # Any: JSON
        """The snapshot that was written so."""
        read = {
            **values,
            "epochs": tuple(values["epochs"]),
            "groups": tuple(Group(**group) for group in values["groups"]),
            "best": {arm: Best(**best) for arm, best in values["best"].items()},
        }
        return cls(**read)
