"""What an engine finds in a circuit: raw facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from cosim.contract.intake import LineFact
from cosim.network import Float, Network

PHASES = (1, 2, 3)
"""Node numbers that are phases; 0 is earth, others are neutrals."""


_PLAIN = (float, int, bool, str, type(None))
"""What surely is no mapping; to ask the others takes longer than all else here."""


class FrozenArrays:
    """Base of frozen dataclasses whose arrays, and mappings to arrays, are copied and made read-only."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                object.__setattr__(self, name, _frozen(value))
            elif type(value) not in _PLAIN and isinstance(value, Mapping) and value:
                object.__setattr__(self, name, {key: _frozen(x) for key, x in value.items()})


def _frozen(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    if not value.flags.writeable and value.flags.owndata:  # by such a copy, as of a day of which something is replaced
        return value
    copy = value.copy()
    copy.setflags(write=False)
    return copy


@dataclass(frozen=True, eq=False)
class LoadShape(FrozenArrays):
    """Power of a load over time, as the circuit's file defines it.

    Attributes
    ----------
    interval_min : float
        Time between values, the first at midnight [min].
    kw, kvar : ndarray, shape (value,)
        Power [kW], [kvar]; repeats from the beginning.
    """

    interval_min: float
    kw: Float
    kvar: Float


@dataclass(frozen=True, eq=False)
class Roof:
    """A PVSystem of the circuit's file, taken out of it to be a customer's roof plant.

    Attributes
    ----------
    name, bus : str
        Upper case.
    node_numbers : tuple of int
        Nodes that it is connected to.
    inverter_kva : float
        Rating of its inverter [kVA].
    available : LoadShape
        What it could give.
    """

    name: str
    bus: str
    node_numbers: tuple[int, ...]
    inverter_kva: float
    available: LoadShape


@dataclass(frozen=True)
class LoadFact:
    """A load as the circuit's file defines it, before anything is changed.

    Attributes
    ----------
    name, bus : str
        Upper case.
    node_numbers : tuple of int
        Nodes of its phase conductors; of one between phases all that it touches, earth left out.
    neutral_number : int
        Node of its neutral conductor; 0 is earth.
    kw, kvar, kv : float
        Rated power [kW], [kvar] and voltage as OpenDSS takes it [kV].
    model : int
        OpenDSS load model; 1 is constant power.
    delta : bool
        Connected between phases.
    ends : tuple of (int, int)
        Nodes between which it draws equal parts of its power: of a star from every phase to the neutral, of a delta
        round from phase to phase.
    base_v : float
        Rated voltage between these [V].
    low_pu : float
        Voltage, of `base_v`, below which OpenDSS takes any load as an impedance.
    band_pu : tuple of float
        Voltages, of `base_v`, between which OpenDSS keeps the model; outside, the load turns into an impedance.
    exponents, zipv : tuple of float
        Of model 4 and of model 8, as in OpenDSS.
    shape : LoadShape or None
        Its yearly, else its daily shape; none of a load that is fixed.
    ignored : tuple of str
        What the file says of it that nothing here follows.
    """

    name: str
    bus: str
    node_numbers: tuple[int, ...]
    neutral_number: int
    kw: float
    kvar: float
    kv: float
    model: int
    delta: bool
    ends: tuple[tuple[int, int], ...]
    base_v: float
    low_pu: float
    band_pu: tuple[float, float]
    exponents: tuple[float, float]
    zipv: tuple[float, ...]
    shape: LoadShape | None
    ignored: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Survey:
    """What an engine finds in a circuit: raw facts, from which ``feeders`` makes a ``Feeder``.

    Attributes
    ----------
    loads : tuple of LoadFact
        Enabled loads.
    network : Network
        The circuit without loads.
    winding_kvs, winding_kvas : mapping of str to tuple of float
        Rated voltage [kV] and power [kVA] of every winding of every transformer.
    bus_xy : mapping of str to (x, y)
        Coordinates where the file defines them.
    voltage_bases_kv : mapping of str to float
        Phase-to-neutral base of every bus; 0 where none was set [kV].
    disabled_buses : frozenset of str
        Buses at the ends of lines and transformers that the file disables.
    roofs : tuple of Roof
        PVSystems that were taken out, as asked.
    warnings : tuple of str
        What the engine has to say of the file itself.
    lines : mapping of str to LineFact
        What the file says of every line.
    """

    loads: tuple[LoadFact, ...]
    network: Network
    winding_kvs: Mapping[str, tuple[float, ...]]
    winding_kvas: Mapping[str, tuple[float, ...]]
    bus_xy: Mapping[str, tuple[float, float]]
    voltage_bases_kv: Mapping[str, float]
    disabled_buses: frozenset[str] = frozenset()
    roofs: tuple[Roof, ...] = ()
    warnings: tuple[str, ...] = ()
    lines: Mapping[str, LineFact] = field(default_factory=dict)

    @cached_property
    def transformer_kva(self) -> dict[str, float]:
        """Rating of every transformer, that of its largest winding [kVA]."""
        return {name: max(kvas) for name, kvas in self.winding_kvas.items()}
