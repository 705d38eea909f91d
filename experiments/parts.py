"""A horizon that is run week by week: each is on disk as it ends, and what it leaves behind goes on in the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cosim import Trajectory
from cosim.contract import Float
from cosim.contract.thermal import ThermalState
from cosim.errors import RunStoppedError
from cosim.experiments.day import LongDay
from cosim.experiments.keep import PartPlace, Progress, RunResult, going_on, keep_run, nobody
from cosim.experiments.metric_table import metric_of
from cosim.experiments.on_disk import FILE_NAME, PartsResult, TrajectoryOnDisk
from cosim.experiments.scenario import Run
from cosim.experiments.tables import write_csv
from cosim.measures.areas import thermal_end
from cosim.measures.balance import judged
from cosim.measures.scoreboard import compliant_customers, served_by_customer_kwh, shares_of_service
from cosim.stepper import Engines

_AGEING = "transformer_ageing_h"
_COMPLIANCE = ("voltage_compliant_customers_percent", "en50160_compliant_customers_percent")


@dataclass(frozen=True, eq=False)
class Part:
    """What remains of one week of a run, once its steps are on disk.

    Attributes
    ----------
    number, first_step : int
        Which, and its first step in the whole.
    start : datetime
        Clock of its first step.
    said : TrajectoryOnDisk
        Of this week, steps counted from the beginning of the whole.
    metrics, areas, worst, crosscheck, missing
        As in `RunResult`.
    compliant : ndarray, shape (customer,)
        See `compliant_customers`.
    wanted_kwh, served_kwh : ndarray, shape (customer,)
        See `served_by_customer_kwh`.
    states, thermal : mapping
        Of devices and transformers after the last step, see `Day.after`.
    """

    number: int
    first_step: int
    start: datetime
    said: TrajectoryOnDisk
    metrics: Mapping[str, float]
    areas: Sequence[Mapping[str, object]]
    worst: Mapping[str, dict[str, Any]]
    crosscheck: Mapping[str, float]
    missing: Sequence[str]
    compliant: Float
    wanted_kwh: Float
    served_kwh: Float
    states: Mapping[str, Mapping[str, Any]]
    thermal: Mapping[str, ThermalState]

    @property
    def row(self) -> dict[str, Any]:
        """Row of ``parts.csv``."""
        said = self.said
        place = {"controller": said.label, "part": self.number, "start": self.start.isoformat()}
        state = {"first_step": self.first_step, "steps": said.steps, "complete": said.complete and not self.missing}
        return {**place, **state, "invalid": said.invalid, **self.metrics}


def perform_parts(
    whole: LongDay, item: Run, folder: Path, engine: str, progress: Progress = nobody
) -> tuple[PartsResult | None, list[RunStoppedError]]:
    """Run one controller week by week; returns as `keep_run`, and raises nothing.

    Contents of batteries, temperatures of buildings, tanks and transformers go on from week to week; a car that stays
    over the edge has its need shared out (`cut_to_horizon`); controllers and forecasts begin anew. What fails ends the
    run with its week, and keeps what was completed; a week that is invalid does not end it.
    """
    failed: list[RunStoppedError] = []
    parts: list[Part] = []
    count = whole.scenario.parts
    with Engines(whole.feeder, engine) as engines:
        for number in range(count):
            before = parts[-1] if parts else None
            part, broken, stopped = _week(whole, number, before, item, folder, engines, progress)
            with going_on(item.name, broken):
                if part is not None:
                    parts.append(part)
                    rows = pd.DataFrame([one.row for one in parts])
                    write_csv(rows, folder / "trajectories" / item.name / FILE_NAME)
            failed += [_of_part(number, one) for one in broken]
            if stopped or part is None:
                break
    with going_on(item.name, failed):
        progress(item.name, "done", 1, 1)
    return (_joined(parts, count) if parts else None), failed


def _week(
    whole: LongDay, number: int, before: Part | None, item: Run, folder: Path, engines: Engines, progress: Progress
) -> tuple[Part | None, list[RunStoppedError], bool]:
    """Run and keep one week: what remains of it, what went wrong, and whether the run ends with it.

    Nothing else outlives it: two weeks are never held at once.
    """
    broken: list[RunStoppedError] = []
    run: Trajectory | None = None
    with going_on(item.name, broken):
        progress(item.name, "weeks", number, whole.scenario.parts)
        week = whole.part(number)
        week = week if before is None else week.after(before.states, before.thermal)
        run = week.run_spec(item, engine=engines()).trajectory
    stopped = bool(broken)
    if broken and isinstance(left := broken[0].trajectory, Trajectory) and left.steps:
        with going_on(item.name, broken):
            run = judged(left)
    if run is None:
        return None, broken, True
    before_min = (week.scenario.start - whole.scenario.start) / timedelta(minutes=1)
    place = PartPlace(number, round(before_min / run.step_min), engines)
    result, more = keep_run(run, week, folder, part=place)
    part = None
    with going_on(item.name, more):
        part = None if result is None or not result.metrics else _part(result, place)
    # an invalid week is marked, and ends nothing
    return part, [*broken, *more], stopped or len(more) > bool(run.invalid)


def _of_part(number: int, error: RunStoppedError) -> RunStoppedError:
    label, colon, why = str(error).partition(": ")
    told = RunStoppedError(f"{label}: part {number}{colon}{why}", None, error.exit_code)
    told.__cause__ = error
    return told


def _part(result: RunResult, place: PartPlace) -> Part:
    run = result.trajectory
    wanted_kwh, served_kwh = served_by_customer_kwh(run)
    said = TrajectoryOnDisk(
        run.label, run.engine, run.steps, run.complete, run.reproducible, run.invalid,
        tuple((place.first_step + step, decision) for step, decision in run.decisions),
        tuple(replace(one, step=place.first_step + one.step) for one in run.collapses),
        run.wall_s, run.plan_s, run.decide_s,
    )  # fmt: skip
    worst = {
        name: {**moment, "step": place.first_step + moment["step"], "part": place.number}
        for name, moment in result.worst.items()
    }
    return Part(
        place.number, place.first_step, run.exogenous.start, said, result.metrics, result.areas, worst,
        result.crosscheck, result.missing, compliant_customers(run), wanted_kwh, served_kwh,
        run.device_states, thermal_end(run),
    )  # fmt: skip


def _joined(parts: Sequence[Part], count: int) -> PartsResult:
    """Make one run of its weeks."""
    said = [part.said for part in parts]
    invalid = "; ".join(f"part {part.number}: {part.said.invalid}" for part in parts if part.said.invalid)
    trajectory = TrajectoryOnDisk(
        said[0].label, said[0].engine, sum(one.steps for one in said),
        len(parts) == count and all(one.complete for one in said),
        all(one.reproducible for one in said), invalid,
        tuple(decision for one in said for decision in one.decisions),
        tuple(collapse for one in said for collapse in one.collapses),
        *(sum(getattr(one, name) for one in said) for name in ("wall_s", "plan_s", "decide_s")),
    )  # fmt: skip
    areas = _areas(parts)
    return PartsResult(
        trajectory,
        _metrics(parts, areas),
        areas,
        _worst(parts),
        _crosscheck(parts),
        list(dict.fromkeys(phase for part in parts for phase in part.missing)),
        [part.row for part in parts],
    )


def _metrics(parts: Sequence[Part], areas: Sequence[Mapping[str, object]]) -> dict[str, float]:
    """Figures of the whole where those of weeks make them exactly; nan where they do not."""
    metrics = {name: _over_parts(name, [part.metrics[name] for part in parts]) for name in parts[0].metrics}
    # a customer is compliant who is so in every week, the period of EN 50160
    always = np.min([part.compliant for part in parts], axis=0)
    percent = 100.0 * float(np.nanmean(always)) if np.isfinite(always).any() else np.nan
    judges = {name: np.isfinite(parts[0].metrics[name]) for name in _COMPLIANCE}
    metrics |= {name: percent for name in _COMPLIANCE if judges[name]}
    served = [np.sum([getattr(part, name) for part in parts], axis=0) for name in ("wanted_kwh", "served_kwh")]
    # the area that ages most is one and the same all the time
    ages = [float(str(row[_AGEING])) for row in areas]
    ageing = {_AGEING: float(np.fmax.reduce(ages))} if np.isfinite(ages).any() else {}
    return metrics | shares_of_service(*served) | ageing


def _over_parts(name: str, values: Sequence[float]) -> float:
    how = metric_of(name).over_parts
    if how == "sum":
        return float(np.sum(values))
    return float({"max": np.fmax, "min": np.fmin}[how].reduce(values)) if how else np.nan


def _areas(parts: Sequence[Part]) -> list[dict[str, object]]:
    """Figures of every area over all weeks, the most loaded first."""
    rows = []
    for area in dict.fromkeys(row["area"] for row in parts[0].areas):
        weeks = [next(row for row in part.areas if row["area"] == area) for part in parts]
        peak = max(weeks, key=lambda row: np.nan_to_num(float(str(row["transformer_peak_percent"])), nan=-1.0))
        figures = {
            name: _over_parts(name, [float(str(row[name])) for row in weeks])
            for name in weeks[0]
            if metric_of(name).over_parts
        }
        rows.append({**peak, **figures})
    return sorted(rows, key=lambda row: -np.nan_to_num(float(str(row["transformer_peak_percent"])), nan=-1.0))


def _worst(parts: Sequence[Part]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(name for part in parts for name in part.worst):
        moments = [part.worst[name] for part in parts if name in part.worst]
        least = metric_of(name).over_parts == "min"
        found[name] = (min if least else max)(moments, key=lambda moment: moment["value"])
    return found


def _crosscheck(parts: Sequence[Part]) -> dict[str, float]:
    names = dict.fromkeys(name for part in parts for name in part.crosscheck)
    known = {name: [part.crosscheck[name] for part in parts if name in part.crosscheck] for name in names}
    return {name: max(values) if name.endswith("_pu") else sum(values) for name, values in known.items()}
