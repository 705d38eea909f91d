"""Prices on the wires: drivers choose stations by price and time, and their charging loads a feeder.

Each station stands at a bus, with a plug for every driver that may be there at once; plugs of more than 7.4 kW have
three phases, others one, in turn. A driver leaves home in the evening, travels, waits as long as the model says (beta
f), and takes its energy at the station's power: the same evening for every price vector, so that only prices differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from cosim import Behaviour, Connection, EvSessions, Exogenous, Feeder, TransformerSpec, controllers, feeders, run
from cosim.contract import Float, Int
from cosim.controllers.pricing import Answer, Instance, Leader
from cosim.errors import Fault, InputError
from cosim.experiments.studies.base import Cases
from cosim.experiments.studies.station_pricing.config import WHERE, PricingConfig
from cosim.experiments.studies.station_pricing.data import PricingData, stream
from cosim.feeders.draw import DaySpec, draw_day
from cosim.measures import scoreboard
from cosim.measures.balance import valid

START, HOURS, STEP_MIN = datetime(2026, 5, 15, 12), 24, 5
LEAVES_MIN = (300.0, 420.0)  # 17 to 19 h
PERIOD_MIN = 180.0
SINGLE_PHASE_KW = 7.4
STAY, SPARE_MIN = 1.25, 15.0  # how much longer than needed a driver stays, by a share and by minutes
BATTERY_KWH = 100.0
PROFILES = "may_weekday"
DEFAULT_DAY = {"european_lv": {"source_pu": 1.02, "transformer": TransformerSpec(160.0, 4.0, 1.47)}}
CONTROLLERS: dict[str, dict[str, Any]] = {
    "none": {}, "equal_share": {"margin_percent": 5.0}, "cpo_planner": {"formulation": "lp"},
}  # fmt: skip
"""Nobody; as much for a plug as for a home; one operator of all plugs within what the homes leave of each phase."""

REPORTED = ("voltage_min_pu", "vuf_p95_percent", "neutral_current_p95_a", "transformer_peak_percent",
            "ev_delivered_kwh", "ev_unserved_kwh")  # fmt: skip
METRICS = (*REPORTED, "transformer_overload_min", "losses_kwh")


@dataclass(frozen=True, eq=False)
class Site:
    """Stations on a feeder.

    Attributes
    ----------
    bare, feeder : Feeder
        With its own customers only, and with the plugs after them.
    plugs : ndarray of int, shape (station, plug)
        Columns of the plugs.
    buses : tuple of str, shape (station,)
        Where the stations stand.
    """

    bare: Feeder
    feeder: Feeder
    plugs: Int
    buses: tuple[str, ...]


def charge(
    config: PricingConfig, data: PricingData, leader: Leader, chosen: Mapping[str, Float]
) -> tuple[Cases, list[str], list[str]]:
    """Run a day for the optimistic, pessimistic and flat prices under each controller.

    Returns
    -------
    dict
        Metrics, by prices and controller.
    list of str
        Lines for the screen.
    list of str
        Warnings: what could not be run.
    """
    if not chosen:
        return {}, [], ["no price vector that can be served, so nothing to put on the feeder"]
    instance, places = data.instance, data.instance.stations // config.periods
    wanted = behaviours(chosen, leader)
    at_place = {  # drivers of every place, over all periods
        name: np.bincount(answer.station[answer.station >= 0] % places, minlength=places)
        for name, (_, answer) in wanted.items()
    }
    plugs = max(int(count.max()) for count in at_place.values())
    site = make_site(str(config.feeder), config.stations, instance.power_kw[:places], plugs)
    homes = make_day(site, config.seed)
    leaves_min = stream(config.seed, "periods").uniform(*LEAVES_MIN, instance.users)
    cases: Cases = {}
    lines, warnings = [], []
    for name, (prices, answer) in wanted.items():
        exogenous = replace(homes, sessions=sessions(instance, answer, site, leaves_min))
        for controller, options in CONTROLLERS.items():
            try:
                made = controllers.make(controller, site.feeder, **options)
            except InputError as error:
                warnings.append(f"{controller} does not run on this feeder: {error}")
                continue
            ran = run(site.feeder, exogenous, made, step_min=STEP_MIN, behaviour=Behaviour("immediate"))
            measured = scoreboard(valid(ran))
            cases[f"loop_{name}_{controller}"] = {
                "price_vector": name, "controller": controller, "prices": prices, "buses": site.buses,
                "drivers": answer.served, "income_eur": leader.earned_eur(answer), "drivers_by_station": at_place[name],
                **{metric: measured[metric] for metric in METRICS},
                "bought_kwh": measured["ev_delivered_kwh"] + measured["ev_unserved_kwh"],
            }  # fmt: skip
            lines.append(
                f"On {site.feeder.name}, {name} prices, {controller}: lowest voltage {measured['voltage_min_pu']:.3f} "
                f"pu, VUF {measured['vuf_p95_percent']:.2f} %, neutral {measured['neutral_current_p95_a']:.0f} A, "
                f"transformer {measured['transformer_peak_percent']:.0f} %, {measured['ev_delivered_kwh']:.0f} kWh "
                "charged"
            )
    return cases, lines, warnings


def behaviours(chosen: Mapping[str, Float], leader: Leader) -> dict[str, tuple[Float, Answer]]:
    """Prices and what drivers do there: time first at optimistic, cost first at pessimistic prices, and a flat price.

    The flat price is the level that earns most; all stations alike, drivers choose by time.
    """
    weighted = "" if leader.rules.gap == 0.0 else "weighted_"
    by_time, by_cost = f"{weighted}optimistic", f"{weighted}pessimistic"
    flat = [np.full(leader.instance.stations, level) for level in leader.instance.levels]
    best = max(flat, key=lambda prices: leader.income_eur(by_time, prices))
    asked = {"optimistic": (chosen["optimistic"], by_time), "pessimistic": (chosen["pessimistic"], by_cost),
             "flat": (best, by_time)}  # fmt: skip
    found = {name: (prices, leader.answer(reading, prices)) for name, (prices, reading) in asked.items()}
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
    columns = len(bare.customers) + np.arange(len(added)).reshape(len(named), plugs)
    return Site(bare, place, columns, tuple(named))


def make_day(site: Site, seed: int) -> Exogenous:
    """Evening and night of the homes, without any car at home: minutes from noon."""
    spec = DaySpec(start=START, minutes=60 * HOURS, profiles=PROFILES)
    day = draw_day(site.bare, spec, lambda *_: stream(seed, "day"))
    names, plugs = ("demand_kw", "demand_kvar", "pv_available_kw"), (0, site.plugs.size)
    powers: dict[str, Any] = {name: np.pad(getattr(day, name), ((0, 0), plugs)) for name in names}
    return replace(day, **powers, inverter_kva=np.pad(day.inverter_kva, plugs))


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
    plug = np.zeros(len(going), dtype=np.int64)  # one of its own for each driver of a place, in the order of arrival
    for place, columns in enumerate(site.plugs):
        here = np.flatnonzero(chosen % places == place)
        plug[here[np.argsort(arrival[here], kind="stable")]] = columns[: len(here)]
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


def _spread(feeder: Feeder, count: int) -> Sequence[str]:
    """Buses with three phases at even shares of the distance from the transformer."""
    nodes = set(feeder.network.node_names)
    whole = [bus for bus, _ in sorted(feeder.distance_m.items(), key=lambda item: item[1])
             if all(f"{bus}.{phase}" in nodes for phase in (1, 2, 3))]  # fmt: skip
    if len(whole) < count:
        problem = f"has {len(whole)} three-phase buses for {count} stations"
        raise InputError(Fault(feeder.name, "--stations", problem, "use fewer stations or another feeder"))
    return [whole[round((j + 1) * (len(whole) - 1) / count)] for j in range(count)]
