"""What jobs are asked for and answer with, as JSON: units, limits and examples are in the schema."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PlainValidator
from pydantic_core import PydanticCustomError

from cosim.errors import Fault, InputError
from cosim.experiments.hosting.config import Technology
from cosim.experiments.scenario import Scenario
from cosim.experiments.study.config import Study
from cosim.experiments.world.table import Share

Kind = Literal["run", "study", "hosting"]
Status = Literal["waiting", "running", "done", "failed", "interrupted", "cancelled"]
ENDED: tuple[Status, ...] = ("done", "failed", "interrupted", "cancelled")
_DEPTH = 16


def _name_or_table(value: object) -> str | dict[str, Any]:
    """Leave a table as it is: what is wrong in it is told as of a file."""
    if not isinstance(value, (str, dict)):
        raise PydanticCustomError("name_or_table", "should be a shipped name, or a table with the keys of the file")
    return value


NamedScenario = Annotated[str | dict[str, Any], PlainValidator(_name_or_table, json_schema_input_type=str | Scenario)]
NamedStudy = Annotated[str | dict[str, Any], PlainValidator(_name_or_table, json_schema_input_type=str | Study)]
Count = Annotated[int, Field(ge=1, le=10_000)]


class Request(BaseModel):
    """What a job is asked for; no unknown key."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RunRequest(Request):
    """One scenario under every controller named in it."""

    scenario: NamedScenario = Field(
        description="A shipped scenario's name, or a whole scenario with the keys of its file. Feeders, profiles, "
        "tariffs and controllers by registered name: no paths, no targets with a colon",
        examples=["two_bus_evening"],
    )
    controllers: tuple[str, ...] = Field(
        (), max_length=32, description="Only these runs or controllers; all of the scenario's where none is named",
        examples=[["none", "equal_share"]],
    )  # fmt: skip
    engine: Literal["opendss", "reduced"] = Field("opendss", description="Power flow")
    seed: int | None = Field(None, ge=0, lt=2**63, description="Instead of the scenario's", examples=[4])
    ev_share: Share | None = Field(None, description="Share of homes with a car, instead of the scenario's")
    pv_share: Share | None = Field(None, description="Share of homes with a roof plant, instead of the scenario's")
    heat_pump_share: Share | None = Field(None, description="Share of homes with a heat pump")
    battery_share: Share | None = Field(None, description="Share of homes with a battery")
    noncompliant_share: Share | None = Field(None, description="Share of homes that ignore import caps")
    figures: bool = Field(True, description="Whether figures are drawn, in the report too")


class StudyRequest(Request):
    """Many worlds under many controllers."""

    study: NamedStudy = Field(
        description="A shipped study's name, or a whole study with the keys of its file, by the rule of scenarios",
        examples=["example"],
    )


class HostingRequest(Request):
    """How many homes of feeders can have a technology, with control and with reinforcement."""

    feeders: tuple[str, ...] = Field(min_length=1, max_length=16, description="Shipped", examples=[["european_lv"]])
    technology: Technology = Field("ev", description="What homes get more of")
    controllers: tuple[str, ...] = Field(("none", "even", "equal_share", "dimming"), min_length=1, max_length=32)
    placements: Count = Field(100, description="Random choices of homes")
    reinforce: bool = Field(True, description="What building would do instead, without control")


class JobAnswer(BaseModel):
    """How far a job is."""

    id: str = Field(examples=["5f2a91c0d3e8"])
    kind: Kind
    name: str = Field(description="Of the scenario or study", examples=["two_bus_evening"])
    status: Status = Field(description="Interrupted, failed and cancelled jobs can be restarted")
    done: int = Field(description="Of a run: steps of all its controllers; else worlds", examples=[192])
    total: int = Field(description="Of those, all; 0 where that is not known yet", examples=[576])
    fraction: float = Field(ge=0, le=1, description="Share that is done")
    message: str = Field(description="What it does, or why it ended", examples=["equal_share: steps"])
    rate_per_h: float | None = Field(description="Of a study: worlds finished in an hour [1/h]")
    left_s: float | None = Field(description="Of a study: time left at that rate [s]")
    created: str = Field(description="UTC", examples=["2026-05-15T10:00:00.000Z"])
    started: str | None = Field(description="UTC")
    ended: str | None = Field(description="UTC")
    request: dict[str, JsonValue] = Field(description="What was asked for")


class Metric(BaseModel):
    """One measure of all runs of a scoreboard."""

    name: str = Field(examples=["voltage_max_pu"])
    meaning: str
    unit: str = Field(examples=["pu"])
    better: str = Field(description="low, high, or empty", examples=["low"])
    limit: float | None
    headline: bool
    values: dict[str, float | None] = Field(description="By run, in that unit")
    best: list[str] = Field(description="Runs that nobody beats")
    violated: list[str] = Field(description="Runs that pass the limit")


class Scoreboard(BaseModel):
    """Runs by measures."""

    runs: list[str]
    stopped: dict[str, str] = Field(description="Runs that are not whole or invalid, and why")
    standard: str = Field(description="By which voltages are judged", examples=["EN 50160"])
    metrics: list[Metric]


class ResultFile(BaseModel):
    """A file of a job."""

    name: str = Field(description="As it is asked for", examples=["metrics.csv"])
    size_bytes: int


class ResultPage(BaseModel):
    """Some rows of a study."""

    total: int = Field(description="Rows that are finished so far: one for each world and controller")
    offset: int
    columns: list[str]
    rows: list[list[JsonValue]] = Field(description="Values in the order of the columns; null where there is none")


class Named(BaseModel):
    """Something that requests may name."""

    name: str = Field(examples=["european_lv"])
    about: str


class NamedController(Named):
    """A controller with its options."""

    options: dict[str, str] = Field(description="What each is for, by name")


def refuse_unwritable(value: Any, where: str, depth: int = _DEPTH) -> None:
    """Refuse JSON that nobody could write again: nested without end, with numbers or letters that do not exist.

    Raises
    ------
    InputError
        With the first of them.
    """
    if isinstance(value, (dict, list, tuple)):
        if not depth:
            raise InputError(Fault(where, "", "is nested too deep", f"write at most {_DEPTH} levels"))
        for inner in (*value, *value.values()) if isinstance(value, dict) else value:
            refuse_unwritable(inner, where, depth - 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InputError(Fault(where, "", "holds a number that is not finite", "write a number, or leave it out"))
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            problem = "holds half of a character (a lone surrogate)"
            raise InputError(Fault(where, "", problem, "write text in UTF-8")) from None
