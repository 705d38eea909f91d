"""A scenario: one question, as a TOML file. Every key is documented in ``scenarios/example.toml``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zlib import crc32

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from cosim import controllers, feeders, plugins
from cosim.errors import Fault, InputError, meant
from cosim.experiments import DEFAULT as DEFAULT
from cosim.experiments.labels import Label, labels_fault
from cosim.experiments.remedies import load_toml, refused, scenario_faults
from cosim.experiments.world.grid import Grid, Thermal
from cosim.experiments.world.homes import (
    NONCOMPLIANT,
    BatteryTable,
    Cars,
    HeatPumpTable,
    Homes,
    OwnDevice,
    Roofs,
    Weather,
)
from cosim.experiments.world.inputs import (
    CommLoss,
    MetersTable,
    OwnTariff,
    check_shares,
    check_tariff,
)
from cosim.experiments.world.table import Share
from cosim.experiments.world.table import Table as _Table
from cosim.experiments.world.table import named_in_a_file as _named_in_a_file
from cosim.feeders.find import YEARS, check_zone, shipped_names, tariffs

if TYPE_CHECKING:
    import numpy as np

SHIPPED = Path(__file__).parent / "scenarios"

_STREAMS = (
    "households", "cars", "roofs", "noncompliant", "forecast", "controllers", "deviation", "rephase", "battery",
    "heat_pump", "meters", "announced", "responses", "tariffs", "phases", "power_factors",
)  # fmt: skip

_OF_MOMENTS = ("forecast", "announced", "comm_loss")
"""Of them those that are errors of moments, and not what homes are like: each part of a longer run has its own."""

WEEK_MIN = 7 * 24 * 60
MOST_AT_ONCE_MIN = 31 * 24 * 60
"""A longer horizon is run week by week."""

FORMER_KEYS = {"stubborn_share": "noncompliant_share"}
"""Keys of version 0.1, which are read as well, and what they are called now."""

ForecastKind = Literal["oracle", "persistence", "noisy"]


def _measure(value: str) -> None:
    plugins.target_for("cosim.metrics", value, "metrics")


class ForecastTable(_Table):
    """What controllers and households are told beforehand."""

    kind: ForecastKind = "oracle"
    demand_error_percent: float = Field(30.0, ge=0, le=200, description="noisy: deviation of each home's hour [%]")
    pv_error_percent: float = Field(20.0, ge=0, le=200, description="noisy: deviation of the feeder's hour [%]")
    arrival_error_min: float = Field(
        30.0, ge=0, le=240, description="noisy: deviation of arrivals and departures [min]"
    )
    energy_error_percent: float = Field(20.0, ge=0, le=200, description="noisy: deviation of needs [%]")


def _kind_alone(value: object) -> object:
    """Let a kind stand for a table that says nothing else."""
    return {"kind": value} if isinstance(value, str) else value


OwnForecast = Annotated[
    ForecastTable | None, BeforeValidator(_kind_alone, json_schema_input_type=ForecastTable | ForecastKind | None)
]


ControllerName = Annotated[
    str, _named_in_a_file(controllers.refuse_unknown, lambda allowed: (*controllers.REGISTRY, *allowed))
]


class Run(_Table):
    """One controller on the day; what the world is like and what is told of it may differ from run to run."""

    controller: ControllerName = Field(
        description="A name, my_file.py:MyClass (seen from the scenario), or a module:Class"
    )
    label: Label | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    noncompliant_share: Share | None = Field(
        None, validation_alias=NONCOMPLIANT, description="Instead of the scenario's"
    )
    forecast: OwnForecast = Field(None, description="A kind, or a table of what differs from the scenario's")

    @field_validator("options")
    @classmethod
    def _declared(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        faults = controllers.declared_faults(info.data.get("controller", ""), value) if info.context else ()
        if faults:
            raise refused(*faults)
        return value

    @property
    def name(self) -> str:
        """Label, or the controller's name (of a target: its class's) where none is given."""
        return self.label or plugins.safe_label(self.controller)


def _own_labels(value: tuple[Run, ...]) -> tuple[Run, ...]:
    if fault := labels_fault([run.name for run in value]):
        raise refused(fault)
    return value


Runs = Annotated[tuple[Run, ...], Field(strict=False), AfterValidator(_own_labels)]  # a list in TOML


class Scenario(_Table):
    """One feeder, one day, any number of controllers."""

    name: Label
    feeder: Annotated[str, _named_in_a_file(feeders.check, lambda _: shipped_names())] = Field(
        description="A shipped feeder, a folder, or the path of an OpenDSS master file"
    )
    seed: int = Field(1, ge=0)
    draws: Literal["shared", "keyed"] = Field(
        "shared", description="Whether all homes draw from one stream of random numbers, or each from its own"
    )
    start: datetime = Field(strict=False, description="Local clock of the first step")  # TOML's own, or ISO text
    zone: str | None = Field(
        None, description="IANA zone of that clock: sun in summer time, and times of files with offsets",
        examples=["Europe/London"],
    )  # fmt: skip
    draws_from: date | None = Field(
        None, strict=False, description="First day of a longer run of which this is a part, and drawn as there",
        examples=["2026-01-01"],
    )  # fmt: skip
    horizon_h: float = Field(24.0, gt=0, le=24 * 366, description="Length [h]; above 31 days it is run week by week")
    step_min: int = Field(5, ge=1, le=60, description="Length of a step [min]")
    control_min: int = Field(15, ge=1, le=240, validate_default=True, description="Time between decisions [min]")
    tariffs: dict[Label, OwnTariff] = Field(default_factory=dict, description="Own tariffs, by name")
    tariff: Annotated[str, AfterValidator(check_tariff)] = Field(
        "three_band", description="A shipped tariff, one of [tariffs], or the path of prices in time [EUR/kWh]"
    )
    tariff_shares: dict[str, float] = Field(
        default_factory=dict, description="Shares of homes that have another tariff, by its name",
        examples=[{"night": 0.3}],
    )  # fmt: skip
    export_eur_per_kwh: float = Field(0.05, ge=-1, le=2, description="Price that homes get for export [EUR/kWh]")
    metrics: tuple[Annotated[str, _named_in_a_file(_measure)], ...] = Field(
        (), strict=False, description="Own measures: my_file.py:function, or a name", examples=[["my_metrics.py:total"]]
    )
    strict: bool = Field(False, description="Refuse a day with a car that nothing could serve")
    decide_limit_s: float | None = Field(
        None, gt=0, le=86_400, description="Longest time of a decision; a later one is dropped [s]"
    )
    grid: Grid = Grid()
    thermal: Thermal = Thermal()
    households: Homes = Homes()
    ev: Cars = Cars()
    pv: Roofs = Roofs()
    battery: BatteryTable = BatteryTable()
    heat_pump: HeatPumpTable = HeatPumpTable()
    devices: dict[str, OwnDevice] = Field(default_factory=dict, description="Own kinds of devices, by name")
    weather: Weather = Weather()
    meters: MetersTable = MetersTable()
    comm_loss: CommLoss = CommLoss()
    forecast: ForecastTable = ForecastTable()
    runs: Runs = Field(min_length=1)

    @property
    def minutes(self) -> int:
        """Length of the horizon [min]."""
        return round(self.horizon_h * 60)

    @field_validator("tariffs")
    @classmethod
    def _of_new_names(cls, value: dict[str, OwnTariff]) -> dict[str, OwnTariff]:
        taken = [name for name in value if name in tariffs()]
        if taken:
            remedy = f"give yours a name of its own, such as my_{taken[0]}, and name that in tariff"
            raise refused(Fault("", f"tariffs.{taken[0]}", "is the name of a shipped tariff", remedy))
        return value

    @field_validator("tariff_shares")
    @classmethod
    def _of_known_tariffs(cls, value: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        return check_shares({check_tariff(name, info): share for name, share in value.items()}, "tariff_shares")

    @property
    def first_day(self) -> int:
        """Days of a longer run before the start of this part of it; of keyed draws those of the calendar.

        A Monday is then the first day of data of a week without dates, which else begin on their second.
        """
        if self.draws == "keyed":
            return self.start.toordinal() - 2
        return 0 if self.draws_from is None else (self.start.date() - self.draws_from).days

    @property
    def parts(self) -> int:
        """Number of weeks that the horizon is run in, one after another; 1 up to 31 days."""
        return 1 if self.minutes <= MOST_AT_ONCE_MIN else -(-self.minutes // WEEK_MIN)

    def part(self, number: int) -> Scenario:
        """One week of a longer run, as a scenario of its own: same homes, cars and roofs, days as in the whole."""
        before_min = number * WEEK_MIN
        own = {
            "start": self.start + timedelta(minutes=before_min),
            "draws_from": self.draws_from or self.start.date(),
            "horizon_h": min(WEEK_MIN, self.minutes - before_min) / 60.0,
        }
        return self.model_copy(update=own)

    @field_validator("start", mode="before")
    @classmethod
    def _no_number(cls, value: object) -> object:
        try:
            float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return value
        except OverflowError:
            pass
        raise PydanticCustomError("datetime_type", "input should be a local date and time")  # not seconds since 1970

    @field_validator("start")
    @classmethod
    def _no_zone(cls, value: datetime) -> datetime:
        if not YEARS[0] <= value.year <= YEARS[1]:
            remedy = "write a day that profiles, sun and tariffs can be drawn for, such as 2026-05-15T12:00:00"
            raise refused(Fault("", "start", f"start must lie in the years {YEARS[0]} to {YEARS[1]}", remedy))
        if value.tzinfo is not None:
            remedy = f"write start = {value.replace(tzinfo=None).isoformat()}"
            raise refused(Fault("", "start", "start must be a local clock time without a zone", remedy))
        return value

    @field_validator("zone")
    @classmethod
    def _known(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and (start := info.data.get("start")):
            try:
                check_zone(value, start)
            except InputError as error:
                raise refused(*error.faults) from None
        return value

    @field_validator("draws_from")
    @classmethod
    def _not_later(cls, value: date | None, info: ValidationInfo) -> date | None:
        if value is not None and (start := info.data.get("start")) and value > start.date():
            problem = f"is {value}, after the start"
            raise refused(Fault("", "draws_from", problem, f"write a day up to {start.date()}, or leave it out"))
        return value

    @field_validator("weather")
    @classmethod
    def _of_a_year(cls, value: Weather, info: ValidationInfo) -> Weather:
        if isinstance(value.outdoor_c, float) and info.data.get("horizon_h", 0.0) * 60.0 > MOST_AT_ONCE_MIN:
            problem = f"is {value.outdoor_c:g}, the mean of a horizon that goes through seasons"
            remedy = "leave it out for the usual temperatures of the months, or give the path of a series"
            raise refused(Fault("", "weather.outdoor_c", problem, remedy))
        return value

    @field_validator("control_min")
    @classmethod
    def _whole_steps(cls, value: int, info: ValidationInfo) -> int:
        step, hours, faults = info.data.get("step_min"), info.data.get("horizon_h"), []
        if step and value % step:
            problem = f"control_min={value} must be a multiple of step_min={step}"
            remedy = f"write control_min = {-(-value // step) * step}, or another step_min"
            faults.append(Fault("", "control_min", problem, remedy))
        if step and hours and abs(hours * 60.0 / step - (steps := round(hours * 60.0 / step))) > 1e-9:
            problem = f"horizon_h={hours:g} must be a whole number of steps of {step} min"
            remedy = f"write horizon_h = {max(steps, 1) * step / 60.0!r}, or another step_min"
            faults.append(Fault("", "horizon_h", problem, remedy))
        if hours and hours * 60.0 > MOST_AT_ONCE_MIN and WEEK_MIN % value:
            problem = f"control_min={value} does not divide a week, in which horizons above 31 days are run"
            faults.append(Fault("", "control_min", problem, "write 5, 15, 30 or 60"))
        if faults:
            raise refused(*faults)
        return value

    def stream(self, name: str, customers: Sequence[str] = ()) -> np.random.Generator:
        """Random numbers of one part, from the scenario's seed: changing another part leaves them as they are.

        Where draws are keyed, each of these customers has its own.
        """
        from numpy.random import default_rng  # a scenario is refused without waiting for it

        if self.draws == "keyed":
            from cosim.contract.streams import Keyed

            return Keyed(self.seed, name, customers)
        key = [self.seed, _STREAMS.index(name) if name in _STREAMS else crc32(name.encode())]
        return default_rng([*key, self.first_day] if name in _OF_MOMENTS and self.first_day else key)

    def noncompliant_share_of(self, run: Run) -> float:
        """Share of homes that ignore import caps in this run."""
        return self.households.noncompliant_share if run.noncompliant_share is None else run.noncompliant_share

    def forecast_of(self, run: Run) -> ForecastTable:
        """What is told beforehand in this run: its own keys, and the scenario's for the rest."""
        if run.forecast is None:
            return self.forecast
        return self.forecast.model_copy(update=run.forecast.model_dump(exclude_unset=True))


_DELAY_S = 600.0
"""Longest random delay of UK SI 2021/1467, where homes respond in shares and nothing else is said."""


def longest_delay_s(scenario: Scenario) -> float:
    """Longest random delay of a start that waited for its hour [s]."""
    homes = scenario.households
    if homes.start_delay_s is not None:
        return homes.start_delay_s
    return 0.0 if homes.responses is None else _DELAY_S


def shipped() -> tuple[str, ...]:
    """Names of the shipped scenarios."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.toml")))


def find(name_or_path: str | Path) -> Path:
    """Path of a scenario; InputError where there is none."""
    path = SHIPPED / f"{name_or_path}.toml"
    if os.path.isfile(path):
        return path
    path = Path(name_or_path)
    if not os.path.isfile(path):  # no error for a long text
        remedy = meant(str(name_or_path), shipped(), f"use a path, or one of {', '.join(shipped())}")
        raise InputError(Fault(str(name_or_path), "", "no such scenario", remedy))
    return path


def read(name_or_path: str | Path) -> Scenario:
    """Read and validate a scenario.

    Parameters
    ----------
    name_or_path : str or Path
        A shipped name, or a TOML file.

    Returns
    -------
    Scenario
        Relative paths inside are resolved against the file's folder.

    Raises
    ------
    InputError
        With every fault of the file itself and of the names in it. Nothing is loaded for that; what they name is
        looked at by ``compose``.
    """
    path = find(name_or_path)
    return parse(load_toml(path), path)


def parse(data: dict[str, Any], path: Path, allowed: Sequence[str] | None = None) -> Scenario:
    """Validate the content of a scenario file; see `read`.

    Parameters
    ----------
    data : dict
        The content.
    path : Path
        The file, or what stands for it in messages.
    allowed : sequence of str, optional
        Controllers of installed packages that may be named. Given where the content is a request: everything is named
        as it is shipped then, and no file is looked for.

    Raises
    ------
    InputError
        With every fault.
    """
    context = {"folder": path.parent} | ({} if allowed is None else {"allowed": allowed})
    try:
        scenario = Scenario.model_validate(data, context=context)
    except ValidationError as error:
        raise InputError(scenario_faults(error, Scenario, SHIPPED / "example.toml", path, FORMER_KEYS)) from None
    # what was told in each run is recorded whole
    runs = [run.model_copy(update={"forecast": run.forecast and scenario.forecast_of(run)}) for run in scenario.runs]
    return scenario.model_copy(update={"runs": tuple(runs)})
