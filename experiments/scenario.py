"""A scenario: one question, as a TOML file. Every key is documented in ``scenarios/example.toml``."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from cosim import controllers, feeders, plugins
from cosim.errors import Fault, InputError, meant, shares_faults
from cosim.experiments import DEFAULT as DEFAULT
from cosim.experiments.labels import Label, labels_fault
from cosim.experiments.remedies import load_toml, refused, scenario_faults
from cosim.feeders.find import MODELS, Cloud, Tariff, check_profiles

if TYPE_CHECKING:
    import numpy as np

SHIPPED = Path(__file__).parent / "scenarios"

_STREAMS = (
    "households", "cars", "roofs", "noncompliant", "forecast", "controllers", "deviation", "rephase", "batteries",
    "heat_pumps", "meters", "announced", "responses", "tariffs", "phases",
)  # fmt: skip

Share = Annotated[float, Field(ge=0, le=1)]
FORMER_KEYS = {"stubborn_share": "noncompliant_share"}
"""Keys of version 0.1, which are read as well, and what they are called now."""

_NONCOMPLIANT = AliasChoices("noncompliant_share", "stubborn_share")
ForecastKind = Literal["oracle", "persistence", "noisy"]


Value = TypeVar("Value")


def _named_in_a_file(check: Callable[[Any], None]) -> AfterValidator:
    """Of a file, make what names a file beside it absolute, and refuse what is not there; nothing is loaded for it."""

    def validate(value: Value, info: ValidationInfo) -> Value | str:
        if info.context is None or not isinstance(value, str):
            return value
        try:
            check(found := _beside(value, info.context["folder"]))
        except InputError as error:
            raise refused(*(replace(fault, key=str(info.field_name)) for fault in error.faults)) from None
        except (OSError, ValueError) as error:  # too long, or with a null byte in it
            problem, remedy = (
                f"cannot be the name of a file ({error})"[:200],
                "write a shorter name, of printed letters",
            )
            raise refused(Fault("", str(info.field_name), problem, remedy)) from None
        return found

    return AfterValidator(validate)


def _beside(value: str, folder: Path) -> str:
    if plugins.is_target(value):
        return plugins.resolved(value, folder)
    candidate = folder / value
    return str(candidate.resolve()) if ("/" in value or "." in value) and candidate.exists() else value


def _sessions(value: str) -> None:
    if value not in MODELS and not Path(value).is_file():
        remedy = f"write the path of a CSV or Parquet file, or with a share one of {', '.join(MODELS)}, or only a share"
        raise InputError(Fault("", "", f"there is no file '{value}'", remedy))


def _measure(value: str) -> None:
    plugins.target_for("cosim.metrics", value, "metrics")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Transformer(_Table):
    """Machine that replaces the feeder's own."""

    kva: float = Field(gt=0, le=10_000, description="Rated power [kVA]")
    uk_percent: float = Field(4.0, gt=0, le=20, description="Short-circuit voltage [%]")
    load_loss_percent: float = Field(
        1.5, gt=0, le=10, validate_default=True, description="Load loss at rated current [% of rating]"
    )

    @field_validator("load_loss_percent")
    @classmethod
    def _resistance_below_impedance(cls, value: float, info: ValidationInfo) -> float:
        whole = info.data.get("uk_percent", 100.0)
        if value >= whole:
            problem = f"is {value:g}, but must be below uk_percent, of which it is the resistive part"
            raise refused(Fault("", "load_loss_percent", problem, f"write less than {whole:g}, or raise uk_percent"))
        return value


class Grid(_Table):
    """Changes to the feeder's own circuit."""

    source_pu: float | None = Field(None, ge=0.8, le=1.2, description="Source voltage [pu of the source's base]")
    transformer: Transformer | None = None
    nominal_voltage_v: float | None = Field(
        None, ge=50, le=50_000, description="Nominal phase-to-neutral voltage, instead of feeder.toml's [V]"
    )
    standard: Literal["en50160", "esqcr", "ansi_c84_1", "as_61000"] | None = Field(
        None, description="By what voltages are judged; else what feeder.toml says, else en50160"
    )
    taps: Literal["frozen", "controlled"] = Field(
        "frozen", description="Whether the file's own regulators and capacitor controls act"
    )
    accept: tuple[str, ...] = Field(
        (), strict=False, description="Elements of the file that a run cannot honour, to be run with all the same",
        examples=[["Storage.bat"]],
    )  # fmt: skip
    on_collapse: Literal["stop", "shed"] = Field("stop", description="What a step without power flow does to its run")


class LoadModel(_Table):
    """How demand follows the voltage; ``zip`` by shares of constant impedance, current and power at rated voltage."""

    model: Literal["constant_power", "file", "zip"] = Field("zip", description="'file': the loads' own of the circuit")
    p: tuple[float, ...] | None = Field(
        None, strict=False, validate_default=True, description="Of active power: [z, i, p], sum 1"
    )
    q: tuple[float, ...] | None = Field(
        None, strict=False, validate_default=True, description="Of reactive power: [z, i, p], sum 1"
    )

    @field_validator("p", "q")
    @classmethod
    def _whole(cls, value: tuple[float, ...] | None, info: ValidationInfo) -> tuple[float, ...] | None:
        if (asked := info.data.get("model") == "zip") or value is not None:
            key = str(info.field_name)
            faults = shares_faults("", {key: value or ()})
            if not asked:
                faults = [Fault("", key, "is given for a model that has no shares", "leave it out, or model")]
            if faults:
                raise refused(*faults)
        return value


def _model_alone(value: object) -> object:
    """Let the name of a model stand for its table."""
    return {"model": value} if isinstance(value, str) else value


class Homes(_Table):
    """Household demand and behaviour."""

    profiles: Annotated[str, _named_in_a_file(check_profiles)] = Field(
        "may_weekday",
        description="A shipped set, 'calendar' for days drawn anew, 'feeder' for the loads of the file, or a path",
    )
    response: Literal["cheapest", "immediate"] = Field("cheapest", description="When a home charges inside its cap")
    noncompliant_share: Share = Field(
        0.0, validation_alias=_NONCOMPLIANT, description="Share of homes that ignore import caps"
    )
    power_factor: float = Field(0.95, gt=0, le=1, description="Of household demand, inductive")
    load_model: Annotated[
        LoadModel,
        BeforeValidator(_model_alone, json_schema_input_type=LoadModel | Literal["constant_power", "file"]),
    ] = Field(LoadModel(model="constant_power"), description="How demand follows the voltage: a name, or shares")


class Cars(_Table):
    """Electric vehicles at home."""

    share: Share = Field(0.0, description="Share of homes with a car")
    sessions: Annotated[str | None, _named_in_a_file(_sessions)] = Field(
        None,
        description="'apartment' for cars as measured, of the share; or path of own sessions, instead of a share",
        examples=["my_cars.csv"],
    )
    efficiency: float = Field(0.9, gt=0, le=1, description="Battery energy per energy drawn")
    plug_in_days_per_week: float = Field(
        7.0, ge=0.5, le=7, description="Days of a week on which a car plugs in; the energy of a week stays"
    )
    weekly_energy_kwh: float | None = Field(
        None, gt=0, le=500, description="Mean energy of a car at the meter in a week [kWh]"
    )

    @field_validator("sessions", mode="before")
    @classmethod
    def _not_both(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and value not in MODELS and info.data.get("share"):
            remedy = meant(str(value), MODELS, "keep one of the two, not both")
            raise refused(Fault("", "sessions", "is given together with share", remedy))
        if value in MODELS and not info.data.get("share", 1.0):
            raise refused(Fault("", "sessions", f"'{value}' is given without a share", "write share = 0.5, say"))
        return value

    @field_validator("plug_in_days_per_week", "weekly_energy_kwh")
    @classmethod
    def _of_drawn_days(cls, value: float | None, info: ValidationInfo) -> float | None:
        """Sessions that are given by themselves say how often and how much."""
        if info.data.get("sessions") is not None and value not in (None, 7.0):
            remedy = "leave it out, or the sessions"
            raise refused(Fault("", str(info.field_name), "is given together with sessions, which say it", remedy))
        return value


class Roofs(_Table):
    """Photovoltaics."""

    share: Share = Field(0.0, description="Share of homes with a roof plant")
    kwp: float = Field(4.0, gt=0, le=100, description="Peak power of each [kWp]")
    cloud: Cloud = Field("partly_cloudy", description="Kind of day")
    from_file: bool | list[str] = Field(
        False, description="PVSystems of the circuit that are roof plants of the customers there"
    )


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


class Run(_Table):
    """One controller on the day; what the world is like and what is told of it may differ from run to run."""

    controller: Annotated[str, _named_in_a_file(controllers.refuse_unknown)] = Field(
        description="A name, my_file.py:MyClass (seen from the scenario), or a module:Class"
    )
    label: Label | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    noncompliant_share: Share | None = Field(
        None, validation_alias=_NONCOMPLIANT, description="Instead of the scenario's"
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


class Scenario(_Table):
    """One feeder, one day, any number of controllers."""

    name: Label
    feeder: Annotated[str, _named_in_a_file(feeders.check)] = Field(
        description="A shipped feeder, a folder, or the path of an OpenDSS master file"
    )
    seed: int = Field(1, ge=0)
    start: datetime = Field(strict=False, description="Local clock of the first step")  # TOML's own, or ISO text
    horizon_h: float = Field(24.0, gt=0, le=24 * 31, description="Length of the day [h]")
    step_min: int = Field(5, ge=1, le=60, description="Length of a step [min]")
    control_min: int = Field(15, ge=1, le=240, validate_default=True, description="Time between decisions [min]")
    tariff: Tariff = Field("three_band", description="A shipped tariff")
    metrics: tuple[Annotated[str, _named_in_a_file(_measure)], ...] = Field(
        (), strict=False, description="Own measures: my_file.py:function, or a name", examples=[["my_metrics.py:total"]]
    )
    strict: bool = Field(False, description="Refuse a day with a car that nothing could serve")
    decide_limit_s: float | None = Field(
        None, gt=0, le=86_400, description="Longest time of a decision; a later one is dropped [s]"
    )
    grid: Grid = Grid()
    households: Homes = Homes()
    ev: Cars = Cars()
    pv: Roofs = Roofs()
    forecast: ForecastTable = ForecastTable()
    runs: tuple[Run, ...] = Field(min_length=1, strict=False)  # a list in TOML

    @property
    def minutes(self) -> int:
        """Length of the horizon [min]."""
        return round(self.horizon_h * 60)

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
        if not 1900 <= value.year <= 2200:
            remedy = "write a day that profiles, sun and tariffs can be drawn for, such as 2026-05-15T12:00:00"
            raise refused(Fault("", "start", "start must lie in the years 1900 to 2200", remedy))
        if value.tzinfo is not None:
            remedy = f"write start = {value.replace(tzinfo=None).isoformat()}"
            raise refused(Fault("", "start", "start must be a local clock time without a zone", remedy))
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
        if faults:
            raise refused(*faults)
        return value

    @field_validator("runs")
    @classmethod
    def _own_labels(cls, value: tuple[Run, ...]) -> tuple[Run, ...]:
        if fault := labels_fault([run.name for run in value]):
            raise refused(fault)
        return value

    def stream(self, name: str) -> np.random.Generator:
        """Random numbers of one part, from the scenario's seed: changing another part leaves them as they are."""
        from numpy.random import default_rng  # a scenario is refused without waiting for it

        return default_rng([self.seed, _STREAMS.index(name)])

    def noncompliant_share_of(self, run: Run) -> float:
        """Share of homes that ignore import caps in this run."""
        return self.households.noncompliant_share if run.noncompliant_share is None else run.noncompliant_share

    def forecast_of(self, run: Run) -> ForecastTable:
        """What is told beforehand in this run: its own keys, and the scenario's for the rest."""
        if run.forecast is None:
            return self.forecast
        return self.forecast.model_copy(update=run.forecast.model_dump(exclude_unset=True))


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


def parse(data: dict[str, Any], path: Path) -> Scenario:
    """Validate the content of a scenario file; see `read`."""
    try:
        scenario = Scenario.model_validate(data, context={"folder": path.parent})
    except ValidationError as error:
        raise InputError(scenario_faults(error, Scenario, SHIPPED / "example.toml", path, FORMER_KEYS)) from None
    # what was told in each run is recorded whole
    runs = [run.model_copy(update={"forecast": run.forecast and scenario.forecast_of(run)}) for run in scenario.runs]
    return scenario.model_copy(update={"runs": tuple(runs)})
