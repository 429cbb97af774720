"""ResNeXt for small images (Xie et al. 2017, arXiv 1611.05431, section 5.3)."""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from trainables.models.layers import Head, convolution, he_normal

_BLOCKS_PER_STAGE = 3
_EXPANSION = 4
"""Channels of a block's output over those at cardinality 1 and base width 64."""


def resnext29(cardinality: int, base_width: int, *, channels_in: int, num_classes: int) -> nn.Module:
    """Three stages of three bottleneck blocks with 256, 512 and 1024 output channels: 29 layers.

    Args:
        cardinality: Groups of the 3x3 convolutions, >= 1.
        base_width: Channels of a group in the first stage, >= 1; doubled from stage to stage.
        channels_in: Channels of the images.
        num_classes: C.

    Returns:
        A module from (N, channels_in, H, W) to logits (N, C).
    """
    blocks: list[nn.Module] = []
    before = 64
    for stage in range(3):
        inner, outer = cardinality * base_width * 2**stage, 64 * _EXPANSION * 2**stage
        for index in range(_BLOCKS_PER_STAGE):
            stride = 2 if stage > 0 and index == 0 else 1
            blocks.append(_Bottleneck(before, inner, outer, stride=stride, groups=cardinality))
            before = outer
    layers = OrderedDict(
        conv=convolution(channels_in, 64, 3),
        norm=nn.BatchNorm2d(64),
        relu=nn.ReLU(),
        blocks=nn.Sequential(*blocks),
        head=Head(before, num_classes),
    )
    return he_normal(nn.Sequential(layers))


class _Bottleneck(nn.Module):
    def __init__(self, channels_in: int, inner: int, outer: int, *, stride: int, groups: int) -> None:
        super().__init__()
        self.conv1 = convolution(channels_in, inner, 1)
        self.norm1 = nn.BatchNorm2d(inner)
        self.conv2 = convolution(inner, inner, 3, stride=stride, groups=groups)
        self.norm2 = nn.BatchNorm2d(inner)
        self.conv3 = convolution(inner, outer, 1)
        self.norm3 = nn.BatchNorm2d(outer)
        self.shortcut = nn.Sequential()
        if channels_in != outer:
            self.shortcut.add_module("conv", convolution(channels_in, outer, 1, stride=stride))
            self.shortcut.add_module("norm", nn.BatchNorm2d(outer))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = F.relu(self.norm1(self.conv1(inputs)))
        hidden = F.relu(self.norm2(self.conv2(hidden)))
        return F.relu(self.norm3(self.conv3(hidden)) + self.shortcut(inputs))
