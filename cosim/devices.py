"""What chargers, batteries and inverters can do, whatever is asked of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cosim.collapse import Answer
from cosim.contract import Complex, Curve, EvSessions, Exogenous, Feeder, Float, Int, LocalCurves
from cosim.errors import PowerFlowError

_CURVE_TOLERANCE_KW = 0.01
CURVE_ITERATIONS = 200
"""Power flows in which local curves and the voltages that they cause have to agree."""


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

    A charger uses all phases of its home. 6 A on three phases are 4.1 kW, more than some chargers are rated for: in
    truth those are single-phase devices, and which phase they would be put on nobody tells. Such a charger is therefore
    modelled as one that cannot be slowed down: it draws its rating, evenly over the phases, or pauses.

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
        self.step_min = exogenous.step_min
        customers = len(feeder.customers)
        self.stays = lay_out(self.sessions, exogenous.steps, self.step_min, customers)
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

    def last_left_minutes(self, step: int) -> Float:
        """When the last car left before a step, minutes from the start; nan where none has, shape (customer,)."""
        gone = self.sessions.departure_min <= step * self.step_min
        left = np.full(len(self.minimum_kw), np.nan)
        np.fmax.at(left, self.sessions.customer[gone], self.sessions.departure_min[gone])
        return left


def pv_output(
    available_kw: Float, limit_kw: Float, inverter_kva: Float, voltage_v: Float, curves: LocalCurves | None
) -> tuple[Float, Float]:
    """Power of the inverters: limits, local curves and rating, reactive power first.

    Parameters
    ----------
    available_kw, limit_kw, inverter_kva : ndarray, shape (customer,)
        Sun, setpoint, rating.
    voltage_v : ndarray, shape (customer,)
        Voltage at the terminals [V].
    curves : LocalCurves or None
        Volt-VAr takes precedence over active power, as AS/NZS 4777.2:2020 (3.3.2) has it.

    Returns
    -------
    pv_kw, pv_kvar : ndarray, shape (customer,)
        Generation, and reactive power *consumed*.
    """
    ceiling_kw = np.minimum(limit_kw, inverter_kva)
    kvar = np.zeros_like(inverter_kva)
    if curves is not None:
        if curves.pv_volt_var is not None:
            # an inverter gives reactive power only while the sun drives it
            kvar = curves.pv_volt_var(voltage_v) * inverter_kva * (available_kw > 0)
            ceiling_kw = np.minimum(ceiling_kw, np.sqrt((inverter_kva**2 - kvar**2).clip(0.0)))
        if curves.pv_volt_watt is not None:
            ceiling_kw = np.minimum(ceiling_kw, curves.pv_volt_watt(voltage_v) * inverter_kva)
    return np.minimum(available_kw, ceiling_kw).clip(0.0), kvar


def settled(
    answer: Callable[[Complex | None], tuple[Float, Float, Float]],
    solve: Callable[..., Complex],
    last_voltage: Complex | None,
) -> Answer:
    """Find powers that are the devices' own answer to the voltages that they cause, by a damped fixed point.

    Every power moves a part of the way to that answer. Its part is halved whenever it overshot and grows while it
    keeps its direction, so each device finds the pace that its place bears: with one pace for all, a steep curve
    on a weak feeder hunts for ever. All powers on the way lie between answers, so none is more than is possible.
    """
    powers = np.array(answer(last_voltage))
    part, last_gap = np.full(powers.shape, 0.5), np.zeros(powers.shape)
    for attempt in range(CURVE_ITERATIONS):
        try:
            voltage = solve(*powers)
        except PowerFlowError:
            # The feeder cannot carry what the devices would start with; what they settle at may be far less.
            # Where they draw nothing any more, it is not they.
            if attempt > CURVE_ITERATIONS // 2 or np.abs(powers).max() <= _CURVE_TOLERANCE_KW:
                raise
            powers, part = powers / 2.0, part / 2.0
            continue
        # what is recorded are the powers that this voltage was solved with, not the next guess
        applied, gap = powers, np.array(answer(voltage)) - powers
        distance_kw = float(np.abs(gap).max())
        if distance_kw <= _CURVE_TOLERANCE_KW:
            distance_kw = 0.0
            break
        part = np.where(gap * last_gap < 0.0, part / 2.0, np.minimum(part * 1.2, 1.0))
        powers, last_gap = powers + part * gap, gap
    return Answer(voltage, applied[0], applied[1], applied[2], distance_kw)
