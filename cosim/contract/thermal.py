"""How warm a transformer gets: the constants of its thermal model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isfinite
from typing import NamedTuple

from cosim.errors import Fault, refuse


class ThermalState(NamedTuple):
    """What the thermal model remembers: top oil [C], and the two parts of the hot spot's rise [K]."""

    top_oil_c: float
    fast_k: float
    slow_k: float


@dataclass(frozen=True)
class OilTransformer:
    """Thermal constants of IEC 60076-7 for a distribution transformer with natural cooling (ONAN).

    Attributes
    ----------
    top_oil_rise_k : float
        Top-oil rise over ambient at rated losses. [K]
    hot_spot_rise_k : float
        Hot-spot rise over top oil at rated current. [K]
    oil_time_constant_min, winding_time_constant_min : float
        [min]
    loss_ratio : float or None
        Load loss at rated current over no-load loss, R; None for that of the machine, or 5 where that is not known.
    oil_exponent, winding_exponent : float
        x and y.
    k11, k21, k22 : float
        Constants of the transient; k21 = 1 means no overshoot of the hot spot.
    ambient_surcharge_k : float
        How much warmer it is around the machine than outdoors: in a kiosk or a cellar about 10. [K]

    Raises
    ------
    InputError
        Where a constant is no finite positive number, the surcharge is negative, or k21 is below 1.
    """

    top_oil_rise_k: float = 55.0
    hot_spot_rise_k: float = 23.0
    oil_time_constant_min: float = 180.0
    winding_time_constant_min: float = 4.0
    loss_ratio: float | None = None
    oil_exponent: float = 0.8
    winding_exponent: float = 1.6
    k11: float = 1.0
    k21: float = 1.0
    k22: float = 2.0
    ambient_surcharge_k: float = 0.0

    def __post_init__(self) -> None:
        faults = []
        for key, value in asdict(self).items():
            least = {"ambient_surcharge_k": 0.0, "k21": 1.0}.get(key)
            if key == "loss_ratio" and value is None:
                continue
            if not (isfinite(value) and (value > 0.0 if least is None else value >= least)):
                remedy = "give a positive number" if least is None else f"give {least:g} or more"
                faults.append(Fault("OilTransformer", key, f"is {value!r}", remedy))
        refuse(faults)
