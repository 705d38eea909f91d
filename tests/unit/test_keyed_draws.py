"""Draws by customer and day: larger shares contain smaller ones, and nobody is drawn anew because of others."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosim.contract.streams import Keyed, each
from cosim.experiments import scenario as scenarios
from cosim.experiments.compose import compose
from cosim.experiments.day import Day
from cosim.feeders.profiles import draw_pv
from cosim.feeders.sessions import draw_sessions

MASTER = """Clear
New Circuit.street Bus1=SourceBus BasekV=11 pu=1.0 phases=3 R1=0 X1=1e-6 R0=0 X0=1e-6
New Transformer.TR Phases=3 Windings=2 Buses=[SourceBus 1] Conns=[Delta Wye] kVs=[11 0.4] kVAs=[100 100] XHL=4
New LineCode.c nphases=3 R1=0.4 X1=0.1 R0=0.4 X0=0.1 C1=0 C0=0 Units=km NormAmps=180
New Line.L Bus1=1 Bus2=2 Phases=3 LineCode=c Length=200 Units=m
{loads}
Set VoltageBases=[11 0.4]
CalcVoltageBases
"""
HOMES = tuple(f"HOME{number}" for number in range(1, 15))
WITHOUT = "HOME4"
SHARES = {"ev": 0.5, "pv": 0.5, "heat_pump": 0.5, "battery": 0.5}
MORE: dict[str, Any] = {
    "households": {
        "profiles": "january_weekday", "power_factor_sd": 0.03, "noncompliant_share": 0.5,
        "responses": {"cheapest": 0.5, "immediate": 0.5},
    },
    "ev": {"share": 0.5, "plug_in_days_per_week": 5.0, "single_phase_share": 0.5, "announced_energy_error_percent": 9},
    "tariff_shares": {"night": 0.5},
    "tariffs": {"night": {"bands": [{"eur_per_kwh": 0.1}]}},
    "comm_loss": {"share": 0.5},
    "forecast": {"kind": "noisy"},
}  # fmt: skip


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, str]:
    """Paths of a street of 14 homes, and of the same without one."""
    paths = {}
    for whole in (True, False):
        folder = tmp_path_factory.mktemp("street")
        rows = [
            f"New Load.{name} Phases=3 Bus1=2 kV=0.4 kW=1"
            if number % 3 == 0
            else f"New Load.{name} Phases=1 Bus1=2.{number % 3} kV=0.23 kW=1"
            for number, name in enumerate(HOMES)
            if whole or name != WITHOUT
        ]
        (folder / "Master.dss").write_text(MASTER.format(loads="\n".join(rows)))
        paths[whole] = str(folder / "Master.dss")
    return paths


@pytest.fixture(scope="module")
def made(street: dict[bool, str]) -> Any:
    """Makes a day on the street, read once."""
    feeders: dict[bool, Any] = {}

    def make(whole: bool = True, **changed: Any) -> Day:
        tables: dict[str, Any] = {name: {"share": share} for name, share in SHARES.items()}
        tables |= {
            "name": "keyed", "feeder": street[whole], "start": "2026-01-28T00:00:00", "draws": "keyed",
            "runs": [{"controller": "none"}],
        }  # fmt: skip
        found = compose(scenarios.parse(tables | changed, Path("scenario.toml")), feeder=feeders.get(whole))
        feeders.setdefault(whole, found.feeder)
        return found

    return make


def facts(day: Day) -> dict[str, dict[str, Any]]:
    """What each home is like, by what it has."""
    drawn, names = day.exogenous, day.feeder.customers
    found: dict[str, dict[str, Any]] = {name: {} for name in ("ev", "pv", "heat_pump", "battery", "homes")}
    cars = [getattr(drawn.sessions, field.name) for field in fields(drawn.sessions) if field.name != "customer"]
    pump, battery = drawn.devices["heat_pump"].data, drawn.devices["battery"].data
    for row, name in enumerate(names):
        mine = drawn.sessions.customer == row
        if mine.any():
            found["ev"][name] = [values[mine].tolist() for values in cars]
        if drawn.inverter_kva[row]:
            found["pv"][name] = [drawn.inverter_kva[row], *drawn.pv_available_kw[:, row]]
        if pump.rated_kw[row]:
            found["heat_pump"][name] = [
                pump.loss_kw_per_k[row], *pump.wanted_c[:, row], *pump.water_kw[:, row], pump.tank_kwh_per_k[row]
            ]  # fmt: skip
        if battery.rated_kw[row]:
            found["battery"][name] = battery.capacity_kwh[row]
        found["homes"][name] = [*drawn.demand_kw[:, row], *drawn.demand_kvar[:, row]]
    return found


@pytest.mark.parametrize("name", SHARES)
def test_a_larger_share_contains_a_smaller_one_as_it_was(made: Any, name: str) -> None:
    seen: list[dict[str, dict[str, Any]]] = [facts(made(**{name: {"share": share}})) for share in (0.15, 0.5, 1.0)]
    assert [len(found[name]) for found in seen] == [2, 7, 14]
    for fewer, more in pairwise(seen):
        assert fewer[name].items() <= more[name].items()
        for other in {*SHARES, "homes"} - {name}:  # and nothing else is drawn anew
            assert fewer[other] == more[other]


def test_nobody_changes_where_a_customer_leaves(made: Any) -> None:
    whole, less = made(**MORE), made(whole=False, **MORE)
    before, after = facts(whole), facts(less)
    for name, here in before.items():
        both = here.keys() & after[name].keys()
        assert len(both) >= 6
        assert {home: here[home] for home in both} == {home: after[name][home] for home in both}
    kept = [row for row, name in enumerate(whole.feeder.customers) if name != WITHOUT]
    expected = [day.forecast.expected.demand_kw for day in (whole, less)]
    np.testing.assert_array_equal(expected[0][:, kept], expected[1])
    one, other = whole.behaviour, less.behaviour
    # a half of them is one fewer now, or another comes in for the one who left: no more than that
    assert (one.noncompliant[kept] != other.noncompliant).sum() <= 1
    assert sum(one.response[row] != other.response[place] for place, row in enumerate(kept)) <= 1
    delays: list[dict[Any, float]] = []
    for day in (whole, less):
        cars, delay_s = day.exogenous.sessions, day.behaviour.start_delay_s
        of = [day.feeder.customers[row] for row in cars.customer]
        delays.append(dict(zip(zip(of, cars.arrival_min, strict=True), delay_s, strict=True)))
    both_there = delays[0].keys() & delays[1].keys()
    assert len(both_there) >= 4
    assert all(delays[0][session] == delays[1][session] for session in both_there)
    silent = whole.behaviour.silent[:, kept], less.behaviour.silent
    assert (silent[0] != silent[1]).any(axis=0).sum() <= 1
    phases = np.array(whole.feeder.charger_phase)[kept], np.array(less.feeder.charger_phase)
    both_told = (phases[0] > 0) & (phases[1] > 0)
    assert both_told.any()
    np.testing.assert_array_equal(phases[0][both_told], phases[1][both_told])


def test_a_day_of_a_longer_run_is_that_day_alone(made: Any) -> None:
    whole = made(**MORE, horizon_h=72.0)
    alone = made(**MORE, start="2026-01-29T00:00:00")
    day = slice(1440, 2880)
    for name in ("demand_kw", "demand_kvar", "pv_available_kw"):
        np.testing.assert_array_equal(getattr(alone.exogenous, name), getattr(whole.exogenous, name)[day], err_msg=name)
        expected = alone.forecast.expected, whole.forecast.expected
        if name != "pv_available_kw":  # which is cut at the highest of the horizon
            np.testing.assert_array_equal(getattr(expected[0], name), getattr(expected[1], name)[day], err_msg=name)
    cars, of_all = alone.exogenous.sessions, whole.exogenous.sessions
    inside = (of_all.arrival_min > 1440) & (of_all.departure_min < 2880)
    uncut = (cars.arrival_min > 0) & (cars.departure_min < 1440)
    assert inside.any()
    told = (
        cars.customer[uncut],
        cars.arrival_min[uncut],
        cars.energy_need_kwh[uncut],
        alone.behaviour.start_delay_s[uncut],
    )
    told_of_all = (
        of_all.customer[inside], of_all.arrival_min[inside] - 1440, of_all.energy_need_kwh[inside],
        whole.behaviour.start_delay_s[inside],
    )  # fmt: skip
    for mine, theirs in zip(told, told_of_all, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(
        alone.exogenous.announced.energy_need_kwh[uncut], whole.exogenous.announced.energy_need_kwh[inside]
    )
    silent, of_whole = alone.behaviour.silent, whole.behaviour.silent[288:576]
    assert silent.any()
    assert (silent <= of_whole).all()  # what began the day before may reach over midnight
    other = made(**MORE, start="2026-01-30T00:00:00")
    assert (other.exogenous.pv_available_kw != alone.exogenous.pv_available_kw).any()


def test_keyed_draws_are_as_those_from_one_stream() -> None:
    names = [f"load{number}" for number in range(1200)]
    begin, minutes = datetime(2026, 3, 4), 3 * 1440

    def cars(rng: np.random.Generator, model: str | None) -> Any:
        return draw_sessions(len(names), 0.5, begin, minutes, rng, model=model, plug_in_days=5.0)

    for model in (None, "apartment"):
        one, other = cars(Keyed(1, "cars", names), model), cars(np.random.default_rng(1), model)
        energy = [drawn.energy_need_kwh.sum() / 1800.0 for drawn in (one, other)]
        assert energy[0] == pytest.approx(energy[1], rel=0.08)
        hours = [np.histogram(of.arrival_min[of.arrival_min > 0] % 1440, range(0, 1441, 240))[0] for of in (one, other)]
        assert np.abs(hours[0] - hours[1]).max() < 4.0 * np.sqrt(2.0 * hours[1].max())
        fast = [(drawn.charger_kw > 5.0).mean() for drawn in (one, other)]
        assert fast[0] == pytest.approx(fast[1], abs=0.06)
    roofs = [
        draw_pv(300, 0.5, 4.0, 53.0, -2.0, datetime(2026, 6, 4, 11), 60, rng, cloud="clear")
        for rng in (Keyed(1, "roofs", names[:300]), np.random.default_rng(1))
    ]
    assert [int((of.inverter_kva > 0).sum()) for of in roofs] == [150, 150]
    for values in zip(*([of.inverter_kva.sum(), of.pv_available_kw.sum() / 60] for of in roofs), strict=True):
        assert values[0] == pytest.approx(values[1], rel=0.03)


def test_streams_are_apart_and_can_be_asked_again() -> None:
    rng = Keyed(7, "cars", ["A", "b", "c"])
    first = [rng.of(row, day).random(2).tolist() for row in range(3) for day in (0, 1)]
    assert len({tuple(numbers) for numbers in first}) == 6
    assert rng.of(0).random() == Keyed(7, "cars", ["a"]).of(0).random()  # to OpenDSS A is a
    assert rng.of(0).random() != Keyed(7, "roofs", ["a"]).of(0).random()
    assert rng.on(1).of(0).random(2).tolist() == first[1]
    (drawn,) = each(rng, [2, 0], lambda one, who: (one.random(len(who)),), numbers=np.array([1, 1]))
    assert drawn.tolist() == [first[5][0], first[1][0]]
    assert sorted(rng.permutation(3)) == [0, 1, 2]
    many = Keyed(7, "cars", [f"h{number}" for number in range(500)])
    order, earlier = many.permutation(500), many.permutation(np.arange(100, 500))
    np.testing.assert_array_equal(order[order >= 100], earlier)
    np.testing.assert_array_equal(many.choice(500, 60, replace=False), order[:60])
    with pytest.raises(ValueError, match="takes no p or axis"):
        many.choice(500, 60, replace=False, p=np.full(500, 1 / 500))
    others = Keyed(7, "roofs", [f"h{number}" for number in range(500)]).permutation(500)
    for one, other in ((order, np.arange(500)), (order, others)):  # neither that of the file nor that of another part
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.15
    # who comes first is not told by what they draw first
    first_draws = np.array([many.of(row).random() for row in order.tolist()])
    assert abs(np.corrcoef(first_draws, np.arange(500))[0, 1]) < 0.15
