"""Networks that take part, but are not trained: their parameters are buffers, which a saved network carries along."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn


def frozen(network: nn.Module) -> nn.Module:
    """Turns every parameter of a network into a buffer of the same name, in place.

    It computes what it did before, and its ``state_dict`` has the same entries, but no optimiser sees them.

    Returns:
        The network.
    """
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach().clone())
    return network


class OnTopOf(nn.Module):
    """The logits of a network added to those of a frozen one that stays in evaluation mode.

    This is the residual student of ResKD (arXiv 2006.04719; methods.md C.5): z = z_base + z_network, where a base with
    an inverse temperature of its own counts as it stands in its softmax.
    """

    def __init__(self, network: nn.Module, base: nn.Module, scale: float) -> None:
        """Freezes the base.

        Args:
            network: Is trained.
            base: Is added.
            scale: The base's inverse temperature over that of the network's loss.
        """
        super().__init__()
        self._scale = scale
        self.network = network
        self.base = frozen(base).eval()

    def train(self, mode: bool = True) -> Self:
        """Sets the mode of the trained network only."""
        super().train(mode)
        self.base.eval()
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, C) for inputs (N, ...)."""
        with torch.no_grad():
            below = self.base(inputs)
        logits: Tensor = self.network(inputs) + self._scale * below
        return logits
