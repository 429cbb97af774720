"""How fast one lane trains, beside the usual loop: torchvision transforms, a DataLoader, fp32, ``torch.optim``.

Both train the same network on the same CIFAR-10 images, in turns in one process, so that the load of the machine hits
both alike; what is printed are medians over the rounds and their ratio. Needs the packed data set:

    thermotune data prepare cifar10
    python tests/benchmarks/training_speed.py                                # one CPU thread, ResNet-20, batch 128
    python tests/benchmarks/training_speed.py --device cuda --models resnet-20 wrn-16-4 --steps 200
    python tests/benchmarks/training_speed.py --device cuda --models torchvision/resnet50 --batch 256 --size 224
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

sys.path.insert(0, str(Path(__file__).parents[2]))

from trainables.data import PackedDataset, prepare
from trainables.engine.feed import feed
from trainables.engine.loop import LoopExecutor
from trainables.engine.state import LaneState
from trainables.models import build
from trainables.recipe import Compute, Recipe

PEAK_FLOPS = {"H100": 989e12, "H200": 989e12}
"""Dense bf16 operations a second that the maker names, by a part of the device's name."""

INPUT_STEPS = 20
"""Input alone is measured over so many times the steps: one takes a millisecond."""

Step = Callable[[], int]
"""Makes one step; gives the number of samples."""


class Usual(Dataset[tuple[Tensor, int]]):
    """What torchvision.datasets.CIFAR10 does with an image, from the arrays of our pack."""

    def __init__(self, data: PackedDataset) -> None:
        inputs, targets = data.load("train")
        self._images = np.ascontiguousarray(np.transpose(inputs, (0, 2, 3, 1)))
        self._targets = targets.tolist()
        self._transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize([m / 255 for m in data.mean], [s / 255 for s in data.std]),
            ]
        )

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._images[place])), self._targets[place]


def usual_batches(data: PackedDataset, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    loader = DataLoader(
        Usual(data),
        batch_size,
        shuffle=True,
        num_workers=2,
        persistent_workers=True,
        pin_memory=torch.cuda.is_available(),
    )
    while True:
        yield from loader


def our_batches(recipe: Recipe, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    data, epoch = feed(recipe, device), 0
    while True:
        epoch += 1
        for lanes in data.epoch([0], epoch):
            yield lanes[0].samples, lanes[0].targets


def synthetic(batch_size: int, size: int, classes: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    samples = torch.randn(batch_size, 3, size, size, device=device)
    labels = torch.randint(classes, (batch_size,), device=device)
    while True:
        yield samples, labels


def network(name: str, size: int, classes: int) -> nn.Module:
    return build(name, input_shape=(3, size, size), num_classes=classes, seed=0)


def usual_step(module: nn.Module, batches: Iterator[tuple[Tensor, Tensor]], device: torch.device) -> Step:
    module = module.to(device).train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def step() -> int:
        samples, labels = next(batches)
        samples, labels = samples.to(device), labels.to(device)
        optimizer.zero_grad()
        F.cross_entropy(module(samples), labels).backward()
        optimizer.step()
        return len(labels)

    return step


def timm_step(module: nn.Module, batches: Iterator[tuple[Tensor, Tensor]], device: torch.device) -> Step:
    """The step of timm's training script: its optimiser, autocast, and its scaler for fp16 left out for bf16."""
    from timm.optim import create_optimizer_v2

    module = module.to(device, memory_format=torch.channels_last).train()
    optimizer = create_optimizer_v2(module, opt="sgd", lr=0.05, momentum=0.9, weight_decay=5e-4)

    def step() -> int:
        samples, labels = next(batches)
        samples = samples.to(device, memory_format=torch.channels_last)
        labels = labels.to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = F.cross_entropy(module(samples), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return len(labels)

    return step


def our_step(
    module: nn.Module, batches: Iterator[tuple[Tensor, Tensor]], device: torch.device, compute: Compute, recipe: Recipe
) -> Step:
    module.train()
    state = LaneState([module], device)
    executor = LoopExecutor([module], state, recipe.optimizer, compute=compute, seeds=[0])

    def step() -> int:
        samples, labels = next(batches)
        executor.train_step([samples], [lambda logits: F.cross_entropy(logits, labels)], 0.05)
        return len(labels)

    return step


def rate(step: Step, steps: int, device: torch.device) -> float:
    """Samples a second."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    started, samples = time.perf_counter(), 0
    for _ in range(steps):
        samples += step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return samples / (time.perf_counter() - started)


def compare(
    title: str, sides: dict[str, Step], arguments: argparse.Namespace, *, flops: float = 0.0, times: int = 1
) -> None:
    device = torch.device(arguments.device)
    for step in sides.values():
        rate(step, arguments.warm, device)
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(arguments.rounds):
        for name, step in sides.items():
            rates[name].append(rate(step, arguments.steps * times, device))
    first = next(iter(sides))
    print(f"\n{title}")
    for name, found in rates.items():
        ratios = [mine / usual for mine, usual in zip(found, rates[first], strict=True)]
        peak = _peak()
        share = f"  {statistics.median(found) * flops / peak:6.1%} of peak" if flops and peak else ""
        print(
            f"  {name:44} {statistics.median(found):9.0f} samples/s  "
            f"{statistics.median(ratios):6.2f} x  [{min(ratios):.2f}, {max(ratios):.2f}]{share}"
        )


def _peak() -> float:
    if not torch.cuda.is_available():
        return 0.0
    return next((peak for part, peak in PEAK_FLOPS.items() if part in torch.cuda.get_device_name()), 0.0)


def flops_of(name: str, size: int, classes: int) -> float:
    """Operations of one training sample: forward, and twice that backward."""
    from torch.utils.flop_counter import FlopCounterMode

    module = network(name, size, classes)
    with FlopCounterMode(display=False) as counter:
        module(torch.zeros(2, 3, size, size)).sum().backward()
    return counter.get_total_flops() / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--models", nargs="+", default=["resnet-20"])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--size", type=int, default=32, help="other than 32: synthetic images only, 1000 classes")
    parser.add_argument("--steps", type=int, default=10, help="of each side in a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--warm", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="measure torch.compile too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(arguments.device)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()}, one thread"
    print(
        f"torch {torch.__version__}, {where}, batch {arguments.batch}, {arguments.rounds} rounds of {arguments.steps}"
    )
    recipe = Recipe.model_validate(
        {"dataset": "cifar10", "batch_size": arguments.batch, "augment": {"pad": 4, "flip": True}}
    )
    precisions = {"fp32": Compute(), "bf16": Compute(precision="bf16")}
    if arguments.compile:
        precisions["bf16, compiled"] = Compute(precision="bf16", compile=True)
    if arguments.size == 32:
        data = prepare("cifar10")
        usual, ours = usual_batches(data, arguments.batch), our_batches(recipe, device)
        compare(
            "input alone (gather, crop, mirror, normalise), samples/s",
            {"torchvision + DataLoader, 2 workers": _drawing(usual), "thermotune": _drawing(ours)},
            arguments,
            times=INPUT_STEPS,
        )
        alone = DataLoader(Usual(data), arguments.batch, shuffle=True)
        compare(
            "input alone in one process, samples/s",
            {"torchvision + DataLoader, 0 workers": _drawing(_endless(alone)), "thermotune": _drawing(ours)},
            arguments,
            times=INPUT_STEPS,
        )
    for name in arguments.models:
        classes = 10 if arguments.size == 32 else 1000

        def fresh(name: str = name, classes: int = classes) -> nn.Module:
            return network(name, arguments.size, classes)

        made = synthetic(arguments.batch, arguments.size, classes, device)
        sides = {"usual loop, synthetic input": usual_step(fresh(), made, device)}
        sides["timm's loop, bf16, synthetic input"] = timm_step(fresh(), made, device)
        for kind, compute in precisions.items():
            sides[f"thermotune, {kind}, synthetic input"] = our_step(fresh(), made, device, compute, recipe)
        if arguments.size == 32:
            sides = {"torchvision + DataLoader(2) + fp32 loop": usual_step(fresh(), usual, device)} | sides
            for kind, compute in precisions.items():
                sides[f"thermotune, {kind}"] = our_step(fresh(), ours, device, compute, recipe)
        compare(f"training {name}, samples/s", sides, arguments, flops=flops_of(name, arguments.size, classes))


def _drawing(batches: Iterator[tuple[Tensor, Tensor]]) -> Step:
    return lambda: len(next(batches)[1])


def _endless(loader: DataLoader[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield from loader


if __name__ == "__main__":
    main()
