"""Tables of a scenario about inputs that move: prices, what homes do with their freedom, and what meters tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from cosim.errors import Fault, meant
from cosim.experiments.remedies import refused
from cosim.experiments.world.table import Share, Table, refuse_unregistered
from cosim.feeders.find import tariffs

_SHARES_TOLERANCE = 1e-6


class Band(Table):
    """A price from an hour on, until the next band of the same day."""

    eur_per_kwh: float = Field(ge=-5, le=5, description="Price of import [EUR/kWh]")
    from_h: float = Field(0.0, ge=0, lt=24, description="Hour of the local clock from which it holds [h]")
    days: Literal["all", "weekday", "weekend"] = Field("all", description="Kind of day on which it holds")
    months: tuple[int, ...] = Field(
        tuple(range(1, 13)), strict=False, description="Months in which it holds, 1 to 12", examples=[[10, 11, 12]]
    )

    @field_validator("months")
    @classmethod
    def _of_a_year(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or any(not 1 <= month <= 12 for month in value):
            remedy = "write a list of months, such as [10, 11, 12, 1, 2, 3], or leave it out"
            raise refused(Fault("", "months", f"is {list(value)}, not months from 1 to 12", remedy))
        return value


class OwnTariff(Table):
    """Price of import by hour, kind of day and month."""

    bands: tuple[Band, ...] = Field(strict=False, description="One table for every band")

    @field_validator("bands")
    @classmethod
    def _whole_and_single(cls, value: tuple[Band, ...]) -> tuple[Band, ...]:
        faults = []
        for kind in ("weekday", "weekend"):
            for month in range(1, 13):
                hours = [band.from_h for band in value if band.days in ("all", kind) and month in band.months]
                where = f"on a {kind} in month {month}"
                if 0.0 not in hours:
                    faults.append(Fault("", "bands", f"have no price at 0 h {where}", "add a band with from_h = 0"))
                elif len(set(hours)) < len(hours):
                    problem = f"have two prices from the same hour {where}"
                    faults.append(Fault("", "bands", problem, "keep one: bands of days or months must not overlap"))
        if faults:
            raise refused(faults[0])
        return value


def check_tariff(value: str, info: ValidationInfo) -> str:
    """Take a shipped tariff, one of the scenario's own, or a file of prices beside it; refuse what is none."""
    if "tariffs" not in info.data:  # they are wrong themselves, which is told
        return value
    if value in (known := (*tariffs(), *info.data["tariffs"])):
        return value
    if "allowed" in (info.context or {}):
        refuse_unregistered(value, str(info.field_name), known)
    path = (info.context or {}).get("folder", Path()) / value
    try:
        found = ("/" in value or "." in value) and path.is_file()
    except (OSError, ValueError):  # too long, or with a null byte in it
        found = False
    if not found:
        remedy = meant(value, known, f"write the path of a file, or one of {', '.join(known)}")
        raise refused(Fault("", str(info.field_name), f"there is no tariff or file '{value[:80]}'", remedy))
    return str(path.resolve())


def check_shares(shares: dict[str, float], key: str, *, whole: bool = False) -> dict[str, float]:
    """Refuse shares below 0, or that are more than all (``whole``: that are not all)."""
    total = sum(shares.values())
    low = [name for name, share in shares.items() if share < 0]
    if low or total > 1 + _SHARES_TOLERANCE or (whole and shares and total < 1 - _SHARES_TOLERANCE):
        given = ", ".join(f"{name} = {share:g}" for name, share in shares.items())
        problem = f"are {given}, together {total:g}"
        wanted = "together 1" if whole else "together at most 1"
        raise refused(Fault("", key, problem, f"write shares of homes from 0 to 1, {wanted}"))
    return shares


class Responses(Table):
    """Shares of homes by what they do with their cars."""

    cheapest: Share = Field(0.0, description="Cheapest hours before departure")
    immediate: Share = Field(0.0, description="On arrival, as soon and as fast as possible")
    paced: Share = Field(0.0, description="At an even pace until departure")
    own_sun: Share = Field(0.0, description="From the own roof first, then the cheapest hours")

    def shares(self) -> dict[str, float]:
        """Shares by response."""
        return self.model_dump()


class MetersTable(Table):
    """What controllers see of the world; without it, the truth of the last step."""

    noise_percent: float = Field(0.0, ge=0, le=50, description="Standard deviation of powers and currents [%]")
    voltage_noise_percent: float = Field(0.0, ge=0, le=10, description="Standard deviation of voltages [%]")
    latency_steps: int = Field(0, ge=0, le=288, description="Steps that readings come later than they do anyway")
    missing_share: Share = Field(0.0, description="Share of homes whose meter never reports")


class CommLoss(Table):
    """Homes that hear nothing from the controller for a while, once a day."""

    share: Share = Field(0.0, description="Share of homes, drawn anew every day")
    minutes: float = Field(120.0, gt=0, le=1440, description="Length, beginning at any time of the day [min]")


def whole_responses(value: Any) -> Any:
    """Refuse shares of responses that do not make all homes."""
    if isinstance(value, Responses):
        check_shares(value.shares(), "responses", whole=True)
    return value
