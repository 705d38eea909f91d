"""What a result rests on: versions, seed, hashes of inputs, and assumptions in words."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cosim import Trajectory
from cosim.errors import RunStoppedError
from experiments.compose import Composition
from experiments.files import package_versions

_PACKAGES = (
    "lv-feeder-cosim", "opendssdirect.py", "dss-python", "dss-python-backend", "highspy", "pyomo", "pymoo", "numpy",
    "scipy", "pandas", "pyarrow", "pvlib",
)  # fmt: skip


def assumptions(composition: Composition, engine: str) -> list[str]:
    """State in words what the results rest on."""
    scenario, forecast = composition.scenario, composition.forecast.kind
    told = {
        "oracle": "perfect foresight of the day (oracle): an upper bound for every controller that plans",
        "persistence": "yesterday's demand, sun and sessions (persistence)",
        "noisy": "the truth with seeded errors (noisy)",
    }[forecast]
    homes = scenario.households
    response = {
        "cheapest": "in the cheapest hours before departure, the earliest first among equals",
        "immediate": "as soon and as fast as possible",
    }[homes.response]
    return [
        f"Power flow: {engine}"
        + (", tolerance 1e-8, convergence checked at every step" if engine == "opendss" else ""),
        "Every home is metered: controllers see each customer's mean power and voltage of the last completed step, "
        "the available sun, and what each car's driver announced (departure, energy wanted).",
        f"Controllers and households were told before the day began: {told}.",
        f"Households charge {response}; {100 * homes.stubborn_share:.0f} % of homes ignore import caps.",
        "Setpoints act one step after the measurements they answer; an import cap binds the net import of a step.",
        "Customers are constant-power loads; chargers pause below 6 A per phase; cars do not discharge.",
        *[f"Warning: {warning}" for warning in composition.warnings],
    ]


def make_manifest(
    runs: Mapping[str, Trajectory],
    stopped: RunStoppedError | None,
    crosscheck: Mapping[str, Mapping[str, float]],
    composition: Composition,
    where: Path,
    engine: str,
) -> dict[str, Any]:
    """Versions, seed, hashes of all inputs, and whether the results can be reproduced."""
    return {
        "scenario": composition.scenario.model_dump(mode="json"),
        "seed": composition.scenario.seed,
        "engine": engine,
        "command": " ".join(["cosim", *sys.argv[1:]]),
        "complete": stopped is None,
        "stopped": None if stopped is None else str(stopped),
        "reproducible": all(trajectory.reproducible for trajectory in runs.values()) and stopped is None,
        "runs": {
            label: {"complete": trajectory.complete, "steps": trajectory.steps, "engine": trajectory.engine}
            for label, trajectory in runs.items()
        },
        "engine_crosscheck": dict(crosscheck),
        "warnings": list(composition.warnings),
        "versions": {"python": platform.python_version(), **package_versions(_PACKAGES)},
        "platform": platform.platform(),
        "inputs_sha256": input_hashes(composition, where),
    }


def input_hashes(composition: Composition, where: Path) -> Mapping[str, str]:
    """SHA-256 of the scenario, of the feeder's files and of the profiles, by name relative to their folder."""
    files = {f"scenario/{where.name}": where}
    feeder = composition.feeder.master.parent
    for path in sorted(feeder.iterdir()):
        if path.suffix.lower() in {".dss", ".csv", ".txt", ".toml"}:
            files[f"feeder/{path.name}"] = path
    for path in sorted((Path(sys.modules["feeders"].__file__ or "").parent / "data").glob("*.parquet")):
        files[f"data/{path.name}"] = path
    for own in (composition.scenario.households.profiles, composition.scenario.ev.sessions or ""):
        if Path(own).is_file():
            files[f"own/{Path(own).name}"] = Path(own)
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
