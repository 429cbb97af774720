"""Training with teachers, bases and members, on the digits."""

from __future__ import annotations

import pytest
import torch

from trainables import TrialConfig, TrialSession
from trainables.engine import Training, teaching
from trainables.engine.batches import Batch
from trainables.engine.train import MEMBER_STRIDE
from trainables.models.frozen import OnTopOf
from trainables.recipe import Recipe, Teacher
from trainables.teachers import Shelf

EPOCHS = 3
PLAIN = {"model": "mlp-16", "batch_size": 64, "epochs": EPOCHS}
TEACHERS = {
    "big": Teacher.model_validate({"recipe": {**PLAIN, "model": "mlp-32"}}),
    "assistant": Teacher.model_validate(
        {"recipe": {**PLAIN, "loss": {"name": "distilled", "teacher": "big", "gap": 0.0}}, "seed": 3}
    ),
    "stopped": Teacher.model_validate({"recipe": {**PLAIN, "model": "mlp-32"}, "epoch": 2}),
}


def student(**loss) -> Recipe:
    return Recipe.model_validate({**PLAIN, "loss": {"name": "distilled", "teacher": "big", **loss}})


def teach(shelf: Shelf, name: str) -> dict:
    """Trains a teacher as a worker does, and gives its last report."""
    session = TrialSession(
        TrialConfig(
            trial="t0001",
            recipe=TEACHERS[name].recipe.model_dump(),
            seeds=(TEACHERS[name].seed,),
            report_every_s=100,
            teachers={n: t.model_dump() for n, t in TEACHERS.items()},
            shelf=str(shelf.root),
            until=TEACHERS[name].epoch,
            publish=name,
        )
    )
    return session.advance()


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    shelf = Shelf(tmp_path_factory.mktemp("root") / "teachers")
    for name in TEACHERS:
        assert teach(shelf, name)["finished"]
    return shelf


def train(recipe: Recipe, shelf: Shelf, seeds=(0,), epochs: int = EPOCHS, **options):
    training = Training(recipe, seeds, teachers=TEACHERS, shelf=shelf, **options)
    reports = [training.train_epoch() for _ in range(epochs)]
    return training, reports


def same_network(a: Training, b: Training) -> bool:
    first, second = a.lane_state_dict(0), b.lane_state_dict(0)
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_trained_teacher_is_on_the_shelf_with_its_logits_in_the_order_of_the_data(shelf):
    training, _ = train(student(), shelf, epochs=1)
    stored = teaching.require("big", TEACHERS, shelf, training.data.packed.digest)
    network = teaching.restore(stored, shelf, training.data)
    positions = torch.tensor([5, 3, 700])
    samples, labels = training.data.batch("train", positions)
    batch = Batch(positions=positions, samples=samples, labels=labels, targets=labels, augmented=False)
    kept = teaching.TeacherLogits(stored, shelf, training.data, augmented=False)
    torch.testing.assert_close(kept.of(batch), network(samples), rtol=1e-5, atol=1e-5)
    assert stored.parameters == sum(p.numel() for p in network.parameters()) == 64 * 32 + 32 + 32 * 10 + 10
    assert not any(name.startswith("test/") for name in stored.metrics)


def test_logits_that_are_too_large_to_keep_are_computed_for_every_batch(tmp_path, monkeypatch, shelf):
    monkeypatch.setattr(teaching, "LOGITS_LIMIT_BYTES", 0)
    other = Shelf(tmp_path)
    teach(other, "big")
    _, first = train(student(), other)
    _, second = train(student(), shelf)
    for a, b in zip(first, second, strict=True):
        assert a[0].metrics == pytest.approx(b[0].metrics, rel=1e-3, abs=1e-4)


def test_a_missing_teacher_is_a_clear_error(tmp_path):
    with pytest.raises(ValueError, match="the teacher big must be trained first"):
        Training(student(), [0], teachers=TEACHERS, shelf=Shelf(tmp_path))


def test_teacher_statistics_are_measured_once_and_follow_the_temperatures(shelf):
    _, reports = train(student(tau1=4.0, gap=2.0), shelf)
    first = {name: value for name, value in reports[0][0].metrics.items() if name.startswith("teacher/")}
    assert set(first) == {
        "teacher/target_logit",
        "teacher/wrong_logit_std",
        "teacher/target_probability",
        "teacher/derived_average",
        "teacher/derived_variance",
        "teacher/derived_std",
        "teacher/inherent_variance",
        "teacher/flip_rate",
    }
    assert first["teacher/derived_average"] == pytest.approx((1 - first["teacher/target_probability"]) / 9)
    assert not any(name.startswith("teacher/") for name in reports[1][0].metrics)


def test_distillation_without_weight_is_plain_training(shelf):
    distilled, _ = train(student(weight=0.0), shelf)
    plain, _ = train(Recipe.model_validate(PLAIN), shelf)
    assert same_network(distilled, plain)


def test_distillation_that_stops_at_once_is_plain_training(shelf):
    stopped, _ = train(student(stop_epoch=0.0), shelf)
    plain, _ = train(Recipe.model_validate(PLAIN), shelf)
    assert same_network(stopped, plain)


def test_distillation_stops_after_its_epoch(shelf):
    stopped, _ = train(student(stop_epoch=1.0), shelf, epochs=1)
    whole, _ = train(student(), shelf, epochs=1)
    assert same_network(stopped, whole)
    stopped.train_epoch()
    whole.train_epoch()
    assert not same_network(stopped, whole)


def test_a_gate_that_is_always_open_changes_nothing_but_rounding(shelf):
    gated, reports = train(student(agreement=-1.0), shelf, epochs=1)
    plain, _ = train(student(), shelf, epochs=1)
    assert reports[0][0].metrics["train/distilled_steps"] == 1
    a, b = gated.lane_state_dict(0), plain.lane_state_dict(0)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-5)


def test_a_gate_lets_some_steps_pass(shelf):
    _, reports = train(student(agreement=0.6, agreement_layers="last"), shelf)
    shares = [epoch[0].metrics["train/distilled_steps"] for epoch in reports]
    assert all(0 <= share <= 1 for share in shares)
    assert 0 < sum(shares) < len(shares)


def test_a_chain_learns_from_the_assistant(shelf):
    through = Recipe.model_validate({**PLAIN, "loss": {"name": "distilled", "teacher": "assistant"}})
    assistant, _ = train(through, shelf)
    direct, _ = train(student(), shelf)
    assert not same_network(assistant, direct)
    stored = teaching.require("assistant", TEACHERS, shelf, assistant.data.packed.digest)
    assert list(stored.needs) == ["big"]


def test_a_stopped_teacher_is_the_full_one_at_that_epoch(shelf):
    full = Training(TEACHERS["big"].recipe, [0])
    for _ in range(2):
        full.train_epoch()
    stored = teaching.require("stopped", TEACHERS, shelf, full.data.packed.digest)
    assert stored.epoch == 2
    assert all(torch.equal(value, full.lane_state_dict(0)[name]) for name, value in stored.weights().items())


def test_logits_of_the_base_are_added_and_the_base_stays(shelf):
    residual = Recipe.model_validate({**student().model_dump(), "base": "assistant"})
    training, reports = train(residual, shelf)
    network = training.network(0).eval()
    assert isinstance(network, OnTopOf)
    stored = teaching.require("assistant", TEACHERS, shelf, training.data.packed.digest)
    below = teaching.restore(stored, shelf, training.data)
    samples, labels = next(training.data.chunks("val"))
    with torch.no_grad():
        torch.testing.assert_close(network(samples), below(samples) + network.network(samples))
        accuracy = (network(samples).argmax(1) == labels).double().mean().item()
    assert reports[-1][0].metrics["val/accuracy"] == pytest.approx(accuracy)
    assert {name.partition(".")[0] for name, _ in network.named_parameters()} == {"network"}


def test_members_are_solo_runs_whose_mean_probabilities_count(shelf):
    pair, reports = train(Recipe.model_validate({**student().model_dump(), "members": 2}), shelf, seeds=(4,))
    solo = [train(student(), shelf, seeds=(seed,)) for seed in (4, 4 + MEMBER_STRIDE)]
    saved = pair.lane_state_dict(0)
    for m, (training, _) in enumerate(solo):
        for name, value in training.lane_state_dict(0).items():
            assert torch.equal(saved[f"members.{m}.{name}"], value)
    samples, labels = next(pair.data.chunks("val"))
    with torch.no_grad():
        mean = torch.stack([training.network(0).eval()(samples).softmax(1) for training, _ in solo]).mean(0)
    metrics = reports[-1][0].metrics
    assert metrics["val/accuracy"] == pytest.approx((mean.argmax(1) == labels).double().mean().item())
    expected = -mean.log()[torch.arange(len(labels)), labels].mean().item()
    assert metrics["val/loss"] == pytest.approx(expected, rel=1e-5)
    losses = [found[-1][0].metrics["train/loss"] for _, found in solo]
    assert metrics["train/loss"] == pytest.approx(sum(losses) / 2)


@pytest.mark.parametrize("change", [{}, {"members": 2}, {"base": "assistant"}])
def test_a_student_restored_from_a_state_goes_on_bit_equal(shelf, change):
    recipe = Recipe.model_validate({**student().model_dump(), **change})
    whole, reports = train(recipe, shelf)
    half, _ = train(recipe, shelf, epochs=1)
    again = Training(recipe, [0], teachers=TEACHERS, shelf=shelf)
    again.load_state_dict(half.state_dict())
    rest = [again.train_epoch() for _ in range(EPOCHS - 1)]
    assert [r[0].metrics for r in rest] == [r[0].metrics for r in reports[1:]]
    assert same_network(whole, again)


def test_no_gradient_and_no_training_reaches_the_teacher(shelf):
    training, _ = train(student(), shelf)
    stored = teaching.require("big", TEACHERS, shelf, training.data.packed.digest)
    network = teaching.restore(stored, shelf, training.data)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert shelf.get(stored.address) == stored


def test_a_gate_that_never_opens_is_plain_training(shelf):
    gated, reports = train(student(agreement=1.0, weight=0.9), shelf)
    plain, _ = train(Recipe.model_validate(PLAIN), shelf)
    assert all(epoch[0].metrics["train/distilled_steps"] == 0 for epoch in reports)
    for name, value in plain.lane_state_dict(0).items():
        torch.testing.assert_close(gated.lane_state_dict(0)[name], value)


def test_a_teacher_with_a_temperature_of_its_own_speaks_and_stands_as_in_its_softmax(tmp_path):
    sharp = Teacher.model_validate({"recipe": {**PLAIN, "loss": {"beta": 10.0}, "optimizer": {"lr": 0.001}}})
    teachers, shelf = {"sharp": sharp}, Shelf(tmp_path)
    config = TrialConfig(
        trial="t0001",
        recipe=sharp.recipe.model_dump(),
        seeds=(0,),
        report_every_s=100,
        teachers={"sharp": sharp.model_dump()},
        shelf=str(tmp_path),
        publish="sharp",
    )
    session = TrialSession(config)
    while not session.advance()["finished"]:
        pass
    on_top = Recipe.model_validate({**PLAIN, "base": "sharp", "loss": {"beta": 0.5}, "optimizer": {"lr": 1e-9}})
    training = Training(on_top, [1], teachers=teachers, shelf=shelf)
    stored = teaching.require("sharp", teachers, shelf, training.data.packed.digest)
    raw = teaching.restore(stored, shelf, training.data)
    samples, labels = training.data.batch("train", torch.arange(5))
    batch = Batch(positions=torch.arange(5), samples=samples, labels=labels, targets=labels, augmented=False)
    said = teaching.TeacherLogits(stored, shelf, training.data, augmented=False).of(batch)
    torch.testing.assert_close(said, 10 * raw(samples))
    network = training.network(0).eval()
    with torch.no_grad():
        own = network.network(samples)
        torch.testing.assert_close(0.5 * network(samples), 10 * raw(samples) + 0.5 * own)


def test_what_cannot_be_had_is_refused(shelf):
    with pytest.raises(ValueError, match=r"loss\.logit_norm must be null on a base"):
        Recipe.model_validate({**PLAIN, "base": "big", "loss": {"logit_norm": 1.0}})
    with pytest.raises(ValueError, match="a shelf must be given where the recipe names a teacher"):
        Training(student(), [0], teachers=TEACHERS)


@pytest.mark.parametrize(
    "change",
    [{"until": 2}, {"teachers": {"big": TEACHERS["big"].model_copy(update={"seed": 9}).model_dump()}}],
)
def test_a_checkpoint_of_another_length_or_teacher_is_not_continued(tmp_path, shelf, change):
    config = TrialConfig(
        trial="t0001",
        recipe=student().model_dump(),
        seeds=(0,),
        return_at=(1,),
        checkpoints=str(tmp_path / "checkpoints"),
        teachers={name: teacher.model_dump() for name, teacher in TEACHERS.items()},
        shelf=str(shelf.root),
    )
    assert TrialSession(config).advance()["epochs"][-1]["epoch"] == 1
    assert TrialSession(config).advance()["attempt_start"] == 1
    other = TrialConfig.from_dict({**config.to_dict(), **change})
    if "teachers" in change:
        with pytest.raises(ValueError, match="the teacher big must be trained first"):
            TrialSession(other)
    else:
        assert TrialSession(other).advance()["attempt_start"] == 0


@pytest.mark.parametrize(
    ("loss", "changed"),
    [
        ({"student_temperature": "same"}, {"student_temperature": 4.0}),
        ({"center_logits": True}, {"center_logits": False}),
    ],
)
def test_settings_of_distillation_reach_the_loss(shelf, loss, changed):
    first, _ = train(student(**loss, tau1=4.0, gap=2.0), shelf, epochs=1)
    second, _ = train(student(**changed, tau1=4.0, gap=2.0), shelf, epochs=1)
    assert same_network(first, second) == ("student_temperature" in loss)  # same is tau1; centring changes what is told


def test_of_an_augmented_batch_the_teacher_sees_the_same_samples_as_the_student(shelf):
    recipe = Recipe.model_validate({**student().model_dump(), "augment": {"pad": 1, "flip": True}})
    training = Training(recipe, [0], teachers=TEACHERS, shelf=shelf)
    stored = teaching.require("big", TEACHERS, shelf, training.data.packed.digest)
    network = teaching.restore(stored, shelf, training.data)
    batch = next(iter(training.data.epoch([0], 1)))[0]
    said = teaching.TeacherLogits(stored, shelf, training.data, augmented=True).of(batch)
    torch.testing.assert_close(said, network(batch.samples))
    plain, _ = training.data.batch("train", batch.positions)
    assert not torch.equal(plain, batch.samples)
