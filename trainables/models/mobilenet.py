"""MobileNetV2 for small images (Sandler et al. 2018, arXiv 1801.04381), a usual student in knowledge distillation."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from trainables.models.layers import Head, convolution, he_normal

_STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels at width 1, blocks, stride of the first of them."""
_CHANNELS_LAST = 1280


def mobilenet_v2(width: float, *, channels_in: int, num_classes: int) -> nn.Module:
    """Seven stages of inverted residuals as the literature on distillation has them for CIFAR, there with width 0.5.

    Against the paper, stage 2 keeps the resolution, activations are ReLU and not ReLU6, the first block has its 1x1
    expansion although it expands nothing, channels are rounded down, and there is no dropout. The resolution is halved
    four times. 0.81 M parameters for width 0.5 and 100 classes.

    Args:
        width: Factor on the channels, 0.1 to 9.9; the 1280 channels before the head grow with it, but do not shrink.
        channels_in: Channels of the images.
        num_classes: C.

    Returns:
        A module from (N, channels_in, H, W) to logits (N, C).
    """
    first, last = int(32 * width), int(_CHANNELS_LAST * max(width, 1))
    before = first
    blocks: list[nn.Module] = []
    for expansion, channels, count, stride in _STAGES:
        for index in range(count):
            blocks.append(_InvertedResidual(before, int(channels * width), expansion, stride if index == 0 else 1))
            before = int(channels * width)
    layers = OrderedDict(
        stem=nn.Sequential(*_normed(convolution(channels_in, first, 3, stride=2)), nn.ReLU()),
        blocks=nn.Sequential(*blocks),
        last=nn.Sequential(*_normed(convolution(before, last, 1)), nn.ReLU()),
        head=Head(last, num_classes),
    )
    return he_normal(nn.Sequential(layers), head_std=0.01)


class _InvertedResidual(nn.Module):
    """Wide 1x1, depthwise 3x3, narrow 1x1 without activation; added to the inputs where shapes allow."""

    def __init__(self, channels_in: int, channels: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = channels_in * expansion
        self.layers = nn.Sequential(
            *_normed(convolution(channels_in, inner, 1)),
            nn.ReLU(),
            *_normed(convolution(inner, inner, 3, stride=stride, groups=inner)),
            nn.ReLU(),
            *_normed(convolution(inner, channels, 1)),
        )
        self._is_residual = stride == 1 and channels_in == channels

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layers(inputs)
        return inputs + outputs if self._is_residual else outputs


def _normed(convolution: nn.Conv2d) -> tuple[nn.Module, nn.Module]:
    return convolution, nn.BatchNorm2d(convolution.out_channels)
