"""By what the voltage of a supply is judged: four standards with their bands, windows and levels of voltage."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # names of standards are asked for where nobody waits for numpy
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

LOW_VOLTAGE_V = 1_000.0
"""Up to here, phase to phase, a supply is low voltage in all four of them."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Band:
    """Where the voltage of a supply has to be, and how often.

    Attributes
    ----------
    lower_pu, upper_pu : float
        Limits, of the declared nominal voltage.
    share_percent : float
        At least so many of the windows must not be below the lower limit, and as many not above the upper one.
    """

    lower_pu: float
    upper_pu: float
    share_percent: float = 100.0


@dataclass(frozen=True)
class Standard:
    """What a standard asks of the voltage at a customer's terminals.

    Attributes
    ----------
    name : str
        As in ``[grid] standard``.
    title : str
        As people call it.
    source : str
        Document and clause.
    low, medium : tuple of Band
        Bands at low and at medium voltage; the first is the one that is drawn and whose excess is counted in minutes.
        Empty where the standard says nothing of the level.
    window_min : float
        Rms values over so many minutes are judged; 0 where the standard names no window: every step [min].
    vuf_percent, lvur_percent : float
        Limits of |V2/V1| and of the deviation of line voltages from their mean; nan where it has none [%].
    frequency_hz : float
        Of the systems that it is made for [Hz].
    """

    name: str
    title: str
    source: str
    low: tuple[Band, ...]
    medium: tuple[Band, ...]
    window_min: float
    vuf_percent: float
    lvur_percent: float
    frequency_hz: float

    def bands(self, nominal_v: float) -> tuple[Band, ...]:
        """Bands of a level of voltage, given phase to neutral [V]; empty where the standard does not apply."""
        return self.low if math.sqrt(3.0) * nominal_v <= LOW_VOLTAGE_V * (1 + _ROUNDING) else self.medium

    def limits_pu(self, nominal_v: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper limit of the first band, each in the shape of the nominal voltages; nan where none applies.

        Parameters
        ----------
        nominal_v : array_like
            Phase to neutral [V].
        """
        import numpy as np

        nominal = np.asarray(nominal_v, dtype=float)
        none = (Band(np.nan, np.nan),)
        first = [(self.bands(each) or none)[0] for each in nominal.ravel().tolist()]
        limits = np.array([(band.lower_pu, band.upper_pu) for band in first]).reshape(*nominal.shape, 2)
        return limits[..., 0], limits[..., 1]

    def rule(self) -> str:
        """Say in words what complies."""
        levels = [(level, bands) for level, bands in (("low", self.low), ("medium", self.medium)) if bands]
        values = f"{self.window_min:g}-minute rms values" if self.window_min else "every step"
        said = [f"{level} voltage {' and '.join(_of_band(band) for band in bands)}" for level, bands in levels]
        return f"{self.title}, {values}: {'; '.join(said)}"


def _of_band(band: Band) -> str:
    share = "all" if band.share_percent == 100.0 else f"{band.share_percent:g} %"
    return f"{share} within {band.lower_pu:g}–{band.upper_pu:g} pu"


def _read() -> dict[str, Standard]:
    told = tomllib.loads(Path(__file__).with_name("standards.toml").read_text(encoding="utf-8"))
    for one in told.values():
        one |= {level: tuple(Band(*band) for band in one[level]) for level in ("low", "medium")}
    return {name: Standard(name, **one) for name, one in told.items()}


STANDARDS = _read()
"""By name."""
EN_50160, ESQCR, ANSI_C84_1, AS_61000 = STANDARDS.values()
