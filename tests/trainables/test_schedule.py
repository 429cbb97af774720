from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.engine.schedule import lr_at
from trainables.recipe import Cosine, EpochWise, Recipe, Step

PAPER = Cosine(warmup_epochs=2, cooldown_epochs=4, floor=1e-3)


@pytest.mark.parametrize(
    ("epoch", "lr"),
    [(0, 4e-4), (1, (4e-4 + 0.4) / 2), (2, 0.4), (24, (4e-4 + 0.4) / 2), (46, 4e-4), (48.5, 4e-4), (50, 4e-4)],
)
def test_the_grid_of_the_paper_has_its_values(epoch: float, lr: float) -> None:
    assert lr_at(PAPER, 0.4, epoch, 50) == pytest.approx(lr, rel=1e-14)


def test_the_peak_is_exact() -> None:
    assert lr_at(PAPER, 0.4, 2, 50) == 0.4
    assert lr_at(Cosine(), 0.1, 0, 27) == 0.1


@given(st.floats(2, 46))
def test_between_warmup_and_cooldown_it_is_a_cosine(epoch: float) -> None:
    expected = 4e-4 + (0.4 - 4e-4) * 0.5 * (1 + math.cos(math.pi * (epoch - 2) / 44))
    assert lr_at(PAPER, 0.4, epoch, 50) == pytest.approx(expected, rel=1e-9)


@given(st.floats(0, 10), st.floats(0, 10), st.floats(0, 1), st.floats(0, 1))
def test_it_stays_between_floor_and_peak(warmup: float, cooldown: float, floor: float, place: float) -> None:
    schedule = Cosine(warmup_epochs=warmup, cooldown_epochs=cooldown, floor=floor)
    assert floor * 0.4 * (1 - 1e-12) <= lr_at(schedule, 0.4, 20 * place, 20) <= 0.4 * (1 + 1e-12)


def test_a_run_of_warmup_and_cooldown_only_has_no_cosine() -> None:
    schedule = Cosine(warmup_epochs=2, cooldown_epochs=2, floor=0.1)
    assert [lr_at(schedule, 1.0, epoch, 4) for epoch in (0, 1, 2, 3)] == pytest.approx([0.1, 0.55, 0.1, 0.1])


STEP = Step(name="step", warmup_epochs=5, milestones=(30, 60, 90))


@pytest.mark.parametrize(
    ("epoch", "lr"), [(0, 4e-4), (5, 0.4), (29.99, 0.4), (30, 0.04), (60, 0.004), (90, 4e-4), (99, 4e-4)]
)
def test_the_step_schedule_of_the_paper_has_its_values(epoch: float, lr: float) -> None:
    assert lr_at(STEP, 0.4, epoch, 100) == pytest.approx(lr, rel=1e-12)


@pytest.mark.parametrize(("epoch", "lr"), [(0, 4e-4), (5, 0.4), (47.5, (0.4 + 4e-4) / 2), (90, 4e-4), (100, 4e-4)])
def test_the_long_cosine_schedule_of_the_paper_has_its_values(epoch: float, lr: float) -> None:
    assert lr_at(Cosine(warmup_epochs=5, cooldown_epochs=10), 0.4, epoch, 100) == pytest.approx(lr, rel=1e-12)


@pytest.mark.parametrize(
    ("epoch", "lr"),
    [
        *((0, 1e-8), (0.9, 1e-8), (1, 0.01 * 1.000001), (5, 0.05 * (1 + 2e-7)), (6, 0.05)),
        *((120, 0.05), (149.9, 0.05), (150, 5e-3), (180, 5e-4), (210, 5e-5), (239, 5e-5)),
    ],
)
def test_the_epochwise_schedule_is_that_of_the_asymmetric_temperature_code(epoch: float, lr: float) -> None:
    assert lr_at(EpochWise(name="epochwise"), 0.05, epoch, 240) == pytest.approx(lr, rel=1e-12)


def test_a_recipe_chooses_its_schedule_by_name() -> None:
    recipe = Recipe.model_validate({"epochs": 100, "schedule": {"name": "step", "milestones": [50]}})
    assert recipe.schedule == Step(name="step", milestones=(50,))
    assert isinstance(Recipe().schedule, Cosine)
    with pytest.raises(ValueError, match="must fit into the run, got 5 of 3"):
        Recipe.model_validate({"epochs": 3, "schedule": {"name": "epochwise"}})
