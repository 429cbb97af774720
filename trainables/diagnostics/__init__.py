"""What is measured beside the loss: the teacher's statistics, the tampered probabilities, calibration, the logits."""

from trainables.diagnostics.calibration import calibration_metrics, expected_calibration_error, fit_temperature
from trainables.diagnostics.logits import logit_statistics
from trainables.diagnostics.tampering import stationary_threshold, tampered_probabilities, transformation_curves
from trainables.diagnostics.teacher import TeacherStatistics, mean_teacher_statistics, teacher_statistics

__all__ = [
    "TeacherStatistics",
    "calibration_metrics",
    "expected_calibration_error",
    "fit_temperature",
    "logit_statistics",
    "mean_teacher_statistics",
    "stationary_threshold",
    "tampered_probabilities",
    "teacher_statistics",
    "transformation_curves",
]
