"""Data sets that are streamed: image files decoded by worker processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from tests.trainables.processes import member
from trainables import Recipe, TrialConfig, TrialSession, prepare
from trainables.data import PackedDataset
from trainables.engine import Training, streamed
from trainables.engine.batches import Batch, ClosedTestSplit
from trainables.engine.feed import feed
from trainables.engine.ranks import Ranks
from trainables.engine.streamed import StreamedData
from trainables.recipe import Teacher
from trainables.teachers import Shelf

CPU = torch.device("cpu")
SIZE = 16


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory, data_folder: Path) -> PackedDataset:
    """Photographs of several sizes in the layout of ImageNet: the classes differ in colour."""
    source = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 6)):
        for label, name in enumerate(("n01", "n02", "n03")):
            folder = source / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                shape = (*generator.integers(20, 40, size=2), 3)
                pixels = generator.integers(0, 80, size=shape)
                pixels[..., label] += 150
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{name}_{i}.JPEG", quality=95)
    return prepare("photos", source=source)


def recipe(**values: Any) -> Recipe:
    return Recipe.model_validate(
        {"dataset": "photos", "model": "mlp-8", "batch_size": 20, "epochs": 2, "image_size": SIZE}
        | {"augment": {"crop_scale": [0.3, 1.0], "flip": True, "color_jitter": 0.2}, "optimizer": {"lr": 0.02}}
        | values
    )


def batches(recipe: Recipe, *, seed: int = 0, epoch: int = 1, workers: int = 1) -> list[Batch]:
    return [step[0] for step in feed(recipe, CPU, workers=workers).epoch([seed], epoch)]


def test_folders_of_larger_images_are_streamed(pack: PackedDataset) -> None:
    assert pack.storage == "streamed"
    data = feed(recipe(), CPU)
    assert isinstance(data, StreamedData)
    assert data.input_shape == (3, SIZE, SIZE)


def test_an_epoch_shows_every_sample_once_with_its_label(pack: PackedDataset) -> None:
    found = batches(recipe())
    positions = torch.cat([batch.positions for batch in found])
    assert positions.sort().values.tolist() == list(range(pack.sizes["train"]))
    labels = torch.from_numpy(np.array(pack.targets("train")))
    assert all(torch.equal(batch.labels, labels[batch.positions]) for batch in found)
    assert all(batch.samples.shape == (len(batch.labels), 3, SIZE, SIZE) for batch in found)
    by_colour = torch.cat([batch.samples.mean(dim=(2, 3)).argmax(1) for batch in found])
    assert (by_colour == torch.cat([batch.labels for batch in found])).float().mean() > 0.9


def test_samples_depend_on_seed_and_epoch_but_not_on_the_number_of_workers(pack: PackedDataset) -> None:
    one, many = batches(recipe()), batches(recipe(), workers=3)
    for a, b in zip(one, many, strict=True):
        assert torch.equal(a.positions, b.positions)
        assert torch.equal(a.samples, b.samples)
    other = batches(recipe(), epoch=2)
    first = {int(p): s for b in one for p, s in zip(b.positions, b.samples, strict=True)}
    assert not any(torch.equal(first[int(p)], s) for b in other for p, s in zip(b.positions, b.samples, strict=True))


def test_unchanged_samples_are_the_middle_of_the_resized_image(pack: PackedDataset) -> None:
    data = feed(recipe(), CPU)
    samples, labels = data.batch("val", torch.tensor([3, 0]))
    chunk, of_chunk = next(iter(data.chunks("val")))
    torch.testing.assert_close(samples, chunk[[3, 0]])
    assert torch.equal(labels, of_chunk[[3, 0]])
    whole = v2.Compose([v2.Resize(round(SIZE * 256 / 224)), v2.CenterCrop(SIZE), v2.PILToTensor()])
    expected = whole(Image.open(pack.files("val")[3]).convert("RGB")).double()
    mean, std = (torch.tensor(v).double().view(3, 1, 1) for v in (pack.mean, pack.std))
    torch.testing.assert_close(samples[0].double(), (expected - mean) / std, rtol=1e-5, atol=1e-5)


def test_the_test_split_cannot_be_read_where_something_may_still_be_chosen(pack: PackedDataset) -> None:
    closed = feed(recipe(), CPU)
    for read in (
        lambda: closed.targets("test"),
        lambda: next(iter(closed.chunks("test"))),
        lambda: closed.batch("test", torch.arange(2)),
    ):
        with pytest.raises(ClosedTestSplit):
            read()


def test_chunks_hold_a_split_in_its_order(pack: PackedDataset) -> None:
    data = feed(recipe(), CPU, test=True)
    for split in ("train", "val", "test"):
        labels = torch.cat([labels for _, labels in data.chunks(split)])
        assert torch.equal(labels, data.targets(split))


def test_cutout_and_mixing_happen_on_top(pack: PackedDataset) -> None:
    plain = batches(recipe())[0]
    changed = batches(recipe(augment={"crop_scale": [0.3, 1.0], "flip": True, "color_jitter": 0.2, "cutout": 9}))[0]
    assert torch.equal(plain.positions, changed.positions)
    assert ((changed.samples == plain.samples) | (changed.samples == 0)).all()
    assert (changed.samples == 0).any()
    mixed = batches(recipe(augment={"mixup": 0.5}))[0]
    assert mixed.targets.shape == (20, 3)


def test_a_run_on_streamed_data_learns_and_continues_with_the_same_numbers(pack: PackedDataset) -> None:
    whole = Training(recipe(), [0, 4])
    expected = [[report.metrics for report in whole.train_epoch()] for _ in range(2)]
    assert expected[-1][0]["val/accuracy"] > 0.5
    first = Training(recipe(), [0, 4])
    first.train_epoch()
    second = Training(recipe(), [0, 4], workers=2)
    second.load_state_dict(first.state_dict())
    assert [report.metrics for report in second.train_epoch()] == expected[1]


def test_an_image_that_breaks_after_the_preparation_is_named(
    tmp_path: Path, pack: PackedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.JPEG"
    broken.write_bytes(pack.files("train")[5].read_bytes()[:200])
    files = [*pack.files("train")[:5], broken, *pack.files("train")[6:]]
    monkeypatch.setattr(PackedDataset, "files", lambda self, split: files)
    with pytest.raises(ValueError, match=r"broken.JPEG"):
        batches(recipe())


def test_nothing_is_left_running_when_a_run_is_let_go(pack: PackedDataset) -> None:
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    run = Training(recipe(), [0], workers=2)
    run.train_epoch()
    decoding = [p for p in psutil.Process().children(recursive=True) if p.pid not in before]
    assert len(decoding) >= 2
    del run
    gone, alive = psutil.wait_procs(decoding, timeout=10)
    assert len(gone) == len(decoding), alive


def test_a_student_of_unchanged_streamed_images_looks_its_teachers_logits_up(
    pack: PackedDataset, tmp_path: Path
) -> None:
    plain = {"dataset": "photos", "model": "mlp-8", "batch_size": 20, "epochs": 1, "image_size": SIZE}
    teachers = {"big": Teacher.model_validate({"recipe": plain})}
    shelf = Shelf(tmp_path)
    session = TrialSession(
        TrialConfig(
            trial="t0001",
            recipe=teachers["big"].recipe.model_dump(),
            seeds=(0,),
            teachers={name: teacher.model_dump() for name, teacher in teachers.items()},
            shelf=str(tmp_path),
            publish="big",
        )
    )
    assert session.advance()["finished"]
    loss = {"name": "distilled", "teacher": "big"}
    found = {}
    for name, augment in (("unchanged", {}), ("changed", {"flip": True})):
        student = Recipe.model_validate({**plain, "loss": loss, "augment": augment})
        found[name] = Training(student, [0], teachers=teachers, shelf=shelf).train_epoch()[0].metrics
    assert found["unchanged"]["train/loss"] != found["changed"]["train/loss"]
    assert found["unchanged"]["teacher/derived_average"] == found["changed"]["teacher/derived_average"]


def test_a_pass_within_a_pass_is_refused(pack: PackedDataset) -> None:
    data = feed(recipe(), CPU)
    steps = data.epoch([0], 1)
    next(steps)
    assert len(next(iter(data.chunks("val")))[0]) == pack.sizes["val"]
    with pytest.raises(RuntimeError, match="must end before the next one begins"):
        next(steps)


def test_batches_larger_than_a_part_are_put_together_in_order(
    pack: PackedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = batches(recipe())
    monkeypatch.setattr(streamed, "_PART", 7)
    for a, b in zip(batches(recipe(), workers=3), expected, strict=True):
        assert torch.equal(a.positions, b.positions)
        assert torch.equal(a.samples, b.samples)


def test_two_processes_decode_a_share_each_of_what_one_process_sees(pack: PackedDataset) -> None:
    values = {"augment": {"crop_scale": [0.3, 1.0], "flip": True, "mixup": 0.5, "cutout": 3}, "batch_size": 16}
    expected, *shares = (seen(ranks, recipe(**values)) for ranks in (None, member(0, 2), member(1, 2)))
    assert len(expected) == len(shares[0]) == len(shares[1])
    for alone, first, second in zip(expected, *shares, strict=True):
        assert 0 < len(first[0]) <= len(alone[0]) // 2 + 1
        for whole, one, other in zip(alone, first, second, strict=True):
            assert torch.equal(torch.cat([one, other]), whole)


def seen(ranks: Ranks | None, recipe: Recipe) -> list[list[torch.Tensor]]:
    """Positions, samples and targets of the steps of an epoch, and samples and labels of a split."""
    data = feed(recipe, CPU, ranks=ranks)
    steps = [[batch.positions, batch.samples, batch.targets] for (batch,) in data.epoch([3], 2)]
    part = slice(None) if ranks is None else ranks.part_of(data.packed.sizes["val"])
    chunks = list(data.chunks("val", part))
    return [*steps, [torch.cat(kind) for kind in zip(*chunks, strict=True)]]
