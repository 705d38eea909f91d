from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cosim.contract import EvSessions
from cosim.measures import (
    balance_error_percent,
    bills_eur,
    charging_starts,
    cost_eur,
    curtailed_kwh,
    curtailed_max_home_percent,
    energy_kwh,
    export_kwh,
    import_kwh,
    ramp_max_kw,
    unserved_penalty_eur,
    withheld_kwh,
)

NET_KW = np.array([[2.0, -1.0], [-3.0, 4.0], [0.5, 0.0]])


def test_energy_of_means():
    assert energy_kwh(NET_KW, 15).tolist() == [-0.125, 0.75]
    assert energy_kwh([0.4, 0.8], 30) == pytest.approx(0.6)


def test_import_and_export_are_counted_at_each_meter():
    assert import_kwh(NET_KW, 60).tolist() == [2.5, 4.0]
    assert export_kwh(NET_KW, 60).tolist() == [3.0, 1.0]


@given(arrays(float, (6, 3), elements=st.floats(-20, 20)))
def test_import_less_export_is_net_energy(net_kw):
    assert import_kwh(net_kw, 5) - export_kwh(net_kw, 5) == pytest.approx(energy_kwh(net_kw, 5), abs=1e-9)


def test_curtailment_in_total_and_of_the_worst_home():
    available = np.array([[4.0, 1.0, 0.0], [4.0, 1.0, 0.0]])
    used = np.array([[4.0, 0.5, 0.0], [3.0, 1.0, 0.0]])
    assert curtailed_kwh(available, used, 30).tolist() == [0.5, 0.25, 0.0]
    assert curtailed_max_home_percent(available, used) == pytest.approx(25)
    assert curtailed_max_home_percent(np.zeros((2, 3)), np.zeros((2, 3))) == 0


def test_bill_by_hand():
    tariff = np.array([0.30, 0.10, 0.20])
    drawn = 2.0 * 0.30 + 4.0 * 0.10 + 0.5 * 0.20
    assert cost_eur(NET_KW, tariff, 60) == pytest.approx(drawn - 0.05 * 4)
    bills = bills_eur(NET_KW, tariff, 60)
    assert bills.sum() == pytest.approx(drawn - 0.05 * 4)
    assert bills == pytest.approx([cost_eur(NET_KW[:, [home]], tariff, 60) for home in range(2)])
    own = np.stack([tariff, 2 * tariff], axis=1)  # a tariff for each home
    assert bills_eur(NET_KW, own, 60)[1] == pytest.approx(cost_eur(NET_KW[:, [1]], 2 * tariff, 60))
    assert unserved_penalty_eur(3.0) == 1.5


def test_withheld_counts_only_slots_with_a_car_and_a_cap():
    cap = np.array([[4.0, 14.0, np.inf], [10.0, 2.0, np.nan], [20.0, 0.0, 5.0]])
    plugged = np.array([[True, True, True], [False, True, True], [True, False, False]])
    assert withheld_kwh(14.0, cap, plugged, 30) == pytest.approx((10 + 12) / 2)
    assert withheld_kwh(np.array([14.0, 42.0, 14.0]), cap, 0.5 * plugged, 60) == pytest.approx((10 + 28 + 40) / 2)


def test_balance_error_is_relative_to_the_losses():
    assert balance_error_percent(100.0, 40.0, 137.0, 3.0) == 0
    assert balance_error_percent(100.003, 40.0, 137.0, 3.0) == pytest.approx(0.1)
    assert balance_error_percent(99.997, 40.0, 137.0, 3.0) == pytest.approx(0.1)
    assert np.isnan(balance_error_percent(1.0, 0.0, 1.0, 0.0))


def test_starts_of_charging_by_hand(make_sessions: Callable[..., EvSessions]):
    ev_kw = np.array([
        # the first home's car is paused twice, the next one follows in the same step as it leaves, and goes on at once
        [7.4, 0.0, 7.4, 0.0, 0.02, 3.0, 3.0, 1.5, 7.4, 0.0],
        [0.0, 0.0, 0.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0],
    ]).T  # fmt: skip
    stays = make_sessions(
        (0, -60.0, 37.0, 9.0, 7.4), (0, 38.0, 50.0, 2.0, 7.4), (1, 14.0, 90.0, 9.0, 4.0), (1, 1, 2, 1, 4)
    )
    assert charging_starts(ev_kw, stays, 5.0).tolist() == [3, 1, 1, 0]
    assert charging_starts(ev_kw, EvSessions.none(), 5.0).tolist() == []


def test_ramps_are_of_the_sum_of_all():
    assert ramp_max_kw([[1.0, 5.0], [4.0, 2.0], [4.5, 0.0], [0.0, 0.0]]) == 4.5
    assert ramp_max_kw([[1.0, 5.0]]) == 0.0
