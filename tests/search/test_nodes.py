"""The fleet against made-up listings, since nodes cannot be made to come and go in a moment."""

import threading
import time

import pytest

from search import nodes
from search.capacity import Node
from search.nodes import Fleet, Listing, compare
from search.settings import Resources


def node(name, cpus=2.0, **more):
    return Node(name, f"host-{name}", cpus, **more)


def listing(*there, leaving=None, gone=None):
    return Listing({each.id: each for each in there}, leaving or {}, gone or {})


def sentences(before, now, trials=0, fits=4):
    return [change.sentence(trials, fits) for change in compare(before, now)]


class Cluster:
    """A cluster whose listing a test changes."""

    def __init__(self, *there):
        self.now = listing(*there)

    def look(self):
        if isinstance(self.now, Exception):
            raise self.now
        return self.now


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(nodes, "LOOK_EVERY_S", 0.01)


def heard(fleet, timeout_s=5.0):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if found := [change.sentence(0, fleet.fits(0.0)) for change in fleet.changes()]:
            return found
        time.sleep(0.005)
    raise TimeoutError("no change was noticed")


def test_nothing_is_said_where_nothing_happened():
    assert sentences(listing(node("a")), listing(node("a"))) == []


def test_a_node_that_joins_is_said():
    assert sentences(listing(), listing(node("a"))) == ["node host-a joined; 4 trials at once now"]


def test_a_lost_node_is_said_with_its_trials():
    before, now = listing(node("a"), node("b")), listing(node("b"))
    (one,) = sentences(before, now, trials=1, fits=1)
    assert one == "node host-a was lost with 1 trial, which goes on elsewhere; 1 trial at once now"
    (three,) = sentences(before, now, trials=3)
    assert three == "node host-a was lost with 3 trials, which go on elsewhere; 4 trials at once now"


def test_a_node_that_left_in_order_was_not_lost():
    (said,) = sentences(listing(node("a")), listing(gone={"a": "left the cluster"}))
    assert said == "node host-a left the cluster; 4 trials at once now"


def test_a_node_that_will_be_taken_away_is_said_once_and_with_the_time_that_is_left():
    staying = listing(node("a"))
    leaving = listing(leaving={"a": time.time() + 30.4})
    (said,) = sentences(staying, leaving, trials=2)
    assert said == "node host-a will be taken away in 30 s with 2 trials, which go on elsewhere; 4 trials at once now"
    assert sentences(leaving, listing(gone={"a": "was taken away"})) == []
    (unknown,) = sentences(staying, listing(leaving={"a": 0}))
    assert unknown.startswith("node host-a will be taken away; ")


def test_trials_of_a_node_are_counted_until_it_is_gone():
    ends = {change.words: change.is_end for change in compare(listing(node("a")), listing(leaving={"a": 0}))}
    assert ends == {"will be taken away": False}
    assert [change.is_end for change in compare(listing(node("a")), listing())] == [True]


def test_a_machine_has_as_many_slots_as_fit_and_no_more():
    assert Fleet.of_machine(node("a", cpus=4), Resources(cpus=2, max_concurrent=8)).slots(0.0) == 2


def test_one_more_trial_than_fits_is_asked_for_so_that_an_autoscaler_hears_of_it(quick):
    cluster = Cluster(node("a"))
    with Fleet(Resources(), cluster.look, watched=True) as fleet:
        assert fleet.slots(0.0) == 3
        cluster.now = listing(node("a"), node("b", cpus=3))
        assert heard(fleet) == ["node host-b joined; 5 trials at once now"]
        assert fleet.slots(0.0) == 6
        cluster.now = listing(node("b", cpus=3))
        assert heard(fleet) == ["node host-a was lost; 3 trials at once now"]
        assert fleet.slots(0.0) == 4


def test_nodes_that_cannot_run_a_trial_are_not_worth_a_word(quick):
    cluster = Cluster(node("a"))
    with Fleet(Resources(), cluster.look, watched=True) as fleet:
        cluster.now = listing(node("a"), node("head", cpus=0), node("b"))
        assert heard(fleet) == ["node host-b joined; 4 trials at once now"]


def test_trials_of_a_node_that_leaves_are_to_leave_it_too(quick):
    cluster = Cluster(node("a"), node("b"))
    with Fleet(Resources(), cluster.look, watched=True) as fleet:
        assert not fleet.is_leaving("a")
        cluster.now = listing(node("b"), leaving={"a": 0})
        heard(fleet)
        assert fleet.is_leaving("a")
        assert not fleet.is_leaving("b")
        assert fleet.fits(0.0) == 2


def test_a_head_that_does_not_answer_for_a_while_changes_nothing(quick):
    cluster = Cluster(node("a"))
    with Fleet(Resources(), cluster.look, watched=True) as fleet:
        cluster.now = ConnectionError("the head restarts")
        time.sleep(0.05)
        assert list(fleet.changes()) == []
        cluster.now = listing(node("a"), node("b"))
        assert heard(fleet) == ["node host-b joined; 4 trials at once now"]


def test_one_trial_is_asked_for_where_none_fits():
    fleet = Fleet(Resources(gpus=0.5), Cluster(node("a")).look, watched=True)
    assert fleet.fits(0.5) == 0
    assert fleet.slots(0.5) == 1
    lacks = "waiting for a node with 1 CPU and 0.5 GPU; there is 1 node, with 2 CPUs and 0 GPU"
    assert fleet.waits_for(idle=False) == lacks


def test_as_many_trials_as_may_run_at_once_are_asked_for_though_fewer_fit():
    fleet = Fleet(Resources(max_concurrent=9), Cluster(node("a")).look, watched=True)
    assert (fleet.fits(0.0), fleet.slots(0.0)) == (2, 9)
    assert fleet.waits_for(idle=False) is None


def test_trials_that_find_no_place_for_a_while_wait_for_others(monkeypatch):
    fleet = Fleet(Resources(), Cluster(node("a")).look, watched=True)
    monkeypatch.setattr(nodes, "WAITING_S", 0.05)
    assert fleet.waits_for(idle=True) is None
    time.sleep(0.1)
    assert fleet.waits_for(idle=True) == "waiting for a place: all nodes seem to be in use by others"
    assert fleet.waits_for(idle=False) is None
    assert fleet.waits_for(idle=True) is None


@pytest.mark.parametrize("how", ["fails", "hangs"])
def test_a_head_that_does_not_answer_is_said_and_then_taken_for_lost(quick, monkeypatch, how):
    monkeypatch.setattr(nodes, "SILENT_S", 0.1)
    monkeypatch.setattr(nodes, "LOST_S", 0.5)
    silent, lost = threading.Event(), threading.Event()

    def look():
        if silent.is_set():
            if how == "hangs":
                time.sleep(20)
            raise ConnectionError("no head")
        return listing(node("a"))

    told = []

    def away(for_good):
        told.append((for_good, fleet.waits_for(idle=False)))
        if for_good:
            lost.set()

    with Fleet(Resources(), look, watched=True, away=away) as fleet:
        assert not lost.wait(1.0)
        assert (told, fleet.waits_for(idle=False)) == ([], None)
        silent.set()
        assert lost.wait(10)
        assert set(told) == {(False, nodes.SILENT), (True, nodes.SILENT)}
        assert told.index((True, nodes.SILENT)) == len(told) - 1


def test_a_study_that_has_ended_misses_no_head(quick, monkeypatch):
    monkeypatch.setattr(nodes, "LOST_S", 0.05)
    lost = threading.Event()
    cluster = Cluster(node("a"))
    with Fleet(Resources(), cluster.look, watched=True, away=lambda for_good: lost.set()):
        pass
    cluster.now = ConnectionError("no head")
    assert not lost.wait(0.3)


def test_fewer_trials_with_a_larger_share_of_a_gpu_fit():
    fleet = Fleet(Resources(gpus=0.25), Cluster(node("a", cpus=8, gpus=2)).look, watched=True)
    assert [fleet.fits(gpus) for gpus in (0.25, 0.3333, 1.0)] == [8, 6, 2]


def test_nodes_of_a_cluster_are_recorded_with_the_session_and_a_machine_is_not():
    fleet = Fleet(Resources(), Cluster(node("a"), node("b", gpus=1)).look, watched=True)
    assert fleet.facts == {
        "cluster": {
            "nodes": [{"name": "host-a", "cpus": 2.0, "gpus": 0}, {"name": "host-b", "cpus": 2.0, "gpus": 1}],
        }
    }
    assert Fleet.of_machine(node("a"), Resources()).facts == {}


# nodes that must not be used


def test_a_node_that_is_left_out_counts_no_more_and_is_said_once_with_the_reason(quick):
    cluster = Cluster(node("a"), node("b"))
    with Fleet(Resources(), cluster.look, watched=True) as fleet:
        fleet.leave_out("b", "/runs is another folder on this machine")
        fleet.leave_out("b", "another of its workers says so too")
        assert heard(fleet) == [
            "node host-b is left out; 2 trials at once now. /runs is another folder on this machine"
        ]
        assert [each.id for each in fleet.nodes] == ["a"]
        cluster.now = listing(node("a"), gone={"b": "left the cluster"})
        time.sleep(0.05)
        assert list(fleet.changes()) == []  # its going matters to nobody


def test_a_worker_may_say_that_its_node_is_unfit_before_the_node_is_listed(quick):
    cluster = Cluster(node("a"))
    with Fleet(Resources(), cluster.look, watched=True) as fleet:
        fleet.leave_out("b", "no data")
        assert list(fleet.changes()) == []
        cluster.now = listing(node("a"), node("b"))
        assert heard(fleet) == ["node host-b is left out; 2 trials at once now. no data"]
