"""What a result rests on: versions, seed, hashes of inputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosim import Trajectory, controllers, feeders, plugins
from cosim.controllers import registry
from cosim.dss_files import hashes_of
from cosim.errors import RunStoppedError
from cosim.experiments.files import origin, sha256_of
from cosim.experiments.scenario import Scenario
from cosim.feeders.households import DATA
from cosim.measures import own as own_measures

if TYPE_CHECKING:
    from cosim.experiments.day import Day

_PACKAGES = (
    "lv-feeder-cosim", "opendssdirect.py", "dss-python", "dss-python-backend", "highspy", "pyomo", "pymoo", "numpy",
    "scipy", "pandas", "pyarrow", "pvlib",
)  # fmt: skip


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
        "metrics": {name: plugins.origin(own_measures.GROUP, name) for name in own_measures.find_own(scenario.metrics)},
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
        "noncompliant_share": composition.scenario.noncompliant_share_of(run),
        "stubborn_homes": int(composition.behaviour_of(run).noncompliant.sum()),
    }


def input_hashes(composition: Day) -> Mapping[str, str]:
    """SHA-256 of the scenario, of every file that OpenDSS opens, and of profiles and sessions, by what they are for."""
    scenario, master = composition.scenario, composition.feeder.master
    hashes = {f"feeder/{name}": digest for name, digest in hashes_of(master).items()}
    profiles, sessions = scenario.households.profiles, scenario.ev.sessions
    drawn = "ev_sessions" if sessions is None else ""
    files = {
        f"scenario/{composition.path.name}": composition.path,
        "feeder/feeder.toml": master.with_name("feeder.toml"),
        **{f"data/{name}.parquet": DATA / f"{name}.parquet" for name in (profiles, drawn)},
        f"profiles/{Path(profiles).name}": Path(profiles),
        f"sessions/{Path(sessions or '').name}": Path(sessions or ""),
    }
    return hashes | {name: sha256_of(path) for name, path in files.items() if path.is_file()}
