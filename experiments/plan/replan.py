"""Plan again in the middle of a day, from what happened: the past stands, the rest is planned anew, and both compared.

A plan and its re-plans are one `Standing` after the other, on one grid of steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from cosim.controllers.planner.plan import Planning
from cosim.controllers.planner.requests import ROUNDING_KWH, Requests, request_faults
from cosim.errors import Fault, meant, refuse
from cosim.experiments.plan.standing import COLUMNS, TOUCH, Standing

Status = Literal["plugged", "expected", "gone"]
LONGEST_H = 336.0
"""From now to a departure; of a session file's stays, too."""


@dataclass(frozen=True, kw_only=True)
class VehicleState:
    """What is known of one vehicle of the plan now; None: as it was planned.

    Attributes
    ----------
    status : {"plugged", "expected", "gone"} or None
        Whether it can be charged now, is still to come, or will not be charged any more.
    arrival_step, departure_step : float or None
        As they are announced now.
    delivered_kwh : float or None
        Into the battery since its arrival [kWh].
    """

    status: Status | None = None
    arrival_step: float | None = None
    departure_step: float | None = None
    delivered_kwh: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class LiveState:
    """What has happened until now.

    Attributes
    ----------
    now_step : float
        In steps from the start of the horizon.
    vehicles : mapping of str to VehicleState
        By name; who is not named is as planned.
    new : Requests or None
        Who was not planned; arrivals before now are as if they came now.
    new_plug : tuple of str
        Where they charge; empty: at plugs of their own.
    further_stay_h : float
        How long a vehicle that is plugged beyond its announced departure is assumed to stay from now on [h].
    peak_so_far_kw : float or None
        Largest import of the site until now, where it is metered; None: as planned [kW].
    """

    now_step: float
    vehicles: Mapping[str, VehicleState] = field(default_factory=dict)
    new: Requests | None = None
    new_plug: tuple[str, ...] = ()
    further_stay_h: float = 1.0
    peak_so_far_kw: float | None = None


@dataclass(frozen=True, eq=False)
class Rest:
    """What is left to be planned.

    Attributes
    ----------
    standing : Standing
        As it is now, with everybody, new vehicles last, and nothing planned for later.
    kept : ndarray of int, shape (vehicle of the rest,)
        Who is planned anew, as columns of the standing.
    requests : Requests
        Their needs and stays from now on.
    peak_so_far_kw : float
        Import of the past [kW].
    words : tuple of str, length (vehicle,)
        What became of each: ``as planned``, ``plugged``, ``expected``, ``overstays``, ``gone``, ``new``.
    notes : tuple of str
        What was assumed.
    """

    standing: Standing
    kept: tuple[int, ...]
    requests: Requests
    peak_so_far_kw: float
    words: tuple[str, ...]
    notes: tuple[str, ...]


def rest_of(before: Standing, state: LiveState) -> Rest:
    """What is left to be planned when this is known.

    Parameters
    ----------
    before : Standing
        The plan so far.
    state : LiveState
        What has happened.

    Raises
    ------
    InputError
        With everything in the state that cannot be.
    """
    refuse(_faults(before, state))
    now, step_h = state.now_step, before.station.step_h
    old, steps = before.until(now), len(before.power_kw)
    requests, delivered_kwh = old.requests, old.delivered_kwh.copy()
    arrival, departure = requests.arrival_step.copy(), requests.departure_step.copy()
    words, notes = ["as planned"] * len(requests), []
    for name, told in state.vehicles.items():
        row = requests.vehicle.index(name)
        if told.delivered_kwh is not None:
            delivered_kwh[row] = told.delivered_kwh
        arrival[row] = arrival[row] if told.arrival_step is None else told.arrival_step
        departure[row] = departure[row] if told.departure_step is None else told.departure_step
        words[row] = told.status or words[row]
        if told.status == "gone":
            departure[row] = min(departure[row], now)
        elif told.status == "expected" and arrival[row] < now:
            arrival[row] = now
            notes.append(f"{name} is late and planned as if it came now → give its arrival where it is known")
        elif told.status == "plugged":
            arrival[row] = min(arrival[row], now)
        if told.status == "plugged" and departure[row] <= now + TOUCH:
            words[row] = "overstays"
            departure[row] = now + state.further_stay_h / step_h
            notes.append(f"{name} is plugged beyond its departure and assumed to stay {state.further_stay_h:g} h more")
        elif told.status == "expected" and departure[row] <= arrival[row] + TOUCH:
            departure[row] = arrival[row]
            notes.append(f"{name} is expected after its departure, so it is not planned → give its departure")
    everybody = _joined(replace(requests, arrival_step=arrival, departure_step=departure), state.new)
    count = len(everybody) - len(requests)
    plug = (*before.plug, *(state.new_plug or everybody.vehicle[len(requests) :]))
    everybody = _one_after_the_other(everybody, plug, now, notes)
    words += ["new"] * count
    wide = {name: np.pad(getattr(old, name), ((0, 0), (0, count))) for name in ("power_kw", "past_kwh")}
    power_kw = np.where(np.arange(steps)[:, None] <= now - TOUCH, wide["power_kw"], 0.0)
    standing = Standing(
        everybody, plug, old.station, now, np.pad(delivered_kwh, (0, count)), power_kw, wide["past_kwh"],
        np.zeros_like(power_kw),
    )  # fmt: skip
    kept = np.flatnonzero(standing.stays).tolist()
    drawn = old.past_kwh > 0
    past_kw = np.where(drawn, old.power_kw, 0.0).sum(axis=1) + old.station.site_kw
    peak_kw = state.peak_so_far_kw
    if peak_kw is None:
        peak_kw = float(past_kw[: int(np.ceil(now - TOUCH))].max(initial=0.0))
    peak_kw = max(peak_kw, old.station.peak_so_far_kw)
    return Rest(standing, tuple(kept), standing.rest_requests(kept), peak_kw, tuple(words), tuple(notes))


def stand_after(rest: Rest, planning: Planning) -> Standing:
    """The past, and what is planned for the rest."""
    steps, kept = planning.station.steps, list(rest.kept)
    longer = ((0, steps - len(rest.standing.power_kw)), (0, 0))
    power_kw, past_kwh = (np.pad(getattr(rest.standing, name), longer) for name in ("power_kw", "past_kwh"))
    rest_kwh = np.zeros_like(past_kwh)
    rest_kwh[:, kept] = planning.best.energy_kwh
    begun = int(np.floor(rest.standing.now_step + TOUCH))
    power_kw[begun:, kept] = planning.best.power_kw[begun:]
    return replace(
        rest.standing, station=planning.station, power_kw=power_kw, past_kwh=past_kwh, rest_kwh=rest_kwh
    )  # fmt: skip


def _one_after_the_other(requests: Requests, plug: Sequence[str], now: float, notes: list[str]) -> Requests:
    """Of vehicles that are at one plug from now on, the later begins when the earlier has left."""
    arrival, departure = requests.arrival_step.copy(), requests.departure_step.copy()
    until = dict.fromkeys(plug, -np.inf)
    for row in np.argsort(arrival, kind="stable").tolist():
        if departure[row] <= now + TOUCH:
            continue
        if arrival[row] < (free := until[plug[row]]) - TOUCH:
            arrival[row], departure[row] = free, max(free, departure[row])
            what = "begins when that one leaves" if departure[row] > free else "is not planned: it leaves before that"
            notes.append(f"{requests.vehicle[row]}: its plug {plug[row]!r} is still taken by another; it {what}")
        until[plug[row]] = max(until[plug[row]], departure[row])
    return replace(requests, arrival_step=arrival, departure_step=departure)


def _joined(requests: Requests, new: Requests | None) -> Requests:
    if new is None:
        return requests
    columns = {name: np.concatenate([getattr(requests, name), getattr(new, name)]) for name in COLUMNS}
    return Requests((*requests.vehicle, *new.vehicle), **columns)


def _faults(before: Standing, state: LiveState) -> Iterator[Fault]:
    where, now, step_h = "state", state.now_step, before.station.step_h
    latest = max(now, len(before.power_kw)) + LONGEST_H / step_h
    if not before.now_step - TOUCH <= now <= len(before.power_kw) + LONGEST_H / step_h:
        remedy = f"give a time of the horizon, from step {before.now_step:g} on: the plan knows what was before"
        yield Fault(where, "time", f"is step {now:.6g}", remedy)
    if not 0 < state.further_stay_h <= LONGEST_H:
        yield Fault(
            where, "further_stay_h", f"is {state.further_stay_h:g}", f"give hours above 0, at most {LONGEST_H:g}"
        )
    known = set(before.requests.vehicle)
    for name, told in state.vehicles.items():
        place = f"vehicle {name!r}"
        if name not in known:
            yield Fault(where, place, "is not in the plan", meant(name, known, "list it under `new`"))
            continue
        battery_kwh = before.requests.battery_kwh[before.requests.vehicle.index(name)]
        if told.delivered_kwh is not None and not 0 <= told.delivered_kwh <= min(battery_kwh, 1e6) + ROUNDING_KWH:
            yield Fault(where, place, f"delivered {told.delivered_kwh:g} kWh", "give what its battery took, 0 or more")
        ends = {"arrival": told.arrival_step, "departure": told.departure_step}
        for key, value in ends.items():
            if value is not None and not value <= latest:
                yield Fault(where, place, f"{key} at step {value:.6g}", f"give a time within {LONGEST_H:g} h of now")
        if told.status == "expected" and told.arrival_step is not None and not told.arrival_step >= now - TOUCH:
            yield Fault(where, place, "is expected, and its arrival is over", 'say "plugged", or when it comes')
        leaves = math.inf if told.departure_step is None or told.status == "gone" else told.departure_step
        if not leaves > max(now, told.arrival_step or now) + TOUCH:
            yield Fault(where, place, "departs before now or its arrival", 'give the time that is announced, or "gone"')
    new = state.new
    if new is not None:
        yield from request_faults(new, math.ceil(latest), lambda row: f"new vehicle {new.vehicle[row]!r}")
    for name in new.vehicle if new is not None else ():
        if name in known:
            yield Fault(where, f"new vehicle {name!r}", "is in the plan already", "give it another name")
