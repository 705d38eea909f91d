"""How households answer prices and caps: cheapest hours or own sun first, at once, at an even pace, or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cosim.contract import Exogenous, Float, Setpoints
from cosim.contract.signals import Bool
from cosim.devices.ev import EvFleet

RESPONSES = ("cheapest", "immediate", "paced", "own_sun")
_WAITS = ("cheapest", "own_sun")
"""Responses that wait for an hour, and whose start is delayed at random."""

_TOLD = ("import_cap_kw", "ev_limit_kw", "pv_limit_kw", "export_cap_kw")
_SAME_PRICE = 1e-12
_SMALL_KW = 1e-9


@dataclass(frozen=True, eq=False)
class Behaviour:
    """What the homes of a feeder do with the freedom they have.

    Attributes
    ----------
    response : str, or tuple of str, shape (customer,)
        Of all homes, or home by home. ``cheapest``: fill the cheapest hours before departure, the earliest first among
        equals; ``immediate``: charge as soon and as fast as possible; ``paced``: spread what is left evenly over the
        rest of the stay, but never below what the charger can draw; ``own_sun``: as ``cheapest``, where energy from the
        own roof costs what its export would have earned.
    noncompliant : ndarray of bool, shape (customer,) or (0,)
        Homes that ignore import caps.
    start_delay_s : ndarray, shape (session,) or (0,)
        By how much each car begins later than the hour that it waited for: the randomised delay of up to 600 s of
        regulation 11 of The Electric Vehicles (Smart Charge Points) Regulations 2021 (UK SI 2021/1467), which keeps
        homes of one tariff from beginning together. It is drawn once a stay, and holds at every start in it.
    silent : ndarray of bool, shape (step, customer) or (0, 0)
        Homes without communication: what is asked of them does not arrive.
    """

    response: str | tuple[str, ...] = "cheapest"
    noncompliant: Bool = field(default_factory=lambda: np.zeros(0, dtype=bool))
    start_delay_s: Float = field(default_factory=lambda: np.zeros(0))
    silent: Bool = field(default_factory=lambda: np.zeros((0, 0), dtype=bool))

    def __post_init__(self) -> None:
        given = {self.response} if isinstance(self.response, str) else set(self.response)
        if unknown := sorted(given.difference(RESPONSES)):
            raise ValueError(f"response={unknown[0]!r} must be one of {', '.join(RESPONSES)}")

    def homes(self, response: str, customers: int) -> Bool:
        """Which homes have that response, shape (customer,)."""
        return np.asarray(np.broadcast_to(np.array(self.response) == response, customers))


class Households:
    """Charging decisions of all homes, step by step.

    A home knows its tariff, its own departure, the caps that were announced, and what it expects to use itself
    (the forecast). In the present step it meters its real demand.

    Parameters
    ----------
    behaviour : Behaviour
        How it decides.
    fleet : EvFleet
        The cars.
    day : Exogenous
        For its prices, known for the whole horizon.
    expected : Exogenous
        What each home expects to use and to generate itself.
    """

    def __init__(self, behaviour: Behaviour, fleet: EvFleet, day: Exogenous, expected: Exogenous) -> None:
        customers = fleet.charger_kw.shape[1]
        self.obeys = ~behaviour.noncompliant if behaviour.noncompliant.size else np.ones(customers, dtype=bool)
        self.fleet = fleet
        self._at_once, self._paced, self._sunny = (
            behaviour.homes(one, customers) for one in ("immediate", "paced", "own_sun")
        )
        waits = np.logical_or.reduce([behaviour.homes(one, customers) for one in _WAITS])
        of_session = behaviour.start_delay_s if behaviour.start_delay_s.size else np.zeros(len(fleet.sessions))
        self._delay_min = np.append(np.where(waits[fleet.sessions.customer], of_session, 0.0) / 60.0, 0.0)
        self._price, self._export_price = day.import_eur_per_kwh, day.export_eur_per_kwh
        self._expected_kw = expected.inflexible_kw
        self._room_kw = fleet.room_kw
        self._announced: Float | None = None
        self._silent, self._heard = behaviour.silent, dict[str, Float]()
        self._step = -1
        self._asked_kw = self._wanted_kw = np.zeros(customers)
        self._asked_at_once = self._at_once
        # who charges, which car, and since when [min]: at the end of the step before, and of the present one
        self._before = self._present = (np.zeros(customers, bool), np.full(customers, -1), np.zeros(customers))
        self._look_for_sun()

    def heard(self, step: int, setpoints: Setpoints) -> Setpoints:
        """What homes go by: those without communication by the agreed fallback, else by what they heard last."""
        if not self._silent.size:
            return setpoints
        silent = self._silent[step]
        told = {**{name: getattr(setpoints, name) for name in _TOLD}, **setpoints.channels}
        free = np.full(len(silent), np.inf)
        for name, values in told.items():
            now = free if values is None else values
            self._heard[name] = np.where(
                silent, self._heard.get(name, now if name in setpoints.channels else free), now
            )
        heard = dict(self._heard)
        if setpoints.fallback_kw is not None:
            agreed = zip(("import_cap_kw", "export_cap_kw"), setpoints.fallback_kw, strict=True)
            heard |= {name: np.where(silent, fallback, heard[name]) for name, fallback in agreed}
        channels: Any = {name: heard[name] for name in setpoints.channels}
        limits: Any = {name: heard[name] for name in _TOLD}
        return replace(setpoints, **limits, channels=channels)

    def begin(self, step: int, setpoints: Setpoints) -> None:
        """Look at the hours that are still to come.

        A home charges now what does not fit into the *cheaper* steps that are still to come before departure: the
        closed form of "sort the hours by price and fill them" seen from the present step. A home that is asked to
        charge at once (``ev_at_once``) does so.
        """
        wanted = self._wanted_kw = self.fleet.wanted_kw(step)
        if step != self._step:
            self._step, self._before = step, self._present
        if self._at_once.all():
            self._asked_kw = wanted
            return
        self._listen(setpoints)
        self._asked_at_once = self._at_once if setpoints.ev_at_once is None else self._at_once | setpoints.ev_at_once
        if not wanted.any():  # no car, or none that is not full
            self._asked_kw = wanted
            return
        until = self.fleet.last_step(step) + 1  # where the cars that are here now have left
        cheaper = self._price[step + 1 : until] < self._price[step] - _SAME_PRICE
        later = cheaper.any(axis=1).nonzero()[0]  # few of the steps to come
        asked = wanted
        if len(later):
            session, at, cheaper = self.fleet.stays.session, later + step + 1, cheaper[later]
            room_kw, same_car = self._room_kw[at], session[at] == session[step]
            later_kw = (room_kw * (same_car & cheaper)).sum(axis=0)
            asked = (wanted - later_kw).clip(0.0)
        if self._paced.any():
            asked = np.where(self._paced, self._pace_kw(step), asked)
        self._asked_kw = np.where(self._asked_at_once, wanted, asked)

    def asked_kw(self, surplus_kw: Float) -> Float:
        """Mean power that each home wants to charge with in the step that was begun, before its cap.

        Parameters
        ----------
        surplus_kw : ndarray, shape (customer,)
            What its roof gives beyond its demand in this step.

        Returns
        -------
        ndarray, shape (customer,)
            [kW]
        """
        asked = self._asked_kw
        if self._sunny.any():
            charges = self._sunny & ~self._asked_at_once
            asked = np.where(charges, self._own_sun_first_kw(surplus_kw), asked)
        if not self._delay_min.any():
            return asked
        return self._delayed(asked)

    def _listen(self, setpoints: Setpoints) -> None:
        """Take note of newly announced caps: they shrink the room in the steps to come."""
        if setpoints.published_cap_kw is self._announced:
            return
        self._announced = setpoints.published_cap_kw
        if self._announced is None:
            self._room_kw = self.fleet.room_kw
        else:
            headroom = np.where(self.obeys, self._announced - self._expected_kw, np.inf)
            self._room_kw = self.fleet.within_kw(headroom, slice(None)) * self.fleet.stays.share
        self._look_for_sun()

    def _look_for_sun(self) -> None:
        if self._sunny.any():
            self._sun_kw, self._sun_price = self._with_sun(slice(None), -self._expected_kw, self._room_kw)

    def _with_sun(self, steps: int | slice, surplus_kw: Float, room_kw: Float) -> tuple[Float, Float]:
        """First part of a step's room, which own sun fills, and its price.

        Own sun costs what its export would have earned. A charger that sun alone cannot keep running draws its least,
        of which the rest is bought.
        """
        share, least_kw = self.fleet.stays.share[steps], self.fleet.least_kw[steps]
        part_kw = np.minimum(np.maximum(surplus_kw, least_kw) * share, room_kw)
        own_kw = np.minimum(surplus_kw.clip(0.0) * share, part_kw)
        own_share = np.divide(own_kw, part_kw, out=np.zeros_like(part_kw), where=part_kw > 0.0)
        price = self._price[steps]
        return part_kw, price + (self._export_price - price) * own_share

    def _own_sun_first_kw(self, surplus_kw: Float) -> Float:
        """Mean power at which what fits into cheaper parts of later steps, own sun or bought, is left to them."""
        step, wanted = self._step, self._wanted_kw
        part_kw, part_price = self._with_sun(step, surplus_kw, self.fleet.room_kw[step])
        rest = slice(step + 1, None)
        later_kw, later_price = self._sun_kw[rest], self._sun_price[rest]
        same_car = self.fleet.stays.session[rest] == self.fleet.stays.session[step]
        bought_kw, price = (self._room_kw[rest] - later_kw) * same_car, self._price[rest]
        later_kw = later_kw * same_car

        def cheaper_kw(than: Float) -> Float:
            below = than - _SAME_PRICE
            return np.asarray((later_kw * (later_price < below) + bought_kw * (price < below)).sum(axis=0))

        first = np.minimum(wanted - cheaper_kw(part_price), part_kw).clip(0.0)
        return np.asarray(first + (wanted - first - cheaper_kw(self._price[step])).clip(0.0))

    def _pace_kw(self, step: int) -> Float:
        """Mean power of a step at which a need is met by departure and not before, or the least of the charger."""
        fleet, begin_min = self.fleet, step * self.fleet.step_min
        session = fleet.stays.session[step]
        arrival, departure = (
            np.append(of, 0.0)[session] for of in (fleet.sessions.arrival_min, fleet.sessions.departure_min)
        )
        left_min = np.maximum(departure - np.maximum(arrival, begin_min), 1e-6)
        pace_kw = np.maximum(self._wanted_kw * fleet.step_min / left_min, fleet.least_kw[step])
        return np.asarray(np.minimum(self._wanted_kw, pace_kw * fleet.stays.share[step]))

    def _delayed(self, asked_kw: Float) -> Float:
        """Begin later than wanted, by each car's delay; what goes on since the step before goes on."""
        fleet, step = self.fleet, self._step
        session, begin_min = fleet.stays.session[step], step * fleet.step_min
        charged, whose, since_min = self._before
        goes_on = charged & (whose == session)
        start_min = np.where(goes_on, since_min, begin_min + self._delay_min[session])
        self._present = (asked_kw > _SMALL_KW, session, start_min)
        part = ((begin_min + fleet.step_min - start_min) / fleet.step_min).clip(0.0, 1.0)
        late_kw = np.minimum(asked_kw, fleet.charger_kw[step] * part)
        return np.where(self._asked_at_once, asked_kw, late_kw)
