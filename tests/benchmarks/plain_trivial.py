"""A search of trivial trials with Ray Tune alone, its default loggers and OptunaSearch: the yardstick of overhead.py.

Every trial trains 100 digits for one epoch, in the very session that thermotune's trials use.
Usage: python plain_trivial.py FOLDER TRIALS SLOTS
"""

from __future__ import annotations

import json
import os
import sys
import time

STARTED = time.time()
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"  # else every worker builds a virtual environment

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.search.optuna import OptunaSearch  # noqa: E402

RECIPE = {"dataset": "digits", "model": "mlp-8", "train_samples": 100, "batch_size": 100, "epochs": 1}


def train(config: dict) -> None:
    from trainables.session import TrialConfig, TrialSession

    recipe = {**RECIPE, "loss": {"beta": config["beta"]}, "optimizer": {"lr": config["lr_times_beta"] / config["beta"]}}
    report = TrialSession(TrialConfig(trial="t", recipe=recipe, seeds=(0,))).advance()
    tune.report(report["epochs"][-1]["metrics"])


def main() -> None:
    folder, trials, slots = os.path.abspath(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])  # noqa: PTH100
    ray.init(address="local", num_cpus=slots, log_to_driver=False)
    tuner = tune.Tuner(
        train,
        param_space={"beta": tune.loguniform(0.01, 10), "lr_times_beta": tune.loguniform(0.001, 1)},
        tune_config=tune.TuneConfig(
            metric="val/accuracy",
            mode="max",
            num_samples=trials,
            max_concurrent_trials=slots,
            search_alg=OptunaSearch(seed=0),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(storage_path=folder, name="plain", verbose=0),
    )
    tuner.fit()
    print("SUMMARY " + json.dumps({"wall_s": time.time() - STARTED, "driver_cpu_s": time.process_time()}))


if __name__ == "__main__":
    main()
