"""The optimum of a day: found, run on OpenDSS through the devices, and laid beside what is proven."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from cosim import Trajectory, __version__
from cosim.contract import Forecast
from cosim.controllers.caps.network.box import VOLT_PU
from cosim.controllers.optimum.controller import Optimum
from cosim.controllers.optimum.day import Day, faults
from cosim.controllers.optimum.objective import OBJECTIVES, Name
from cosim.controllers.optimum.solve import Answer, Budgets, find, gap
from cosim.errors import Fault, refuse
from cosim.experiments.day import Day as ScenarioDay
from cosim.experiments.day import Run
from cosim.experiments.files import json_ready, write_json
from cosim.experiments.keep import RunResult
from cosim.experiments.results import Results, save_run
from cosim.experiments.tables import write_csv
from cosim.measures import unbalance_current_a2

_SMALL_KVAR = 1e-6
SHOWN_KWH = 1e-3
SAME = 2e-3
"""Relative difference of what a run measures from what was planned that is still the plan."""


def measured(name: Name, trajectory: Trajectory, metrics: dict[str, float]) -> float:
    """Value of an objective in a run, from its own voltages."""
    if name == "unbalance":
        return float(unbalance_current_a2(trajectory.monitored_current_a).sum(axis=1).mean())
    keys = {
        "curtailment": "pv_curtailed_kwh", "cost": "cost_eur", "losses": "losses_kwh",
        "peak": "transformer_peak_percent",
    }  # fmt: skip
    return metrics[keys[name]]


def breach_h(trajectory: Trajectory) -> float:
    """Hours times how far the worst limit of each step is exceeded: 0.05 pu, or once the rated current, are 1 [h]."""
    feeder = trajectory.feeder
    customer, _, _ = feeder.terminals
    nominal_v = feeder.customer_nominal_v[customer]
    low, high = feeder.standard.limits_pu(nominal_v)
    pu = trajectory.terminal_v / nominal_v
    beyond = np.maximum(np.fmax(pu - high, low - pu).max(axis=1) / VOLT_PU, 0.0)
    rated = np.array([line.rating_a for line in trajectory.rated_lines])
    if len(rated):
        loading = np.abs(trajectory.line_current_a) / rated[None, :, None]
        beyond = np.maximum(beyond, loading.max(axis=(1, 2)) - 1.0)
    if trajectory.limit_percent.shape[1]:
        beyond = np.maximum(beyond, trajectory.limit_percent.max(axis=1) / 100.0 - 1.0)
    return float(beyond.sum() * trajectory.step_h)


def score(name: Name, trajectory: Trajectory, metrics: dict[str, float]) -> float:
    """What a run is judged by: the objective, and prices for limits and needs that it does not keep."""
    value = measured(name, trajectory, metrics)
    return OBJECTIVES[name].score(value, metrics["ev_unserved_kwh"], breach_h(trajectory))


@dataclass(frozen=True, eq=False)
class Optimal:
    """An optimum that was run.

    Attributes
    ----------
    run : Run
        On OpenDSS, through the devices.
    answer : Answer
        The plan, and what is proven.
    """

    run: Run
    answer: Answer

    def save(self, folder: Path, *, overwrite: bool = False) -> None:
        """Write the run as ``cosim run`` does, without figures, and ``optimum.json``."""
        save_run(self.run, folder, figures=False, overwrite=overwrite)
        write_json(folder / "optimum.json", json_ready(self.facts()))

    def facts(self) -> dict[str, Any]:
        """What ``optimum.json`` holds."""
        name, metrics = self.answer.objective.name, self.run.metrics
        value = measured(name, self.run.trajectory, metrics)
        total = score(name, self.run.trajectory, metrics)
        broken = {
            key: metrics[key] for key in (
                "overvoltage_min", "undervoltage_min", "transformer_overload_min", "line_overload_min",
            ) if not np.isnan(metrics[key])  # what has no transformer, or no rated line
        }  # fmt: skip
        is_verified = not any(broken.values()) and abs(total - self.answer.best.score) <= SAME * abs(total) + SAME
        bound = self.answer.bound
        return {
            **self.answer.facts(),
            "value": value,
            "score": total,
            "gap": None if bound is None else gap(total, bound.value),
            "verified": is_verified,
            "broken": broken,
            "ev_unserved_kwh": metrics["ev_unserved_kwh"],
            "limits_exceeded_h": breach_h(self.run.trajectory),
            "engine": self.run.trajectory.engine,
        }


def optimum(day: ScenarioDay, name: Name, **options: Any) -> Optimal:
    """Find the optimum of a day and run it.

    Parameters
    ----------
    day : cosim.Day
        A scenario's.
    name : str
        Objective.
    **options
        Of the controller ``optimum``.
    """
    # whatever the scenario's own runs are told beforehand
    day = replace(day, forecasts=dict.fromkeys(day.forecasts, Forecast("oracle", day.exogenous)))
    run = day.run("optimum", objective=name, bound=True, **options)
    controller = run.controller
    if not isinstance(controller, Optimum) or controller.answer is None:
        raise TypeError("a run of 'optimum' leaves its answer")
    return Optimal(run, controller.answer)


def table(
    day: ScenarioDay,
    name: Name,
    seeds: Iterable[int],
    folder: Path,
    progress: Callable[[str, int], None],
    **options: Any,
) -> list[dict[str, Any]]:
    """Lay a scenario's runs beside the optimum of the same day, drawn from several seeds.

    Every figure is kept in the folder as it is made, by what it is made of: what was begun goes on where it ended.

    Parameters
    ----------
    day : cosim.Day
        A scenario's.
    name : str
        Objective.
    seeds : iterable of int
        From which the day is drawn.
    folder : Path
        For the figures, and ``optima.csv``.
    progress : callable
        Told what is made next: label and seed.
    **options
        Of the controller ``optimum``.
    """
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        drawn: ScenarioDay | None = None
        proven = float("nan")
        for spec in (None, *day.scenario.runs):
            label = "optimum" if spec is None else spec.name
            world = day.scenario.model_dump_json(exclude={"runs"})
            made_of = (world, dict(day.inputs_sha256), spec, __version__, name, options, seed)
            kept = folder / f"{sha256(repr(made_of).encode()).hexdigest()[:16]}.json"
            if not kept.exists():
                progress(label, seed)
                drawn = drawn or day.redraw(seed)
                facts = optimum(drawn, name, **options).facts() if spec is None else _facts(drawn.run_spec(spec), name)
                write_json(kept, json_ready(facts))
            facts = json.loads(kept.read_text("utf-8"))
            proven = proven if spec else facts["lower_bound"]
            regret = facts["score"] - proven if facts.get("has_regret", True) else None
            keys = ("value", "score", "limits_exceeded_h", "ev_unserved_kwh", "process_s")
            told = {key: facts[key] for key in keys}
            rows.append({"seed": seed, "run": label, **told, "bound": proven, "regret": regret})
    write_csv(pd.DataFrame(rows), folder / "optima.csv")
    return rows


def _facts(run: Run, name: Name) -> dict[str, Any]:
    """What a table says of a run beside the optimum."""
    path, metrics = run.trajectory, run.metrics
    return {
        "value": measured(name, path, metrics),
        "score": score(name, path, metrics),
        "limits_exceeded_h": breach_h(path),
        "ev_unserved_kwh": metrics["ev_unserved_kwh"],
        "process_s": path.decide_s,
        "has_regret": not _uses_reactive_power(path),
    }


def _uses_reactive_power(trajectory: Trajectory) -> bool:
    """Whether a run does what the bound, which is for unity power factor, does not know."""
    return bool(np.abs(trajectory.pv_kvar).max(initial=0.0) > _SMALL_KVAR)


def show(found: Optimal, console: Console) -> None:
    """Print an optimum, and what its proof covers."""
    facts = found.facts()
    unit, missing = facts["unit"], facts["ev_unserved_kwh"]
    broken = ", ".join(f"{key} {minutes:g}" for key, minutes in facts["broken"].items() if minutes)
    bound = facts["lower_bound"]
    lines = [
        f"{facts['objective']} of the best plan, run on OpenDSS: {facts['value']:.5g} {unit}"
        f"{f' with limits broken: {broken}' if broken else ', all limits kept'}"
        f"{f', {missing:.3g} kWh that cars miss' if missing > SHOWN_KWH else ''}",
        f"without the 6 A minimum of chargers: {facts['planned_continuous']:.5g} {unit} (planned only)",
    ]
    if broken or missing > SHOWN_KWH:
        lines.append(f"With prices for both the score is {facts['score']:.5g} {unit}; gap and bound are of that.")
    if not facts["verified"] and not broken:
        lines.append(f"The run is not what was planned: a score of {facts['planned']:.5g} {unit}.")
    if bound is not None:
        lines += [
            f"proven: nothing below {bound:.5g} {unit}; gap {100 * facts['gap']:.2f} %",
            *(f"without any network: {alone:.5g} {unit}" for alone in [facts["lower_bound_without_network"]] if alone),
            f"The proof covers {facts['covered']}.",
            f"It does not: {facts['not_covered']}.",
        ]
    for key, what in (("curtailment_kwh_budget", "kWh curtailed"), ("bill_eur_budget", "EUR of bills")):
        if facts[key] is not None:
            lines.append(f"Budget: at most {facts[key]:.4g} {what}.")
    for line in lines:
        console.print(line, highlight=False)


def refuse_unknown(day: ScenarioDay, name: Name) -> None:
    """Refuse a day of which the optimum would not know what runs know; InputError."""
    found = faults(day.feeder, name)
    if set(day.exogenous.devices) - {"battery"}:
        problem = "the bound does not know what devices other than batteries could do"
        found.append(Fault("cosim run", "--optimum", problem, "leave it out for this scenario"))
    if day.scenario.parts > 1:
        problem = f"is {day.scenario.horizon_h:g}, which are run in {day.scenario.parts} parts"
        found.append(Fault(str(day.path), "horizon_h", problem, "leave --optimum out, or take up to 31 days"))
    if day.without_predictor:
        found.append(Fault(str(day.feeder.master), "feeder", day.without_predictor, "leave --optimum out"))
    refuse(found)


def add_regret(results: Results, name: Name) -> None:
    """Add to every run how far it is from what is proven (of a score of its own), and how far limits are exceeded.

    ``regret.json`` splits it: what the network takes whatever is known and done (``physics``), what households would
    not do at their tariff (``households``), what needs foresight of cars (``foresight``), and the rest, the
    controller's own.

    Parameters
    ----------
    results : Results
        Runs that were measured; written again.
    name : str
        Objective.
    """
    day = results.day
    truth = day.exogenous.resample(day.step_min)
    best = find(Day(day.feeder, truth, day.predictor), name, Budgets(), bound=True)
    facts = best.facts()
    proven = facts["lower_bound"]
    reached = {"free": best.best.score}
    if best.objective.form(best.day) is None:  # else budgets differ with what cars may do
        for cars in ("neutral", "uncontrolled"):
            reached[cars] = find(Day(day.feeder, truth, day.predictor, cars), name, Budgets(), bound=False).best.score
    told: dict[str, Any] = {
        "objective": name,
        "lower_bound": facts["lower_bound"],
        "best": facts["planned"],
        "curtailment_kwh_budget": facts["curtailment_kwh_budget"],
        "bill_eur_budget": facts["bill_eur_budget"],
        "runs": {},
    }
    for label, run in results.runs.items():
        if not isinstance(run, RunResult) or not run.metrics:
            continue
        total, beyond_h = score(name, run.trajectory, run.metrics), breach_h(run.trajectory)
        run.metrics["limits_exceeded_h"] = beyond_h
        if _uses_reactive_power(run.trajectory):
            told["runs"][label] = {"score": total, "regret": None, "why": "it uses reactive power, the bound does not"}
            run.metrics[f"regret_{name}"] = float("nan")
            continue
        run.metrics[f"regret_{name}"] = total - proven
        split = {"score": total, "regret": total - proven, "limits_exceeded_h": beyond_h}
        if len(reached) > 1:
            split |= {
                "physics": reached["free"], "households": reached["neutral"] - reached["free"],
                "foresight": reached["uncontrolled"] - reached["neutral"], "own": total - reached["uncontrolled"],
            }  # fmt: skip
        told["runs"][label] = split
    write_json(results.folder / "regret.json", json_ready(told))
