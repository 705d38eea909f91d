"""Plan again in the middle of a day, from what happened: the past stands, the rest is planned anew, and both compared.

A plan and its re-plans are one `Standing` after the other, on one grid of steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd

from cosim.contract import Float
from cosim.contract.signals import Bool
from cosim.contract.survey import FrozenArrays
from cosim.controllers.planner.plan import Plan, Planning
from cosim.controllers.planner.requests import ROUNDING_KWH, Requests, Station
from cosim.errors import Fault, meant, refuse

Status = Literal["plugged", "expected", "gone"]
LONGEST_H = 336.0
"""From now to a departure; of a session file's stays, too."""
_TOUCH = 1e-9
_COLUMNS = (
    "power_max_kw", "power_min_kw", "energy_need_kwh", "battery_kwh", "soe_arrival_kwh", "arrival_step",
    "departure_step", "efficiency",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Standing(FrozenArrays):
    """A plan as far as it has come.

    Attributes
    ----------
    requests : Requests
        From each vehicle's arrival on, with stays as they were planned; who left early departs when it did.
    station : Station
        Its peak so far includes that of the past.
    now_step : float
        What lies before is the past.
    delivered_kwh : ndarray, shape (vehicle,)
        Into the battery since arrival, until now [kWh].
    power_kw : ndarray, shape (step, vehicle)
        As it was planned when it was still to come [kW].
    past_kwh, rest_kwh : ndarray, shape (step, vehicle)
        Drawn before now as it was planned, and planned from now on [kWh].
    """

    requests: Requests
    station: Station
    now_step: float
    delivered_kwh: Float
    power_kw: Float
    past_kwh: Float
    rest_kwh: Float

    @property
    def energy_kwh(self) -> Float:
        """Drawn in each step, before now or from now on, shape (step, vehicle) [kWh]."""
        return self.past_kwh + self.rest_kwh

    @property
    def by_departure_kwh(self) -> Float:
        """Into the battery from arrival to departure, shape (vehicle,) [kWh]."""
        return self.delivered_kwh + self.rest_kwh.sum(axis=0) * self.requests.efficiency

    @property
    def unserved_kwh(self) -> Float:
        """Missing at departure, shape (vehicle,) [kWh]."""
        return np.maximum(self.requests.energy_need_kwh - self.by_departure_kwh, 0.0)

    @property
    def best(self) -> Plan:
        """The whole as one plan, for figures; prices are those of the re-plan alone."""
        nothing = float("nan")
        return Plan(self.power_kw, self.energy_kwh, self.by_departure_kwh, self.unserved_kwh, *[nothing] * 4)

    @property
    def stays(self) -> Bool:
        """Who is there from now on, or still to come, shape (vehicle,)."""
        return np.asarray(self.requests.departure_step > max(self.now_step, 0.0) + _TOUCH)

    def until(self, now_step: float) -> Standing:
        """As it stands later, if all goes as planned."""
        arrival, departure = self.requests.arrival_step, self.requests.departure_step
        step = np.arange(len(self.rest_kwh), dtype=np.float64)[:, None]
        begin = np.maximum(np.maximum(step, arrival), self.now_step)
        length = np.minimum(step + 1.0, departure) - begin
        share = np.clip((now_step - begin) / np.where(length > _TOUCH, length, 1.0), 0.0, 1.0)
        moved_kwh = np.where(length > _TOUCH, share, 1.0) * self.rest_kwh
        delivered_kwh = self.delivered_kwh + moved_kwh.sum(axis=0) * self.requests.efficiency
        return replace(
            self, now_step=now_step, delivered_kwh=delivered_kwh, past_kwh=self.past_kwh + moved_kwh,
            rest_kwh=self.rest_kwh - moved_kwh,
        )  # fmt: skip


def standing_of(planning: Planning) -> Standing:
    """A plan of which nothing has happened yet."""
    best, requests = planning.best, planning.requests
    nothing = np.zeros_like(best.energy_kwh)
    return Standing(
        requests, planning.station, 0.0, np.zeros(len(requests)), best.power_kw, nothing, best.energy_kwh
    )  # fmt: skip


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
    further_stay_h : float
        How long a vehicle that is plugged beyond its announced departure is assumed to stay from now on [h].
    peak_so_far_kw : float or None
        Largest import of the site until now, where it is metered; None: as planned [kW].
    """

    now_step: float
    vehicles: Mapping[str, VehicleState] = field(default_factory=dict)
    new: Requests | None = None
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
        if told.status == "plugged" and departure[row] <= now + _TOUCH:
            words[row] = "overstays"
            departure[row] = now + state.further_stay_h / step_h
            notes.append(f"{name} is plugged beyond its departure and assumed to stay {state.further_stay_h:g} h more")
        elif told.status == "expected" and departure[row] <= arrival[row] + _TOUCH:
            departure[row] = arrival[row]
            notes.append(f"{name} is expected after its departure, so it is not planned → give its departure")
    everybody = _joined(replace(requests, arrival_step=arrival, departure_step=departure), state.new)
    count = len(everybody) - len(requests)
    words += ["new"] * count
    wide = {name: np.pad(getattr(old, name), ((0, 0), (0, count))) for name in ("power_kw", "past_kwh")}
    power_kw = np.where(np.arange(steps)[:, None] <= now - _TOUCH, wide["power_kw"], 0.0)
    standing = Standing(
        everybody, old.station, now, np.pad(delivered_kwh, (0, count)), power_kw, wide["past_kwh"],
        np.zeros_like(power_kw),
    )  # fmt: skip
    kept = np.flatnonzero(standing.stays)
    drawn = old.past_kwh > 0
    past_kw = np.where(drawn, old.power_kw, 0.0).sum(axis=1) + old.station.site_kw
    peak_kw = state.peak_so_far_kw
    if peak_kw is None:
        peak_kw = float(past_kw[: int(np.ceil(now - _TOUCH))].max(initial=0.0))
    return Rest(
        standing, tuple(kept.tolist()), _of(standing, kept), max(peak_kw, old.station.peak_so_far_kw), tuple(words),
        tuple(notes),
    )  # fmt: skip


def stand_after(rest: Rest, planning: Planning) -> Standing:
    """The past, and what is planned for the rest."""
    steps, kept = planning.station.steps, list(rest.kept)
    longer = ((0, steps - len(rest.standing.power_kw)), (0, 0))
    power_kw, past_kwh = (np.pad(getattr(rest.standing, name), longer) for name in ("power_kw", "past_kwh"))
    rest_kwh = np.zeros_like(past_kwh)
    rest_kwh[:, kept] = planning.best.energy_kwh
    begun = int(np.floor(rest.standing.now_step + _TOUCH))
    power_kw[begun:, kept] = planning.best.power_kw[begun:]
    return replace(
        rest.standing, station=planning.station, power_kw=power_kw, past_kwh=past_kwh, rest_kwh=rest_kwh
    )  # fmt: skip


def by_step(before: Standing, after: Standing, times: Sequence[pd.Timestamp] | pd.DatetimeIndex | None) -> pd.DataFrame:
    """Both plans by vehicle and step, wherever either charges.

    Returns
    -------
    DataFrame
        ``step, time, vehicle, is_past, before_kw, after_kw, change_kw, before_kwh, after_kwh``; ``is_past``: the step
        ended before the re-plan, so both are the same.
    """
    shape = after.power_kw.shape
    both = [
        np.pad(values, ((0, shape[0] - values.shape[0]), (0, shape[1] - values.shape[1])))
        for values in (before.power_kw, after.power_kw, before.energy_kwh, after.energy_kwh)
    ]
    step, vehicle = np.nonzero((both[0] > 0) | (both[1] > 0) | (both[3] > 0))
    before_kw, after_kw, before_kwh, after_kwh = (np.round(values[step, vehicle], 9) for values in both)
    table = pd.DataFrame({"step": step})
    if times is not None:
        table["time"] = pd.DatetimeIndex(times).as_unit("s")[step]
    table["vehicle"] = np.array(after.requests.vehicle, dtype=object)[vehicle]
    table["is_past"] = step + 1.0 <= after.now_step + _TOUCH
    columns = {"before_kw": before_kw, "after_kw": after_kw, "change_kw": after_kw - before_kw}
    return table.assign(**columns, before_kwh=before_kwh, after_kwh=after_kwh)


def by_vehicle(before: Standing, after: Standing, words: Sequence[str]) -> pd.DataFrame:
    """Both plans by vehicle.

    Returns
    -------
    DataFrame
        ``vehicle, what`` (see `Rest`) ``, departure_before_step, departure_after_step, delivered_kwh`` (until the
        re-plan) ``, by_departure_before_kwh, by_departure_after_kwh, unserved_before_kwh, unserved_after_kwh``.
    """
    count = len(after.requests) - len(before.requests)

    def wide(values: Float) -> Float:
        return np.pad(values, (0, count), constant_values=np.nan)

    return pd.DataFrame(
        {
            "vehicle": after.requests.vehicle,
            "what": words,
            "departure_before_step": wide(before.requests.departure_step),
            "departure_after_step": after.requests.departure_step,
            "delivered_kwh": after.delivered_kwh,
            "by_departure_before_kwh": wide(before.by_departure_kwh),
            "by_departure_after_kwh": after.by_departure_kwh,
            "unserved_before_kwh": wide(before.unserved_kwh),
            "unserved_after_kwh": after.unserved_kwh,
        }
    ).round(6)


def _of(standing: Standing, kept: np.ndarray) -> Requests:
    """Needs and stays from now on."""
    requests, delivered_kwh = standing.requests, standing.delivered_kwh
    columns = {name: getattr(requests, name)[kept] for name in _COLUMNS}
    content_kwh = np.minimum(columns["soe_arrival_kwh"] + delivered_kwh[kept], columns["battery_kwh"])
    need_kwh = np.maximum(columns["energy_need_kwh"] - delivered_kwh[kept], 0.0)
    need_kwh = np.where(need_kwh <= ROUNDING_KWH, 0.0, need_kwh)  # served: a rest of rounding would be planned for
    columns |= {
        "arrival_step": np.maximum(columns["arrival_step"], standing.now_step),
        "soe_arrival_kwh": content_kwh,
        "energy_need_kwh": np.minimum(need_kwh, columns["battery_kwh"] - content_kwh),
    }
    return Requests(tuple(requests.vehicle[row] for row in kept), **columns)


def _joined(requests: Requests, new: Requests | None) -> Requests:
    if new is None:
        return requests
    columns = {name: np.concatenate([getattr(requests, name), getattr(new, name)]) for name in _COLUMNS}
    return Requests((*requests.vehicle, *new.vehicle), **columns)


def _faults(before: Standing, state: LiveState) -> Iterator[Fault]:
    where, now, step_h = "state", state.now_step, before.station.step_h
    latest = max(now, len(before.power_kw)) + LONGEST_H / step_h
    if not before.now_step - _TOUCH <= now <= len(before.power_kw) + LONGEST_H / step_h:
        remedy = f"give a time of the horizon, from step {before.now_step:g} on: the plan knows what was before"
        yield Fault(where, "time", f"is step {now:.6g}", remedy)
    if not 0 < state.further_stay_h <= LONGEST_H:
        yield Fault(where, "further_stay_h", f"is {state.further_stay_h:g}", f"give hours above 0, at most {LONGEST_H:g}")
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
        if told.status == "expected" and told.arrival_step is not None and not told.arrival_step >= now - _TOUCH:
            yield Fault(where, place, "is expected, and its arrival is over", 'say "plugged", or when it comes')
        stays = told.departure_step is not None and told.status != "gone"
        if stays and not told.departure_step > max(now, told.arrival_step or now) + _TOUCH:
            yield Fault(where, place, "departs before now or its arrival", 'give the time that is announced, or "gone"')
    for name in state.new.vehicle if state.new is not None else ():
        if name in known:
            yield Fault(where, f"new vehicle {name!r}", "is in the plan already", "give it another name")
