"""Largest stable learning rate of full-batch gradient descent against beta: the law lr ~ 1/beta of arXiv 2010.07344.

Reproduces methods.md A.8: digits, MLP 64-128-128-10 that starts at Z0 = 0 (``subtract``), plain gradient descent on the
tempered cross-entropy. Theory: a step must not go further than the tangent kernel stays what it was, hence lr ~ 1/beta
for small beta; for large beta the linear bound lr < 2 / (beta^2 * lambda) comes first.
Usage: uv run python tests/benchmarks/largest_stable_lr.py [--samples 256] [--steps 25] [--seed 0] [--betas ...]
"""

from __future__ import annotations

import argparse
import math
import platform
import shlex
import sys
import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from trainables.data.digits import read
from trainables.losses import tempered_cross_entropy
from trainables.models import build
from trainables.models.logit_norm import with_logit_norm

BETAS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
ACTIVATIONS: Mapping[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}
HALF_OCTAVES = range(20, -21, -1)


def digits(samples: int) -> tuple[Tensor, Tensor]:
    """The first training samples: pixels (N, 1, 8, 8) float32 in 0..1 and labels (N,) int64."""
    train = read()["train"]
    return torch.from_numpy(train.inputs[:samples]).float() / 16, torch.from_numpy(train.targets[:samples])


def is_stable(network: nn.Module, data: tuple[Tensor, Tensor], beta: float, lr: float, steps: int) -> bool:
    """Whether the loss stays below 1.02 ln K for so many steps and ends below ln K; trains the network."""
    inputs, targets = data
    parameters = list(network.parameters())
    for step in range(steps + 1):
        logits = network(inputs)
        loss = tempered_cross_entropy(logits, targets, beta=beta)
        at_start = math.log(logits.shape[1])
        if not float(loss) < 1.02 * at_start:
            return False
        if step == steps:
            return float(loss) < at_start
        with torch.no_grad():
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.sub_(gradient, alpha=lr)
    raise AssertionError("unreachable")


def largest_stable_lr(
    beta: float, activation: str, data: tuple[Tensor, Tensor], *, steps: int = 25, seed: int = 0
) -> float:
    """The largest stable learning rate on a grid of half octaves around 1/beta (beta < 1) or 1/beta^2; nan if none is.

    Args:
        beta: Inverse temperature, > 0.
        activation: A key of ``ACTIVATIONS``.
        data: Inputs (N, 1, 8, 8) and labels (N,).
        steps: Of gradient descent.
        seed: Of the initial parameters.
    """

    def plain() -> nn.Module:
        mlp = build("mlp-128-128", input_shape=(1, 8, 8), num_classes=10, seed=seed)
        return nn.Sequential(*(ACTIVATIONS[activation]() if isinstance(m, nn.ReLU) else m for m in mlp.children()))

    for half_octaves in HALF_OCTAVES:
        lr = 2 ** (half_octaves / 2) / max(beta, beta**2)
        network = with_logit_norm(plain(), mode="subtract", norm=0, beta=beta, probe=data[0], make_twin=plain)
        if is_stable(network, data, beta, lr, steps):
            return lr
    return math.nan


def slope(lrs: Mapping[float, float], low: float, high: float) -> float:
    """Slope of log lr against log beta by least squares, over low <= beta <= high."""
    points = [(math.log(beta), math.log(lr)) for beta, lr in lrs.items() if low <= beta <= high]
    x, y = (sum(p[i] for p in points) / len(points) for i in (0, 1))
    return sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--betas", type=float, nargs="+", default=BETAS, help="inverse temperatures")
    parser.add_argument("--activations", nargs="+", choices=sorted(ACTIVATIONS), default=["relu", "tanh"])
    parser.add_argument("--samples", type=int, default=256, help="of digits")
    parser.add_argument("--steps", type=int, default=25, help="of gradient descent")
    parser.add_argument("--seed", type=int, default=0, help="of the initial parameters")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data = digits(options.samples)
    print(shlex.join(["python", *sys.argv] if arguments is None else ["largest_stable_lr.py", *arguments]))
    print(f"torch {torch.__version__}, Python {platform.python_version()}, 1 thread, float32; {options}")
    print("| beta |", " | ".join(f"{beta:g}" for beta in options.betas), "| slope beta <= .1 | slope beta >= 10 | s |")
    print("|---" * (len(options.betas) + 4) + "|")
    for activation in options.activations:
        started = time.perf_counter()
        lrs = {b: largest_stable_lr(b, activation, data, steps=options.steps, seed=options.seed) for b in options.betas}
        slopes = [f"{slope(lrs, *ends):.3f}" for ends in ((0, 0.1), (10, math.inf)) if len(lrs) > 1]
        print(f"| {activation} lr |", " | ".join([*(f"{lr:.3g}" for lr in lrs.values()), *slopes]), end=" | ")
        print(f"{time.perf_counter() - started:.0f} |", flush=True)


if __name__ == "__main__":
    main()
