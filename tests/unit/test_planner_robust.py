"""Plans that stand a change of mind: as early as is as cheap, and nothing in the last minutes if that can be."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.controllers.planner.aims import not_worth_charging
from cosim.controllers.planner.options import Options
from cosim.controllers.planner.plan import Planning, plan
from cosim.controllers.planner.requests import Requests, Station, make_requests, make_station
from cosim.errors import InputError
from tests.oracles.stations import aims_in_turn

STEPS = 24


def draw(seed: int) -> tuple[Requests, Station]:
    """A few cars at random times behind a capacity that binds, with prices of which many are equal."""
    rng, count = np.random.default_rng(seed), 5
    arrival = rng.uniform(0.0, 12.0, count)
    departure = np.minimum(arrival + rng.uniform(2.0, 14.0, count), STEPS)
    need_kwh, battery_kwh = rng.uniform(2.0, 18.0, count), rng.uniform(20.0, 60.0, count)
    power_kw = rng.choice([3.7, 7.0, 11.0], count)
    requests = make_requests([f"car {k}" for k in range(count)], power_kw, need_kwh, battery_kwh, arrival, departure)
    tariff = rng.choice([0.13, 0.2], STEPS)
    return requests, make_station(STEPS, rng.uniform(8.0, 20.0), tariff_eur_per_kwh=tariff)


def late_kwh_steps(planning: Planning) -> float:
    """Energy into batteries, each times the step in which it is drawn."""
    energy_kwh = planning.best.energy_kwh * planning.requests.efficiency
    return float(np.arange(planning.station.steps) @ energy_kwh.sum(axis=1))


def lost_kwh(planning: Planning, early_step: float) -> float:
    """Energy planned after everybody has left so much early."""
    edge, requests = np.arange(planning.station.steps)[:, None], planning.requests
    after = np.minimum(edge + 1, requests.departure_step) - np.maximum(edge, requests.departure_step - early_step)
    return float((planning.best.power_kw * np.clip(after, 0.0, 1.0)).sum() * planning.station.step_h)


@pytest.mark.parametrize("seed", range(12))
def test_early_energy_is_the_last_aim_and_changes_no_other(seed):
    requests, station = draw(seed)
    for objective in ("weighted", "service"):
        planning = plan(requests, station, Options(objective=objective))
        expected = aims_in_turn(requests, station, objective)
        assert planning.best.objective == pytest.approx(expected[-2], abs=1e-6)
        if objective == "service":
            assert planning.best.unserved_kwh.sum() == pytest.approx(expected[0], abs=1e-5)
            assert planning.best.cost_eur == pytest.approx(expected[-2], abs=1e-6)
        assert late_kwh_steps(planning) == pytest.approx(expected[-1], abs=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_margins_come_after_service_and_before_cost(seed):
    requests, station = draw(seed)
    planning = plan(requests, station, Options(margin_min=20.0))
    expected = aims_in_turn(requests, station, "service", 20.0 / 15.0)
    assert planning.best.unserved_kwh.sum() == pytest.approx(expected[0], abs=1e-5)
    assert lost_kwh(planning, 20.0 / 15.0) == pytest.approx(expected[1], abs=1e-5)
    assert planning.best.cost_eur == pytest.approx(expected[2], abs=1e-5)
    assert late_kwh_steps(planning) == pytest.approx(expected[3], abs=1e-3)


@pytest.mark.parametrize("seed", range(8))
def test_sun_load_and_peak_of_the_site_count_as_in_another_model(seed):
    requests, plain = draw(seed)
    rng = np.random.default_rng(seed)
    site_kw = rng.uniform(-9.0, 5.0, STEPS)
    station = make_station(
        STEPS, np.maximum(plain.capacity_kw - site_kw, 0.0), tariff_eur_per_kwh=plain.tariff_eur_per_kwh,
        peak_eur_per_kw=rng.uniform(0.0, 1.0), site_kw=site_kw, peak_so_far_kw=rng.uniform(0.0, 12.0),
    )  # fmt: skip
    for objective in ("weighted", "service"):
        planning = plan(requests, station, Options(objective=objective))
        expected = aims_in_turn(requests, station, objective)
        assert planning.best.objective == pytest.approx(expected[-2], abs=1e-5)
        if objective == "service":
            assert planning.best.unserved_kwh.sum() == pytest.approx(expected[0], abs=1e-5)
            assert planning.best.cost_eur == pytest.approx(expected[-2], abs=1e-5)
        assert late_kwh_steps(planning) == pytest.approx(expected[-1], abs=1e-3)


@pytest.mark.parametrize("formulation", ["lp", "milp"])
def test_on_a_flat_tariff_everybody_charges_at_once(formulation):
    requests = make_requests(["a", "b"], [8.0, 4.0], [9.0, 4.5], 50.0, [1.0, 3.0], 20.0, power_min_kw=4.0)
    best = plan(requests, make_station(24, 100.0), Options(formulation=formulation)).best
    at_once = np.zeros((24, 2))
    at_once[1:6, 0], at_once[3:8, 1] = 8.0, 4.0  # 10 and 5 kWh at the plug, from the arrival on
    assert best.power_kw == pytest.approx(at_once, abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_the_milp_moves_energy_forward_at_no_cost(seed):
    requests, station = draw(seed)
    requests = make_requests(
        list(requests.vehicle), requests.power_max_kw, requests.energy_need_kwh, requests.battery_kwh,
        requests.arrival_step, requests.departure_step, power_min_kw=1.4,
    )  # fmt: skip
    planning = plan(requests, station, Options(formulation="milp", least_starts=False))
    assert planning.best.cost_eur <= planning.endings["cost"].value + 2e-6
    assert late_kwh_steps(planning) <= 1.05 * aims_in_turn(requests, station, "service")[-1] + 1.0


def test_other_plans_are_not_held_to_the_early_one():
    requests, station = draw(2)
    assert len(plan(requests, station, Options(n_sols=3)).others) == 2


def test_a_margin_is_no_part_of_one_sum():
    with pytest.raises(InputError, match="margin_min"):
        Options(objective="weighted", margin_min=5.0)


@pytest.mark.parametrize(("price", "nothing"), [(None, [True, False]), (0.55, [True, True]), (0.56, [False, False])])
def test_whom_the_weighted_sum_gives_nothing(price, nothing):
    requests = make_requests(["bus", "car"], 50.0, 20.0, [250.0, 50.0], 0.0, 8.0)
    station = make_station(8, 100.0, tariff_eur_per_kwh=[0.9, 0.5] * 4)  # 0.5556 EUR/kWh in a battery
    options = Options(objective="weighted", shortfall_eur_per_kwh=price)
    assert not_worth_charging(requests, station, options).tolist() == nothing
    delivered_kwh = plan(requests, station, options).best.delivered_kwh
    assert delivered_kwh == pytest.approx(np.where(nothing, 0.0, 20.0))


def test_a_price_of_shortfall_where_service_comes_first_is_refused():
    with pytest.raises(InputError, match="shortfall_eur_per_kwh"):
        Options(shortfall_eur_per_kwh=1.0)
