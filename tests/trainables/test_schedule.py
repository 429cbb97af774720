from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.engine.schedule import lr_at
from trainables.recipe import Schedule

PAPER = Schedule(warmup_epochs=2, cooldown_epochs=4, floor=1e-3)


@pytest.mark.parametrize(
    ("epoch", "lr"),
    [(0, 4e-4), (1, (4e-4 + 0.4) / 2), (2, 0.4), (24, (4e-4 + 0.4) / 2), (46, 4e-4), (48.5, 4e-4), (50, 4e-4)],
)
def test_the_grid_of_the_paper_has_its_values(epoch: float, lr: float) -> None:
    assert lr_at(PAPER, 0.4, epoch, 50) == pytest.approx(lr, rel=1e-14)


def test_the_peak_is_exact() -> None:
    assert lr_at(PAPER, 0.4, 2, 50) == 0.4
    assert lr_at(Schedule(), 0.1, 0, 27) == 0.1


@given(st.floats(2, 46))
def test_between_warmup_and_cooldown_it_is_a_cosine(epoch: float) -> None:
    expected = 4e-4 + (0.4 - 4e-4) * 0.5 * (1 + math.cos(math.pi * (epoch - 2) / 44))
    assert lr_at(PAPER, 0.4, epoch, 50) == pytest.approx(expected, rel=1e-9)


@given(st.floats(0, 10), st.floats(0, 10), st.floats(0, 1), st.floats(0, 1))
def test_it_stays_between_floor_and_peak(warmup: float, cooldown: float, floor: float, place: float) -> None:
    schedule = Schedule(warmup_epochs=warmup, cooldown_epochs=cooldown, floor=floor)
    assert floor * 0.4 * (1 - 1e-12) <= lr_at(schedule, 0.4, 20 * place, 20) <= 0.4 * (1 + 1e-12)


def test_a_run_of_warmup_and_cooldown_only_has_no_cosine() -> None:
    schedule = Schedule(warmup_epochs=2, cooldown_epochs=2, floor=0.1)
    assert [lr_at(schedule, 1.0, epoch, 4) for epoch in (0, 1, 2, 3)] == pytest.approx([0.1, 0.55, 0.1, 0.1])
