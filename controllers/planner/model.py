r"""The planner as a sparse (mixed-integer) linear programme.

Variables only for the pairs (vehicle :math:`v`, step :math:`t`) in which a vehicle is there, for the share
:math:`a_{vt}` of the step: charging power while it is there :math:`p_{vt}` [kW], the switch :math:`z_{vt}` and the
start :math:`y_{vt}` in the MILP; shortfall :math:`u_v` [kWh]; how far the import exceeds the peak that is owed
anyway; worst share of shortfall; sun that charging uses.

.. math::

    \sum_v s_{v\ell} p_{vt} \le C_{\ell t} \qquad
    n_v \le \eta_v \Delta \sum_t a_{vt} p_{vt} + u_v \le \max(n_v, h_v) \qquad
    \underline p_v z_{vt} \le p_{vt} \le \overline p_v z_{vt}

with the part :math:`s_{v\ell}` of each power on :math:`\ell`, which is the whole connection (always 1) or one of its
phases, need :math:`n_v` and room in the battery :math:`h_v`. As vehicles only charge, the content of the battery rises
through the stay and its limit needs one row per vehicle instead of one state per step. A partial step counts with its
full power against the capacity: the limit holds at every moment, not only on average.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cosim.contract import Float, Int
from cosim.contract.signals import Bool
from cosim.controllers.planner.options import Options
from cosim.controllers.planner.requests import Requests, Station, limits_of
from cosim.controllers.planner.stays import presence
from cosim.controllers.solver import Model, Rows


@dataclass(frozen=True, eq=False)
class Pairs:
    """Where charging may happen, vehicle by vehicle, shape (pair,) each.

    Attributes
    ----------
    vehicle, step : ndarray of int
        Which vehicle in which step.
    share : ndarray
        Part of the step in which it is there.
    low_kw, high_kw : ndarray
        Range of power while charging.
    battery_kwh_per_kw : ndarray
        Energy in the battery per kW held through the pair.
    """

    vehicle: Int
    step: Int
    share: Float
    low_kw: Float
    high_kw: Float
    battery_kwh_per_kw: Float

    def __len__(self) -> int:
        return len(self.vehicle)

    @property
    def follows(self) -> Bool:
        """Whether the pair before is the same vehicle, one step earlier."""
        found = np.zeros(len(self), bool)
        found[1:] = (self.vehicle[1:] == self.vehicle[:-1]) & (self.step[1:] == self.step[:-1] + 1)
        return found

    def starts(self, is_on: Bool) -> Bool:
        """Where charging begins, shape (pair,)."""
        return is_on & ~(np.roll(is_on, 1) & self.follows)

    def per_vehicle(self, values: Float, count: int) -> Float:
        """Sum over each vehicle's pairs, shape (vehicle,)."""
        return np.bincount(self.vehicle, values, count).astype(float)


def find_pairs(requests: Requests, station: Station, options: Options) -> Pairs:
    """Pairs that may charge: the vehicle is there, and the capacity of the step alone allows its least power.

    Derated, a vehicle has that part of its power, or as much more as its need takes when it charges through its stay.
    """
    vehicle, step, share = presence(requests.arrival_step, requests.departure_step)
    # coefficients of the switches: the smaller of the two keeps the relaxation tight
    high_kw = requests.power_max_kw[vehicle]
    for part, limit_kw in limits_of(requests, station):
        share_of, most_kw = part[vehicle], np.full(len(vehicle), np.inf)
        high_kw = np.minimum(high_kw, np.divide(limit_kw[step], share_of, out=most_kw, where=share_of > 0))
    low_kw = requests.power_min_kw[vehicle] if options.switched else np.zeros(len(vehicle))
    may = (high_kw > 0) & (high_kw >= low_kw)
    battery_kwh_per_kw = requests.efficiency[vehicle] * station.step_h * share
    pairs = Pairs(vehicle[may], step[may], share[may], low_kw[may], high_kw[may], battery_kwh_per_kw[may])
    if options.derate == 1.0:
        return pairs
    alone_kwh = pairs.per_vehicle(pairs.battery_kwh_per_kw * pairs.high_kw, len(requests))
    needed = np.divide(requests.energy_need_kwh, alone_kwh, out=np.ones(len(requests)), where=alone_kwh > 0)
    derated_kw = (np.clip(needed, options.derate, 1.0) * requests.power_max_kw)[pairs.vehicle]
    return replace(pairs, high_kw=np.maximum(np.minimum(pairs.high_kw, derated_kw), pairs.low_kw))


def servable_kwh(requests: Requests, pairs: Pairs) -> Float:
    """Part of each need that the vehicle could get if it were alone, shape (vehicle,) [kWh].

    What is missing no plan can serve: the stay is too short for the power or the capacity, or the least power for one
    step is more than the battery can take.
    """
    count = len(requests)
    alone_kwh = pairs.per_vehicle(pairs.battery_kwh_per_kw * pairs.high_kw, count)
    least_kwh = np.full(count, np.inf)
    np.minimum.at(least_kwh, pairs.vehicle, pairs.battery_kwh_per_kw * pairs.low_kw)
    # with a least power, the smallest dose is one step of it
    fits = least_kwh <= requests.headroom_kwh + 1e-9
    return np.where(fits, np.minimum(requests.energy_need_kwh, alone_kwh), 0.0)


@dataclass(frozen=True, eq=False)
class PlanModel:
    """The model, what it was made from, and where each variable stands.

    Attributes
    ----------
    requests, station, options : Requests, Station, Options
        What was asked, with stays as they are planned.
    pairs : Pairs
        Where charging may happen.
    relaxed : Model
        The leading rows and columns that have nothing to do with switches: the linear programme.
    mixed : Model or None
        All of them; None without on and off.
    high : ndarray, shape (column,)
        Upper limits of the columns; the lower ones are 0.
    power, shortfall : ndarray of int
        Columns.
    peak, worst : ndarray of int
        Column of what charging adds to the peak and of the worst share of shortfall; empty where they are not there.
    sun : ndarray of int
        Columns of sun used [kW], of the steps ``sun_step`` in which there is some.
    sun_step : ndarray of int
        These steps.
    worst_row : ndarray of int, shape (vehicle,)
        Rows that hold each share of shortfall below the worst; empty without.
    switch, start : ndarray of int
        Whole-number columns, the last ones; empty without on and off.
    """

    requests: Requests
    station: Station
    options: Options
    pairs: Pairs
    relaxed: Model
    mixed: Model | None
    high: Float
    power: Int
    shortfall: Int
    peak: Int
    worst: Int
    sun: Int
    sun_step: Int
    worst_row: Int
    switch: Int
    start: Int


def build(requests: Requests, station: Station, options: Options) -> PlanModel:
    """Build the model of these requests; costs come with each aim."""
    pairs = find_pairs(requests, station, options)
    count, number = len(requests), len(pairs)
    has_least = bool((pairs.low_kw > 0).any())
    starts = options.min_up_steps > 1 or options.max_starts is not None
    switched = options.switched and (has_least or starts)
    starts |= options.least_starts and has_least
    sun_step = np.flatnonzero((station.sun_kw > 0) & (np.bincount(pairs.step, minlength=station.steps) > 0))
    sizes = (
        number,
        count,
        station.peak_eur_per_kw > 0,
        options.fairness == "maxmin",
        len(sun_step),
        number * switched,
        number * starts,
    )
    power, shortfall, peak, worst, sun, switch, start = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    rows = Rows()
    _capacity_rows(rows, requests, station, pairs, power, peak)
    if len(sun):  # no more of it than is charged, on average over the step
        row_of = np.full(station.steps, -1)
        row_of[sun_step] = np.arange(len(sun))
        lit = np.flatnonzero(row_of[pairs.step] >= 0)
        drawn = (row_of[pairs.step[lit]], power[lit], pairs.share[lit])
        rows.add(len(sun), 0.0, np.inf, drawn, (np.arange(len(sun)), sun, -1.0))
    need, room = requests.energy_need_kwh, np.maximum(requests.headroom_kwh, requests.energy_need_kwh)
    every = np.arange(count)
    # the shortfall counts as energy: at least the need with it, at most what the battery holds
    rows.add(count, need, room, (pairs.vehicle, power, pairs.battery_kwh_per_kw), (every, shortfall, 1.0))
    worst_row = np.empty(0, np.int64)
    if len(worst):
        least = servable_kwh(requests, pairs)
        # shares of what could be served alone: what no plan can serve must not hold the worst share at 1
        worst_row = rows.add(count, -np.inf, need - least, (every, shortfall, 1.0), (every, worst, -least))
    high = np.ones(sum(sizes))  # of shares, switches and starts; the others follow
    high[power], high[shortfall], high[peak] = pairs.high_kw, need, np.inf
    high[sun] = station.sun_kw[sun_step]
    low, linear = np.zeros_like(high), sum(sizes[:5])
    # made before the switches' rows are added: they only tighten it, so its optimum bounds that of the whole
    relaxed, mixed = rows.model(low[:linear], low[:linear], high[:linear]), None
    if switched:
        _switch_rows(rows, pairs, power, switch)
        if starts:
            _start_rows(rows, pairs, options, switch, start, high)
        mixed = rows.model(low, low, high, np.arange(len(high)) >= linear)
    return PlanModel(
        requests, station, options, pairs, relaxed, mixed, high,
        power, shortfall, peak, worst, sun, sun_step, worst_row, switch, start,
    )  # fmt: skip


def _capacity_rows(rows: Rows, requests: Requests, station: Station, pairs: Pairs, power: Int, peak: Int) -> None:
    """Rows only where all together could exceed the capacity, and below the peak where that has a price."""
    used = np.flatnonzero(np.bincount(pairs.step, minlength=station.steps))
    row_of = np.full(station.steps, -1)
    if len(peak):
        row_of[used] = np.arange(len(used))
        sums = (row_of[pairs.step], power, 1.0)
        rows.add(len(used), -np.inf, station.peak_room_kw[used], sums, (np.arange(len(used)), peak, -1.0))
    for share, limit_kw in limits_of(requests, station):
        part = share[pairs.vehicle]
        # where all at full power fit, the row can never bind
        tight = used[np.bincount(pairs.step, part * pairs.high_kw, station.steps)[used] > limit_kw[used]]
        row_of[:] = -1
        row_of[tight] = np.arange(len(tight))
        bound = (row_of[pairs.step] >= 0) & (part > 0)
        rows.add(len(tight), -np.inf, limit_kw[tight], (row_of[pairs.step[bound]], power[bound], part[bound]))


def _switch_rows(rows: Rows, pairs: Pairs, power: Int, switch: Int) -> None:
    every = np.arange(len(pairs))
    rows.add(len(every), -np.inf, 0.0, (every, power, 1.0), (every, switch, -pairs.high_kw))
    least = np.flatnonzero(pairs.low_kw > 0)
    row = np.arange(len(least))
    rows.add(len(least), 0.0, np.inf, (row, power[least], 1.0), (row, switch[least], -pairs.low_kw[least]))


def _start_rows(rows: Rows, pairs: Pairs, options: Options, switch: Int, start: Int, high: Float) -> None:
    """A start is a switch that was off a step before; none where the rest of the stay is too short for it."""
    number, follows = len(pairs), pairs.follows
    every, later = np.arange(number), np.flatnonzero(follows)
    # y_t >= z_t - z_{t-1}; at the beginning of a spell the switch before counts as off
    rows.add(number, 0.0, np.inf, (every, start, 1.0), (every, switch, -1.0), (later, switch[later - 1], 1.0))
    if options.max_starts is not None:
        vehicles = int(pairs.vehicle.max(initial=-1)) + 1
        rows.add(vehicles, -np.inf, float(options.max_starts), (pairs.vehicle, start, 1.0))
    if options.min_up_steps > 1:
        spell = np.cumsum(~follows)
        ahead = np.bincount(spell, minlength=spell[-1] + 1 if number else 1)[spell] - _place_in(follows)
        high[start[ahead < options.min_up_steps]] = 0.0
        entries = [(every, switch, -1.0)]
        for back in range(options.min_up_steps):
            same = np.flatnonzero(_place_in(follows) >= back)
            entries.append((same, start[same - back], 1.0))
        # starts of the last m steps sum to at most the switch: the facets of minimum up times (Rajan and Takriti,
        # 2005), tighter than one row for each step ahead
        rows.add(number, -np.inf, 0.0, *entries)


def _place_in(follows: Bool) -> Int:
    """Place of each pair within its unbroken spell, from 0."""
    every = np.arange(len(follows))
    return every - np.maximum.accumulate(np.where(follows, 0, every)) if len(every) else every
