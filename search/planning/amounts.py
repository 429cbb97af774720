"""The plan of a study as values: what it will take, expected and at worst."""

from __future__ import annotations

from dataclasses import dataclass

from results.schema import Stage
from search.planning.costs import Measured


@dataclass(frozen=True, slots=True)
class Outlook:
    """An amount.

    Attributes:
        expected: The mean over the ways in which the study was played.
        worst: Where no trial is stopped early.
    """

    expected: float
    worst: float

    def __mul__(self, factor: float) -> Outlook:
        return Outlook(self.expected * factor, self.worst * factor)

    def __add__(self, other: Outlook) -> Outlook:
        return Outlook(self.expected + other.expected, self.worst + other.worst)


NOTHING = Outlook(0, 0)


@dataclass(frozen=True, kw_only=True)
class Share:
    """What an arm takes in a stage.

    Attributes:
        stage: Of its trials.
        name: The arm, or the teacher.
        trials: How many.
        epochs: Of all lanes.
        slot_hours: Hours of slots.
    """

    stage: Stage
    name: str
    trials: Outlook
    epochs: Outlook
    slot_hours: Outlook


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a study will take; what needs a measurement is None without one.

    Attributes:
        name: Of the study.
        shares: By stage and arm.
        epochs_range: Of all epochs, where 8 of 10 ways lie in which the study was played.
        slots: Trials at once.
        limit: Why there are not more, in words.
        measured: What training costs.
        wall_hours: From the command to the report.
        wall_range: Likewise 8 of 10.
        cpu_hours: Of the cores that trials hold.
        gpu_hours: Of the GPUs that trials hold.
        records_bytes: Of the records.
        running_bytes: Most of the checkpoints of trials that are not at an end.
        kept_bytes: Of the confirmed models that stay.
        mlflow_values: Metric values in MLflow, a row each.
        memory_bytes: Of the machine.
        remarks: On the study's budget, and on what will hardly go well.
    """

    name: str
    shares: tuple[Share, ...]
    epochs_range: tuple[float, float]
    slots: int
    limit: str
    measured: Measured | None
    wall_hours: Outlook | None
    wall_range: tuple[float, float] | None
    cpu_hours: Outlook | None
    gpu_hours: Outlook | None
    records_bytes: Outlook
    running_bytes: int | None
    kept_bytes: Outlook | None
    mlflow_values: Outlook | None
    memory_bytes: int
    remarks: tuple[str, ...] = ()

    @property
    def trials(self) -> Outlook:
        """Of all stages."""
        return sum((share.trials for share in self.shares), NOTHING)

    @property
    def epochs(self) -> Outlook:
        """Of all stages and lanes."""
        return sum((share.epochs for share in self.shares), NOTHING)

    @property
    def slot_hours(self) -> Outlook:
        """Of all stages; nothing without a measurement."""
        return sum((share.slot_hours for share in self.shares), NOTHING)
