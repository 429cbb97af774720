from __future__ import annotations

from typing import Any

import pytest

from trainables.recipe import Recipe
from trainables.values import begun_anew, flatten, varied, with_values


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("loss", "tempered", {"beta": 0.5}),
        ("optimizer", "sgd", {"momentum": 0.5}),
        ("schedule", "cosine", {"warmup_epochs": 5}),
    ],
)
def test_name_that_a_section_has_by_default_keeps_its_values(section: str, name: str, value: dict[str, Any]) -> None:
    assert Recipe().model_dump()[section]["name"] == name
    assert varied({section: value}, {f"{section}.name": name}) == {section: {**value, "name": name}}


def test_value_beside_the_default_name_joins_those_of_the_section() -> None:
    changes = {"schedule.name": "cosine", "schedule.cooldown_epochs": 4}
    found = varied({"schedule": {"warmup_epochs": 5}}, changes)
    assert Recipe.model_validate(found).schedule.model_dump() == {
        "name": "cosine",
        "warmup_epochs": 5,
        "cooldown_epochs": 4,
        "floor": 1e-3,
    }


@pytest.mark.parametrize("before", [{"warmup_epochs": 5}, {"name": "cosine", "warmup_epochs": 5}])
def test_another_name_leaves_nothing_of_the_section(before: dict[str, Any]) -> None:
    changes = {"schedule": {"name": "step", "factor": 0.2}}
    assert varied({"epochs": 9, "schedule": before}, changes) == {
        "epochs": 9,
        "schedule": {"name": "step", "factor": 0.2},
    }
    assert begun_anew({"schedule": before}, changes) == {"schedule"}


def test_empty_section_means_its_defaults() -> None:
    recipe = {"augment": {"pad": 4, "flip": True}, "loss": {"name": "tampered", "alpha": 0.25}, "epochs": 9}
    found = varied(recipe, {"augment": {}, "loss": {}})
    assert Recipe.model_validate(found) == Recipe(epochs=9)


def test_changes_are_as_good_nested_as_by_path_and_leave_the_recipe_alone() -> None:
    recipe = {"augment": {"pad": 4, "flip": True}}
    assert varied(recipe, {"augment": {"pad": 2}}) == varied(recipe, {"augment.pad": 2})
    assert varied(recipe, {"augment": {"pad": 2}}) == {"augment": {"pad": 2, "flip": True}}
    assert recipe == {"augment": {"pad": 4, "flip": True}}


def test_leaves_are_values_and_not_empty_mappings() -> None:
    tree = {"a": {"b": 3, "d": {"e": None}}, "c": [], "f": {}}
    assert flatten(tree) == {"a.b": 3, "a.d.e": None, "c": []}
    assert with_values({}, flatten(tree)) == {"a": {"b": 3, "d": {"e": None}}, "c": []}
