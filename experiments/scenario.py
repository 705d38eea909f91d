"""A scenario: one question, as a TOML file. Every key is documented in ``scenarios/example.toml``."""

from __future__ import annotations

import os
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zlib import crc32

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from cosim import controllers, feeders, plugins
from cosim.errors import Fault, InputError, meant, shares_faults
from cosim.experiments import DEFAULT as DEFAULT
from cosim.experiments.labels import Label, labels_fault
from cosim.experiments.remedies import load_toml, refused, scenario_faults
from cosim.experiments.toml_table import Share
from cosim.experiments.toml_table import Table as _Table
from cosim.experiments.toml_table import named_in_a_file as _named_in_a_file
from cosim.experiments.toml_table import table_file as _table_file
from cosim.experiments.world import MetersTable, OwnTariff, Responses, check_shares, check_tariff, whole_responses
from cosim.feeders.catalogue import tier_losses_percent
from cosim.feeders.find import (
    MODELS,
    OF_THE_FEEDER,
    SEASONS,
    YEARS,
    Cloud,
    Join,
    check_profiles,
    check_zone,
    household_sets,
)

if TYPE_CHECKING:
    import numpy as np

SHIPPED = Path(__file__).parent / "scenarios"

_STREAMS = (
    "households", "cars", "roofs", "noncompliant", "forecast", "controllers", "deviation", "rephase", "battery",
    "heat_pump", "meters", "announced", "responses", "tariffs", "phases", "power_factors",
)  # fmt: skip

_OF_MOMENTS = ("forecast", "announced")
"""Of them those that are errors of moments, and not what homes are like: each part of a longer run has its own."""

WEEK_MIN = 7 * 24 * 60
MOST_AT_ONCE_MIN = 31 * 24 * 60
"""A longer horizon is run week by week."""

FORMER_KEYS = {"stubborn_share": "noncompliant_share"}
"""Keys of version 0.1, which are read as well, and what they are called now."""

_NONCOMPLIANT = AliasChoices("noncompliant_share", "stubborn_share")
Response = Literal["cheapest", "immediate", "paced", "own_sun"]
ForecastKind = Literal["oracle", "persistence", "noisy"]


def _sessions(value: str) -> None:
    if value not in MODELS and not Path(value).is_file():
        remedy = f"write the path of a CSV or Parquet file, or with a share one of {', '.join(MODELS)}, or only a share"
        raise InputError(Fault("", "", f"there is no file '{value}'", remedy))


def _measure(value: str) -> None:
    plugins.target_for("cosim.metrics", value, "metrics")


def _device(value: str) -> None:
    plugins.target_for("cosim.devices", value, "device")


class Transformer(_Table):
    """Machine that replaces the feeder's own."""

    kva: float = Field(gt=0, le=10_000, description="Rated power [kVA]")
    uk_percent: float = Field(4.0, gt=0, le=20, description="Short-circuit voltage [%]")
    load_loss_percent: float = Field(
        1.5, gt=0, le=10, validate_default=True, description="Load loss at rated current [% of rating]"
    )
    no_load_loss_percent: float = Field(0.0, ge=0, le=10, description="No-load loss at rated voltage [% of rating]")
    tier: Literal[1, 2] | None = Field(
        None, description="Both losses by EU regulation 548/2014: 1 of 2015, 2 of 2021; instead of them"
    )

    @model_validator(mode="before")
    @classmethod
    def _losses_of_tier(cls, values: object) -> object:
        tier, kva = (values.get("tier"), values.get("kva")) if isinstance(values, dict) else (None, None)
        if isinstance(tier, bool):  # true is no tier, though it equals 1
            raise refused(Fault("", "transformer.tier", f"is {str(tier).lower()}", "write 1 (of 2015) or 2 (of 2021)"))
        if not isinstance(values, dict) or not isinstance(tier, int) or tier not in (1, 2):
            return values
        if isinstance(kva, bool) or not isinstance(kva, (int, float)) or not kva > 0:
            return values
        allowed = tier_losses_percent(kva, tier)
        if allowed is None:
            problem = f"is {tier}, but the regulation's table ends before {kva:g} kVA"
            raise refused(Fault("", "transformer.tier", problem, "give load_loss_percent and no_load_loss_percent"))
        losses = dict(zip(("load_loss_percent", "no_load_loss_percent"), allowed, strict=True))
        if other := [key for key in losses if values.get(key, losses[key]) != losses[key]]:
            problem = f"is given together with {' and '.join(other)}"
            raise refused(Fault("", "transformer.tier", problem, "keep one of the two, not both"))
        return values | losses

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
    source_swing_percent: float = Field(
        0.0, ge=0, le=15, description="From its lowest to its highest of a day, around source_pu [% of it]"
    )
    source_lowest_h: float = Field(18.0, ge=0, lt=24, description="Hour at which the swing is lowest [h]")
    source_profile: Annotated[str | None, _named_in_a_file(_table_file)] = Field(
        None, description="Path of source voltages in time [pu], instead of source_pu", examples=["my_source.csv"]
    )
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

    @field_validator("source_profile", mode="before")
    @classmethod
    def _no_other_source(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and (info.data.get("source_pu") is not None or info.data.get("source_swing_percent")):
            problem = "is given together with source_pu or source_swing_percent"
            raise refused(Fault("", "source_profile", problem, "keep one of the two, not both"))
        return value


class Thermal(_Table):
    """How warm transformers get: constants of IEC 60076-7; defaults for distribution transformers (ONAN)."""

    top_oil_rise_k: float = Field(55.0, ge=1, le=150, description="Top oil over ambient at rated losses [K]")
    hot_spot_rise_k: float = Field(23.0, ge=1, le=100, description="Hot spot over top oil at rated current [K]")
    oil_time_constant_min: float = Field(180.0, ge=5, le=1_500, description="Time constant of the oil [min]")
    winding_time_constant_min: float = Field(4.0, ge=0.5, le=60, description="Time constant of the winding [min]")
    loss_ratio: float | None = Field(
        None, ge=0.5, le=100, description="Load loss over no-load loss; else the machine's own, else 5"
    )
    oil_exponent: float = Field(0.8, ge=0.3, le=1.5, description="x")
    winding_exponent: float = Field(1.6, ge=0.8, le=2.5, description="y")
    k11: float = Field(1.0, ge=0.1, le=2, description="Constant of the oil's transient")
    k21: float = Field(1.0, ge=1, le=5, description="Overshoot of the hot spot; 1 is none")
    k22: float = Field(2.0, ge=0.5, le=5, description="Constant of the hot spot's transient")
    ambient_surcharge_k: float = Field(0.0, ge=0, le=40, description="Warmer around the machine than outdoors [K]")


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
        description="A shipped set, 'seasons' for that of the month, 'calendar' for days drawn anew, 'feeder' for the "
        "loads of the file, or a path",
    )
    join: Join | None = Field(
        None, description="Own profiles: by customers' names, in the order of columns, or any home any column",
        examples=["name"],
    )  # fmt: skip
    profiles_step_min: float | None = Field(
        None, gt=0, le=1440, description="Of own profiles without a column time; else 1 [min]", examples=[15.0]
    )
    response: Response = Field("cheapest", description="When a home charges inside its cap")
    responses: Annotated[Responses | None, AfterValidator(whole_responses)] = Field(
        None, description="Shares of homes by response, sum 1, instead of response"
    )
    start_delay_s: float | None = Field(
        None, ge=0, le=3600, description="Longest random delay before charging that waited for its hour; else 600 of "
        "responses, 0 of response [s]", examples=[600.0],
    )  # fmt: skip
    noncompliant_share: Share = Field(
        0.0, validation_alias=_NONCOMPLIANT, description="Share of homes that ignore import caps"
    )
    power_factor: float = Field(0.95, gt=0, le=1, description="Of household demand, inductive")
    power_factor_sd: float = Field(0.0, ge=0, le=0.3, description="Standard deviation from home to home, at most 1")
    power_factors: Annotated[str | None, _named_in_a_file(_table_file)] = Field(
        None, description="Path of a table customer, power_factor", examples=["my_power_factors.csv"]
    )
    load_model: Annotated[
        LoadModel,
        BeforeValidator(_model_alone, json_schema_input_type=LoadModel | Literal["constant_power", "file"]),
    ] = Field(LoadModel(model="constant_power"), description="How demand follows the voltage: a name, or shares")

    @field_validator("join", "profiles_step_min")
    @classmethod
    def _of_own_profiles(cls, value: object, info: ValidationInfo) -> object:
        profiles = info.data.get("profiles", "")
        if value is not None and profiles in (OF_THE_FEEDER, SEASONS, *household_sets()):
            problem = f"is given for '{profiles}', which is no file of your own"
            raise refused(Fault("", str(info.field_name), problem, "leave it out, or name a file as profiles"))
        return value

    @field_validator("responses", mode="before")
    @classmethod
    def _not_beside_another(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("response", "cheapest") != "cheapest":
            raise refused(Fault("", "responses", "is given together with response", "keep one of the two, not both"))
        return value


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
    announced_departure_error_min: float = Field(
        0.0, ge=0, le=240, description="Deviation of the departure that a driver announces [min]"
    )
    announced_energy_error_percent: float = Field(
        0.0, ge=0, le=200, description="Deviation of the need that a driver announces [%]"
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
    profiles: Annotated[str | None, _named_in_a_file(_table_file)] = Field(
        None, description="Path of own available power by customer [kW], instead of a share", examples=["my_roofs.csv"]
    )
    profiles_step_min: float | None = Field(
        None, gt=0, le=1440, description="Of own profiles without a column time; else 1 [min]", examples=[15.0]
    )
    inverters: Annotated[str | None, _named_in_a_file(_table_file)] = Field(
        None, description="Path of a table customer, inverter_kva", examples=["my_inverters.csv"]
    )
    from_file: bool | list[str] = Field(
        False, description="PVSystems of the circuit that are roof plants of the customers there"
    )

    @field_validator("profiles", mode="before")
    @classmethod
    def _not_both(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("share"):
            raise refused(Fault("", "profiles", "is given together with share", "keep one of the two, not both"))
        return value

    @field_validator("profiles_step_min", "inverters", mode="before")
    @classmethod
    def _of_own_roofs(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("profiles") is None:
            raise refused(
                Fault("", str(info.field_name), "is given without profiles", "give profiles too, or leave it out")
            )
        return value


def _instead_of_share(value: object, info: ValidationInfo) -> object:
    if value is not None and info.data.get("share"):
        key = str(info.field_name)
        raise refused(Fault("", key, "is given together with share", "keep one of the two, not both"))
    return value


OwnUnits = Annotated[
    str | None,
    _named_in_a_file(_table_file),
    BeforeValidator(_instead_of_share, json_schema_input_type=str | None),
    Field(description="Path of own units, one row a customer, instead of a share", examples=["my_units.csv"]),
]


class BatteryTable(_Table):
    """Home batteries."""

    share: Share = Field(0.0, description="Share of homes with a battery")
    kwh: float = Field(8.0, gt=0, le=200, description="Usable content of each [kWh]")
    kw: float = Field(3.6, gt=0, le=50, description="Power of each, both ways [kW]")
    efficiency: float = Field(0.95, gt=0, le=1, description="Of charging and of discharging, inverter included")
    start_share: Share = Field(0.5, description="Content at the start, of the whole")
    units: OwnUnits = None


class HeatPumpTable(_Table):
    """Heat pumps, with hot water and a backup heater."""

    share: Share = Field(0.0, description="Share of homes with a heat pump")
    loss_kw_per_k: float = Field(0.2, ge=0.02, le=2, description="Median heat loss of a home [kW per kelvin]")
    backup_kw: float = Field(3.0, ge=0, le=15, description="Backup heater of each; usual are 3 to 9 [kW]")
    units: OwnUnits = None
    water: Annotated[str | None, _named_in_a_file(_table_file)] = Field(
        None, description="Path of own heat drawn as hot water by customer [kW]", examples=["my_hot_water.csv"]
    )


class OwnDevice(_Table):
    """A kind of device of others."""

    device: Annotated[str, _named_in_a_file(_device)] = Field(
        description="my_file.py:MyDevice (seen from the scenario), a module:Class, or a name of an installed package"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Of its draw()")


class Weather(_Table):
    """Temperature out of doors, which transformers, buildings and heat pumps feel."""

    outdoor_c: Annotated[float, Field(ge=-40, le=50)] | Annotated[str, _named_in_a_file(_table_file)] | None = Field(
        None, description="Mean of the horizon, around which the month's usual swing moves, or path of a series [C]"
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
    forecast: ForecastTable = ForecastTable()
    runs: tuple[Run, ...] = Field(min_length=1, strict=False)  # a list in TOML

    @property
    def minutes(self) -> int:
        """Length of the horizon [min]."""
        return round(self.horizon_h * 60)

    @field_validator("tariff_shares")
    @classmethod
    def _of_known_tariffs(cls, value: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        return check_shares({check_tariff(name, info): share for name, share in value.items()}, "tariff_shares")

    @property
    def first_day(self) -> int:
        """Days of a longer run before the start of this part of it."""
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

    @field_validator("runs")
    @classmethod
    def _own_labels(cls, value: tuple[Run, ...]) -> tuple[Run, ...]:
        if fault := labels_fault([run.name for run in value]):
            raise refused(fault)
        return value

    def stream(self, name: str) -> np.random.Generator:
        """Random numbers of one part, from the scenario's seed: changing another part leaves them as they are."""
        from numpy.random import default_rng  # a scenario is refused without waiting for it

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


def parse(data: dict[str, Any], path: Path) -> Scenario:
    """Validate the content of a scenario file; see `read`."""
    try:
        scenario = Scenario.model_validate(data, context={"folder": path.parent})
    except ValidationError as error:
        raise InputError(scenario_faults(error, Scenario, SHIPPED / "example.toml", path, FORMER_KEYS)) from None
    # what was told in each run is recorded whole
    runs = [run.model_copy(update={"forecast": run.forecast and scenario.forecast_of(run)}) for run in scenario.runs]
    return scenario.model_copy(update={"runs": tuple(runs)})
