"""How a session file is understood, and words of what goes out to chargers; light enough for the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

EnergyAt = Literal["plug", "battery"]
DateOrder = Literal["dmy", "mdy"]
OcppVersion = Literal["1.6", "2.0.1", "2.1"]
OcppUnit = Literal["A", "W"]


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How a session file is understood; names as of the options of ``cosim plan``.

    Attributes
    ----------
    profile : str or None
        Of ``profiles.toml``, or the path of a TOML file of one's own; None: as the header shows.
    columns : str, mapping or None
        Own names, such as ``vehicle=Plate,arrival=Date + Time``, or column by quantity; before those of the profile.
    timezone : str or None
        The station's clock, and that of times which do not say; None: as file or profile say.
    day : str or None
        Only sessions that arrive on this day, by the station's clock.
    dates : {"dmy", "mdy"} or None
        Order in 3/12/2025; None: as the profile or other dates show.
    energy : {"plug", "battery"} or None
        Where energy is measured; None: as the profile says, at the plug unless it is the table of seed 002.
    efficiency : float or None
        Battery energy per energy drawn, where no column says it; None: 1 of energy metered at the plug, else 0.9.
    min_power_kw : float
        Least power while charging, where no column says it [kW].
    charger_kw : float or None
        Largest power, where no column says it; None: as the profile says of the charger, else 7.4 [kW].
    stay_h : float or None
        Length of stays without a departure; None: they are left out [h].
    strict : bool
        Whether any fault of any row refuses the file.
    """

    profile: str | None = None
    columns: str | Mapping[str, str] | None = None
    timezone: str | None = None
    day: str | None = None
    dates: DateOrder | None = None
    energy: EnergyAt | None = None
    efficiency: float | None = None
    min_power_kw: float = 0.0
    charger_kw: float | None = None
    stay_h: float | None = None
    strict: bool = False
