"""A program: a trial of two processes on a Ray of its own, one of which lacks memory; prints what came of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import psutil
import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from trainables.distributed import DistributedTrial

RECIPE = {"model": "mlp-16", "batch_size": 64, "epochs": 2}
TRIES = 3


def place_for_one(name: str) -> Path:
    """A folder for the first that asks; the second one hears what CUDA says where memory is lacking."""
    folder = Path(name)
    if folder.name == "narrow":
        try:
            folder.mkdir()
        except FileExistsError:
            raise RuntimeError("CUDA out of memory. Tried to allocate 3.00 GiB") from None
    return folder


class NarrowTrial(DistributedTrial):
    place = staticmethod(place_for_one)


def start_ray() -> None:
    for tries_left in reversed(range(TRIES)):
        try:
            ray.init(
                address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
                object_store_memory=128 * 2**20, _node_ip_address="127.0.0.1",
            )  # fmt: skip
            return
        except Exception:  # a busy machine may need more than the 30 s that Ray waits
            ray.shutdown()
            if tries_left == 0:
                raise


def listening() -> list[str]:
    """Addresses on which the ranks can be reached."""
    family = psutil.Process().children(recursive=True)
    ranks = [process for process in family if any("RankProcess" in word for word in process.cmdline())]
    assert len(ranks) == 2
    return [c.laddr.ip for rank in ranks for c in rank.net_connections("tcp") if c.status == psutil.CONN_LISTEN]


def main(folder: str) -> None:
    start_ray()
    narrow = {"trial": "t0001", "recipe": RECIPE, "seeds": [0], "checkpoints": f"{folder}/narrow"}
    wide = narrow | {"trial": "t0002", "checkpoints": f"{folder}/wide", "report_every_s": 100.0}
    group = placement_group([{"CPU": 1}, {"CPU": 1}])
    lead = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0)
    trial = ray.remote(NarrowTrial).options(num_cpus=0, scheduling_strategy=lead).remote(narrow)
    found = {"narrow": ray.get(trial.step.remote()), "reused": ray.get(trial.reset_config.remote(wide))}
    found |= {"wide": ray.get(trial.step.remote()), "listening": listening()}
    print(json.dumps(found))


if __name__ == "__main__":
    from tests.trainables import narrow

    narrow.main(sys.argv[1])  # by its name, so that Ray's workers find the class
