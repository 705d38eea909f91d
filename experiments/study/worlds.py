"""The worlds of a study: which there are, the scenario of each, and the hash that is its address."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from hashlib import sha256
from itertools import chain, product
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from cosim import plugins
from cosim.dss_files import hashes_of
from cosim.errors import Fault, InputError, collecting, refuse
from cosim.experiments import scenario as scenarios
from cosim.experiments.files import sha256_of
from cosim.experiments.remedies import load_toml
from cosim.experiments.scenario import Scenario
from cosim.experiments.study.code import code_version
from cosim.experiments.study.config import Study
from cosim.feeders import find as feeders

AS_BUILT = "as_built"
_TABLES = {
    "ev_share": ("ev", "share"), "pv_share": ("pv", "share"), "heat_pump_share": ("heat_pump", "share"),
    "battery_share": ("battery", "share"), "noncompliant_share": ("households", "noncompliant_share"),
}  # fmt: skip
"""Columns, and where a scenario has them."""


@dataclass(frozen=True)
class Point:
    """A world by its factors: columns of the results, in their order.

    A share is None where a file of the scenario's own says who has one; the season where the day is in none.
    """

    feeder: str
    network: str
    date: date
    season: str | None
    weight: float
    ev_share: float | None
    pv_share: float | None
    heat_pump_share: float | None
    battery_share: float | None
    placement: int
    forecast: str
    noncompliant_share: float


class _Day(NamedTuple):
    date: date | None
    season: str | None
    weight: float


@dataclass(frozen=True, eq=False)
class Worlds:
    """All worlds of a study.

    Attributes
    ----------
    study : Study
        Validated.
    path : Path
        Its file.
    allowed : tuple of str, optional
        Of a study that was requested; see `cosim.experiments.scenario.parse`.
    """

    study: Study
    path: Path
    allowed: tuple[str, ...] | None = None

    @cached_property
    def scenario_path(self) -> Path:
        """File of the scenario that all begin with."""
        return scenarios.find(self.study.scenario)

    @cached_property
    def base(self) -> Scenario:
        """The scenario that all begin with, changed as the study says; InputError where that is none."""
        return self._read({})

    @cached_property
    def feeders(self) -> dict[str, str]:
        """Feeders by what they are called in the results: of paths as much as tells them apart."""
        named = (*self.study.factors.feeder, *(one.feeder for one in self.study.worlds if one.feeder))
        found = dict.fromkeys(named or (self.base.feeder,))
        ends = {name: _ends(name) for name in found}
        return {
            next((end for end in ends[name] if sum(end in others for others in ends.values()) == 1), name): name
            for name in found
        }

    def __len__(self) -> int:
        """Number of worlds."""
        return sum(prod(map(len, axes.values())) for axes in self._axes())

    def __iter__(self) -> Iterator[Point]:
        """Make one after another: feeder by feeder, and placement by placement all that there is of it."""
        return chain.from_iterable(map(self._of, self._axes()))

    def of_each_feeder(self) -> Iterator[Point]:
        """Make one world of each feeder, the first."""
        firsts = {name: axes for axes in reversed(list(self._axes())) for name in axes["feeder"]}
        return (next(self._of({**axes, "feeder": (name,)})) for name, axes in firsts.items())

    def _of(self, axes: Mapping[str, Any]) -> Iterator[Point]:
        for feeder, placement, day, ev, pv, heat_pump, battery, forecast, noncompliant in product(*axes.values()):
            base = self._seasons[day.season]
            given = dict(zip(_TABLES, (ev, pv, heat_pump, battery, noncompliant), strict=True))
            own = {key: getattr(getattr(base, table), name) for key, (table, name) in _TABLES.items()}
            own |= dict.fromkeys(self._from_files)
            yield Point(
                feeder, AS_BUILT, day.date or base.start.date(), day.season, day.weight,
                placement=base.seed if placement is None else placement,
                forecast=forecast or base.forecast.kind,
                **{key: own[key] if value is None else value for key, value in given.items()},
            )  # fmt: skip

    def scenario(self, point: Point) -> Scenario:
        """Return the scenario of a world, with all runs."""
        base = self._seasons[point.season]
        changes: dict[str, dict[str, Any]] = {}
        for key, (table, name) in _TABLES.items():
            if (share := getattr(point, key)) is not None:
                changes.setdefault(table, {})[name] = share
        if told := self.study.factors.forecast.get(point.forecast):
            changes["forecast"] = told.model_dump(exclude_unset=True)
        tables = {table: getattr(base, table).model_copy(update=change) for table, change in changes.items()}
        start = datetime.combine(point.date, base.start.time())
        own = {"feeder": self.feeders[point.feeder], "seed": point.placement, "start": start}
        if start != base.start:
            own["draws_from"] = None
        return base.model_copy(update={**own, **tables})

    def hash(self, point: Point) -> str:
        """Address of a world: of its content with defaults, that of the files it names, its engine and the code."""
        scenario = self.scenario(point).model_dump(mode="json", exclude={"name"})
        content = [list(asdict(point).values()), self._contents.of(scenario), self.study.engine, code_version()]
        text = json.dumps(content, sort_keys=True, default=str)
        return sha256(text.encode()).hexdigest()[:16]

    def rows(self, point: Point) -> list[dict[str, Any]]:
        """What is known of the results of a world before it is run: a row for each controller."""
        return [
            {
                **asdict(point),
                "forecast": point.forecast if run.forecast is None else run.forecast.kind,
                "noncompliant_share": point.noncompliant_share
                if run.noncompliant_share is None
                else run.noncompliant_share,
                "controller": run.name,
            }
            for run in self.base.runs
        ]

    def check(self) -> None:
        """Refuse a study whose scenario cannot take a value, and one that is too large."""
        where, base, factors = str(self.path), self.base, self.study.factors
        if len(self) > self.study.most_worlds:
            sizes = [f"{len(axis)} × {key}" for axes in self._axes() for key, axis in axes.items() if len(axis) > 1]
            problem = f"has {len(self)} worlds ({', '.join(sizes)}), more than most_worlds = {self.study.most_worlds}"
            remedy = f"take fewer, or write most_worlds = {len(self)} above the first [table]"
            raise InputError(Fault(where, "", problem, remedy))
        if longer := [one.horizon_h for one in self._seasons.values() if one.parts > 1]:
            problem = f"is {longer[0]:g} h, and a world of a study is 31 days at most"
            remedy = "write horizon_h = 24 below [change], and the days in [days]"
            raise InputError(Fault(where, "scenario.horizon_h", problem, remedy))
        first: dict[Point, int] = {}
        for number, axes in enumerate(self._axes() if self.study.worlds else (), start=1):
            for point in self._of(axes):
                if (same := first.setdefault(replace(point, weight=1.0), number)) != number:
                    problem = f"holds a world of worlds.{same} again, the one of {point.date}"
                    raise InputError(Fault(where, f"worlds.{number}", problem, "give each once"))
        refuse(
            Fault(where, f"runs.{number}.{key}", f"is given beside factors.{key}", "keep one of the two")
            for number, run in enumerate(base.runs, start=1)
            for key in ("forecast", "noncompliant_share")
            if getattr(factors, key) and getattr(run, key) is not None
        )
        for key, (table, name) in _TABLES.items():
            values = [*getattr(factors, key), *(getattr(one, key) for one in self.study.worlds)]
            if largest := max((value for value in values if value is not None), default=0.0):
                at = f"factors.{key}" if largest in getattr(factors, key) else f"worlds.{key}"
                self._read({table: {name: largest}}, at)
        for day in self._days:
            if day.date:
                self._read({"start": datetime.combine(day.date, base.start.time()), "draws_from": day.date}, "days")

    @cached_property
    def _contents(self) -> Contents:
        return Contents()

    @cached_property
    def _seasons(self) -> dict[str | None, Scenario]:
        found: dict[str | None, Scenario] = {None: self.base}
        for number, season in enumerate(self.study.days.seasons, start=1):
            found[season.name] = self._read(season.change, f"days.seasons.{number}.change.{{}}")
        return found

    def _read(self, change: Mapping[str, Any], place: str = "change.{}") -> Scenario:
        """Read the scenario with keys that are other: checked as a whole, as if they stood in its file.

        A fault that the file alone does not have is the study's, whose key ``place`` is for that of the scenario.
        """
        own = load_toml(self.scenario_path)
        data = merged(own, {"draws": "keyed", **self.study.change})
        if self.study.runs:
            data["runs"] = [run.model_dump(exclude_unset=True) for run in self.study.runs]
        try:
            return scenarios.parse(merged(data, change), self.scenario_path, self.allowed)
        except InputError as error:
            known: list[Fault] = []
            with collecting(known):
                scenarios.parse(own, self.scenario_path)
            raise InputError(
                fault if fault in known else replace(fault, where=str(self.path), key=self._key(fault.key, place))
                for fault in error.faults
            ) from None

    def _key(self, key: str, place: str) -> str:
        """Key of the study for one of the scenario; of runs that are the study's own, their own."""
        return key if self.study.runs and key.startswith("runs.") else place.format(key)

    @cached_property
    def _from_files(self) -> set[str]:
        """Columns of shares that a file of the scenario's own stands for."""
        base = self.base
        files = {
            "ev_share": None if base.ev.share else base.ev.sessions, "pv_share": base.pv.profiles,
            "heat_pump_share": base.heat_pump.units, "battery_share": base.battery.units,
        }  # fmt: skip
        return {key for key, file in files.items() if file is not None}

    @cached_property
    def _days(self) -> tuple[_Day, ...]:
        days = self.study.days
        if days.year is not None:
            first, last = date(days.year, 1, 1), date(days.year, 12, 31)
            count = (last - first).days + 1
            numbers = range(0, count, days.every)
            return tuple(_Day(first + timedelta(days=number), None, count / len(numbers)) for number in numbers)
        of_seasons = [_Day(day, one.name, one.weight / len(one.dates)) for one in days.seasons for day in one.dates]
        return (*(_Day(day, None, 1.0) for day in days.dates), *of_seasons) or (_Day(None, None, 1.0),)

    def _axes(self) -> Iterator[dict[str, Any]]:
        """Values of each factor, in the order of the product; None where the scenario's own holds."""
        factors, called = self.study.factors, {name: label for label, name in self.feeders.items()}
        for one in self.study.worlds or (None,):

            def axis(key: str, values: Any, one: Any = one) -> Any:
                own = getattr(one, key, None)
                return values or (None,) if own is None else (own,)

            day = one and one.date and _Day(one.date, None, one.weight)
            yield {
                "feeder": [called[name] for name in axis("feeder", factors.feeder or (self.base.feeder,))],
                "placement": axis("placement", factors.placement),
                "days": (day,) if day else self._days,
                **{key: axis(key, getattr(factors, key)) for key in _TABLES if key != "noncompliant_share"},
                "forecast": axis("forecast", tuple(factors.forecast)),
                "noncompliant_share": axis("noncompliant_share", factors.noncompliant_share),
            }


def merged(data: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of a table with some that are other; of tables inside, key by key."""
    inner = {key: merged(data[key], value) for key, value in change.items() if _both_tables(data.get(key), value)}
    return {**data, **change, **inner}


def _both_tables(*values: Any) -> bool:
    return all(isinstance(value, Mapping) for value in values)


def _ends(name: str) -> list[str]:
    """What a feeder may be called: a name, or of a path the last part that is not ``Master``, then more of it."""
    path = Path(name)
    if name in feeders.names():
        return [name]
    parts = path.with_suffix("").parts if path.suffix else path.parts
    parts = parts[:-1] if parts[-1].lower() == "master" else parts
    return ["/".join(parts[-count:]) for count in range(1, len(parts))]


class Contents(dict[Path, Any]):
    """What files hold, taken when first asked for: what is edited afterwards was not their content."""

    def __missing__(self, path: Path) -> Any:
        self[path] = sha256_of(path)
        return self[path]

    def of(self, value: Any) -> Any:
        """Return content with that of files in place of where they lie."""
        if isinstance(value, Mapping):
            return {key: self.of_feeder(inner) if key == "feeder" else self.of(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.of(inner) for inner in value]
        if isinstance(value, str) and ("/" in value or "\\" in value):
            place, attribute = plugins.split_target(value) if plugins.is_target(value) else (value, "")
            if (path := Path(place)).is_file():
                return [path.name, attribute, self[path]]
        return value

    def of_feeder(self, name: str) -> Any:
        """Return the name of a shipped feeder, whose files are the code's; of others what OpenDSS reads."""
        if name in feeders.names() and not feeders.is_installed(name):
            return name
        master = feeders.find(name)
        if master not in self:
            facts = master.with_name("feeder.toml")
            self[master] = [master.name, hashes_of(master), sha256_of(facts) if facts.is_file() else ""]
        return self[master]
