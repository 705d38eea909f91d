"""The shipped catalogue of common cables, and which of them a line is; and what transformers may lose."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_ALIKE = 0.03
"""Share by which a line's resistance may differ from the cable's at 20 degC."""


@dataclass(frozen=True)
class Cable:
    """A cable or wire.

    Attributes
    ----------
    name : str
        ``NAYY 4x150``.
    ohm_per_km : float
        Resistance of a phase at 20 degC [ohm/km].
    rating_a : float
        Current for long, as its source lays it [A].
    volts : tuple of float
        Voltages between phases that it is used at [V].
    reactance_ohm_per_km : tuple of float
        Least and largest of its kind [ohm/km].
    """

    name: str
    ohm_per_km: float
    rating_a: float
    volts: tuple[float, float]
    reactance_ohm_per_km: tuple[float, float]


@cache
def _content() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("catalogue.toml").read_text(encoding="utf-8"))


def tier_losses_percent(kva: float, tier: int) -> tuple[float, float] | None:
    """Largest losses of a liquid-immersed distribution transformer that may be sold in the European Union.

    Parameters
    ----------
    kva : float
        Rated power [kVA].
    tier : int
        1 from July 2015, 2 from July 2021.

    Returns
    -------
    tuple of float or None
        Load loss at rated current and no-load loss at rated voltage, of rated power [%]; None above the largest rating
        of the table, 3150 kVA.

    References
    ----------
    .. [1] Commission Regulation (EU) No 548/2014, annex I, table I.1.
    """
    rows = _content()["transformer_losses"]["watts"]
    above = next((number for number, row in enumerate(rows) if row[0] >= kva), None)
    if above is None:
        return None
    low, high = rows[max(above - 1, 0)], rows[above]
    share = (kva - low[0]) / (high[0] - low[0]) if kva >= rows[0][0] and high is not low else 1.0
    load_w, no_load_w = (low[at] + share * (high[at] - low[at]) for at in (2 * tier - 1, 2 * tier))
    return load_w / kva / 10.0, no_load_w / kva / 10.0


@cache
def cables() -> dict[str, Cable]:
    """Return the catalogue by name."""
    found = (
        Cable(f"{kind['prefix']}{size:g}", ohm, amps, tuple(kind["volts"]), tuple(kind["reactance_ohm_per_km"]))
        for kind in _content()["family"]
        for size, ohm, amps in kind["sizes"]
    )
    return {cable.name: cable for cable in found}


def like(ohm_per_km: complex, volts: float) -> Cable | None:
    """Return the cable of a line's impedance; of several that are alike, the one that carries least.

    Parameters
    ----------
    ohm_per_km : complex
        Positive-sequence impedance of the line [ohm/km].
    volts : float
        Between its phases [V].
    """
    alike = [
        cable
        for cable in cables().values()
        if abs(ohm_per_km.real / cable.ohm_per_km - 1) <= _ALIKE
        and cable.reactance_ohm_per_km[0] <= ohm_per_km.imag <= cable.reactance_ohm_per_km[1]
        and cable.volts[0] <= volts <= cable.volts[1]
    ]
    return min(alike, key=lambda cable: cable.rating_a, default=None)
