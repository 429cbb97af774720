"""Panel: a figure as the page shows it; and what all that make panels ask of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import plotly.graph_objects as go

from results import figures
from results.figures.ranges import without_tail_ends
from results.formats import count
from results.query import Trial
from results.report.model import Report
from results.schema import Stage, TrialState

LR = "optimizer.lr"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A figure as the page shows it."""

    key: str
    """Identifier in the page."""
    title: str
    caption: str
    """How to read it, in a few sentences."""
    summary: str
    """What it shows, in numbers: a sentence or two for those who do not see it."""
    figure: go.Figure


class Drawing:
    """A report to draw from, with what several figures need of it."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.view = report.view
        self.facts = report.view.facts

    @cached_property
    def explored(self) -> tuple[Trial, ...]:
        """Trials of the search that were begun."""
        return tuple(t for t in self.view.trials if t.stage is Stage.EXPLORE and t.attempt > 0)

    @cached_property
    def full(self) -> tuple[Trial, ...]:
        """Those of them that were trained to the end and have a finite value."""
        return tuple(t for t in self.explored if t.state is TrialState.COMPLETED and value_of(t) is not None)

    @cached_property
    def arms(self) -> tuple[str, ...]:
        """Arms in the order in which the figures give them their colours."""
        return tuple(dict.fromkeys(t.arm for t in self.explored))

    @property
    def sign(self) -> int:
        """1 where higher is better, else -1."""
        return 1 if self.report.mode == "max" else -1

    @property
    def extreme(self) -> str:
        """What the trial with the best value of the search is called: fresh seeds may prefer another one."""
        return "highest" if self.sign > 0 else "lowest"

    def axis(self, path: str | None = None) -> figures.Axis:
        """The axis of a searched path; that of the temperature if none is named."""
        if path is None:
            return figures.Axis(label=self.facts.axis_label, log=self.facts.temperature_is_log)
        label = "learning rate" if path == LR else self.facts.label_of(path)
        return figures.Axis(label=label, log=self.facts.is_log(path))

    def best(self, trials: tuple[Trial, ...] | list[Trial]) -> Trial | None:
        """The best of some trials that have a finite value; of equals the first."""
        known = [t for t in trials if value_of(t) is not None]
        return max(known, key=lambda t: self.sign * (value_of(t) or 0.0), default=None)


def value_of(trial: Trial) -> float | None:
    """A trial's value, or before it ended its latest; None if that is not finite."""
    value = trial.value if trial.value is not None else trial.last_value
    return value if value is not None and math.isfinite(value) else None


def off_the_scale(values: Sequence[float], metric: str) -> str:
    """A sentence on values that stand at the end of a scale of colours; empty where there are none."""
    low, high = without_tail_ends(values, metric)
    off = sum(not low <= v <= high for v in values)
    return f" Far worse than the others, and drawn at the end of the scale: {count(off, 'trial')}." if off else ""
