"""VGG with eight layers for small images, a usual student in knowledge distillation."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from trainables.models.layers import Head, he_normal

_CHANNELS = (64, 128, 256, 512, 512)
_SMALLEST = 8


def vgg8(*, channels_in: int, height: int, width: int, num_classes: int) -> nn.Module:
    """Five convolutions with biases, norms and ReLUs, the first three halving the resolution; then one linear layer.

    This is the network of "Contrastive representation distillation" (arXiv 1910.10699) and of the papers that compare
    with it, which leave out VGG's hidden linear layers (Simonyan & Zisserman 2015, arXiv 1409.1556). The count of eight
    includes these. From 64 pixels the fourth convolution halves the resolution, too.

    Args:
        channels_in: Channels of the images.
        height: Pixels, >= 8.
        width: Pixels, >= 8.
        num_classes: C.

    Returns:
        A module from (N, channels_in, height, width) to logits (N, C).

    Raises:
        ValueError: The images are too small.
    """
    if min(height, width) < _SMALLEST:
        raise ValueError(
            f"model vgg-8 needs images of at least {_SMALLEST}x{_SMALLEST} pixels, got {height}x{width}. "
            "Use for example resnet-20."
        )
    pools = 4 if min(height, width) >= 64 else 3
    features: list[nn.Module] = []
    before = channels_in
    for index, channels in enumerate(_CHANNELS):
        features += [nn.Conv2d(before, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
        if index < pools:
            features.append(nn.MaxPool2d(2))
        before = channels
    layers = OrderedDict(features=nn.Sequential(*features), head=Head(before, num_classes))
    return he_normal(nn.Sequential(layers), head_std=0.01)
