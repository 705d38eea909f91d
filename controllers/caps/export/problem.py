"""The problem of export caps: homes with sun and cars, prices both ways, and what may flow back.

A home buys at the tariff and sells at the feed-in price, never both at once. What it may sell is capped, so it uses
its sun itself or curtails what exceeds the cap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cosim.contract import Float, Int
from cosim.contract.survey import FrozenArrays
from cosim.controllers.caps.merit_order import price_in_steps
from cosim.errors import Fault, refuse

WHERE = "export caps"
_CLOSE_KW = 1e-9


@dataclass(frozen=True, eq=False)
class ExportRow(FrozenArrays):
    """One more linear limit on what flows back: ``sum of share * net load >= -limit`` in one slot.

    Attributes
    ----------
    slot : int
        Of the horizon.
    share : ndarray, shape (home,)
        How much of a home's export counts; below 0 where it relieves.
    limit_kw : float
        Most that may flow back [kW].
    name : str
        What it protects, to be read in a sentence.
    """

    slot: int
    share: Float
    limit_kw: float
    name: str


@dataclass(frozen=True, eq=False)
class ExportProblem(FrozenArrays):
    """Export caps per home and slot: the data of the bilevel problem.

    Attributes
    ----------
    slot_h : float
        Length of a slot [h].
    tariff_eur_per_kwh, feed_in_eur_per_kwh : ndarray, shape (slot,) or (slot, home)
        What import costs and what export earns; a home is never paid more for export than import costs [EUR/kWh].
    demand_kw : ndarray, shape (slot, home)
        Load that nobody moves, without the roof, at least 0 [kW].
    sun_kw : ndarray, shape (slot, home)
        What the roof could give [kW].
    rated_kw : ndarray, shape (home,)
        Rating of the inverter, and the export cap where nothing is withheld; 0 without a roof [kW].
    connection_kw : ndarray, shape (home,)
        What the home may draw at most [kW].
    import_cap_kw : ndarray, shape (slot, home)
        Import caps that are given, or the highest allowed where they are decided too. Load that nobody moves is served
        even above its cap [kW].
    phase_share : ndarray, shape (home, phase)
        Share of the home's power on each phase.
    limit_kw, reverse_limit_kw : ndarray, shape (slot, phase)
        What all homes of a phase may draw together, and what they may send back; inf: no limit [kW].
    home : ndarray of int, shape (car,)
        Home where the car is plugged in.
    plugged : ndarray, shape (slot, car)
        Share of the slot that it is plugged in; a slot of a home belongs to one car.
    charger_kw, energy_need_kwh, efficiency : ndarray, shape (car,)
        Rating [kW], energy wanted in the battery [kWh], battery energy per energy drawn.
    rows : tuple of ExportRow
        Further limits on what flows back.

    Raises
    ------
    InputError
        With every fault found: shapes, values that are not finite or out of range, export paid above import.
    """

    slot_h: float
    tariff_eur_per_kwh: Float
    feed_in_eur_per_kwh: Float
    demand_kw: Float
    sun_kw: Float
    rated_kw: Float
    connection_kw: Float
    import_cap_kw: Float
    phase_share: Float
    limit_kw: Float
    reverse_limit_kw: Float
    home: Int
    plugged: Float
    charger_kw: Float
    energy_need_kwh: Float
    efficiency: Float
    rows: tuple[ExportRow, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse(list(_shape_faults(self)) or _value_faults(self))

    @property
    def slots(self) -> int:
        """Number of slots."""
        return len(self.demand_kw)

    @property
    def homes(self) -> int:
        """Number of homes."""
        return len(self.rated_kw)

    @property
    def cars(self) -> int:
        """Number of stays."""
        return len(self.home)

    @cached_property
    def tariff(self) -> Float:
        """Price of import, shape (slot, home) [EUR/kWh]."""
        return self._spread(self.tariff_eur_per_kwh)

    @cached_property
    def feed_in(self) -> Float:
        """Price of export, shape (slot, home) [EUR/kWh]."""
        return self._spread(self.feed_in_eur_per_kwh)

    def _spread(self, price: Float) -> Float:
        return np.broadcast_to(price.reshape(self.slots, -1), (self.slots, self.homes))

    @cached_property
    def levels(self) -> tuple[Float, Float]:
        """Prices of import and export as whole numbers in their order, shape (slot, home) each.

        What is curtailed is worth 0, negative prices are below 0, all others (zero too) are at least 1: rather than to
        waste it, a home sells its sun for nothing. Only order and sign of prices decide what a home does.
        """
        tariff, feed_in = price_in_steps(self.tariff), price_in_steps(self.feed_in)
        known = np.unique(np.concatenate([tariff.ravel(), feed_in.ravel()]))
        rank = np.arange(len(known)) - np.count_nonzero(known < 0)
        level: Float = np.where(known < 0, rank, rank + 1).astype(np.float64)
        bought, sold = level[np.searchsorted(known, tariff)], level[np.searchsorted(known, feed_in)]
        return bought, sold

    @cached_property
    def surplus_kw(self) -> Float:
        """Sun above demand, shape (slot, home) [kW]."""
        return np.maximum(self.sun_kw - self.demand_kw, 0.0)

    @cached_property
    def deficit_kw(self) -> Float:
        """Demand above sun, shape (slot, home) [kW]."""
        return np.maximum(self.demand_kw - self.sun_kw, 0.0)

    @cached_property
    def sellable_kw(self) -> Float:
        """Surplus where selling does not cost anything, shape (slot, home) [kW]."""
        return np.where(self.levels[1] > 0, self.surplus_kw, 0.0)

    @cached_property
    def car_kw(self) -> Float:
        """What each charger could draw, mean over the slot, shape (slot, car) [kW]."""
        return self.plugged * self.charger_kw

    @cached_property
    def need_kw(self) -> Float:
        """Energy to be drawn by each car, as if in a single slot: its need, or what the import caps let it have [kW].

        Whatever cannot be sold can be charged, so export caps never take any of it.
        """
        room = np.maximum(self.import_cap_kw, self.deficit_kw) - self.demand_kw + self.sun_kw
        reach = np.minimum(self.car_kw, np.maximum(room[:, self.home], 0.0)).sum(axis=0)
        need: Float = np.minimum(self.energy_need_kwh / (self.efficiency * self.slot_h), reach)
        return need

    def per_home(self, of_cars: Float) -> Float:
        """Add up what belongs to cars over their homes: shape (slot, car) to (slot, home)."""
        total = np.zeros((self.homes, self.slots))
        np.add.at(total, self.home, of_cars.T)
        return np.ascontiguousarray(total.T)


def _shape_faults(p: ExportProblem) -> Iterator[Fault]:
    slots, homes, cars = p.demand_kw.shape[0], p.demand_kw.shape[-1], len(p.home)
    phases = p.phase_share.shape[-1]
    wanted = {
        "demand_kw": (slots, homes), "sun_kw": (slots, homes), "rated_kw": (homes,), "connection_kw": (homes,),
        "import_cap_kw": (slots, homes), "phase_share": (homes, phases), "limit_kw": (slots, phases),
        "reverse_limit_kw": (slots, phases), "plugged": (slots, cars), "charger_kw": (cars,),
        "energy_need_kwh": (cars,), "efficiency": (cars,),
    }  # fmt: skip
    for key in ("tariff_eur_per_kwh", "feed_in_eur_per_kwh"):
        wanted[key] = (slots, homes) if getattr(p, key).ndim == 2 else (slots,)
    for key, shape in wanted.items():
        found = getattr(p, key).shape
        if found != shape:
            yield Fault(WHERE, key, f"has shape {found}", f"give shape {shape}")
    for row in p.rows:
        if row.share.shape != (homes,) or not 0 <= row.slot < slots:
            yield Fault(WHERE, "rows", f"{row.name} does not fit the homes and slots", f"give {homes} shares")


def _value_faults(p: ExportProblem) -> Iterator[Fault]:
    finite = ("tariff_eur_per_kwh", "feed_in_eur_per_kwh", "demand_kw", "sun_kw", "rated_kw", "energy_need_kwh")
    with np.errstate(invalid="ignore"):
        rules = [(key, np.isfinite(getattr(p, key)), "is not a finite number", "give numbers") for key in finite]
        rules += [
            ("slot_h", np.asarray(p.slot_h > 0), "is not positive", "give the length of a slot in hours"),
            ("demand_kw", p.demand_kw >= 0, "is negative", "give the sun as sun_kw"),
            ("sun_kw", p.sun_kw >= 0, "is negative", "give what the roof could yield"),
            ("rated_kw", p.rated_kw >= p.sun_kw.max(axis=0, initial=0.0) - _CLOSE_KW, "is below the sun",
             "give the inverter's rating"),
            ("import_cap_kw", p.import_cap_kw >= 0, "is negative or nan", "give at least 0 kW"),
            ("limit_kw", p.limit_kw >= -np.inf, "is nan", "give kW, inf for no limit"),
            ("reverse_limit_kw", p.reverse_limit_kw >= -np.inf, "is nan", "give kW, inf for no limit"),
            ("home", (p.home >= 0) & (p.home < p.homes), "names no home", f"give a row from 0 to {p.homes - 1}"),
            ("plugged", (p.plugged >= 0) & (p.plugged <= 1), "is outside 0..1", "give the share of the slot"),
            ("charger_kw", p.charger_kw > 0, "is not positive", "give the charger's rating in kW"),
            ("energy_need_kwh", p.energy_need_kwh >= 0, "is negative", "give the energy wanted in kWh"),
            ("efficiency", (p.efficiency > 0) & (p.efficiency <= 1), "is outside 0..1", "give a share above 0"),
            ("feed_in_eur_per_kwh", price_in_steps(p.feed_in) <= price_in_steps(p.tariff),
             "is above the tariff, so that homes would buy in order to sell", "give at most the tariff"),
        ]  # fmt: skip
    for key, good, problem, remedy in rules:
        bad = np.argwhere(~np.atleast_1d(good))
        if len(bad):
            places = "; ".join(str(tuple(row.tolist())) for row in bad[:5])
            yield Fault(WHERE, key, f"{problem} at {places}{' and more' if len(bad) > 5 else ''}", remedy)
    for home in np.unique(p.home[(p.home >= 0) & (p.home < p.homes)]):
        if ((p.plugged[:, p.home == home] > 0).sum(axis=1) > 1).any():
            yield Fault(WHERE, "plugged", f"home {int(home)} has two cars in one slot", "give each slot to one car")
