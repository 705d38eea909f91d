"""What is said of a circuit before anything runs: findings, and OpenDSS's own solution of the file as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cosim.network import Complex

Severity = Literal["error", "warning", "note"]
"""What cannot run; what misleads a run; what to know."""


@dataclass(frozen=True)
class Finding:
    """What is missing in a circuit, implausible, or treated in another way than its file says.

    Attributes
    ----------
    code : str
        Kind of finding, for scripts.
    element : str
        What it is about, ``Line.L1``; of several the first three, with an ellipsis; empty for the whole circuit.
    message : str
        One sentence.
    severity : str
        ``"error"``, ``"warning"`` or ``"note"``; a run repeats the warnings.
    """

    code: str
    element: str
    message: str
    severity: Severity = "warning"


@dataclass(frozen=True)
class LineFact:
    """What the circuit's file says of a line, beside its impedance.

    Attributes
    ----------
    code : str
        Its line code, upper case; empty without.
    has_unit : bool
        Whether line or line code give the unit of its length.
    frequency_hz : float
        Frequency that its reactance is given for [Hz].
    switch : bool
        Whether it is a switch.
    """

    code: str
    has_unit: bool
    frequency_hz: float
    switch: bool


@dataclass(frozen=True, eq=False)
class AsIs:
    """OpenDSS's own solution of a circuit: a snapshot with its own loads, load models and controls.

    Attributes
    ----------
    converged : bool
        Whether power flow and controls came to rest within the file's own number of iterations.
    iterations, control_iterations : int
        How many it took.
    losses_kw : float
        Of all its elements [kW].
    load_multiplier : float
        By which the file multiplies all its loads.
    taps : mapping of str to (before, after)
        Per-unit taps of the transformers that its controls moved.
    voltage_v : ndarray of complex, shape (node,)
        In the order of the feeder's nodes; nan where the file has none [V].
    frozen_v : ndarray of complex, shape (node,)
        The same without controls.
    constant_power_v : ndarray of complex, shape (node,)
        Without controls, and with constant power at every voltage.
    model_v : ndarray of complex, shape (node,)
        As runs have it at the file's own loads; nan where they find no solution.
    converged_at_last : bool
        Whether it converges with as many iterations as runs allow.
    said : str
        The engine's own words where it did not converge.
    """

    converged: bool
    iterations: int
    control_iterations: int
    losses_kw: float
    load_multiplier: float
    taps: Mapping[str, tuple[float, float]]
    voltage_v: Complex
    frozen_v: Complex
    constant_power_v: Complex
    model_v: Complex
    converged_at_last: bool = True
    said: str = ""
