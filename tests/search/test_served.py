"""A registered network gives, from pixels or token ids alone, what the study measured."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from search.served import EXAMPLES, examples, measure, served, usage
from trainables.data import prepare
from trainables.engine.train import Training
from trainables.recipe import Recipe


@pytest.fixture(autouse=True)
def _own_packs_and_one_thread(tmp_path, monkeypatch):
    monkeypatch.setenv("THERMOTUNE_DATA", str(tmp_path / "packs"))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trained(**changes):
    """A short run, and what it measured last."""
    recipe = {"dataset": "digits", "model": "mlp-16", "batch_size": 64, "epochs": 1, **changes}
    training = Training(Recipe.model_validate(recipe), [3])
    reports = training.train_epoch()
    return training, reports[0].metrics


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": {"name": "tempered", "beta": 3.0}},
        {"loss": {"name": "tampered", "alpha": 0.5}},
        {"loss": {"name": "tempered", "beta": 3.0}, "members": 2},
        {"loss": {"name": "tempered", "beta": 3.0, "logit_norm": 0.1}},
        {"ema_decay": 0.9},
    ],
)
def test_the_softmax_of_what_it_gives_for_pixels_is_what_the_study_measured(changes):
    training, metrics = trained(**changes)
    network = served(training)
    pixels, labels = prepare("digits").load("val")
    logits = network(torch.from_numpy(np.array(pixels)).float())
    targets = torch.from_numpy(np.array(labels))
    assert float(F.cross_entropy(logits, targets)) == pytest.approx(metrics["val/loss"], rel=1e-5)
    assert float((logits.argmax(1) == targets).double().mean()) == metrics["val/accuracy"]
    assert measure(network, training.data) == pytest.approx((metrics["val/loss"], metrics["val/accuracy"]), rel=1e-5)


def test_the_recorded_temperature_calibrates_it():
    training, metrics = trained(loss={"name": "tempered", "beta": 6.0})
    pixels, labels = prepare("digits").load("val")
    logits = served(training)(torch.from_numpy(np.array(pixels)).float()) / metrics["val/refit_temperature"]
    loss = F.cross_entropy(logits, torch.from_numpy(np.array(labels)))
    assert float(loss) == pytest.approx(metrics["val/loss_refit"], rel=1e-4)


def test_examples_are_pixels_of_the_validation_split():
    training, _ = trained()
    pixels, _ = prepare("digits").load("val")
    shown = examples(served(training), training.data)
    assert shown.dtype == torch.float32
    assert np.array_equal(shown.numpy(), np.array(pixels[:EXAMPLES], dtype=np.float32))


def test_the_range_of_the_pixels_is_that_of_the_data_set(tmp_path):
    digits = prepare("digits")
    assert "pixels (N, 1, 8, 8) float32 in 0..16, as digits has them" in usage(digits)
    training, metrics = trained(epochs=3)
    pixels, labels = digits.load("val")
    assert (pixels.min(), pixels.max()) == (0, 16)
    as_said = served(training)(torch.from_numpy(np.array(pixels)).float())
    assert float((as_said.argmax(1).numpy() == labels).mean()) == metrics["val/accuracy"]
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in ("a", "b"):
            folder = tmp_path / "photos" / split / label
            folder.mkdir(parents=True)
            for number in range(12):
                noise = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                noise[0, :2] = [[0], [255]]
                Image.fromarray(noise).save(folder / f"{number}.png")
    assert "float32 in 0..255, as photos has them" in usage(prepare("photos", source=tmp_path / "photos"))


def test_an_exported_graph_takes_batches_of_any_size_and_gives_the_same():
    training, _ = trained(model="resnet-8", loss={"name": "tempered", "beta": 2.0})
    network = served(training)
    inputs = examples(network, training.data)
    graph = torch.export.export(network, (inputs,), dynamic_shapes=({0: torch.export.Dim.AUTO},)).module()
    many = torch.cat([inputs, inputs.flip(0), inputs])[:7]
    assert torch.equal(graph(many), network(many))
    assert graph(many[:1]).shape == (1, 10)


def test_serving_leaves_the_run_as_it_is():
    training, _ = trained()
    before = {name: value.clone() for name, value in training.lane_state_dict(0).items()}
    assert training.network(0).training
    served(training)
    assert training.network(0).training
    assert all(parameter.requires_grad for parameter in training.network(0).parameters())
    assert all(torch.equal(before[name], value) for name, value in training.lane_state_dict(0).items())


def test_texts_are_token_ids_in_their_full_length(tmp_path):
    for part, label, count in (("train", "neg", 12), ("train", "pos", 12), ("test", "neg", 2), ("test", "pos", 2)):
        folder = tmp_path / "aclImdb" / part / label
        folder.mkdir(parents=True)
        for number in range(count):
            words = ("bad film film bad " if label == "neg" else "good film film good ") * (number + 1)
            (folder / f"{number:02d}_7.txt").write_text(words)
    packed = prepare("imdb", source=tmp_path / "aclImdb")
    training, metrics = trained(dataset="imdb", model="gru-4-4", batch_size=8)
    network = served(training)
    shown = examples(network, training.data)
    tokens, labels = packed.load("val")
    assert len(labels) >= 2
    assert (shown.dtype, shown.shape[1:]) == (torch.int32, packed.input_shape)
    assert np.array_equal(shown.numpy(), np.array(tokens[: len(shown)]))
    loss = F.cross_entropy(network(torch.from_numpy(np.array(tokens))), torch.from_numpy(np.array(labels)))
    assert float(loss) == pytest.approx(metrics["val/loss"], rel=1e-5)
    assert f"token ids (N, {packed.input_shape[0]}) int32" in usage(packed)
