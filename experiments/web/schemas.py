"""What requests and answers of the interface hold, with units, ranges and examples.

Ranges, defaults and descriptions of planning are those of ``cosim plan``: they are written in `PlanConfig` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import lru_cache
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from cosim.controllers.planner.options import Fairness, Formulation, Objective, Rounding
from cosim.errors import meant
from cosim.experiments.plan.columns import QUANTITIES, profiles
from cosim.experiments.plan.config import PlanConfig
from cosim.experiments.plan.options import DateOrder, EnergyAt
from cosim.experiments.plan.replan import LONGEST_H, Status
from cosim.experiments.web.catalogue import ID_PATTERN

MOST_VALUES = 50_000
"""Of one series: a month of minutes."""
MOST_MINUTES = 366 * 1440
MOST_TEXT = 2_000_000


class Schema(BaseModel):
    """Refuses unknown names, nan and the infinities, and numbers written as text."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True, strict=True)


def _of(known: Callable[[], Iterable[str]]) -> AfterValidator:
    """Refuse a word that is not known."""

    def one(word: str) -> str:
        words = list(known())
        if word not in words:
            raise ValueError(f"unknown; {meant(word, words, 'use one of ' + ', '.join(words))}")
        return word

    return AfterValidator(one)


Id = Annotated[str, StringConstraints(pattern=ID_PATTERN), Field(description="Name given by the server.")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]
ProfileName = Annotated[str, _of(profiles), Field(max_length=100)]
Moment = Annotated[str, StringConstraints(min_length=1, max_length=40)] | Annotated[float, Field(ge=0, le=1e7)]
QuantityName = Annotated[str, _of(lambda: QUANTITIES), Field(max_length=100)]


@lru_cache(maxsize=1)
def _options() -> dict[str, tuple[Any, Any]]:
    hints = get_type_hints(PlanConfig, include_extras=True)
    return {one.name: (hints[one.name].__metadata__[0], one.default) for one in fields(PlanConfig)}


def option(name: str, description: str = "", **more: Any) -> Any:
    """Field of a request with default, range and description of the option of ``cosim plan`` by that name."""
    told, default = _options()[name]
    return Field(
        **{"default": default, "description": description or told.help, "ge": told.min, "le": told.max, **more}
    )


class SessionReading(Schema):
    """How a table of sessions is understood; what is left out is found from its header, as by ``cosim plan``."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"columns": {"arrival": "Date + Time"}, "timezone": "Europe/Berlin"}]}
    )

    profile: ProfileName | None = option("profile", "Name of a known layout, see `/profiles`.", examples=["elaad"])
    columns: dict[QuantityName, Text] = Field(
        default_factory=dict, max_length=len(QUANTITIES),
        description="Own columns by quantity, before those of the profile; `Date + Time` joins two.",
        examples=[{"vehicle": "Plate", "arrival": "Date + Time", "energy_kwh": "kWh"}],
    )  # fmt: skip
    timezone: Text | None = option("timezone", "The station's clock.", examples=["Europe/Berlin"])
    day: Text | None = option("day", "Only sessions that arrive on it.", examples=["2025-03-18"])
    dates: DateOrder | None = option("dates")
    energy: EnergyAt | None = option("energy")
    efficiency: float | None = option("efficiency")
    charger_kw: float | None = option("charger_kw")
    stay_h: float | None = option("stay_h")
    strict: bool = option("strict")


class Series(Schema):
    """Values in time, as an array or as the text of a CSV file; never a path.

    Without ``start`` (or a column ``time``) they are whole days from midnight, and come again day by day.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"values": [0.1, 0.3, 0.2], "step_min": 480}]})

    values: list[float] | None = Field(None, min_length=1, max_length=MOST_VALUES, description="One a step.")
    step_min: int = Field(60, ge=1, le=1440, description="Length of a step [min].")
    start: Text | None = Field(None, description="Of the first step, by the station's clock or with an offset.")
    csv: str | None = Field(None, min_length=1, max_length=MOST_TEXT, description="The text of a CSV file instead.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Series:
        if (self.values is None) == (self.csv is None):
            raise ValueError("give either values or csv")
        if self.start is None and len(self.values or ()) * self.step_min > MOST_MINUTES:
            raise ValueError(f"more than {MOST_MINUTES} minutes")
        return self


class PlanRequest(Schema):
    """What to plan; names, defaults and ranges as of ``cosim plan``."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"capacity_kw": 100, "formulation": "lp"}]})

    capacity_kw: Annotated[float, Field(ge=0, le=1e7)] | Literal["unlimited"] | None = Field(
        None, description="Of the connection [kW]."
    )
    capacity: Series | None = Field(None, description="Its series instead [kW].")
    formulation: Formulation = option("formulation")
    min_power_kw: float = option("min_power_kw", "Least power while charging [kW]; milp only.")
    objective: Objective = option("objective")
    fairness: Fairness = option("fairness")
    shortfall_eur_per_kwh: float | None = option("shortfall_eur_per_kwh")
    margin_min: float = option("margin_min")
    time_step_s: float = option("time_step_s", "Length of a step [s].", ge=60)
    rounding: Rounding = option("rounding")
    tariff_eur_per_kwh: float = option("tariff_eur_per_kwh")
    tariff: Series | None = Field(None, description="Its series instead [EUR/kWh].")
    peak_eur_per_kw: float = option("peak_eur_per_kw")
    peak_so_far_kw: float = option("peak_so_far_kw")
    site_load: Series | None = Field(None, description="Load beside the chargers [kW].")
    pv: Series | None = Field(None, description="The site's generation [kW].")
    day: Text | None = option("day", "Only sessions that arrive on it; before that of the reading.")
    min_up_steps: int = option("min_up_steps")
    max_starts: int | None = option("max_starts")
    n_sols: int = option("n_sols", le=20)
    gap: float = option("gap")
    time_limit_s: float | None = Field(None, ge=0, le=3600, description="For the solver; at most the server's [s].")


class DemandRequest(Schema):
    """Demand to be drawn: as by ``cosim plan --generate``."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"vehicles": 40, "seed": 1}]})

    vehicles: int = Field(10, ge=1, le=1_000_000, description="How many.")
    seed: int = Field(1, ge=0, le=2**63 - 1, description="The same seed draws the same demand.")
    any_need: bool = option("any_need", "Needs may be more than a vehicle could get alone.")
    efficiency: float | None = option("efficiency", "Battery energy per energy drawn.")
    timezone: Text | None = option("timezone", "The station's clock; messages to chargers need it.")


class VehicleNow(Schema):
    """What is known of one vehicle of the plan now; what is left out is as planned."""

    vehicle: Text
    status: Status | None = Field(
        None, description="Whether it can be charged now, is still to come, or will not be charged any more."
    )
    arrival: Moment | None = Field(None, description="As announced now.")
    departure: Moment | None = Field(None, description="As announced now.")
    delivered_kwh: float | None = Field(None, ge=0, le=1e6, description="Into its battery since it came [kWh].")
    drawn_kwh: float | None = Field(None, ge=0, le=1e6, description="At its plug since it came [kWh]; or this.")
    soc_percent: float | None = Field(None, ge=0, le=100, description="State of charge now; or this.")

    @model_validator(mode="after")
    def _once(self) -> VehicleNow:
        if sum(value is not None for value in (self.delivered_kwh, self.drawn_kwh, self.soc_percent)) > 1:
            raise ValueError("give one of delivered_kwh, drawn_kwh and soc_percent")
        return self


class NewVehicle(Schema):
    """A vehicle that was not planned."""

    vehicle: Text
    departure: Moment = Field(description="As announced.")
    arrival: Moment | None = Field(None, description="Now, where it is left out.")
    energy_kwh: float = Field(ge=0, le=1e6, description="Wanted, in the battery [kWh].")
    power_kw: float = Field(gt=0, le=1e5, description="Largest, at the plug [kW].")
    power_min_kw: float = Field(0.0, ge=0, le=1e5, description="Least while charging [kW]; milp only.")
    battery_kwh: float | None = Field(None, gt=0, le=1e6, description="Capacity [kWh], where it is known.")
    soc_percent: float = Field(0.0, ge=0, le=100, description="On arrival; of a battery that is known.")
    efficiency: float | None = Field(
        None, ge=0.01, le=1, description="Battery energy per energy drawn; left out: as most vehicles of the plan."
    )
    plug: Text | None = Field(None, description="Left out: one of its own.")
    phases: int | None = Field(None, ge=1, le=3)


class LiveStateRequest(Schema):
    """What has happened until now. Moments are ISO times, or steps from the start of the plan's horizon."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "time": "2025-08-18T12:00:00",
                    "vehicles": [
                        {"vehicle": "3", "status": "plugged", "drawn_kwh": 4.2, "departure": "2025-08-18T15:30:00"},
                        {"vehicle": "7", "status": "gone"},
                    ],
                }
            ]
        }
    )

    time: Moment = Field(description="Now.")
    vehicles: list[VehicleNow] = Field(default_factory=list, max_length=10_000)
    new: list[NewVehicle] = Field(default_factory=list, max_length=10_000)
    further_stay_h: float = Field(
        1.0, gt=0, le=LONGEST_H,
        description="How long a vehicle that is plugged beyond its announced departure is assumed to stay [h].",
    )  # fmt: skip
    peak_so_far_kw: float | None = Field(None, ge=0, le=1e7, description="Metered until now; else as planned [kW].")


class PlanOrder(PlanRequest):
    """A plan that is asked for: which sessions, and how."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"sessions": "0123456789ab", "capacity_kw": 100}]})

    sessions: Id

    @property
    def request(self) -> PlanRequest:
        """Without the sessions."""
        return PlanRequest(**self.model_dump(exclude={"sessions"}, exclude_unset=True))
