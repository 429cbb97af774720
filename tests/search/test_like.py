from __future__ import annotations

from search.like import expand
from trainables.recipe import Recipe

PAPER = "tampering/resnet20-cifar10"


def test_section_beside_like_keeps_what_it_does_not_write() -> None:
    found = expand({"recipe": {"like": PAPER, "augment": {"pad": 2}}}, "a.yaml")
    assert found.raw["recipe"]["augment"] == {"pad": 2, "flip": True}
    assert "recipe.augment.pad" not in found.origins
    assert found.origins["recipe.augment.flip"] == PAPER


def test_name_that_the_packaged_section_has_keeps_its_values() -> None:
    found = expand({"recipe": {"like": PAPER, "schedule": {"name": "cosine", "cooldown_epochs": 4}}}, "a.yaml")
    assert found.raw["recipe"]["schedule"] == {
        "name": "cosine",
        "warmup_epochs": 5,
        "cooldown_epochs": 4,
        "floor": 0.001,
    }


def test_empty_section_beside_like_means_that_sections_defaults() -> None:
    recipe = {"like": PAPER, "augment": {}}
    found = expand({"recipe": recipe, "teachers": {"big": {"recipe": recipe}}}, "a.yaml")
    for where, raw in (
        ("recipe", found.raw["recipe"]),
        ("teachers.big.recipe", found.raw["teachers"]["big"]["recipe"]),
    ):
        assert Recipe.model_validate(raw).augment == Recipe().augment
        assert not any(path.startswith(f"{where}.augment") for path in found.origins)
        assert found.origins[f"{where}.model"] == PAPER
    assert not found.mistakes
