"""Training: K lanes of one recipe, epoch by epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainables.data import Split
from trainables.diagnostics import mean_teacher_statistics
from trainables.engine.averaging import RunningMean
from trainables.engine.batches import Batch, steps_of
from trainables.engine.feed import feed
from trainables.engine.loop import Gate, LoopExecutor, Objective
from trainables.engine.measure import Evaluation
from trainables.engine.network import assemble, base_of
from trainables.engine.ranks import Ranks
from trainables.engine.schedule import lr_at
from trainables.engine.shared_norm import with_shared_norms
from trainables.engine.start import StartOfLearning
from trainables.engine.state import LaneState
from trainables.engine.tally import EpochTally
from trainables.engine.teaching import TeacherLogits, require
from trainables.fit import misfits_of_ranks
from trainables.loss_settings import DistilledLoss, TemperedLoss
from trainables.losses.of_recipe import distillation_parts, distils_at, loss_function
from trainables.models.logit_norm import logit_norm, undisturbed_logits
from trainables.recipe import Recipe, Teacher
from trainables.teachers import Shelf, StoredTeacher

MEMBER_STRIDE = 2**20
"""Member m of a seed's ensemble is trained with ``seed + m * MEMBER_STRIDE``: no study's seeds lie so far apart."""


@dataclass(frozen=True, kw_only=True)
class LaneReport:
    """One epoch of one seed.

    Attributes:
        lane: 0-based place of the seed.
        seed: Of the lane.
        epoch: 1-based.
        epoch_time_s: The lane's share of the epoch's wall time, evaluation included: all lanes' add up to it.
        metrics: ``train/loss`` (the training loss, mean over the samples as they were seen), ``train/accuracy``,
            ``val/loss`` (negative log-likelihood of the predicted probabilities, without label smoothing),
            ``val/accuracy``, ``optimizer/lr`` (of the epoch's last step). After the first epoch also ``teacher/...``
            and, where one is asked for, the logit norm at the start; after the last one calibration and logit
            statistics, and ``test/...`` if asked for; with ``diagnostics.theory`` also ``probe/...`` and
            ``theory/...``. Losses in nats, accuracies in 0..1. With several members, ``train/...`` and logit
            statistics are their means, all else is of their mean probabilities.
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
    """One training run of K lanes: the same recipe, one seed each, and for each seed as many members as it asks for.

    A lane's numbers depend on its seed only, not on K, and continuing from a state gives the numbers of the
    uninterrupted run (bit-equal on the CPU).

    Several processes may train it together, as data parallel: ``batch_size`` and the learning rate stay what the recipe
    says, every process computes its share of each batch, and all see the numbers of the whole. These are those of a
    single process, but for rounding and for two things that are drawn or taken from a share: random layers such as
    dropout draw other numbers, and a batch norm normalises with the mean and variance of the share unless
    ``compute.sync_batch_norm`` is set. What it remembers of them is averaged over the processes after every epoch.

    Attributes:
        recipe: What is trained.
        seeds: Of the lanes.
        data: What it is trained on.
        last_epoch: The epoch after which it ends; the schedule may be longer.
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
        until: int | None = None,
        teachers: Mapping[str, Teacher] | None = None,
        shelf: Shelf | None = None,
        workers: int = 1,
        ranks: Ranks | None = None,
    ) -> None:
        """Prepares the data and the initial networks.

        Args:
            recipe: What to train.
            seeds: One for each lane, >= 0; they fix initial parameters and the order of the data.
            device: Where to train.
            data_root: Folder of the packed data sets; default as ``trainables.data.data_root``.
            test: Whether to evaluate on the test split after the last epoch; otherwise it is never opened.
            max_loss: A step whose training loss is above it counts as divergence; nats.
            until: End after this epoch of the schedule; None for its last one.
            teachers: What the names in the recipe mean.
            shelf: Where these teachers are kept.
            workers: Processes that decode images, for a data set that is streamed.
            ranks: Who trains together, each with the same arguments; None for this process alone.

        Raises:
            ValueError: There is no seed or a negative one, model or data set are unknown or do not fit, a teacher is
                not trained, the logit norm at the start cannot be reached, or the batches cannot be shared evenly.
            RankLost: Another process does not answer.
        """
        if not seeds or min(seeds) < 0:
            raise ValueError(f"seeds must be one number >= 0 for each lane, got {list(seeds)}. Use for example [0].")
        self.recipe = recipe
        self.seeds = tuple(seeds)
        self.last_epoch = recipe.epochs if until is None else until
        self.epoch = 0
        self.divergence: Divergence | None = None
        self._test = test
        self._max_loss = max_loss
        self._ranks = ranks
        self.data = feed(recipe, torch.device(device), test=test, data_root=data_root, workers=workers, ranks=ranks)
        if ranks is not None:
            _check_shares(recipe, self.data.packed.sizes, ranks.count)
        needed: dict[str, StoredTeacher] = {}
        for name in recipe.names:
            if shelf is None:
                raise ValueError(f"a shelf must be given where the recipe names a teacher, got none for {name}.")
            needed[name] = require(name, teachers or {}, shelf, self.data.packed.digest)
        self._teacher: TeacherLogits | None = None
        if isinstance(recipe.loss, DistilledLoss) and shelf is not None:
            self._teacher = TeacherLogits(
                needed[recipe.loss.teacher],
                shelf,
                self.data,
                augmented=not recipe.augment.is_off,
                compute=recipe.compute,
            )
        self._lane_seeds = [seed + m * MEMBER_STRIDE for seed in self.seeds for m in range(recipe.members)]
        self._modules: list[nn.Module] = []
        for seed in self._lane_seeds:
            below = None if recipe.base is None or shelf is None else base_of(needed[recipe.base], shelf, self.data)
            network = assemble(recipe, seed, self.data, below)
            if ranks is not None and recipe.compute.sync_batch_norm:
                network = with_shared_norms(network, ranks)
            self._modules.append(network)
        self._state = LaneState(self._modules, self.data.device)
        if ranks is not None:
            self._state.start_as_first(ranks)
        self._executor = LoopExecutor(
            self._modules, self._state, recipe.optimizer, compute=recipe.compute, seeds=self._lane_seeds, ranks=ranks
        )
        self._mean = None if recipe.ema_decay is None else RunningMean(self._state, recipe.ema_decay)
        self._evaluation = Evaluation(self._executor, self.data, recipe.loss, recipe.members, ranks)
        self._start: StartOfLearning | None = None
        if recipe.diagnostics.theory:
            self._start = StartOfLearning(recipe, self._modules[:: recipe.members], self.data)

    @property
    def finished(self) -> bool:
        """Whether the run came to its end without a divergence."""
        return self.epoch == self.last_epoch and self.divergence is None

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
        parts = [self._before_learning()] if self.epoch == 0 else []
        with torch.random.fork_rng(devices=[self.data.device] if self.data.device.type == "cuda" else []):
            parts.append(self._train())
        if self._ranks is not None:
            self._average_buffers(self._ranks)
        last = self.epoch + 1 == self.last_epoch and self.divergence is None
        if last and self._mean is not None:
            self._mean.settle()
        with nullcontext() if last or self._mean is None else self._mean.in_place():
            parts.append(self._evaluation.thorough("val") if last else self._evaluation.quick("val"))
        self.epoch += 1
        if self.divergence is None:
            self.divergence = self._divergence_in_validation(parts[-1])
        if self._test and self.finished:
            parts.append(self._evaluation.thorough("test"))
        if self._start is not None:
            parts.append(self._start.metrics())
        seconds = (time.perf_counter() - started) / len(self.seeds)
        return [
            LaneReport(
                lane=lane,
                seed=seed,
                epoch=self.epoch,
                epoch_time_s=seconds,
                metrics={name: value for part in parts for name, value in part[lane].items()},
            )
            for lane, seed in enumerate(self.seeds)
        ]

    def network(self, lane: int) -> nn.Module:
        """The first network of a lane; it shares the memory of this run."""
        return self._modules[lane * self.recipe.members]

    def lane_state_dict(self, lane: int) -> dict[str, Tensor]:
        """Parameters and buffers of a lane as a plain ``state_dict`` on the CPU; of members, ``members.0.`` and on."""
        first = lane * self.recipe.members
        if self.recipe.members == 1:
            return self._state.lane(first)
        return {
            f"members.{m}.{name}": value
            for m in range(self.recipe.members)
            for name, value in self._state.lane(first + m).items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything that is needed to go on, in types that ``torch.load(weights_only=True)`` reads."""
        return {
            "seeds": list(self.seeds),
            "epoch": self.epoch,
            "divergence": None if self.divergence is None else asdict(self.divergence),
            "lanes": self._state.state_dict(),
            "executor": self._executor.state_dict(),
            "mean": None if self._mean is None else self._mean.state_dict(),
            "start": None if self._start is None else self._start.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # Any: what a checkpoint holds
        """Goes back (or forward) to a state of a run with the same recipe and seeds.

        Raises:
            ValueError: The state belongs to other seeds or to another network.
        """
        if tuple(state["seeds"]) != self.seeds:
            raise ValueError(f"the state must have the seeds {list(self.seeds)}, got {state['seeds']}. Train afresh.")
        self._state.load_state_dict(state["lanes"])
        self._executor.load_state_dict(state["executor"])
        if self._mean is not None:
            self._mean.load_state_dict(state["mean"])
        self.epoch = state["epoch"]
        self.divergence = None if state["divergence"] is None else Divergence(**state["divergence"])
        if self._start is not None:
            self._start.load_state_dict(state["start"])

    def _before_learning(self) -> list[dict[str, float]]:
        """What is known before the first step: what the teacher says, and how fast learning should begin."""
        found: dict[str, float] = {}
        loss = self.recipe.loss
        if isinstance(loss, DistilledLoss) and self._teacher is not None:
            logits = self._teacher.over(self.data)
            found = mean_teacher_statistics(
                logits,
                self.data.targets("train").to(logits.device),
                tau1=loss.tau1,
                tau2=loss.tau2,
                center=loss.center_logits,
            )
        lanes = [dict(found) for _ in self.seeds]
        if self._start is None and isinstance(loss, TemperedLoss) and loss.logit_norm is not None:
            samples, _ = self.data.probe(self.recipe.diagnostics.probe_samples)
            for lane, metrics in enumerate(lanes):
                norm = logit_norm(undisturbed_logits(self.network(lane), samples).detach())
                metrics["probe/logit_norm_start"] = loss.beta * float(norm)
        if self._start is not None:
            for lane, predicted in enumerate(self._start.predict(self._objective)):
                lanes[lane] |= predicted
        return lanes

    def _train(self) -> list[dict[str, float]]:
        steps = steps_of(self.recipe, self.data.packed)
        tally = EpochTally(len(self._lane_seeds), self.data.device, self._ranks)
        for step, batches in enumerate(self.data.epoch(self._lane_seeds, self.epoch + 1)):
            lr, moment = self._lr(step / steps), self.epoch + step / steps
            objectives = [self._objective(moment, batch) for batch in batches]
            share = batches[0].share
            done = self._executor.train_step([batch.samples for batch in batches], objectives, lr, share)
            tally.add([batch.labels for batch in batches], done, share)
            if self._mean is not None:
                self._mean.update()
            if self._start is not None:
                self._start.observe(lr)
            if tally.is_due or step + 1 == steps:
                self.divergence = self._divergence_in_training(*tally.read())
                if self.divergence is not None:
                    break
        kept = step + 1 if self.divergence is None else self.divergence.step
        lr = self._lr((kept - 1) / steps)
        return self._over_members([{**lane, "optimizer/lr": lr} for lane in tally.means(kept)])

    def _average_buffers(self, ranks: Ranks) -> None:
        self._state.average_buffers(ranks)
        if self._mean is not None:
            with self._mean.in_place():
                self._state.average_buffers(ranks)

    def _objective(self, moment: float, batch: Batch) -> Callable[[Tensor], Objective]:
        """What a step minimises, as a function of its logits.

        Args:
            moment: Epochs done.
            batch: What is learned from.
        """
        loss = self.recipe.loss
        taught = self._teacher is not None and distils_at(loss, moment)
        says = self._teacher.of(batch) if taught and self._teacher is not None else None
        if taught and isinstance(loss, DistilledLoss) and loss.agreement is not None:
            from_labels, from_teacher = distillation_parts(loss)
            gate = Gate(cosine=loss.agreement, share=loss.weight, last_layer_only=loss.agreement_layers == "last")
            return lambda logits: (
                from_labels(logits, batch.targets, says),
                from_teacher(logits, batch.targets, says),
                gate,
            )
        function = loss_function(loss, moment)
        return lambda logits: function(logits, batch.targets, says)

    def _over_members(self, lanes: list[dict[str, float]]) -> list[dict[str, float]]:
        """Means over the members of every seed."""
        m = self.recipe.members
        groups = [lanes[first : first + m] for first in range(0, len(lanes), m)]
        return [{name: sum(lane[name] for lane in group) / m for name in group[0]} for group in groups]

    def _divergence_in_training(self, first: int, losses: list[list[float]]) -> Divergence | None:
        epoch = self.epoch + 1
        for step, row in enumerate(losses, start=first + 1):
            for lane, loss in enumerate(row):
                if not math.isfinite(loss):
                    reason = f"train/loss is {loss} at epoch {epoch}, step {step}"
                elif loss > self._max_loss:
                    reason = f"train/loss {loss:.3g} is above max_loss {self._max_loss:g} at epoch {epoch}, step {step}"
                else:
                    continue
                return Divergence(epoch=epoch, step=step, lane=lane // self.recipe.members, reason=reason)
        return None

    def _divergence_in_validation(self, metrics: list[dict[str, float]]) -> Divergence | None:
        for lane, values in enumerate(metrics):
            if not math.isfinite(values["val/loss"]):
                reason = f"val/loss is {values['val/loss']} after epoch {self.epoch}"
                steps = steps_of(self.recipe, self.data.packed)
                return Divergence(epoch=self.epoch, step=steps, lane=lane, reason=reason)
        return None

    def _lr(self, share_of_epoch: float) -> float:
        return lr_at(self.recipe.schedule, self.recipe.optimizer.lr, self.epoch + share_of_epoch, self.recipe.epochs)


def _check_shares(recipe: Recipe, sizes: Mapping[Split, int], ranks: int) -> None:
    """Refuses what so many processes cannot share.

    Raises:
        ValueError: The batch size is no multiple of their number, or a split has fewer samples.
    """
    mistakes = misfits_of_ranks(recipe, ranks)
    for split, size in sizes.items():
        if size < ranks:
            mistakes.append(f"split {split} must have a sample for each of {ranks} processes, got {size}")
    if mistakes:
        raise ValueError("; ".join(mistakes))
