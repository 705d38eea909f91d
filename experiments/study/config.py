"""A study as a TOML file: which worlds, which controllers. Every key is documented in ``shipped/example.toml``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator

from cosim import feeders
from cosim.errors import Fault, InputError, meant
from cosim.experiments import scenario as scenarios
from cosim.experiments.labels import Label, labels_fault
from cosim.experiments.metric_table import METRICS
from cosim.experiments.remedies import load_toml, refused, scenario_faults
from cosim.experiments.scenario import OwnForecast, Runs
from cosim.experiments.world.table import Share, Table, beside, named_in_a_file
from cosim.feeders.find import YEARS, shipped_names

SHIPPED = Path(__file__).parent / "shipped"
Engine = Literal["opendss", "reduced"]
Keep = Literal["none", "worst", "all"]
Shares = Annotated[tuple[Share, ...], Field(strict=False)]
OneDate = Annotated[date, Field(strict=False)]
FeederName = Annotated[str, named_in_a_file(feeders.check, lambda _: shipped_names())]


def _seen_from_here(value: Any, info: ValidationInfo) -> Any:
    """Make paths absolute seen from the study's folder, for the scenario lies in another; of a request none."""
    if "allowed" in (info.context or {}):
        return value
    if isinstance(value, dict):
        return {key: _seen_from_here(inner, info) for key, inner in value.items()}
    if isinstance(value, list):
        return [_seen_from_here(inner, info) for inner in value]
    return beside(value, info.context["folder"]) if isinstance(value, str) and info.context else value


Change = Annotated[dict[str, Any], AfterValidator(_seen_from_here)]


def _refuse(key: str, problem: str, remedy: str) -> None:
    raise refused(Fault("", key, problem, remedy))


def _each_once(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, tuple) and len(set(value)) < len(value):
        _refuse(str(info.field_name), "holds a value twice", "give each once")
    return value


Dates = Annotated[tuple[OneDate, ...], Field(strict=False), AfterValidator(_each_once)]


class Season(Table):
    """Days that stand for a part of the year."""

    name: Label
    dates: Dates = Field(min_length=1, description="Its days, each of an equal part of the weight")
    weight: float = Field(gt=0, le=366, description="Days of the year that it stands for")
    change: Change = Field(default_factory=dict, description="Keys of the scenario that are other in it")


class Days(Table):
    """Which days: one of ``dates``, ``year`` and ``seasons``."""

    dates: Dates = Field((), description="Days, each of weight 1")
    year: int | None = Field(None, ge=YEARS[0], le=YEARS[1], description="All its days, or every n-th")
    every: int = Field(1, ge=1, le=366, description="Every n-th day of the year, from 1 January")
    seasons: tuple[Season, ...] = Field((), strict=False, validate_default=True)

    @field_validator("seasons")
    @classmethod
    def _one_of_three(cls, value: tuple[Season, ...], info: ValidationInfo) -> tuple[Season, ...]:
        given = [key for key, one in (*info.data.items(), ("seasons", value)) if one and key != "every"]
        if len(given) > 1:
            _refuse("seasons", f"{' and '.join(given)} are given together", "keep one of them")
        if info.data.get("every", 1) > 1 and not info.data.get("year"):
            _refuse("every", "is given without a year", "add year = 2026, say")
        if fault := labels_fault([season.name for season in value]):
            raise refused(fault)
        for one, other in combinations(value, 2):
            # where the seasons change other keys, the date is another day in each
            if one.change == other.change and (both := set(one.dates) & set(other.dates)):
                problem = f"{min(both)} is in {one.name} and in {other.name}, which change the same keys"
                _refuse("seasons", problem, "give it to one of them")
        return value


class Factors(Table):
    """What is combined with what: every value with every other. What is left out is as in the scenario."""

    feeder: tuple[FeederName, ...] = Field((), strict=False, description="Shipped names, folders or .dss files")
    ev_share: Shares = Field((), description="Shares of homes with a car")
    pv_share: Shares = Field((), description="Shares of homes with a roof plant")
    heat_pump_share: Shares = Field((), description="Shares of homes with a heat pump")
    battery_share: Shares = Field((), description="Shares of homes with a battery")
    placement: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), strict=False, description="Random placements: a number of them, 1 to n, or a list of seeds"
    )
    forecast: dict[Label, OwnForecast] = Field(
        default_factory=dict, description="What is told beforehand, by name: a kind, or a table of what differs"
    )
    noncompliant_share: Shares = Field((), description="Shares of homes that ignore import caps")

    @field_validator("placement", mode="before")
    @classmethod
    def _number_of_them(cls, value: object) -> object:
        if isinstance(value, int) and not isinstance(value, bool):
            if not 1 <= value <= 100_000:
                _refuse("placement", f"is {value}, out of range", "give a number from 1 to 100000, or a list of seeds")
            return tuple(range(1, value + 1))
        return value

    @field_validator("*")
    @classmethod
    def _none_twice(cls, value: object, info: ValidationInfo) -> object:
        return _each_once(value, info)


class World(Table):
    """One combination of an explicit list; what it leaves out is as in ``[factors]``, ``[days]`` or the scenario."""

    feeder: FeederName | None = None
    date: OneDate | None = None
    weight: float = Field(1.0, gt=0, le=366, description="Of the date")
    ev_share: Share | None = None
    pv_share: Share | None = None
    heat_pump_share: Share | None = None
    battery_share: Share | None = None
    placement: int | None = Field(None, ge=0)
    forecast: str | None = Field(None, description="Name of one in [factors]")
    noncompliant_share: Share | None = None


class Study(Table):
    """Worlds, each of them run under every controller."""

    name: Label
    scenario: Annotated[str, named_in_a_file(scenarios.find, lambda _: scenarios.shipped())] = Field(
        description="What all worlds begin with: a shipped name, or a path"
    )
    engine: Engine = Field("reduced", description="Power flow")
    keep: Keep = Field("none", description="Trajectories: of no run, of each controller's worst, or of all")
    worst_by: str = Field("voltage_min_pu", description="Metric by which a run is the worst")
    most_worlds: int = Field(100_000, ge=1, le=10_000_000, description="A product of more is refused")
    change: Change = Field(default_factory=dict, description="Keys of the scenario that are other here")
    days: Days = Days()
    factors: Factors = Factors()
    worlds: tuple[World, ...] = Field((), strict=False)
    runs: Runs = Field((), description="Instead of those of the scenario")

    @field_validator("worst_by")
    @classmethod
    def _better_or_worse(cls, value: str) -> str:
        known = [name for name, metric in METRICS.items() if metric.better]
        if value not in known:
            _refuse(
                "worst_by", f"'{value}' is no metric with a better and a worse", meant(value, known, "leave it out")
            )
        return value

    @field_validator("worlds")
    @classmethod
    def _of_known_forecasts(cls, value: tuple[World, ...], info: ValidationInfo) -> tuple[World, ...]:
        known = info.data.get("factors", Factors()).forecast
        for number, name in enumerate([world.forecast for world in value], start=1):
            if name is not None and name not in known:
                remedy = meant(name, known, "define it in [factors.forecast]")
                _refuse(f"worlds.{number}.forecast", f"there is no forecast '{name}'", remedy)
        return value


def shipped() -> tuple[str, ...]:
    """Names of the shipped studies."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.toml")))


def about(name: str) -> str:
    """Return what a shipped study asks: its first line."""
    return (SHIPPED / f"{name}.toml").read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def find(name_or_path: str | Path) -> Path:
    """Path of a study; InputError where there is none."""
    path = SHIPPED / f"{name_or_path}.toml"
    if os.path.isfile(path):
        return path
    if not os.path.isfile(path := Path(name_or_path)):
        remedy = meant(str(name_or_path), shipped(), f"use a path, or one of {', '.join(shipped())}")
        raise InputError(Fault(str(name_or_path), "", "no such study", remedy))
    return path


def read(name_or_path: str | Path) -> tuple[Study, Path]:
    """Read and validate a study; relative paths inside are seen from its folder.

    Raises
    ------
    InputError
        With every fault of the file itself and of the names in it.
    """
    path = find(name_or_path)
    return parse(load_toml(path), path), path


def parse(data: dict[str, Any], path: Path, allowed: Sequence[str] | None = None) -> Study:
    """Validate the content of a study; see `read`, and of a request `cosim.experiments.scenario.parse`."""
    context = {"folder": path.parent} | ({} if allowed is None else {"allowed": allowed})
    try:
        return Study.model_validate(data, context=context)
    except ValidationError as error:
        raise InputError(scenario_faults(error, Study, SHIPPED / "example.toml", path, {})) from None
