"""The host-capacity study: the seed's cases as written and as mended, and the same model at any size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cosim.controllers.caps import CapsProblem, CapsResult, solve_caps
from cosim.controllers.caps.follower import charging_cost_eur
from cosim.experiments.caps_output import proof_of, uncontrolled_kw, write_caps
from cosim.experiments.caps_tables import Names, Rows, deviation_rows, responses
from cosim.experiments.figures.style import Drawing
from cosim.experiments.studies.base import Progress, Study, StudyResult, from_template, lines_of
from cosim.experiments.studies.host_capacity.comparison import GAP, Comparison, compare
from cosim.experiments.studies.host_capacity.config import LIMITS, WHERE, HostConfig
from cosim.experiments.studies.host_capacity.figures import draw_replication, draw_sized
from cosim.experiments.studies.host_capacity.homes import check, draw_problem, refuse_lowered
from cosim.experiments.studies.host_capacity.replication import Replication, cases, replicate
from cosim.experiments.studies.host_capacity.table import read_problem

HOUSEHOLDS, SLOTS = 55, 96
"""Size at which plans are compared where none is asked for."""

DEVIATION_SEED = 7
MOST_WARNINGS = 5


def make_problem(config: HostConfig) -> tuple[CapsProblem, Names]:
    """Make the problem, fit to be solved, and name its households."""
    margin, households = config.margin or 0.0, config.households or HOUSEHOLDS
    names: Names = range(1, households + 1)
    if config.data is None:
        problem = draw_problem(
            households, config.slots or SLOTS, limits=config.limits or LIMITS[0], margin=margin, seed=config.seed
        )
    else:
        problem, names = read_problem(config.data, margin)
    sum_floor_kw = config.floor_kw if config.coordination == "sum_of_caps" else None
    check(problem, names, str(config.data or WHERE), sum_floor_kw)
    return problem, names


@dataclass(frozen=True, kw_only=True, eq=False)
class HostResult(StudyResult):
    """Adds the seed's cases, plans set side by side, and the plan that is written: of the own size, else of thirty.

    Attributes
    ----------
    replication, compared : Replication, Comparison
        The cases; the plans.
    problem, result, households, deviations
        What is written.
    answers, proof : DataFrame, dict
        See `caps_tables.responses` and `caps_output.proof_of`.
    """

    replication: Replication
    compared: Comparison
    problem: CapsProblem
    result: CapsResult
    households: Names
    deviations: Rows
    answers: pd.DataFrame
    proof: dict[str, Any]


class HostCapacity(Study[HostConfig, HostResult]):
    """Household caps under a transformer limit."""

    name = "host_capacity"
    packages = ("lv-feeder-cosim", "highspy", "pyomo", "scipy", "numpy", "pandas", "pyarrow", "matplotlib")
    source = "github.com/TeraNYI/Thesis, figures read by pixel: experiments/studies/host_capacity/data.py"

    def run(self, config: HostConfig, progress: Progress) -> HostResult:
        """Solve the seed's cases, the problem of the size that is asked for, and the plans beside it."""
        own = config.own_size
        asked = config if own else replace(config, households=HOUSEHOLDS, slots=SLOTS, gap=GAP)
        problem, households = make_problem(asked)  # before anything else, so that bad input fails at once
        progress(f"Caps of {problem.homes} homes")
        result = solve_caps(problem, asked.options, seed=asked.seed)
        if asked.floor_kw is not None:
            refuse_lowered(problem, result, asked.options, households, asked.seed)
        progress("The seed's own cases")
        replication = replicate()
        progress("Plans to compare with")
        compared = compare(problem, result, asked.options, asked.margin or 0.0, asked.seed)
        deviations = compared.deviations
        if not own:
            problem, result = replication.thirty.problem, replication.thirty.result
            households, rng = range(1, problem.homes + 1), np.random.default_rng(DEVIATION_SEED)
            deviations = [*deviation_rows(problem, result.caps_kw, rng, plan="thirty_houses"), *deviations]
        answers = responses(problem, result, households)
        proof = proof_of(problem, result, answers)
        found = cases(replication) | ({"own_size": _sized(problem, result, proof)} if own else {}) | compared.metrics
        return HostResult(
            cases=found, lines=lines_of(self.name, cases=found, proof=proof if own else None),
            warnings=_warnings(result, compared, own),
            reproducible=not compared.skipped and all(plan.result.reproducible for plan in compared.plans.values()),
            replication=replication, compared=compared, problem=problem, result=result,
            households=households, deviations=deviations, answers=answers, proof=proof,
        )  # fmt: skip

    def figures(self, result: HostResult) -> dict[str, Drawing]:
        """Draw the seed's figures, costs, and the load at the own size."""
        drawings = draw_replication(result.replication)
        if "own_size" in result.cases:
            drawings["sized_load"] = draw_sized(result.problem, result.result)
        return {f"figures/{name}.png": drawing for name, drawing in drawings.items()}

    def write(self, result: HostResult, folder: Path) -> None:
        """Write ``caps.csv``, ``responses.csv``, ``deviation.csv`` and ``proof.json``."""
        write_caps(
            folder, result.problem, result.result, households=result.households, deviations=result.deviations,
            answers=result.answers,
        )  # fmt: skip

    def report(self, result: HostResult, captions: Mapping[str, str]) -> str:
        """Tell what the seed set out to do, what went wrong, what mends it, and the numbers."""
        proof = result.proof if "own_size" in result.cases else None
        return from_template(self.name, cases=result.cases, compared=result.compared, proof=proof, figures=captions)


def _sized(problem: CapsProblem, result: CapsResult, proof: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of the proof, and what charging costs inside the caps and without any [EUR]."""
    numbers = {key: float(value) for key, value in proof.items() if isinstance(value, (int, float))}
    costs = {"charging_cost_eur": result.charge_kw, "uncontrolled_cost_eur": uncontrolled_kw(problem)}
    return numbers | {key: float(charging_cost_eur(problem, charge_kw).sum()) for key, charge_kw in costs.items()}


def _warnings(result: CapsResult, compared: Comparison, own_size: bool) -> Sequence[str]:
    """What could not be had; of many relaxations the first, and how many more there are."""
    warnings = [f"no time was left to compare with {name}" for name in compared.skipped]
    if own_size:
        relaxed = [str(relaxation) for relaxation in result.relaxations]
        warnings += [result.fallback] if result.fallback else []
        warnings += relaxed[:MOST_WARNINGS]
        if len(relaxed) > MOST_WARNINGS:
            warnings.append(f"{len(relaxed) - MOST_WARNINGS} more relaxations: see proof.json")
    return warnings
