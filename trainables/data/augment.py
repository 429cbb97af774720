"""Random changes of training images, drawn for a whole epoch on the host and made on the device a batch at a time.

What is drawn depends on the seed and the epoch only: not on the device, the other lanes or where a run was interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from trainables.recipe import Augment

_STREAM = 1
"""Third word of the seed, so that the draws here have nothing to do with those of the order of the samples."""

EVERY_ROW = slice(None)
"""All samples of an epoch."""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """What happens to every sample of an epoch, in the order in which they come; a part that is off is None.

    Attributes:
        offsets: (N, 2) int64, first row and column of the crop out of the padded image.
        mirrored: (N,) bool.
        centres: (N, 2) int64, row and column of the middle of the square that is cut out.
        shares: For every step, how much of a sample stays when it is mixed with another one; in [0.5, 1].
    """

    offsets: Tensor | None
    mirrored: Tensor | None
    centres: Tensor | None
    shares: tuple[float, ...] | None

    def of_step(self, rows: slice, step: int) -> Draws:
        """The draws of one step, 0-based, with these samples."""

        def part(drawn: Tensor | None) -> Tensor | None:
            return None if drawn is None else drawn[rows]

        return Draws(
            offsets=part(self.offsets),
            mirrored=part(self.mirrored),
            centres=part(self.centres),
            shares=None if self.shares is None else self.shares[step : step + 1],
        )


def draw(
    augment: Augment,
    *,
    image: tuple[int, ...],
    samples: int,
    steps: int,
    seed: int,
    epoch: int,
    device: torch.device,
    rows: slice | NDArray[np.int64] = EVERY_ROW,
) -> Draws:
    """Draws the changes of one epoch.

    Args:
        augment: What may change.
        image: Height and width; () of texts, in which nothing may change.
        samples: N of the epoch.
        steps: Of the epoch.
        seed: Of the lane.
        epoch: 1-based.
        device: Where the draws are needed.
        rows: Of which samples they are needed; what is drawn does not depend on it.
    """
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch, _STREAM])))

    def on_device(drawn: np.ndarray) -> Tensor:
        return torch.from_numpy(drawn[rows]).to(device)

    offsets = mirrored = centres = shares = None
    if augment.pad:
        offsets = on_device(generator.integers(0, 2 * augment.pad + 1, size=(samples, 2)))
    if augment.flip:
        mirrored = on_device(generator.random(samples) < 0.5)
    if augment.cutout:
        centres = on_device(generator.integers(0, image, size=(samples, 2)))
    if augment.mixup:
        drawn = generator.beta(augment.mixup, augment.mixup, size=steps)
        shares = tuple(np.maximum(drawn, 1 - drawn).tolist())
    return Draws(offsets=offsets, mirrored=mirrored, centres=centres, shares=shares)


def crop_and_mirror(images: Tensor, draws: Draws, pad: int) -> Tensor:
    """Crops images out of themselves with a black border, and mirrors some; one gather for both.

    Args:
        images: (B, C, H, W).
        draws: Of these images.
        pad: Width of the border.

    Returns:
        (B, C, H, W) of the same type.
    """
    if draws.offsets is None and draws.mirrored is None:
        return images
    size, channels, height, width = images.shape
    rows = torch.arange(height, device=images.device).expand(size, -1)
    columns = torch.arange(width, device=images.device).expand(size, -1)
    if draws.mirrored is not None:
        columns = torch.where(draws.mirrored[:, None], width - 1 - columns, columns)
    if draws.offsets is not None:
        images = F.pad(images, (pad, pad, pad, pad))
        rows, columns = rows + draws.offsets[:, :1], columns + draws.offsets[:, 1:]
    places = (rows[:, :, None] * images.shape[3] + columns[:, None, :]).view(size, 1, height * width)
    return images.flatten(2).gather(2, places.expand(-1, channels, -1)).view(size, channels, height, width)


def cut_out(images: Tensor, draws: Draws, side: int) -> Tensor:
    """Sets a square of every image to 0; what sticks out of the image is lost (DeVries & Taylor, arXiv 1708.04552).

    Args:
        images: (B, C, H, W) float, with mean 0.
        draws: Of these images.
        side: Of the square; pixels.
    """
    if draws.centres is None:
        return images

    def outside(length: int, centre: Tensor) -> Tensor:
        from_first = torch.arange(length, device=images.device) - (centre[:, None] - side // 2)
        return (from_first < 0) | (from_first >= side)

    rows, columns = outside(images.shape[2], draws.centres[:, 0]), outside(images.shape[3], draws.centres[:, 1])
    return images * (rows[:, None, :, None] | columns[:, None, None, :])


def mix(images: Tensor, labels: Tensor, draws: Draws, classes: int) -> tuple[Tensor, Tensor]:
    """Mixes every image with the one before it in the batch, and their labels alike (mixup, arXiv 1710.09412).

    The order of a batch is random, so that these pairs are. The larger share stays with the image itself.

    Args:
        images: (B, C, H, W) float.
        labels: (B,) int64.
        draws: Of these images.
        classes: C.

    Returns:
        Images, and targets: (B, C) float32 that sum to 1, or the labels where nothing is mixed.
    """
    if draws.shares is None:
        return images, labels
    (share,) = draws.shares
    of_class = (labels[:, None] == torch.arange(classes, device=labels.device)).float()
    return torch.lerp(images.roll(1, 0), images, share), torch.lerp(of_class.roll(1, 0), of_class, share)
