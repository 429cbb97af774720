import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.sharing import Shares, larger, larger_share, least_share
from trainables.memory import DeviceMemory

GIB = 2**30
ASKED = st.sampled_from([0.05, 0.1, 0.125, 0.2, 0.25, 0.3, 0.3333, 0.5, 0.7, 1.0])
TOTAL = st.integers(4 * GIB, 200 * GIB)


@st.composite
def memories(draw):
    total = draw(TOTAL)
    return DeviceMemory(peak_bytes=draw(st.integers(1, total)), total_bytes=total)


@given(asked=ASKED, taken=memories())
def test_trials_that_share_a_gpu_fit_into_nine_tenths_of_it_or_are_alone(asked, taken):
    share = least_share(asked, taken)
    together = math.floor(Fraction(1) / Fraction(str(share)))
    assert asked <= share <= 1
    assert together == 1 or together * taken.peak_bytes <= 0.9 * taken.total_bytes


@given(asked=ASKED, taken=memories())
def test_no_more_is_given_than_memory_needs(asked, taken):
    share = least_share(asked, taken)
    more = math.floor(1 / share + 1e-9) + 1
    assert share == asked or more * taken.peak_bytes > 0.9 * taken.total_bytes


@given(asked=ASKED, taken=memories(), again=memories())
def test_more_memory_never_means_a_smaller_share(asked, taken, again):
    assert least_share(asked, larger(taken, again)) == max(least_share(asked, taken), least_share(asked, again))


@given(asked=ASKED)
def test_a_larger_share_means_one_trial_fewer_until_one_is_left(asked):
    shares = [asked]
    while shares[-1] < 1:
        shares.append(larger_share(shares[-1]))
    fit = [math.floor(Fraction(1) / Fraction(str(share))) for share in shares]
    assert fit == list(range(fit[0], 0, -1)) or fit == [*range(fit[0], 0, -1), 1]


@pytest.mark.parametrize("asked", [0.0, 1.0, 4.0])
def test_whole_gpus_and_none_are_not_shared(asked):
    full = DeviceMemory(peak_bytes=80 * GIB, total_bytes=80 * GIB)
    shares = Shares(asked, full)
    shares.give("t0001", 0.0)
    assert shares.of("t0001") == asked
    assert shares.note("t0001", full) is None


def test_a_share_stays_as_it_was_until_the_trial_is_handed_out_again():
    shares = Shares(0.25, None)
    shares.give("t0001", 0.0)
    taken = DeviceMemory(peak_bytes=24 * GIB, total_bytes=80 * GIB)
    assert "t0001 took 24.0 of 80.0 GiB" in shares.note("t0001", taken)
    assert (shares.of("t0001"), shares.usual) == (0.25, 0.3333)
    shares.give("t0001", 0.0)
    assert shares.of("t0001") == 0.3333
    assert shares.columns("t0001") == {"gpu_share": 0.3333, "gpu_peak_bytes": None, "gpu_total_bytes": None}
