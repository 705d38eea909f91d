"""What a device is: channels that it declares, and four answers. See ``docs/devices.md`` for how to write one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from cosim.contract import Exogenous, Feeder, Float, Setpoints

if TYPE_CHECKING:
    from cosim.trajectory import Trajectory

GENERATES, COMFORT, FLEXIBLE, BALANCES = range(4)
"""Turns in which the devices of a home answer: what does not depend on the others first, what evens them out last."""


@dataclass(frozen=True)
class Channel:
    """A quantity that a device reports, or that may be asked of it; one value a customer.

    Attributes
    ----------
    name : str
        Its unit at the end.
    meaning : str
        In a few words.
    low, high : float
        Bounds of what may be asked.
    free : float
        What asks for nothing; of a target nan: the device's own control.
    """

    name: str
    meaning: str
    low: float = 0.0
    high: float = np.inf
    free: float = np.inf

    def problem(self, asked: Float) -> str:
        """Why these values cannot be asked; empty where they can."""
        # nan asks for nothing where that is how nothing is asked; else it is no number
        bad = ~((asked >= self.low) & (asked <= self.high)) & ~(np.isnan(asked) & np.isnan(self.free))
        if not bad.any():
            return ""
        first = np.flatnonzero(bad)[0]
        return f"{self.name} is {asked[first]:g} at customer {first}, not {self.low:g} to {self.high:g}"


@dataclass(frozen=True, eq=False)
class Moment:
    """What the devices of a kind see when they answer.

    Attributes
    ----------
    step : int
        Which.
    setpoints : Setpoints
        In force.
    voltage_v : ndarray, shape (customer,)
        At the terminals, in volts of the feeder's nominal voltage.
    net_kw : ndarray, shape (customer,)
        What the home draws so far: demand, and the devices whose turn was before.
    headroom_kw : ndarray, shape (customer,)
        What the import cap leaves beyond `net_kw`; below 0 where it is exceeded, inf where there is none.
    support_kw : ndarray, shape (customer,)
        What devices of later turns would give to keep the cap.
    """

    step: int
    setpoints: Setpoints
    voltage_v: Float
    net_kw: Float
    headroom_kw: Float
    support_kw: Float | float = 0.0

    def asked(self, channel: Channel) -> Float:
        """What is asked of a channel, shape (customer,)."""
        return self.setpoints.channel(channel.name, channel.free, len(self.net_kw))


class Device:
    """Every unit of one kind on a feeder, one value a customer; 0 where a customer has none.

    Parameters
    ----------
    data : Any
        The kind's own data, ``exogenous.devices[name].data``.
    feeder : Feeder
        The place.
    day : Exogenous
        On the steps of the run.

    Attributes
    ----------
    name : str
        Of the kind; its power is recorded as ``<name>_kw``.
    turn : int
        When it answers among the devices of its home.
    setpoints, readings : tuple of Channel
        What may be asked of it; what is recorded of it at every step beside its power.
    columns : mapping of str to (low, high, what)
        Of a user's own table of units, one row a customer: range, and what to give; those in ``optional`` may lack.
    """

    name: ClassVar[str]
    turn: ClassVar[int] = FLEXIBLE
    setpoints: ClassVar[tuple[Channel, ...]] = ()
    readings: ClassVar[tuple[Channel, ...]] = ()
    columns: ClassVar[Mapping[str, tuple[float, float, str]]] = {}
    optional: ClassVar[tuple[str, ...]] = ()

    def __init__(self, data: Any, feeder: Feeder, day: Exogenous) -> None:
        raise NotImplementedError

    @staticmethod
    def draw(feeder: Feeder, day: Exogenous, rng: np.random.Generator, **options: Any) -> Any:
        """Draw the data of a kind for a feeder on a day: who has one, and what it is like.

        Parameters
        ----------
        feeder, day : Feeder, Exogenous
            The place, and the day at one minute.
        rng : numpy.random.Generator
            Source of the draw, the same for every day of a scenario.
        **options
            Of the scenario's table; where that names own units, ``units``: its columns, (customer,) each, nan where a
            customer has no row.
        """
        raise NotImplementedError

    def begin(self, step: int, setpoints: Setpoints) -> None:
        """Prepare a step: what does not depend on voltages and other devices."""

    def power(self, moment: Moment) -> tuple[Float, Float]:
        """Active [kW] and reactive power [kvar] drawn (fed in: negative) under what is asked; changes nothing."""
        raise NotImplementedError

    def support_kw(self, moment: Moment) -> Float | float:  # noqa: ARG002 - the protocol's signature
        """What it would feed in to keep a cap, shape (customer,) [kW]."""
        return 0.0

    def advance(self, step: int, kw: Float, kvar: Float) -> None:
        """Let a step pass in which that was drawn."""
        raise NotImplementedError

    def observe(self) -> Mapping[str, Float]:
        """Readings at the end of the last step (before the first: of its beginning), by channel, (customer,) each."""
        return {}

    def nameplate(self) -> Mapping[str, Float]:
        """What a controller may know of every unit, by name, (customer,) each."""
        return {}

    def state(self) -> Mapping[str, Any]:
        """Fields of its data, a dataclass, with which the same units go on where these are now; none: no memory."""
        return {}

    @staticmethod
    def measure(run: Trajectory) -> dict[str, float]:  # noqa: ARG004 - the protocol's signature
        """Metrics of a run of its own, by name, the unit at the end."""
        return {}
