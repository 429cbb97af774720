"""Residual networks for small images (He et al. 2016, arXiv 1512.03385, section 4.2)."""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from trainables.models.layers import Head, convolution, he_normal

_CHANNELS = (16, 32, 64)


def resnet(depth: int, *, channels_in: int, num_classes: int) -> nn.Module:
    """Three stages of (depth - 2) / 6 basic blocks with 16, 32 and 64 channels, the first at full resolution.

    Shortcuts have no parameters (option A), as in the paper and its counts: 0.27 M for depth 20 to 1.7 M for 110. The
    code of "Asymmetric temperature scaling" has projections instead (option B), which add 2752 parameters.

    Args:
        depth: Number of layers with weights, 6n + 2.
        channels_in: Channels of the images.
        num_classes: C.

    Returns:
        A module from (N, channels_in, H, W) to logits (N, C).
    """
    blocks: list[nn.Module] = []
    before = _CHANNELS[0]
    for stage, channels in enumerate(_CHANNELS):
        for index in range((depth - 2) // 6):
            blocks.append(_BasicBlock(before, channels, stride=2 if stage > 0 and index == 0 else 1))
            before = channels
    layers = OrderedDict(
        conv=convolution(channels_in, _CHANNELS[0], 3),
        norm=nn.BatchNorm2d(_CHANNELS[0]),
        relu=nn.ReLU(),
        blocks=nn.Sequential(*blocks),
        head=Head(before, num_classes),
    )
    return he_normal(nn.Sequential(layers))


class _BasicBlock(nn.Module):
    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = convolution(channels_in, channels, 3, stride=stride)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = convolution(channels, channels, 3)
        self.norm2 = nn.BatchNorm2d(channels)
        self._stride = stride
        self._added_channels = channels - channels_in

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = F.relu(self.norm1(self.conv1(inputs)))
        return F.relu(self.norm2(self.conv2(hidden)) + self._shortcut(inputs))

    def _shortcut(self, inputs: Tensor) -> Tensor:
        if not self._added_channels:
            return inputs
        thinned = inputs[:, :, :: self._stride, :: self._stride]
        return F.pad(thinned, (0, 0, 0, 0, 0, self._added_channels))
