"""A live state as a client sends it, as `replan` takes it: names, moments and energy by what the plan knows of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import numpy as np
import pandas as pd

from cosim.controllers.planner.requests import Requests, make_requests
from cosim.errors import Fault, InputError, collecting, refuse
from cosim.experiments.plan.read import DAY_S, Demand
from cosim.experiments.plan.replan import LiveState, Rest, VehicleState
from cosim.experiments.plan.times import midnight
from cosim.experiments.web.schemas import LiveStateRequest, NewVehicle, VehicleNow
from cosim.experiments.web.stored import Kept

Moment = str | float
ToStep = Callable[[Moment | None, str], float | None]


def live_state(asked: LiveStateRequest, kept: Kept) -> LiveState:
    """Return what has happened, in steps and in kWh of the battery.

    Raises
    ------
    InputError
        With every moment that is none, and every vehicle of which too little is known.
    """
    faults: list[Fault] = []
    to_step = _steps_of(kept, faults)
    now_step = to_step(asked.time, "time")
    vehicles = {}
    for one in asked.vehicles:
        where = f"vehicle {one.vehicle!r}"
        if one.vehicle in vehicles:
            faults.append(Fault("state", where, "is there twice", "say everything of it once"))
        with collecting(faults):
            vehicles[one.vehicle] = VehicleState(
                status=one.status, arrival_step=to_step(one.arrival, f"{where}: arrival"),
                departure_step=to_step(one.departure, f"{where}: departure"), delivered_kwh=_delivered_kwh(one, kept),
            )  # fmt: skip
    new = _new(asked.new, kept, to_step, now_step) if asked.new else None
    refuse(faults)
    assert now_step is not None  # noqa: S101 - or a fault says why
    plugs = tuple(one.plug or one.vehicle for one in asked.new)
    return LiveState(
        now_step=now_step, vehicles=vehicles, new=new, new_plug=plugs, further_stay_h=asked.further_stay_h,
        peak_so_far_kw=asked.peak_so_far_kw,
    )  # fmt: skip


def demand_after(asked: LiveStateRequest, kept: Kept, rest: Rest) -> Demand:
    """Everybody, new vehicles last, over a horizon of whole days that holds all stays."""
    old, count = kept.demand, len(asked.new)
    last_step = float(rest.standing.requests.departure_step[list(rest.kept)].max(initial=0.0))
    return replace(
        old, requests=rest.standing.requests, steps=_steps(kept, last_step), line=(*old.line, *[0] * count),
        plug=rest.standing.plug, connector=(*old.connector, *["1"] * count),
        phases=np.append(old.phases, [one.phases or math.nan for one in asked.new]),
    )  # fmt: skip


def _steps(kept: Kept, last_step: float) -> int:
    """Length of the horizon: that of the plan, or longer by whole days."""
    station, start = kept.standing.station, kept.demand.start
    if last_step <= station.steps:
        return station.steps
    if start is None:
        return math.ceil(math.ceil(last_step * station.step_s / DAY_S) * DAY_S / station.step_s - 1e-9)
    begin, zone = (start, None) if start.tzinfo is None else (start.tz_convert("UTC").tz_localize(None), start.tzinfo)
    last = begin + pd.Timedelta(seconds=last_step * station.step_s - 1e-6)
    end = midnight(last, zone, 1)  # type: ignore[arg-type]  # made from a ZoneInfo
    return math.ceil((end - begin).total_seconds() / station.step_s - 1e-9)


def _steps_of(kept: Kept, faults: list[Fault]) -> ToStep:
    """Return what turns a moment into steps from the start of the horizon, and takes down what is no moment."""
    start, step_s = kept.demand.start, kept.standing.station.step_s

    def to_step(moment: Moment | None, key: str) -> float | None:
        if moment is None or isinstance(moment, float):
            return moment
        problem, remedy = f"is no time: {moment!r}", "write an ISO time such as 2025-08-18T12:00:00, or steps"
        try:
            time = pd.Timestamp(datetime.fromisoformat(moment))
            if start is None:
                problem, remedy = "is a time, and the sessions have steps only", "give a number of steps"
            elif time.tzinfo is not None and start.tzinfo is None:
                problem = f"has an offset, and nothing says of which zone the sessions are: {moment!r}"
                remedy = "leave the offset out"
            else:
                problem = f"comes twice or never by the clock of {start.tzinfo}: {moment!r}"
                remedy = "write its offset from UTC, such as +01:00"
                local = time if time.tzinfo is not None or start.tzinfo is None else time.tz_localize(start.tzinfo)
                return float((local - start).total_seconds() / step_s)
        except (ValueError, OverflowError):
            pass
        faults.append(Fault("state", key, problem, remedy))
        return None

    return to_step


def _delivered_kwh(one: VehicleNow, kept: Kept) -> float | None:
    requests = kept.standing.requests
    if one.vehicle not in requests.vehicle:
        return None  # told by `rest_of`
    row = requests.vehicle.index(one.vehicle)
    if one.drawn_kwh is not None:
        return one.drawn_kwh * float(requests.efficiency[row])
    if one.soc_percent is None:
        return one.delivered_kwh
    battery_kwh, arrival_kwh = float(requests.battery_kwh[row]), float(requests.soe_arrival_kwh[row])
    content_kwh = one.soc_percent / 100.0 * battery_kwh
    if not math.isfinite(battery_kwh) or arrival_kwh == 0 or content_kwh < arrival_kwh:
        known = math.isfinite(battery_kwh) and arrival_kwh > 0
        problem = "is less than on arrival" if known else "says nothing where battery or content on arrival is unknown"
        raise InputError(Fault("state", f"vehicle {one.vehicle!r}: soc_percent", problem, "give drawn_kwh instead"))
    return content_kwh - arrival_kwh


def _new(new: list[NewVehicle], kept: Kept, to_step: ToStep, now_step: float | None) -> Requests:
    usual = Counter(kept.standing.requests.efficiency.tolist()).most_common(1)[0][0]
    battery_kwh = [math.inf if one.battery_kwh is None else one.battery_kwh for one in new]
    arrival = [to_step(one.arrival, f"new vehicle {one.vehicle!r}: arrival") for one in new]
    departure = [to_step(one.departure, f"new vehicle {one.vehicle!r}: departure") for one in new]
    now = now_step or 0.0
    return make_requests(
        [one.vehicle for one in new], [one.power_kw for one in new], [one.energy_kwh for one in new], battery_kwh,
        [now if step is None else max(step, now) for step in arrival], [step or 0.0 for step in departure],
        soe_arrival_kwh=[0.0 if one.battery_kwh is None else one.soc_percent / 100.0 * one.battery_kwh for one in new],
        power_min_kw=[one.power_min_kw for one in new], efficiency=[one.efficiency or usual for one in new],
    )  # fmt: skip
