"""Checkpoints, sessions and the Ray trial."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydantic
import pytest
import torch

from results.places import Place, names_in, place, publish
from tests.s3 import client, make_bucket
from trainables import Recipe, TrialConfig, TrialSession, checkpoint, prepare, storage
from trainables.data import prepared
from trainables.engine import Training, feed
from trainables.session import prepare_data


@pytest.fixture(params=["here", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where checkpoints are: on this machine, or behind a real S3 interface."""
    return tmp_path if request.param == "here" else place(f"s3://{request.getfixturevalue('bucket')}/{tmp_path.name}")


def settled(folder: Place, count: int) -> list[str]:
    """Names in a folder from which a thread removes some, when so many are left."""
    deadline = time.monotonic() + 10
    while len(names := names_in(folder)) > count and time.monotonic() < deadline:
        time.sleep(0.01)
    return names


RECIPE = {"model": "mlp-16", "batch_size": 64, "epochs": 6}


def config(**values: Any) -> TrialConfig:
    plain = {"trial": "t0001", "recipe": RECIPE, "seeds": [0, 1], "return_at": [1, 3], "report_every_s": 1e9}
    return TrialConfig.from_dict(plain | values)


def all_reports(session: TrialSession) -> list[dict[str, Any]]:
    reports = [session.advance()]
    while not reports[-1]["finished"] and reports[-1]["divergence"] is None:
        reports.append(session.advance())
    return reports


def rows(reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows without their times, which differ from run to run."""
    return [{k: v for k, v in row.items() if k != "epoch_time_s"} for report in reports for row in report["epochs"]]


def test_the_data_of_a_trial_are_packed_before_it_is_taken_up(tmp_path: Path) -> None:
    prepare_data(config(data_root=str(tmp_path)))
    assert prepared(tmp_path) == ["digits"]


def test_a_config_survives_json_types() -> None:
    full = config(checkpoints="/tmp/x", threads=2, test=True)
    assert TrialConfig.from_dict(full.to_dict()) == full
    assert full.to_dict()["seeds"] == [0, 1]


def test_mistakes_in_a_config_are_reported_together() -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        config(sedes=[1], threads="many")
    assert {error["loc"] for error in caught.value.errors()} == {("sedes",), ("threads",)}


def test_advance_returns_at_the_rungs_and_at_the_end() -> None:
    reports = all_reports(TrialSession(config()))
    assert [[row["epoch"] for row in report["epochs"]] for report in reports] == [
        [1, 1],
        [2, 2, 3, 3],
        [4, 4, 5, 5, 6, 6],
    ]
    assert [report["finished"] for report in reports] == [False, False, True]
    assert all(report["trial"] == "t0001" and report["attempt_start"] == 0 for report in reports)
    assert set(reports[0]["epochs"][0]) == {"epoch", "lane", "seed", "epoch_time_s", "metrics"}


def test_advance_returns_when_its_time_is_up() -> None:
    reports = all_reports(TrialSession(config(report_every_s=0, return_at=[])))
    assert [len(report["epochs"]) for report in reports] == [2] * 6


def test_after_the_end_advance_trains_nothing() -> None:
    session = TrialSession(config())
    last = all_reports(session)[-1]
    assert session.advance() == last | {"epochs": []}


@pytest.mark.parametrize("stops", [1, 2, 3])
def test_a_restarted_trial_reports_what_is_known_and_then_goes_on_as_if_uninterrupted(
    folder: Place, stops: int
) -> None:
    expected = rows(all_reports(TrialSession(config())))
    killed = TrialSession(config(checkpoints=str(folder / "t0001")), place)
    before = [killed.advance() for _ in range(stops)]
    session = TrialSession(config(checkpoints=str(folder / "t0001")), place)
    first = session.advance()
    assert first["attempt_start"] == before[-1]["epochs"][-1]["epoch"]
    assert first["epochs"] == [row for report in before for row in report["epochs"]]
    assert first["finished"] == before[-1]["finished"]
    after = [] if first["finished"] else all_reports(session)
    assert all(report["attempt_start"] == first["attempt_start"] for report in after)
    assert rows([first, *after]) == expected


@pytest.mark.parametrize(
    "other", [{"seeds": [0]}, {"recipe": RECIPE | {"epochs": 7}}, {"test": True}, {"max_loss": 10.0}]
)
def test_a_checkpoint_of_another_run_is_ignored(tmp_path: Path, other: dict[str, Any]) -> None:
    folder = str(tmp_path)
    all_reports(TrialSession(config(checkpoints=folder)))
    session = TrialSession(config(checkpoints=folder, **other))
    report = session.advance()
    assert report["attempt_start"] == 0
    assert {row["epoch"] for row in report["epochs"]} == {1}
    again = TrialSession(config(checkpoints=folder, **other)).advance()
    assert again["attempt_start"] == 1
    assert again["epochs"] == report["epochs"]


def test_defaults_written_out_are_the_same_recipe(tmp_path: Path) -> None:
    TrialSession(config(checkpoints=str(tmp_path))).advance()
    session = TrialSession(config(checkpoints=str(tmp_path), recipe=RECIPE | {"loss": {"name": "tempered", "beta": 1}}))
    assert session.advance()["attempt_start"] == 1


@pytest.mark.parametrize("keep", [0, 0.5, 0.99])
def test_a_torn_newest_checkpoint_falls_back_to_the_older_one(folder: Place, keep: float) -> None:
    session = TrialSession(config(checkpoints=str(folder)), place)
    reports = [session.advance(), session.advance()]
    newest = folder / "epoch-000003.pt"
    content = newest.read_bytes()
    publish({newest: content[: int(keep * len(content))]})
    with pytest.warns(UserWarning, match=r"epoch-000003\.pt cannot be read"):
        again = TrialSession(config(checkpoints=str(folder)), place)
    first = again.advance()
    assert first["attempt_start"] == 1
    assert rows([first, *all_reports(again)]) == rows([*reports, *all_reports(session)])


def test_a_flipped_bit_in_a_checkpoint_is_noticed(folder: Place) -> None:
    accept = lambda payload: True  # noqa: E731
    tensor = torch.arange(1000.0)
    checkpoint.save(folder, 1, {"x": tensor})
    file = checkpoint.save(folder, 2, {"x": tensor + 1})
    content = bytearray(file.read_bytes())
    content[content.index((tensor + 1).numpy().tobytes()) + 100] ^= 1
    file.write_bytes(bytes(content))
    with pytest.warns(UserWarning, match="cannot be read"):
        found = checkpoint.load_newest(folder, accept)
    assert found is not None
    assert torch.equal(found["x"], tensor)


def test_no_readable_checkpoint_gives_none(folder: Place) -> None:
    assert checkpoint.load_newest(folder / "missing", lambda payload: True) is None
    checkpoint.save(folder, 1, {"x": 1})
    assert checkpoint.load_newest(folder, lambda payload: False) is None


def test_the_newest_two_checkpoints_are_kept(folder: Place) -> None:
    for epoch in (1, 2, 5):
        checkpoint.save(folder, epoch, {"epoch": epoch})
    assert settled(folder, 2) == ["epoch-000002.pt", "epoch-000005.pt"]
    checkpoint.save(folder, 3, {"epoch": 3})
    assert settled(folder, 2) == ["epoch-000002.pt", "epoch-000003.pt"]


def test_no_checkpoint_is_lost_where_saving_is_faster_than_removing(bucket: str, tmp_path: Path) -> None:
    folder = place(f"s3://{bucket}/{tmp_path.name}")
    for epoch in range(1, 9):
        checkpoint.save(folder, epoch, {"epoch": epoch})
    assert settled(folder, 2) == ["epoch-000007.pt", "epoch-000008.pt"]


@pytest.mark.parametrize("checkpoints", [True, False])
def test_divergence_is_reported_and_reported_again_after_a_restart(tmp_path: Path, checkpoints: bool) -> None:
    values = {
        "recipe": RECIPE | {"optimizer": {"lr": 1e6}},
        "checkpoints": str(tmp_path) if checkpoints else None,
    }
    report = all_reports(TrialSession(config(**values)))[-1]
    assert report["divergence"]["reason"].startswith("train/loss")
    assert set(report["divergence"]) == {"epoch", "step", "lane", "reason"}
    assert not report["finished"]
    session = TrialSession(config(**values))
    again = session.advance()
    assert again["divergence"] == report["divergence"]
    assert again["attempt_start"] == (report["divergence"]["epoch"] if checkpoints else 0)
    assert session.advance()["epochs"] == []
    assert math.isnan(again["epochs"][-1]["metrics"]["train/loss"]) or again["epochs"][-1]["metrics"]["train/loss"] > 1


def test_a_bad_recipe_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="Did you mean mlp-16"):
        TrialSession(config(recipe=RECIPE | {"model": "mpl-16"}))
    with pytest.raises(pydantic.ValidationError, match="loss"):
        TrialSession(config(recipe=RECIPE | {"loss": {"name": "tempered", "beta": -1}}))


def test_ray_trial_reports_like_the_session_and_can_be_reused() -> None:
    pytest.importorskip("ray", reason="trainables run without Ray, and so do their tests")
    from trainables.trial import REPORT_KEY, StudyTrial

    trial = StudyTrial(config=config().to_dict())
    results = [trial.step() for _ in range(3)]
    reports = [report for result in results for report in result[REPORT_KEY]]
    assert rows(reports) == rows(all_reports(TrialSession(config())))
    assert not any("done" in result for result in results)
    assert trial.reset_config(config(trial="t0002", seeds=[5], threads=2).to_dict()) is True
    assert torch.get_num_threads() == 2
    (report,) = trial.step()[REPORT_KEY]
    assert report["trial"] == "t0002"
    assert [row["seed"] for row in report["epochs"]] == [5]
    trial.stop()


def test_ray_trial_waits_without_training_until_it_gets_a_trial() -> None:
    pytest.importorskip("ray", reason="trainables run without Ray, and so do their tests")
    from trainables.trial import PLACEHOLDER, REPORT_KEY, StudyTrial

    trial = StudyTrial(config=dict(PLACEHOLDER))
    assert trial.step() == {}
    assert trial.reset_config(config().to_dict()) is True
    assert trial.step()[REPORT_KEY][0]["trial"] == "t0001"
    trial.stop()


def test_ray_trial_trains_nothing_on_a_machine_that_does_not_meet_its_terms() -> None:
    pytest.importorskip("ray", reason="trainables run without Ray, and so do their tests")
    from trainables.distributed import RankProcess
    from trainables.trial import StudyTrial

    asked = []

    def admit(terms: dict[str, Any] | None) -> None:
        asked.append(terms)
        raise RuntimeError("not here")

    class Choosy(StudyTrial):
        pass

    Choosy.admit = staticmethod(admit)
    told = config(terms={"torch": "2.15.0"}).to_dict()
    with pytest.raises(RuntimeError, match="not here"):
        Choosy(config=told)
    rank = RankProcess(0, Path, admit)
    with pytest.raises(RuntimeError, match="not here"):
        rank.prepare(told)
    assert asked == [{"torch": "2.15.0"}] * 2


def test_a_session_reports_the_numbers_of_the_engine() -> None:
    session = TrialSession(config())
    training = Training(Recipe.model_validate(RECIPE), [0, 1])
    expected = [report.metrics for _ in range(6) for report in training.train_epoch()]
    assert [row["metrics"] for row in rows(all_reports(session))] == expected


def test_a_trial_killed_in_the_middle_of_an_epoch_continues_with_the_same_numbers(tmp_path: Path) -> None:
    recipe = {
        "model": "resnet-8",
        "batch_size": 20,
        "train_samples": 200,
        "epochs": 3,
        "augment": {"pad": 1, "flip": True, "cutout": 2},
        "compute": {"precision": "bf16"},
        "ema_decay": 0.9,
    }
    whole = all_reports(TrialSession(config(recipe=recipe, return_at=[])))[0]
    killed = config(recipe=recipe, return_at=[], report_every_s=0, checkpoints=str(tmp_path))
    code = f"""
import json, os, signal
from trainables import TrialConfig, TrialSession
from trainables.engine.loop import LoopExecutor

step = LoopExecutor.train_step

def until_the_middle_of_the_second_epoch(self, *arguments):
    if self._state.steps == 15:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *arguments)

LoopExecutor.train_step = until_the_middle_of_the_second_epoch
session = TrialSession(TrialConfig.from_dict(json.loads({json.dumps(killed.to_dict())!r})))
while True:
    session.advance()
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == -signal.SIGKILL
    reports = all_reports(TrialSession(killed))
    assert [row["epoch"] for row in reports[0]["epochs"]] == [1, 1]
    found = {(row["epoch"], row["lane"]): row["metrics"] for report in reports for row in report["epochs"]}
    assert found == {(row["epoch"], row["lane"]): row["metrics"] for row in whole["epochs"]}


def test_a_checkpoint_of_other_data_is_not_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = config(checkpoints=str(tmp_path))
    TrialSession(first).advance()
    assert TrialSession(first).advance()["attempt_start"] == 1
    monkeypatch.setattr(feed, "prepare", lambda *_: replace(prepare("digits"), digest="0" * 64))
    assert TrialSession(first).advance()["attempt_start"] == 0


def test_a_store_that_refuses_costs_the_checkpoint_and_not_the_trial(bucket: str) -> None:
    make_bucket("soon-gone", os.environ)
    session = TrialSession(config(checkpoints="s3://soon-gone/t0001"), place)
    client(os.environ).delete_bucket(Bucket="soon-gone")
    with pytest.warns(UserWarning, match="no checkpoint of t0001 could be written"):
        reports = all_reports(session)
    assert rows(reports) == rows(all_reports(TrialSession(config())))


def test_a_store_that_does_not_say_what_it_has_is_asked_again_and_then_the_trial_ends(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial that took it for empty would train anew what lies there."""
    monkeypatch.setattr(storage, "PATIENCE_S", 1.2)
    began = time.monotonic()
    with pytest.raises(OSError, match="no-such-bucket"):
        TrialSession(config(checkpoints="s3://no-such-bucket/t0001"), place)
    assert time.monotonic() - began > 0.5
