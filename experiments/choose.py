"""What the command line changes in a scenario: which runs, and single options of them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cosim import controllers, plugins
from cosim.errors import Fault, InputError, meant, refuse
from cosim.experiments.labels import labels_fault
from cosim.experiments.scenario import Run, Scenario


def only(scenario: Scenario, wanted: str, option: str = "--controllers") -> Scenario:
    """Keep the runs of those labels or controllers; one that the scenario does not name joins without options.

    Targets of files are seen from the working directory. Where two have one name, the second is numbered.

    Parameters
    ----------
    scenario : Scenario
        As read.
    wanted : str
        Comma-separated.
    option : str
        Of the command line, which is where a name that nothing has is to be mended.

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
            known = list(dict.fromkeys([*[run.name for run in scenario.runs], *controllers.names()]))
            remedy = meant(name, known, f"use some of {', '.join(known)}")
            remedy = f"name its class: {name}:MyController" if name.endswith(".py") else remedy
            faults.append(Fault("cosim", option, f"no run or controller '{name}'", remedy))
        elif not found:
            try:
                controllers.find(name) if plugins.is_target(name) else controllers.refuse_unknown(name)
            except InputError as error:  # where it is no file that is to be mended, the command line is
                faults += [
                    fault if Path(fault.where.split(",")[0]).is_file() else replace(fault, where="cosim", key=option)
                    for fault in error.faults
                ]
        runs.extend(found or [_joining(name, runs)])
    if not runs and not faults:
        faults.append(Fault("cosim", option, "names nothing", f"give at least one, such as {option} none"))
    once = {run.name: run for run in runs}
    if unfit := labels_fault(list(once)):
        faults.append(replace(unfit, where="cosim", key=option))
    refuse(faults)
    return scenario.model_copy(update={"runs": tuple(once.values())})


def _joining(controller: str, others: Sequence[Run]) -> Run:
    run = Run(controller=controller)
    taken = {other.name: other.controller for other in others}
    number = 1
    while taken.get(run.name, controller) != controller:
        number += 1
        run = Run(controller=controller, label=f"{plugins.safe_label(controller)}_{number}")
    return run


def with_options(scenario: Scenario, given: Sequence[str]) -> Scenario:
    """Set options of single runs, as in ``pareto.weights=[0.4, 0.6]``.

    Parameters
    ----------
    scenario : Scenario
        As read; options in its file that are not named stay.
    given : sequence of str
        ``RUN.OPTION=VALUE``, values as in TOML; what is no TOML is a text.

    Raises
    ------
    InputError
        With every entry that is of another form, or names no run, or no option of its controller.
    """
    changes: dict[str, dict[str, Any]] = {}
    faults = []
    runs = {run.name: run for run in scenario.runs}
    for entry in given:
        place, equals, value = entry.partition("=")
        label, dot, option = place.strip().rpartition(".")
        if not equals or not dot or not option:
            faults.append(Fault("cosim", "--option", f"'{entry}' is no RUN.OPTION=VALUE", "e.g. pareto.rule=knee"))
        elif label not in runs:
            faults.append(Fault("cosim", "--option", f"there is no run '{label}'", f"use one of {', '.join(runs)}"))
        else:
            changes.setdefault(label, {})[option] = _value(value.strip())
    for label, options in changes.items():
        faults += _option_faults(runs[label].controller, options, f"{label}.")
    refuse(faults)
    changed = [run.model_copy(update={"options": run.options | changes.get(run.name, {})}) for run in scenario.runs]
    return scenario.model_copy(update={"runs": tuple(changed)})


def _option_faults(controller: str, options: Mapping[str, Any], run: str = "") -> list[Fault]:
    """Faults of what the command line gives; a shipped controller is not imported for them."""
    shipped = controller in controllers.REGISTRY
    found = (
        controllers.declared_faults(controller, options) if shipped else controllers.option_faults(controller, options)
    )
    wrong = [fault for fault in found if fault.key in options]
    return [Fault("cosim", f"--option {run}{fault.key}", fault.problem, fault.remedy) for fault in wrong]


def options_of(controller: str, given: Sequence[str]) -> dict[str, Any]:
    """Read options of a controller from ``OPTION=VALUE``; InputError with every entry that is none of its."""
    parted = {entry: entry.partition("=") for entry in given}
    faults = [
        Fault("cosim", "--option", f"'{entry}' is no OPTION=VALUE", "e.g. margin_percent=5.0")
        for entry, (_, equals, _) in parted.items()
        if not equals
    ]
    options = {option.strip(): _value(value.strip()) for option, _, value in parted.values()}
    refuse(faults or _option_faults(controller, options))
    return options


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def accepting(scenario: Scenario, names: Sequence[str]) -> Scenario:
    """Accept elements of the circuit that a run cannot honour, beside those that the scenario accepts."""
    if not names:
        return scenario
    accept = tuple(dict.fromkeys([*scenario.grid.accept, *names]))
    return scenario.model_copy(update={"grid": scenario.grid.model_copy(update={"accept": accept})})
