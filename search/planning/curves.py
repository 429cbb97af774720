"""Made-up learning curves, in place of training: what the stopping rule is played with."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from search.settings import CmaEs, Gp, Tpe
from search.study import Study

CORRELATION = 0.85
"""Between the values at two rungs. Four arms on digits, 48 trials each without stopping: rank correlations of 0.68 to
0.96, of 0.72 to 0.84 between the epochs 1 and 27."""
IMPROVEMENT = 1.0
"""How much better than the first trials a model-based sampler's 48th is; standard deviations of a trial's quality.
Studies on digits with TPE and ASHA trained 5.4 epochs a trial, the mean of ten, and 5.6 when made up like this."""
LEARNED_TRIALS = 48
"""After so many trials a sampler improves no more."""
DIVERGING = 0.02
"""Share of trials that diverge, on digits likewise."""
DIVERGED_AT = 2
"""The epoch in which they do."""

_GROWTH = 10.0
"""Any trial is better the longer it has trained, by far more than trials differ: only a median's best so far asks."""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """A trial has a quality, the same at all rungs, and at every rung a noise of its own.

    Attributes:
        correlation: Between the values at two rungs, in 0..1.
        improvement: By which qualities grow over the first :data:`LEARNED_TRIALS` trials; standard deviations.
        diverging: Share of trials that diverge.
    """

    correlation: float = CORRELATION
    improvement: float = IMPROVEMENT
    diverging: float = DIVERGING

    @classmethod
    def of(cls, study: Study) -> Curves:
        """As the study's sampler has it: those that are blind to results do not improve."""
        learns = isinstance(study.search.sampler, Tpe | Gp | CmaEs)
        return cls() if learns else cls(improvement=0.0)

    def quality(self, draw: random.Random, number: int) -> float:
        """Of an arm's trial ``number`` (0-based); larger is better, standard deviation 1."""
        return draw.gauss(self.improvement * min(1.0, number / LEARNED_TRIALS), 1.0)

    def diverges(self, draw: random.Random) -> bool:
        """Whether a trial does."""
        return draw.random() < self.diverging

    def value(self, draw: random.Random, quality: float, epoch: int) -> float:
        """What a trial measures after an epoch; larger is better."""
        noise = math.sqrt(1 / max(self.correlation, 1e-6) - 1)
        return _GROWTH * math.log(epoch) + quality + draw.gauss(0.0, noise)
