"""Fleet aggregation: the pieces, on numbers that can be checked by hand, and bad input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cosim.contract import EvSessions
from cosim.controllers.aggregation import (
    SIMPLE,
    Factors,
    FitOptions,
    Fleet,
    Recipe,
    Store,
    StoreLp,
    applied,
    block_of_step,
    checked_fleet,
    disaggregate,
    envelope,
    fit_factors,
    judge,
    make_week,
    minimise_in_box,
    missed_kwh,
    reachable,
    reference,
    scaled,
    sensitivity,
    simple_sum,
    train,
    units_of,
)
from cosim.controllers.aggregation.controller import fleet_of_stays
from cosim.errors import InputError
from cosim.experiments.studies.fleet_aggregation.data import small_case


def make_fleet(plugged: Any, driving: Any, *, charger: float = 10.0, battery: float = 40.0, **given: Any) -> Fleet:
    plug, drive = np.array(plugged, float), np.array(driving, float)
    zero, one = np.zeros_like(plug), np.ones(plug.shape[1])
    parts = {
        "charge_low_kw": zero, "charge_high_kw": charger * plug, "discharge_low_kw": zero, "discharge_high_kw": zero,
        "level_low_kwh": zero, "level_high_kwh": zero + battery, "driving_kwh": drive, "charge_efficiency": one,
        "discharge_efficiency": one,
    }  # fmt: skip
    return Fleet(**{**parts, **given})


@pytest.fixture
def two_cars() -> Fleet:
    """Four hours; car 0 drives 10 kWh in hour 2, car 1 drives 5 kWh in hour 1; away while driving."""
    return make_fleet([[1, 1], [1, 0], [0, 1], [1, 1]], [[0, 0], [0, 5], [10, 0], [0, 0]])


def test_cars_charge_in_their_cheapest_hours(two_cars: Fleet) -> None:
    cars = reference(two_cars, np.array([0.3, 0.1, 0.05, 0.2]))
    assert cars.charge_kw[:, 0] == pytest.approx([0, 10, 0, 0])
    assert cars.charge_kw[:, 1] == pytest.approx([0, 0, 5, 0])
    assert cars.level_kwh[:, 1] == pytest.approx(np.roll(cars.level_kwh[:, 1], 1) + np.array([0, -5, 5, 0]))


def test_equal_prices_are_taken_earliest_first(two_cars: Fleet) -> None:
    assert reference(two_cars, np.full(4, 0.2)).charge_kw[:, 0] == pytest.approx([10, 0, 0, 0])


def test_one_battery_for_all_drives_one_car_with_the_other_s_energy(two_cars: Fleet) -> None:
    price = np.array([0.3, 0.1, 0.05, 0.2])
    mine = StoreLp(4, 1.0).solve(simple_sum(two_cars), price)
    assert mine.charge_kw == pytest.approx([0, 5, 10, 0])  # hour 2 is cheapest, but car 0 is not there
    shares = disaggregate(two_cars, mine.charge_kw)
    assert shares.short_kw == pytest.approx([0, 0, 5, 0], abs=1e-9)
    assert shares.excess_kw.sum() == pytest.approx(5.0)


def test_discharging_earns_the_difference_of_prices() -> None:
    fleet = make_fleet([[1]] * 4, [[0]] * 4, battery=20.0, discharge_high_kw=np.full((4, 1), 10.0))
    cars = reference(fleet, np.array([0.1, 0.4, 0.1, 0.4]))
    assert cars.charge_kw[:, 0] == pytest.approx([10, 0, 10, 0])
    assert cars.discharge_kw[:, 0] == pytest.approx([0, 10, 0, 10])


def test_no_battery_charges_and_feeds_back_at_once_to_burn_energy() -> None:
    """At a negative price that would pay, as the losses are paid for; leaving room for a lower price still does."""
    fleet = make_fleet(
        [[1]] * 4, [[0]] * 4, battery=20.0, discharge_high_kw=np.full((4, 1), 10.0),
        charge_efficiency=np.array([0.9]), discharge_efficiency=np.array([0.9]),
    )  # fmt: skip
    for price in ([-0.05, -0.01, -0.05, 0.3], [-0.05, -0.05, -0.05, -0.05], [-0.1, 0.0, 0.0, -0.1]):
        cars = reference(fleet, np.array(price))
        assert np.minimum(cars.charge_kw, cars.discharge_kw).max() == pytest.approx(0.0, abs=1e-9)
    assert reference(fleet, np.array([-0.1, 0.3, 0.3, 0.3])).discharge_kw.sum() > 1.0


def test_levels_are_the_lowest_that_will_do() -> None:
    fleet = make_fleet([[1]] * 3, [[0], [6], [0]], level_low_kwh=np.full((3, 1), 8.0))
    assert reference(fleet, np.array([0.1, 0.3, 0.3])).level_kwh[:, 0] == pytest.approx([14, 8, 8])


def test_a_promise_is_missed_by_what_is_not_delivered_then() -> None:
    assert missed_kwh(np.array([4.0, 0.0, 2.0]), np.array([1.0, 3.0, 2.0]), 0.5) == pytest.approx(1.5)
    fleet = make_fleet([[1]] * 3, [[0], [0], [5]])
    shares = disaggregate(fleet, np.array([3.0, 0.0, 0.0]))
    assert shares.short_kwh() == pytest.approx(missed_kwh(np.array([3.0, 0, 0]), shares.charge_kw.sum(axis=1), 1.0))


def test_self_discharge_and_efficiency_are_paid_for() -> None:
    fleet = make_fleet([[1]] * 3, [[0], [0], [9]], charge_efficiency=np.array([0.9]), self_discharge=0.01)
    cars = reference(fleet, np.array([0.1, 0.5, 0.5]))
    level = cars.level_kwh[:, 0]
    assert level == pytest.approx(0.99 * np.roll(level, 1) + 0.9 * cars.charge_kw[:, 0] - [0, 0, 9])
    assert cars.charge_kw.sum() > 10.0


def test_reachable_levels_are_those_of_charging_early_and_late() -> None:
    fleet = make_fleet([[1], [1], [0], [1]], [[0], [0], [15], [0]], battery=20.0)
    low, high = reachable(fleet)
    assert low[:, 0] == pytest.approx([5, 15, 0, 0])
    assert high[:, 0] == pytest.approx([20, 20, 5, 15])
    assert envelope(fleet).level_low_kwh == pytest.approx(low[:, 0])


BAD = {
    "nan": ({"driving_kwh": np.full((4, 2), np.nan)}, "not finite"),
    "negative": ({"charge_high_kw": np.full((4, 2), -1.0)}, "goes down to -1"),
    "crossed": ({"level_low_kwh": np.full((4, 2), 50.0)}, "is above level_high_kwh"),
    "shape": ({"level_low_kwh": np.zeros((3, 2))}, "has shape (3, 2)"),
    "efficiency": ({"charge_efficiency": np.array([0.9, 0.0])}, "not in (0, 1]"),
    "need": ({"driving_kwh": np.array([[0, 0], [0, 35.0], [10, 0], [0, 0]])}, "cannot meet its driving"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_fleet_is_named(name: str, two_cars: Fleet) -> None:
    changed, said = BAD[name]
    with pytest.raises(InputError) as caught:
        checked_fleet(replace(two_cars, **changed))  # type: ignore[arg-type]
    assert said in str(caught.value)
    assert caught.value.exit_code == 2


def test_all_faults_are_told_at_once(two_cars: Fleet) -> None:
    with pytest.raises(InputError) as caught:
        checked_fleet(replace(two_cars, charge_efficiency=np.array([2.0, 1.0]), self_discharge=0.5, step_h=0.0))
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize("price", [np.full(3, 0.1), np.array([0.1, np.nan, 0.1, 0.1])])
def test_bad_prices_are_named(price: np.ndarray, two_cars: Fleet) -> None:
    for ask in (lambda: reference(two_cars, price), lambda: make_week(two_cars, price)):
        with pytest.raises(InputError, match="price_eur_per_kwh"):
            ask()


def test_a_need_that_cannot_be_met_is_refused_by_the_reference_too(two_cars: Fleet) -> None:
    with pytest.raises(InputError, match="car 1"):
        reference(replace(two_cars, driving_kwh=BAD["need"][0]["driving_kwh"]), np.full(4, 0.1))


def test_maps_count_blocks_from_monday() -> None:
    assert block_of_step(168, 1.0, 24)[[0, 23, 24, 167]].tolist() == [0, 0, 1, 6]
    assert block_of_step(168, 1.0, 168).max() == 0
    assert block_of_step(96, 0.25, 6, first_h=20.0)[[0, 15, 16, 95]].tolist() == [3, 3, 4, 7]
    with pytest.raises(InputError, match="block_h"):
        block_of_step(168, 1.0, 5)


def test_factors_go_to_finer_maps_unchanged() -> None:
    value = np.ones((6, 7))
    value[1] = np.arange(7)
    fine = Factors(value, 24).on(6)
    assert fine.value[1].tolist() == np.repeat(np.arange(7.0), 4).tolist()
    assert fine.on(24).value == pytest.approx(value)


def test_bounds_that_would_cross_stay_as_they_were(two_cars: Fleet) -> None:
    store = replace(simple_sum(two_cars), level_low_kwh=np.full(4, 10.0))
    value = np.ones((6, 1))
    value[5] = 0.1  # 8 kWh, below the low bound of 10
    value[1] = 0.5
    kept = applied(store, Factors(value, 168), np.zeros(4, int))
    assert kept.level_high_kwh == pytest.approx(store.level_high_kwh)
    assert kept.charge_high_kw == pytest.approx(0.5 * store.charge_high_kw)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_derivative_is_that_of_the_schedule(seed: int) -> None:
    case = small_case(seed, cars=5, hours=24)
    tau, families = block_of_step(24, 1.0, 6), np.array([1, 4, 5])
    rng = np.random.default_rng(seed)
    value = Factors.ones(6).value.copy()
    value[1, :4] = rng.uniform(0.6, 0.9, 4)
    lp = StoreLp(24, 1.0)

    def solved(factors: np.ndarray) -> np.ndarray:
        return lp.solve(scaled(case.store, Factors(factors, 6), tau), case.price_eur_per_kwh).charge_kw

    here = solved(value)
    moves, _, _ = sensitivity(lp.matrix, case.store, lp.basis(), tau, 28, families)
    for column, (family, block) in enumerate((f, b) for f in families for b in range(28)):
        if block >= 4:
            continue
        other = value.copy()
        other[family, block] += 1e-6
        assert (solved(other) - here) / 1e-6 == pytest.approx(moves[:, column], abs=1e-2)


def test_the_least_of_a_quadratic_in_a_box() -> None:
    hessian, gradient = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([-4.0, 1.0])
    best = minimise_in_box(hessian, gradient, np.array([-1.0, -0.5]), np.array([1.0, 3.0]))
    assert best == pytest.approx([1.0, -0.5])
    free = minimise_in_box(hessian, gradient, np.full(2, -99.0), np.full(2, 99.0))
    assert hessian @ free == pytest.approx(-gradient)


def test_a_fit_refuses_what_it_cannot_do(two_cars: Fleet) -> None:
    week = make_week(two_cars, np.full(4, 0.1))
    with pytest.raises(InputError, match="no week"):
        fit_factors([], 24, np.random.default_rng(0))
    with pytest.raises(InputError, match="does not include 1"):
        train([week], Recipe("sum", 1, 24, 0.1), np.random.default_rng(0), FitOptions(high=0.9))
    with pytest.raises(InputError, match="units"):
        units_of([two_cars], 3)


def test_units_hold_cars_that_need_like_hours() -> None:
    fleet = make_fleet([[1, 1, 1, 1]] * 4, [[8, 1, 7, 2]] + [[0, 0, 0, 0]] * 3)
    assert [part.tolist() for part in units_of([fleet], 2)] == [[1, 3], [0, 2]]


def test_a_model_that_breaks_its_balance_is_found_out(two_cars: Fleet) -> None:
    week = make_week(two_cars, np.array([0.3, 0.1, 0.05, 0.2]))
    simple = train([week], SIMPLE, np.random.default_rng(0))
    value = np.ones((6, 1))
    value[1] = 0.0  # no charging at all
    broken = replace(simple, factors=(Factors(value, 168),))
    assert judge(simple, [week]).missing_kwh == pytest.approx(0.0, abs=1e-6)
    assert judge(broken, [week]).missing_kwh == pytest.approx(15.0)


def test_stays_close_by_themselves(make_sessions: Callable[..., EvSessions]) -> None:
    stays = make_sessions((0, 0.0, 90.0, 5.0, 4.0), (2, 30.0, 120.0, 50.0, 10.0), efficiency=np.array([1.0, 0.9]))
    fleet = checked_fleet(fleet_of_stays(stays, 2, 1.0))
    assert fleet.charge_high_kw.tolist() == [[4.0, 5.0], [2.0, 10.0]]
    assert fleet.driving_kwh.sum(axis=0) == pytest.approx([5.0, 13.5])  # the second need is cut to what fits
    assert disaggregate(fleet, np.array([9.0, 11.0])).apart_kwh() == pytest.approx(0.0, abs=1e-6)


def test_a_store_of_another_horizon_is_refused(two_cars: Fleet) -> None:
    store: Store = two_cars.store(0)
    with pytest.raises(ValueError, match="another horizon"):
        StoreLp(5, 1.0).solve(store, np.full(4, 0.1))
