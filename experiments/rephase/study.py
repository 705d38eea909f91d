"""The day before, the moves, the day after."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from cosim import Trajectory
from cosim.errors import Fault, InputError
from cosim.experiments.compose import compose
from cosim.experiments.day import Day
from cosim.experiments.files import package_versions, write_json
from cosim.experiments.rephase.draw import draw
from cosim.experiments.rephase.moves import Move, Rephasing, with_connections
from cosim.experiments.rephase.search import Choice, Quadratic, best_moves
from cosim.experiments.rephase.tables import metric_table, phase_loads, report
from cosim.experiments.scenario import Run, Scenario
from cosim.experiments.tables import write_table
from cosim.experiments.unbalance_tables import analyse, describe, write_unbalance
from cosim.measures import json_safe, scoreboard, unbalance_current_a2

PACKAGES = ("lv-feeder-cosim", "opendssdirect.py", "numpy", "pandas", "scipy")


@dataclass(frozen=True, eq=False)
class Told:
    """Everything that the study found.

    Attributes
    ----------
    before, after : Trajectory
        The day, both by OpenDSS.
    moves : tuple of Move
        What lies between them.
    choice : Choice
        How they were found.
    """

    before: Trajectory
    after: Trajectory
    moves: tuple[Move, ...]
    choice: Choice


def rephase(scenario: Scenario, where: Path, folder: Path, *, moves: int, controller: str = "none") -> list[str]:
    """Find the best moves of a day, run it again with them, and write everything that shows what they do.

    Parameters
    ----------
    scenario : Scenario
        The day.
    where : Path
        Its file, for messages.
    folder : Path
        Receives ``rephase.json``, ``metrics.json``, ``moves.csv``, ``phase_loads.csv``, tables of unbalance before and
        after, ``rephase.png`` and ``report.md``.
    moves : int
        Most customers to move.
    controller : str
        Run of the scenario, or controller, under which the day is run.

    Returns
    -------
    list of str
        What to say on the screen.

    Raises
    ------
    InputError
        Where the scenario is wrong, the controller unknown, or nobody can be moved.
    """
    composition = compose(scenario, where)
    item = _run_of(composition, controller, where)
    before = composition.run_spec(item).trajectory
    day = Rephasing(before)
    choice = best_moves(Quadratic(*day.linear()), day.customer, moves, day.value_a2, scenario.stream("rephase"))
    chosen = tuple(day.moves[row] for row in choice.moves)
    moved = replace(composition, feeder=with_connections(composition.feeder, [move.connection for move in chosen]))
    after = moved.run_spec(item).trajectory
    told = Told(before, after, chosen, choice)
    return _write(told, folder, scenario, item)


def _run_of(composition: Day, name: str, where: Path) -> Run:
    from cosim import controllers, plugins

    name = plugins.resolved(name, Path.cwd())
    known = [run for run in composition.scenario.runs if name in (run.name, run.controller)]
    if not known and not plugins.is_target(name) and name not in controllers.names():
        raise InputError(
            Fault(str(where), "--controller", f"no run or controller '{name}'", f"use one of {controllers.names()}")
        )
    return known[0] if known else Run(controller=name)


def _write(told: Told, folder: Path, scenario: Scenario, item: Run) -> list[str]:
    choice, days = told.choice, {"before": told.before, "after": told.after}
    metrics = {label: scoreboard(run) for label, run in days.items()}
    for label, run in days.items():
        metrics[label]["unbalance_current_mean_a2"] = float(
            unbalance_current_a2(run.monitored_current_a).sum(axis=1).mean()
        )
    found = {label: analyse(run) for label, run in days.items()}
    for label, tables in found.items():
        write_unbalance(tables, folder / label)
    loads = phase_loads(days)
    write_table(loads, folder / "phase_loads.csv")
    listed = pd.DataFrame(
        [(m.customer, m.connection.bus, m.from_phase, m.to_phase) for m in told.moves],
        columns=["customer", "bus", "from_phase", "to_phase"],
    )
    write_table(listed, folder / "moves.csv")
    write_json(folder / "metrics.json", {"cases": {label: json_safe(values) for label, values in metrics.items()}})
    write_json(folder / "rephase.json", {
        "scenario": scenario.name, "seed": scenario.seed, "controller": item.name,
        "moves": listed.to_dict(orient="records"), "verified": choice.verified,
        "unbalance_current_before_a2": choice.before_a2, "unbalance_current_after_a2": choice.value_a2,
        "combinations_compared": choice.compared, "combinations_checked_by_power_flow": choice.checked,
        "largest_overstatement_a2": choice.largest_overstatement_a2, "versions": package_versions(PACKAGES),
    })  # fmt: skip
    draw(told.before, told.after, folder / "rephase.png")
    lines = _lines(told, metrics)
    worst = {label: describe(tables) for label, tables in found.items()}
    text = report(scenario, item, lines, listed, loads, metric_table(metrics), worst)
    (folder / "report.md").write_text(text, encoding="utf-8")
    return lines


def _lines(told: Told, metrics: dict[str, dict[str, float]]) -> list[str]:
    choice = told.choice
    if not told.moves:
        return [f"No move lowers the day's unbalance current of {choice.before_a2:.1f} A²."]
    before, after = (metrics[label] for label in ("before", "after"))
    sure = (
        "best of all combinations, verified by power flow"
        if choice.verified
        else "found greedily with exchanges, no proof that there is none better"
    )
    return [
        *(str(move) for move in told.moves),
        f"Unbalance current, mean of the day: {before['unbalance_current_mean_a2']:.1f} -> "
        f"{after['unbalance_current_mean_a2']:.1f} A² ({sure}; {choice.compared} combinations compared, "
        f"{choice.checked} of them by power flow)",
        f"Neutral current, 95 %: {before['neutral_current_p95_a']:.1f} -> {after['neutral_current_p95_a']:.1f} A; "
        f"VUF, 95 %: {before['vuf_p95_percent']:.2f} -> {after['vuf_p95_percent']:.2f} %; "
        f"worst phase of the transformer: {before['transformer_peak_percent']:.0f} -> "
        f"{after['transformer_peak_percent']:.0f} %",
    ]
