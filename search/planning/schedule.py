"""When what runs: the stages of a study played on the slots of a machine, with what training and the driver cost."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from results.schema import Stage
from search.planning.costs import Cost
from search.planning.curves import Curves
from search.planning.exploring import Exploring, Player
from search.planning.overhead import Overhead
from search.settings import REPORT_EVERY_S
from search.stopping import Rule
from search.study import Study
from trainables.recipe import Teacher


@dataclass(slots=True)
class Tally:
    """What the trials of an arm, or of a teacher's name, come to in a stage.

    Attributes:
        trials: Begun.
        epochs: Trained; each lane's counts.
        busy_s: Of slots that they hold.
    """

    trials: int = 0
    epochs: int = 0
    busy_s: float = 0.0


@dataclass(slots=True)
class Played:
    """A study played through once.

    Attributes:
        tallies: By stage and arm, in order.
        wall_s: Of each stage, from its first trial to its last.
    """

    tallies: dict[tuple[Stage, str], Tally] = field(default_factory=lambda: defaultdict(Tally))
    wall_s: dict[Stage, float] = field(default_factory=dict)


class Schedule:
    """Plays a study through; each stage begins when all trials of the one before have ended."""

    def __init__(
        self, study: Study, *, slots: int, costs: Mapping[str, Cost], overhead: Overhead, trained: Collection[str]
    ) -> None:
        """Takes what time depends on.

        Args:
            study: What is played.
            slots: Trials at once, >= 1.
            costs: By arm and teacher; those left out take no time.
            overhead: Between trials.
            trained: Teachers that are on the shelf.
        """
        self._study = study
        self._slots = slots
        self._costs = costs
        self._overhead = overhead
        self._trained = trained
        self._driver_free_s = 0.0

    def play(self, rule: Rule, curves: Curves, seed: int) -> Played:
        """Plays it once.

        Args:
            rule: The study's stopping rule, or another.
            curves: Of the explored trials.
            seed: Of all draws.
        """
        played = Played()
        exploring = Exploring(self._study, rule, curves, seed)
        played.wall_s[Stage.TEACH] = self._teach(played.tallies)
        self._driver_free_s = 0.0  # each stage has a clock of its own
        played.wall_s[Stage.EXPLORE] = self._explore(exploring, played.tallies)
        self._driver_free_s = 0.0
        played.wall_s[Stage.CONFIRM] = self._confirm(exploring.completed, played.tallies)
        return played

    def _teach(self, tallies: dict[tuple[Stage, str], Tally]) -> float:
        ended_s = dict.fromkeys(self._trained, 0.0)
        slots = [0.0] * self._slots
        for name in self._study.needed_teachers:  # each after those that it learns from
            if name in ended_s:
                continue
            teacher = self._study.teachers[name]
            ready_s = max((ended_s[other] for other in teacher.recipe.names), default=0.0)
            spent_s = self._start_s(name, 1) + self._train_s(name, length_of(teacher), 1)
            ended_s[name] = max(heapq.heappop(slots), ready_s) + spent_s
            heapq.heappush(slots, ended_s[name])
            tallies[Stage.TEACH, name] = Tally(1, length_of(teacher), spent_s)
        return max(ended_s.values(), default=0.0)

    def _explore(self, exploring: Exploring, tallies: dict[tuple[Stage, str], Tally]) -> float:
        lanes = self._study.seeds.search
        ahead: list[tuple[float, int, Player]] = []  # when a trial comes to its next stop
        order = itertools.count()  # of those that come at once
        free, now_s = self._slots, 0.0

        def train(player: Player, from_s: float, start_s: float) -> None:
            stop = exploring.next_stop(player)
            spent_s = start_s + self._train_s(player.arm, stop - player.epoch, lanes)
            tally = tallies[Stage.EXPLORE, player.arm]
            tally.trials += player.epoch == 0
            tally.epochs += (stop - player.epoch) * lanes
            tally.busy_s += spent_s
            player.epoch = stop
            heapq.heappush(ahead, (from_s + spent_s, next(order), player))

        while True:
            while free and (player := exploring.next()) is not None:
                free -= 1
                train(player, self._served_s(now_s), self._start_s(player.arm, lanes))
            if not ahead:
                return now_s
            now_s, _, player = heapq.heappop(ahead)
            if exploring.goes_on(player):
                train(player, now_s, 0.0)
            else:
                free += 1

    def _confirm(self, completed: Mapping[str, int], tallies: dict[tuple[Stage, str], Tally]) -> float:
        epochs = self._study.recipe.epochs
        slots = [0.0] * self._slots
        for _, arm in itertools.product(self._study.confirm_seeds, self._study.arms):
            test_s = self._costs[arm].test_s if arm in self._costs else 0.0
            for _ in range(min(self._study.confirmed_trials(arm), completed[arm])):
                spent_s = self._start_s(arm, 1) + self._train_s(arm, epochs, 1) + test_s
                heapq.heappush(slots, self._served_s(heapq.heappop(slots)) + spent_s)
                tally = tallies[Stage.CONFIRM, arm]
                tally.trials += 1
                tally.epochs += epochs
                tally.busy_s += spent_s
        return max(slots)

    def _served_s(self, now_s: float) -> float:
        """When the driver has served a slot that is free now: one after the other."""
        self._driver_free_s = max(self._driver_free_s, now_s) + self._overhead.driver_s
        return self._driver_free_s

    def _start_s(self, name: str, lanes: int) -> float:
        """In a slot, before the first epoch of a trial."""
        cost = self._costs.get(name)
        return 0.0 if cost is None else self._overhead.turn_s + cost.start_s * lanes

    def _train_s(self, name: str, epochs: int, lanes: int) -> float:
        """In a slot, so many epochs on end, with what is done after each report."""
        cost = self._costs.get(name)
        if cost is None:
            return 0.0
        train_s = epochs * lanes * cost.epoch_s
        reports = min(epochs, max(1, math.ceil(train_s / REPORT_EVERY_S)))
        return train_s + reports * (cost.save_s + self._overhead.report_s)


def length_of(teacher: Teacher) -> int:
    """Epochs that a teacher is trained."""
    return teacher.epoch or teacher.recipe.epochs
