"""The report's figures, made from plain values: metric against temperature, learning curves, rung survival."""

from results.figures.curves import Curve, curves_figure
from results.figures.parts import Axis
from results.figures.survival import Fate, survival_figure
from results.figures.temperature import ConfirmedPoint, ExploredPoint, temperature_figure

__all__ = [
    "Axis",
    "ConfirmedPoint",
    "Curve",
    "ExploredPoint",
    "Fate",
    "curves_figure",
    "survival_figure",
    "temperature_figure",
]
