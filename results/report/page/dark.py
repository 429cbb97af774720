"""Colours of figures that were chosen for white paper, as they look on the dark page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

PAPER = "#171c23"
"""The dark page's card, on which figures lie; ``--card`` of page.css."""
_LIGHTEST = 0.86  # relative luminance of the dark page's brightest ink
_COLOR = re.compile(r'"(#[0-9a-fA-F]{3}|#[0-9a-fA-F]{6}|rgba?\([\d., ]+\)|white|black)"')
_NAMED = {"white": "#ffffff", "black": "#000000"}

Channels = tuple[int, int, int]
"""Red, green and blue, 0..255."""


def dark_colors(figures: Iterable[str]) -> Mapping[str, str]:
    """Every colour of some figures with the one that takes its place on the dark page.

    Args:
        figures: Plotly figures as JSON.

    Returns:
        Colour by colour, as they are written in the figures.
    """
    return {color: on_dark(color) for color in sorted({c for figure in figures for c in _COLOR.findall(figure)})}


def on_dark(color: str) -> str:
    """The colour of the same hue that stands out from dark paper as much as this one does from white.

    White becomes the paper itself and near-black nearly white. Contrast ratios (WCAG 2.2) are kept between any two
    colours, wherever the brightest ink allows it: what was faint stays faint, text on a cell stays legible, and on a
    scale what was darker is now brighter.

    Args:
        color: ``#rgb``, ``#rrggbb``, ``rgb()``, ``rgba()``, ``white`` or ``black``.

    Returns:
        ``#rrggbb``, or ``rgba()`` where the colour lets through what lies below.

    Example:
        >>> on_dark("white"), on_dark("#1f2933")
        ('#171c23', '#e3f0ff')
    """
    channels, alpha = _parse(color)
    paper, _ = _parse(PAPER)
    ratio = 1.05 / (luminance(channels) + 0.05)
    wanted = min(_LIGHTEST, ratio * (luminance(paper) + 0.05) - 0.05)
    mixed = _lightened(channels, wanted, tint=max(0.0, 2 - ratio))
    if alpha is not None:
        return f"rgba({', '.join(map(str, mixed))}, {alpha})"
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def luminance(channels: Channels) -> float:
    """Relative luminance of an sRGB colour, 0..1, as WCAG defines it."""
    return _weighed([_linear(channel) for channel in channels])


def _lightened(channels: Channels, wanted: float, tint: float) -> Channels:
    """The colour scaled to a luminance, and mixed with white where scaling alone cannot reach it.

    Faint colours take on the tint of the paper, 0..1.
    """
    paper = [_linear(c) for c in _parse(PAPER)[0]]
    linear = [max(_linear(c), 1e-4) * p**tint for c, p in zip(channels, paper, strict=True)]
    now = _weighed(linear)
    scale = min(wanted / now, 1 / max(linear))
    reached = scale * now
    white = max(0.0, (wanted - reached) / (1 - reached)) if reached < 1 else 0.0
    red, green, blue = (_encoded(scale * c + white * (1 - scale * c)) for c in linear)
    return red, green, blue


def _weighed(linear: Sequence[float]) -> float:
    red, green, blue = linear
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: int) -> float:
    share = channel / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4


def _encoded(linear: float) -> int:
    share = 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
    return round(255 * min(1.0, max(0.0, share)))


def _parse(color: str) -> tuple[Channels, str | None]:
    """Channels 0..255 and the alpha as it was written."""
    color = _NAMED.get(color, color)
    if color.startswith("#"):
        digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
        return (int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)), None
    red, green, blue, *alpha = (part.strip() for part in color.partition("(")[2].rstrip(")").split(","))
    return (round(float(red)), round(float(green)), round(float(blue))), alpha[0] if alpha else None
