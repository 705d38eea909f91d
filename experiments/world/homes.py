"""Tables of a scenario about homes, their cars, roofs and other devices, and the weather."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
)

from cosim import plugins
from cosim.errors import Fault, InputError, meant, shares_faults
from cosim.experiments.remedies import refused
from cosim.experiments.world.inputs import Responses, whole_responses
from cosim.experiments.world.table import Share, named_in_a_file, table_file
from cosim.experiments.world.table import Table as _Table
from cosim.feeders.find import (
    MODELS,
    OF_THE_FEEDER,
    SEASONS,
    Cloud,
    Join,
    PhaseChoice,
    check_profiles,
    household_sets,
    profile_names,
)

NONCOMPLIANT = AliasChoices("noncompliant_share", "stubborn_share")
Response = Literal["cheapest", "immediate", "paced", "own_sun"]


def _sessions(value: str) -> None:
    if value not in MODELS and not Path(value).is_file():
        remedy = f"write the path of a CSV or Parquet file, or with a share one of {', '.join(MODELS)}, or only a share"
        raise InputError(Fault("", "", f"there is no file '{value}'", remedy))


def _device(value: str) -> None:
    plugins.target_for("cosim.devices", value, "device")


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

    profiles: Annotated[str, named_in_a_file(check_profiles, lambda _: profile_names())] = Field(
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
        0.0, validation_alias=NONCOMPLIANT, description="Share of homes that ignore import caps"
    )
    power_factor: float = Field(0.95, gt=0, le=1, description="Of household demand, inductive")
    power_factor_sd: float = Field(0.0, ge=0, le=0.3, description="Standard deviation from home to home, at most 1")
    power_factors: Annotated[str | None, named_in_a_file(table_file)] = Field(
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
    sessions: Annotated[str | None, named_in_a_file(_sessions, lambda _: MODELS)] = Field(
        None,
        description="'apartment' for cars as measured, of the share; or path of own sessions, instead of a share",
        examples=["my_cars.csv"],
    )
    efficiency: float = Field(0.9, gt=0, le=1, description="Battery energy per energy drawn")
    single_phase_share: Share | None = Field(
        None,
        description="Share of homes with several phases whose charger is on one of them; those on three have 11 kW",
        examples=[0.5],
    )
    phase_choice: PhaseChoice = Field(
        "random", description="Which phase that is: random, first of the home, or the lightest so far"
    )
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

    @field_validator("single_phase_share")
    @classmethod
    def _of_drawn_cars(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("sessions") not in (None, *MODELS):
            remedy = "give the file a column charger_phase instead"
            raise refused(Fault("", "single_phase_share", "is given together with own sessions", remedy))
        return value

    @field_validator("phase_choice")
    @classmethod
    def _of_one_phase(cls, value: str, info: ValidationInfo) -> str:
        if value != "random" and not info.data.get("single_phase_share", 1.0):
            raise refused(Fault("", "phase_choice", "is given without single_phase_share", "give a share above 0 too"))
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
    profiles: Annotated[str | None, named_in_a_file(table_file)] = Field(
        None, description="Path of own available power by customer [kW], instead of a share", examples=["my_roofs.csv"]
    )
    profiles_step_min: float | None = Field(
        None, gt=0, le=1440, description="Of own profiles without a column time; else 1 [min]", examples=[15.0]
    )
    inverters: Annotated[str | None, named_in_a_file(table_file)] = Field(
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
    named_in_a_file(table_file),
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
    water: Annotated[str | None, named_in_a_file(table_file)] = Field(
        None, description="Path of own heat drawn as hot water by customer [kW]", examples=["my_hot_water.csv"]
    )

    @field_validator("water")
    @classmethod
    def _of_somebody(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not info.data.get("share") and not info.data.get("units"):
            raise refused(Fault("", "water", "is given without heat pumps", "give share or units too, or leave it out"))
        return value


class OwnDevice(_Table):
    """A kind of device of others."""

    device: Annotated[str, named_in_a_file(_device)] = Field(
        description="my_file.py:MyDevice (seen from the scenario), a module:Class, or a name of an installed package"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Of its draw()")


class Weather(_Table):
    """Temperature out of doors, which transformers, buildings and heat pumps feel."""

    outdoor_c: Annotated[float, Field(ge=-40, le=50)] | Annotated[str, named_in_a_file(table_file)] | None = Field(
        None, description="Mean of the horizon, around which the month's usual swing moves, or path of a series [C]"
    )
