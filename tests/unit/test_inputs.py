"""Inputs that move: source voltage, prices, answers of households, meters, announcements; and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linprog

import cosim
from cosim import controllers
from cosim.contract import Feeder, Observation, Setpoints
from cosim.devices import EvFleet
from cosim.errors import InputError
from cosim.experiments import scenario as scenarios
from cosim.experiments.compose import compose
from cosim.experiments.studies.sensitivity import study as sensitivity
from cosim.feeders.prices import power_factors, source_pu, tariff_eur_per_kwh, who_has_which
from cosim.households import Behaviour, Households
from cosim.measures import bills_eur
from cosim.stepper import Stepper

Make = Callable[..., Any]
BASE = {
    "name": "inputs",
    "feeder": "two_bus",
    "start": "2026-01-15T16:00:00",
    "horizon_h": 8,
    "ev": {"share": 1.0},
    "pv": {"share": 0.34},
    "runs": [{"controller": "none"}],
}


def parse(tmp_path: Path = Path(), **changed: Any) -> scenarios.Scenario:
    return scenarios.parse(BASE | changed, tmp_path / "mine.toml")


def make(**changed: Any) -> cosim.Day:
    return compose(parse(**changed))


# households


def charged(homes: Households, fleet: EvFleet, surplus_kw: np.ndarray) -> np.ndarray:
    """Power of all cars, step by step, without limits."""
    free = Setpoints.free(surplus_kw.shape[1])
    drawn = np.zeros_like(surplus_kw)
    for step, surplus in enumerate(surplus_kw):
        homes.begin(step, free)
        homes.asked_kw(surplus)  # asked twice, as where voltages have to settle
        drawn[step] = fleet.feasible_kw(step, homes.asked_kw(surplus), np.full(len(surplus), np.inf))
        fleet.charge(step, drawn[step])
    return drawn


def test_own_sun_first_is_the_cheapest_bill_there_is(two_bus: Feeder, make_day: Make, make_sessions: Make) -> None:
    """Against a linear programme that knows nothing of it: own sun at the export price, the rest at the tariff."""
    rng = np.random.default_rng(3)
    for _ in range(12):
        steps = 10
        price = rng.choice([0.1, 0.2, 0.3], steps)
        sun_kw = np.where(rng.random((steps, 3)) < 0.5, rng.uniform(1.5, 5.0, (steps, 3)), 0.0)  # above 6 A
        cars = make_sessions(*((home, 0.0, 600.0, float(rng.uniform(2, 30)), 4.0) for home in range(3)), efficiency=1.0)
        day = make_day(two_bus, steps, 60.0, sessions=cars, tariff_eur_per_kwh=price, pv_available_kw=sun_kw)
        fleet = EvFleet(two_bus, day)
        drawn = charged(Households(Behaviour("own_sun"), fleet, day, day), fleet, sun_kw)
        assert drawn.sum(axis=0) == pytest.approx(cars.energy_need_kwh)
        bill = bills_eur(drawn - sun_kw, price, 60.0, day.export_eur_per_kwh)
        for home in range(3):
            # own and bought power of every step; what is not used of the sun is sold
            costs = np.concatenate([np.full(steps, day.export_eur_per_kwh), price])
            most = [(0.0, min(4.0, sun)) for sun in sun_kw[:, home]] + [(0.0, 4.0)] * steps
            both = np.hstack([np.eye(steps), np.eye(steps)])
            need = np.ones((1, 2 * steps))
            best = linprog(costs, both, np.full(steps, 4.0), need, cars.energy_need_kwh[[home]], most)
            assert bill[home] == pytest.approx(best.fun - day.export_eur_per_kwh * sun_kw[:, home].sum(), abs=1e-6)


def test_a_pace_ends_with_the_stay(two_bus: Feeder, make_day: Make, make_sessions: Make) -> None:
    cars = make_sessions((0, 0.0, 300.0, 10.0, 4.0), (1, 30.0, 300.0, 1.0, 4.0), efficiency=1.0)
    day = make_day(two_bus, 6, 60.0, sessions=cars, tariff_eur_per_kwh=[0.3, 0.1, 0.2, 0.1, 0.3, 0.1])
    fleet = EvFleet(two_bus, day)
    drawn = charged(Households(Behaviour("paced"), fleet, day, day), fleet, np.zeros((6, 3)))
    assert drawn[:, 0] == pytest.approx([2.0] * 5 + [0.0])
    # 1 kWh in 4.5 h would be below 6 A (1.38 kW): it runs at those, half an hour of the first step
    assert drawn[:2, 1] == pytest.approx([0.69, 0.31])


def test_a_start_that_waited_comes_late_and_one_that_goes_on_does_not(
    two_bus: Feeder, make_day: Make, make_sessions: Make
) -> None:
    cars = make_sessions((0, 0.0, 60.0, 1.0, 4.0), (1, 0.0, 60.0, 1.0, 4.0), efficiency=1.0)
    price = [0.3, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]
    day = make_day(two_bus, 12, 5.0, sessions=cars, tariff_eur_per_kwh=price)
    late = np.array([420.0, 0.0])
    fleet = EvFleet(two_bus, day)
    drawn = charged(Households(Behaviour(start_delay_s=late), fleet, day, day), fleet, np.zeros((12, 3)))
    assert drawn[:7, 1] == pytest.approx([0, 0, 4, 4, 4, 0, 0])
    assert drawn[:7, 0] == pytest.approx([0, 0, 0, 4 * 0.6, 4, 4, 4 * 0.4])  # 7 min late
    fleet = EvFleet(two_bus, day)
    at_once = charged(Households(Behaviour("immediate", start_delay_s=late), fleet, day, day), fleet, np.zeros((12, 3)))
    assert at_once[:3, 0] == pytest.approx([4, 4, 4])


def test_homes_are_dealt_by_their_shares() -> None:
    group = who_has_which([0.5, 0.3], 20, np.random.default_rng(1))
    assert [int((group == one).sum()) for one in (0, 1, -1)] == [10, 6, 4]
    day = make(households={"responses": {"cheapest": 0.34, "paced": 0.33, "own_sun": 0.33}})
    assert sorted(day.behaviour.response) == ["cheapest", "own_sun", "paced"]
    delay_s = day.behaviour.start_delay_s
    assert len(delay_s) == len(day.exogenous.sessions) > 0
    assert 0.0 <= delay_s.min() < delay_s.max() <= 600.0
    assert make().behaviour.start_delay_s.size == 0


# prices, voltages and power factors

FRIDAY = datetime(2026, 5, 15, 12)
BANDS = [
    (0.0, 0.10, "all", tuple(range(1, 13))),
    (7.0, 0.30, "weekday", (1, 2, 3, 10, 11, 12)),
    (7.0, 0.25, "weekday", (4, 5, 6, 7, 8, 9)),
    (10.5, 0.15, "weekend", tuple(range(1, 13))),
]


def test_bands_hold_by_hour_kind_of_day_and_month() -> None:
    price = tariff_eur_per_kwh(FRIDAY, 2880, BANDS)
    # Friday noon, Saturday 0 h, 10:29 and 10:30, Sunday noon less a minute
    assert price[[0, 719, 720, 720 + 629, 720 + 630, 2879]].tolist() == [0.25, 0.25, 0.1, 0.1, 0.15, 0.15]
    assert tariff_eur_per_kwh(datetime(2026, 1, 16, 7), 1, BANDS).tolist() == [0.3]
    with pytest.raises(InputError, match="without a price"):
        tariff_eur_per_kwh(FRIDAY, 2880, BANDS[1:])


def test_every_home_pays_its_own_tariff(tmp_path: Path) -> None:
    (tmp_path / "dear.csv").write_text("time,eur\n2026-01-15T00:00,1.0\n2026-01-15T12:00,2.0\n", encoding="utf-8")
    day = compose(
        parse(
            tmp_path,
            tariffs={"flat": {"bands": [{"eur_per_kwh": 0.25}]}},
            tariff="flat",
            tariff_shares={"dear.csv": 0.34},
            export_eur_per_kwh=0.1,
        )
    )
    prices = day.exogenous.customer_tariff_eur_per_kwh
    assert prices is not None
    assert sorted(prices[0].tolist()) == [0.25, 0.25, 2.0]
    run = day.run("none", engine="reduced")
    drawn = np.maximum(run.trajectory.net_kw, 0.0).sum(axis=0) / 12.0
    fed_in = np.minimum(run.trajectory.net_kw, 0.0).sum() / 12.0
    assert run.metrics["cost_eur"] == pytest.approx(float(drawn @ prices[0]) + 0.1 * fed_in)
    assert [name for name in day.inputs_sha256 if name.endswith("/dear.csv")] == ["tariff_shares/dear.csv"]
    told = make(tariff_shares={"three_band": 0.5}, runs=[{"controller": "aggregator"}, {"controller": "even"}]).warnings
    assert [one for one in told if one.startswith("aggregator reckons with the price of 'three_band'")]


def test_the_source_swings_around_its_mean(tmp_path: Path) -> None:
    shape = source_pu(FRIDAY, 1440, 1.02, 2.0, 18.0)
    assert (shape.mean(), shape.min(), shape.max()) == pytest.approx((1.02, 1.0098, 1.0302))
    assert shape.argmin() == 360
    (tmp_path / "source.csv").write_text("time,pu\n2026-01-15T00:00,1.05\n2026-01-15T20:00,0.95\n", encoding="utf-8")
    day = compose(parse(tmp_path, grid={"source_profile": "source.csv"}, horizon_h=8, ev={}, pv={}))
    run = day.run("none", engine="reduced").trajectory
    unloaded = make(grid={"source_pu": 1.0}, ev={}, pv={}).run("none", engine="reduced").trajectory
    ratio = np.abs(run.node_v[:, 0]) / np.abs(unloaded.node_v[:, 0])
    assert ratio[[0, -1]] == pytest.approx([1.05, 0.95], rel=2e-3)


def test_power_factors_differ_from_home_to_home(tmp_path: Path) -> None:
    rng = np.random.default_rng
    factors = power_factors([f"h{n}" for n in range(2000)], 0.92, 0.03, None, lambda _: None, rng(1))
    assert isinstance(factors, np.ndarray)
    assert (factors.mean(), factors.std(), factors.max()) == pytest.approx((0.92, 0.03, 1.0), abs=2e-3)
    (tmp_path / "factors.csv").write_text("customer,power_factor\nb,0.8\n", encoding="utf-8")
    told: list[str] = []
    own = power_factors(["a", "b"], 0.95, 0.0, str(tmp_path / "factors.csv"), told.append, rng(1))
    assert np.asarray(own).tolist() == [0.95, 0.8]
    assert told


# meters and announcements


def watched(day: cosim.Day) -> list[Observation]:
    stepper = Stepper(day, engine="reduced")
    seen = [stepper.reset()]
    while not stepper.done:
        seen.append(stepper.step(Setpoints.free(3)))
    return seen


def test_meters_are_late_noisy_or_missing() -> None:
    true = watched(make())
    late = watched(make(meters={"latency_steps": 3}))
    for step in (4, 40):
        assert np.array_equal(late[step].net_kw, true[step - 3].net_kw)
        assert np.array_equal(late[step].voltage_v, true[step - 3].voltage_v)
        # a charger says itself what stands there
        assert np.array_equal(late[step].energy_left_kwh, true[step].energy_left_kwh)
        assert late[step].step == step
    noisy = watched(make(meters={"noise_percent": 10.0, "voltage_noise_percent": 1.0}))
    off = np.array([(b.demand_kw / a.demand_kw).tolist() for a, b in zip(true[1:], noisy[1:], strict=True)])
    assert (off.mean(), off.std()) == pytest.approx((1.0, 0.1), abs=0.02)
    volts = np.array([(b.voltage_v / a.voltage_v).tolist() for a, b in zip(true[1:], noisy[1:], strict=True)])
    assert volts.std() == pytest.approx(0.01, abs=0.002)
    assert np.array_equal(noisy[7].net_kw, watched(make(meters=noisy_table()))[7].net_kw)
    missing = watched(make(meters={"missing_share": 0.34}))
    assert missing[9].metered is not None
    assert missing[9].metered.sum() == 2
    absent = int(np.flatnonzero(~missing[9].metered)[0])
    here = missing[9].metered
    nominal_v = make().feeder.customer_nominal_v
    pu = true[9].voltage_v / nominal_v
    assert missing[9].voltage_v[absent] / nominal_v[absent] == pytest.approx(pu[here].mean())
    assert np.array_equal(missing[9].voltage_v[here], true[9].voltage_v[here])


def noisy_table() -> dict[str, float]:
    return {"noise_percent": 10.0, "voltage_noise_percent": 1.0}


def test_meters_change_what_is_seen_and_nothing_else() -> None:
    plain, metered = make(), make(meters={"noise_percent": 5.0, "latency_steps": 2, "missing_share": 0.34})
    one, other = plain.run("none", engine="reduced").trajectory, metered.run("none", engine="reduced").trajectory
    assert np.array_equal(one.node_v, other.node_v)
    names = {field.name for field in fields(Observation)}
    seen = watched(metered)[3]
    assert all(getattr(seen, name) is not None for name in names)


@pytest.mark.parametrize("name", [name for name in controllers.REGISTRY if name not in ("bilevel_caps", "pareto")])
def test_controllers_work_with_what_meters_tell(name: str) -> None:
    day = make(
        horizon_h=4,
        meters={"noise_percent": 5.0, "voltage_noise_percent": 1.0, "latency_steps": 2, "missing_share": 0.67},
        ev={"share": 1.0, "announced_departure_error_min": 60.0, "announced_energy_error_percent": 50.0},
    )
    run = day.run(name, engine="reduced").trajectory
    assert run.complete
    assert not run.degraded.any()
    assert np.isfinite(run.net_kw).all()


def test_drivers_leave_when_they_leave_whatever_they_say() -> None:
    plain = make(horizon_h=16)
    day = make(
        horizon_h=16,
        ev={"share": 1.0, "announced_departure_error_min": 60.0, "announced_energy_error_percent": 50.0},
    )
    true, said = day.exogenous.sessions, day.exogenous.announced
    assert said is not None
    assert np.array_equal(true.departure_min, plain.exogenous.sessions.departure_min)
    assert not np.array_equal(said.departure_min, true.departure_min)
    assert (said.energy_need_kwh <= true.battery_kwh - true.soc_arrival_kwh + 1e-9).all()
    for seen in watched(day):
        for home in np.flatnonzero(seen.plugged):
            assert seen.departure_min[home] in said.departure_min[said.customer == home]
    # homes know their own car: without a controller nothing changes
    runs = [one.run("none", engine="reduced").trajectory for one in (plain, day)]
    assert np.array_equal(runs[0].ev_kw, runs[1].ev_kw)
    assert plain.exogenous.announced is None


def test_a_charger_beyond_its_connection_is_told(tmp_path: Path) -> None:
    (tmp_path / "cars.csv").write_text(
        f"customer,arrival,departure,energy_kwh,charger_kw\n{make().feeder.customers[1]},"
        "2026-01-15T17:00,2026-01-15T22:00,10,22\n",
        encoding="utf-8",
    )
    day = compose(parse(tmp_path, ev={"sessions": "cars.csv"}))
    assert [one for one in day.warnings if "chargers of 1 home are rated above their connection" in one]
    with pytest.raises(InputError, match="rated above their connection"):
        compose(parse(tmp_path, ev={"sessions": "cars.csv"}, strict=True))
    assert not [one for one in make().warnings if "rated above" in one]
    strong = compose(parse(tmp_path, battery={"share": 1.0, "kw": 20.0}, heat_pump={"share": 0.3, "backup_kw": 14.0}))
    told = [one.partition(" are rated above")[0] for one in strong.warnings if "rated above" in one]
    assert told == ["batteries of 3 homes", "heat pumps of 1 home"]


# refused

NIGHT = {"eur_per_kwh": 0.1}


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"tariff": "nigth", "tariffs": {"night": {"bands": [NIGHT]}}}, "tariff"),
        ({"tariff": "prices.csv"}, "tariff"),
        ({"tariff_shares": {"three_band": 0.7, "night": 0.1}}, "tariff_shares"),
        ({"tariff_shares": {"three_band": 1.2}}, "tariff_shares"),
        ({"tariffs": {"three_band": {"bands": [NIGHT]}}}, "tariffs.three_band"),
        ({"tariffs": {"night": {"bands": []}}}, "tariffs.night.bands"),
        ({"tariffs": {"night": {"bands": [NIGHT | {"from_h": 1.0}]}}}, "tariffs.night.bands"),
        ({"tariffs": {"night": {"bands": [NIGHT, NIGHT]}}}, "tariffs.night.bands"),
        ({"tariffs": {"night": {"bands": [NIGHT | {"months": [0]}]}}}, "tariffs.night.bands.1.months"),
        ({"export_eur_per_kwh": 7.0}, "export_eur_per_kwh"),
        ({"grid": {"source_swing_percent": -1.0}}, "grid.source_swing_percent"),
        ({"grid": {"source_pu": 1.0, "source_profile": "nothing.csv"}}, "grid.source_profile"),
        ({"grid": {"source_profile": "nothing.csv"}}, "grid.source_profile"),
        ({"households": {"responses": {"cheapest": 0.5}}}, "households.responses"),
        ({"households": {"responses": {"sometimes": 1.0}}}, "households.responses.sometimes"),
        ({"households": {"response": "paced", "responses": {"cheapest": 1.0}}}, "households.responses"),
        ({"households": {"start_delay_s": -1.0}}, "households.start_delay_s"),
        ({"households": {"power_factors": "nothing.csv"}}, "households.power_factors"),
        ({"households": {"power_factor_sd": 2.0}}, "households.power_factor_sd"),
        ({"meters": {"latency_steps": 1.5}}, "meters.latency_steps"),
        ({"meters": {"missing_share": 7.0}}, "meters.missing_share"),
        ({"meters": {"noise": 7.0}}, "meters.noise"),
        ({"ev": {"announced_departure_error_min": -5.0}}, "ev.announced_departure_error_min"),
    ],
)
def test_what_is_refused(changed: dict[str, Any], key: str) -> None:
    with pytest.raises(InputError) as refused:
        parse(**changed)
    assert [fault.key for fault in refused.value.faults] == [key]
    assert all(fault.remedy for fault in refused.value.faults)


@pytest.mark.parametrize(
    ("changed", "text", "key"),
    [
        ({"grid": {"source_profile": "f.csv"}}, "time,pu\n2026-01-15T00:00,230\n2026-01-15T12:00,230\n", "pu"),
        ({"grid": {"source_profile": "f.csv"}}, "time,a,b\n2026-01-15T00:00,1,1\n2026-01-15T12:00,1,1\n", "columns"),
        ({"tariff": "f.csv"}, "time,eur\n2026-01-14T00:00,0.2\n2026-01-14T12:00,0.3\n", "time"),
        ({"tariff": "f.csv"}, "time,eur\n2026-01-15T00:00,22\n2026-01-15T12:00,30\n", "eur"),
        ({"households": {"power_factors": "f.csv"}}, "customer,power_factor\nload1,95\n", "power_factor"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, changed: dict[str, Any], text: str, key: str) -> None:
    (tmp_path / "f.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as refused:
        compose(parse(tmp_path, **changed))
    assert key in {fault.key.split(".")[-1] for fault in refused.value.faults}


def test_the_default_world_is_as_it_was() -> None:
    """No key of these changes anything where it has its default."""
    day, neutral = make(), make(grid={"source_swing_percent": 0.0}, meters={"noise_percent": 0.0}, tariff_shares={})
    assert day.meters is None
    assert neutral.meters is None
    assert np.isnan(day.exogenous.source_pu).all()
    assert day.exogenous.customer_tariff_eur_per_kwh is None
    one, other = (each.run("none", engine="reduced").trajectory for each in (day, neutral))
    assert np.array_equal(one.node_v, other.node_v)
    assert replace(day.exogenous).export_eur_per_kwh == 0.05


# the study


def test_the_study_moves_each_input_alone() -> None:
    day = parse()
    for name, keys in sensitivity.INPUTS.items():
        moved = sensitivity.changed(day, keys)
        assert moved != day, name
        others = {key: value for key, value in moved.model_dump().items() if key not in keys}
        assert others == {key: value for key, value in day.model_dump().items() if key not in keys}
    columns = ["input", "controller", "seed", *sensitivity.MEASURES]
    base = [[sensitivity.AS_IT_IS, "none", seed, 10.0 * seed, 1.0, 2.0, 3.0, 4.0] for seed in (1, 2)]
    moved_rows = [["late", "none", seed, 12.0 * seed, 1.0, 1.0, 3.0, 4.5] for seed in (1, 2)]
    found = sensitivity.effects(pd.DataFrame(base + moved_rows, columns=columns))
    assert found[list(sensitivity.MEASURES)].to_numpy().tolist() == [[2.0, 0, -1.0, 0, 0.5], [4.0, 0, -1.0, 0, 0.5]]
