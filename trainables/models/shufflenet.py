"""ShuffleNet for small images (Zhang et al. 2018, arXiv 1707.01083), a usual student in knowledge distillation."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.models.layers import Head, convolution, he_normal

_GROUPS = 3
_STAGES = ((240, 4), (480, 8), (960, 4))
"""Output channels and blocks of each stage, for three groups."""


def shufflenet_v1(*, channels_in: int, num_classes: int) -> nn.Module:
    """ShuffleNet 1x with three groups as the literature on distillation has it for CIFAR: 0.95 M for 100 classes.

    Against the paper, the first layer is a 1x1 convolution without pooling, a stage's first block has a bottleneck of a
    quarter of the channels that it adds, and a ReLU follows the depthwise convolution, too. Each stage halves the
    resolution.

    Args:
        channels_in: Channels of the images.
        num_classes: C.

    Returns:
        A module from (N, channels_in, H, W) to logits (N, C).
    """
    blocks: list[nn.Module] = []
    before = 24
    for channels, count in _STAGES:
        blocks.append(_Block(before, channels - before, groups_in=1 if before == 24 else _GROUPS, halve=True))
        blocks += [_Block(channels, channels, groups_in=_GROUPS, halve=False) for _ in range(count - 1)]
        before = channels
    layers = OrderedDict(
        conv=convolution(channels_in, 24, 1),
        norm=nn.BatchNorm2d(24),
        relu=nn.ReLU(),
        blocks=nn.Sequential(*blocks),
        head=Head(before, num_classes),
    )
    return he_normal(nn.Sequential(layers))


class _Block(nn.Module):
    """Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1; added to the inputs, or set beside them where it halves."""

    def __init__(self, channels_in: int, channels: int, *, groups_in: int, halve: bool) -> None:
        super().__init__()
        inner = channels // 4
        self.conv1 = convolution(channels_in, inner, 1, groups=groups_in)
        self.norm1 = nn.BatchNorm2d(inner)
        self.conv2 = convolution(inner, inner, 3, stride=2 if halve else 1, groups=inner)
        self.norm2 = nn.BatchNorm2d(inner)
        self.conv3 = convolution(inner, channels, 1, groups=_GROUPS)
        self.norm3 = nn.BatchNorm2d(channels)
        self._groups_in = groups_in
        self._halve = halve

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = F.channel_shuffle(F.relu(self.norm1(self.conv1(inputs))), self._groups_in)
        hidden = self.norm3(self.conv3(F.relu(self.norm2(self.conv2(hidden)))))
        if self._halve:
            return F.relu(torch.cat([hidden, F.avg_pool2d(inputs, 3, stride=2, padding=1)], 1))
        return F.relu(hidden + inputs)
