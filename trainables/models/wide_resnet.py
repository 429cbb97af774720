"""Wide residual networks (Zagoruyko & Komodakis 2016, arXiv 1605.07146)."""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from trainables.models.layers import Head, convolution, he_normal


def wide_resnet(depth: int, width: int, *, channels_in: int, num_classes: int) -> nn.Module:
    """Three stages of (depth - 4) / 6 pre-activation blocks with 16, 32 and 64 times ``width`` channels; no dropout.

    Args:
        depth: Number of convolutions of the paper's count, 6n + 4.
        width: Factor k on the channels, >= 1.
        channels_in: Channels of the images.
        num_classes: C.

    Returns:
        A module from (N, channels_in, H, W) to logits (N, C).
    """
    blocks: list[nn.Module] = []
    before = 16
    for stage, channels in enumerate((16 * width, 32 * width, 64 * width)):
        for index in range((depth - 4) // 6):
            blocks.append(_PreactivationBlock(before, channels, stride=2 if stage > 0 and index == 0 else 1))
            before = channels
    layers = OrderedDict(
        conv=convolution(channels_in, 16, 3),
        blocks=nn.Sequential(*blocks),
        norm=nn.BatchNorm2d(before),
        relu=nn.ReLU(),
        head=Head(before, num_classes),
    )
    return he_normal(nn.Sequential(layers))


class _PreactivationBlock(nn.Module):
    """Norm, ReLU and convolution, twice; where the channels change, the shortcut is a convolution after the first ReLU.

    At width 1 the channels of the first stage do not change, and its shortcut is the identity.
    """

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels_in)
        self.conv1 = convolution(channels_in, channels, 3, stride=stride)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv2 = convolution(channels, channels, 3)
        self.shortcut = None if channels_in == channels else convolution(channels_in, channels, 1, stride=stride)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = F.relu(self.norm1(inputs))
        shortcut = inputs if self.shortcut is None else self.shortcut(hidden)
        residual: Tensor = self.conv2(F.relu(self.norm2(self.conv1(hidden))))
        return shortcut + residual
