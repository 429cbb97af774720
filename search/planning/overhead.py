"""What Ray and the driver take beside training: all constants about the machine that a plan goes by.

All were measured on digits, four slots on four cores. ``tests/benchmarks/plan_against_reality.py`` prints the same
amounts of studies that it runs, beside what a plan said, so that they can be fitted again.
"""

from __future__ import annotations

from dataclasses import dataclass

USUAL_IMPORT_S = 2.5
"""Until a process has loaded torch, four processes at once, on that machine when it had little else to do."""

BEGIN_S, BEGIN_LOADS = 5.2, 1.5
"""From the command to the first epoch: waiting for processes, and so many times loading."""
END_S, END_LOADS = 6.0, 0.5
"""From the last epoch to the end of the command, likewise."""

TURN_S = 0.02
"""From the end of a trial to the beginning of the next one in its slot: Ray Tune turns the worker to it."""
DRIVER_S = 0.02
"""The part of it in which the driver serves no other slot: proposal, records, Ray Tune's bookkeeping."""
REPORT_S = 0.015
"""From a report to the next epoch."""


@dataclass(frozen=True, kw_only=True)
class Overhead:
    """What a study takes beside training.

    Attributes:
        begin_s: From the command to the first epoch.
        turn_s: From the end of a trial to the beginning of the next one in its slot.
        report_s: From a report to the next epoch.
        driver_s: Of the driver's own time for a trial, while it serves no other slot.
        end_s: From the last epoch to the end of the command: the report, MLflow's last values, Ray's end.
    """

    begin_s: float
    turn_s: float
    report_s: float
    driver_s: float
    end_s: float

    @classmethod
    def at(cls, import_s: float | None) -> Overhead:
        """On a machine, as busy as it is, where loading takes so long; None for the usual.

        Begin and end are partly waiting for each other's processes, whatever the machine; all else is computing.

        Example:
            >>> slow, usual = Overhead.at(5.0), Overhead.at(None)
            >>> slow.turn_s / usual.turn_s
            2.0
        """
        loading_s = USUAL_IMPORT_S if import_s is None else import_s
        share = loading_s / USUAL_IMPORT_S
        return cls(
            begin_s=BEGIN_S + BEGIN_LOADS * loading_s,
            turn_s=TURN_S * share,
            report_s=REPORT_S * share,
            driver_s=DRIVER_S * share,
            end_s=END_S + END_LOADS * loading_s,
        )
