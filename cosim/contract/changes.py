"""What may be asked of a circuit in place of what its file says, and within which bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from cosim.errors import Fault, refuse, shares_faults


@dataclass(frozen=True)
class Range:
    """What a number of a place may be, both ends included."""

    low: float
    high: float
    unit: str
    example: float

    def fault(self, where: str, key: str, value: object) -> Fault | None:
        """Return the fault of a value that is no number in the range."""
        if (
            isinstance(value, (int, float, np.integer, np.floating))
            and not isinstance(value, bool)
            and self.low <= value <= self.high
        ):
            return None
        remedy = f"give {self.unit} between {self.low:,g} and {self.high:,g}, e.g. {self.example:g}"
        return Fault(where, key, f"is {value!r}", remedy)


RANGES = {
    "nominal_voltage_v": Range(50.0, 50_000.0, "volts, phase to neutral,", 230.0),
    "latitude_deg": Range(-90.0, 90.0, "degrees", 53.48),
    "longitude_deg": Range(-180.0, 180.0, "degrees", -2.24),
    "connection_kw_per_phase": Range(0.1, 1_000.0, "kilowatts", 14.0),
    "source_pu": Range(0.5, 1.5, "the voltage in per unit", 1.02),
    "rating_a": Range(1.0, 100_000.0, "amperes", 275.0),
    "kva": Range(0.1, 1_000_000.0, "kilovolt-amperes", 160.0),
    "uk_percent": Range(0.01, 100.0, "percent", 4.0),
    "load_loss_percent": Range(0.0, 100.0, "percent", 1.5),
    "no_load_loss_percent": Range(0.0, 100.0, "percent", 0.13),
}
"""Of every number of a place, whichever way it comes: ``feeder.toml``, a circuit's file, Python. A scenario's own
bounds are closer: it takes what a street has."""


def out_of_range(where: str, values: Mapping[str, object]) -> list[Fault]:
    """Return the faults of those values that have a range."""
    found = (RANGES[key].fault(where, key, value) for key, value in values.items() if key in RANGES)
    return [fault for fault in found if fault is not None]


@dataclass(frozen=True)
class TransformerSpec:
    """A machine that replaces the feeder's own, impedance and all.

    Attributes
    ----------
    kva : float
        Rated power [kVA].
    uk_percent : float
        Short-circuit voltage [%].
    load_loss_percent : float
        Load loss at rated current, of rated power [%].
    no_load_loss_percent : float
        No-load loss at rated voltage, of rated power [%]; the losses of a machine with none lack the iron.

    Raises
    ------
    InputError
        Where a value is outside its range, or the loss is not below the short-circuit voltage.
    """

    kva: float
    uk_percent: float = 4.0
    load_loss_percent: float = 1.5
    no_load_loss_percent: float = 0.0

    def __post_init__(self) -> None:
        faults = out_of_range("TransformerSpec", asdict(self))
        if not faults and self.load_loss_percent >= self.uk_percent:
            problem = f"is {self.load_loss_percent:g} at uk_percent = {self.uk_percent:g}, of which it is a part"
            faults = [Fault("TransformerSpec", "load_loss_percent", problem, "give less than uk_percent")]
        refuse(faults)


@dataclass(frozen=True)
class ZipShares:
    """Shares of constant impedance, constant current and constant power that all loads have at rated voltage.

    Attributes
    ----------
    p, q : tuple of float
        Shares (z, i, p) of active and of reactive power.

    Raises
    ------
    InputError
        Where they are not three numbers with the sum 1.
    """

    p: tuple[float, ...]
    q: tuple[float, ...]

    def __post_init__(self) -> None:
        refuse(shares_faults("ZipShares", asdict(self)))


@dataclass(frozen=True)
class Connection:
    """A customer that is connected elsewhere than the file says, or that the file does not have.

    Attributes
    ----------
    customer : str
        Its name; a load of the file is moved, any other is new.
    bus : str
        Where it is connected.
    phases : tuple of int
        Phases that it is connected to: one, or all three.
    neutral : int
        Node of its neutral conductor; 0 is earth.

    Raises
    ------
    InputError
        Where a name is empty or none that OpenDSS takes, or the nodes are not different whole numbers.
    """

    customer: str
    bus: str
    phases: tuple[int, ...]
    neutral: int = 0

    def __post_init__(self) -> None:
        faults = [
            Fault("Connection", key, f"is {name!r}", "give a name without quotes and line breaks, e.g. 'CP1'")
            for key, name in (("customer", self.customer), ("bus", self.bus))
            if not (isinstance(name, str) and name.strip() and name.isprintable() and '"' not in name)
        ]
        nodes = (*self.phases, self.neutral)
        whole = all(isinstance(node, int) and not isinstance(node, bool) for node in nodes)
        if not (whole and self.phases and len(set(nodes)) == len(nodes) and min(self.phases) > 0 <= self.neutral):
            problem = f"is {self.phases!r} with neutral {self.neutral!r}"
            faults.append(Fault("Connection", "phases", problem, "give one phase or all, e.g. (1,) or (1, 2, 3)"))
        refuse(faults)
