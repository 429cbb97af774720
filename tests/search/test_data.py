"""Whether a study's recipes fit its data is said before anything starts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from search.data import check_data, check_same
from search.errors import StudyFileError, ThermotuneError
from search.folder import create
from search.study_file import load
from trainables import prepare


def complaints(call):
    with pytest.raises(StudyFileError) as error:
        call()
    return {m.where.removeprefix("mine.yaml: "): m.problem for m in error.value.mistakes}


@pytest.mark.parametrize(
    ("text", "where", "problem"),
    [
        ("recipe: {dataset: cifar10, model: gru-128}", "recipe", "model must suit the data, got gru-128"),
        ("recipe: {dataset: imdb, model: resnet-20}", "recipe", "which holds texts, for which there is gru-128"),
        ("recipe: {dataset: imdb, model: gru-8, augment: {flip: true}}", "recipe", "augment must be left out"),
        ("recipe: {dataset: cifar10, model: resnet-8, image_size: 64}", "recipe", "image_size must be null"),
        ("arms: {a: {set: {augment.color_jitter: 0.4}}, b: {}}", "arms.a", "augment.color_jitter must be 0"),
        ("space: {model: {choice: [mlp-8, gru-8]}}", "space.model", "got gru-8 for digits"),
    ],
)
def test_what_the_kind_of_data_cannot_give_is_a_mistake_of_the_file(write, text, where, problem):
    found = complaints(lambda: load(write(f"name: a\n{text}")))
    assert list(found) == [where]
    assert problem in found[where]


@pytest.mark.parametrize(
    ("text", "where", "problem"),
    [
        ("recipe: {train_samples: 5}", "recipe", "train_samples must lie between the 10 classes"),
        ("space: {augment.pad: {choice: [0, 64]}}", "space.augment.pad", "augment.pad must be at most"),
        ("recipe: {model: torchvision/resnet18}", "recipe", "torchvision/resnet18"),
        (
            "recipe: {loss: {name: distilled, teacher: t}}\nteachers: {t: {recipe: {train_samples: 5000}}}",
            "teachers.t.recipe",
            "train_samples must lie",
        ),
    ],
)
def test_what_the_data_themselves_cannot_give_is_said_before_anything_starts(write, text, where, problem):
    study = load(write(f"name: a\n{text}")).study
    found = complaints(lambda: check_data(study))
    assert list(found) == [where]
    assert problem in found[where]


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        ("recipe: {compute: {precision: fp16}}", "fp16 is slow on a CPU"),
        ("recipe: {dataset: imagenet, model: torchvision/resnet18}", "trials train on the CPU"),
    ],
)
def test_what_will_be_slow_is_remarked_upon(write, text, remark):
    assert any(remark in said for said in load(write(f"name: a\n{text}")).remarks)


def test_a_study_does_not_go_on_with_other_data(write, tmp_path):
    study, data = load(write("name: a")).study, prepare("digits")
    folder = create(study, tmp_path / "runs", data)
    check_same(data, folder)
    with pytest.raises(ThermotuneError, match=r"digits must be the one with which a began .* Pack the old one again"):
        check_same(replace(data, digest="f" * 64), folder)
    (folder / "environment.json").write_text("{}")  # as of earlier versions
    check_same(data, folder)
