"""What a result rests on: versions, seed, hashes of inputs, and assumptions in words."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cosim import Trajectory, controllers, feeders, plugins
from cosim.controllers import registry
from cosim.errors import RunStoppedError
from cosim.experiments.files import origin, sha256_of
from cosim.experiments.scenario import ForecastTable, Run, Scenario
from cosim.measures import own as own_measures

if TYPE_CHECKING:
    from cosim.experiments.day import Day

_PACKAGES = (
    "lv-feeder-cosim", "opendssdirect.py", "dss-python", "dss-python-backend", "highspy", "pyomo", "pymoo", "numpy",
    "scipy", "pandas", "pyarrow", "pvlib",
)  # fmt: skip
Key = TypeVar("Key", bound=Hashable)


def assumptions(composition: Day, engine: str) -> list[str]:
    """State in words what the results rest on."""
    homes = composition.scenario.households
    response = {
        "cheapest": "in the cheapest hours before departure, the earliest first among equals",
        "immediate": "as soon and as fast as possible",
    }[homes.response]
    return [
        f"Power flow: {engine}"
        + (", tolerance 1e-8, convergence checked at every step" if engine == "opendss" else ""),
        "Every home is metered: controllers see each customer's mean power and voltage of the last completed step, "
        "the available sun, and what each car's driver announced (departure, energy wanted).",
        *_told_beforehand(composition.scenario),
        f"Households charge {response}{_who_ignores_caps(composition)}.",
        "Setpoints act one step after the measurements they answer; an import cap binds the net import of a step.",
        "Customers are constant-power loads; chargers pause below 6 A per phase; cars do not discharge.",
        *[f"Warning: {warning}" for warning in composition.warnings],
    ]


def _told_beforehand(scenario: Scenario) -> list[str]:
    """Say what was told, of all runs at once where it was the same."""
    groups = _grouped(scenario, scenario.forecast_of)
    told = "Controllers and households were told before the day began"
    if len(groups) == 1:
        return [f"{told}: {_in_words(next(iter(groups)))}."]
    return [f"{told} in {_names(runs)}: {_in_words(table)}." for table, runs in groups.items()]


def _in_words(table: ForecastTable) -> str:
    errors = (
        f"of {table.demand_error_percent:g} % (demand), {table.pv_error_percent:g} % (sun), "
        f"{table.arrival_error_min:g} min (arrivals, departures) and {table.energy_error_percent:g} % (needs)"
    )
    return {
        "oracle": "perfect foresight of the day (oracle): an upper bound for every controller that plans",
        "persistence": "yesterday's demand, sun and sessions (persistence)",
        "noisy": f"the truth with seeded errors {errors} (noisy)",
    }[table.kind]


def _who_ignores_caps(composition: Day) -> str:
    scenario = composition.scenario
    groups = _grouped(scenario, scenario.stubborn_share_of)
    if len(groups) == 1:
        return f"; {100 * next(iter(groups)):.0f} % of homes ignore import caps"
    of_runs = [
        f"{int(composition.behaviour_of(runs[0]).stubborn.sum())} of {len(composition.feeder.customers)} homes "
        f"({100 * share:.0f} %) in {_names(runs)}"
        for share, runs in groups.items()
    ]
    nested = "those of a smaller share are among those of a larger one"
    return f"; homes that ignore import caps ({nested}): {'; '.join(of_runs)}"


def _grouped(scenario: Scenario, key: Callable[[Run], Key]) -> dict[Key, list[Run]]:
    """Runs by what they have in common, in order."""
    groups: dict[Key, list[Run]] = {}
    for run in scenario.runs:
        groups.setdefault(key(run), []).append(run)
    return groups


def _names(runs: Sequence[Run]) -> str:
    return ", ".join(run.name for run in runs)


def make_manifest(
    composition: Day,
    runs: Mapping[str, Trajectory],
    engine: str,
    stopped: RunStoppedError | None,
    crosscheck: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """Versions, seed, hashes of all inputs, and whether the results can be reproduced."""
    complete = stopped is None and all(trajectory.complete for trajectory in runs.values())
    return {
        "scenario": composition.scenario.model_dump(mode="json"),
        "seed": composition.scenario.seed,
        "engine": engine,
        "complete": complete,
        "stopped": None if stopped is None else str(stopped),
        "reproducible": all(trajectory.reproducible for trajectory in runs.values()) and complete,
        "runs": {label: _of_run(label, trajectory, composition) for label, trajectory in runs.items()},
        "engine_crosscheck": dict(crosscheck),
        "warnings": list(composition.warnings),
        "plugins": _plugins(composition.scenario),
        **origin(_PACKAGES),
        "inputs_sha256": input_hashes(composition),
    }


def _plugins(scenario: Scenario) -> dict[str, dict[str, Any]]:
    """Say where everything comes from that is not shipped."""
    outside = [run for run in scenario.runs if run.controller not in controllers.REGISTRY]
    places = [scenario.feeder] if feeders.is_installed(scenario.feeder) else []
    return {
        "controllers": {run.name: plugins.origin(registry.GROUP, run.controller) for run in outside},
        "feeders": {name: plugins.origin(feeders.GROUP, name) for name in places},
        "metrics": {
            name: plugins.origin(own_measures.GROUP, name) for name in own_measures.own_names(scenario.metrics)
        },
    }


def _of_run(label: str, trajectory: Trajectory, composition: Day) -> dict[str, Any]:
    """How one run was obtained, and what was its own: the world it met, and what was told of it."""
    run = next(run for run in composition.scenario.runs if run.name == label)
    return {
        "complete": trajectory.complete,
        "steps": trajectory.steps,
        "engine": trajectory.engine,
        "controller": run.controller,
        "options": run.options,
        "forecast": composition.scenario.forecast_of(run).model_dump(),
        "stubborn_share": composition.scenario.stubborn_share_of(run),
        "stubborn_homes": int(composition.behaviour_of(run).stubborn.sum()),
    }


def input_hashes(composition: Day) -> Mapping[str, str]:
    """SHA-256 of the scenario, of the feeder's files and of the profiles, by name relative to their folder."""
    files = {f"scenario/{composition.path.name}": composition.path}
    feeder = composition.feeder.master.parent
    for path in sorted(feeder.iterdir()):
        if path.suffix.lower() in {".dss", ".csv", ".txt", ".toml"}:
            files[f"feeder/{path.name}"] = path
    for path in sorted((Path(sys.modules["cosim.feeders"].__file__ or "").parent / "data").glob("*.parquet")):
        files[f"data/{path.name}"] = path
    for own in (composition.scenario.households.profiles, composition.scenario.ev.sessions or ""):
        if Path(own).is_file():
            files[f"own/{Path(own).name}"] = Path(own)
    return {name: sha256_of(path) for name, path in files.items()}
