"""Cars: what chargers and batteries can do, whatever is asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cosim.contract import Curve, EvSessions, Exogenous, Feeder, Float, Int, Setpoints
from cosim.devices.base import FLEXIBLE, Channel, Device, Moment

if TYPE_CHECKING:
    from cosim.households import Households


@dataclass(frozen=True, eq=False)
class Stays:
    """Sessions laid on the steps of a run.

    Attributes
    ----------
    session : ndarray of int, shape (step, customer)
        Which session may charge in a step; -1 where no car is there.
    share : ndarray, shape (step, customer)
        Part of the step in which it is plugged in: arrivals and departures inside a step count pro rata.
    """

    session: Int
    share: Float


def lay_out(sessions: EvSessions, steps: int, step_min: float, customers: int) -> Stays:
    """Lay sessions on steps; where two share a step, it belongs to the one that is there longer.

    Parameters
    ----------
    sessions : EvSessions
        Stays in minutes from the start.
    steps, step_min, customers : int, float, int
        The grid.
    """
    session = np.full((steps, customers), -1, dtype=np.int64)
    share = np.zeros((steps, customers))
    for row, part in enumerate(sessions.share_of_steps(steps, step_min).T):
        column = int(sessions.customer[row])
        wins = part > share[:, column]
        session[wins, column] = row
        share[wins, column] = part[wins]
    return Stays(session, share)


class EvFleet:
    """State of every car: what is in the battery and what its driver still wants.

    A charger uses all phases of its home, or the one of ``Feeder.charger_phase``. 6 A on three phases are 4.1 kW, more
    than some chargers are rated for: in truth those are single-phase devices. Where nobody tells which phase they are
    on, such a charger is one that cannot be slowed down: it draws its rating, evenly over the phases, or pauses.

    Parameters
    ----------
    feeder : Feeder
        For the phases of every charger.
    exogenous : Exogenous
        Sessions, on the steps of the run.

    Attributes
    ----------
    minimum_kw : ndarray, shape (customer,)
        6 A on every phase of the customer, whatever the charger.
    charger_kw, least_kw : ndarray, shape (step, customer)
        Rating of the present car's charger, and the least that it draws unless it pauses: 6 A on every phase, or its
        rating where that is smaller; 0 without a car.
    efficiency : ndarray, shape (step, customer)
        Of the present car's charger; 1 without a car.
    room_kw : ndarray, shape (step, customer)
        Largest mean power of a step.
    """

    def __init__(self, feeder: Feeder, exogenous: Exogenous) -> None:
        self.sessions = exogenous.sessions
        self._announced = exogenous.announced or exogenous.sessions
        self.step_min = exogenous.step_min
        customers = len(feeder.customers)
        self.stays = lay_out(self.sessions, exogenous.steps, self.step_min, customers)
        # one more at the end, as below
        self._last_step = np.append(np.ceil(self.sessions.departure_min / self.step_min).astype(np.int64), -1)
        self.minimum_kw = feeder.charger_min_kw
        self.left_kwh = self.sessions.energy_need_kwh.copy()
        self.soc_kwh = self.sessions.soc_arrival_kwh.copy()
        # One more at the end, so that session -1 reads "no car" without a branch.
        self.charger_kw = np.append(self.sessions.charger_kw, 0.0)[self.stays.session]
        self.least_kw = np.minimum(self.minimum_kw, self.charger_kw)
        self.efficiency = np.append(self.sessions.efficiency, 1.0)[self.stays.session]
        self.room_kw = self.charger_kw * self.stays.share

    @property
    def unservable_kwh(self) -> Float:
        """Part of each need that no control could deliver within stay, charger and battery, shape (session,)."""
        s = self.sessions
        horizon_min = len(self.stays.share) * self.step_min
        stay_h = (np.minimum(s.departure_min, horizon_min) - np.maximum(s.arrival_min, 0.0)).clip(0.0) / 60.0
        possible = np.minimum(s.charger_kw * s.efficiency * stay_h, s.battery_kwh - s.soc_arrival_kwh)
        return np.asarray((s.energy_need_kwh - possible).clip(0.0))

    @property
    def delivered_kwh(self) -> Float:
        """Energy put into each battery so far, shape (session,)."""
        return self.sessions.energy_need_kwh - self.left_kwh

    def wanted_kw(self, step: int) -> Float:
        """Mean power that would meet the rest of each need within this step, as far as the battery holds it."""
        session = self.stays.session[step]
        fits_kwh = np.minimum(self.left_kwh, self.sessions.battery_kwh - self.soc_kwh).clip(0.0)
        left = np.where(session >= 0, np.append(fits_kwh, 0.0)[session], 0.0)
        return np.asarray(left / (self.efficiency[step] * self.step_min / 60.0))

    def feasible_kw(self, step: int, asked_kw: Float, limit_kw: Float) -> Float:
        """What the chargers draw when asked for a mean power under a limit, shape (customer,).

        Parameters
        ----------
        step : int
            Which step.
        asked_kw : ndarray, shape (customer,)
            Mean power wanted over the step.
        limit_kw : ndarray, shape (customer,)
            Largest power at any moment; a charger whose limit is below the least that it can draw pauses.
        """
        allowed = self.within_kw(limit_kw, step)
        return np.asarray(np.minimum(asked_kw, allowed * self.stays.share[step]).clip(0.0))

    def within_kw(self, limit_kw: Float, step: int | slice) -> Float:
        """Largest power that chargers can draw under a limit, 0 where they pause, shape of the limit."""
        allowed = np.minimum(self.charger_kw[step], limit_kw)
        return np.where(allowed >= self.least_kw[step] - 1e-9, allowed, 0.0)

    def volt_watt_kw(self, step: int, voltage_v: Float, curve: Curve) -> Float:
        """What a local curve leaves to the chargers, shape (customer,).

        A curve slows a charger down to the least that it can draw and no further: it pauses only where the share is
        zero. Otherwise chargers would switch on and off around their minimum, and no voltage would fit to either.
        """
        share = curve(voltage_v)
        floor_kw = np.where(share > 0.0, self.least_kw[step], 0.0)
        return np.asarray(np.maximum(share * self.charger_kw[step], floor_kw))

    def charge(self, step: int, ev_kw: Float) -> None:
        """Put the energy of one step into the batteries."""
        there = self.stays.session[step] >= 0
        rows = self.stays.session[step][there]
        energy = ev_kw[there] * self.efficiency[step][there] * self.step_min / 60.0
        self.left_kwh[rows] = np.maximum(self.left_kwh[rows] - energy, 0.0)
        self.soc_kwh[rows] += energy

    def present(self, step: int) -> Int:
        """Session of the car that stands there at the start of a step, -1 without, shape (customer,)."""
        session: Int = self.stays.session[min(step, len(self.stays.session) - 1)]
        if not len(self.sessions):
            return session
        minute = step * self.step_min
        here = (self.sessions.arrival_min[session] <= minute) & (self.sessions.departure_min[session] > minute)
        return np.where((session >= 0) & here, session, -1)

    def last_step(self, step: int) -> int:
        """Last step in which any car of this step is there; the step itself without one."""
        return int(self._last_step[self.stays.session[step]].max(initial=step))

    def last_left_minutes(self, step: int) -> Float:
        """When the last car left before a step, minutes from the start; nan where none has, shape (customer,)."""
        gone = self.sessions.departure_min <= step * self.step_min
        left = np.full(len(self.minimum_kw), np.nan)
        np.fmax.at(left, self.sessions.customer[gone], self.sessions.departure_min[gone])
        return left

    def seen(self, step: int) -> dict[str, Any]:
        """What meters and drivers say of the cars at the start of a step: fields of an ``Observation``."""
        session = self.present(step)
        sessions, there, said = self.sessions, session >= 0, self._announced
        # what a driver said is still wanted may be wrong either way; what was charged is metered
        left_kwh = self.left_kwh
        if said is not sessions:
            fits_kwh = np.minimum(said.energy_need_kwh - self.delivered_kwh, sessions.battery_kwh - self.soc_kwh)
            left_kwh = fits_kwh.clip(0.0)

        def of_car(values: Float, otherwise: float) -> Float:
            return np.where(there, np.append(values, otherwise)[session], otherwise)

        charger_kw = of_car(sessions.charger_kw, 0.0)
        return {
            "plugged": there,
            "energy_left_kwh": of_car(left_kwh, 0.0),
            "soc_kwh": of_car(self.soc_kwh, 0.0),
            "departure_min": of_car(said.departure_min, np.nan),
            "last_left_minutes": self.last_left_minutes(step),
            "charger_kw": charger_kw,
            "charger_min_kw": np.where(there, np.minimum(self.minimum_kw, charger_kw), 0.0),
            "efficiency": of_car(sessions.efficiency, 1.0),
        }


class EvCharger(Device):
    """Chargers, asked by households who know the tariff and what was announced."""

    name = "ev"
    turn = FLEXIBLE
    readings = (Channel("ev_kw", "charging"), Channel("soc_kwh", "content of the car's battery; 0 without a car"))

    def __init__(self, data: Households, feeder: Feeder, day: Exogenous) -> None:  # noqa: ARG002 - the protocol's
        self.homes, self.fleet = data, data.fleet
        self._last_kw = np.zeros(len(feeder.customers))
        self._step = 0

    def begin(self, step: int, setpoints: Setpoints) -> None:
        """Let every home choose its charging, before its cap."""
        self.homes.begin(step, setpoints)

    def power(self, moment: Moment) -> tuple[Float, Float]:
        """Charge as asked, inside cap, limit and local curve."""
        asked, step = moment.setpoints, moment.step
        limit_kw = np.minimum(asked.ev_limit_kw, moment.headroom_kw + moment.support_kw)
        if asked.curves is not None and asked.curves.ev_volt_watt is not None:
            limit_kw = np.minimum(limit_kw, self.fleet.volt_watt_kw(step, moment.voltage_v, asked.curves.ev_volt_watt))
        asked_kw = self.homes.asked_kw(-moment.net_kw)
        return self.fleet.feasible_kw(step, asked_kw, limit_kw), np.zeros_like(limit_kw)

    def advance(self, step: int, kw: Float, kvar: Float) -> None:  # noqa: ARG002 - the protocol's signature
        """Charge the batteries."""
        self.fleet.charge(step, kw)
        self._last_kw, self._step = kw, step

    def observe(self) -> Mapping[str, Float]:
        """Charging of the last step, and the content of who was there."""
        session = self.fleet.stays.session[self._step]
        # session -1 (no car) reads the zero appended at the end
        soc_kwh = np.where(session >= 0, np.append(self.fleet.soc_kwh, 0.0)[session], 0.0)
        return {"ev_kw": self._last_kw, "soc_kwh": soc_kwh}
