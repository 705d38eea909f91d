"""A scenario: one question, as a TOML file. Every key is documented in ``scenarios/example.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from cosim import plugins
from cosim.errors import Fault, InputError
from cosim.experiments import DEFAULT as DEFAULT
from cosim.experiments.labels import REMEDY, Label, labels_problem
from cosim.experiments.mend import dotted, items, mended

if TYPE_CHECKING:
    import numpy as np

SHIPPED = Path(__file__).parent / "scenarios"

_STREAMS = ("households", "cars", "roofs", "noncompliant", "forecast", "controllers", "deviation", "rephase")

Share = Annotated[float, Field(ge=0, le=1)]
_NONCOMPLIANT = AliasChoices("noncompliant_share", "stubborn_share")  # the second is the key of version 0.1
ForecastKind = Literal["oracle", "persistence", "noisy"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Transformer(_Table):
    """Machine that replaces the feeder's own."""

    kva: float = Field(gt=0, le=10_000, description="Rated power [kVA]")
    uk_percent: float = Field(4.0, gt=0, le=20, description="Short-circuit voltage [%]")
    load_loss_percent: float = Field(1.5, gt=0, le=10, description="Load loss at rated current [% of rating]")

    @model_validator(mode="after")
    def _resistance_below_impedance(self) -> Transformer:
        if self.load_loss_percent >= self.uk_percent:
            raise ValueError("load_loss_percent must be below uk_percent, of which it is the resistive part")
        return self


class Grid(_Table):
    """Changes to the feeder's own circuit."""

    source_pu: float | None = Field(None, ge=0.8, le=1.2, description="Source voltage [pu of the source's base]")
    transformer: Transformer | None = None


class Homes(_Table):
    """Household demand and behaviour."""

    profiles: str = Field("may_weekday", description="A shipped set, 'feeder' for the loads of the file, or a path")
    response: Literal["cheapest", "immediate"] = Field("cheapest", description="When a home charges inside its cap")
    noncompliant_share: Share = Field(
        0.0, validation_alias=_NONCOMPLIANT, description="Share of homes that ignore import caps"
    )
    power_factor: float = Field(0.95, gt=0, le=1, description="Of household demand, inductive")


class Cars(_Table):
    """Electric vehicles at home."""

    share: Share = Field(0.0, description="Share of homes with a car")
    sessions: str | None = Field(None, description="Path of own sessions (CSV or Parquet), instead of a share")
    efficiency: float = Field(0.9, gt=0, le=1, description="Battery energy per energy drawn")


class Roofs(_Table):
    """Photovoltaics."""

    share: Share = Field(0.0, description="Share of homes with a roof plant")
    kwp: float = Field(4.0, gt=0, le=100, description="Peak power of each [kWp]")
    cloud: str = Field("partly_cloudy", description="Kind of day: clear, partly_cloudy, overcast")


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

    controller: str = Field(description="A name, my_file.py:MyClass (seen from the scenario), or a module:Class")
    label: Label | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    noncompliant_share: Share | None = Field(
        None, validation_alias=_NONCOMPLIANT, description="Instead of the scenario's"
    )
    forecast: OwnForecast = Field(None, description="A kind, or a table of what differs from the scenario's")

    @property
    def name(self) -> str:
        """Label, or the controller's name (of a target: its class's) where none is given."""
        return self.label or plugins.safe_label(self.controller)


class Scenario(_Table):
    """One feeder, one day, any number of controllers."""

    name: Label
    feeder: str
    seed: int = Field(1, ge=0)
    start: datetime = Field(strict=False)  # TOML's own, or ISO text
    horizon_h: float = Field(24.0, gt=0, le=24 * 31)
    step_min: int = Field(5, ge=1, le=60)
    control_min: int = Field(15, ge=1, le=240)
    tariff: str = Field("three_band", description="A shipped tariff")
    metrics: tuple[str, ...] = Field((), strict=False, description="Own measures: my_file.py:function, or a name")
    strict: bool = Field(False, description="Refuse a day with a car that nothing could serve")
    decide_limit_s: float | None = Field(
        None, gt=0, description="Longest time of a decision; a later one is dropped [s]"
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
        raise PydanticCustomError("datetime_type", "input should be a local date and time")  # not seconds since 1970

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
    if path.is_file():
        return path
    path = Path(name_or_path)
    if not path.is_file():
        near = get_close_matches(str(name_or_path), shipped(), 1)
        remedy = f"did you mean '{near[0]}'?" if near else f"use a path, or one of {', '.join(shipped())}"
        raise InputError(Fault(str(name_or_path), "", "no such scenario", remedy))
    return path


class Parsed(NamedTuple):
    """What became of a scenario's file: with faults, a scenario with stand-ins for the keys at fault."""

    scenario: Scenario
    faults: tuple[Fault, ...]
    wrong: frozenset[str]


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
        With every fault of the file itself; what its keys name is looked at by ``compose``.
    """
    path = find(name_or_path)
    return parse(load_toml(path), path)


def load_toml(path: Path) -> dict[str, Any]:
    """Content of a TOML file; InputError where it is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(Fault(str(path), "", f"is not TOML: {error}", "mend the syntax there")) from None


def parse(data: dict[str, Any], path: Path) -> Scenario:
    """Validate the content of a scenario file; see `read`."""
    scenario, faults, _ = parse_partly(data, path)
    if faults:
        raise InputError(faults)
    return scenario


def parse_partly(data: dict[str, Any], path: Path) -> Parsed:
    """Validate the content of a scenario file, and keep what is right where something is wrong."""
    faults: list[Fault] = []
    wrong: set[str] = set()
    try:
        scenario = Scenario.model_validate(data)
    except ValidationError as error:
        faults.extend(_faults(error, path))
        scenario, wrong = mended(Scenario, data, error)
    misfits = [(keys, problem) for keys, problem in _misfits(scenario) if not wrong.intersection(keys)]
    faults.extend(Fault(str(path), keys[0], problem, "make the keys agree") for keys, problem in misfits)
    wrong.update(key for keys, _ in misfits for key in keys)
    return Parsed(_with_paths(scenario, path.parent), tuple(faults), frozenset(wrong))


def _misfits(scenario: Scenario) -> list[tuple[tuple[str, ...], str]]:
    """Keys that do not fit together, each fine by itself, and why."""
    step, control, hours = scenario.step_min, scenario.control_min, scenario.horizon_h
    names = [run.name for run in scenario.runs]
    unfit = labels_problem(names)
    uneven = scenario.minutes % step or abs(scenario.minutes - hours * 60) > 1e-9
    rules: tuple[tuple[tuple[str, ...], object, str], ...] = (
        (("control_min", "step_min"), control % step, f"control_min={control} must be a multiple of step_min={step}"),
        (("horizon_h", "step_min"), uneven, f"horizon_h={hours} must be a whole number of steps of {step} min"),
        (("start",), scenario.start.tzinfo, "start must be a local clock time without a zone"),
        (("runs",), unfit, unfit),
        (
            ("ev.share", "ev.sessions"),
            scenario.ev.sessions is not None and scenario.ev.share,
            "give either share or sessions, not both",
        ),
    )
    return [(keys, problem) for keys, is_broken, problem in rules if is_broken]


def _with_paths(scenario: Scenario, folder: Path) -> Scenario:
    """Resolve what names a file beside the scenario, and complete the runs' own forecasts: all that a run was told."""

    def beside(value: str) -> str:
        candidate = folder / value
        return str(candidate.resolve()) if ("/" in value or "." in value) and candidate.exists() else value

    def whole(run: Run) -> Run:
        told = run.forecast and scenario.forecast_of(run)
        return run.model_copy(update={"controller": plugins.resolved(run.controller, folder), "forecast": told})

    homes = scenario.households.model_copy(update={"profiles": beside(scenario.households.profiles)})
    cars = scenario.ev
    if cars.sessions is not None:
        cars = cars.model_copy(update={"sessions": beside(cars.sessions)})
    named = {
        "feeder": beside(scenario.feeder),
        "runs": tuple(map(whole, scenario.runs)),
        "metrics": tuple(plugins.resolved(metric, folder) for metric in scenario.metrics),
    }
    return scenario.model_copy(update={**named, "households": homes, "ev": cars})


def _faults(error: ValidationError, path: Path) -> Iterator[Fault]:
    for item in items(error):
        key = dotted(item["loc"])
        value = item.get("input")
        if item["type"] == "extra_forbidden":
            known = _known_keys(item["loc"])
            near = get_close_matches(str(item["loc"][-1]), known, 1)
            remedy = f"did you mean '{near[0]}'?" if near else f"use only {', '.join(known)}"
            yield Fault(str(path), key, "unknown key", remedy)
        elif item["type"] == "missing":
            yield Fault(str(path), key, "is missing", "add it; see 'cosim check --schema'")
        elif item["type"] == "value_error":
            for problem in str(item["ctx"]["error"]).splitlines():
                yield Fault(str(path), key, problem, "make the keys agree")
        else:
            shown = "" if isinstance(value, dict) else f" ({value!r} given)"
            message = item["msg"][0].lower() + item["msg"][1:]
            yield Fault(str(path), key, f"{message}{shown}", _remedy(item["loc"], item["type"]))


def _remedy(location: tuple[int | str, ...], kind: str) -> str:
    if str(location[-1]).endswith("share") and kind == "less_than_equal":
        return "a share above 1 would mean more of them than homes; give a share between 0 and 1"
    if location[-1] in ("label", "name"):
        return REMEDY
    if str(location[-1]).endswith("_pu"):
        return "give per unit, for example 1.02 (not volts, not percent)"
    return "see 'cosim check --schema' for type, unit and range"


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    tables: dict[str, type[BaseModel]] = {
        "grid": Grid, "transformer": Transformer, "households": Homes, "ev": Cars, "pv": Roofs,
        "forecast": ForecastTable, "runs": Run,
    }  # fmt: skip
    inside = [tables[part] for part in location[:-1] if isinstance(part, str) and part in tables]
    return list((inside[-1] if inside else Scenario).model_fields)
