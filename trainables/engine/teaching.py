"""What a teacher says to the batches of its student, and how a trained network becomes a teacher."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from trainables.engine.batches import Batch, TrainingData
from trainables.engine.network import beta_of, logits_of, restore
from trainables.engine.precision import compute_logits
from trainables.recipe import Compute, Teacher
from trainables.teachers import LOGITS_LIMIT_BYTES, Shelf, StoredTeacher, address_of, kept_logits


def require(name: str, teachers: Mapping[str, Teacher], shelf: Shelf, data_digest: str) -> StoredTeacher:
    """A trained teacher by its name.

    Raises:
        ValueError: It is not on the shelf.
        OSError: The store of the shelf did not answer for a long time.
    """
    address = address_of(name, teachers, data_digest)
    stored = shelf.get(address)
    if stored is None:
        raise ValueError(f"the teacher {name} must be trained first, but {shelf.origin} holds no {address}")
    return stored


class TeacherLogits:
    """A teacher's raw logits for training samples: looked up where they are kept, computed where they are not.

    Kept ones are of unchanged samples; what an augmented sample says to the teacher is computed in every step.
    """

    def __init__(
        self,
        teacher: StoredTeacher,
        shelf: Shelf,
        data: TrainingData,
        *,
        augmented: bool,
        compute: Compute | None = None,
    ) -> None:
        """Loads the teacher.

        Args:
            teacher: From the shelf.
            shelf: Which has what it stands on as well.
            data: What the student is trained on.
            augmented: Whether batches are augmented.
            compute: How logits of batches are computed; default as of a recipe.
        """
        self._compute = compute or Compute()
        self._kept = _kept(teacher.folder, torch.device("cpu") if augmented else data.device)
        self._network: nn.Module | None = None
        self._beta = beta_of(teacher.recipe)
        if self._kept is None or augmented:
            self._network = restore(teacher, shelf, data).to(data.device)

    def of(self, batch: Batch) -> Tensor:
        """Logits (B, C) float32 without gradients."""
        if self._network is None:
            assert self._kept is not None
            assert not batch.augmented
            return self._kept.index_select(0, batch.positions)
        with torch.no_grad():
            return self._beta * compute_logits(self._network, batch.samples, self._compute).float()

    def over(self, data: TrainingData) -> Tensor:
        """Logits (N, C) float32 over the whole unchanged training split; on the CPU where batches do not use them."""
        if self._kept is not None:
            return self._kept
        assert self._network is not None
        return logits_of(self._network, self._beta, data).to(data.device)


def publish(
    name: str,
    teachers: Mapping[str, Teacher],
    shelf: Shelf,
    data: TrainingData,
    *,
    network: nn.Module,
    metrics: Mapping[str, float],
    train_time_s: float,
) -> StoredTeacher:
    """Puts a trained network on the shelf, with its logits over the training split unless these are too many.

    Args:
        name: Of the teacher.
        teachers: It and all that it needs.
        shelf: Where to.
        data: What it was trained on.
        network: The trained network; it is left in evaluation mode.
        metrics: Of its last epoch.
        train_time_s: Seconds that its training took.

    Raises:
        OSError: The shelf cannot be written.
    """
    teacher, digest = teachers[name], data.packed.digest
    size = 4 * data.packed.sizes["train"] * data.packed.num_classes
    return shelf.publish(
        address_of(name, teachers, digest),
        weights={key: value.detach().to("cpu", copy=True) for key, value in network.state_dict().items()},
        logits=None if size > LOGITS_LIMIT_BYTES else logits_of(network, beta_of(teacher.recipe), data).numpy(),
        facts={
            "name": name,
            "recipe": teacher.recipe.model_dump(mode="json"),
            "seed": teacher.seed,
            "epoch": teacher.epoch or teacher.recipe.epochs,
            "data": digest,
            "needs": {needed: address_of(needed, teachers, digest) for needed in teacher.recipe.names},
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "metrics": dict(metrics),
            "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "train_time_s": train_time_s,
            "versions": {"torch": str(torch.__version__), "python": platform.python_version()},
        },
    )


@lru_cache(maxsize=2)
def _kept(folder: Path, device: torch.device) -> Tensor | None:
    """A teacher's cached logits on the device, for the next trials of this process too; on the CPU a memory map."""
    logits = kept_logits(folder)
    return None if logits is None else torch.from_numpy(logits).to(device)
