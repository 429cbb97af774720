"""The report's figures, made from plain values: metric against temperature, curves, survival, and the papers' own."""

from results.figures.audit import AuditPoint, audit_figure
from results.figures.curves import Curve, curves_figure
from results.figures.distillation import StudentPoint, students_figure
from results.figures.pareto import TradeOff, pareto_figure
from results.figures.parts import Axis
from results.figures.survival import Fate, survival_figure
from results.figures.tampering import EXAMPLE, TamperedPoint, example_figure, logits_figure
from results.figures.temperature import ConfirmedPoint, ExploredPoint, temperature_figure
from results.figures.theory import TimescalePoint, timescales_figure

__all__ = [
    "EXAMPLE",
    "AuditPoint",
    "Axis",
    "ConfirmedPoint",
    "Curve",
    "ExploredPoint",
    "Fate",
    "StudentPoint",
    "TamperedPoint",
    "TimescalePoint",
    "TradeOff",
    "audit_figure",
    "curves_figure",
    "example_figure",
    "logits_figure",
    "pareto_figure",
    "students_figure",
    "survival_figure",
    "temperature_figure",
    "timescales_figure",
]
