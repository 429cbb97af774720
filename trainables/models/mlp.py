"""Multi-layer perceptrons."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn


def mlp(input_shape: Sequence[int], widths: Sequence[int], num_classes: int) -> nn.Sequential:
    """Flatten, then Linear and ReLU for every width, then Linear to the classes; torch's default initialisation.

    Args:
        input_shape: Shape of one sample.
        widths: Number of units of each hidden layer.
        num_classes: C.

    Returns:
        A module from (N, *input_shape) to logits (N, C).
    """
    layers: list[nn.Module] = [nn.Flatten()]
    features = math.prod(input_shape)
    for width in widths:
        layers += [nn.Linear(features, width), nn.ReLU()]
        features = width
    return nn.Sequential(*layers, nn.Linear(features, num_classes))
