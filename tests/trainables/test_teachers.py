import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from results.places import place, remove_tree
from trainables.recipe import Recipe, Teacher
from trainables.teachers import Shelf, address_of, in_order, kept_logits

DATA = "0" * 64


def teacher(**values) -> Teacher:
    return Teacher.model_validate({"recipe": {"model": "mlp-8", "epochs": 3, **values.pop("recipe", {})}, **values})


def learning_from(name: str, **values) -> Teacher:
    return teacher(recipe={"loss": {"name": "distilled", "teacher": name}}, **values)


SOME = np.arange(6, dtype=np.float32).reshape(3, 2)


def publish(shelf: Shelf, address: str, value: float = 1.0, logits: np.ndarray | None = SOME):
    recipe = teacher().recipe
    return shelf.publish(
        address,
        weights={"w": torch.full((2,), value)},
        logits=logits,
        facts={
            "name": "big",
            "recipe": recipe.model_dump(mode="json"),
            "seed": 0,
            "epoch": 3,
            "data": DATA,
            "needs": {},
            "parameters": 2,
            "metrics": {"val/accuracy": 0.9},
            "trained_at": "2026-01-01T00:00:00+00:00",
            "train_time_s": 1.0,
            "versions": {"torch": "2"},
        },
    )


def test_address_is_the_same_for_the_same_teacher_under_another_name():
    first = {"big": teacher(), "student": learning_from("big")}
    second = {"grande": teacher(), "pupil": learning_from("grande")}
    assert address_of("big", first, DATA) == address_of("grande", second, DATA)
    assert address_of("student", first, DATA) == address_of("pupil", second, DATA)


@pytest.mark.parametrize(
    "other",
    [
        teacher(seed=1),
        teacher(epoch=2),
        teacher(recipe={"model": "mlp-9"}),
        teacher(recipe={"optimizer": {"lr": 0.2}}),
        teacher(recipe={"loss": {"beta": 2.0}}),
    ],
)
def test_address_changes_with_all_that_decides_the_numbers(other):
    assert address_of("a", {"a": teacher()}, DATA) != address_of("a", {"a": other}, DATA)


def test_address_changes_with_the_data_and_with_the_teacher_that_was_learnt_from():
    teachers = {"a": teacher(), "b": learning_from("a")}
    assert address_of("a", teachers, DATA) != address_of("a", teachers, "1" * 64)
    changed = {**teachers, "a": teacher(seed=5)}
    assert address_of("b", teachers, DATA) != address_of("b", changed, DATA)


def test_address_changes_with_the_base():
    teachers = {"a": teacher(), "b": teacher(seed=1), "c": teacher(recipe={"base": "a"})}
    other = {**teachers, "c": teacher(recipe={"base": "b"})}
    assert address_of("c", teachers, DATA) != address_of("c", other, DATA)
    renamed = {"x": teacher(), "c": teacher(recipe={"base": "x"})}
    assert address_of("c", teachers, DATA) == address_of("c", renamed, DATA)


def test_naming_the_last_epoch_is_the_same_as_naming_none():
    assert address_of("a", {"a": teacher(epoch=3)}, DATA) == address_of("a", {"a": teacher()}, DATA)


def test_teachers_come_after_those_they_learn_from():
    teachers = {"c": learning_from("b"), "b": learning_from("a"), "a": teacher(), "unused": teacher()}
    assert in_order(["c", "a"], teachers) == ("a", "b", "c")


def test_a_teacher_that_needs_itself_is_refused():
    with pytest.raises(ValueError, match="must not learn from itself, got a -> b -> a"):
        in_order(["a"], {"a": learning_from("b"), "b": learning_from("a")})


def test_an_unknown_teacher_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"one of the teachers \(a\), got b"):
        in_order(["b"], {"a": teacher()})


def test_a_teacher_must_be_one_network_within_its_run():
    with pytest.raises(ValueError, match="must be one network, got 2 members"):
        teacher(recipe={"members": 2})
    with pytest.raises(ValueError, match="must lie within the teacher's 3 epochs, got 4"):
        teacher(epoch=4)


def test_published_teacher_is_found_with_its_facts_weights_and_logits(tmp_path):
    shelf = Shelf(tmp_path / "teachers")
    assert shelf.get("a" * 16) is None
    assert shelf.all() == []
    publish(shelf, "a" * 16)
    found = Shelf(tmp_path / "teachers").get("a" * 16)
    assert found is not None
    assert (found.address, found.name, found.parameters) == ("a" * 16, "big", 2)
    assert found.recipe == teacher().recipe == Recipe.model_validate(found.recipe.model_dump())
    assert torch.equal(found.weights()["w"], torch.ones(2))
    logits = kept_logits(found.folder)
    assert isinstance(logits, np.memmap)
    assert logits.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert [t.address for t in shelf.all()] == ["a" * 16]


def test_a_teacher_that_is_there_is_not_replaced(tmp_path):
    shelf = Shelf(tmp_path)
    publish(shelf, "a" * 16, 1.0)
    publish(shelf, "a" * 16, 2.0)
    assert shelf.get("a" * 16).weights()["w"].tolist() == [1, 1]


def test_a_damaged_teacher_counts_as_missing_and_is_replaced(tmp_path):
    shelf = Shelf(tmp_path)
    stored = publish(shelf, "a" * 16)
    with (stored.folder / "logits-train.npy").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    with pytest.warns(UserWarning, match="has to be trained again"):
        assert shelf.get("a" * 16) is None
    with pytest.warns(UserWarning, match="does not match its sha256"):
        publish(shelf, "a" * 16, 3.0)
    assert shelf.get("a" * 16).weights()["w"].tolist() == [3, 3]


def test_an_unfinished_publication_is_no_teacher(tmp_path):
    shelf = Shelf(tmp_path)
    half = tmp_path / f".{'a' * 16}.x.tmp"
    half.mkdir(parents=True)
    (half / "teacher.json").write_text(json.dumps({}))
    (tmp_path / f"{'b' * 16}.training").mkdir()
    assert shelf.all() == []


def test_an_address_cannot_leave_the_shelf(tmp_path):
    (tmp_path / "secret").mkdir()
    shelf = Shelf(tmp_path / "teachers")
    assert shelf.get("../secret") is None


def test_logits_may_be_left_out(tmp_path):
    stored = publish(Shelf(tmp_path), "a" * 16, logits=None)
    assert kept_logits(stored.folder) is None


def test_of_two_that_publish_at_once_the_first_stays(tmp_path, monkeypatch):
    write = np.save
    others = [lambda: publish(Shelf(tmp_path), "a" * 16, 1.0)]

    def slow_write(*arguments, **options):
        write(*arguments, **options)
        if others:
            others.pop()()

    monkeypatch.setattr(np, "save", slow_write)
    stored = publish(Shelf(tmp_path), "a" * 16, 2.0)
    assert stored.weights()["w"].tolist() == [1, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "a" * 16]


@pytest.fixture
def remote(bucket, tmp_path):
    """A shelf on a real S3 interface."""
    return place(f"s3://{bucket}/{tmp_path.name}/teachers")


def on_machine(monkeypatch, folder, origin) -> Shelf:
    """The shelf as a machine with a cache of its own sees it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return Shelf(origin)


def test_a_teacher_on_a_store_is_found_by_another_machine(remote, tmp_path, monkeypatch):
    here = on_machine(monkeypatch, tmp_path / "a", remote)
    assert here.get("a" * 16) is None
    assert here.all() == []
    stored = publish(here, "a" * 16)
    there = on_machine(monkeypatch, tmp_path / "b", remote)
    assert [t.name for t in there.all()] == ["big"]
    assert not there.root.exists()  # what is only listed is not copied
    found = there.get("a" * 16)
    assert (found.name, found.metrics, found.versions) == (stored.name, stored.metrics, stored.versions)
    assert found.folder.is_relative_to(tmp_path / "b")
    assert torch.equal(found.weights()["w"], torch.ones(2))
    logits = kept_logits(found.folder)
    assert isinstance(logits, np.memmap)
    assert logits.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_a_teacher_that_went_from_the_store_is_gone_though_there_is_a_copy(remote, tmp_path, monkeypatch):
    shelf = on_machine(monkeypatch, tmp_path, remote)
    folder = publish(shelf, "a" * 16).folder
    remove_tree(remote / ("a" * 16))
    assert shelf.get("a" * 16) is None
    assert folder.exists()
    assert publish(shelf, "a" * 16, 2.0).weights()["w"].tolist() == [2, 2]


def test_a_damaged_copy_is_fetched_again(remote, tmp_path, monkeypatch, recwarn):
    shelf = on_machine(monkeypatch, tmp_path, remote)
    stored = publish(shelf, "a" * 16)
    (stored.folder / "weights.pt").write_bytes(b"cut")
    assert shelf.get("a" * 16).weights()["w"].tolist() == [1, 1]
    assert not recwarn.list


@pytest.mark.parametrize("damage", ["changed", "removed"])
def test_a_damaged_teacher_on_a_store_counts_as_missing_and_is_replaced(remote, tmp_path, monkeypatch, damage):
    publish(on_machine(monkeypatch, tmp_path / "a", remote), "a" * 16)
    shelf = on_machine(monkeypatch, tmp_path / "b", remote)
    weights = next(file for file in (remote / ("a" * 16)).iterdir() if file.name.startswith("weights"))
    if damage == "changed":
        weights.write_bytes(b"something else")
    else:
        weights.unlink()
    with pytest.warns(UserWarning, match="has to be trained again"):
        assert shelf.get("a" * 16) is None
    with pytest.warns(UserWarning, match=r"weights-[0-9a-f]{16}\.pt"):
        publish(shelf, "a" * 16, 3.0)
    assert shelf.get("a" * 16).weights()["w"].tolist() == [3, 3]
    assert on_machine(monkeypatch, tmp_path / "c", remote).get("a" * 16).weights()["w"].tolist() == [3, 3]


def test_what_was_killed_while_it_was_uploaded_is_no_teacher(remote, tmp_path, monkeypatch, recwarn):
    shelf = on_machine(monkeypatch, tmp_path, remote)
    publish(shelf, "a" * 16)
    (remote / ("a" * 16) / "teacher.json").unlink()
    assert shelf.get("a" * 16) is None
    assert shelf.all() == []
    assert not recwarn.list


def test_of_two_machines_that_publish_at_once_one_wins_with_all_its_files(remote, tmp_path, monkeypatch):
    shelves = [on_machine(monkeypatch, tmp_path / str(number), remote) for number in range(4)]
    with ThreadPoolExecutor() as pool:
        stored = list(pool.map(lambda n: publish(shelves[n], "a" * 16, float(n)), range(4)))
    found = on_machine(monkeypatch, tmp_path / "another", remote).get("a" * 16)
    assert found.weights()["w"].tolist() in [[n, n] for n in range(4)]
    assert shelves[0].get("a" * 16).weights()["w"].tolist() == found.weights()["w"].tolist()
    assert len(stored) == 4


def test_processes_of_a_machine_download_a_teacher_once(remote, tmp_path, monkeypatch):
    publish(on_machine(monkeypatch, tmp_path / "a", remote), "a" * 16)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    code = (
        "import sys; from results.places import place; from trainables.teachers import Shelf; "
        "folder = Shelf(place(sys.argv[1])).get('a' * 16).folder; print(folder.stat().st_ino)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(remote)], stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    assert len({process.communicate(timeout=60)[0] for process in processes}) == 1  # nobody replaced it
    assert all(process.returncode == 0 for process in processes)
    names = sorted(path.name for path in Shelf(remote).root.iterdir())
    assert names == [".lock", "a" * 16]


def test_large_logits_come_back_as_they_were(remote, tmp_path, monkeypatch):
    logits = np.random.default_rng(0).standard_normal((300_000, 10), dtype=np.float32)  # 12 MB: several pieces
    stored = publish(on_machine(monkeypatch, tmp_path / "a", remote), "a" * 16, logits=logits)
    found = on_machine(monkeypatch, tmp_path / "b", remote).get(stored.address)
    assert np.array_equal(kept_logits(found.folder), logits)
