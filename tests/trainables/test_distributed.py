"""Several processes train one trial: the numbers are those of a single process. Real processes, without Ray."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.trainables.processes import RankProcesses, in_double, member
from trainables import Recipe, TrialConfig, TrialSession
from trainables.engine import Training
from trainables.engine.loop import LoopExecutor
from trainables.engine.ranks import RankLost, Ranks, turns_of
from trainables.engine.shared_norm import SharedBatchNorm, with_shared_norms
from trainables.engine.state import LaneState
from trainables.models.frozen import OnTopOf
from trainables.recipe import Sgd, Teacher
from trainables.teachers import Shelf

Values = dict[str, Any]

PLAIN: Values = {"model": "mlp-16", "batch_size": 64, "epochs": 2, "train_samples": 300, "optimizer": {"lr": 0.05}}
NET: Values = {"model": "resnet-8", "batch_size": 20, "epochs": 1, "train_samples": 41, "optimizer": {"lr": 0.02}}
SHARED = {"compute": {"sync_batch_norm": True}}
TAUGHT = {"name": "distilled", "teacher": "big", "tau1": 4.0, "gap": 1.0, "weight": 0.6}
CHANGED = {"augment": {"pad": 1, "flip": True, "cutout": 2}}
MIXED = {"augment": {"pad": 1, "flip": True, "cutout": 2, "mixup": 0.4}}
TEACHERS: Values = {"big": {"recipe": {"model": "mlp-24", "batch_size": 64, "epochs": 1}}}


@pytest.fixture(scope="module")
def pair() -> Iterator[RankProcesses]:
    processes = RankProcesses(2)
    yield processes
    processes.close()


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> str:
    """With the teacher."""
    folder = str(tmp_path_factory.mktemp("root") / "teachers")
    recipe = TEACHERS["big"]["recipe"]
    config = TrialConfig(
        trial="t0001", recipe=recipe, seeds=(0,), teachers=TEACHERS, shelf=folder, publish="big", report_every_s=100
    )
    assert TrialSession(config).advance()["finished"]
    return folder


@dataclass
class Run:
    """All numbers of a run."""

    metrics: list[dict[str, float]]
    divergence: tuple[int, int] | None
    network: dict[str, torch.Tensor]

    def distance(self, other: Run) -> float:
        """The largest difference of any number, relative to those above 1; both must have the same ones."""
        assert [lane.keys() for lane in self.metrics] == [lane.keys() for lane in other.metrics]
        assert self.network.keys() == other.network.keys()
        mine, theirs = self._flat(), other._flat()
        return float(((mine - theirs).abs() / theirs.abs().clamp(min=1)).max())

    def _flat(self) -> torch.Tensor:
        numbers = torch.tensor([value for lane in self.metrics for value in lane.values()], dtype=torch.float64)
        return torch.cat([numbers, *[values.double().flatten() for values in self.network.values()]])


def trained(ranks: Ranks | None, recipe: Values, shelf: str | None = None, double: bool = True) -> Run:
    """A run of two lanes to its end."""
    if double:
        with in_double():
            return trained(ranks, recipe, shelf, double=False)
    teachers = {name: Teacher.model_validate(values) for name, values in TEACHERS.items()}
    run = Training(
        Recipe.model_validate(recipe),
        [0, 1],
        test=True,
        teachers=teachers,
        shelf=None if shelf is None else Shelf(shelf),
        ranks=ranks,
    )
    metrics = []
    while not run.finished and run.divergence is None:
        metrics += [report.metrics for report in run.train_epoch()]
    divergence = None if run.divergence is None else (run.divergence.epoch, run.divergence.step)
    return Run(metrics, divergence, run.lane_state_dict(0))


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(PLAIN | {"loss": {"name": "tempered", "beta": 0.5, "label_smoothing": 0.1}}, id="tempered"),
        pytest.param(PLAIN | {"loss": {"name": "tempered", "beta": 2.0, "logit_norm": 1.0}}, id="logit norm"),
        pytest.param(PLAIN | {"loss": {"name": "tampered", "alpha": 0.4}}, id="tampered"),
        pytest.param(PLAIN | {"loss": TAUGHT}, id="distilled"),
        pytest.param(PLAIN | {"loss": TAUGHT} | CHANGED, id="distilled, augmented"),
        pytest.param(PLAIN | MIXED, id="mixup"),
        pytest.param(PLAIN | MIXED | {"train_samples": 257}, id="mixup, one sample left"),
        pytest.param(PLAIN | {"train_samples": 259}, id="three samples left"),
        pytest.param(PLAIN | {"optimizer": {"name": "adamw", "clip_norm": 0.1}, "ema_decay": 0.9}, id="adamw, ema"),
        pytest.param(PLAIN | {"members": 2, "base": "big"}, id="members on a base"),
        pytest.param(
            PLAIN | {"diagnostics": {"theory": True, "probe_samples": 2}}, id="theory", marks=pytest.mark.slow
        ),
        pytest.param(NET | SHARED | {"ema_decay": 0.9}, id="batch norm"),
    ],
)
def test_two_processes_give_the_numbers_of_one(pair: RankProcesses, shelf: str, recipe: Values) -> None:
    first, second = pair.call(trained, recipe, shelf)
    expected = trained(None, recipe, shelf)
    assert expected.divergence is first.divergence is None
    assert first.distance(expected) < 1e-10
    assert first.distance(second) == 0


@pytest.mark.parametrize("layers", ["all", "last"])
def test_the_gate_goes_by_the_gradients_of_the_whole_batch(pair: RankProcesses, shelf: str, layers: str) -> None:
    """With a cosine that opens it in some steps only: shares would disagree with the batch, and with each other."""
    recipe = PLAIN | {"batch_size": 20, "loss": TAUGHT | {"agreement": 0.55, "agreement_layers": layers}}
    first, _ = pair.call(trained, recipe, shelf)
    expected = trained(None, recipe, shelf)
    assert 0 < expected.metrics[0]["train/distilled_steps"] < 1
    assert first.distance(expected) < 1e-10


@pytest.mark.parametrize(
    ("precision", "values", "tolerance"),
    [("fp32", NET | {"train_samples": 40}, 1e-6), ("bf16", PLAIN, 0.02), ("fp16", PLAIN, 0.005)],
)
def test_rounding_stays_rounding(pair: RankProcesses, precision: str, values: Values, tolerance: float) -> None:
    recipe = values | {"compute": {"precision": precision, "sync_batch_norm": True}, "epochs": 1}
    first, second = pair.call(trained, recipe, None, False)
    assert first.distance(trained(None, recipe, double=False)) < tolerance
    assert first.distance(second) == 0


def test_without_shared_norms_the_statistics_of_shares_are_averaged(pair: RankProcesses) -> None:
    """After one step from the same start, the mean over the ranks of the shares' means is that of the batch."""
    recipe = NET | {"train_samples": 20}
    first, second = pair.call(trained, recipe)
    alone = trained(None, recipe)
    assert first.distance(second) == 0
    assert first.distance(alone) > 1e-6  # it was normalised with the means of the share
    torch.testing.assert_close(first.network["norm.running_mean"], alone.network["norm.running_mean"])


@pytest.mark.parametrize("values", [{"optimizer": {"lr": 1e6}}, {"optimizer": {"lr": 1e30}}])
def test_a_divergence_ends_all_ranks_at_the_step_of_the_single_process(pair: RankProcesses, values: Values) -> None:
    alone = trained(None, PLAIN | values).divergence
    assert alone is not None
    assert [found.divergence for found in pair.call(trained, PLAIN | values)] == [alone, alone]


def test_random_layers_draw_other_numbers_in_every_rank(pair: RankProcesses) -> None:
    first, second = pair.call(dropped)
    assert first != second
    assert first == dropped(None)


def dropped(ranks: Ranks | None) -> list[bool]:
    """Which units a dropout layer drops in the first step, for equal inputs."""
    network = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(32, 2))
    executor = LoopExecutor([network], LaneState([network], torch.device("cpu")), Sgd(), seeds=[7], ranks=ranks)
    seen = []
    network[0].register_forward_hook(lambda layer, inputs, outputs: seen.append((outputs == 0).flatten().tolist()))
    share = None if ranks is None else ranks.share_of(2)
    executor.train_step([torch.ones(1, 32)], [lambda logits: logits.square().mean()], 0.1, share)
    return seen[0]


# Data


@given(samples=st.integers(1, 200), batch_size=st.integers(1, 70), count=st.integers(1, 9), neighbours=st.booleans())
def test_shares_make_up_every_batch(samples: int, batch_size: int, count: int, neighbours: bool) -> None:
    group = [member(rank, count) for rank in range(count)]
    found = [turns_of(samples, batch_size, ranks, with_neighbours=neighbours) for ranks in group]
    for step, first in enumerate(range(0, samples, batch_size)):
        batch = list(range(first, min(first + batch_size, samples)))
        shares, places = [], []
        for rows, turns in found:
            share, needed = turns[step].share, rows[turns[step].rows].tolist()  # type: ignore[index, union-attr]
            assert share is not None
            assert share.batch == len(batch)
            mine = needed[len(needed) - share.samples :]
            if neighbours and share.samples < len(batch):
                assert needed[0] == batch[batch.index(mine[0]) - 1]
                assert len(needed) == share.samples + 1
            else:
                assert needed == mine
            shares.append(share)
            places += mine
        assert math.isclose(sum(share.weight for share in shares), 1)
        assert all(share.samples >= 1 for share in shares)
        copies = count if len(batch) < count else 1
        assert sorted(places) == sorted(batch * copies)
        assert all(share.copies == copies for share in shares)
        assert all(math.isclose(share.weight * copies * len(batch), share.samples) for share in shares)
    assert all(len(turns) == -(-samples // batch_size) for _, turns in found)


@given(samples=st.integers(0, 200), count=st.integers(1, 9))
def test_parts_make_up_a_split(samples: int, count: int) -> None:
    parts = [list(range(samples))[member(rank, count).part_of(samples)] for rank in range(count)]
    assert [sample for part in parts for sample in part] == list(range(samples))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


# Checkpoints


def session_epochs(ranks: Ranks | None, config: Values, calls: int) -> list[dict[str, Any]]:
    """Reports of a session that is then let go."""
    session = TrialSession(TrialConfig.from_dict(config), ranks=ranks)
    return [session.advance() for _ in range(calls)]


def test_a_trial_goes_on_with_another_number_of_processes(pair: RankProcesses, tmp_path: Path) -> None:
    recipe = PLAIN | {"epochs": 5, "ema_decay": 0.9, "optimizer": {"name": "adamw"}} | MIXED
    config = {"trial": "t0001", "recipe": recipe, "seeds": [0, 1], "report_every_s": 0.0}
    expected = [row["metrics"] for report in session_epochs(None, config, 5) for row in report["epochs"]]
    kept = config | {"checkpoints": str(tmp_path)}
    session_epochs(None, kept, 2)
    first, second = pair.call(session_epochs, kept, 3)
    assert [report["attempt_start"] for report in first] == [report["attempt_start"] for report in second] == [2, 2, 2]
    last = session_epochs(None, kept, 2)
    assert last[0]["attempt_start"] == 4
    found = [row["metrics"] for report in last for row in report["epochs"]]
    assert last[-1]["finished"]
    for mine, theirs in zip(found, expected, strict=True):
        assert mine == pytest.approx(theirs, abs=2e-5)


def test_only_rank_0_writes_and_tells_the_others_what_it_read(pair: RankProcesses, tmp_path: Path) -> None:
    config = {"trial": "t0001", "recipe": PLAIN, "seeds": [0], "report_every_s": 0.0}
    pair.call(session_in_own_folder, config, str(tmp_path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["rank-0"]
    first, second = pair.call(session_in_own_folder, config, str(tmp_path))
    assert first["attempt_start"] == second["attempt_start"] == 1


def session_in_own_folder(ranks: Ranks, config: Values, folder: str) -> dict[str, Any]:
    """The first report of a session whose rank has a disk of its own."""
    return session_epochs(ranks, config | {"checkpoints": f"{folder}/rank-{ranks.rank}"}, 1)[0]


def test_a_teacher_is_published_once(pair: RankProcesses, tmp_path: Path) -> None:
    config = {"trial": "t0001", "recipe": PLAIN, "seeds": [0], "teachers": {"big": {"recipe": PLAIN}}}
    pair.call(session_epochs, config | {"shelf": str(tmp_path), "publish": "big", "report_every_s": 100}, 1)
    assert len(Shelf(tmp_path).all()) == 1


# What cannot be


def test_a_batch_that_cannot_be_shared_evenly_is_refused(pair: RankProcesses) -> None:
    with pytest.raises(ValueError, match="must be a multiple of 2, got 63; take 64"):
        pair.call(trained, PLAIN | {"batch_size": 63})


def test_only_plain_norms_of_what_is_trained_are_shared() -> None:
    network, base = (torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3)) for _ in range(2))
    names = [*OnTopOf(network, base, 1.0).state_dict()]
    shared = with_shared_norms(OnTopOf(network, base, 1.0), member(0, 2))
    norms = {name: type(module) for name, module in shared.named_modules() if name.endswith(".1")}
    assert norms == {"network.1": SharedBatchNorm, "base.1": torch.nn.BatchNorm1d}
    assert [*shared.state_dict()] == names
    with pytest.raises(ValueError, match="must be false for a network with SyncBatchNorm"):
        with_shared_norms(torch.nn.Sequential(torch.nn.SyncBatchNorm(3)), member(0, 2))


def test_norms_that_wait_for_others_are_not_compiled() -> None:
    with pytest.raises(ValueError, match="compile must be false with sync_batch_norm"):
        Recipe.model_validate({"compute": {"compile": True, "sync_batch_norm": True}})


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_the_other_soon() -> None:
    processes = RankProcesses(2)
    try:
        began = time.monotonic()
        with pytest.raises(RankLost, match="another process of this trial does not answer"):
            processes.call(killed_in_the_middle)
        assert time.monotonic() - began < 30
    finally:
        processes.close()


def killed_in_the_middle(ranks: Ranks) -> None:
    """Rank 1 dies in its third step."""
    run = Training(Recipe.model_validate(PLAIN), [0], ranks=ranks)
    for step, batches in enumerate(run.data.epoch([0], 1)):
        if ranks.rank == 1 and step == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        share = batches[0].share
        assert share is not None
        with ranks.in_step(share):
            ranks.mean_over_batch(torch.ones(1000))
