"""What is measured on a split: likelihood and accuracy after every epoch, calibration and logits after the last."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.data import Split
from trainables.diagnostics import calibration_metrics, fit_temperature, logit_statistics, stationary_threshold
from trainables.engine.batches import EVERYTHING, TrainingData
from trainables.engine.loop import LoopExecutor
from trainables.engine.ranks import Ranks
from trainables.loss_settings import Loss, TamperedLoss
from trainables.losses import predicted_log_probabilities


class Evaluation:
    """Measures K seeds with M members each; a seed's prediction is the mean of its members' probabilities.

    Ranks predict a part of a split each, and all of them know the metrics of the whole.
    """

    def __init__(
        self, executor: LoopExecutor, data: TrainingData, loss: Loss, members: int, ranks: Ranks | None = None
    ) -> None:
        self._executor = executor
        self._data = data
        self._loss = loss
        self._members = members
        self._ranks = ranks
        self._temperatures: list[Tensor] | None = None

    def quick(self, split: Split) -> list[dict[str, float]]:
        """``loss`` and ``accuracy`` on a split, for each seed."""
        sums = [
            self._sums(self._predictions(self._executor.predict(samples)), labels)
            for samples, labels in self._data.chunks(split, self._part(split))
        ]
        return self._means(split, sums)

    def thorough(self, split: Split) -> list[dict[str, float]]:
        """The same with calibration, on ``val`` also with logit statistics.

        The temperature is fitted on ``val``, which has to be measured first; on ``test`` it is only applied.
        """
        labels = self._data.targets(split)
        chunks, sums = [], []
        for samples, part in self._data.chunks(split, self._part(split)):
            chunks.append(self._executor.predict(samples))
            sums.append(self._sums(self._predictions(chunks[-1]), part))
        means = self._means(split, sums)
        logits = [torch.cat(lane).float() for lane in zip(*chunks, strict=True)]
        if self._ranks is not None:
            logits = [self._ranks.put_together(lane, len(labels)) for lane in logits]
        predictions = self._predictions(logits)
        if not all(bool(p.isfinite().all()) for p in predictions):
            return means  # a divergence, which the caller will see
        if split == "val":
            self._temperatures = [fit_temperature(p, labels) for p in predictions]
        assert self._temperatures is not None, "val is measured before test"
        found = []
        for seed, p in enumerate(predictions):
            metrics = {**means[seed], **calibration_metrics(split, p, labels, self._temperatures[seed])}
            if split == "val":
                metrics["val/refit_temperature"] = float(self._temperatures[seed])
                metrics |= self._of_logits(logits[seed * self._members : (seed + 1) * self._members])
            found.append(metrics)
        return found

    def _part(self, split: Split) -> slice:
        """What this process predicts of a split."""
        return EVERYTHING if self._ranks is None else self._ranks.part_of(self._data.packed.sizes[split])

    def _means(self, split: Split, sums: Sequence[Tensor]) -> list[dict[str, float]]:
        total = torch.stack(list(sums)).sum(0)
        if self._ranks is not None:
            self._ranks.add_up(total)
        means = total / len(self._data.targets(split))
        return [{f"{split}/loss": loss, f"{split}/accuracy": accuracy} for loss, accuracy in means.tolist()]

    @staticmethod
    def _sums(predictions: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Sums of losses and of hits over a batch, (seeds, 2) float64."""
        of_seed = [
            torch.stack([F.nll_loss(p, labels, reduction="sum").double(), (p.argmax(1) == labels).sum().double()])
            for p in predictions
        ]
        return torch.stack(of_seed)

    def _predictions(self, logits: Sequence[Tensor]) -> list[Tensor]:
        """Log-probabilities (B, C) of every seed, from the logits of every lane."""
        lanes = [predicted_log_probabilities(z, self._loss) for z in logits]
        if self._members == 1:
            return lanes
        groups = torch.stack(lanes).view(-1, self._members, *lanes[0].shape)
        return list(groups.logsumexp(dim=1) - torch.tensor(self._members).log())

    def _of_logits(self, members: Sequence[Tensor]) -> dict[str, float]:
        statistics = [logit_statistics(z) for z in members]
        if isinstance(self._loss, TamperedLoss):
            for z, found in zip(members, statistics, strict=True):
                threshold = stationary_threshold(z.log_softmax(1), self._loss.alpha)
                found["val/stationary_threshold"] = float(threshold.mean())
        return {name: sum(found[name] for found in statistics) / len(statistics) for name in statistics[0]}
