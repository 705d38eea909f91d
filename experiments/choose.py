"""What the command line changes in a scenario: which runs, and single options of them."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cosim import controllers, plugins
from cosim.errors import Fault, InputError
from cosim.experiments.labels import labels_problem
from cosim.experiments.scenario import Run, Scenario


def only(scenario: Scenario, wanted: str, path: Path) -> Scenario:
    """Keep the runs of those labels or controllers; one that the scenario does not name joins without options.

    Targets of files are seen from the working directory. Where two have one name, the second is numbered.

    Parameters
    ----------
    scenario : Scenario
        As read.
    wanted : str
        Comma-separated.
    path : Path
        The scenario's file, for messages.

    Raises
    ------
    InputError
        With every name that is neither a run nor a controller, or where there is none.
    """
    runs: list[Run] = []
    faults: list[Fault] = []
    for part in [part.strip() for part in wanted.split(",") if part.strip()]:
        name = plugins.resolved(part, Path.cwd())
        found = [run for run in scenario.runs if run.name == name] or [r for r in scenario.runs if r.controller == name]
        if not found and not plugins.is_target(name) and name not in controllers.names():
            known = ", ".join(dict.fromkeys([*[run.name for run in scenario.runs], *controllers.names()]))
            remedy = f"name its class: {name}:MyController" if name.endswith(".py") else f"use some of {known}"
            faults.append(Fault(str(path), "--controllers", f"no run or controller '{name}'", remedy))
        runs.extend(found or [_joining(name, runs)])
    if not runs and not faults:
        faults.append(Fault(str(path), "--controllers", "names nothing", "give at least one controller"))
    once = {run.name: run for run in runs}
    if unfit := labels_problem(list(once)):
        faults.append(Fault(str(path), "--controllers", unfit, "rename the class, or give it a label in a scenario"))
    if faults:
        raise InputError(faults)
    return scenario.model_copy(update={"runs": tuple(once.values())})


def _joining(controller: str, others: Sequence[Run]) -> Run:
    run = Run(controller=controller)
    taken = {other.name: other.controller for other in others}
    number = 1
    while taken.get(run.name, controller) != controller:
        number += 1
        run = Run(controller=controller, label=f"{plugins.safe_label(controller)}_{number}")
    return run


def with_options(scenario: Scenario, given: Sequence[str], path: Path) -> Scenario:
    """Set options of single runs, as in ``pareto.weights=[0.4, 0.6]``.

    Parameters
    ----------
    scenario : Scenario
        As read; options in its file that are not named stay.
    given : sequence of str
        ``RUN.OPTION=VALUE``, values as in TOML; what is no TOML is a text.
    path : Path
        The scenario's file, for messages.

    Raises
    ------
    InputError
        With every entry that is of another form, or names no run.
    """
    changes: dict[str, dict[str, Any]] = {}
    faults = []
    labels = [run.name for run in scenario.runs]
    for entry in given:
        place, equals, value = entry.partition("=")
        label, dot, option = place.strip().rpartition(".")
        if not equals or not dot or not option:
            faults.append(Fault(str(path), "--option", f"'{entry}' is no RUN.OPTION=VALUE", "e.g. pareto.rule=knee"))
        elif label not in labels:
            faults.append(Fault(str(path), "--option", f"there is no run '{label}'", f"use one of {', '.join(labels)}"))
        else:
            changes.setdefault(label, {})[option] = _value(value.strip())
    if faults:
        raise InputError(faults)
    runs = [run.model_copy(update={"options": run.options | changes.get(run.name, {})}) for run in scenario.runs]
    return scenario.model_copy(update={"runs": tuple(runs)})


def options_of(given: Sequence[str]) -> dict[str, Any]:
    """Read options of one controller from ``OPTION=VALUE``; InputError with every entry of another form."""
    parted = {entry: entry.partition("=") for entry in given}
    faults = [
        Fault("check-controller", "--option", f"'{entry}' is no OPTION=VALUE", "e.g. margin_percent=5.0")
        for entry, (_, equals, _) in parted.items()
        if not equals
    ]
    if faults:
        raise InputError(faults)
    return {option.strip(): _value(value.strip()) for option, _, value in parted.values()}


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
