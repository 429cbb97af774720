"""A plan as plain values, whose keys name the units."""

from __future__ import annotations

from typing import Any

from search.planning.amounts import Outlook, Plan


def as_json(plan: Plan) -> dict[str, Any]:
    """A plan in JSON types."""

    def pair(outlook: Outlook | None) -> dict[str, float] | None:
        return None if outlook is None else {"expected": outlook.expected, "worst": outlook.worst}

    measured = plan.measured
    return {
        "study": plan.name,
        "trials": pair(plan.trials),
        "epochs": pair(plan.epochs),
        "epochs_80_percent": list(plan.epochs_range),
        "arms": [
            {
                "stage": share.stage.value,
                "name": share.name,
                "trials": pair(share.trials),
                "epochs": pair(share.epochs),
                "slot_hours": pair(share.slot_hours) if measured else None,
            }
            for share in plan.shares
        ],
        "slots": plan.slots,
        "slots_limited_by": plan.limit,
        "wall_hours": pair(plan.wall_hours),
        "wall_hours_80_percent": None if plan.wall_range is None else list(plan.wall_range),
        "cpu_hours": pair(plan.cpu_hours),
        "gpu_hours": pair(plan.gpu_hours),
        "records_bytes": pair(plan.records_bytes),
        "running_checkpoints_bytes": plan.running_bytes,
        "kept_checkpoints_bytes": pair(plan.kept_bytes),
        "mlflow_values": pair(plan.mlflow_values),
        "memory_bytes": plan.memory_bytes,
        "measured": None
        if measured is None
        else {
            "source": measured.source,
            "slots": measured.slots,
            "took_s": measured.took_s,
            "import_s": measured.import_s,
            "memory_bytes_per_trial": measured.memory_bytes,
            "gpu_memory_bytes_per_trial": measured.gpu_memory_bytes,
            "costs": {
                name: {
                    "epoch_s_per_lane": cost.epoch_s,
                    "start_s_per_lane": cost.start_s,
                    "save_s": cost.save_s,
                    "test_s": cost.test_s,
                    "metrics": cost.metrics,
                    "checkpoint_bytes": cost.checkpoint_bytes,
                    "basis": cost.basis,
                }
                for name, cost in measured.costs.items()
            },
        },
        "remarks": list(plan.remarks),
    }
