"""How households answer a cap: cheapest hours first, at once, or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from cosim.contract import Exogenous, Float, Setpoints
from cosim.devices.ev import EvFleet

RESPONSES = ("cheapest", "immediate")


@dataclass(frozen=True, eq=False)
class Behaviour:
    """What the homes of a feeder do with the freedom they have.

    Attributes
    ----------
    response : str
        ``cheapest``: fill the cheapest hours before departure, the earliest first among equals;
        ``immediate``: charge as soon and as fast as possible.
    noncompliant : ndarray of bool, shape (customer,) or (0,)
        Homes that ignore import caps.
    """

    response: str = "cheapest"
    noncompliant: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = field(
        default_factory=lambda: np.zeros(0, dtype=bool)
    )

    def __post_init__(self) -> None:
        if self.response not in RESPONSES:
            raise ValueError(f"response={self.response!r} must be one of {', '.join(RESPONSES)}")


class Households:
    """Charging decisions of all homes, step by step.

    A home knows the tariff, its own departure, the caps that were announced, and what it expects to use itself
    (the forecast). In the present step it meters its real demand.

    Parameters
    ----------
    behaviour : Behaviour
        How it decides.
    fleet : EvFleet
        The cars.
    tariff_eur_per_kwh : ndarray, shape (step,)
        Known for the whole horizon.
    expected : Exogenous
        What each home expects to use and to generate itself.
    """

    def __init__(self, behaviour: Behaviour, fleet: EvFleet, tariff_eur_per_kwh: Float, expected: Exogenous) -> None:
        customers = fleet.charger_kw.shape[1]
        self.obeys = ~behaviour.noncompliant if behaviour.noncompliant.size else np.ones(customers, dtype=bool)
        self.response = behaviour.response
        self.fleet = fleet
        self._tariff = tariff_eur_per_kwh
        self._expected_kw = expected.inflexible_kw
        self._room_kw = fleet.room_kw
        self._announced: Float | None = None

    def asked_kw(self, step: int, setpoints: Setpoints) -> Float:
        """Mean power that each home wants to charge with in this step, before its cap, shape (customer,).

        A home charges now what does not fit into the *cheaper* steps that are still to come before departure: the
        closed form of "sort the hours by price and fill them" seen from the present step. A home that is asked to
        charge at once (``ev_at_once``) does so.
        """
        wanted = self.fleet.wanted_kw(step)
        if self.response == "immediate":
            return wanted
        self._listen(setpoints)
        cheaper = self._tariff[step + 1 :] < self._tariff[step] - 1e-12
        if not cheaper.any():
            return wanted
        until = self.fleet.last_step(step) + 1  # where the cars that are here now have left
        session, room_kw = self.fleet.stays.session, self._room_kw[step + 1 : until]
        same_car = session[step + 1 : until] == session[step]
        later_kw = (room_kw * (same_car & cheaper[: len(room_kw), None])).sum(axis=0)
        waiting = (wanted - later_kw).clip(0.0)
        return waiting if setpoints.ev_at_once is None else np.where(setpoints.ev_at_once, wanted, waiting)

    def cap_limit_kw(self, import_cap_kw: Float, demand_kw: Float, pv_kw: Float) -> Float:
        """Charging power that the import cap leaves, shape (customer,); inf for homes that ignore it."""
        return np.where(self.obeys, import_cap_kw - demand_kw + pv_kw, np.inf)

    def _listen(self, setpoints: Setpoints) -> None:
        """Take note of newly announced caps: they shrink the room in the steps to come."""
        if setpoints.published_cap_kw is self._announced:
            return
        self._announced = setpoints.published_cap_kw
        if self._announced is None:
            self._room_kw = self.fleet.room_kw
            return
        headroom = np.where(self.obeys, self._announced - self._expected_kw, np.inf)
        self._room_kw = self.fleet.within_kw(headroom, slice(None)) * self.fleet.stays.share
