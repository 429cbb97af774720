"""A confirmed network as others use it: from pixels or token ids to the logits that stand in the softmax."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.data import PackedDataset
from trainables.engine.batches import TrainingData
from trainables.engine.network import beta_of
from trainables.engine.train import Training

EXAMPLES = 4
"""Validation samples that go with a model; two or more, or its exported graph would take single samples only."""


class ServedNetwork(nn.Module):
    """Takes samples as they are, and gives logits of which the plain softmax is what the study measured.

    Images are pixels (N, C, H, W) float32 in the data set's own range (0..16 for digits, 0..255 for image files), which
    are normalised here; texts are token ids (N, L) int32, filled up with 0. A tempered loss's beta belongs to the model
    (arXiv 2010.07344 writes Z = beta z), so it is applied here; of several members the logits are the logarithms of
    their mean probabilities.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, members: Sequence[nn.Module], beta: float, packed: PackedDataset) -> None:
        """Takes the networks over.

        Args:
            members: Trained networks of one seed.
            beta: Inverse temperature with which their logits stand in the softmax.
            packed: What they were trained on.
        """
        super().__init__()
        self.members = nn.ModuleList(members)
        self._beta = beta
        self.reads_pixels = packed.kind == "images"
        if self.reads_pixels:
            channels = (-1, *[1] * (len(packed.input_shape) - 1))
            self.register_buffer("mean", torch.tensor(packed.mean).view(channels))
            self.register_buffer("std", torch.tensor(packed.std).view(channels))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, C) float32 of pixels (N, C, H, W) float32, not scaled, or of token ids (N, L) int32."""
        return self.of_prepared((inputs - self.mean) / self.std if self.reads_pixels else inputs)

    def of_prepared(self, samples: Tensor) -> Tensor:
        """Logits (N, C) float32 of samples as training takes them: normalised pixels, or token ids."""
        logits: list[Tensor] = [self._beta * network(samples).float() for network in self.members]
        if len(logits) == 1:
            return logits[0]
        return torch.stack([z.log_softmax(1) for z in logits]).logsumexp(0) - math.log(len(logits))

    def raw(self, samples: Tensor) -> Tensor:
        """Prepared samples as they are outside: pixels, or token ids."""
        return (samples * self.std + self.mean).round() if self.reads_pixels else samples


def served(training: Training) -> ServedNetwork:
    """The network of the first lane of a run as it stands, on the CPU and in evaluation mode.

    Args:
        training: Of one seed.
    """
    state, count = training.lane_state_dict(0), training.recipe.members
    members = []
    for m in range(count):
        network = copy.deepcopy(training.network(0)).cpu()
        prefix = f"members.{m}." if count > 1 else ""
        network.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        members.append(network)
    whole = ServedNetwork(members, beta_of(training.recipe), training.data.packed)
    return whole.requires_grad_(False).eval()


def usage(packed: PackedDataset) -> str:
    """What a network trained on a data set takes and gives, in words.

    Args:
        packed: The data set; of its training images the range of the pixels is looked up.
    """
    shape = ", ".join(map(str, packed.input_shape))
    if packed.kind == "text":
        takes = f"token ids (N, {shape}) int32, filled up with 0 to their full length,"
    else:
        low, high = _range(packed)
        takes = f"pixels (N, {shape}) float32 in {low}..{high}, as {packed.name} has them, not scaled,"
    return (
        f"It takes {takes} and gives logits (N, {packed.num_classes}) float32, with the loss's beta in them: their "
        "softmax is what the study measured. It is always in evaluation mode: calling eval() or train() on it raises "
        "NotImplementedError."
    )


def _range(packed: PackedDataset) -> tuple[int, int]:
    """Smallest and largest pixel of the training split; of image files what they can hold."""
    if packed.storage == "streamed":
        return 0, 255
    pixels, _ = packed.load("train")
    return int(pixels.min()), int(pixels.max())


def examples(network: ServedNetwork, data: TrainingData) -> Tensor:
    """The first validation samples as the network takes them: (EXAMPLES, ...), texts in their full length."""
    count = min(EXAMPLES, data.packed.sizes["val"])
    samples, _ = data.batch("val", torch.arange(count, device=data.device))
    if not network.reads_pixels:
        samples = F.pad(samples, (0, data.input_shape[0] - samples.shape[1]))
    return network.raw(samples.cpu())


@torch.no_grad()
def measure(network: ServedNetwork, data: TrainingData) -> tuple[float, float]:
    """Loss in nats and accuracy in 0..1 on the validation split."""
    loss = hits = total = 0.0
    for samples, labels in data.chunks("val"):
        log_p = network.of_prepared(samples.cpu()).log_softmax(1)
        loss += float(F.nll_loss(log_p, labels.cpu(), reduction="sum"))
        hits += float((log_p.argmax(1) == labels.cpu()).sum())
        total += len(labels)
    return loss / total, hits / total
