from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosim.errors import InputError
from cosim.measures import (
    cigre_vuf_percent,
    line_to_line,
    lvur_percent,
    negative_sequence_current_a,
    neutral_current_a,
    pui_percent,
    pvur_percent,
    sequence_components,
    unbalance_current_a2,
    v0_percent,
    vuf_percent,
    worst_phase_percent,
)

A = np.exp(2j * np.pi / 3)
BALANCED = np.array([1, A**2, A])  # b lags a
REVERSED = np.array([1, A, A**2])
TOGETHER = np.ones(3)

angles = st.floats(-np.pi, np.pi)


def phasor(magnitude: float, angle: float) -> complex:
    return complex(magnitude * np.exp(1j * angle))


def test_sequences_of_phasors_built_from_their_sequences():
    v0, v1, v2 = 3 + 1j, 230 - 4j, -2 + 5j
    found = sequence_components(v0 * TOGETHER + v1 * BALANCED + v2 * REVERSED)
    assert np.allclose(found, [v0, v1, v2], atol=1e-12)


def test_factors_are_ratios_of_sequences_and_keep_leading_axes():
    v = np.array([[230 * BALANCED, 230 * BALANCED + 2.3 * REVERSED], [230 * BALANCED - 4.6j * TOGETHER, 0 * BALANCED]])
    assert np.allclose(vuf_percent(v), [[0, 1], [0, np.nan]], atol=1e-12, equal_nan=True)
    assert np.allclose(v0_percent(v), [[0, 0], [2, np.nan]], atol=1e-12, equal_nan=True)


def test_rates_of_magnitudes_by_hand():
    assert pvur_percent([220.0, 230.0, 246.0]) == pytest.approx(100 * 14 / 232)
    assert lvur_percent([396.0, 399.0, 405.0]) == pytest.approx(100 * 5 / 400)
    assert np.isnan(lvur_percent([0.0, 0.0, 0.0]))


@given(st.floats(10, 1000), angles, st.floats(0, 0.9), angles, st.floats(0, 0.5), angles)
def test_cigre_factor_equals_the_true_one(v1, angle_1, r2, angle_2, r0, angle_0):
    v = phasor(v1, angle_1) * BALANCED + phasor(r2 * v1, angle_2) * REVERSED + phasor(r0 * v1, angle_0) * TOGETHER
    assert cigre_vuf_percent(np.abs(line_to_line(v))) == pytest.approx(vuf_percent(v), abs=1e-7)


def test_cigre_factor_has_no_noise_floor_when_balanced():
    assert cigre_vuf_percent([400.0, 400.0, 400.0]) == 0.0
    tiny = 230 * BALANCED + 230e-9 * REVERSED
    assert cigre_vuf_percent(np.abs(line_to_line(tiny))) == pytest.approx(1e-7, rel=1e-4)


def test_cigre_factor_is_undefined_without_a_triangle():
    assert np.isnan(cigre_vuf_percent([[400.0, 100.0, 100.0], [0.0, 0.0, 0.0]])).all()
    assert cigre_vuf_percent([200.0, 100.0, 100.0]) == pytest.approx(100)


def test_current_index_is_blind_where_the_neutral_carries_twenty_amperes():
    i = 10 * np.array([1, -(A**2), -A])  # consumption on a, infeed on b and c
    assert pui_percent(np.abs(i), rating_a=100.0) == pytest.approx(0, abs=1e-12)
    assert neutral_current_a(i) == pytest.approx(20)
    assert negative_sequence_current_a(i) == pytest.approx(20 / 3)
    assert unbalance_current_a2(i) == pytest.approx(2 * (20 / 3) ** 2)


def test_current_index_is_left_undefined_at_small_currents():
    i_abs = np.array([[30.0, 0.0, 0.0], [15.0, 0.0, 0.0], [15.3, 0.0, 0.0], [20.0, 10.0, 15.0]])
    assert np.allclose(pui_percent(i_abs, 100.0), [200, np.nan, 200, 100 / 3], equal_nan=True)
    by_line = pui_percent(np.full((4, 3, 3), 10.0), np.array([100.0, 300.0, np.nan]))
    assert np.allclose(by_line, [0.0, np.nan, np.nan], equal_nan=True)


@given(st.lists(st.complex_numbers(max_magnitude=500, allow_nan=False, allow_infinity=False), min_size=3, max_size=3))
def test_what_is_not_positive_sequence_is_unbalance_current(i):
    _, positive, _ = sequence_components(i)
    rest = np.mean(np.abs(i) ** 2) - abs(positive) ** 2
    assert unbalance_current_a2(i) == pytest.approx(rest, abs=1e-6)
    assert neutral_current_a(i) == pytest.approx(abs(sum(i)), abs=1e-9)


def test_worst_phase_decides_the_loading():
    i_abs = np.array([[[50.0, 120.0, 10.0], [10.0, 10.0, np.nan]]])
    assert np.allclose(worst_phase_percent(i_abs, np.array([100.0, 40.0])), [[120.0, 25.0]])
    assert np.isnan(worst_phase_percent([1.0, 2.0, 3.0], np.array(np.nan)[None])).all()


@pytest.mark.parametrize("measure", [vuf_percent, pvur_percent, cigre_vuf_percent, line_to_line, neutral_current_a])
def test_two_phases_are_refused(measure):
    with pytest.raises(InputError, match="three phases"):
        measure(np.ones((4, 2)))
