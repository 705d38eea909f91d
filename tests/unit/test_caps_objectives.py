"""What can be asked of caps besides withholding least, on days small enough to check by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog

from cosim.controllers.caps import (
    CapsOptions,
    CapsProblem,
    best_response,
    best_response_lp,
    charging_cost_eur,
    share_of_phase,
    solve_caps,
    usable_withheld_kwh,
)
from cosim.errors import InputError
from oracles.household import least_cost_eur

EXACT: dict[str, Any] = {"gap": 1e-6, "node_limit": 100_000}


def day(cars: int = 2, slots: int = 4, **changes: Any) -> CapsProblem:
    """Homes without other load, a 4 kW charger and 4 kWh to fetch each, 10 kW of connection, one price."""
    data: dict[str, Any] = {
        "slot_h": 1.0,
        "tariff_eur_per_kwh": np.full(slots, 0.1),
        "inflexible_kw": np.zeros((slots, cars)),
        "connection_kw": np.full(cars, 10.0),
        "phase_share": share_of_phase(np.zeros(cars, int)),
        "limit_kw": np.full((slots, 3), 4.0 + 1e-5),
        "home": np.arange(cars),
        "plugged": np.ones((slots, cars)),
        "charger_kw": np.full(cars, 4.0),
        "charger_min_kw": np.zeros(cars),
        "energy_need_kwh": np.full(cars, 4.0),
        "efficiency": np.ones(cars),
    }
    return CapsProblem(**(data | changes))


# objectives


def test_proportional_spreads_what_least_restriction_heaps_on_one_home() -> None:
    """Three cars one after the other: 4 kWh withheld of the second, 8 kWh of the third; no other order is fairer."""
    problem = day(3)
    result = solve_caps(problem, CapsOptions("proportional", **EXACT))
    assert result.objective == pytest.approx(np.log(np.minimum(result.caps_kw, 4.0).mean(axis=0)).sum())
    assert result.objective == pytest.approx(np.log([4.0, 3.0, 2.0]).sum(), abs=1e-3)
    assert result.objective <= result.bound
    assert result.over_limit_kw < 1e-6


def test_a_mean_room_below_a_tenth_of_a_kw_counts_as_that_much() -> None:
    inflexible = np.column_stack([np.zeros(4), np.full(4, 9.99)])
    problem = day(2, inflexible_kw=inflexible, limit_kw=np.full((4, 3), 30.0), energy_need_kwh=np.array([4.0, 0.04]))
    for coordination in ("anticipated", "sum_of_caps"):
        result = solve_caps(problem, CapsOptions("proportional", coordination))
        assert result.withheld_kwh == pytest.approx(0.0, abs=1e-6)
        usable, rooms = (4.0, 0.1), (10.0, 0.1)
        counted = usable if coordination == "anticipated" else rooms
        assert result.objective == pytest.approx(np.log(counted).sum())


def test_a_home_that_can_use_little_and_gets_none_proves_no_more_than_it_loses() -> None:
    """It is there for 0.0925 h with a charger that cannot run on what the limit leaves: all of 0.34 kW is withheld."""
    plugged = np.zeros((4, 1))
    plugged[0] = 0.0925
    problem = day(1, plugged=plugged, charger_kw=np.array([3.7]), charger_min_kw=np.array([1.38]),
                  energy_need_kwh=np.array([0.01]), limit_kw=np.full((4, 3), 0.2))  # fmt: skip
    result = solve_caps(problem, CapsOptions("proportional", limit_on="peak", **EXACT))
    assert result.status == "optimal"
    assert result.objective == pytest.approx(np.log(0.1))
    assert result.bound == pytest.approx(np.log(0.1))


@pytest.mark.parametrize("homes", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_the_bound_of_many_homes_holds_and_the_gap_is_on_what_is_lost(homes: int) -> None:
    rng = np.random.default_rng(7)
    limit_kw = np.full((8, 3), 1.4 * homes)
    problem = day(homes, 8, energy_need_kwh=rng.uniform(2.0, 9.0, homes), limit_kw=limit_kw)
    fair = solve_caps(problem, CapsOptions("proportional", gap=0.05))
    least = solve_caps(problem, CapsOptions("least_restriction", gap=1e-4))
    mean_kw = np.minimum(least.caps_kw, 4.0).mean(axis=0)
    assert np.log(mean_kw).sum() - 1e-9 <= fair.objective <= fair.bound + 1e-9
    lost = homes * np.log(4.0) - fair.objective
    assert fair.gap == pytest.approx((fair.bound - fair.objective) / lost)
    assert fair.max_response_error_kw < 1e-6
    assert fair.over_limit_kw < 1e-6


@pytest.mark.parametrize("form", ["auto", "kkt"])
def test_the_least_cost_is_that_of_a_linear_programme_and_withholds_no_more_than_it_must(form: str) -> None:
    """In the one cheap slot, one car is served; which of them is all the same, and its neighbour waits for slot 1."""
    problem = day(tariff_eur_per_kwh=np.array([0.1, 0.3, 0.3, 0.3]))
    result = solve_caps(problem, CapsOptions("min_cost", form=form, gap=1e-4, node_limit=100_000))
    assert result.objective == pytest.approx(0.4 + 1.2, abs=1e-4)
    assert result.bound == pytest.approx(result.objective, abs=1e-4)
    assert usable_withheld_kwh(problem, result.caps_kw) == pytest.approx(4.0, abs=1e-3)
    assert charging_cost_eur(problem, result.charge_kw).sum() == pytest.approx(result.objective, abs=1e-6)
    for car in range(2):
        own = least_cost_eur(problem, result.caps_kw, car)
        assert charging_cost_eur(problem, result.charge_kw)[car] == pytest.approx(own, abs=1e-6)


@pytest.mark.parametrize("form", ["auto", "kkt"])
def test_where_power_is_free_the_bill_is_nothing_and_needs_are_met(form: str) -> None:
    problem = day(tariff_eur_per_kwh=np.zeros(4))
    result = solve_caps(problem, CapsOptions("min_cost", form=form, gap=1e-4, node_limit=100_000))
    assert result.objective == pytest.approx(0.0, abs=1e-9)
    assert result.charge_kw.sum(axis=0) == pytest.approx([4.0, 4.0], abs=1e-3)


@pytest.mark.parametrize("form", ["auto", pytest.param("kkt", marks=pytest.mark.slow)])
def test_caps_enforce_the_cheapest_schedule_of_homes_with_tariffs_of_their_own(form: str) -> None:
    rng = np.random.default_rng(3)
    problem = day(
        5, 8, tariff_eur_per_kwh=rng.choice([0.1, 0.2, 0.3], (8, 5)), energy_need_kwh=rng.uniform(3.0, 12.0, 5),
        limit_kw=np.full((8, 3), 6.0),
    )  # fmt: skip
    result = solve_caps(problem, CapsOptions("min_cost", form=form, gap=1e-3 if form == "auto" else 0.05))
    each_slot, each_car = np.kron(np.eye(8), np.ones(5)), np.tile(np.eye(5), 8)
    least = linprog(
        problem.tariff_eur_per_kwh.ravel(), A_ub=each_slot, b_ub=np.full(8, 6.0), A_eq=each_car,
        b_eq=problem.energy_need_kwh, bounds=(0.0, 4.0),
    )  # fmt: skip
    assert result.bound <= least.fun + 1e-4
    assert least.fun - 1e-4 <= result.objective <= least.fun / (1.0 - (1e-3 if form == "auto" else 0.05)) + 1e-4
    paid_eur = charging_cost_eur(problem, best_response(problem, result.caps_kw)).sum()
    assert paid_eur == pytest.approx(result.objective, abs=1e-6)
    assert result.over_limit_kw < 1e-5


@pytest.mark.parametrize("coordination", ["anticipated", "sum_of_caps"])
def test_leximin_raises_those_who_can_be_raised(coordination: str) -> None:
    """Three cars share 4 kW early and two share it late: the latter need not stay at the former's 1.33 kW."""
    plugged = np.zeros((4, 5))
    plugged[:2, :3] = plugged[2:, 3:] = 1.0
    problem = day(5, plugged=plugged, energy_need_kwh=np.array([2.4, 2.4, 2.4, 3.9, 3.9]))
    found = {
        levels: solve_caps(problem, CapsOptions("max_min", coordination, levels=levels, gap=1e-3)) for levels in (1, 4)
    }
    smallest = {n: np.sort(np.where(plugged > 0, r.caps_kw, np.inf).min(axis=0)) for n, r in found.items()}
    assert smallest[1] == pytest.approx([4 / 3, 4 / 3, 4 / 3, 4 / 3, smallest[1][4]], abs=3e-3)
    assert smallest[4] == pytest.approx([4 / 3, 4 / 3, 4 / 3, 2.0, 2.0], abs=3e-3)
    assert found[4].objective == pytest.approx(4 / 3, abs=2e-3)
    assert found[4].bound >= found[4].objective
    assert found[4].over_limit_kw < 1e-6
    assert found[4].status in ("optimal", "gap_limit")


def test_leximin_under_sum_of_caps_by_hand() -> None:
    """One slot, 3 kW for two homes of phase 1 and 8 kW for two of phase 2, one of which can take 2.5 kW only."""
    problem = day(
        4, 1, phase_share=share_of_phase(np.array([0, 0, 1, 1])), limit_kw=np.array([[3.0, 8.0, 9.0]]) + 1e-5,
        connection_kw=np.array([10.0, 10.0, 2.5, 10.0]), energy_need_kwh=np.full(4, 1.0),
    )  # fmt: skip
    result = solve_caps(problem, CapsOptions("max_min", "sum_of_caps", levels=3))
    assert result.caps_kw[0] == pytest.approx([1.5, 1.5, 2.5, 5.5], abs=1e-3)


@pytest.mark.parametrize("objective", ["proportional", "min_cost"])
def test_the_sum_of_caps_knows_all_objectives(objective: str) -> None:
    problem = day(3, 6, tariff_eur_per_kwh=np.array([0.3, 0.1, 0.1, 0.2, 0.2, 0.2]))
    result = solve_caps(problem, CapsOptions(objective, "sum_of_caps"))
    assert (result.caps_kw.sum(axis=1) <= 4.0 + 1e-4).all()
    assert result.unserved_kwh.sum() == 0.0
    if objective == "proportional":  # each a third of what there is, but for the 0.2 % that tangents may miss
        assert result.objective == pytest.approx(3 * np.log(4.0 / 3.0), rel=2e-2)
        assert result.objective <= result.bound
        assert result.gap < 2.5e-3
    else:
        assert result.objective == pytest.approx(0.1 * 8.0 + 0.2 * 4.0, abs=1e-3)


# several tariffs, prices below zero


def test_each_home_follows_its_own_tariff() -> None:
    tariff = np.array([[0.1, 0.4], [0.2, 0.3], [0.3, 0.2], [0.4, 0.1]])
    problem = day(tariff_eur_per_kwh=tariff)
    free = best_response(problem, np.full((4, 2), 10.0))
    assert free[:, 0] == pytest.approx([4.0, 0.0, 0.0, 0.0])
    assert free[:, 1] == pytest.approx([0.0, 0.0, 0.0, 4.0])
    result = solve_caps(problem, CapsOptions("least_restriction"))
    assert (result.status, result.withheld_kwh) == ("optimal", 0.0)
    assert charging_cost_eur(problem, result.charge_kw) == pytest.approx([0.4, 0.4])


@pytest.mark.parametrize("form", ["auto", "kkt"])
def test_only_the_order_of_a_homes_prices_matters_to_what_is_withheld(form: str) -> None:
    steep, exact = np.array([0.1, 0.2, 0.3, 0.4]), CapsOptions("least_restriction", form=form, **EXACT)
    withheld = [
        solve_caps(day(tariff_eur_per_kwh=tariff), exact).objective
        for tariff in (steep, np.column_stack([steep, 2 * steep]), np.column_stack([steep**2, steep]))
    ]
    assert withheld[0] > 1.0
    assert withheld == pytest.approx([withheld[0]] * 3, abs=1e-3)


@pytest.mark.parametrize("form", ["auto", "kkt"])
def test_a_price_below_nil_fills_the_battery_and_caps_reckon_with_it(form: str) -> None:
    """Each car needs 4 kWh and takes 8: both would draw 4 kW in both paid slots, and only one may."""
    problem = day(tariff_eur_per_kwh=np.array([-0.1, -0.1, 0.2, 0.2]), battery_room_kwh=np.full(2, 8.0))
    free = best_response(problem, np.full((4, 2), 10.0))
    assert free == pytest.approx(np.tile([[4.0], [4.0], [0.0], [0.0]], 2))
    result = solve_caps(problem, CapsOptions("least_restriction", form=form, **EXACT))
    assert result.objective == pytest.approx(8.0, abs=1e-3)
    assert result.charge_kw.sum(axis=1).max() <= 4.0 + 1e-4
    for car in range(2):
        assert best_response_lp(problem, result.caps_kw, car) == pytest.approx(result.charge_kw[:, car], abs=1e-6)


# bad input, and what would have to give


def test_faults_name_slots_and_homes() -> None:
    inflexible = np.zeros((4, 2))
    inflexible[2, 1] = np.nan
    with pytest.raises(InputError) as raised:
        day(inflexible_kw=inflexible, battery_room_kwh=np.array([4.0, 1.0]), energy_need_kwh=np.array([4.0, np.nan]))
    text = str(raised.value)
    assert "slot 2, home 1" in text
    assert "car 1 of home 1" in text
    with pytest.raises(InputError, match=r"give shape \(4, 2\)"):
        day(tariff_eur_per_kwh=np.zeros((4, 3)))


def test_what_chargers_cannot_run_at_together_is_left_unserved_and_named() -> None:
    """5 kWh each for two chargers that run at 4 kW only, in two slots: both must run in the first, which is 8 kW."""

    def limited(kw: float) -> CapsProblem:
        least, need = np.full(2, 4.0), np.full(2, 5.0)
        return day(2, 2, charger_min_kw=least, energy_need_kwh=need, limit_kw=np.full((2, 3), kw))

    for form in ("auto", "kkt"):
        result = solve_caps(limited(5.2), CapsOptions("least_restriction", form=form, gap=1e-4))
        assert result.status == "optimal"
        assert not result.fallback
        # one of them in the first hour; in the second its rest of 1 kWh, and 4 kWh of the other
        assert result.unserved_kwh.sum() == pytest.approx(1.0, abs=1e-3)
        assert {relaxation.kind for relaxation in result.relaxations} == {"need"}
        assert result.over_limit_kw < 1e-6
        assert solve_caps(limited(8.0 + 1e-5), CapsOptions("least_restriction", form=form)).unserved_kwh.sum() == 0.0


@pytest.mark.parametrize("objective", ["floor_then_least", "least_restriction", "max_min", "proportional", "min_cost"])
def test_the_sum_of_caps_serves_chargers_that_cannot_run_on_an_equal_share(objective: str) -> None:
    """One after the other: in the same slot neither of the two could run."""
    problem = day(2, 2, limit_kw=np.full((2, 3), 5.0), charger_min_kw=np.full(2, 4.0))
    result = solve_caps(problem, CapsOptions(objective, "sum_of_caps"))
    assert result.status in ("optimal", "gap_limit")
    assert result.unserved_kwh.sum() == pytest.approx(0.0, abs=1e-3)


def test_what_cannot_all_be_served_is_served_by_the_sum_of_caps_as_far_as_chargers_run() -> None:
    problem = day(2, 1, limit_kw=np.full((1, 3), 5.0), charger_min_kw=np.full(2, 4.0))
    result = solve_caps(problem, CapsOptions("least_restriction", "sum_of_caps"))
    assert result.unserved_kwh.sum() == pytest.approx(4.0, abs=1e-3)


@pytest.mark.parametrize("objective", ["floor_then_least", "least_restriction", "max_min", "proportional", "min_cost"])
def test_the_sum_of_caps_of_homes_in_which_no_charger_can_run(objective: str) -> None:
    problem = day(2, connection_kw=np.full(2, 3.0), charger_min_kw=np.full(2, 3.7))
    result = solve_caps(problem, CapsOptions(objective, "sum_of_caps"))
    assert result.unservable_kwh == pytest.approx([4.0, 4.0])
    assert (result.caps_kw.sum(axis=1) <= 4.0 + 1e-4).all()


@pytest.mark.parametrize("form", ["auto", "kkt"])
@pytest.mark.parametrize("objective", ["proportional", "min_cost"])
def test_what_is_left_unserved_does_not_blur_what_is_proven(objective: str, form: str) -> None:
    """16 kWh for two cars that want 4 and 16: weights of homes differ, and so do marginal logarithms."""
    need = np.array([4.0, 16.0])
    result = solve_caps(day(2, energy_need_kwh=need), CapsOptions(objective, form=form, **EXACT))
    assert result.status == "optimal"
    assert result.unserved_kwh.sum() == pytest.approx(4.0, abs=1e-3)
    assert result.objective == pytest.approx(result.bound, rel=1e-3, abs=1e-3)
