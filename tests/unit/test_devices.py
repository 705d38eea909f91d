"""Chargers, batteries and inverters, one rule at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cosim.contract import Curve, EvSessions, Feeder, LocalCurves
from cosim.devices import EvFleet, lay_out, pv_output

Make = Callable[..., Any]
ANY = np.full(3, np.inf)


@pytest.fixture
def fleet(two_bus: Feeder, make_day: Make, make_sessions: Make) -> Callable[..., EvFleet]:
    """Cars on the three single-phase homes of two_bus, 12 steps of 10 minutes."""

    def make(*rows: tuple[float, ...], **given: float) -> EvFleet:
        return EvFleet(two_bus, make_day(two_bus, 12, 10.0, sessions=make_sessions(*rows, **given)))

    return make


def test_stays_count_pro_rata(make_sessions: Make) -> None:
    stays = lay_out(make_sessions((1, 7.0, 23.0, 5.0, 7.4)), steps=4, step_min=10.0, customers=2)
    assert stays.session[:, 1].tolist() == [0, 0, 0, -1]
    np.testing.assert_allclose(stays.share[:, 1], [0.3, 1.0, 0.3, 0.0])
    assert (stays.session[:, 0] == -1).all()


def test_a_step_shared_by_two_cars_belongs_to_the_one_that_is_there_longer(make_sessions: Make) -> None:
    stays = lay_out(make_sessions((0, 0.0, 13.0, 5.0, 7.4), (0, 14.0, 30.0, 5.0, 7.4)), 3, 10.0, 1)
    assert stays.session[:, 0].tolist() == [0, 1, 1]
    np.testing.assert_allclose(stays.share[:, 0], [1.0, 0.6, 1.0])


def test_a_stay_outside_the_horizon_is_cut(make_sessions: Make) -> None:
    stays = lay_out(make_sessions((0, -30.0, 5.0, 5.0, 7.4), (1, 15.0, 999.0, 5.0, 7.4)), 2, 10.0, 2)
    np.testing.assert_allclose(stays.share, [[0.5, 0.0], [0.0, 0.5]])


def test_below_six_amperes_a_charger_pauses(fleet: Make) -> None:
    cars = fleet((0, 0.0, 120.0, 20.0, 7.4), (1, 0.0, 120.0, 20.0, 7.4), (2, 0.0, 120.0, 20.0, 7.4))
    least_kw = 6.0 * 230.0 / 1e3
    drawn = cars.feasible_kw(0, ANY, np.array([least_kw - 1e-6, least_kw, 3.0]))
    np.testing.assert_allclose(drawn, [0.0, least_kw, 3.0])


def test_a_three_phase_charger_needs_six_amperes_on_each(european_lv: Feeder, make_day: Make) -> None:
    feeder = replace(european_lv, customer_phases=((1, 2, 3), *european_lv.customer_phases[1:]))
    minimum_kw = EvFleet(feeder, make_day(feeder, 1)).minimum_kw
    assert minimum_kw[:2].tolist() == pytest.approx([4.14, 1.38])


def test_a_small_charger_at_a_three_phase_home_draws_its_rating_or_pauses(
    two_bus: Feeder, make_day: Make, make_sessions: Make
) -> None:
    feeder = replace(two_bus, customer_phases=((1, 2, 3),) * 3)
    cars = make_sessions((0, 0.0, 20.0, 20.0, 3.7), (1, 0.0, 20.0, 20.0, 7.4), (2, 10.0, 20.0, 20.0, 11.0))
    fleet = EvFleet(feeder, make_day(feeder, 2, 10.0, sessions=cars))
    np.testing.assert_allclose(fleet.least_kw, [[3.7, 4.14, 0.0], [3.7, 4.14, 4.14]])
    for limit_kw, drawn_kw in (
        (3.6, [0.0] * 3),
        (3.8, [3.7, 0.0, 0.0]),
        (4.2, [3.7, 4.2, 4.2]),
        (20.0, [3.7, 7.4, 11]),
    ):
        assert fleet.feasible_kw(1, ANY, np.full(3, limit_kw)).tolist() == pytest.approx(drawn_kw)
        assert fleet.within_kw(np.full((2, 3), limit_kw), slice(None))[1].tolist() == pytest.approx(drawn_kw)
    curve = Curve((200.0, 207.0), (0.0, 0.1), "test")
    assert fleet.volt_watt_kw(1, np.full(3, 207.0), curve).tolist() == pytest.approx([3.7, 4.14, 4.14])


def test_a_charger_smaller_than_six_amperes_runs_at_its_rating(fleet: Make) -> None:
    cars = fleet((0, 0.0, 120.0, 20.0, 1.0))
    assert cars.feasible_kw(0, ANY, ANY)[0] == pytest.approx(1.0)


def test_rating_and_share_of_the_step_bound_the_mean_power(fleet: Make) -> None:
    cars = fleet((0, 5.0, 120.0, 20.0, 7.4))
    assert cars.feasible_kw(0, ANY, ANY)[0] == pytest.approx(7.4 / 2)  # half a step
    assert cars.feasible_kw(1, ANY, ANY)[0] == pytest.approx(7.4)
    # the 6 A minimum is of the moment, not of the mean of a step that it shares with an empty driveway
    assert cars.feasible_kw(0, ANY, np.full(3, 1.5))[0] == pytest.approx(0.75)
    assert cars.feasible_kw(0, ANY, ANY)[1] == 0.0


def test_charging_loses_energy_on_the_way_into_the_battery(fleet: Make) -> None:
    cars = fleet((1, 0.0, 120.0, 8.0, 7.4), efficiency=0.9, soc_kwh=10.0)
    cars.charge(0, np.array([0.0, 6.0, 0.0]))
    assert cars.soc_kwh[0] == pytest.approx(10.0 + 6.0 * 0.9 / 6.0)
    assert cars.left_kwh[0] == pytest.approx(8.0 - 0.9)
    assert cars.delivered_kwh[0] == pytest.approx(0.9)


def test_the_rest_of_a_need_is_met_exactly(fleet: Make) -> None:
    cars = fleet((0, 0.0, 120.0, 1.5, 7.4), efficiency=0.9)
    drawn = np.zeros(12)
    for step in range(12):
        ev_kw = cars.feasible_kw(step, cars.wanted_kw(step), ANY)
        cars.charge(step, ev_kw)
        drawn[step] = ev_kw[0]
    assert drawn[0] == pytest.approx(7.4)
    assert drawn.sum() * 0.9 / 6.0 == pytest.approx(1.5)
    assert np.count_nonzero(drawn > 1e-9) == 2
    assert cars.left_kwh[0] == pytest.approx(0.0, abs=1e-12)


def test_a_battery_is_never_overfilled(fleet: Make) -> None:
    cars = fleet((0, 0.0, 120.0, 20.0, 7.4), battery_kwh=14.0, soc_kwh=10.0)
    for step in range(12):
        cars.charge(step, cars.feasible_kw(step, cars.wanted_kw(step), ANY))
    assert cars.soc_kwh[0] == pytest.approx(14.0)
    assert cars.delivered_kwh[0] == pytest.approx(4.0)
    assert cars.unservable_kwh[0] == pytest.approx(16.0)


def test_unservable_is_what_stay_charger_and_battery_leave_open(fleet: Make) -> None:
    cars = fleet(
        (0, 0.0, 60.0, 10.0, 4.0),  # 4 kW x 0.9 x 1 h = 3.6 kWh
        (1, 60.0, 600.0, 10.0, 4.0),  # the horizon ends after 1 h of it
        (2, 0.0, 120.0, 5.0, 7.4),  # fits
        efficiency=0.9,
    )
    assert cars.unservable_kwh.tolist() == pytest.approx([6.4, 6.4, 0.0])


def test_present_is_of_the_moment_a_step_begins(fleet: Make) -> None:
    cars = fleet((0, 15.0, 40.0, 5.0, 7.4))
    assert [int(cars.present(step)[0]) for step in range(5)] == [-1, -1, 0, 0, -1]


def test_no_car_at_all(two_bus: Feeder, make_day: Make) -> None:
    cars = EvFleet(two_bus, make_day(two_bus, 2, sessions=EvSessions.none()))
    assert cars.wanted_kw(0).tolist() == [0.0, 0.0, 0.0]
    assert cars.feasible_kw(0, ANY, ANY).tolist() == [0.0, 0.0, 0.0]
    assert cars.present(0).tolist() == [-1, -1, -1]


def test_a_volt_watt_curve_slows_a_charger_to_six_amperes_and_stops_it_at_zero(fleet: Make) -> None:
    cars = fleet((0, 0.0, 120.0, 20.0, 7.4), (1, 0.0, 120.0, 20.0, 3.7), (2, 0.0, 120.0, 20.0, 7.4))
    curve = Curve((200.0, 207.0, 218.5), (0.0, 0.1875, 1.0), "test")
    limits = cars.volt_watt_kw(0, np.array([218.5, 207.0, 200.0]), curve)
    assert limits.tolist() == pytest.approx([7.4, 1.38, 0.0])


FREE = np.array([np.inf])
KVA = np.array([4.0])


def sun(kw: float) -> np.ndarray:
    return np.array([kw])


def test_pv_is_bounded_by_sun_setpoint_and_inverter() -> None:
    assert pv_output(sun(3.0), FREE, KVA, sun(0.0), None)[0] == [3.0]
    assert pv_output(sun(5.0), FREE, KVA, sun(0.0), None)[0] == [4.0]
    assert pv_output(sun(3.0), np.array([1.2]), KVA, sun(0.0), None)[0] == [1.2]
    assert pv_output(sun(3.0), FREE, np.array([0.0]), sun(0.0), None)[0] == [0.0]


def test_reactive_power_takes_precedence_and_keeps_the_rating() -> None:
    curves = LocalCurves(pv_volt_var=Curve((207.0, 220.0, 240.0, 258.0), (-0.44, 0.0, 0.0, 0.6), "test"))
    pv_kw, pv_kvar = pv_output(sun(4.0), FREE, KVA, np.array([258.0]), curves)
    assert pv_kvar == pytest.approx(0.6 * 4.0)  # consumed: lowers the voltage
    assert pv_kw == pytest.approx(0.8 * 4.0)
    pv_kw, pv_kvar = pv_output(sun(1.0), FREE, KVA, np.array([207.0]), curves)
    assert pv_kvar == pytest.approx(-0.44 * 4.0)  # supplied: raises it
    assert pv_kw == pytest.approx(1.0)
    assert pv_output(sun(4.0), FREE, KVA, np.array([230.0]), curves)[1] == [0.0]
    assert pv_output(sun(0.0), FREE, KVA, np.array([258.0]), curves)[1] == [0.0]  # asleep at night


def test_volt_watt_curtails() -> None:
    curves = LocalCurves(pv_volt_watt=Curve((253.0, 260.0), (1.0, 0.2), "test"))
    at = {v: pv_output(sun(4.0), FREE, KVA, np.array([v]), curves)[0][0] for v in (250.0, 256.5, 260.0, 270.0)}
    assert at == pytest.approx({250.0: 4.0, 256.5: 2.4, 260.0: 0.8, 270.0: 0.8})
