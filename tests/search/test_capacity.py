"""Capacity against counting by hand: trials are placed one by one on every device there is."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from search.capacity import Node, bundle, lack, matches, slots, unfit
from search.settings import Resources


def node(name="a", cpus=0.0, gpus=0, custom=None, **labels):
    return Node(name, name, cpus, gpus, custom or {}, labels)


def placed_one_by_one(nodes, resources):
    """Puts one process after the other on the first node and device with room; counts whole trials."""
    room = [[n.cpus, [1.0] * int(n.gpus), dict(n.custom)] for n in nodes]
    need = bundle(resources)
    cpus, gpus = need.pop("CPU"), need.pop("GPU")

    def put():
        for left in room:
            device = next((i for i, free in enumerate(left[1]) if free >= gpus - 1e-9), None)
            others = all(left[2].get(name, 0) >= amount - 1e-9 for name, amount in need.items())
            if left[0] >= cpus - 1e-9 and others and (gpus == 0 or device is not None):
                left[0] -= cpus
                if gpus:
                    left[1][device] -= gpus
                for name, amount in need.items():
                    left[2][name] -= amount
                return True
        return False

    return sum(1 for _ in itertools.takewhile(lambda _: put(), itertools.count())) // resources.ranks


amounts = st.sampled_from([0.25, 0.5, 1.0, 2.0, 3.0])
clusters = st.lists(
    st.builds(
        lambda cpus, gpus, slots: node(cpus=cpus, gpus=gpus, custom={"licence": slots} if slots else None),
        st.integers(0, 9),
        st.integers(0, 3),
        st.integers(0, 4),
    ),
    max_size=4,
)
singles = st.builds(
    lambda cpus, gpus, custom: Resources(cpus=cpus, gpus=gpus, custom=custom),
    amounts,
    st.sampled_from([0, 0.1, 0.25, 0.3, 0.5, 0.7, 1]),
    st.sampled_from([{}, {"licence": 1.0}, {"licence": 0.5}]),
)
several = st.one_of(
    st.builds(lambda n, each: Resources(gpus=n, cpus=n * each, strategy="ddp"), st.integers(2, 4), amounts),
    st.builds(lambda n: Resources(cpus=n, strategy="ddp"), st.integers(2, 6)),
)


@given(clusters, st.one_of(singles, several))
def test_as_many_trials_fit_as_can_be_placed_one_by_one(nodes, resources):
    assert slots(nodes, resources) == placed_one_by_one(nodes, resources)


@given(clusters, st.one_of(singles, several), st.integers(1, 5))
def test_no_more_trials_fit_than_may_run_at_once(nodes, resources, most):
    limited = resources.model_copy(update={"max_concurrent": most})
    assert slots(nodes, limited) == min(most, slots(nodes, resources))


@pytest.mark.parametrize(
    ("resources", "fits"),
    [
        ({}, 8),
        ({"cpus": 2}, 4),
        ({"cpus": 3}, 2),
        ({"cpus": 0.1, "gpus": 0.25}, 8),
        ({"gpus": 0.3}, 6),
        ({"gpus": 2, "cpus": 2, "strategy": "ddp"}, 1),
        ({"max_concurrent": 3}, 3),
        ({"gpus": 1, "max_concurrent": 9}, 2),
    ],
)
def test_slots_of_a_machine_follow_from_what_a_trial_takes(resources, fits):
    assert slots([node(cpus=8, gpus=2)], Resources(**resources)) == fits


def test_ranks_of_a_trial_may_lie_on_several_nodes():
    assert slots([node(cpus=8, gpus=2), node(cpus=8, gpus=3)], Resources(gpus=4, strategy="ddp")) == 1


@pytest.mark.parametrize(
    ("wanted", "fitting"),
    [("a", "a"), ("!a", "bc-"), ("in(a,b)", "ab"), ("!in(a,b)", "c-"), ("in(b)", "b")],
)
def test_labels_are_chosen_as_ray_does(wanted, fitting):
    assert "".join(value for value in "abc-" if matches(None if value == "-" else value, wanted)) == fitting


def test_spaces_in_a_choice_of_labels_are_left_out_since_ray_would_take_them_for_a_part():
    assert Resources(labels={"zone": "in(a, b)"}).labels == {"zone": "in(a,b)"}


@pytest.mark.parametrize("wanted", ["", "-a", "a b", "in()", "in(a,", "!!a", "in(a;b)", "a" * 64])
def test_what_ray_would_refuse_as_a_label_is_a_mistake(wanted):
    with pytest.raises(ValidationError, match="zone must be a label"):
        Resources(labels={"zone": wanted})


def test_nodes_with_other_labels_count_nothing():
    nodes = [node("a", cpus=2, zone="east"), node("b", cpus=3, zone="west"), node("c", cpus=4)]
    assert slots(nodes, Resources(labels={"zone": "!east"})) == 7
    assert slots(nodes, Resources(labels={"zone": "in(east, west)"})) == 5


def test_what_a_machine_cannot_give_is_said_for_every_amount():
    resources = Resources(cpus=8, gpus=1, custom={"licence": 2}, labels={"zone": "a"})
    found = unfit(node(cpus=4, gpus=0), resources)
    assert [(each.where, each.problem) for each in found] == [
        ("resources.cpus", "a trial needs 8 CPUs, this machine has 4"),
        ("resources.gpus", "a trial needs 1 GPU, this machine has 0"),
        ("resources.custom.licence", "a trial needs 2 licence, this machine has 0"),
        ("resources.labels", "a trial needs a node with the label zone=a, this machine has other labels"),
    ]
    assert unfit(node(cpus=8, gpus=1, custom={"licence": 2}, zone="a"), resources) == []


@given(clusters, st.one_of(singles, several))
def test_a_machine_is_fit_where_one_trial_fits(nodes, resources):
    for machine in nodes:
        assert (slots([machine], resources) > 0) == (unfit(machine, resources) == [])


@pytest.mark.parametrize(
    ("nodes", "resources", "text"),
    [
        (
            [node("a"), node("b", cpus=3, gpus=1), node("c", cpus=64)],
            {"cpus": 8, "gpus": 1},
            "waiting for a node with 8 CPUs and 1 GPU; there are 3 nodes, the nearest is b with 3 CPUs and 1 GPU",
        ),
        ([], {"cpus": 2}, "waiting for a node with 2 CPUs; there are 0 nodes"),
        (
            [node(cpus=8)],
            {"labels": {"zone": "a"}},
            "waiting for a node with 1 CPU and the label zone=a; there is 1 node, none with such labels",
        ),
        (
            [node(cpus=8, gpus=2), node(cpus=4, gpus=1)],
            {"gpus": 4, "cpus": 4, "strategy": "ddp"},
            "waiting for nodes with 4 CPUs and 4 GPUs; there are 2 nodes, with together 12 CPUs and 3 GPUs",
        ),
    ],
)
def test_what_trials_wait_for_is_said(nodes, resources, text):
    assert lack(nodes, Resources(**resources)) == text
