from __future__ import annotations

import numpy as np
import pytest

from cosim.errors import InputError
from cosim.measures import OilTransformer, ageing_h, ageing_rate, hot_spot_c, overload_min


@pytest.mark.parametrize(
    ("load", "top_oil_c", "winding_c", "rate"),
    [
        (0.5, 45.10, 52.68, None),
        (0.8, 61.35, 77.44, 0.093),
        (1.0, 75.00, 98.00, 1.0),
        (1.2, 90.61, 121.40, 14.94),
        (1.5, 117.35, 161.36, None),
    ],
)
@pytest.mark.parametrize("step_min", [1, 15])
def test_steady_states(load, top_oil_c, winding_c, rate, step_min):
    top_oil, hot_spot = hot_spot_c(np.full(8, load), 20.0, step_min)
    assert top_oil == pytest.approx(np.full(8, top_oil_c), abs=0.005)
    assert hot_spot == pytest.approx(np.full(8, winding_c), abs=0.005)
    if rate is not None:
        assert ageing_rate(hot_spot[-1]) == pytest.approx(rate, rel=1e-3)


def test_step_of_load_from_half_to_overload():
    _, hot_spot = hot_spot_c(np.full(240, 1.3), np.full(240, 20.0), 1, initial_load_factor=0.5)
    assert hot_spot[[14, 59, 119, 239]] == pytest.approx([80.21, 95.39, 106.37, 119.86], abs=0.005)
    assert ageing_h(hot_spot, 1) == pytest.approx(15.72, abs=0.005)


@pytest.mark.parametrize("step_min", [5, 15, 30])
def test_exponential_form_does_not_depend_on_the_step(step_min):
    rng = np.random.default_rng(4)
    load, ambient = rng.uniform(0.2, 1.5, 16), rng.uniform(0, 30, 16)
    every = 2 * step_min
    coarse = hot_spot_c(load, ambient, every, OilTransformer(k21=2.0), initial_load_factor=0.7)
    fine = hot_spot_c(
        np.repeat(load, 2), np.repeat(ambient, 2), step_min, OilTransformer(k21=2.0), initial_load_factor=0.7
    )
    assert np.allclose(np.array(fine)[:, 1::2], coarse, atol=1e-10)


def test_overshoot_of_the_hot_spot_where_the_winding_is_quicker_than_the_oil():
    _, plain = hot_spot_c(np.full(60, 1.0), 20.0, 1, initial_load_factor=0.0)
    _, overshooting = hot_spot_c(np.full(60, 1.0), 20.0, 1, OilTransformer(k21=2.0), initial_load_factor=0.0)
    assert overshooting[15] > plain[15] + 10
    # both settle at the same temperature
    settled = [hot_spot_c(np.full(3000, 1.0), 20.0, 1, OilTransformer(k21=k), initial_load_factor=0.0) for k in (1, 2)]
    assert settled[0][1][-1] == pytest.approx(98, abs=1e-4)
    assert settled[1][1][-1] == pytest.approx(98, abs=1e-4)


def test_the_horizon_starts_in_the_steady_state_of_its_mean_load():
    load = np.array([0.4, 1.2])
    top_oil, _ = hot_spot_c(load, np.array([20.0, 5.0]), 1e-6)
    assert top_oil == pytest.approx([61.35, 61.35], abs=0.005)


def test_ageing():
    assert ageing_rate([98.0, 104.0, 92.0]) == pytest.approx([1, 2, 0.5])
    assert ageing_h([98.0, 104.0], 30) == pytest.approx(1.5)


def test_bad_input_is_reported_all_at_once():
    with pytest.raises(InputError) as caught:
        hot_spot_c([0.5, -0.1], [20.0, 20.0, 20.0], 5)
    assert [fault.key for fault in caught.value.faults] == ["ambient_c", "load_factor"]
    with pytest.raises(InputError, match="at least one"):
        hot_spot_c([], 20.0, 5)


def test_minutes_of_overload():
    loading = np.array([[90.0, np.nan], [100.0, np.nan], [100.1, np.nan], [99.0, 130.0]])
    assert overload_min(loading, 5) == 10
    assert overload_min(loading[:, 0], 5) == 5
    assert overload_min(loading, 5, limit_percent=89) == 20


def test_without_rating_there_is_no_loading():
    assert np.isnan(overload_min(np.full(3, np.nan), 5))
    assert np.isnan(overload_min(np.empty((3, 0)), 5))
