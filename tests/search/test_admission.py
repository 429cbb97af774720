"""What a worker finds out about its machine before it trains."""

import types

import pytest
import ray

from results.places import place
from search.doctor import admission, software
from search.doctor.admission import NodeUnfit, admit, terms_of, unfit_node
from search.doctor.root import FILE
from trainables.data import prepare


@pytest.fixture(autouse=True)
def worker(monkeypatch):
    """A process that has admitted nothing yet, on a node."""
    monkeypatch.setattr(admission, "_admitted", set())
    context = types.SimpleNamespace(get_node_id=lambda: "3fa0")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "runs" / "mine"
    made.mkdir(parents=True)
    return made


def refused(terms):
    with pytest.raises(NodeUnfit) as error:
        admit(terms)
    node, why = unfit_node(f"Traceback\n  admit(terms)\nsearch.doctor.admission.NodeUnfit: {error.value}\n\nmore")
    assert node == "3fa0"
    return why


def test_machine_that_shares_the_root_is_admitted_and_looked_at_once(folder):
    with terms_of(folder, "digits") as terms:
        admit(terms)
        (folder / FILE).unlink()
        admit(terms)


def test_where_no_terms_are_set_every_machine_is_admitted():
    admit(None)


def test_nothing_is_left_in_the_folder(folder):
    with terms_of(folder, "digits"):
        assert (folder / FILE).exists()
    assert list(folder.iterdir()) == []


def test_machine_with_another_root_is_named_with_what_to_do(folder):
    with terms_of(folder, "digits") as terms:
        (folder / FILE).unlink()
        why = refused(terms)
        assert why.startswith(
            f"{folder.parent} is another folder on this machine: what the driver writes is not there."
        )
        assert "s3://bucket/prefix" in why
        (folder / FILE).write_text("of yesterday")
        assert "another content" in refused(terms)


def test_machine_with_other_versions_or_other_data_is_told_both(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("THERMOTUNE_DATA", str(tmp_path / "packs"))
    prepare("digits")
    with terms_of(folder, "digits") as terms:
        assert terms["versions"] == software.versions()
        terms["versions"] = terms["versions"] | {"torch": "1.0.0"}
        terms["data"] = {"digits": "0" * 64}
        why = refused(terms)
    assert "but the driver has 1.0.0" in why
    assert "digits here has the digest" in why
    assert "\n" not in why


def test_store_that_is_away_for_a_while_is_no_fault_of_the_machine(bucket, monkeypatch):
    with terms_of(place(f"s3://{bucket}/away/mine"), "digits") as terms:
        away = OSError("the store does not answer")

        def fails(folder, content):
            raise away

        monkeypatch.setattr(admission, "reads", fails)
        admit(terms)


def test_machine_is_admitted_by_a_store(bucket):
    with terms_of(place(f"s3://{bucket}/there/mine"), "digits") as terms:
        admit(terms)


def test_other_errors_name_no_node():
    assert unfit_node("RuntimeError: node 3fa0 is on fire") is None
