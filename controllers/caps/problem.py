"""The day-ahead problem of household caps: who draws what, what is allowed, and what cars need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cosim.contract import Float, Int
from cosim.contract.signals import Bool
from cosim.contract.survey import FrozenArrays
from cosim.controllers.caps.merit_order import merit_order, order_cost, price_in_steps
from cosim.errors import Fault, refuse

WHERE = "caps problem"
NAMED_KWH = 1e-3  # less is rounding, not a need left unserved
_AXES = {
    "slot_h": (), "tariff_eur_per_kwh": ("slot",), "inflexible_kw": ("slot", "home"), "connection_kw": ("home",),
    "phase_share": ("home", "phase"), "limit_kw": ("slot", "phase"), "home": ("car",), "plugged": ("slot", "car"),
    "charger_kw": ("car",), "charger_min_kw": ("car",), "energy_need_kwh": ("car",), "efficiency": ("car",),
    "battery_room_kwh": ("car",), "charger_share": ("home", "phase"),
}  # fmt: skip
"""Fields, and what their axes count."""


@dataclass(frozen=True, eq=False)
class CapsProblem(FrozenArrays):
    """Day-ahead caps per household and slot: the data of the bilevel problem.

    A *car* is one stay of one car at one home; a home may have several as long as they are not there in the same slot.
    Caps bind the net import at the meter, mean over the slot.

    Attributes
    ----------
    slot_h : float
        Length of a slot [h].
    tariff_eur_per_kwh : ndarray, shape (slot,) or (slot, home)
        Price of import, for all homes or home by home [EUR/kWh].
    inflexible_kw : ndarray, shape (slot, home)
        Load that nobody moves, net of the home's own PV; negative while it exports [kW].
    connection_kw : ndarray, shape (home,)
        What the home may draw at most, and the cap where nothing is withheld [kW].
    phase_share : ndarray, shape (home, phase)
        Share of the home's power on each phase; rows sum to 1.
    limit_kw : ndarray, shape (slot, phase)
        What all homes of a phase may draw together, after reactive power, losses and margin [kW].
    home : ndarray of int, shape (car,)
        Home where the car is plugged in.
    plugged : ndarray, shape (slot, car)
        Share of the slot that the car is plugged in, 0 to 1.
    charger_kw, charger_min_kw : ndarray, shape (car,)
        Rating on the grid side, and the least it can run at [kW].
    energy_need_kwh : ndarray, shape (car,)
        Energy wanted *in the battery* [kWh].
    efficiency : ndarray, shape (car,)
        Battery energy per energy drawn.
    battery_room_kwh : ndarray, shape (car,), optional
        Most that the battery takes, at least the need: in slots of negative price a household charges up to it. Without
        it batteries take what is needed and no more, as the simulated households (`cosim.households`) do at any price:
        leave it out where they are to be foreseen [kWh].
    charger_share : ndarray, shape (home, phase), optional
        As ``phase_share``, of what charges there; without it a car's power is spread as its home's.
    extra_limits : tuple of str
        Names of further limits, which are the last columns of shares and of ``limit_kw``: there a share says how
        much of a home's load counts, from 0 to 1 [kW].
    room_while_there : bool
        Whether a car that is there for a part of a slot uses the room under its cap in that part only; else a cap on
        the mean of the slot is all that counts.

    Raises
    ------
    InputError
        With every fault found: wrong shapes, values out of range, two cars at one home in one slot.
    """

    slot_h: float
    tariff_eur_per_kwh: Float
    inflexible_kw: Float
    connection_kw: Float
    phase_share: Float
    limit_kw: Float
    home: Int
    plugged: Float
    charger_kw: Float
    charger_min_kw: Float
    energy_need_kwh: Float
    efficiency: Float
    battery_room_kwh: Float | None = None
    charger_share: Float | None = None
    extra_limits: tuple[str, ...] = ()
    room_while_there: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse(list(_shape_faults(self)) or _value_faults(self))

    @property
    def slots(self) -> int:
        """Number of slots."""
        return len(self.tariff_eur_per_kwh)

    @property
    def homes(self) -> int:
        """Number of homes."""
        return len(self.connection_kw)

    @property
    def phases(self) -> int:
        """Number of phases: limits that are not extra ones."""
        return int(self.limit_kw.shape[1]) - len(self.extra_limits)

    @property
    def limit_names(self) -> tuple[str, ...]:
        """What the columns of ``limit_kw`` are, to be read in a sentence."""
        return (*(f"phase {phase + 1}" for phase in range(self.phases)), *self.extra_limits)

    @property
    def cars(self) -> int:
        """Number of stays."""
        return len(self.home)

    @cached_property
    def order_cost(self) -> Float:
        """Strict cost by which households rank slots, shape as the tariff's [EUR/kWh]."""
        return order_cost(self.tariff_eur_per_kwh)

    @cached_property
    def merit_order(self) -> Int:
        """Slots from the cheapest to the dearest, shape as the tariff's."""
        return merit_order(self.tariff_eur_per_kwh)

    @cached_property
    def merit_order_of_car(self) -> Int:
        """Slots from the cheapest to the dearest at the car's home, shape (slot, car)."""
        order: Int = self._of_car(self.merit_order)
        return order

    @cached_property
    def tariff_of_car(self) -> Float:
        """Price of import at the car's home, shape (slot, car) [EUR/kWh]."""
        tariff: Float = self._of_car(self.tariff_eur_per_kwh)
        return tariff

    def per_slot_and_home(self, of_tariff: Float) -> Float:
        """Spread what has the tariff's shape over slots and homes."""
        one = of_tariff.reshape(self.slots, -1)
        return np.broadcast_to(one, (self.slots, self.homes))

    def _of_car(self, of_tariff: Any) -> Any:
        """Spread what has the tariff's shape over slots and cars."""
        if of_tariff.ndim == 1:
            return np.broadcast_to(of_tariff[:, None], (self.slots, self.cars))
        return of_tariff[:, self.home]

    @cached_property
    def need_kw(self) -> Float:
        """Energy needed from the grid, as if drawn in a single slot, shape (car,) [kW]."""
        return self.energy_need_kwh / (self.efficiency * self.slot_h)

    @cached_property
    def most_kw(self) -> Float:
        """Energy from the grid that fills the battery, as if drawn in a single slot, shape (car,) [kW]."""
        if self.battery_room_kwh is None:
            return self.need_kw
        return np.maximum(self.battery_room_kwh / (self.efficiency * self.slot_h), self.need_kw)

    def charges_beyond(self, *, at_nil: bool = False) -> Bool:
        """Whether a price below zero (or zero) lets the car charge beyond its need in some slot, shape (car,)."""
        levels_below = 1.0 if at_nil else 0.0
        paid = (price_in_steps(self.tariff_of_car) < levels_below) & (self.usable_kw > 0.0)
        return np.asarray(paid.any(axis=0) & (self.most_kw > self.need_kw))

    @cached_property
    def is_plugged(self) -> Bool:
        """Whether the car is there in some part of the slot, shape (slot, car)."""
        return self.plugged > 0

    def room_under_kw(self, caps_kw: Float | float) -> Float:
        """What caps, within the connection, leave above inflexible load, shape (slot, home) [kW]."""
        return np.maximum(np.minimum(caps_kw, self.connection_kw) - self.inflexible_kw, 0.0)

    @cached_property
    def room_kw(self) -> Float:
        """Connection above inflexible load, shape (slot, car) [kW]."""
        return self.room_under_kw(np.inf)[:, self.home]

    @property
    def used_part(self) -> Float:
        """Share of a slot in which a car can use the room under its cap, shape (slot, car)."""
        return self.plugged if self.room_while_there else np.ones_like(self.plugged)

    @cached_property
    def usable_kw(self) -> Float:
        """What the car draws at most without a cap, mean over the slot, shape (slot, car) [kW]."""
        usable: Float = np.minimum(self.plugged * self.charger_kw, self.used_part * self.room_kw)
        usable[self.room_kw < self.charger_min_kw] = 0.0
        return usable

    @cached_property
    def base_kw(self) -> Float:
        """Inflexible load of each phase, shape (slot, phase) [kW]."""
        return self.inflexible_kw @ self.phase_share

    @cached_property
    def headroom_kw(self) -> Float:
        """What is left for cars on each phase, at least 0, shape (slot, phase) [kW]."""
        return np.maximum(self.limit_kw - self.base_kw, 0.0)

    @cached_property
    def car_share(self) -> Float:
        """Share of the car's power on each phase, shape (car, phase)."""
        return (self.phase_share if self.charger_share is None else self.charger_share)[self.home]

    @cached_property
    def reachable_kwh(self) -> Float:
        """Energy in the battery by departure if the home alone set the limit, at most the need, shape (car,) [kWh]."""
        most = self.efficiency * self.slot_h * self.usable_kw.sum(axis=0)
        reachable: Float = np.minimum(self.energy_need_kwh, most)
        return reachable

    def unserved_kwh(self, charge_kw: Float) -> Float:
        """What charging of shape (slot, car) leaves of the need that could be served, shape (car,) [kWh]."""
        missing = self.reachable_kwh - self.efficiency * self.slot_h * charge_kw.sum(axis=0)
        return np.where(missing < NAMED_KWH, 0.0, missing)

    def per_home(self, values: Float) -> Float:
        """Add up what belongs to cars over their homes: shape (slot, car) to (slot, home)."""
        total = np.zeros((self.homes, len(values)))
        np.add.at(total, self.home, values.T)
        return np.ascontiguousarray(total.T)

    def withheld_kwh(self, caps_kw: Float) -> float:
        """Sum over plugged-in slots of connection - cap [kWh], for caps of shape (slot, home)."""
        withheld = (self.connection_kw - caps_kw)[:, self.home]
        return float(self.slot_h * np.maximum(withheld, 0.0)[self.is_plugged].sum())


def share_of_phase(phase: Int, phases: int = 3) -> Float:
    """Return the shares of single-phase homes, shape (home, phase), from the index of each home's phase."""
    return np.eye(phases)[phase]


def _axes(p: CapsProblem, key: str) -> tuple[str, ...]:
    return ("slot", "home") if key.startswith("tariff") and p.tariff_eur_per_kwh.ndim == 2 else _AXES[key]


def _shape_faults(p: CapsProblem) -> Iterator[Fault]:
    slots, phases = len(p.tariff_eur_per_kwh), p.phase_share.shape[-1]
    lengths = {"slot": slots, "home": len(p.connection_kw), "phase": phases, "car": len(p.home)}
    for key in _AXES:
        found, wanted = np.shape(getattr(p, key)), tuple(lengths[axis] for axis in _axes(p, key))
        if found != wanted and getattr(p, key) is not None:
            yield Fault(WHERE, key, f"has shape {found}", f"give shape {wanted}")
    if not slots:
        yield Fault(WHERE, "tariff_eur_per_kwh", "has no slot", "give at least one slot")


def _value_faults(p: CapsProblem) -> Iterator[Fault]:
    of_phases, least = p.phase_share[:, : p.phases], p.charger_min_kw
    with np.errstate(invalid="ignore"):
        rules = [
            ("slot_h", np.asarray(p.slot_h > 0), "is not positive", "give the length of a slot in hours"),
            ("connection_kw", p.connection_kw > 0, "is not positive", "give what the home may draw in kW"),
            ("phase_share", p.phase_share >= 0, "is negative", "give shares from 0 to 1"),
            ("phase_share", np.isclose(of_phases.sum(axis=1), 1.0), "does not sum to 1", "let each row sum to 1"),
            ("home", (p.home >= 0) & (p.home < p.homes), "names no home", f"give a row from 0 to {p.homes - 1}"),
            ("plugged", (p.plugged >= 0) & (p.plugged <= 1), "is outside 0..1", "give the share of the slot"),
            ("charger_kw", p.charger_kw > 0, "is not positive", "give the charger's rating in kW"),
            ("charger_min_kw", (least >= 0) & (least <= p.charger_kw), "is outside 0..charger_kw",
             "give the least power the charger runs at in kW"),
            ("energy_need_kwh", p.energy_need_kwh >= 0, "is negative", "give the energy wanted in kWh"),
            ("efficiency", (p.efficiency > 0) & (p.efficiency <= 1), "is outside 0..1", "give a share above 0"),
        ]  # fmt: skip
    rules.extend(
        (key, np.isfinite(getattr(p, key)), "is not a finite number", "give a number everywhere")
        for key in ("tariff_eur_per_kwh", "inflexible_kw", "limit_kw")
    )
    if p.battery_room_kwh is not None:
        enough = p.battery_room_kwh >= p.energy_need_kwh - 1e-9
        rules.append(("battery_room_kwh", enough, "is less than is needed", "give what the battery can take"))
    for key, good, problem, remedy in rules:
        bad = np.argwhere(~np.atleast_1d(good))
        if len(bad):
            rows = "; ".join(_place(p, key, row.tolist()) for row in bad[:5])
            more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
            yield Fault(WHERE, key, f"{problem} at {rows}{more}", remedy)
    yield from _double_parking(p)


def _place(p: CapsProblem, key: str, row: Sequence[int]) -> str:
    """Name the entry of a field: its slot, its home, its phase."""
    named = [
        f"car {index} of home {int(p.home[index])}" if axis == "car" else f"{axis} {index}"
        for axis, index in zip(_axes(p, key), row, strict=False)
    ]
    return ", ".join(named) or "its only value"


def _double_parking(p: CapsProblem) -> Iterator[Fault]:
    for home in np.unique(p.home):
        together = np.flatnonzero((p.plugged[:, p.home == home] > 0).sum(axis=1) > 1)
        if len(together):
            yield Fault(
                WHERE,
                "plugged",
                f"home {int(home)} has two cars plugged in at once in slots {together[:5].tolist()}",
                "give each slot of a home to one car",
            )
