"""PowerTrip told again: what adding roofs did, what control does, and what the index does not see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cosim.experiments.files import origin, sha256_of, write_json
from cosim.experiments.studies.powertrip.command import weights_name
from cosim.experiments.studies.powertrip.data import Place, make_place, parse_charge_points, parse_pv
from cosim.experiments.studies.powertrip.figures import write_figures
from cosim.experiments.studies.powertrip.findings import findings
from cosim.experiments.studies.powertrip.measures import (
    Delivered,
    Schedule,
    change_percent,
    deliver,
    disagreement_metrics,
    disagreements,
    metrics,
)
from cosim.experiments.studies.powertrip.model import CONTROLS, Control, Controlled, Weights, control
from cosim.experiments.studies.powertrip.report import write_report
from cosim.measures import json_safe

WEIGHTS: tuple[Weights, ...] = ((0.5, 0.5), (0.8, 0.2))
PACKAGES = ("lv-feeder-cosim", "opendssdirect.py", "pymoo", "numpy", "pandas", "pvlib", "matplotlib")
BASELINE = "ev_all_pv"


@dataclass(frozen=True)
class Question:
    """What is asked of the study.

    Attributes
    ----------
    feeder, charge_points, pv : str
        Place, as on the command line.
    households : str or None
        Profiles of the feeder's own customers.
    weights : tuple of (float, float)
        Of the first objective and of curtailment; the last pair also names the case without a suffix.
    voltage_pu : tuple of float
        Limits of ``voltage_control``.
    source_pu : float or None
        Source voltage; the feeder's own without.
    population, generations : int
        Of NSGA-II.
    seed : int
        Of profiles and search.
    """

    feeder: str
    charge_points: str
    pv: str
    households: str | None = None
    weights: tuple[Weights, ...] = WEIGHTS
    voltage_pu: tuple[float, float] = (0.94, 1.10)
    source_pu: float | None = None
    population: int = 40
    generations: int = 40
    seed: int = 1


@dataclass(frozen=True)
class Told:
    """What the study found.

    Attributes
    ----------
    cases : dict
        Metrics by case.
    lines : list of str
        What to say on the screen.
    """

    cases: dict[str, dict[str, float]]
    lines: list[str]


def place_of(question: Question) -> Place:
    """Make the place, so that bad input fails before anything is written; InputError names what is wrong."""
    return make_place(
        question.feeder,
        parse_charge_points(question.charge_points),
        parse_pv(question.pv),
        question.households,
        question.seed,
        question.source_pu,
    )


def reproduce(
    folder: Path, question: Question, place: Place, progress: Callable[[str], object] = lambda _: None
) -> Told:
    """Run every case, and write its metrics, tables, figures, ``report.md`` and ``manifest.json``.

    Parameters
    ----------
    folder : Path
        Receives the results.
    question : Question
        What is asked.
    place : Place
        As `place_of` gives it.
    progress : callable, optional
        Called with the name of each case that begins.
    """
    delivered = {
        "ev_no_pv": deliver(place, Schedule(place.ev_kw, np.zeros_like(place.sun_kw))),
        BASELINE: deliver(place, Schedule(place.ev_kw, place.sun_kw)),
    }
    decided: dict[str, Controlled] = {}
    for name, rules in _controls(question).items():
        progress(name)
        decided[name] = control(
            place, rules, question.weights,
            population=question.population, generations=question.generations, seed=question.seed,
        )  # fmt: skip
        for pair, schedule in decided[name].schedules.items():
            delivered[case_name(name, pair)] = deliver(place, schedule)
    cases = {name: metrics(place, told) for name, told in delivered.items()}
    differing = []
    for name, told in delivered.items():
        compared = disagreements(delivered[_before(name)], told, place)
        differing.append(compared[compared["verdict"] != ""].assign(case=name))
        cases[name] |= _against(cases[name], cases[BASELINE]) | disagreement_metrics(compared)
    listed = dict(cases)
    for name in decided:  # the plain name stands for the last pair of weights
        last = case_name(name, question.weights[-1])
        cases[last] |= decided[name].certificate
        cases[name] = cases[last]
    write_json(folder / "metrics.json", {"cases": {name: json_safe(values) for name, values in cases.items()}})
    found = findings(place, cases, decided, question.weights[-1], question.voltage_pu[1])
    figures = write_figures(place, _shown(delivered, question), folder / "figures")
    table = pd.concat(differing, ignore_index=True)
    write_report(folder, place, listed, table[["case", *table.columns.drop("case")]], found, figures)
    write_json(folder / "manifest.json", _manifest(question, place, decided))
    return Told(cases, _lines(cases, decided, question))


def _before(case: str) -> str:
    """Return what a case is compared with: roofs with no roofs, every control with roofs and no control."""
    return "ev_no_pv" if case in ("ev_no_pv", BASELINE) else BASELINE


def case_name(control_name: str, pair: Weights) -> str:
    """Return the name of a case: control and weights in percent."""
    return f"{control_name}_{weights_name(pair)}"


def _controls(question: Question) -> dict[str, Control]:
    return CONTROLS | {"voltage_control": replace(CONTROLS["voltage_control"], voltage_pu=question.voltage_pu)}


def _against(case: dict[str, float], base: dict[str, float]) -> dict[str, float]:
    """Changes against the baseline that has the same roofs and vehicles but no control [%]."""
    return {
        f"{key}_change_percent": change_percent(base[f"{key}{unit}"], case[f"{key}{unit}"])
        for key, unit in (("f1_mean", ""), ("neutral_current_mean", "_a"), ("ev", "_kwh"))
    }


def _shown(delivered: dict[str, Delivered], question: Question) -> dict[str, Delivered]:
    """Cases in the figures: both without control, and every control with the last weights."""
    last = [case_name(name, question.weights[-1]) for name in CONTROLS]
    return {name: delivered[name] for name in ("ev_no_pv", BASELINE, *last)}


def _lines(cases: dict[str, dict[str, float]], decided: dict[str, Controlled], question: Question) -> list[str]:
    lines = [
        f"Adding the roofs, without any control: f1 {cases['ev_no_pv']['f1_mean']:.0f} -> "
        f"{cases[BASELINE]['f1_mean']:.0f}, neutral current {cases['ev_no_pv']['neutral_current_mean_a']:.1f} -> "
        f"{cases[BASELINE]['neutral_current_mean_a']:.1f} A"
    ]
    for name in decided:
        for pair in question.weights:
            case = cases[case_name(name, pair)]
            lines.append(
                f"{case_name(name, pair)}: f1 {case['f1_mean']:.0f} ({case['f1_mean_change_percent']:+.0f} %), neutral "
                f"current {case['neutral_current_mean_a']:.1f} A ({case['neutral_current_mean_change_percent']:+.0f} "
                f"%), sun used {case['pv_use_percent']:.0f} %, charged {case['ev_kwh']:.1f} kWh, highest "
                f"voltage {case['voltage_max_pu']:.3f} pu"
            )
        if decided[name].infeasible_steps:
            lines.append(f"{name}: in {decided[name].infeasible_steps} steps no setpoint keeps the voltage limits")
    return lines


def _manifest(question: Question, place: Place, decided: dict[str, Controlled]) -> dict[str, Any]:
    return {
        "study": "powertrip",
        "seed": question.seed,
        "options": {
            key: getattr(question, key)
            for key in (
                "feeder",
                "charge_points",
                "pv",
                "households",
                "weights",
                "voltage_pu",
                "source_pu",
                "population",
                "generations",
            )
        },
        "reproducible": True,
        "evaluations": {name: found.evaluations for name, found in decided.items()},
        "infeasible_steps": {name: found.infeasible_steps for name, found in decided.items()},
        **origin(PACKAGES),
        "inputs_sha256": {path.name: sha256_of(path) for path in sorted(place.feeder.master.parent.glob("*.dss"))},
        "source": "github.com/imenhbibi/Power_Trip at 0a50910; its data have no licence and are not shipped",
    }
