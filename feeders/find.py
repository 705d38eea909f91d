"""What there is by name: feeders, household sets, skies, tariffs. Nothing is read to refuse what is not there."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cosim import plugins
from cosim.errors import Fault, InputError, meant

GROUP = "cosim.feeders"
"""Entry points by which installed packages offer feeders: a path, or a function that returns one."""

Cloud = Literal["clear", "partly_cloudy", "overcast"]
Band = tuple[float, float, str, tuple[int, ...]]
"""From which hour, EUR per kWh, ``all``, ``weekday`` or ``weekend``, and in which months."""

_YEAR = tuple(range(1, 13))
TARIFFS: dict[str, tuple[Band, ...]] = {
    "three_band": tuple(
        (hour, price, "all", _YEAR) for hour, price in ((0, 0.12), (7, 0.22), (16, 0.32), (20, 0.22), (23, 0.12))
    )
}
"""Shipped tariffs by name."""
PhaseChoice = Literal["random", "first", "lightest"]
"""Of single-phase chargers at homes with several phases."""
Join = Literal["name", "order", "draw"]
"""How columns of own profiles are given to customers."""

YEARS = (1900, 2200)
"""First and last that profiles, sun and tariffs can be drawn for."""

OF_THE_FEEDER = "feeder"
"""As profiles: the loads of the circuit's own file."""

MODELS = ("apartment",)
"""As sessions: generators of cars that are shipped."""

CALENDAR = "calendar"
"""As profiles: homes drawn anew for every day, see `cosim.feeders.calendar_homes`."""
SEASONS = "seasons"
"""As profiles: the shipped set of the nearest month."""

HERE = Path(__file__).parent
DATA = HERE / "data"


def names() -> tuple[str, ...]:
    """Names of the feeders that are shipped, then of those of installed packages; shipped names win."""
    return (*shipped_names(), *[name for name in plugins.offered(GROUP) if name not in shipped_names()])


def shipped_names() -> tuple[str, ...]:
    """Names of the feeders that are shipped."""
    return tuple(sorted(folder.parent.name for folder in HERE.glob("*/feeder.toml")))


def is_installed(name: str) -> bool:
    """Whether a feeder of that name comes from an installed package."""
    # os.path: false, not an error, where a name is too long for a file
    return not os.path.isfile(HERE / name / "feeder.toml") and name in plugins.offered(GROUP)


def check(name_or_path: str | Path) -> None:
    """Refuse a feeder that is not there, and run nothing: of an installed one only that it is offered once."""
    if is_installed(str(name_or_path)):
        plugins.target_of(GROUP, str(name_or_path))
    else:
        find(name_or_path)


def find(name_or_path: str | Path) -> Path:
    """Return the master file of a feeder; InputError where there is none."""
    name = str(name_or_path)
    if is_installed(name):
        target = plugins.target_of(GROUP, name)
        offered = plugins.load(target, "feeder") if target else name
        path = Path(offered() if callable(offered) else offered)
    else:
        path = HERE / name if name in names() else Path(name_or_path)
    if os.path.isdir(path):
        path = path / _master_in(path)
    if not os.path.isfile(path):
        remedy = meant(name, names(), f"write one of {', '.join(names())}, or the path of a .dss file")
        raise InputError(Fault(name[:300], "", f"no such feeder or file: '{name[:300]}'", remedy))
    if path.suffix.lower() not in (".dss", ".txt"):
        remedy = "give an OpenDSS .dss file, or a .txt with the same content"
        raise InputError(Fault(str(path), "", f"'{path.suffix}' is no circuit file", remedy))
    return path


def _master_in(folder: Path) -> str:
    """Name of the master file in a folder: ``Master.dss``, else the same in other capital letters, else ``.txt``."""
    there = {name for name in os.listdir(folder) if name.lower() in ("master.dss", "master.txt")}
    return min(there | {"Master.dss"}, key=lambda name: (name not in there, name.lower(), name))


def tariffs() -> tuple[str, ...]:
    """Names of the shipped tariffs."""
    return tuple(TARIFFS)


def household_sets() -> tuple[str, ...]:
    """Names of the shipped sets, each of 120 homes on three consecutive weekdays at one minute."""
    return tuple(sorted(path.stem for path in DATA.glob("*_weekday.parquet")))


def in_season(profiles: str | Path, moment: datetime) -> str | Path:
    """Name of the shipped set whose month's middle is nearest to a moment where that is asked for, else as given."""
    if profiles != SEASONS:
        return profiles

    def distance_days(name: str) -> float:
        middle = datetime.strptime(f"15 {name.split('_')[0]} {moment.year}", "%d %B %Y")
        apart = abs((moment - middle).total_seconds()) / 86_400
        return min(apart, 365.25 - apart)

    return min(household_sets(), key=distance_days)


def profile_names() -> tuple[str, ...]:
    """What profiles of homes may be called that are no file."""
    return (OF_THE_FEEDER, SEASONS, CALENDAR, *household_sets())


def check_profiles(name_or_path: str) -> None:
    """Refuse profiles that are not there, and read nothing."""
    known = profile_names()
    if name_or_path not in known and not os.path.isfile(name_or_path):
        remedy = meant(name_or_path, known, f"write the path of a file, or one of {', '.join(known)}")
        raise InputError(Fault("", "", f"there is no set or file '{name_or_path}'", remedy))


def check_zone(zone: str, start: datetime) -> None:
    """Refuse a zone that is not there, and a start that is no moment of its clock, or two."""
    try:
        clock = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        remedy = "write an IANA name such as Europe/London (where the system has no list of zones: pip install tzdata)"
        raise InputError(Fault("", "zone", f"there is no zone '{zone[:80]}'", remedy)) from None
    offsets = {start.replace(tzinfo=clock, fold=fold).utcoffset() for fold in (0, 1)}
    if len(offsets) > 1:
        problem = f"{start.isoformat()} is no moment of {zone}, or two: the clock changes"
        raise InputError(Fault("", "zone", problem, "begin an hour or more before or after"))
