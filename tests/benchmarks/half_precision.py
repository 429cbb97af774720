"""Does bf16 cost accuracy? The same runs in fp32 and bf16 on a part of CIFAR-10, over several seeds.

thermotune data prepare cifar10
python tests/benchmarks/half_precision.py --samples 5000 --epochs 10
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
from pathlib import Path

import torch
from scipy.stats import ttest_rel

sys.path.insert(0, str(Path(__file__).parents[2]))

from trainables.engine import Training
from trainables.recipe import Recipe


def accuracies(precision: str, arguments: argparse.Namespace) -> list[float]:
    recipe = Recipe.model_validate(
        {
            "dataset": "cifar10",
            "model": arguments.model,
            "loss": {"name": "tempered", "beta": arguments.beta},
            "batch_size": 128,
            "epochs": arguments.epochs,
            "train_samples": arguments.samples,
            "optimizer": {"lr": arguments.lr},
            "schedule": {"name": "cosine", "warmup_epochs": 1},
            "augment": {"pad": 4, "flip": True},
            "compute": {"precision": precision},
        }
    )
    training = Training(recipe, range(arguments.seeds))
    seconds = 0.0
    while not training.finished:
        reports = training.train_epoch()
        seconds += sum(report.epoch_time_s for report in reports)
        if training.divergence is not None:
            sys.exit(f"{precision} diverged: {training.divergence.reason}")
    found = [report.metrics["val/accuracy"] for report in reports]
    shown = ", ".join(f"{accuracy:.4f}" for accuracy in found)
    spread = statistics.stdev(found)
    print(f"  {precision}: val/accuracy {shown}; mean {statistics.mean(found):.4f}, sd {spread:.4f}; {seconds:.0f} s")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet-20")
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--beta", type=float, default=1.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {platform.machine()}, one thread: {vars(arguments)}")
    full, half = accuracies("fp32", arguments), accuracies("bf16", arguments)
    differences = [h - f for h, f in zip(half, full, strict=True)]
    interval = ttest_rel(half, full).confidence_interval(0.95)
    print(
        f"  bf16 - fp32: {statistics.mean(differences):+.4f} "
        f"[{interval.low:+.4f}, {interval.high:+.4f}] (paired t, 95 %)"
    )


if __name__ == "__main__":
    main()
