"""``thermotune data``: facts to stdout, all else to stderr, and no traceback for a mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from search.data_cli import app
from search.errors import ThermotuneError
from tests.trainables.pictures import write
from trainables.data import DATASETS


@pytest.fixture(autouse=True)
def packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THERMOTUNE_DATA", str(tmp_path / "packs"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "packs"


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    return write(tmp_path / "flowers", {"train/rose": 20, "train/tulip": 20, "test/rose": 4, "test/tulip": 4})


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, prog_name="thermotune data", catch_exceptions=False)


def facts_of(*arguments: str) -> dict:
    return json.loads(run(*arguments, "--format", "json").stdout)


def test_a_folder_is_prepared_with_facts_on_stdout_and_sentences_on_stderr(packs: Path, flowers: Path) -> None:
    done = run("prepare", "flowers", "--source", str(flowers))
    assert done.exit_code == 0
    lines = {line[:12].strip(): line[13:] for line in done.stdout.splitlines()}
    assert lines["classes"] == "2: rose, tulip"
    assert lines["prepared"] == str(packs / "flowers-v2")
    assert lines["splits"] == "train 36, val 4, test 8"
    assert lines["a sample"] == "3 x 8 x 8 pixels, uint8"
    assert lines["from"] == str(flowers)
    assert "Decoding 48 images of 8 x 8 pixels." in done.stderr
    assert "becomes the test split" in done.stderr
    assert run("show", "flowers").stdout == done.stdout


def test_facts_as_json_are_complete(flowers: Path) -> None:
    facts = facts_of("prepare", "flowers", "--source", str(flowers))
    assert facts["sizes"] == {"train": 36, "val": 4, "test": 8}
    assert facts == facts_of("show", "flowers")
    assert len(facts["digest"]) == 64
    assert (facts["prepared"], facts["storage"], facts["shape"]) == (True, "packed", [3, 8, 8])


def test_the_list_has_the_known_and_the_prepared_ones(flowers: Path) -> None:
    run("prepare", "flowers", "--source", str(flowers))
    listed = json.loads(run("list", "-f", "json").stdout)
    assert [facts["name"] for facts in listed] == [*DATASETS, "flowers"]
    assert [facts["prepared"] for facts in listed] == [False] * len(DATASETS) + [True]
    rows = {line.split()[0]: line for line in run("list").stdout.splitlines() if line.strip()}
    assert rows["flowers"].split()[-1].endswith("flowers-v2")
    assert "1,281,167" in rows["imagenet"]
    assert rows["imagenet"].split()[-2:] == ["streamed", "-"]


@pytest.mark.parametrize("name", [name for name, source in DATASETS.items() if source.layout])
def test_what_is_not_prepared_says_what_it_takes_and_the_command(name: str) -> None:
    shown = run("show", name).stdout
    assert "prepared     no" in shown
    assert "--source     " in shown
    assert f"thermotune data prepare {name}" in shown


def test_a_damaged_pack_is_shown_checked_and_mended(packs: Path, flowers: Path) -> None:
    run("prepare", "flowers", "--source", str(flowers))
    assert run("show", "flowers", "--check").exit_code == 0
    file = packs / "flowers-v2" / "train_inputs.npy"
    file.write_bytes(file.read_bytes()[:-1])
    assert "train_inputs.npy does not match" in run("show", "flowers").stdout
    assert run("show", "flowers", "--check").exit_code == 1
    assert " damaged " in run("list").stdout
    mended = run("prepare", "flowers")
    assert "Note: " in mended.stderr
    assert "packed again" in mended.stderr
    assert run("show", "flowers", "--check").exit_code == 0


def test_a_check_decodes_streamed_images(tmp_path: Path) -> None:
    source = write(tmp_path / "photos", {"a": 20, "b": 20}, side=100)
    run("prepare", "photos", "--source", str(source))
    checked = run("show", "photos", "--check")
    assert checked.exit_code == 0
    assert "Decoding the 28 images of the train split." in checked.stderr
    image = source / "a" / "0003.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:700] + bytes(len(whole) - 720) + whole[-20:])  # its size, header and end are sound
    assert run("show", "photos").exit_code == 0
    checked = run("show", "photos", "--check")
    assert checked.exit_code == 1
    assert f"damage       {image} must be an image, but it cannot be decoded" in checked.stdout


def test_foreign_folders_are_no_data_sets(packs: Path) -> None:
    (packs / "My Pack-v2").mkdir(parents=True)
    (packs / "My Pack-v2" / "meta.json").write_text("{}")
    assert [facts["name"] for facts in json.loads(run("list", "-f", "json").stdout)] == list(DATASETS)


@pytest.mark.parametrize("arguments", [("list",), ("show", "digits"), ("prepare", "digits")])
def test_a_folder_of_packs_that_is_none_becomes_a_message(packs: Path, arguments: tuple[str, ...]) -> None:
    packs.write_text("x")
    with pytest.raises(ThermotuneError, match=r"must be a folder .* got .*/packs \(Not a directory\)"):
        run(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("prepare", "cifar"), r"must be one of .* Did you mean cifar10\?"),
        (("show", "cifar"), r"must be one of .* Did you mean cifar10\?"),
        (("prepare", "imagenet"), "imagenet is not prepared"),
        (("prepare", "imdb", "--source", "nowhere.tar.gz"), r"nowhere\.tar\.gz does not exist"),
        (("prepare", "digits", "--source", "."), "digits must have no --source"),
        (("prepare", "My Flowers", "--source", "."), "a data set's name must be of a-z"),
    ],
)
def test_mistakes_become_messages(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ThermotuneError, match=message) as caught:
        run(*arguments)
    assert caught.value.exit_code == 1


def test_another_source_needs_replace(tmp_path: Path, flowers: Path) -> None:
    run("prepare", "flowers", "--source", str(flowers))
    other = write(tmp_path / "other", {"a": 50, "b": 50})
    with pytest.raises(ThermotuneError, match="--replace"):
        run("prepare", "flowers", "--source", str(other))
    assert "train 72, val 8, test 20" in run("prepare", "flowers", "--source", str(other), "--replace").stdout


@pytest.mark.parametrize("command", ["list", "show", "prepare"])
def test_help_has_examples(command: str) -> None:
    shown = run(command, "--help").stdout
    assert "Example" in shown
    assert f"thermotune data {command}" in shown
