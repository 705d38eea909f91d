from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosim.errors import InputError
from cosim.measures import (
    ev_served_min_percent,
    gini,
    hours_below,
    jain,
    promise_error_max_kva,
    served_share,
    setpoint_error_max_kw,
)

amounts = st.lists(st.floats(0, 1e6), min_size=1, max_size=30)


@pytest.mark.parametrize(("x", "index"), [
    ([1.0, 1.0, 1.0, 1.0], 1.0),
    ([1.0, 0.0, 0.0, 0.0], 0.25),
    ([1.0, 2.0, 3.0], 36 / 42),
    ([1.0, np.nan, 3.0], 16 / 20),
    ([0.0, 0.0], 1.0),
    ([], 1.0),
    ([np.nan], 1.0),
])  # fmt: skip
def test_fairness_by_hand(x, index):
    assert jain(x) == pytest.approx(index)


@pytest.mark.parametrize("count", range(2, 60))
def test_rounding_makes_nobody_more_than_equal(count):
    assert jain(np.full(count, 0.1)) <= 1
    assert jain(np.where(np.arange(count) % 2, 1.0, 1 - 1e-16)) <= 1


@given(amounts)
def test_fairness_stays_within_its_range(x):
    assert 1 / len(x) - 1e-9 <= jain(x) <= 1


@given(amounts, st.floats(1e-3, 1e3))
def test_fairness_does_not_depend_on_the_unit(x, factor):
    assert jain(np.array(x) * factor) == pytest.approx(jain(x))


def test_negative_amounts_are_refused():
    with pytest.raises(InputError, match=r"-2\.0 is negative"):
        jain([1.0, -2.0])


def test_shares_of_service():
    delivered, wanted = np.array([5.0, 10.5, 0.0, 0.0]), np.array([20.0, 10.0, 0.0, 8.0])
    assert np.allclose(served_share(delivered, wanted), [0.25, 1.0, np.nan, 0.0], equal_nan=True)
    assert ev_served_min_percent(delivered[:3], wanted[:3]) == 25
    assert ev_served_min_percent(np.zeros(3), np.zeros(3)) == 100
    assert ev_served_min_percent([], []) == 100


def test_setpoint_error_is_the_worst_excess_over_a_cap():
    net = np.array([[5.0, 9.0], [2.0, 1.0]])
    assert setpoint_error_max_kw(net, [[4.0, np.nan], [np.inf, 0.5]]) == pytest.approx(1.0)
    assert setpoint_error_max_kw(net, [[6.0, 9.0], [2.5, 1.0]]) == 0
    assert setpoint_error_max_kw(net, np.full((2, 2), np.nan)) == 0


def test_promise_error_counts_both_ways_and_only_promises():
    delivered = np.array([100.0, 80.0, 300.0])
    assert promise_error_max_kva([95.0, 92.0, np.nan], delivered) == pytest.approx(12)
    assert np.isnan(promise_error_max_kva(np.full(3, np.nan), delivered))  # no promise is not a kept one
    assert promise_error_max_kva(delivered, delivered) == 0


@pytest.mark.parametrize(("x", "index"), [
    ([2.0, 2.0, 2.0], 0.0),
    ([0.0, 0.0, 0.0, 8.0], 0.75),
    ([1.0, 3.0], 0.25),  # |1 - 3| counted twice, over 2 * 2 * 4
    ([1.0, np.nan, 3.0], 0.25),
    ([0.0, 0.0], 0.0),
    ([], 0.0),
])  # fmt: skip
def test_inequality_by_hand(x, index):
    assert gini(x) == pytest.approx(index)


@given(amounts)
def test_inequality_is_the_mean_difference_over_twice_the_mean(x):
    values = np.array(x)
    told = np.abs(values[:, None] - values).sum() / (2 * len(x) * values.sum()) if values.sum() > 0 else 0.0
    assert gini(x) == pytest.approx(told, abs=1e-9)


def test_hours_below_a_floor_count_only_with_a_car():
    allowed = [[np.inf, 3.0], [4.2, 3.0], [4.0, 3.0]]
    plugged = [[1.0, 0.0], [1.0, 0.5], [1.0, 1.0]]
    assert hours_below(allowed, [4.2, 3.7], plugged, 30.0).tolist() == [0.5, 0.75]
