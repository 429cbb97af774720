"""Batch norm over the batch of all ranks (synchronised batch norm).

``torch.nn.SyncBatchNorm`` does the same, but on CUDA only, so that it could not be tested against a single process
everywhere; and a batch that every rank computes whole would count as many times as there are ranks in it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.engine.ranks import Ranks


class SharedBatchNorm(_BatchNorm):
    """A batch norm whose mean and variance are those of the whole batch. It is plain outside of a step.

    Parameters and buffers have the names of a plain one, and are its own.
    """

    def __init__(self, plain: _BatchNorm, ranks: Ranks) -> None:
        """Takes over a plain batch norm.

        Args:
            plain: What it replaces.
            ranks: Who has the rest of the batch.
        """
        super().__init__(plain.num_features, plain.eps, plain.momentum, plain.affine, plain.track_running_stats)
        self.weight, self.bias = plain.weight, plain.bias
        self.running_mean, self.running_var = plain.running_mean, plain.running_var
        self.num_batches_tracked = plain.num_batches_tracked
        self._ranks = ranks

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, C, ...) normalised for every channel, in the type of the inputs."""
        share = self._ranks.share
        if not self.training or share is None:
            plain: Tensor = super().forward(inputs)
            return plain
        x = inputs if inputs.dtype == torch.float64 else inputs.float()  # half precision is too coarse for sums
        channels, rest = [1, -1, *[1] * (x.ndim - 2)], [0, *range(2, x.ndim)]
        mean = _MeanOverBatch.apply(x.mean(rest), self._ranks)
        x = x - mean.view(channels)
        variance = _MeanOverBatch.apply(x.square().mean(rest), self._ranks)
        self._remember(mean, variance, count=share.batch * x.shape[2:].numel())
        x = x * torch.rsqrt(variance + self.eps).view(channels)
        if self.affine:
            x = x * self.weight.view(channels) + self.bias.view(channels)
        normalised: Tensor = x.to(inputs.dtype)
        return normalised

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Moves the running statistics, of which the variance is the unbiased one, over (N, ...) of the batch."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        moved = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), moved)
        self.running_var.lerp_((variance * (count / max(1, count - 1))).to(self.running_var.dtype), moved)

    def _check_input_dim(self, input: Tensor) -> None:  # torch names it so
        if input.ndim < 2:
            raise ValueError(f"inputs of a batch norm must be (N, C, ...), got {tuple(input.shape)}")


def with_shared_norms(network: nn.Module, ranks: Ranks) -> nn.Module:
    """Replaces every batch norm of a network that is trained, in place.

    Args:
        network: In training mode; what is in evaluation mode stays, as a frozen base does.
        ranks: Who has the rest of the batch.

    Returns:
        The network, or what replaces it.

    Raises:
        ValueError: It has norms of other kinds that compute with the batch.
    """
    if isinstance(network, _BatchNorm) and network.training:
        if type(network) not in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            raise ValueError(
                f"compute.sync_batch_norm must be false for a network with {type(network).__name__}, which is not a "
                "plain batch norm. Choose another model"
            )
        return SharedBatchNorm(network, ranks)
    for name, child in network.named_children():
        setattr(network, name, with_shared_norms(child, ranks))
    return network


class _MeanOverBatch(torch.autograd.Function):
    """The mean over the batch of means over the shares.

    The gradient takes the same way back: what a rank gets is that of the mean loss over the batch, of which its own
    share has the weight that the executor gives all its gradients.
    """

    @staticmethod
    def forward(ctx: Any, mean: Tensor, ranks: Ranks) -> Tensor:  # Any: torch's context has no type
        ctx.ranks = ranks
        return ranks.mean_over_batch(mean.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return ctx.ranks.mean_over_batch(gradient.clone()), None
