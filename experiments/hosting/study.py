"""Hosting capacity from beginning to end: critical days, reinforcements, placements, whole weeks, and what they say."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cosim import Trajectory
from cosim.errors import CosimError, Fault, InputError, RunStoppedError
from cosim.experiments.files import origin, write_json
from cosim.experiments.hosting.asked import OPTIMUM, UNCONTROLLED, Asked, built
from cosim.experiments.hosting.networks import Reinforced, reinforce
from cosim.experiments.hosting.summary import capacities, placements_of
from cosim.experiments.hosting.tasks import WEEKS_OF_A_YEAR, search_task, week_task, year_task
from cosim.experiments.hosting.worlds import (
    EXPORT,
    IMPORT,
    CriticalDay,
    Network,
    collapsed,
    site,
    world,
    worst_day,
)
from cosim.experiments.study import dataset
from cosim.experiments.study.runner import Counts, run_tasks
from cosim.experiments.study.tasks import Task
from cosim.experiments.tables import write_csv
from cosim.folder import claimed

_STRAINED = 2
"""Placements by which reinforcements are laid out."""
_LEAST_KW = 0.01
_OF = ["feeder", "network", "controller"]

Progress = Callable[[str, Counts], object]


@dataclass(frozen=True)
class Hosting:
    """What was found.

    Attributes
    ----------
    table : DataFrame
        ``hosting.csv``: a row for each feeder, network and controller.
    placements : DataFrame
        ``placements.csv``: a row for each placement.
    days : dict of str to tuple of CriticalDay
        By feeder.
    reinforced : dict of str to dict of str to Reinforced
        By feeder and name.
    warnings : tuple of str
        What was left out, and why.
    """

    table: pd.DataFrame
    placements: pd.DataFrame
    days: dict[str, tuple[CriticalDay, ...]]
    reinforced: dict[str, dict[str, Reinforced]]
    warnings: tuple[str, ...]


def hosting(
    asked: Asked, folder: Path, *, jobs: int = 1, scheduler: str | None = None, progress: Progress = lambda *_: None
) -> Hosting:
    """Find hosting capacities; what is finished in the folder is not done again.

    Parameters
    ----------
    asked : Asked
        What is asked.
    folder : Path
        Receives ``results.parquet/``, ``hosting.csv``, ``placements.csv``, ``networks/``, the figure and the manifest.
    jobs, scheduler
        See `run_tasks`.
    progress : callable
        Told of what is being done, and how far that is.

    Raises
    ------
    InputError
        As `built` and `run_tasks`, and where the folder cannot be used, or a feeder cannot be reinforced at all.
    """
    warnings: list[str] = []
    folder = folder.resolve()  # reinforced circuits lie in it, for workers whose own folder is another
    places, config = built(asked, warnings), asked.config
    warnings += [f"{name}: {one}" for name, (_, feeder) in places.items() for one in feeder.warnings]

    def work(what: str, tasks: list[Task]) -> pd.DataFrame:
        counts = run_tasks(tasks, folder, jobs=jobs, scheduler=scheduler, progress=lambda now: progress(what, now))
        rows = dataset.read(folder)
        order = {task.hash: number for number, task in enumerate(tasks)}
        rows = rows[rows["hash"].isin(order)].sort_values("hash", key=lambda of: of.map(order), kind="stable")
        if counts.failed or (rows["status"] == "failed").any():
            failed = rows[rows["status"] == "failed"]
            warnings.append(f"{len(failed)} of {len(tasks)} tasks failed ({what}): {failed['reason'].iloc[0]}")
        if limited := (rows["status"] == "limited").sum():
            told = f"in {limited} of {len(rows)} runs a wall-clock limit struck: they count, and may not repeat"
            warnings.append(f"{what}: {told}")
        return rows

    homes = {name: len(feeder.homes) for name, (_, feeder) in places.items()}
    typical = {name: round(config.method.year_penetration_percent / 100.0 * many) for name, many in homes.items()}
    of_year = {
        name: [
            year_task(network, asked.technology, typical[name], week, config.method.year_step_minutes)
            for week in range(WEEKS_OF_A_YEAR)
        ]
        for name, (network, _) in places.items()
    }
    year = work("year without control", [task for tasks in of_year.values() for task in tasks])
    days, bright = {}, {}
    for name in places:
        own = year[(year["feeder"] == name) & (year["status"] == "ok")]
        if own["date"].nunique() < 365:
            raise InputError(Fault(name, "year", "could not be run without control", "; ".join(warnings)))
        days[name] = critical_days(own, asked)
        bright[name] = _bright_share(own, config.method.bright_share)
    reinforced: dict[str, dict[str, Reinforced]] = {}
    with claimed(folder, overwrite=True) as owned:
        for name, (network, _) in places.items():
            reinforced[name] = _reinforced(asked, network, days[name], owned.path / "networks", warnings)
    searches = [
        search_task(
            network,
            asked.technology,
            controller,
            placement,
            config,
            days[name],
            bright[name],
            typical[name],
        )
        for name, (as_built, _) in places.items()  # a process keeps the networks of one feeder
        for placement in range(1, config.method.placements + 1)
        for network, controller in [
            *((as_built, controller) for controller in asked.controllers),
            *([(as_built, OPTIMUM)] if placement <= config.method.optimum and OPTIMUM not in asked.controllers else []),
            *((one.network, UNCONTROLLED) for one in reinforced[name].values()),
        ]
    ]
    worlds = work("placements", searches)
    if (worlds["status"] == "failed").all():
        raise CosimError("; ".join(warnings))
    placements = placements_of(worlds, homes)
    by_hash = {task.hash: task for task in searches}
    again = [
        week_task(by_hash[row["hash"]], int(row["capacity_homes"]))
        for row in placements.to_dict("records")
        if row["placement"] <= config.method.weeks
    ]
    weeks = work("whole weeks", again) if again else worlds[:0]
    failed = worlds[worlds["status"] == "failed"]
    told = set(placements[_OF].itertuples(index=False, name=None))
    for missing in sorted(set(failed[_OF].itertuples(index=False, name=None)) - told):
        warnings.append(f"{', '.join(missing)}: no search was finished: it is not in the table")
    table = capacities(placements, failed, weeks[weeks["status"] != "failed"], config, reinforced)
    found = Hosting(table, placements, days, reinforced, tuple(dict.fromkeys(warnings)))
    _write(found, asked, folder)
    return found


def critical_days(year: pd.DataFrame, asked: Asked) -> tuple[CriticalDay, ...]:
    """Day of the largest import of winter and of the largest export of summer, first the one that the technology is.

    Days with steps without a power flow come before all others. Where nothing is ever exported no day is of export.
    """
    method, found = asked.config.method, []
    for kind, months in ((IMPORT, method.winter_months), (EXPORT, method.summer_months)):
        own = year[pd.to_datetime(year["date"]).dt.month.isin(months)]
        if own[f"{kind}_kw"].max() > _LEAST_KW or own[f"{kind}_lost_kwh"].any():
            found.append(worst_day(own.to_dict("records"), kind))  # type: ignore[arg-type]
    return tuple(found[::-1] if asked.technology == "pv" else found)


def _bright_share(year: pd.DataFrame, least: float) -> float:
    """Share of a year's sun that days nearly as bright as the brightest have."""
    sun = year["available_kwh"]
    return float(sun[sun >= least * sun.max()].sum() / sun.sum()) if sun.sum() > 0.0 else 0.0


def _reinforced(
    asked: Asked, network: Network, days: Sequence[CriticalDay], folder: Path, warnings: list[str]
) -> dict[str, Reinforced]:
    """Lay out every reinforcement; one that a feeder cannot have is left out, and told."""
    if not asked.config.reinforcement:
        return {}
    strained = _strained(asked, network, days, warnings)
    if not strained:
        return {}
    found, label = {}, re.sub(r"\W+", "_", network.feeder).strip("_")
    for name, told in asked.config.reinforcement.items():
        try:
            one = reinforce(name, told, network, strained, folder / f"{label}_{name}")
            found[name] = one._replace(network=one.network.as_it_lies())
        except InputError as error:
            warnings.append(f"left out: {error}")
    return found


def _strained(asked: Asked, network: Network, days: Sequence[CriticalDay], warnings: list[str]) -> list[Trajectory]:
    """Run the critical days at the penetration that reinforcements are for, or the largest part with a power flow.

    Told where it is a part, of as many as the grid has steps; none where no step has one.
    """
    method, count = asked.config.method, len(site(network).homes)
    said = f"{network.feeder}: without a power flow at {method.target_percent:g} % of homes"
    for step in range(method.grid, -1, -1):
        percent = method.target_percent * step / method.grid
        try:
            runs = [
                world(network, asked.technology, round(percent / 100.0 * count), placement, when).run(UNCONTROLLED, {})
                for placement in range(1, _STRAINED + 1)
                for when in days
            ]
        except RunStoppedError as stopped:
            if not collapsed(stopped):
                raise
        else:
            if step < method.grid:
                warnings.append(f"{said}: reinforcements are laid out for {percent:g} %")
            return runs
    warnings.append(f"{said}, nor at any less: no reinforcement is laid out")
    return []


def _write(found: Hosting, asked: Asked, folder: Path) -> None:
    from cosim.experiments.figures import style  # brings matplotlib
    from cosim.experiments.hosting.figure import draw

    with claimed(folder, overwrite=True) as owned:
        write_csv(found.table, owned.path / "hosting.csv")
        write_csv(found.placements, owned.path / "placements.csv")
        manifest: dict[str, Any] = {
            "technology": asked.technology, "controllers": list(asked.controllers),
            "config": asked.config.model_dump(mode="json"),
            "critical_days": {name: [when._asdict() for when in days] for name, days in found.days.items()},
            "reinforcements": {
                name: {key: one.what for key, one in of_feeder.items()} for name, of_feeder in found.reinforced.items()
            },
            "warnings": list(found.warnings), **origin(["lv-feeder-cosim", "opendssdirect.py", "numpy", "scipy"]),
        }  # fmt: skip
        write_json(owned.path / "manifest.json", manifest)
        with style.house_style():
            drawing = draw(found, asked.technology, asked.config)
            style.save(drawing.figure, owned.path / "hosting.png")
