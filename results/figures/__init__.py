"""The report's figures, made from plain values: the verdict, maps of the search, its dynamics, the papers' own."""

from results.figures.audit import AuditPoint, audit_figure
from results.figures.calibration import CalibrationPoint, calibration_figure
from results.figures.cells import MapPoint
from results.figures.curves import Curve, curves_figure
from results.figures.distillation import StudentPoint, students_figure
from results.figures.importance import ImportanceRow, importance_figure
from results.figures.maps import instability_figure, value_map_figure
from results.figures.parallel import Line, Scale, parallel_figure
from results.figures.pareto import TradeOff, pareto_figure
from results.figures.parts import Axis
from results.figures.ridge import RidgeLevel, ridge
from results.figures.seeds import SeedRow, seeds_figure
from results.figures.strip import ExploredPoint
from results.figures.survival import Fate, survival_figure
from results.figures.tampering import EXAMPLE, TamperedPoint, example_figure, logits_figure
from results.figures.teacher_temperatures import TeacherPoint, teacher_temperatures_figure
from results.figures.temperature import ConfirmedPoint, temperature_figure
from results.figures.theory import TimescalePoint, timescales_figure

__all__ = [
    "EXAMPLE",
    "AuditPoint",
    "Axis",
    "CalibrationPoint",
    "ConfirmedPoint",
    "Curve",
    "ExploredPoint",
    "Fate",
    "ImportanceRow",
    "Line",
    "MapPoint",
    "RidgeLevel",
    "Scale",
    "SeedRow",
    "StudentPoint",
    "TamperedPoint",
    "TeacherPoint",
    "TimescalePoint",
    "TradeOff",
    "audit_figure",
    "calibration_figure",
    "curves_figure",
    "example_figure",
    "importance_figure",
    "instability_figure",
    "logits_figure",
    "parallel_figure",
    "pareto_figure",
    "ridge",
    "seeds_figure",
    "students_figure",
    "survival_figure",
    "teacher_temperatures_figure",
    "temperature_figure",
    "timescales_figure",
    "value_map_figure",
]
