"""What a result rests on: versions, seed, hashes of inputs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cosim import Trajectory, controllers, feeders, plugins
from cosim.controllers import registry
from cosim.errors import RunStoppedError
from cosim.experiments.files import origin
from cosim.experiments.keep import LEFT_OUT_OF_PARTS
from cosim.experiments.scenario import Scenario
from cosim.measures import own as own_measures

if TYPE_CHECKING:
    from cosim.experiments.day import Day
    from cosim.experiments.on_disk import TrajectoryOnDisk

_PACKAGES = (
    "lv-feeder-cosim", "opendssdirect.py", "dss-python", "dss-python-backend", "highspy", "pyomo", "pymoo", "numpy",
    "scipy", "pandas", "pyarrow", "pvlib",
)  # fmt: skip


_ELSEWHERE = {
    False: {"relative": 1e-6, "of": "every measure but balance_error_percent, which is rounding itself"},
    True: {"relative": 0.05, "of": "energies, cost, losses and percentiles: of plans that are equally good within the "
           "gap another may be taken, and then extremes of single moments differ by more"},
}  # fmt: skip
"""How far figures may be apart under other versions, processors or BLAS kernels, by whether a controller searched.

Measured with three kernels of OpenBLAS on the default day: 5e-10 where nothing is searched (losses); 0.022 in losses
and 0.040 in percentiles of unbalance under ``pareto``, 0.005 under ``bilevel_caps``.
"""


def make_manifest(
    composition: Day,
    runs: Mapping[str, Trajectory | TrajectoryOnDisk],
    engine: str,
    inputs_sha256: Mapping[str, str],
    stopped: RunStoppedError | None,
    crosscheck: Mapping[str, Mapping[str, float]],
    failures: Mapping[str, RunStoppedError] = MappingProxyType({}),
    one_minute: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
) -> dict[str, Any]:
    """Versions, seed, hashes of all inputs, why runs failed, and whether the results can be reproduced.

    ``reproducible`` promises the same bytes of trajectories and metrics on the same build: ``versions``, ``platform``,
    ``cpu`` and ``blas``. On any other, each run's ``elsewhere`` says how far figures may be apart. ``one_minute`` says
    what the steps of each run hide (`cosim.measures.minute_extremes`), where profiles and feeder allow to say that.
    ``left_out`` names what a run of this length does not write, and why.
    """
    labels = [run.name for run in composition.scenario.runs]
    complete = stopped is None and all(label in runs and runs[label].complete for label in labels)
    ended = [label for label in labels if label in runs or label in failures]
    return {
        "scenario": composition.scenario.model_dump(mode="json"),
        "seed": composition.scenario.seed,
        "engine": engine,
        "voltage_standard": composition.feeder.standard.name,
        "complete": complete,
        "stopped": None if stopped is None else str(stopped),
        "reproducible": all(trajectory.reproducible for trajectory in runs.values()) and complete,
        "runs": {label: _of_run(label, runs.get(label), failures.get(label), composition) for label in ended},
        "engine_crosscheck": dict(crosscheck),
        "one_minute": dict(one_minute),
        "left_out": LEFT_OUT_OF_PARTS if composition.scenario.parts > 1 else {},
        "warnings": list(composition.warnings),
        "plugins": _plugins(composition.scenario),
        **origin(_PACKAGES),
        "inputs_sha256": dict(inputs_sha256),
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


def _of_run(
    label: str, trajectory: Trajectory | TrajectoryOnDisk | None, failed: RunStoppedError | None, composition: Day
) -> dict[str, Any]:
    """How one run was obtained, and what was its own: the world it met, and what was told of it."""
    run = next(run for run in composition.scenario.runs if run.name == label)
    searched = trajectory is not None and any(decision.status != "rule" for _, decision in trajectory.decisions)
    return {
        "complete": trajectory is not None and trajectory.complete,
        "stopped": None if failed is None else str(failed),
        "invalid": None if trajectory is None else trajectory.invalid or None,
        "steps": 0 if trajectory is None else trajectory.steps,
        "engine": None if trajectory is None else trajectory.engine,
        "collapses": [] if trajectory is None else [f"step {one.step}: {one}" for one in trajectory.collapses],
        "elsewhere": _ELSEWHERE[searched],
        "controller": run.controller,
        "options": run.options,
        "forecast": composition.scenario.forecast_of(run).model_dump(),
        "noncompliant_share": composition.scenario.noncompliant_share_of(run),
        "stubborn_homes": int(composition.behaviour_of(run).noncompliant.sum()),
    }
