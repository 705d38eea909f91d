"""Cars at home: sessions drawn from shipped arrivals and stays, or read from an own file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cosim.contract import EvSessions
from cosim.contract.streams import Keyed, each, on
from cosim.errors import Fault, InputError, refuse
from cosim.feeders.apartment import draw_apartment
from cosim.feeders.clock import Clock
from cosim.feeders.find import DATA, MODELS
from cosim.feeders.join import rows_of
from cosim.feeders.series import DAY_MIN
from cosim.feeders.tables import find_faults, numbers, read_table, refuse_out_of_range, told_once

Float = NDArray[np.float64]

CHARGER_KW = (7.4, 3.7)
FAST_SHARE = 2 / 3
BATTERY_KWH = (40.0, 52.0, 60.0, 77.0)
NEED_MEAN_KWH, NEED_SD_KWH = 10.0, 7.0
NEED_RANGE_KWH = (2.0, 40.0)
FEASIBLE_SHARE = 0.95  # largest need, of what the charger can give in the stay
LEAST_STAY_MIN, LEAST_GAP_MIN = 60.0, 30.0
USUAL_CHANCE, USUAL_JITTER_MIN = 0.75, 30.0
NEVER_MIN = 1e9
LEAST_NEED_KWH = 0.1

REQUIRED = ("customer", "arrival", "departure", "energy_kwh", "charger_kw")
OPTIONAL = ("battery_kwh", "soc_arrival_kwh", "efficiency", "charger_phase")
BATTERY_DEFAULT_KWH, CHARGED_SHARE_DEFAULT = 60.0, 0.9
ABSURD_CHARGER_KW, ABSURD_ENERGY_KWH, ABSURD_BATTERY_KWH = 50.0, 200.0, 1000.0
LONGEST_STAY_DAYS = 366.0


def draw_sessions(
    count: int,
    share: float,
    start: datetime,
    minutes: int,
    rng: np.random.Generator,
    *,
    efficiency: float = 0.9,
    day: int = 0,
    first_day: int = 0,
    model: str | None = None,
    plug_in_days: float = 7.0,
    weekly_energy_kwh: float | None = None,
) -> EvSessions:
    """Draw cars for a share of the customers, and their stays at home over the horizon.

    Every car has one session on every calendar day on which it plugs in, with at least half an hour between two. On
    three days of four it keeps its own usual arrival and stay within about half an hour; else it takes another from the
    shipped table. A session that crosses an edge of the horizon is cut as `cut_to_horizon` says, so cars that are
    already at home stand there from minute 0.

    Parameters
    ----------
    count : int
        Number of customers.
    share : float
        Share of customers with a car; ``round(share * count)`` distinct customers get one.
    start : datetime
        Local clock of the first minute.
    minutes : int
        Length of the horizon [min].
    rng : numpy.random.Generator
        Source of the draw; in the same state it draws the same cars.
    efficiency : float
        Battery energy per energy drawn.
    day : int
        Which day against the horizon's own: -1 is the day before, of the same cars.
    first_day : int
        Days that came before the start, where it is a part of a longer run.
    model : {None, "apartment"}
        ``apartment``: weeks of users as measured in Norway, see `cosim.feeders.apartment.draw_apartment`, with which
        the keys below have nothing to do.
    plug_in_days : float
        Days of a calendar week on which a car plugs in, drawn anew for every car and week. A session then needs
        ``7 / plug_in_days`` as much, so far as battery and stay allow.
    weekly_energy_kwh : float, optional
        Mean energy of a car at the meter in a week, before battery and stay limit it [kWh]; else 70 kWh over the
        efficiency.

    Returns
    -------
    EvSessions
        Ordered by customer and arrival. Every need can be met inside its stay.

    Raises
    ------
    InputError
        Where share or efficiency is out of range.

    Notes
    -----
    Arrivals and stays are OCHRE's (see ``feeders/data/SOURCE.md``). Assumptions of this project, for European cars: the
    need per session is gamma-distributed with mean 10 kWh and deviation 7 kWh, clipped to 2-40 kWh, and never above
    95 % of what the charger can put into the battery during the stay; two thirds of the chargers have 7.4 kW, one third
    3.7 kW; batteries hold 40, 52, 60 or 77 kWh and are left at 80-100 %.
    """
    rules = (
        ("share", 0.0 <= share <= 1.0, share, "give a share of homes between 0 and 1"),
        ("efficiency", 0.0 < efficiency <= 1.0, efficiency, "give a number above 0 and up to 1; 0.9 is usual"),
        ("model", model in (None, *MODELS), model, f"write one of {', '.join(MODELS)}, or None"),
        ("plug_in_days", 0.0 < plug_in_days <= 7.0, plug_in_days, "give days a week, above 0 and up to 7"),
    )
    refuse_out_of_range("cars", rules)
    cars = round(share * count)
    customer = rng.choice(count, cars, replace=False)
    if model == "apartment":
        begin = start + timedelta(days=day)
        return cut_to_horizon(draw_apartment(customer, begin, minutes, rng, efficiency=efficiency), minutes)

    def like(one: np.random.Generator, who: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        several = len(who)
        if isinstance(rng, Keyed):  # how many are fast is known of all together only
            fast = one.random(several) < FAST_SHARE
        else:
            fast = one.permutation(several) < round(FAST_SHARE * several)
        return fast, one.choice(BATTERY_KWH, several), one.integers(len(_table()), size=several)

    fast, battery_kwh, usual = each(rng, customer, like)
    charger_kw = np.where(fast, *CHARGER_KW)
    root = int(rng.integers(2**62))
    midnight_min = -(start.hour * 60 + start.minute)
    # from two days before (the longest stay is a little over a day) to one after (which ends the last stay)
    days = np.arange(-2, (minutes - midnight_min) // DAY_MIN + 2)
    need_factor = (1.0 if weekly_energy_kwh is None else weekly_energy_kwh * efficiency / (7 * NEED_MEAN_KWH)) * (
        7.0 / plug_in_days
    )
    drawn = [
        _draw_day(usual, charger_kw, battery_kwh, efficiency, on(rng, root, number), customer, need_factor)
        for number in (days + day + first_day + 100_000).tolist()
    ]
    arrival_min, stay_min, need_kwh, soc_kwh = (np.stack([one[part] for one in drawn]) for part in range(4))
    arrival_min += midnight_min + DAY_MIN * days[:, None]
    if plug_in_days < 7.0:
        away = ~np.stack([_plugs_in(customer, plug_in_days, rng, root, start.toordinal() + int(k) + day) for k in days])
        stay_min[away], need_kwh[away], arrival_min[away] = 0.0, 0.0, NEVER_MIN  # stands in nobody's way
    order = np.argsort(arrival_min, axis=0)
    arrival_min, stay_min, need_kwh, soc_kwh = (
        np.take_along_axis(values, order, axis=0) for values in (arrival_min, stay_min, need_kwh, soc_kwh)
    )
    departure_min = arrival_min + stay_min
    departure_min[:-1] = np.minimum(departure_min[:-1], arrival_min[1:] - LEAST_GAP_MIN)
    stay_min = departure_min - arrival_min
    need_kwh = np.minimum(need_kwh, FEASIBLE_SHARE * charger_kw * efficiency * stay_min / 60.0)
    kept = stay_min >= LEAST_STAY_MIN
    car = np.broadcast_to(np.arange(cars), kept.shape)[kept]
    sessions = EvSessions(
        customer=customer[car].astype(np.int64),
        arrival_min=arrival_min[kept],
        departure_min=departure_min[kept],
        energy_need_kwh=need_kwh[kept],
        charger_kw=charger_kw[car],
        efficiency=np.full(car.size, efficiency),
        battery_kwh=battery_kwh[car],
        soc_arrival_kwh=soc_kwh[kept],
    )
    return cut_to_horizon(sessions, minutes)


def cut_to_horizon(sessions: EvSessions, minutes: float) -> EvSessions:
    """Keep what lies inside the horizon, ordered by customer and arrival.

    The need of a session that crosses an edge is shared out evenly over its stay: what falls before minute 0 is already
    in the battery, what falls after the end is left for later. What could be met before can be met afterwards, and no
    edge of a horizon adds or loses energy on average. What then needs less than 0.1 kWh is left out.

    Parameters
    ----------
    sessions : EvSessions
        Arrivals may be negative and departures beyond the end.
    minutes : float
        Length of the horizon [min].
    """
    stay_min = sessions.departure_min - sessions.arrival_min
    arrival_min = np.maximum(sessions.arrival_min, 0.0)
    departure_min = np.minimum(sessions.departure_min, minutes)
    inside = np.maximum(departure_min - arrival_min, 0.0) / stay_min
    before = np.clip(-sessions.arrival_min, 0.0, stay_min) / stay_min
    cut = replace(
        sessions,
        arrival_min=arrival_min,
        departure_min=departure_min,
        energy_need_kwh=sessions.energy_need_kwh * inside,
        soc_arrival_kwh=sessions.soc_arrival_kwh + sessions.energy_need_kwh * before,
    )
    rows = np.lexsort((cut.arrival_min, cut.customer))
    rows = rows[cut.energy_need_kwh[rows] >= LEAST_NEED_KWH]
    return cut[rows]


def read_sessions(
    path: str | Path, customers: Sequence[str], clock: Clock, minutes: int, *, efficiency: float = 0.9
) -> EvSessions:
    """Read own sessions from a CSV or Parquet file.

    Columns: ``customer`` (name as in the feeder, in whatever capital letters), ``arrival`` and ``departure`` (times as
    `Clock.read` understands them), ``energy_kwh`` (into the battery), ``charger_kw``; optional ``battery_kwh`` (60, or
    the energy where that is more), ``soc_arrival_kwh`` (what makes the battery 90 % full at departure), ``efficiency``
    and ``charger_phase`` (see `cosim.feeders.chargers.with_chargers`). Sessions outside the horizon are passed over,
    those across an edge are cut as `cut_to_horizon` says. A need that the stay cannot meet is not a fault here: it is
    counted when the day is run.

    Raises
    ------
    InputError
        With every fault found.
    """
    sessions = _read_whole(path, customers, clock, efficiency)
    cut = cut_to_horizon(sessions, minutes)
    if not len(cut):
        problem = f"none of {len(sessions)} sessions lies within {minutes} min from {clock.start}"
        raise InputError(Fault(str(path), "arrival", problem, "change the start or the dates"))
    return cut


def _read_whole(path: str | Path, customers: Sequence[str], clock: Clock, efficiency: float) -> EvSessions:
    """Sessions of the file in its own order, however far from the start."""
    table = read_table(path, "sessions", "give the path of a file of sessions")
    where = str(path)
    faults = [Fault(where, name, "column is missing", "add it") for name in REQUIRED if name not in table.columns]
    known = REQUIRED + OPTIONAL
    faults += [
        Fault(where, str(name), "unknown column", f"use {', '.join(known)}")
        for name in table.columns
        if name not in known
    ]
    if not set(REQUIRED) <= set(table.columns):
        raise InputError(faults)
    elapsed = {name: clock.read(table[name], where, faults) - clock.start for name in ("arrival", "departure")}
    times = {name: np.asarray(since / pd.Timedelta(minutes=1), np.float64) for name, since in elapsed.items()}
    numeric = known[3:-1]  # the phase is the home's, see cosim.feeders.chargers
    values = {name: numbers(table[name], where, faults) for name in numeric if name in table.columns}
    energy_kwh = values["energy_kwh"]
    battery_kwh = values.get("battery_kwh", np.fmax(BATTERY_DEFAULT_KWH, energy_kwh))
    values.setdefault("efficiency", np.full(len(table), efficiency))
    values["battery_kwh"] = battery_kwh
    values.setdefault("soc_arrival_kwh", np.maximum(CHARGED_SHARE_DEFAULT * battery_kwh - energy_kwh, 0.0))
    named = table["customer"].astype(str).str.strip()
    customer = rows_of(list(named), customers)
    faults += _odd_sessions(customer, named, times, values, where)
    refuse(told_once(faults))
    return EvSessions(
        customer=customer,
        arrival_min=times["arrival"],
        departure_min=times["departure"],
        energy_need_kwh=energy_kwh,
        **{name: values[name] for name in numeric[1:]},
    )


@lru_cache(maxsize=1)
def _table() -> NDArray[np.int64]:
    """Shipped arrivals (minute of the day) and stays, shape (session, 2) [min]."""
    return pd.read_parquet(DATA / "ev_sessions.parquet").to_numpy(np.int64)


def _draw_day(
    usual: NDArray[np.int64],
    charger_kw: Float,
    battery_kwh: Float,
    efficiency: float,
    rng: np.random.Generator,
    customer: NDArray[np.int64],
    need_factor: float,
) -> tuple[Float, Float, Float, Float]:
    """Arrival (minute of the day), stay, need and state of charge on arrival of every car on one day.

    Seeded by the day, so that a day stays the same whatever horizon it is seen from.
    """
    shape = (NEED_MEAN_KWH / NEED_SD_KWH) ** 2

    def of_day(one: np.random.Generator, who: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        cars = len(who)
        return (
            one.random(cars), one.integers(len(_table()), size=cars), one.normal(0.0, USUAL_JITTER_MIN, (2, cars)),
            one.gamma(shape, NEED_MEAN_KWH / shape, cars), one.uniform(0.8, 1.0, cars),
        )  # fmt: skip

    chance, other, jitter_min, need_kwh, full_share = each(rng, customer, of_day)
    as_usual = chance < USUAL_CHANCE
    session = _table()[np.where(as_usual, usual, other)]
    jitter_min = np.round(jitter_min) * as_usual
    arrival_min = np.clip(session[:, 0] + jitter_min[0], 0.0, DAY_MIN - 1.0)
    stay_min = np.maximum(session[:, 1] + jitter_min[1], LEAST_STAY_MIN)
    need_kwh = np.clip(need_kwh, *NEED_RANGE_KWH) * need_factor
    need_kwh = np.minimum(need_kwh, FEASIBLE_SHARE * charger_kw * efficiency * stay_min / 60.0)
    need_kwh = np.minimum(need_kwh, 0.95 * battery_kwh)
    full_kwh = np.maximum(full_share * battery_kwh, need_kwh + 0.05 * battery_kwh)
    return arrival_min, stay_min, need_kwh, full_kwh - need_kwh


def _plugs_in(
    customer: NDArray[np.int64], days_per_week: float, rng: np.random.Generator, root: int, day: int
) -> NDArray[np.bool_]:
    """Which cars plug in on a day, counted from year 1: on a chance choice of days of its calendar week."""
    week, weekday = divmod(day - 1, 7)  # day 1 was a Monday

    def of_week(one: np.random.Generator, who: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        return one.random(len(who)), one.random((len(who), 7))

    more, chance = each(on(rng, root, week, 7), customer, of_week, axis=0)
    rank = np.argsort(np.argsort(chance, axis=1), axis=1)
    return np.asarray(rank[:, weekday] < np.floor(days_per_week + more))


def _odd_sessions(
    customer: NDArray[np.int64], names: pd.Series, times: Mapping[str, Float], values: Mapping[str, Float], where: str
) -> list[Fault]:
    arrival, departure = times["arrival"], times["departure"]
    energy, charger, battery = values["energy_kwh"], values["charger_kw"], values["battery_kwh"]
    soc, efficiency = values["soc_arrival_kwh"], values["efficiency"]
    overlaps = np.zeros(customer.size, bool)
    order = np.lexsort((arrival, customer))
    same = (customer[order][1:] == customer[order][:-1]) & (customer[order][1:] >= 0)
    overlaps[order[1:]] = same & (arrival[order][1:] < departure[order][:-1])
    too_long = departure - arrival > LONGEST_STAY_DAYS * DAY_MIN
    large = battery > ABSURD_BATTERY_KWH
    need = f"give kWh, above 0 and at most {ABSURD_ENERGY_KWH:g}"
    power = f"give kW, not W, above 0 and at most {ABSURD_CHARGER_KW:g}"
    rules: tuple[tuple[str, NDArray[np.bool_], Float | pd.Series, str, str], ...] = (
        ("customer", customer < 0, names, "no such customer: {!r}", "use a name that `cosim feeder` lists"),
        ("departure", departure <= arrival, departure, "is not after arrival", "mend the times"),
        ("departure", too_long, departure, f"is more than {LONGEST_STAY_DAYS:g} days after arrival", "mend the date"),
        ("arrival", overlaps, arrival, "before this customer's last car has left", "one session at a time at a home"),
        ("energy_kwh", (energy <= 0) | (energy > ABSURD_ENERGY_KWH), energy, "out of range: {:g}", need),
        ("charger_kw", (charger <= 0) | (charger > ABSURD_CHARGER_KW), charger, "out of range: {:g}", power),
        ("efficiency", (efficiency <= 0) | (efficiency > 1), efficiency, "not in (0, 1]: {:g}", "0.9 is usual"),
        ("soc_arrival_kwh", soc < 0, soc, "negative: {:g}", "give the content on arrival in kWh"),
        ("battery_kwh", soc + energy > battery + 1e-9, battery, "{:g} kWh cannot hold content and need", "mend one"),
        ("battery_kwh", large, battery, "out of range: {:g}", f"give kWh, at most {ABSURD_BATTERY_KWH:g}"),
    )
    return [
        fault
        for key, bad, shown, problem, remedy in rules
        for fault in find_faults(bad, shown, where, key, problem, remedy)
    ]
