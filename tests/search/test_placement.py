import pytest

from search.placement import request_for
from search.settings import Resources


@pytest.mark.parametrize("packed", [False, True])
def test_equal_trials_ask_for_the_same_so_that_a_worker_can_be_handed_on(packed):
    resources = Resources(gpus=0.25, labels={"zone": "a"})
    first, second = (request_for(resources, 0.25, packed=packed) for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)
    assert first != request_for(resources, 0.5, packed=packed)


def test_a_trial_asks_for_all_that_it_takes():
    asked = request_for(Resources(cpus=2, gpus=0.25, custom={"licence": 1}), 0.5, packed=False)
    assert asked.bundles == [{"CPU": 2, "GPU": 0.5, "licence": 1}]


def test_ranks_of_a_trial_get_equal_parts_and_the_actor_that_leads_them_nothing():
    asked = request_for(Resources(cpus=8, gpus=4, strategy="ddp", labels={"zone": "a"}), 4, packed=True)
    assert asked.head_bundle_is_empty
    assert asked.bundles == [{"CPU": 2, "GPU": 1}] * 4
    assert asked.strategy == "PACK"
    assert asked._bound.kwargs == {"bundle_label_selector": [{"zone": "a"}] * 4}


@pytest.mark.parametrize("packed", [False, True])
def test_nodes_that_are_left_out_are_not_asked_for(packed):
    resources = Resources(labels={"zone": "a"})
    asked = request_for(resources, 0, packed=packed, left_out={"b1", "a2"})
    assert asked._bound.kwargs == {"bundle_label_selector": [{"zone": "a", "ray.io/node-id": "!in(a2,b1)"}]}
    assert asked == request_for(resources, 0, packed=packed, left_out={"a2", "b1"})
    assert asked != request_for(resources, 0, packed=packed)
