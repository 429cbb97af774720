from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from trainables import Recipe, prepare
from trainables.data import PackedDataset, Split
from trainables.engine import Divergence, LaneReport, Training
from trainables.models import build

KEYS = {"train/loss", "train/accuracy", "val/loss", "val/accuracy", "optimizer/lr"}
LAST = {
    *("val/ece", "val/refit_temperature", "val/loss_refit", "val/ece_refit"),
    *("val/logit_norm", "val/logit_mean", "val/logit_max", "val/logit_variance"),
}
TEST = {"test/loss", "test/accuracy", "test/ece", "test/loss_refit", "test/ece_refit"}


def recipe(**values: Any) -> Recipe:
    return Recipe.model_validate({"model": "mlp-16", "batch_size": 64, "epochs": 4} | values)


def lr(value: float) -> dict[str, float]:
    return {"lr": value}


def run(training: Training) -> list[LaneReport]:
    reports = []
    while not training.finished and training.divergence is None:
        reports += training.train_epoch()
    return reports


def numbers(reports: list[LaneReport]) -> list[tuple[int, int, int, dict[str, float]]]:
    return [(report.epoch, report.lane, report.seed, report.metrics) for report in reports]


def test_training_learns_digits() -> None:
    reports = run(Training(recipe(model="mlp-128-128", epochs=10, optimizer=lr(0.05)), [0]))
    assert [report.epoch for report in reports] == list(range(1, 11))
    assert all(set(report.metrics) == KEYS for report in reports[:-1])
    assert set(reports[-1].metrics) == KEYS | LAST
    assert reports[-1].metrics["val/accuracy"] > 0.93
    assert reports[-1].metrics["train/accuracy"] > 0.99
    assert all(report.epoch_time_s > 0 for report in reports)


@pytest.mark.parametrize("loss", [{"name": "tempered", "beta": 0.3}, {"name": "tampered", "alpha": 0.3}])
def test_reported_numbers_are_those_of_a_plain_evaluation(loss: dict[str, Any]) -> None:
    training = Training(recipe(loss=loss), [7], test=True)
    report = run(training)[-1]
    data = prepare("digits")
    module = build("mlp-16", input_shape=(1, 8, 8), num_classes=10, seed=99)
    module.load_state_dict(training.lane_state_dict(0))
    splits: tuple[Split, ...] = ("val", "test")
    for split in splits:
        inputs, targets = data.load(split)
        logits = module((torch.from_numpy(inputs).float() - data.mean[0]) / data.std[0]).detach()
        labels = torch.from_numpy(targets)
        nll = F.cross_entropy(logits.double() * loss.get("beta", 1.0), labels)
        assert report.metrics[f"{split}/loss"] == pytest.approx(float(nll), rel=1e-5)
        assert report.metrics[f"{split}/accuracy"] == pytest.approx(float((logits.argmax(1) == labels).double().mean()))


def test_train_metrics_are_means_over_all_samples() -> None:
    frozen = recipe(optimizer=lr(1e-30), epochs=1, batch_size=100)
    report = run(Training(frozen, [0]))[0]
    whole = run(Training(frozen.model_copy(update={"batch_size": 2000}), [0]))[0]
    assert prepare("digits").sizes["train"] % 100 != 0
    assert report.metrics["train/loss"] == pytest.approx(whole.metrics["train/loss"], rel=1e-5)
    assert report.metrics["train/accuracy"] == pytest.approx(whole.metrics["train/accuracy"])


def test_the_learning_rate_follows_the_schedule() -> None:
    values = [report.metrics["optimizer/lr"] for report in run(Training(recipe(optimizer=lr(0.1)), [0]))]
    steps = math.ceil(prepare("digits").sizes["train"] / 64)
    done = [(epoch + (steps - 1) / steps) / 4 for epoch in range(4)]
    assert values == pytest.approx([0.1 * (0.001 + 0.999 * (1 + math.cos(math.pi * d)) / 2) for d in done])


def test_a_lane_does_not_depend_on_the_other_lanes() -> None:
    seeds = [3, 0, 11]
    together = Training(recipe(), seeds)
    reports = numbers(run(together))
    for lane, seed in enumerate(seeds):
        alone = Training(recipe(), [seed])
        metrics = [row[3] for row in numbers(run(alone))]
        assert metrics == [row[3] for row in reports if row[1] == lane]
        for name, tensor in alone.lane_state_dict(0).items():
            assert torch.equal(tensor, together.lane_state_dict(lane)[name])
    assert len({row[3]["train/loss"] for row in reports if row[0] == 4}) == 3


@pytest.mark.parametrize("seeds", [[0], [4, 5]])
def test_going_on_from_a_checkpoint_is_bit_equal_to_not_stopping(seeds: list[int]) -> None:
    whole = Training(recipe(), seeds)
    expected = numbers(run(whole))
    first = Training(recipe(), seeds)
    reports = first.train_epoch() + first.train_epoch()
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    first.train_epoch()  # the state is a copy: going on does not change it
    file.seek(0)
    second = Training(recipe(), seeds)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert second.epoch == 2
    assert numbers(reports + run(second)) == expected
    for lane in range(len(seeds)):
        for name, tensor in whole.lane_state_dict(lane).items():
            assert torch.equal(tensor, second.lane_state_dict(lane)[name])


def test_a_state_of_other_seeds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must have the seeds \[1\], got \[0\]"):
        Training(recipe(), [1]).load_state_dict(Training(recipe(), [0]).state_dict())


def test_the_global_random_state_plays_no_part() -> None:
    torch.manual_seed(0)
    first = numbers(run(Training(recipe(), [0])))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert numbers(run(Training(recipe(), [0]))) == first
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("test", [False, True])
def test_the_test_split_is_opened_only_on_demand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, test: bool) -> None:
    opened = []
    load = PackedDataset.load

    def recording(data: PackedDataset, split: Split) -> Any:
        opened.append(split)
        return load(data, split)

    monkeypatch.setattr(PackedDataset, "load", recording)
    training = Training(recipe(), [0], data_root=tmp_path, test=test)  # a root of its own: nothing is opened yet
    reports = run(training)
    assert all(set(report.metrics) == KEYS for report in reports[:-1])
    assert opened == ["train", "val", "test"][: 3 if test else 2]
    assert set(reports[-1].metrics) - KEYS == LAST | (TEST if test else set())


def test_nan_loss_stops_training_and_is_reported_as_it_was() -> None:
    training = Training(recipe(optimizer=lr(1e38), epochs=3), [0], max_loss=math.inf)
    (report,) = run(training)
    assert training.divergence is not None
    assert training.divergence.reason == f"train/loss is nan at epoch 1, step {training.divergence.step}"
    assert math.isnan(report.metrics["train/loss"])
    assert set(report.metrics) == KEYS
    assert training.epoch == 1
    assert not training.finished
    with pytest.raises(RuntimeError, match="must not go on"):
        training.train_epoch()


def test_exploding_loss_stops_training_in_the_epoch_where_it_happens() -> None:
    training = Training(recipe(optimizer=lr(30.0), loss={"name": "tempered", "beta": 10.0}), [0, 1])
    reports = run(training)
    found = training.divergence
    assert isinstance(found, Divergence)
    assert found.epoch == reports[-1].epoch == training.epoch
    assert len(reports) == 2 * found.epoch
    assert " is above max_loss 1000 at epoch " in found.reason
    assert found.reason.endswith(f"epoch {found.epoch}, step {found.step}")
    assert all(math.isfinite(report.metrics["train/loss"]) for report in reports)


def test_divergence_is_noticed_within_64_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(recipe(optimizer=lr(1e6), batch_size=4), [0])
    steps = []
    train_step = training._executor.train_step
    monkeypatch.setattr(training._executor, "train_step", lambda *args: steps.append(0) or train_step(*args))
    training.train_epoch()
    assert training.divergence is not None
    assert training.divergence.step < 64
    assert len(steps) == 64


def test_divergence_of_one_lane_names_the_lane() -> None:
    training = Training(recipe(), [0, 1])
    training._state.params[1] *= math.nan
    training.train_epoch()
    assert training.divergence == Divergence(epoch=1, step=1, lane=1, reason="train/loss is nan at epoch 1, step 1")


def test_a_validation_loss_that_is_not_finite_is_a_divergence() -> None:
    training = Training(recipe(optimizer=lr(1e38), batch_size=2000, epochs=1), [0], test=True)
    (report,) = training.train_epoch()
    assert math.isfinite(report.metrics["train/loss"])
    assert not math.isfinite(report.metrics["val/loss"])
    assert training.divergence is not None
    assert training.divergence.reason == f"val/loss is {report.metrics['val/loss']} after epoch 1"
    assert training.divergence.step == 1
    assert set(report.metrics) == KEYS
    assert not training.finished


def test_a_diverged_state_stays_diverged() -> None:
    training = Training(recipe(optimizer=lr(1e6)), [0])
    run(training)
    again = Training(recipe(optimizer=lr(1e6)), [0])
    again.load_state_dict(training.state_dict())
    assert again.divergence == training.divergence
    assert not again.finished


def test_training_beyond_the_end_is_refused() -> None:
    training = Training(recipe(epochs=1), [0])
    training.train_epoch()
    assert training.finished
    with pytest.raises(RuntimeError, match="must not go on"):
        training.train_epoch()


@pytest.mark.parametrize("seeds", [[], [-1], [0, -3]])
def test_bad_seeds_are_refused(seeds: list[int]) -> None:
    with pytest.raises(ValueError, match="seeds must be one number >= 0 for each lane, got"):
        Training(recipe(), seeds)


@pytest.mark.gpu
def test_a_run_on_cuda_follows_the_run_on_the_cpu() -> None:
    slow = recipe(optimizer=lr(0.01))
    reports = run(Training(slow, [0, 1], device="cuda", test=True))
    for found, expected in zip(reports, run(Training(slow, [0, 1], test=True)), strict=True):
        assert found.metrics == pytest.approx(expected.metrics, abs=0.01)


@pytest.mark.parametrize("loss", [{"name": "tempered", "beta": 0.1}, {"name": "tampered", "alpha": 0.3}])
def test_calibration_after_the_last_epoch_uses_the_predicted_probabilities(loss: dict[str, Any]) -> None:
    training = Training(recipe(loss=loss), [1], test=True)
    last = run(training)[-1].metrics
    network = training.network(0).eval()
    beta = loss.get("beta", 1.0)
    z, labels = {}, {}
    for split in ("val", "test"):
        samples, labels[split] = next(training.data.chunks(split))
        z[split] = beta * network(samples).detach().double()
    scaled = {split: z[split] / last["val/refit_temperature"] for split in z}
    for split in ("val", "test"):
        assert last[f"{split}/loss_refit"] == pytest.approx(F.cross_entropy(scaled[split], labels[split]).item(), 1e-5)
    worse = [F.cross_entropy(scaled["val"] * factor, labels["val"]).item() for factor in (0.98, 1.02)]
    assert min(worse) > last["val/loss_refit"]
    assert last["val/loss_refit"] <= last["val/loss"]
    assert ("val/stationary_threshold" in last) == (loss["name"] == "tampered")


THEORY = {"theory": True, "probe_samples": 4}


@pytest.mark.parametrize("norm", [None, 0.5])
def test_measuring_the_start_of_learning_changes_nothing(norm: float | None) -> None:
    loss = {"beta": 0.5, "logit_norm": norm}
    watched = Training(recipe(loss=loss, diagnostics=THEORY), [3])
    alone = Training(recipe(loss=loss, diagnostics={"probe_samples": 4}), [3])
    for _ in range(2):
        watched.train_epoch(), alone.train_epoch()
    a, b = watched.lane_state_dict(0), alone.lane_state_dict(0)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_the_start_of_learning_is_predicted_once_and_measured_when_it_comes() -> None:
    reports = run(Training(recipe(loss={"logit_norm": 0.5}, optimizer=lr(0.05), diagnostics=THEORY), [3]))
    first, last = reports[0].metrics, reports[-1].metrics
    assert first["probe/logit_norm_start"] == pytest.approx(0.5, rel=1e-4)
    assert first["theory/eta_tilde"] == 0.05
    assert 0 < first["theory/tau_z"] < math.inf
    assert 0 < first["theory/tau_nl"] < math.inf
    assert not {"theory/tau_z", "theory/tau_nl", "probe/logit_norm_start"} & last.keys()
    assert last["theory/tau_z_measured"] == pytest.approx(first["theory/tau_z"], rel=1.0)
    assert last["probe/logit_norm"] > 0.5


def test_a_run_whose_start_is_measured_goes_on_bit_equal_after_a_restart() -> None:
    whole = run(Training(recipe(diagnostics=THEORY), [3]))
    half, again = (Training(recipe(diagnostics=THEORY), [3]) for _ in range(2))
    half.train_epoch()
    stream = io.BytesIO()
    torch.save(half.state_dict(), stream)
    stream.seek(0)
    again.load_state_dict(torch.load(stream, weights_only=True))
    assert numbers(run(again)) == numbers(whole[1:])


def test_adamw_has_logit_norms_but_no_timescales_of_gradient_descent() -> None:
    reports = run(Training(recipe(optimizer={"name": "adamw", "lr": 0.003}, diagnostics=THEORY), [3]))
    assert reports[-1].metrics["val/accuracy"] > 0.7
    names = {name for report in reports for name in report.metrics}
    assert "probe/logit_norm" in names
    assert not {name for name in names if name.startswith("theory/")}


def test_tampering_that_has_not_begun_is_plain_training() -> None:
    late = Training(recipe(loss={"name": "tampered", "alpha": 0.1, "start_epoch": 1, "warmup_epochs": 1}), [3])
    plain = Training(recipe(loss={"name": "tampered", "alpha": 1.0}), [3])
    assert late.train_epoch()[0].metrics == plain.train_epoch()[0].metrics
    assert late.train_epoch()[0].metrics != plain.train_epoch()[0].metrics


def test_a_run_may_end_before_its_schedule() -> None:
    short, whole = Training(recipe(), [3], until=2), Training(recipe(), [3])
    for _ in range(2):
        short.train_epoch(), whole.train_epoch()
    assert short.finished
    a, b = short.lane_state_dict(0), whole.lane_state_dict(0)
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("mode", ["subtract", "twin", "twin_head", "head_scale"])
@pytest.mark.parametrize("beta", [0.1, 3.0])
def test_a_wished_logit_norm_is_met_in_every_mode_and_on_record(mode: str, beta: float) -> None:
    wished = {"beta": beta, "logit_norm": 0.02, "logit_norm_mode": mode}
    training = Training(recipe(loss=wished, optimizer=lr(0.01 / beta)), [3])
    reports = run(training)
    assert reports[0].metrics["probe/logit_norm_start"] == pytest.approx(0.02, rel=1e-3)
    assert "probe/logit_norm_start" not in reports[1].metrics
    assert reports[-1].metrics["val/accuracy"] > 0.15
    again = Training(recipe(loss=wished, optimizer=lr(0.01 / beta)), [3])
    again.load_state_dict(training.state_dict())
    assert all(torch.equal(again.lane_state_dict(0)[n], v) for n, v in training.lane_state_dict(0).items())
