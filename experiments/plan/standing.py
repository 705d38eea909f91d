"""A plan as far as it has come, and two of them side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cosim.contract import Float
from cosim.contract.signals import Bool
from cosim.contract.survey import FrozenArrays
from cosim.controllers.planner.plan import Plan, Planning
from cosim.controllers.planner.requests import ROUNDING_KWH, Requests, Station

TOUCH = 1e-9
"""Of a step: moments that are computed from dates are this exact."""
COLUMNS = (
    "power_max_kw", "power_min_kw", "energy_need_kwh", "battery_kwh", "soe_arrival_kwh", "arrival_step",
    "departure_step", "efficiency", "phase_share",
)  # fmt: skip
"""Of requests, beside the names."""


@dataclass(frozen=True, eq=False)
class Standing(FrozenArrays):
    """A plan as far as it has come.

    Attributes
    ----------
    requests : Requests
        From each vehicle's arrival on, with stays as they were planned; who left early departs when it did.
    plug : tuple of str
        Where each charges, one after the other.
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
    plug: tuple[str, ...]
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
        return np.asarray(self.delivered_kwh + self.rest_kwh.sum(axis=0) * self.requests.efficiency)

    @property
    def unserved_kwh(self) -> Float:
        """Missing at departure, shape (vehicle,) [kWh]."""
        return np.asarray(np.maximum(self.requests.energy_need_kwh - self.by_departure_kwh, 0.0))

    @property
    def best(self) -> Plan:
        """The whole as one plan, for figures; prices are those of the re-plan alone."""
        nothing = float("nan")
        return Plan(self.power_kw, self.energy_kwh, self.by_departure_kwh, self.unserved_kwh, *[nothing] * 4)

    @property
    def stays(self) -> Bool:
        """Who is there from now on, or still to come, shape (vehicle,)."""
        from_now = np.maximum(self.requests.arrival_step, self.now_step)
        return np.asarray(self.requests.departure_step > from_now + TOUCH)

    def rest_requests(self, kept: Sequence[int] | NDArray[np.int64]) -> Requests:
        """Needs and stays of some vehicles from now on."""
        requests, delivered_kwh = self.requests, self.delivered_kwh[kept]
        columns = {name: getattr(requests, name)[kept] for name in COLUMNS}
        content_kwh = np.minimum(columns["soe_arrival_kwh"] + delivered_kwh, columns["battery_kwh"])
        need_kwh = np.maximum(columns["energy_need_kwh"] - delivered_kwh, 0.0)
        need_kwh = np.where(need_kwh <= ROUNDING_KWH, 0.0, need_kwh)  # served: rounding would be planned for
        columns |= {
            "arrival_step": np.maximum(columns["arrival_step"], self.now_step),
            "soe_arrival_kwh": content_kwh,
            "energy_need_kwh": np.minimum(need_kwh, columns["battery_kwh"] - content_kwh),
        }
        return Requests(tuple(requests.vehicle[row] for row in kept), **columns)

    def until(self, now_step: float) -> Standing:
        """As it stands later, if all goes as planned."""
        arrival, departure = self.requests.arrival_step, self.requests.departure_step
        step = np.arange(len(self.rest_kwh), dtype=np.float64)[:, None]
        begin = np.maximum(np.maximum(step, arrival), self.now_step)
        length = np.minimum(step + 1.0, departure) - begin
        share = np.clip((now_step - begin) / np.where(length > TOUCH, length, 1.0), 0.0, 1.0)
        moved_kwh = np.where(length > TOUCH, share, 1.0) * self.rest_kwh
        delivered_kwh = self.delivered_kwh + moved_kwh.sum(axis=0) * self.requests.efficiency
        return replace(
            self, now_step=now_step, delivered_kwh=delivered_kwh, past_kwh=self.past_kwh + moved_kwh,
            rest_kwh=self.rest_kwh - moved_kwh,
        )  # fmt: skip


def standing_of(planning: Planning, plug: Sequence[str] = ()) -> Standing:
    """A plan of which nothing has happened yet; without plugs each vehicle has its own."""
    best, requests = planning.best, planning.requests
    nothing = np.zeros_like(best.energy_kwh)
    return Standing(
        requests, tuple(plug) or requests.vehicle, planning.station, 0.0, np.zeros(len(requests)), best.power_kw,
        nothing, best.energy_kwh,
    )  # fmt: skip


def by_step(before: Standing, after: Standing, times: pd.DatetimeIndex | None) -> pd.DataFrame:
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
        table["time"] = times.as_unit("s")[step]
    table["vehicle"] = np.array(after.requests.vehicle, dtype=object)[vehicle]
    table["is_past"] = step + 1.0 <= after.now_step + TOUCH
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
