"""The training engine: K lanes from one state format, trained by an executor."""

from trainables.engine.train import Divergence, LaneReport, Training

__all__ = ["Divergence", "LaneReport", "Training"]
