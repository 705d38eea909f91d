"""One world under every controller: what a worker process does, and the rows that come of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from cosim import Trajectory
from cosim.contract import Feeder
from cosim.errors import InputError, PowerFlowError, RunStoppedError, reason
from cosim.experiments.compose import compose, read_feeder
from cosim.experiments.day import Day
from cosim.experiments.keep import INTERRUPTED
from cosim.experiments.scenario import Run, Scenario
from cosim.experiments.study.tasks import Row
from cosim.folder import joined
from cosim.record import write_trajectory
from cosim.reduction import refuse_what_is_not_linear

TARGET = "cosim.experiments.study.world:run_world"
TRAJECTORIES = "trajectories"
_FEEDERS = 4
"""So many are kept in memory: worlds come feeder by feeder."""
_feeders: dict[str, Feeder] = {}


def run_world(payload: Mapping[str, Any]) -> list[Row]:
    """Run every controller on one world.

    Parameters
    ----------
    payload : mapping
        ``scenario`` with all runs, ``where`` (its file), ``engine``, ``rows`` (what is known of each run's row), and
        ``keep``: the study's folder and the world's hash where trajectories are kept, else None.

    Returns
    -------
    list of dict
        A row for each run, with status, reason, duration and metrics. Metrics are left out where the run did not come
        to its end, or nothing of it may be used.

    Raises
    ------
    InputError
        Where the feeder or the day cannot be made.
    """
    scenario, rows = payload["scenario"], payload["rows"]
    found: list[Row] = []
    for row, run, day in zip(rows, scenario.runs, _days(scenario, payload["where"]), strict=True):
        began_s = perf_counter()
        result = day if isinstance(day, dict) else _run(day, run, payload["engine"], payload["keep"])
        found.append({**row, "run_s": perf_counter() - began_s, **result})
    return found


def _days(scenario: Scenario, where: Path) -> Iterator[Day | dict[str, str]]:
    """The same day for every run; where one controller cannot be made on it, that is its result and no other's."""
    feeder = feeder_of(scenario)
    try:
        day = compose(scenario, where, feeder=feeder)
    except InputError as error:
        if len(scenario.runs) == 1:
            yield {"status": "failed", "reason": reason(error)}
            return
    else:
        yield from [day] * len(scenario.runs)
        return
    for run in scenario.runs:
        yield from _days(scenario.model_copy(update={"runs": (run,)}), where)


def _run(day: Day, run: Run, engine: str, keep: tuple[Path, str] | None) -> dict[str, Any]:
    try:
        found = day.run_spec(run, engine=engine)
        trajectory = found.trajectory
        _keep(trajectory, run, keep)
        if trajectory.invalid:
            return {"status": "failed", "reason": f"invalid: {trajectory.invalid}"}
        return {**status_of(trajectory), **found.metrics}
    except RunStoppedError as error:
        _keep(_left_of(error), run, keep)
        is_collapse = isinstance(error.__cause__, PowerFlowError)
        return {"status": "collapsed" if is_collapse else "failed", "reason": str(error)}


def _left_of(error: RunStoppedError) -> Trajectory | None:
    """Steps of a run up to where it stopped; None where there were none. What is no result of the run is raised."""
    if error.exit_code == INTERRUPTED:
        raise KeyboardInterrupt from None
    if isinstance(error.__cause__, MemoryError):
        raise error.__cause__ from None
    return error.trajectory if isinstance(error.trajectory, Trajectory) and error.trajectory.steps else None


def _keep(trajectory: Trajectory | None, run: Run, keep: tuple[Path, str] | None) -> None:
    if trajectory is not None and keep is not None:
        folder, name = keep
        with joined(folder):
            write_trajectory(trajectory, folder / TRAJECTORIES / name / run.name)


def status_of(run: Trajectory) -> dict[str, str]:
    """``status`` and ``reason`` of a run that came to its end; empty where all is well."""
    if run.collapses:
        first = run.collapses[0]
        return {"status": "collapsed", "reason": f"{len(run.collapses)} steps, first step {first.step}: {first}"}
    struck = [decision.fallback or decision.status for _, decision in run.decisions if not decision.reproducible]
    if struck:
        reason = f"a wall-clock limit struck in {len(struck)} of {len(run.decisions)} decisions: {struck[0]}"
        return {"status": "limited", "reason": reason}
    return {}


def feeder_of(scenario: Scenario) -> Feeder:
    """The feeder of a scenario, read once in a process."""
    tables = (scenario.grid, scenario.thermal, scenario.households.load_model, scenario.pv.from_file)
    key = f"{scenario.feeder} {tables}"
    if key not in _feeders:
        if len(_feeders) == _FEEDERS:
            del _feeders[next(iter(_feeders))]
        _feeders[key] = read_feeder(scenario)
    return _feeders[key]


def check_feeder(scenario: Scenario, where: Path, engine: str) -> Day:
    """Make a world without running it: refuses what its feeder or a controller on it lacks."""
    feeder = feeder_of(scenario)
    if engine == "reduced":
        refuse_what_is_not_linear(feeder, regulating=False)
    return compose(scenario, where, feeder=feeder)
