from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosim.contract import ANSI_C84_1, AS_61000, EN_50160, ESQCR, STANDARDS
from cosim.errors import InputError
from cosim.measures import (
    overvoltage_min,
    ten_minute_mean,
    ten_minute_rms,
    undervoltage_min,
    voltage_compliant,
    voltage_extremes_pu,
)

NOMINAL_V = 230.0


def day_with(bad_windows: int, bad_pu: float, step_min: int) -> np.ndarray:
    window_v = np.full(144, NOMINAL_V)
    window_v[10 : 10 + bad_windows] = bad_pu * NOMINAL_V
    return np.repeat(window_v, 10 // step_min)[:, None]


def test_windows_of_steps_that_divide_ten_minutes():
    assert ten_minute_mean(np.arange(6.0), 5).tolist() == [0.5, 2.5, 4.5]
    assert ten_minute_mean(np.arange(20.0)[:, None], 1).tolist() == [[4.5], [14.5]]


def test_a_step_across_a_border_counts_pro_rata():
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert ten_minute_mean(x, 4) == pytest.approx([(4 * 1 + 4 * 2 + 2 * 3) / 10, (2 * 3 + 4 * 4 + 4 * 5) / 10])


def test_an_incomplete_last_window_is_the_mean_of_what_it_holds():
    assert ten_minute_mean([1.0, 3.0, 7.0], 5).tolist() == [2.0, 7.0]
    assert ten_minute_mean([1.0, 3.0, 7.0], 6) == pytest.approx([(6 * 1 + 4 * 3) / 10, (2 * 3 + 6 * 7) / 8])


@pytest.mark.parametrize("step_min", [10, 12, 15, 30])
def test_long_steps_are_their_own_windows(step_min):
    assert ten_minute_mean([1.0, 5.0, 3.0], step_min).tolist() == [1.0, 5.0, 3.0]


@given(st.sampled_from([1, 2, 2.5, 3, 4, 5, 6, 7, 8, 9]), st.lists(st.floats(-1e3, 1e3), min_size=10, max_size=10))
def test_windows_keep_the_time_integral(step_min, x):
    windows = ten_minute_mean(np.array(x), step_min)
    horizon_min = 10 * step_min
    held_min = np.full(len(windows), 10.0)
    held_min[-1] -= 10 * len(windows) - horizon_min
    assert (windows * held_min).sum() == pytest.approx(step_min * sum(x), abs=1e-6)


def test_rms_of_a_window():
    assert ten_minute_rms([3.0, 4.0], 5) == pytest.approx([np.sqrt(12.5)])


@pytest.mark.parametrize("step_min", [1, 5, 10])
@pytest.mark.parametrize(("bad_windows", "bad_pu", "compliant"), [
    (0, 1.0, True),
    (7, 0.88, True),  # 137 of 144 remain
    (8, 0.88, False),
    (144, 0.90, True),
    (144, 1.10, True),
    (1, 1.101, False),  # above +10 % none is allowed
    (7, 0.85, True),
    (1, 0.849, False),
    (1, np.nan, False),
])  # fmt: skip
def test_en50160_over_a_day(step_min, bad_windows, bad_pu, compliant):
    assert voltage_compliant(day_with(bad_windows, bad_pu, step_min), NOMINAL_V, step_min).tolist() == [compliant]


def test_en50160_judges_windows_not_steps_and_each_customer():
    swinging = np.tile([250.0, 255.0], 144)  # rms 252.5 V
    too_high = np.tile([252.0, 256.0], 144)
    assert voltage_compliant(np.stack([swinging, too_high], axis=1), NOMINAL_V, 5).tolist() == [True, False]


@pytest.mark.parametrize(("windows", "allowed"), [(20, 1), (19, 0), (1008, 50)])
def test_en50160_rounds_the_number_of_good_windows_up(windows, allowed):
    voltage_v = np.full((windows, 2), NOMINAL_V)
    voltage_v[:allowed, 0] = 0.88 * NOMINAL_V
    voltage_v[: allowed + 1, 1] = 0.88 * NOMINAL_V
    assert voltage_compliant(voltage_v, NOMINAL_V, 10).tolist() == [True, False]


@pytest.mark.parametrize(("standard", "nominal_v", "bad_windows", "bad_pu", "compliant"), [
    (EN_50160, 11e3 / 3**0.5, 1, 0.88, True),  # 99 % of 144 windows: 143
    (EN_50160, 11e3 / 3**0.5, 2, 0.88, False),
    (EN_50160, 11e3 / 3**0.5, 1, 1.12, True),  # at medium voltage one may be above +10 %, but not above +15 %
    (EN_50160, 11e3 / 3**0.5, 1, 1.16, False),
    (EN_50160, 230.0, 1, 1.12, False),
    (ESQCR, 230.0, 144, 0.945, True),
    (ESQCR, 230.0, 1, 0.935, False),
    (ESQCR, 230.0, 144, 1.095, True),
    (ESQCR, 11e3 / 3**0.5, 1, 1.07, False),
    (ESQCR, 11e3 / 3**0.5, 144, 1.055, True),
    (ANSI_C84_1, 120.0, 144, 114 / 120, True),
    (ANSI_C84_1, 120.0, 1, 113 / 120, False),
    (ANSI_C84_1, 120.0, 1, 127 / 120, False),
    (ANSI_C84_1, 7200.0, 1, 0.96, False),
    (ANSI_C84_1, 7200.0, 144, 0.98, True),
    (AS_61000, 230.0, 1, 0.90, True),
    (AS_61000, 230.0, 2, 0.90, False),
    (AS_61000, 230.0, 1, 1.12, True),
    (AS_61000, 230.0, 2, 1.12, False),
])  # fmt: skip
def test_each_standard_has_bands_of_its_own_at_each_level(standard, nominal_v, bad_windows, bad_pu, compliant):
    voltage_v = day_with(bad_windows, bad_pu, 10) * (nominal_v / NOMINAL_V)
    assert voltage_compliant(voltage_v, nominal_v, 10, standard).tolist() == [compliant]


def test_a_regulation_without_a_window_judges_every_step():
    short_v = np.full((144, 1), NOMINAL_V)
    short_v[7] = 215.0  # one minute; its window's rms is 228.5 V
    assert voltage_compliant(short_v, NOMINAL_V, 1, ESQCR).tolist() == [False]
    assert voltage_compliant(short_v, NOMINAL_V, 1, AS_61000).tolist() == [True]


def test_customers_of_two_levels_are_each_judged_by_their_own_nominal():
    voltage_v = np.tile([11e3 / 3**0.5 * 1.07, 230.0 * 1.07], (144, 1))
    nominal_v = np.array([11e3 / 3**0.5, 230.0])
    assert voltage_compliant(voltage_v, nominal_v, 10, ESQCR).tolist() == [False, True]
    lower_pu, upper_pu = ESQCR.limits_pu(nominal_v)
    assert (lower_pu.tolist(), upper_pu.tolist()) == ([0.94, 0.94], [1.06, 1.10])
    assert overvoltage_min(voltage_v, nominal_v, 10, upper_pu) == 1440
    assert overvoltage_min(voltage_v[:, 1:], nominal_v[1:], 10, upper_pu[1:]) == 0
    assert voltage_extremes_pu(voltage_v, nominal_v) == pytest.approx((1.07, 1.07))


def test_a_limit_that_does_not_apply_gives_no_figure_and_never_zero():
    lower_pu, upper_pu = AS_61000.limits_pu([11e3, 230.0])
    assert np.isnan([lower_pu[0], upper_pu[0]]).all()
    voltage_v = np.tile([13e3, 260.0], (6, 1))
    assert np.isnan(overvoltage_min(voltage_v[:, :1], 11e3, 5, upper_pu[:1]))
    assert np.isnan(undervoltage_min(voltage_v[:, :1], 11e3, 5, lower_pu[:1]))
    assert overvoltage_min(voltage_v, [11e3, 230.0], 5, upper_pu) == 30


def test_low_voltage_reaches_up_to_a_thousand_volts_between_phases():
    assert EN_50160.bands(1000 / 3**0.5) == EN_50160.low
    assert EN_50160.bands(1001 / 3**0.5) == EN_50160.medium
    assert list(STANDARDS) == ["en50160", "esqcr", "ansi_c84_1", "as_61000"]
    assert [name for name, found in STANDARDS.items() if found.name != name] == []


def test_minutes_below():
    voltage_v = np.array([[230.0, 207.0], [206.9, 255.0], [200.8, 206.0], [np.nan, 253.1]])
    assert undervoltage_min(voltage_v, NOMINAL_V, 5) == 10
    assert undervoltage_min(voltage_v, NOMINAL_V, 5, limit_pu=1.0) == 15


def test_extremes_and_minutes_above():
    voltage_v = np.array([[230.0, 253.0], [254.0, 255.0], [220.8, 240.0], [np.nan, 253.1]])
    assert voltage_extremes_pu(voltage_v, NOMINAL_V) == pytest.approx((0.96, 255 / 230))
    assert overvoltage_min(voltage_v, NOMINAL_V, 5) == 10
    assert overvoltage_min(voltage_v, NOMINAL_V, 5, limit_pu=1.0) == 20
    assert np.isnan(voltage_extremes_pu([], NOMINAL_V)).all()


def test_senseless_bases_are_refused():
    with pytest.raises(InputError, match="nominal_voltage_v"):
        voltage_extremes_pu([230.0], 0.0)
    with pytest.raises(InputError, match="step_min"):
        ten_minute_mean([1.0], -5)


@pytest.mark.parametrize(("step_min", "windows"), [(1, 2), (2.5, 3), (4, 5), (5, 6), (6, 8), (10, 12)])
def test_windows_of_nothing_are_empty_but_counted(step_min, windows):
    assert ten_minute_rms(np.empty((12, 0)), step_min).shape == (windows, 0)
