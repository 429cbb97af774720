"""The live display of a running study: a rich view on a terminal, plain lines elsewhere. Writes to stderr."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

from rich.console import Console, ConsoleRenderable, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from results import formats
from results.schema import Stage, TrialState
from search.conductor import Conductor
from search.history import Trial

LINE_EVERY_S = 5.0
"""Without a terminal, at most one line in so many seconds, besides those that mark an event."""

_SHOWN = (
    TrialState.RUNNING,
    TrialState.PAUSED,
    TrialState.COMPLETED,
    TrialState.PRUNED,
    TrialState.DIVERGED,
    TrialState.FAILED,
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the display shows, taken from the conductor's history."""

    done: int
    total: int
    states: dict[tuple[str, str], Counter[TrialState]]
    rungs: dict[str, list[int]]
    best: dict[str, tuple[str, float]]

    @classmethod
    def of(cls, conductor: Conductor) -> Snapshot:
        """The present state of the study."""
        study, history = conductor.study, conductor.history
        states: dict[tuple[str, str], Counter[TrialState]] = {}
        for trial in list(history.trials.values()):  # the display's thread looks on while the driver adds
            states.setdefault((trial.stage, trial.arm), Counter())[trial.state] += 1
        done = sum(counts[state] for counts in states.values() for state in counts if state.is_final)
        candidates = sum(map(study.confirmed_trials, study.arms))
        total = sum(study.planned_trials(arm) for arm in study.arms) + candidates * study.seeds.confirm
        total += len(study.needed_teachers)
        rungs = {
            arm: [
                sum(1 for t in history.of(arm) if t.last_epoch >= rung) for rung in (*study.rungs, study.recipe.epochs)
            ]
            for arm in study.arms
        }
        best: dict[str, tuple[str, float]] = {}
        for arm in study.arms:
            for trial in history.best(arm, study.search.metric, study.search.mode, 1):
                best[arm] = (trial.name, _value(trial, study.search.metric))
        return cls(done, max(total, len(history.trials)), states, rungs, best)

    def line(self, metric: str) -> str:
        """The snapshot in one line."""
        everything: Counter[TrialState] = sum(self.states.values(), Counter())
        counts = ", ".join(f"{everything[state]} {state.lower()}" for state in _SHOWN if everything[state])
        best = "; ".join(
            f"best of {arm} {formats.metric(metric, value)} ({name})" for arm, (name, value) in self.best.items()
        )
        return f"{self.done}/{self.total} trials: {counts or 'none yet'}" + (f"; {best}" if best else "")


def _value(trial: Trial, metric: str) -> float:
    value = trial.value(metric)
    return float("nan") if value is None else value


def _phase_of(conductor: Conductor) -> str:
    """What is being done, by the trials that still run; before and between them, by what came last."""
    stages = [trial.stage for trial in conductor.history.unfinished()]
    if not stages:
        stages = [trial.stage for trial in list(conductor.history.trials.values())[-1:]]
    if conductor.spent and not conductor.finished:
        return "finishing what has begun: the budget of trials is used up"
    words = {Stage.TEACH: "training the teachers", Stage.CONFIRM: "confirming the best on fresh seeds"}
    return next((words[stage] for stage in words if stage in stages), "exploring")


class Progress:
    """The display; use it as a context manager around the run.

    Args:
        console: Where to write; rich decides whether it is a terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._conductor: Conductor | None = None
        self._phase = "starting"
        self._began = time.monotonic()
        self._done_before = 0
        self._last_line = 0.0

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()

    def phase(self, text: str) -> None:
        """A new part of the work begins."""
        if text != self._phase:
            self._phase = text
            if self._live is None:
                self.note(text)

    def note(self, text: str) -> None:
        """A line that stays."""
        self._console.print(Text(text), soft_wrap=True)

    def watch(self, conductor: Conductor) -> None:
        """From now on the display shows this study."""
        self._conductor = conductor
        self._done_before = Snapshot.of(conductor).done
        self._began = time.monotonic()

    def update(self) -> None:
        """To be called often; writes a line now and then where there is no terminal."""
        if self._conductor is None:
            return
        self.phase(_phase_of(self._conductor))
        if self._live is None and time.monotonic() - self._last_line >= LINE_EVERY_S:
            self._last_line = time.monotonic()
            self.note(Snapshot.of(self._conductor).line(self._conductor.study.search.metric))

    def _render(self) -> ConsoleRenderable:
        elapsed = time.monotonic() - self._began
        if self._conductor is None:
            return Text(f"{self._phase} ... {elapsed:.0f} s", style="dim")
        study, shot = self._conductor.study, Snapshot.of(self._conductor)
        head = f"{study.name}: {self._phase}, {shot.done} of {shot.total} trials, {elapsed:.0f} s"
        if not shot.states:
            return Text(head, style="bold")
        table = Table(box=None, padding=(0, 1), header_style="dim")
        table.add_column("arm", no_wrap=True)
        shown = [state for state in _SHOWN if state is not TrialState.PAUSED or study.rule.pauses]
        for state in shown:
            table.add_column(state.lower(), justify="right", no_wrap=True)
        for rung in (*study.rungs, study.recipe.epochs):
            table.add_column(f"epoch {rung}", justify="right", no_wrap=True)
        table.add_column("best", no_wrap=True)
        for (stage, arm), counts in shot.states.items():
            explore = stage == Stage.EXPLORE
            name, value = shot.best.get(arm, ("", float("nan"))) if explore else ("", float("nan"))
            table.add_row(
                arm if explore else f"{arm}, {stage}",
                *(str(counts[state] or "") for state in shown),
                *(str(n) if explore else "" for n in shot.rungs[arm]),
                f"{formats.metric(study.search.metric, value)} ({name})" if name else "",
            )
        return Group(Text(head + self._left(shot, elapsed), style="bold"), table)

    def _left(self, shot: Snapshot, elapsed: float) -> str:
        done_now = shot.done - self._done_before
        if done_now < 3 or shot.done >= shot.total:
            return ""
        return f", about {elapsed / done_now * (shot.total - shot.done):.0f} s left"
