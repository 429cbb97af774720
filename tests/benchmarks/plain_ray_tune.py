"""The search of digits-beta as a user of Ray Tune alone would write it: the yardstick of compare_with_plain.py.

Same work: 48 trials of an MLP 64-128-128-10 on the digits, batch 64, up to 27 epochs, beta and learning rate,
OptunaSearch (TPE), ASHAScheduler (grace 1, reduction 3), MLflowLoggerCallback on SQLite, four trials at once.
Usage: python plain_ray_tune.py FOLDER
"""

from __future__ import annotations

import json
import os
import sys
import time

STARTED = time.time()
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"  # else every worker builds a virtual environment

import numpy as np  # noqa: E402
import ray  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from ray import tune  # noqa: E402
from ray.air.integrations.mlflow import MLflowLoggerCallback  # noqa: E402
from ray.tune.schedulers import ASHAScheduler  # noqa: E402
from ray.tune.search.optuna import OptunaSearch  # noqa: E402

from trainables.data import prepare  # noqa: E402

EPOCHS, BATCH = 27, 64


def splits() -> tuple[torch.Tensor, ...]:
    """Training and validation split, the very ones of thermotune, normalised."""
    data = prepare("digits")
    (train_x, train_y), (val_x, val_y) = data.load("train"), data.load("val")
    mean, std = np.float32(data.mean), np.float32(data.std)
    arrays = ((train_x.reshape(-1, 64) - mean) / std, train_y, (val_x.reshape(-1, 64) - mean) / std, val_y)
    return tuple(torch.from_numpy(array) for array in arrays)


def train(config: dict) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    train_x, train_y, val_x, val_y = splits()
    model = torch.nn.Sequential(
        torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10)
    )
    lr = config["lr_times_beta"] / config["beta"]
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    steps = -(-len(train_x) // BATCH)
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1e-3, total_iters=steps)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=(EPOCHS - 1) * steps, eta_min=1e-3 * lr)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, cosine], milestones=[steps])
    for epoch in range(1, EPOCHS + 1):
        for batch in torch.randperm(len(train_x)).split(BATCH):
            loss = F.cross_entropy(config["beta"] * model(train_x[batch]), train_y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            accuracy = (model(val_x).argmax(1) == val_y).float().mean().item()
        tune.report({"val_accuracy": accuracy, "train_loss": loss.item(), "epoch": epoch})


def main() -> None:
    folder = os.path.abspath(sys.argv[1])  # noqa: PTH100
    ray.init(address="local", num_cpus=4)
    tuner = tune.Tuner(
        train,
        param_space={"beta": tune.loguniform(0.01, 10), "lr_times_beta": tune.loguniform(0.001, 1)},
        tune_config=tune.TuneConfig(
            metric="val_accuracy",
            mode="max",
            num_samples=48,
            max_concurrent_trials=4,
            search_alg=OptunaSearch(seed=0),
            scheduler=ASHAScheduler(time_attr="epoch", max_t=EPOCHS, grace_period=1, reduction_factor=3),
        ),
        run_config=tune.RunConfig(
            storage_path=folder,
            name="plain",
            callbacks=[
                MLflowLoggerCallback(tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment_name="plain"),
            ],
        ),
    )
    results = tuner.fit()
    best = results.get_best_result(scope="last")
    epochs = sum(r.metrics["epoch"] for r in results if r.metrics and "epoch" in r.metrics)
    summary = {
        "seconds": time.time() - STARTED,
        "best_val_accuracy": best.metrics["val_accuracy"],
        "trials": len(results),
        "epochs": epochs,
    }
    print("SUMMARY " + json.dumps(summary))


if __name__ == "__main__":
    main()
