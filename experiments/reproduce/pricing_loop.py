"""Prices on the wires: drivers choose stations by price and time, and their charging loads a feeder.

Each station stands at a bus, with a plug for every driver that may be there at once; plugs of more than 7.4 kW have
three phases, others one, in turn. A driver leaves home in the evening, travels, waits as long as the model says (beta
f), and takes its energy at the station's power: the same evening for every price vector, so that only prices differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from cosim import Behaviour, Connection, EvSessions, Exogenous, Feeder, TransformerSpec, controllers, feeders, run
from cosim.contract import Float, Int
from cosim.controllers.pricing import Answer, Instance, Leader
from cosim.errors import Fault, InputError
from cosim.experiments.reproduce.station_read import WHERE, Order, stream
from cosim.feeders.households import draw_households, read_profiles
from cosim.feeders.profiles import ambient_temperature_c, tariff_eur_per_kwh
from cosim.measures import json_safe, scoreboard

if TYPE_CHECKING:
    from cosim.experiments.reproduce.station_pricing import Told

START, HOURS, STEP_MIN = datetime(2026, 5, 15, 12), 24, 5
LEAVES_MIN = (300.0, 420.0)  # 17 to 19 h
PERIOD_MIN = 180.0
SINGLE_PHASE_KW = 7.4
STAY, SPARE_MIN = 1.25, 15.0  # how much longer than needed a driver stays, by a share and by minutes
BATTERY_KWH = 100.0
PROFILES, POWER_FACTOR = "may_weekday", 0.95
DEFAULT_DAY = {"european_lv": {"source_pu": 1.02, "transformer": TransformerSpec(160.0, 4.0, 1.47)}}
CONTROLLERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("none", {}), ("equal_share", {"margin_percent": 5.0}), ("cpo_planner", {"formulation": "lp"}),
)  # fmt: skip
"""Nobody; as much for a plug as for a home; one operator of all plugs within what the homes leave of each phase."""
SHOWN = ("voltage_min_pu", "vuf_p95_percent", "neutral_current_p95_a", "transformer_peak_percent",
         "transformer_overload_min", "losses_kwh", "ev_delivered_kwh", "ev_unserved_kwh")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Site:
    """Stations on a feeder.

    Attributes
    ----------
    feeder : Feeder
        Its own customers first, then the plugs.
    homes : int
        Number of its own customers.
    plugs : ndarray of int, shape (station, plug)
        Columns of the plugs.
    buses : tuple of str, shape (station,)
        Where the stations stand.
    """

    feeder: Feeder
    homes: int
    plugs: Int
    buses: tuple[str, ...]


def add(told: Told, order: Order, leader: Leader) -> None:
    """Run a day for the optimistic, pessimistic and flat prices under each controller, one case each."""
    if not told.chosen:
        told.warnings.append("no price vector that can be served, so nothing to put on the feeder")
        return
    wanted = behaviours(told.chosen, leader)
    places = order.instance.stations // order.wishes.periods
    most = max(_busiest(answer, places) for _, answer in wanted.values())
    site = make_site(str(order.wishes.feeder), order.wishes.stations, order.instance.power_kw[:places], most)
    base = make_day(site, order.wishes.seed)
    leaves_min = stream(order.wishes.seed, "periods").uniform(*LEAVES_MIN, order.instance.users)
    for name, (prices, answer) in wanted.items():
        day = with_sessions(base, sessions(order.instance, answer, site, leaves_min))
        for controller, options in CONTROLLERS:
            try:
                made = controllers.make(controller, site.feeder, **options)
            except InputError as error:
                told.warnings.append(f"{controller} does not run on this feeder: {error}")
                continue
            measured = scoreboard(run(site.feeder, day, made, step_min=STEP_MIN, behaviour=Behaviour("immediate")))
            case = {
                "price_vector": name, "controller": controller, "prices": prices.tolist(), "buses": list(site.buses),
                "drivers": answer.served, "income_eur": leader.earned_eur(answer),
                "drivers_by_station": _by_place(answer, places).tolist(),
                **json_safe({metric: measured[metric] for metric in SHOWN}),
            }  # fmt: skip
            told.cases[f"loop_{name}_{controller}"] = case
            told.lines.append(f"On {site.feeder.name}, {name} prices, {controller}: {_sum_up(measured)}")


def behaviours(chosen: Mapping[str, Float], leader: Leader) -> dict[str, tuple[Float, Answer]]:
    """Prices and what drivers do there: time first at optimistic, cost first at pessimistic prices, and a flat price.

    The flat price is the level that earns most; all stations alike, drivers choose by time.
    """
    exact = leader.rules.gap == 0.0
    ends = {"optimistic": "optimistic" if exact else "weighted_optimistic",
            "pessimistic": "pessimistic" if exact else "weighted_pessimistic"}  # fmt: skip
    found = {name: (chosen[name], leader.answer(reading, chosen[name])) for name, reading in ends.items()}
    flat = [np.full(leader.instance.stations, level) for level in leader.instance.levels]
    best = max(flat, key=lambda prices: leader.income_eur(ends["optimistic"], prices))
    found["flat"] = (best, leader.answer(ends["optimistic"], best))
    return {name: (prices, answer) for name, (prices, answer) in found.items() if answer is not None}


def make_site(feeder: str, buses: str | None, power_kw: Float, plugs: int) -> Site:
    """Put stations on a feeder.

    Parameters
    ----------
    feeder : str
        Shipped name, or path of an OpenDSS file; ``european_lv`` as on the default day.
    buses : str or None
        Comma-separated, one for each station; None: three-phase buses at even shares of the distance.
    power_kw : ndarray, shape (station,)
        Which decides on the phases of its plugs.
    plugs : int
        Of each station.

    Raises
    ------
    InputError
        Where the number of buses is not that of the stations, or one is not on the feeder.
    """
    changes: dict[str, Any] = DEFAULT_DAY.get(feeder, {})
    bare = feeders.load(feeder, **changes)
    named = [part.strip() for part in buses.split(",") if part.strip()] if buses else _spread(bare, len(power_kw))
    if len(named) != len(power_kw):
        problem = f"names {len(named)} buses for {len(power_kw)} stations"
        raise InputError(Fault(WHERE, "--stations", problem, "give one bus per station"))
    added = [
        Connection(f"STATION{j + 1}_PLUG{k + 1}", bus, (1, 2, 3) if power > SINGLE_PHASE_KW else (k % 3 + 1,))
        for j, (bus, power) in enumerate(zip(named, power_kw, strict=True))
        for k in range(plugs)
    ]
    place = feeders.load(feeder, connections=added, **changes)
    column = {name: k for k, name in enumerate(place.customers)}
    table = [[column[f"STATION{j + 1}_PLUG{k + 1}"] for k in range(plugs)] for j in range(len(named))]
    return Site(place, len(bare.customers), np.array(table, dtype=np.int64).reshape(len(named), plugs), tuple(named))


def make_day(site: Site, seed: int) -> Exogenous:
    """Evening and night of the homes, without any car at home: minutes from noon."""
    minutes, count = 60 * HOURS, len(site.feeder.customers)
    demand_kw = np.zeros((minutes, count))
    demand_kw[:, : site.homes] = draw_households(
        read_profiles(PROFILES), site.homes, START, minutes, stream(seed, "day")
    )
    return Exogenous(
        start=START,
        step_min=1.0,
        demand_kw=demand_kw,
        demand_kvar=demand_kw * float(np.tan(np.arccos(POWER_FACTOR))),
        pv_available_kw=np.zeros((minutes, count)),
        inverter_kva=np.zeros(count),
        sessions=EvSessions.none(),
        tariff_eur_per_kwh=tariff_eur_per_kwh(START, minutes),
        ambient_c=ambient_temperature_c(START, minutes, site.feeder.latitude_deg),
        source_pu=np.full(minutes, np.nan),
    )


def with_sessions(day: Exogenous, cars: EvSessions) -> Exogenous:
    """The same day with other cars."""
    return replace(day, sessions=cars)


def sessions(instance: Instance, answer: Answer, site: Site, leaves_min: Float) -> EvSessions:
    """Stays of the drivers at the stations that they chose.

    Parameters
    ----------
    instance : Instance
        Users and stations, once per period.
    answer : Answer
        Who goes where.
    site : Site
        Plugs on the feeder.
    leaves_min : ndarray, shape (user,)
        When each leaves home for the first period, minutes from the start [min].

    Returns
    -------
    EvSessions
        Needs are what was paid for, at the plug (efficiency 1), at the station's power.
    """
    places = len(site.plugs)
    going = np.flatnonzero(answer.station >= 0)
    chosen = answer.station[going]
    crowd = np.bincount(chosen, minlength=instance.stations)
    # with periods, travel_h also counts the discomfort of a shift, which is no travel: the first period has least of it
    way_h = instance.travel_h.reshape(instance.users, -1, places).min(axis=1)[going, chosen % places]
    wait_h = instance.beta_h[chosen] * crowd[chosen]
    arrival = leaves_min[going] + PERIOD_MIN * instance.period[chosen] + 60.0 * (way_h + wait_h)
    need_kwh, power_kw = instance.demands_kwh[going], instance.power_kw[chosen]
    stay = STAY * 60.0 * need_kwh / power_kw + SPARE_MIN
    plug = _plugs(chosen % places, arrival, site.plugs)
    order = np.lexsort((arrival, plug))
    battery_kwh = np.maximum(BATTERY_KWH, need_kwh)
    return EvSessions(
        customer=plug[order],
        arrival_min=arrival[order],
        departure_min=(arrival + stay)[order],
        energy_need_kwh=need_kwh[order],
        charger_kw=power_kw[order],
        efficiency=np.ones(len(order)),
        battery_kwh=battery_kwh[order],
        soc_arrival_kwh=(battery_kwh - need_kwh)[order],
    )


def _plugs(place: Int, arrival: Float, plugs: Int) -> Int:
    """A plug of its own for each driver of a place, in the order of arrival, shape (driver,)."""
    column = np.zeros(len(place), dtype=np.int64)
    for j in range(len(plugs)):
        here = np.flatnonzero(place == j)
        column[here[np.argsort(arrival[here], kind="stable")]] = plugs[j, : len(here)]
    return column


def _busiest(answer: Answer, places: int) -> int:
    """Most drivers of any place, over all periods."""
    return int(_by_place(answer, places).max())


def _by_place(answer: Answer, places: int) -> Int:
    """Drivers of every place, over all periods, shape (place,)."""
    return np.bincount(answer.station[answer.station >= 0] % places, minlength=places)


def _sum_up(measured: Mapping[str, float]) -> str:
    return (
        f"lowest voltage {measured['voltage_min_pu']:.3f} pu, VUF {measured['vuf_p95_percent']:.2f} %, neutral "
        f"{measured['neutral_current_p95_a']:.0f} A, transformer {measured['transformer_peak_percent']:.0f} %, "
        f"{measured['ev_delivered_kwh']:.0f} kWh charged"
    )


def _spread(feeder: Feeder, count: int) -> Sequence[str]:
    """Buses with three phases at even shares of the distance from the transformer."""
    nodes = set(feeder.network.node_names)
    whole = [bus for bus, _ in sorted(feeder.distance_m.items(), key=lambda item: item[1])
             if all(f"{bus}.{phase}" in nodes for phase in (1, 2, 3))]  # fmt: skip
    if len(whole) < count:
        problem = f"has {len(whole)} three-phase buses for {count} stations"
        raise InputError(Fault(feeder.name, "--stations", problem, "use fewer stations or another feeder"))
    return [whole[round((j + 1) * (len(whole) - 1) / count)] for j in range(count)]
