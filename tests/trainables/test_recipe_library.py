from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import pytest
import torch

from trainables import recipe_library
from trainables.data import DATASETS, PackedDataset
from trainables.data.packed import SPLITS, Storage
from trainables.engine.schedule import lr_at
from trainables.fit import misfits
from trainables.models import build, make
from trainables.models.norm_free import norms
from trainables.recipe import Recipe, Teacher
from trainables.recipe_library import Origin, available, load, purposes, values
from trainables.values import flatten

STUDENTS = [name for name in available() if name.startswith("asymmetric/student-")]
TEACHERS = [name for name in available() if name.startswith("asymmetric/teacher-")]


@pytest.mark.parametrize("name", available())
def test_packaged_recipe_is_valid_and_every_value_has_an_origin(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load(name)
    assert found.recipe == Recipe.model_validate(found.values)
    assert found.origins.keys() == flatten(found.recipe.model_dump()).keys()
    for path, origin in found.origins.items():
        assert (origin.reason != "") == (origin.kind in ("our choice", "differs")), path
        assert origin.kind != "default" or path not in flatten(found.values), path


def test_the_three_papers_are_there() -> None:
    assert {name.partition("/")[0] for name in available()} == {"asymmetric", "tampering", "temperature-check"}
    for network in ("resnet18", "resnet50", "resnet101", "seresnet18", "seresnet50", "resnet18-nonorm"):
        assert f"tampering/{network}-imagenet" in available()
    assert len(STUDENTS) == 3 + 9
    assert len(TEACHERS) == 3 + 3
    assert purposes().keys() == set(available())


def test_value_of_the_paper_is_told_from_a_choice_a_difference_and_a_default() -> None:
    origins = load("tampering/resnet50-imagenet").origins
    assert origins["optimizer.momentum"] == Origin("paper")
    assert origins["loss.alpha"] == Origin("paper")
    assert origins["optimizer.lr"].kind == "our choice"
    assert origins["augment.flip"].kind == origins["augment.mixup"].kind == "our choice"  # a note about a section
    assert origins["batch_size"].kind == "differs"
    assert origins["loss.label_smoothing"] == Origin("default")


def test_recipe_that_is_like_another_takes_over_values_and_notes() -> None:
    found, other = load("tampering/seresnet18-imagenet"), load("tampering/resnet50-imagenet")
    assert found.recipe.optimizer == other.recipe.optimizer
    assert found.origins["optimizer.lr"] == other.origins["optimizer.lr"]
    assert (found.recipe.model, found.origins["model"].kind) == ("timm/seresnet18", "our choice")


def test_value_changed_in_a_recipe_like_another_loses_the_others_note() -> None:
    assert load("asymmetric/teacher-wide-resnet50-2-tiny-imagenet").origins["model"].kind == "our choice"
    assert load("asymmetric/teacher-wrn-28-8-cifar100").origins["model"] == Origin("paper")


@pytest.mark.parametrize("name", [*STUDENTS, *TEACHERS])
def test_weight_decay_of_the_asymmetric_recipes_is_nowhere_told_to_be_wholly_the_papers(name: str) -> None:
    found = load(name).origins["optimizer.weight_decay"]
    if name.endswith("cifar100"):
        assert found == Origin("differs", "Biases and norms decay there, too; here they never do")
    else:
        assert found.kind == "our choice"


def test_resnet_110_is_told_to_lack_the_projections_of_the_authors_code() -> None:
    found = load("asymmetric/teacher-resnet110-cifar100").origins["model"]
    assert found.kind == "differs"
    assert "2,752 parameters" in found.reason


@pytest.mark.parametrize("name", ["seresnet18", "seresnet50"])
def test_squeeze_and_excitation_networks_start_each_block_at_the_identity_as_the_papers_code_does(name: str) -> None:
    recipe = load(f"tampering/{name}-imagenet").recipe
    network = build(recipe.model, input_shape=(3, 32, 32), num_classes=10, seed=0)
    ends = [norm for entry, norm in norms(network) if entry.endswith("bn3" if name.endswith("50") else "bn2")]
    assert len(ends) == {"seresnet18": 8, "seresnet50": 16}[name]
    assert not any(norm.get_parameter("weight").any() for norm in ends)


def test_section_with_another_name_takes_nothing_over() -> None:
    plain = load("temperature-check/resnet50-imagenet")
    assert plain.recipe.loss.name == "tempered"
    assert plain.origins["loss.label_smoothing"] == Origin("default")
    step = load("tampering/resnet50-imagenet-step").origins
    assert step["schedule.milestones"] == step["schedule.warmup_epochs"] == Origin("paper")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A library of one paper without recipes."""
    (tmp_path / "paper").mkdir()
    monkeypatch.setattr(recipe_library, "FOLDER", tmp_path)
    recipe_library.available.cache_clear()
    recipe_library._read.cache_clear()
    yield tmp_path / "paper"
    recipe_library.available.cache_clear()
    recipe_library._read.cache_clear()


def test_notes_of_a_value_win_over_those_of_its_section_and_of_the_recipe_that_it_is_like(folder: Path) -> None:
    (folder / "a.yaml").write_text(
        "purpose: p\nsource: s\nunknown: {optimizer: not said, optimizer.lr: nor this, epochs: nor these}\n"
        "recipe: {model: mlp-8, epochs: 3, optimizer: {lr: 0.3}, schedule: {cooldown_epochs: 1}}\n"
    )
    (folder / "b.yaml").write_text(
        "purpose: p\nsource: s\ndiffers: {optimizer.momentum: less there}\nlike: paper/a\n"
        "recipe: {epochs: 9, optimizer: {nesterov: false}, schedule: {name: step}}\n"
    )
    assert values("paper/b")["optimizer"] == {"lr": 0.3, "nesterov": False}
    origins = load("paper/b").origins
    assert origins["epochs"] == origins["optimizer.nesterov"] == Origin("paper")
    assert origins["optimizer.lr"] == Origin("our choice", "nor this")
    assert origins["optimizer.weight_decay"] == Origin("our choice", "not said")
    assert origins["optimizer.momentum"] == Origin("differs", "less there")
    assert origins["schedule.warmup_epochs"] == Origin("default")


def test_section_that_is_written_empty_has_its_defaults_and_none_of_the_notes(folder: Path) -> None:
    (folder / "a.yaml").write_text(
        "purpose: p\nsource: s\nunknown: {optimizer: not said}\nrecipe: {model: mlp-8, optimizer: {momentum: 0.3}}\n"
    )
    (folder / "b.yaml").write_text("purpose: p\nsource: s\nlike: paper/a\nrecipe: {optimizer: {}}\n")
    found = load("paper/b")
    assert found.recipe == Recipe(model="mlp-8")
    assert {origin.kind for path, origin in found.origins.items() if path.startswith("optimizer.")} == {"default"}


def test_note_about_no_value_is_an_error(folder: Path) -> None:
    (folder / "a.yaml").write_text("purpose: p\nsource: s\nunknown: {optimizer.lrr: not said}\n")
    with pytest.raises(ValueError, match=r"a note of paper/a must be about a value of its recipe, got optimizer\.lrr"):
        load("paper/a")


def test_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"got 'tampering/resnet-50'. Did you mean tampering/resnet50-imagenet\?"):
        load("tampering/resnet-50")
    with pytest.raises(ValueError, match="thermotune recipes lists them"):
        load("../../etc/passwd")


@pytest.mark.parametrize(
    ("name", "points"),
    [  # methods.md B.7 and C.4: epochs and learning rates
        ("tampering/resnet50-imagenet-50-epochs", {0: 4e-4, 2: 0.4, 46: 4e-4, 50: 4e-4}),
        ("tampering/resnet50-imagenet", {0: 4e-4, 5: 0.4, 90: 4e-4, 99: 4e-4}),
        ("tampering/resnet18-imagenet-step", {0: 4e-4, 5: 0.4, 30: 0.04, 60: 0.004, 90: 4e-4}),
        ("asymmetric/student-vgg8-cifar100", {1: 0.01, 5: 0.05, 149: 0.05, 150: 5e-3, 180: 5e-4, 210: 5e-5}),
    ],
)
def test_learning_rates_are_those_of_the_paper(name: str, points: dict[int, float]) -> None:
    recipe = load(name).recipe
    for epoch, lr in points.items():
        assert lr_at(recipe.schedule, recipe.optimizer.lr, epoch, recipe.epochs) == pytest.approx(lr, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "plain", "tampered"),
    [  # training minus test accuracy, which the paper prints beside them (methods.md B.7, tables 1 and 2)
        ("resnet18-imagenet-step", 0.246, 0.456),
        ("resnet18-imagenet", 0.172, 0.232),
        ("resnet50-imagenet-step", 3.02, 3.066),
        ("resnet50-imagenet", 2.62, 2.544),
        ("resnet101-imagenet", 4.394, 4.842),
        ("seresnet18-imagenet", 0.33, 0.164),
        ("seresnet50-imagenet", 4.282, 4.518),
        ("resnet18-nonorm-imagenet", 2.064, 2.174),
    ],
)
def test_published_accuracies_have_the_published_gap(name: str, plain: float, tampered: float) -> None:
    name = f"tampering/{name}"
    alpha = load(name).recipe.loss.model_dump()["alpha"]
    for setting, gap in (("alpha 1", plain), (f"alpha {alpha:g}", tampered)):
        both = [p for p in load(name).published if p.setting == setting]
        train, test = (100 * p.value for m in ("train", "test") for p in both if p.metric == f"{m}/accuracy")
        assert train - test == pytest.approx(gap, abs=1e-9)


@pytest.mark.parametrize(
    ("small", "method", "average"),
    [  # the column "avg" of tables 2 and 3 (methods.md C.4), over students and teachers
        (True, "cross-entropy", 68.24),
        (True, "KD from", 69.21),
        (True, "KD + ATS", 70.94),
        (False, "cross-entropy", 57.94),
        (False, "KD from", 58.89),
        (False, "KD + ATS", 60.88),
    ],
)
def test_published_accuracies_of_students_have_the_published_average(small: bool, method: str, average: float) -> None:
    names = [name for name in STUDENTS if name.endswith("cifar100") == small]
    found = [p.value for name in names for p in load(name).published if p.setting.startswith(method)]
    assert 100 * mean(found) == pytest.approx(average, abs=0.005)


@pytest.mark.parametrize("name", STUDENTS)
def test_student_has_a_packaged_teacher_of_its_data(name: str) -> None:
    student = load(name).recipe
    (teacher,) = student.names
    packaged = load(f"asymmetric/teacher-{teacher}-{student.dataset}").recipe
    assert packaged.dataset == student.dataset
    assert Teacher(recipe=packaged).recipe.names == ()


def test_names_and_purposes_need_no_torch() -> None:
    code = (
        "import sys; from trainables.recipe_library import available, load, purposes, values; purposes()\n"
        "[values(name) for name in available()]; load('temperature-check/wrn-cifar10')\n"
        "print({'torch', 'torchvision', 'timm'} & sys.modules.keys())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


FACTS: dict[str, tuple[tuple[int, ...], int, Storage]] = {  # shape of a sample, classes, storage
    "cifar10": ((3, 32, 32), 10, "packed"),
    "cifar100": ((3, 32, 32), 100, "packed"),
    "tiny-imagenet": ((3, 64, 64), 200, "packed"),
    "imagenet": ((3, 224, 224), 1000, "streamed"),
    "cub200": ((3, 224, 224), 200, "streamed"),
    "dogs": ((3, 224, 224), 120, "streamed"),
    "imdb": ((400,), 2, "packed"),
}


@pytest.mark.parametrize("name", available())
def test_packaged_recipe_fits_its_data_and_so_does_its_network(name: str) -> None:
    recipe = load(name).recipe
    shape, classes, storage = FACTS[recipe.dataset]
    assert classes == DATASETS[recipe.dataset].classes
    text = len(shape) == 1
    data = PackedDataset(
        folder=Path(),
        name=recipe.dataset,
        digest="",
        num_classes=classes,
        input_shape=shape,
        mean=(),
        std=(),
        sizes=dict.fromkeys(SPLITS, 10_000),
        split_seed=0,
        kind="text" if text else "images",
        storage=storage,
        class_names=(),
        vocabulary=20_000 if text else None,
        source="",
    )
    assert misfits(recipe, data) == []
    with torch.device("meta"):
        network = make(recipe.model, input_shape=shape, num_classes=classes, vocabulary=data.vocabulary)
        samples = torch.zeros((2, *shape), dtype=torch.int32 if text else torch.float32)
        assert network.eval()(samples).shape == (2, classes)
