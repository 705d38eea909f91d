"""Options of the host-capacity study: what was asked for, checked all at once, turned into size and solver options."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cosim.controllers.caps import CapsOptions
from cosim.errors import Fault, InputError
from cosim.feeders.households import DAY_MIN

WHERE = "cosim reproduce host_capacity"
LIMITS = ("total", "per-phase")
HOUSEHOLDS, SLOTS = 55, 96
MOST_HOUSEHOLDS = 100_000
UNLIMITED_NODES = 10**9


@dataclass(frozen=True)
class Wishes:
    """What the command line said; None where it said nothing."""

    households: int | None = None
    slots: int | None = None
    limits: str | None = None
    margin: float | None = None
    data: Path | None = None
    form: str | None = None
    objective: str | None = None
    coordination: str | None = None
    ties: str | None = None
    time_limit_s: float | None = None
    gap: float | None = None
    floor_kw: float | None = None
    seed: int = 1

    @property
    def nothing(self) -> bool:
        """Whether only the seed's own cases are wanted."""
        return replace(self, seed=0) == Wishes(seed=0)


@dataclass(frozen=True)
class Order:
    """A run at a size of one's own.

    Attributes
    ----------
    households, slots : int
        Size.
    limits : str
        ``total``: one limit; ``per-phase``: three.
    margin : float
        Share of the limits kept free.
    data : Path or None
        Own homes instead of the shipped ones.
    options : CapsOptions
        For the solver.
    strict_floor : bool
        Whether a floor was asked for by its size, so that one that cannot be kept is an error.
    seed : int
        Of all draws.
    """

    households: int
    slots: int
    limits: str
    margin: float
    data: Path | None
    options: CapsOptions
    strict_floor: bool
    seed: int


def checked(wishes: Wishes) -> Order | None:
    """Return what to run, or None where only the seed's own cases are wanted.

    Raises
    ------
    InputError
        With every option that is unknown, unsupported or out of range.
    """
    faults = list(_size_faults(wishes))
    options, solver_faults = _solver_options(wishes)
    faults += solver_faults
    if faults:
        raise InputError(faults)
    if wishes.nothing:
        return None
    return Order(
        households=HOUSEHOLDS if wishes.households is None else wishes.households,
        slots=SLOTS if wishes.slots is None else wishes.slots,
        limits=wishes.limits or LIMITS[0],
        margin=wishes.margin or 0.0,
        data=wishes.data,
        options=options,
        strict_floor=wishes.floor_kw is not None,
        seed=wishes.seed,
    )


def _size_faults(wishes: Wishes) -> Iterator[Fault]:
    homes, slots = wishes.households, wishes.slots
    if homes is not None and not 1 <= homes <= MOST_HOUSEHOLDS:
        yield Fault(WHERE, "--households", f"is {homes}", f"give a number from 1 to {MOST_HOUSEHOLDS}")
    if slots is not None and (slots < 1 or DAY_MIN % slots):
        remedy = f"give a number that divides the {DAY_MIN} minutes of the day, such as 24, 48 or 96"
        yield Fault(WHERE, "--slots", f"is {slots}", remedy)
    if wishes.limits is not None and wishes.limits not in LIMITS:
        yield Fault(WHERE, "--limits", f"is '{wishes.limits}'", f"use one of {', '.join(LIMITS)}")
    if wishes.margin is not None and not 0.0 <= wishes.margin < 1.0:
        yield Fault(WHERE, "--margin", f"is {wishes.margin}", "give a share from 0 to below 1")
    if wishes.seed < 0:
        yield Fault(WHERE, "--seed", f"is {wishes.seed}", "give a whole number from 0")
    if wishes.data is not None:
        given = [f"--{key}" for key in ("households", "slots", "limits") if getattr(wishes, key) is not None]
        if given:
            yield Fault(WHERE, "--data", f"is given together with {', '.join(given)}", "the file says these: leave out")


def _solver_options(wishes: Wishes) -> tuple[CapsOptions, list[Fault]]:
    """Options for the solver, and its objections in the words of the command line: it knows best what it can do."""
    asked: dict[str, Any] = {
        "objective": wishes.objective or "least_restriction",
        "coordination": wishes.coordination,
        "form": wishes.form,
        "ties": wishes.ties,
        "gap": wishes.gap,
        "time_limit_s": wishes.time_limit_s,
        "floor_kw": wishes.floor_kw,
        "whole_floor": None if wishes.floor_kw is None else True,
        "node_limit": None if wishes.time_limit_s is None else UNLIMITED_NODES,
    }
    given = {key: value for key, value in asked.items() if value is not None}
    faults = []
    if wishes.floor_kw is not None and wishes.objective != "floor_then_least":
        remedy = "ask for --objective floor_then_least, or leave it out"
        faults.append(Fault(WHERE, "--floor-kw", "only counts with another objective", remedy))
    try:
        options = CapsOptions(**given)
    except InputError as error:
        faults.extend(replace(fault, where=WHERE, key=_flag(fault.key)) for fault in error.faults)
        options = CapsOptions()
    return options, faults


def _flag(key: str) -> str:
    return "--" + key.removesuffix("_s").replace("_", "-")
