"""Stage explore without training: the stopping rule itself decides on trials with made-up curves. Knows no time."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from results.schema import Verdict
from search.history import place_of
from search.planning.costs import middle_point
from search.planning.curves import DIVERGED_AT, Curves
from search.settings import Grid
from search.stopping import Rule, Rung, is_audited
from search.study import Study


@dataclass(slots=True, kw_only=True)
class Player:
    """A trial that is played.

    Attributes:
        name: Its own.
        arm: Whose it is.
        number: 0-based, within the arm.
        quality: Of its curve.
        diverges: Whether it will.
        audited: Whether it runs on where the rule would end it.
        rungs: Epochs at which it is compared.
        epoch: Up to which it is trained.
        spared: Whether the rule would have ended it.
        values: What it measured at its rungs.
    """

    name: str
    arm: str
    number: int
    quality: float
    diverges: bool
    audited: bool
    rungs: tuple[int, ...]
    epoch: int = 0
    spared: bool = False
    values: list[float] = field(default_factory=list)


class Exploring:
    """The search of a study, played once; what the conductor does with reports, in the same order.

    Attributes:
        completed: By arm, how many trials came to their end.
    """

    def __init__(self, study: Study, rule: Rule, curves: Curves, seed: int) -> None:
        """Takes what the outcome depends on.

        Args:
            study: What is played.
            rule: Its stopping rule, or another.
            curves: Of its trials.
            seed: Of all draws.
        """
        self.completed: Counter[str] = Counter()
        self._study = study
        self._rule = rule
        self._curves = curves
        self._draw = random.Random(seed)
        self._sign = 1.0 if study.search.mode == "max" else -1.0
        self._planned = {arm: study.planned_trials(arm) for arm in study.arms}
        self._barriers = {arm: frozenset(barriers(study, arm)) for arm in study.arms}
        self._begun: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, Player] = {}
        self._rungs: dict[tuple[str, int, int], Rung] = defaultdict(Rung)

    def next(self) -> Player | None:
        """Who gets a free slot: one that is promoted, else a new one; None if there is nobody at present."""
        player = self._promoted() or self._last_promoted() or self._new()
        if player is not None:
            self._running[player.arm] += 1
        return player

    def next_stop(self, player: Player) -> int:
        """The epoch up to which a player trains before anything is decided about it."""
        epochs = self._study.recipe.epochs
        if player.diverges:
            return min(DIVERGED_AT, epochs)
        ahead = () if player.spared else (rung for rung in player.rungs if rung > player.epoch)
        return next(iter(ahead), epochs)

    def goes_on(self, player: Player) -> bool:
        """Whether a player that came to its next stop keeps its slot."""
        stays = self._decide(player)
        self._running[player.arm] -= not stays
        return stays

    def _decide(self, player: Player) -> bool:
        if player.diverges:
            return False
        if player.epoch == self._study.recipe.epochs:
            self.completed[player.arm] += 1
            return False
        player.values.append(self._sign * self._curves.value(self._draw, player.quality, player.epoch))
        rung = self._rungs[player.arm, self._rule.bracket(player.number), player.epoch]
        score = self._rule.score(player.values)
        verdict = self._rule.decide(rung, score).verdict
        rung.add(player.name, score, waits=verdict is Verdict.PAUSE)
        if verdict is Verdict.PAUSE:
            self._waiting[player.name] = player
            return self._promoted(player) is player
        player.spared = player.audited and verdict is Verdict.STOP
        return verdict is Verdict.CONTINUE or player.spared

    def _new(self) -> Player | None:
        """A new one for the arm with the fewest."""
        open_arms = (arm for arm in self._study.arms if self._has_more(arm))
        arm = min(open_arms, key=lambda arm: self._begun[arm], default=None)
        if arm is None:
            return None
        number = self._begun[arm]
        self._begun[arm] += 1
        return Player(
            name=f"{arm}/{number}",
            arm=arm,
            number=number,
            quality=self._curves.quality(self._draw, number),
            diverges=self._curves.diverges(self._draw),
            audited=is_audited(self._study.search.seed, arm, number, self._study.audit),
            rungs=self._rule.rungs(self._rule.bracket(number)),
        )

    def _has_more(self, arm: str) -> bool:
        begun = self._begun[arm]
        return begun < self._planned[arm] and not (self._running[arm] and begun in self._barriers[arm])

    def _promoted(self, only: Player | None = None) -> Player | None:
        """Who waits and goes on first, of the highest rung that has one; it waits no longer.

        Args:
            only: Leave all as it is unless it is this one.
        """
        if not self._rule.pauses:
            return None
        for epoch in reversed(self._rule.rungs()):
            for arm in self._study.arms:
                rung = self._rungs[arm, 0, epoch]
                name = self._rule.promotable(rung)
                if name is not None:
                    return None if only is not None and name != only.name else self._take(rung, name)
        return None

    def _last_promoted(self) -> Player | None:
        """The best that waits at the highest rung of an arm that would else have too few to confirm."""
        if not self._rule.pauses:
            return None
        for arm in self._study.arms:
            ended = not self._running[arm] and self._begun[arm] == self._planned[arm]
            if ended and self.completed[arm] < self._study.confirmed_trials(arm):
                for epoch in reversed(self._rule.rungs()):
                    name = self._rungs[arm, 0, epoch].best_waiting(self._study.search.mode)
                    if name is not None:
                        return self._take(self._rungs[arm, 0, epoch], name)
        return None

    def _take(self, rung: Rung, name: str) -> Player:
        rung.promote(name)
        return self._waiting.pop(name)


def barriers(study: Study, arm: str) -> list[int]:
    """Numbers of trials of an arm all of which must have ended before there is another: a finer grid follows.

    How many points of that are new depends on where the best lies; at an edge there are fewer than assumed here.
    """
    sampler = study.search.sampler
    if not isinstance(sampler, Grid) or sampler.refine == 0:
        return []
    coarse, fixed = study.grids[arm], study.fixed[arm]
    tried = {place_of(point) for point in coarse}
    finer = study.arm_space(arm).refined(middle_point(study, arm)).grid(fixed)
    new = sum(place_of(point) not in tried for point in finer)
    return [len(coarse) + rounds * new for rounds in range(sampler.refine)]
