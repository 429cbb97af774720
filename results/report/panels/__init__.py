"""The figures of a report, each with a title, a caption and a summary: picks from the records what they draw."""

from __future__ import annotations

from results.report.model import Report
from results.report.panels.details import calibration, importances, parallel, pareto
from results.report.panels.dynamics import audit, curves, survival
from results.report.panels.maps import instability, teacher_temperatures, value_map
from results.report.panels.panel import Drawing, Panel
from results.report.panels.papers import students, tampered_logits, tampering, timescales
from results.report.panels.verdict import seeds, temperature

__all__ = ["Panel", "panels"]

_ORDER = (
    *(seeds, temperature),  # what the verdict rests on
    *(value_map, instability, teacher_temperatures),  # where in the space
    *(curves, survival, audit),  # how the search went
    *(importances, parallel, pareto, calibration, students, tampered_logits, tampering, timescales),
)


def panels(report: Report) -> tuple[Panel, ...]:
    """The figures that a report has data for, in the order of the page."""
    drawing = Drawing(report)
    return tuple(panel for make in _ORDER if (panel := make(drawing)) is not None)
