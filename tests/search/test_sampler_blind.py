import numpy as np
from scipy.stats import qmc

from search.settings import Grid, Qmc, Random
from spaces import Axis, Expression, SearchSpace, Uniform
from tests.search.test_sampler import FINITE, FINITE_NEEDING, RIDGE, ask, history, spread


def test_sobol_points_cover_the_space_more_evenly_than_random_ones():
    def discrepancy(sampler):
        points = [ask(RIDGE, [], sampler, number=number).coordinates for number in range(64)]
        return qmc.discrepancy(np.array([[point["a"], point["b"]] for point in points]))

    assert discrepancy(Qmc()) < 0.3 * discrepancy(Random())


def test_sobol_points_come_in_any_order_of_asking():
    forward = [ask(RIDGE, [], Qmc(), number=number, seed=77).coordinates for number in range(200)]
    backward = [ask(RIDGE, [], Qmc(), number=number, seed=77).coordinates for number in reversed(range(200))]
    assert forward == backward[::-1]
    assert len({point["a"] for point in forward}) == 200


def test_sobol_leaves_out_what_breaks_a_requirement_and_repeats_nothing():
    space = SearchSpace(RIDGE.entries, require=(Expression.parse("a > 3 * b"),))
    points = [ask(space, [], Qmc(), number=number).coordinates for number in range(100)]
    assert all(point["a"] > 3 * point["b"] for point in points)
    assert len({point["a"] for point in points}) == 100


def test_a_grid_is_walked_whole_in_an_order_of_the_arm():
    past = history(FINITE_NEEDING, len(FINITE_NEEDING.grid({})), spread, Grid())
    walked = [observation.coordinates for observation in past]
    assert sorted(walked, key=str) == sorted(FINITE_NEEDING.grid({}), key=str)
    assert walked != FINITE_NEEDING.grid({})
    assert walked != [o.coordinates for o in history(FINITE_NEEDING, len(walked), spread, Grid(), seed=1)]


def test_a_finer_grid_goes_on_with_the_points_that_are_new():
    coarse = SearchSpace({"loss.alpha": Axis(Uniform(0.1, 0.9, step=0.1))})
    fine = SearchSpace({"loss.alpha": Axis(Uniform(0.2, 0.4, step=0.05))})
    past = history(coarse, 9, spread, Grid())
    proposal = ask(fine, past, Grid())
    assert proposal.coordinates["loss.alpha"] in (0.25, 0.35)
    assert proposal.origin == "grid point 4 of 5"


def test_random_draws_are_even():
    drawn = [ask(FINITE, [], Random(), number=number).coordinates["m"] for number in range(600)]
    assert all(abs(drawn.count(value) - 200) < 50 for value in (1, 10, 100))
