"""What the image networks of this package have in common: convolutions, their start, and the head."""

from __future__ import annotations

import math

from torch import Tensor, nn


def convolution(channels_in: int, channels: int, size: int, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A square convolution without bias that keeps height and width at stride 1."""
    return nn.Conv2d(channels_in, channels, size, stride=stride, padding=size // 2, groups=groups, bias=False)


class Head(nn.Module):
    """Mean over height and width, then a linear layer: (N, channels, H, W) to logits (N, C)."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, C) for features (N, channels, H, W)."""
        logits: Tensor = self.linear(features.mean((2, 3)))
        return logits


def he_normal(network: nn.Module, *, head_std: float | None = None) -> nn.Module:
    """Draws all convolutions as He et al. (arXiv 1502.01852) do, and sets the biases to 0, in place.

    Weights are normal with variance 2 / fan_out, where fan_out = size^2 * channels / groups. Much published code does
    not divide by the groups; a following norm hides that, but without norms the signal would all but vanish.

    Args:
        network: Its convolutions and linear layers are drawn again; norms stay at 1 and 0.
        head_std: Standard deviation of the weights of linear layers; None leaves torch's.

    Returns:
        The network.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        elif isinstance(module, nn.Linear) and head_std is not None:
            nn.init.normal_(module.weight, std=head_std)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    return network
