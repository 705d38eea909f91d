"""What is asked of a hosting study, and by what a penetration is judged: one TOML file, every key editable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from cosim.errors import Fault, InputError, meant
from cosim.experiments.metric_table import METRICS
from cosim.experiments.remedies import load_toml, refused, scenario_faults
from cosim.experiments.scenario import Scenario
from cosim.experiments.study.config import Change
from cosim.experiments.study.worlds import merged
from cosim.experiments.world.table import Table
from cosim.feeders.catalogue import cables

SHIPPED = Path(__file__).with_name("hosting.toml")
Technology = Literal["ev", "pv", "heat_pump"]
Percent = Annotated[float, Field(ge=0, le=100)]
Months = Annotated[tuple[Annotated[int, Field(ge=1, le=12)], ...], Field(strict=False, min_length=1)]
Eur = Annotated[tuple[float, float], Field(strict=False)]


MEASURES = (
    "line_peak_30min_percent", "transformer_ageing_rate_mean", "ev_served_percent", "comfort_short_max_kh_per_day",
    "pv_curtailed_year_percent",
)  # fmt: skip
"""Of hosting, beside those of the scoreboard."""


class Method(Table):
    """How capacity is sought and told."""

    placements: int = Field(100, ge=1, le=10_000, description="Random choices of homes")
    grid: int = Field(5, ge=1, le=100, description="Equal steps of penetration run for every placement")
    quantile_percent: float = Field(5.0, gt=0, lt=100, description="Of placements that may bear less [%]")
    confidence_percent: float = Field(95.0, gt=50, lt=100, description="Of the quantile's interval [%]")
    year_penetration_percent: Percent = Field(50.0, description="Of the year that critical days are from [%]")
    year_step_minutes: int = Field(15, ge=1, le=60, description="Length of its steps")
    weeks: int = Field(10, ge=0, le=10_000, description="Placements run again in whole weeks")
    optimum: int = Field(0, ge=0, le=10_000, description="Placements on which the day's optimum is asked")
    target_percent: Percent = Field(100.0, description="Penetration that reinforcements are for [%]")
    bright_share: float = Field(0.8, gt=0, le=1, description="Of the brightest day's sun, of days like it")
    winter_months: Months = Field((12, 1, 2), description="Of the critical day of import")
    summer_months: Months = Field((5, 6, 7, 8), description="Of the critical day of export")


class Criterion(Table):
    """A limit of one measure."""

    metric: str = Field(description="Name of the measure")
    at_most: float | None = Field(None, description="Largest value that keeps it")
    at_least: float | None = Field(None, description="Smallest value that keeps it")
    meaning: str = Field(description="What is wrong where it is not kept")
    undefined: Literal["refuse", "leave_out"] = Field("refuse", description="On a feeder without that measure")
    remedy: str = Field("take the criterion out of the file given with --config", description="What to do then")

    @field_validator("metric")
    @classmethod
    def _measured(cls, value: str) -> str:
        if value not in (known := [*METRICS, *MEASURES]):
            remedy = meant(value, known, "write the name of a metric, as in scoreboard.csv of a run")
            raise refused(Fault("", "metric", f"is '{value}', which nothing measures", remedy))
        return value

    @model_validator(mode="after")
    def _one_limit(self) -> Criterion:
        if (self.at_most is None) == (self.at_least is None):
            raise refused(Fault("", "at_most", "and at_least are both there, or neither", "give one of the two"))
        return self

    def broken(self, value: float) -> bool:
        """Whether a value does not keep it; one that is not a number breaks nothing."""
        over = self.at_most is not None and value > self.at_most + 1e-9
        return over or (self.at_least is not None and value < self.at_least - 1e-9)

    @property
    def words(self) -> str:
        """The criterion as it is printed."""
        limit = f"above {self.at_most:g}" if self.at_most is not None else f"below {self.at_least:g}"
        return f"{self.meaning} ({self.metric} {limit})"


class Reinforcement(Table):
    """What can be built instead of control, and what it costs: an indicative range, low and high [EUR]."""

    kind: Literal["transformer", "thicker_cable", "second_cable", "oltc", "rephasing"]
    times: float = Field(2.0, gt=1, le=20, description="transformer: rating, of what is there")
    cable: str = Field("NAYY 4x240", description="thicker_cable: name in the catalogue")
    set_pu: float = Field(1.0, ge=0.9, le=1.1, description="oltc: voltage kept at its terminals [pu of nominal]")
    moves: int = Field(4, ge=1, le=50, description="rephasing: customers moved to another phase")
    eur: Eur = Field((0.0, 0.0), description="In all [EUR]")
    eur_per_m: Eur = Field((0.0, 0.0), description="By length of cable [EUR/m]")
    eur_per_move: Eur = Field((0.0, 0.0), description="By customer moved [EUR]")
    source: str = Field(description="Where the costs are from")

    @field_validator("cable")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in cables():
            problem = f"is '{value}', which is not in the catalogue"
            raise refused(Fault("", "cable", problem, f"write one of {', '.join(cables())}"))
        return value

    @field_validator("eur", "eur_per_m", "eur_per_move")
    @classmethod
    def _range(cls, value: tuple[float, float], info: ValidationInfo) -> tuple[float, float]:
        if not 0.0 <= value[0] <= value[1]:
            raise refused(Fault("", str(info.field_name), f"is {list(value)}", "give low and high, e.g. [60, 100]"))
        return value

    def cost_eur(self, length_m: float = 0.0, moves: int = 0) -> tuple[float, float]:
        """Cost of so much cable and so many moves, low and high [EUR]."""
        parts = zip(self.eur, self.eur_per_m, self.eur_per_move, strict=True)
        low, high = (whole + length_m * by_m + moves * by_move for whole, by_m, by_move in parts)
        return low, high


class HostingConfig(Table):
    """What is asked of a hosting study."""

    method: Method = Method()
    base: Change = Field(default_factory=dict, description="Of every world, as in a scenario")
    feeder: dict[str, Change] = Field(default_factory=dict, description="By feeder, over base")
    options: dict[str, dict[str, Any]] = Field(default_factory=dict, description="Of controllers, by name")
    violation: dict[str, Criterion] = Field(min_length=1, description="What a feeder must not do")
    service: dict[str, Criterion] = Field(default_factory=dict, description="What customers must get")
    reinforcement: dict[str, Reinforcement] = Field(default_factory=dict, description="Instead of control")

    @property
    def criteria(self) -> dict[str, Criterion]:
        """All of them by name."""
        return {**self.violation, **self.service}

    def broken(self, figures: Mapping[str, float]) -> list[str]:
        """Names of the criteria that are not kept, violations first."""
        nothing = float("nan")
        return [name for name, one in self.criteria.items() if one.broken(figures.get(one.metric, nothing))]

    def key_of(self, feeder: str) -> str | None:
        """Which table of ``[feeder]`` is a feeder's: of its name, or of the last part of its path but ``Master``."""
        path = Path(feeder).resolve()
        last = path.parent if path.stem.lower() == "master" else path
        names = feeder, last.stem if last.suffix.lower() == ".dss" else last.name
        return next((name for name in names if name in self.feeder), None)

    def base_of(self, feeder: str) -> dict[str, Any]:
        """Base of a feeder's worlds, without what the method says."""
        key = self.key_of(feeder)
        return self.base if key is None else merged(self.base, self.feeder[key])

    def lines(self) -> Iterator[str]:
        """Tell the criteria, one a line."""
        yield "A penetration is violated by"
        yield from (f"  {name}: {one.words}" for name, one in self.violation.items())
        yield "and not hosted either with"
        yield from (f"  {name}: {one.words}" for name, one in self.service.items())


def read(path: Path | None = None) -> HostingConfig:
    """Read a file; the shipped one where none is given.

    Raises
    ------
    InputError
        With every fault of it.
    """
    where = path or SHIPPED
    if not where.is_file():
        raise InputError(Fault(str(where), "--config", "no such file", f"copy and change {SHIPPED}"))
    try:
        return HostingConfig.model_validate(load_toml(where), context={"folder": where.parent})
    except ValidationError as error:
        raise InputError(scenario_faults(error, HostingConfig, SHIPPED, where, {})) from None


_OF_THE_METHOD = ("name", "feeder", "seed", "start", "horizon_h", "runs", "draws_from")


def scenario_of(base: Mapping[str, Any], **own: Any) -> Scenario:
    """Make a world's scenario from its base; InputError where that is no scenario.

    Parameters
    ----------
    base : mapping
        As `HostingConfig.base_of`.
    **own
        What the method says: name, feeder, seed, start, length and runs; tables are merged into the base's.
    """
    faults = [
        Fault("hosting", f"base.{key}", "is for the method to set", "leave it out") for key in _OF_THE_METHOD
        if key in base
    ]  # fmt: skip
    if faults:
        raise InputError(faults)
    try:
        return Scenario.model_validate(merged(base, own))
    except ValidationError as error:
        example = Path(__file__).parents[1] / "scenarios" / "example.toml"
        raise InputError(scenario_faults(error, Scenario, example, Path("hosting"), {})) from None
