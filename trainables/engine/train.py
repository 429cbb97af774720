"""Training: K lanes of one recipe, epoch by epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.data import PackedDataset, Split, prepare
from trainables.engine.loop import LoopExecutor
from trainables.engine.schedule import lr_at
from trainables.engine.state import LaneState
from trainables.losses import loss_function, predicted_log_probabilities
from trainables.models import build
from trainables.recipe import Recipe

_WATCH_STEPS = 64
"""Losses are read from the device after so many steps: a divergence costs at most these."""
_EVALUATION_BATCH = 1024


@dataclass(frozen=True, kw_only=True)
class LaneReport:
    """One epoch of one lane.

    Attributes:
        lane: 0-based.
        seed: Of the lane.
        epoch: 1-based.
        epoch_time_s: The lane's share of the epoch's wall time, evaluation included: all lanes' add up to it.
        metrics: ``train/loss`` (the training loss, mean over the samples as they were seen), ``train/accuracy``,
            ``val/loss`` (negative log-likelihood of the predicted probabilities, without label smoothing),
            ``val/accuracy``, ``optimizer/lr`` (of the epoch's last step), and after the last epoch ``test/loss``,
            ``test/accuracy`` if asked for. Losses in nats, accuracies in 0..1.
    """

    lane: int
    seed: int
    epoch: int
    epoch_time_s: float
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """Where and why a run broke down: epoch and step are 1-based, the step counted within its epoch."""

    epoch: int
    step: int
    lane: int
    reason: str


class Training:
    """One training run of K lanes: the same recipe, one seed each.

    A lane's numbers depend on its seed only, not on K, and continuing from a state gives the numbers of the
    uninterrupted run (bit-equal on the CPU).

    Attributes:
        recipe: What is trained.
        seeds: Of the lanes.
        epoch: Number of epochs done.
        divergence: Set when the run broke down; it cannot go on then.
    """

    def __init__(
        self,
        recipe: Recipe,
        seeds: Sequence[int],
        *,
        device: str | torch.device = "cpu",
        data_root: str | Path | None = None,
        test: bool = False,
        max_loss: float = 1000.0,
    ) -> None:
        """Prepares the data and the initial networks.

        Args:
            recipe: What to train.
            seeds: One for each lane, >= 0; they fix initial parameters and the order of the data.
            device: Where to train.
            data_root: Folder of the packed data sets; default as ``trainables.data.data_root``.
            test: Whether to evaluate on the test split after the last epoch; otherwise it is never opened.
            max_loss: A step whose training loss is above it counts as divergence; nats.

        Raises:
            ValueError: There is no seed or a negative one, or model or data set are unknown.
        """
        if not seeds or min(seeds) < 0:
            raise ValueError(f"seeds must be one number >= 0 for each lane, got {list(seeds)}. Use for example [0].")
        self.recipe = recipe
        self.seeds = tuple(seeds)
        self.epoch = 0
        self.divergence: Divergence | None = None
        self._device = torch.device(device)
        self._test = test
        self._max_loss = max_loss
        self._data = prepare(recipe.dataset, data_root)
        channels = (-1, *[1] * (len(self._data.input_shape) - 1))
        self._mean = torch.tensor(self._data.mean, device=self._device).view(channels)
        self._std = torch.tensor(self._data.std, device=self._device).view(channels)
        modules = [
            build(recipe.model, input_shape=self._data.input_shape, num_classes=self._data.num_classes, seed=seed)
            for seed in self.seeds
        ]
        self._state = LaneState(modules, self._device)
        self._executor = LoopExecutor(modules, self._state, loss_function(recipe.loss), recipe.optimizer)

    @property
    def finished(self) -> bool:
        """Whether the run came to its end without a divergence."""
        return self.epoch == self.recipe.epochs and self.divergence is None

    def train_epoch(self) -> list[LaneReport]:
        """Trains and evaluates one epoch; stops within it if a lane diverges (see :attr:`divergence`).

        Returns:
            One report for each lane. After a divergence in training, the training metrics are means over the steps up
            to that one, and the loss is reported as it was, be it nan.

        Raises:
            RuntimeError: The run is finished or has diverged.
        """
        if self.finished or self.divergence is not None:
            raise RuntimeError(
                f"training must not go on after its end or a divergence, got one at epoch {self.epoch}. Start anew."
            )
        started = time.perf_counter()
        metrics = self._train()
        self._evaluate("val", metrics)
        self.epoch += 1
        if self.divergence is None:
            self.divergence = self._divergence_in_validation(metrics)
        if self._test and self.finished:
            self._evaluate("test", metrics)
        seconds = (time.perf_counter() - started) / len(self.seeds)
        return [
            LaneReport(lane=lane, seed=seed, epoch=self.epoch, epoch_time_s=seconds, metrics=metrics[lane])
            for lane, seed in enumerate(self.seeds)
        ]

    def lane_state_dict(self, lane: int) -> dict[str, Tensor]:
        """Parameters and buffers of one lane as a plain ``state_dict`` on the CPU."""
        return self._state.lane(lane)

    def state_dict(self) -> dict[str, Any]:
        """Everything that is needed to go on, in types that ``torch.load(weights_only=True)`` reads."""
        return {
            "seeds": list(self.seeds),
            "epoch": self.epoch,
            "divergence": None if self.divergence is None else asdict(self.divergence),
            "lanes": self._state.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # Any: what a checkpoint holds
        """Goes back (or forward) to a state of a run with the same recipe and seeds.

        Raises:
            ValueError: The state belongs to other seeds or to another network.
        """
        if tuple(state["seeds"]) != self.seeds:
            raise ValueError(f"the state must have the seeds {list(self.seeds)}, got {state['seeds']}. Train afresh.")
        self._state.load_state_dict(state["lanes"])
        self.epoch = state["epoch"]
        self.divergence = None if state["divergence"] is None else Divergence(**state["divergence"])

    def _train(self) -> list[dict[str, float]]:
        inputs, targets = _resident(self._data, "train", self._device)
        orders = [self._order(seed, len(targets)) for seed in self.seeds]
        steps = len(orders[0])
        losses: list[list[float]] = []
        hits = [torch.zeros((), dtype=torch.int64, device=self._device) for _ in self.seeds]
        for first in range(0, steps, _WATCH_STEPS):
            chunk_losses: list[Tensor] = []
            chunk_logits: list[list[Tensor]] = []
            for step in range(first, min(first + _WATCH_STEPS, steps)):
                samples = [self._normalised(inputs.index_select(0, order[step])) for order in orders]
                labels = [targets.index_select(0, order[step]) for order in orders]
                step_losses, step_logits = self._executor.train_step(samples, labels, self._lr(step / steps))
                chunk_losses += step_losses
                chunk_logits.append(step_logits)
            values = torch.stack(chunk_losses).view(-1, len(self.seeds)).tolist()  # the only wait for the device
            self.divergence = self._divergence_in_training(values, first)
            kept = len(values) if self.divergence is None else self.divergence.step - first
            losses += values[:kept]
            for lane, order in enumerate(orders):
                predicted = torch.cat([logits[lane] for logits in chunk_logits[:kept]]).argmax(dim=1)
                hits[lane] += (predicted == targets[torch.cat(order[first : first + kept])]).sum()
            if self.divergence is not None:
                break
        sizes = [len(batch) for batch in orders[0][: len(losses)]]
        return [
            {
                "train/loss": sum(row[lane] * size for row, size in zip(losses, sizes, strict=True)) / sum(sizes),
                "train/accuracy": count / sum(sizes),
                "optimizer/lr": self._lr((len(losses) - 1) / steps),
            }
            for lane, count in enumerate(torch.stack(hits).tolist())
        ]

    def _evaluate(self, split: Split, metrics: list[dict[str, float]]) -> None:
        inputs, targets = _resident(self._data, split, self._device)
        sums = torch.zeros(len(self.seeds), 2, dtype=torch.float64, device=self._device)
        for start in range(0, len(targets), _EVALUATION_BATCH):
            labels = targets[start : start + _EVALUATION_BATCH]
            samples = self._normalised(inputs[start : start + _EVALUATION_BATCH])
            for lane, logits in enumerate(self._executor.predict(samples)):
                log_probabilities = predicted_log_probabilities(logits, self.recipe.loss)
                sums[lane, 0] += F.nll_loss(log_probabilities, labels, reduction="sum")
                sums[lane, 1] += (logits.argmax(dim=1) == labels).sum()
        for lane, (loss, hits) in enumerate((sums / len(targets)).tolist()):
            metrics[lane] |= {f"{split}/loss": loss, f"{split}/accuracy": hits}

    def _divergence_in_training(self, losses: list[list[float]], first: int) -> Divergence | None:
        epoch = self.epoch + 1
        for step, row in enumerate(losses, start=first + 1):
            for lane, loss in enumerate(row):
                if not math.isfinite(loss):
                    reason = f"train/loss is {loss} at epoch {epoch}, step {step}"
                elif loss > self._max_loss:
                    reason = f"train/loss {loss:.3g} is above max_loss {self._max_loss:g} at epoch {epoch}, step {step}"
                else:
                    continue
                return Divergence(epoch=epoch, step=step, lane=lane, reason=reason)
        return None

    def _divergence_in_validation(self, metrics: list[dict[str, float]]) -> Divergence | None:
        for lane, values in enumerate(metrics):
            if not math.isfinite(values["val/loss"]):
                reason = f"val/loss is {values['val/loss']} after epoch {self.epoch}"
                steps = math.ceil(self._data.sizes["train"] / self.recipe.batch_size)
                return Divergence(epoch=self.epoch, step=steps, lane=lane, reason=reason)
        return None

    def _lr(self, share_of_epoch: float) -> float:
        return lr_at(self.recipe.schedule, self.recipe.optimizer.lr, self.epoch + share_of_epoch, self.recipe.epochs)

    def _order(self, seed: int, samples: int) -> tuple[Tensor, ...]:
        """The batches of the coming epoch: positions in the train split, (B,) int64 each; the last may be shorter."""
        generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, self.epoch + 1])))
        order = torch.from_numpy(generator.permutation(samples)).to(self._device)
        return torch.split(order, self.recipe.batch_size)

    def _normalised(self, samples: Tensor) -> Tensor:
        return samples.float().sub_(self._mean).div_(self._std)


@lru_cache(maxsize=3)
def _resident(data: PackedDataset, split: Split, device: torch.device) -> tuple[Tensor, Tensor]:
    """One split on the device, kept for the next trials of this process; on the CPU these are the shared pages."""
    inputs, targets = data.load(split)
    return torch.from_numpy(inputs).to(device), torch.from_numpy(targets).to(device)
