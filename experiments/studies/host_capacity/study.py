"""The host-capacity study: the seed's cases as written and as mended, and the same model at any size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from cosim.controllers.caps import CapsOptions, CapsProblem, CapsResult, solve_caps
from cosim.controllers.caps.follower import charging_cost_eur
from cosim.errors import Fault, InputError
from cosim.experiments.caps_output import proof_of, uncontrolled_kw, write_caps
from cosim.experiments.caps_tables import Names, Rows, deviation_rows, responses
from cosim.experiments.figures.style import Drawing
from cosim.experiments.studies.base import Cases, Progress, Study, StudyConfig, StudyResult, from_template
from cosim.experiments.studies.host_capacity.comparison import GAP, Comparison, compare
from cosim.experiments.studies.host_capacity.figures import draw_replication, draw_sized
from cosim.experiments.studies.host_capacity.homes import WHERE, check, draw_problem, refuse_lowered
from cosim.experiments.studies.host_capacity.replication import Replication, cases, replicate
from cosim.experiments.studies.host_capacity.table import read_problem
from cosim.feeders.households import DAY_MIN

HOUSEHOLDS, SLOTS = 55, 96
"""Size at which plans are compared where none is asked for."""

LIMITS = ("total", "per-phase")
MOST_HOUSEHOLDS = 100_000
UNLIMITED_NODES = 10**9
DEVIATION_SEED = 7
MOST_WARNINGS = 5


@dataclass(frozen=True, kw_only=True)
class HostConfig(StudyConfig):
    """Options; anything about size or solver also runs the corrected model on the shipped profiles, or on own data."""

    households: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_HOUSEHOLDS, help="Also run this many homes of the shipped profiles; default 55."),
    ] = None
    slots: Annotated[int | None, typer.Option(help="Slots of the day; must divide 1440 minutes; default 96.")] = None
    form: Annotated[str | None, typer.Option(help="Form of the problem; the solver's choice without it.")] = None
    objective: Annotated[str | None, typer.Option(help="What caps are chosen for; default least_restriction.")] = None
    coordination: Annotated[str | None, typer.Option(help="What must respect the limits; default anticipated.")] = None
    ties: Annotated[str | None, typer.Option(help="How households choose among equals; default unique.")] = None
    time_limit: Annotated[
        float | None, typer.Option(min=0, max=1e6, help="Seconds for the solver; lifts its node limit.")
    ] = None
    gap: Annotated[float | None, typer.Option(min=0, max=1, help="Relative gap at which the solver may stop.")] = None
    limits: Annotated[str | None, typer.Option(help="One limit on the 'total', or 'per-phase'; default total.")] = None
    margin: Annotated[float | None, typer.Option(min=0, max=0.99, help="Share of the limits kept free; default 0.")] = (
        None
    )
    floor_kw: Annotated[
        float | None, typer.Option(min=0, max=10_000, help="Floor above inflexible load, of floor_then_least.")
    ] = None
    data: Annotated[Path | None, typer.Option(help="Own homes: a CSV with the columns of caps.csv.")] = None
    seed: Annotated[int, typer.Option(min=0, help="Of homes, cars and the search.")] = 1

    @property
    def own_size(self) -> bool:
        """Whether more than the seed's own cases is asked for."""
        return replace(self, seed=0) != HostConfig(seed=0)

    @property
    def options(self) -> CapsOptions:
        """For the solver; InputError where it knows better."""
        names = ("coordination", "form", "ties", "gap", "floor_kw")
        given: dict[str, Any] = {key: value for key in names if (value := getattr(self, key)) is not None}
        if self.time_limit is not None:
            given |= {"time_limit_s": self.time_limit, "node_limit": UNLIMITED_NODES}
        return CapsOptions(self.objective or "least_restriction", whole_floor=self.floor_kw is not None, **given)

    def faults(self) -> Iterator[Fault]:
        """Tell every option that is unknown, unsupported or out of range."""
        ranges: dict[str, tuple[Callable[[Any], bool], str]] = {
            "slots": (lambda n: n > 0 and DAY_MIN % n == 0, f"give a divisor of {DAY_MIN} minutes, such as 24 or 96"),
            "limits": (lambda word: word in LIMITS, f"use one of {', '.join(LIMITS)}"),
        }
        for key, (fits, remedy) in ranges.items():
            value = getattr(self, key)
            if value is not None and not fits(value):
                yield Fault(WHERE, f"--{key}", f"is {value}", remedy)
        if self.data is not None:
            given = [f"--{key}" for key in ("households", "slots", "limits") if getattr(self, key) is not None]
            if given:
                problem = f"is given together with {', '.join(given)}"
                yield Fault(WHERE, "--data", problem, "the file says these: leave out")
        if self.floor_kw is not None and self.objective != "floor_then_least":
            remedy = "ask for --objective floor_then_least, or leave it out"
            yield Fault(WHERE, "--floor-kw", "only counts with another objective", remedy)
        try:
            self.options  # noqa: B018 - the solver knows best what it can do
        except InputError as error:
            for fault in error.faults:
                yield replace(fault, where=WHERE, key="--" + fault.key.removesuffix("_s").replace("_", "-"))

    def problem(self) -> tuple[CapsProblem, Names]:
        """Make the problem, fit to be solved, and name its households."""
        margin, households = self.margin or 0.0, self.households or HOUSEHOLDS
        names: Names = range(1, households + 1)
        if self.data is None:
            problem = draw_problem(
                households, self.slots or SLOTS, limits=self.limits or LIMITS[0], margin=margin, seed=self.seed
            )
        else:
            problem, names = read_problem(self.data, margin)
        sum_floor_kw = self.floor_kw if self.coordination == "sum_of_caps" else None
        check(problem, names, str(self.data or WHERE), sum_floor_kw)
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

    name, config = "host_capacity", HostConfig
    packages = ("lv-feeder-cosim", "highspy", "pyomo", "scipy", "numpy", "pandas", "pyarrow", "matplotlib")
    source = "github.com/TeraNYI/Thesis, figures read by pixel: experiments/studies/host_capacity/data.py"

    def run(self, config: HostConfig, progress: Progress) -> HostResult:
        """Solve the seed's cases, the problem of the size that is asked for, and the plans beside it."""
        own = config.own_size
        asked = config if own else replace(config, households=HOUSEHOLDS, slots=SLOTS, gap=GAP)
        problem, households = asked.problem()  # before anything else, so that bad input fails at once
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
            cases=found, lines=_lines(found, proof if own else None), warnings=_warnings(result, compared, own),
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
    """Numbers of the proof without durations, and what charging costs inside the caps and without any [EUR]."""
    numbers = {key: float(value) for key, value in proof.items() if isinstance(value, (int, float)) and key != "wall_s"}
    costs = {"charging_cost_eur": result.charge_kw, "uncontrolled_cost_eur": uncontrolled_kw(problem)}
    return numbers | {key: float(charging_cost_eur(problem, charge_kw).sum()) for key, charge_kw in costs.items()}


def _lines(found: Cases, proof: Mapping[str, Any] | None) -> list[str]:
    one, thirty = found["single_house"], found["thirty_houses"]
    alone, first = found["first_formulation_single_house"], found["first_formulation_thirty_houses"]
    lines = [
        f"First formulation, one house: {'feasible' if alone['feasible'] else 'infeasible'}; "
        f"with a flat tariff: {'feasible' if alone['feasible_with_flat_tariff'] else 'infeasible'}",
        f"First formulation, thirty houses: any cost from {first['first_formulation_least_cost']:.1f} to "
        f"{first['first_formulation_most_cost']:.1f} $ (published: {thirty['published_cost']:.1f} $)",
        f"Corrected, one house: {one['single_house_cost']:.4f} $, {one['peak_charging_kwh']:.2f} kWh in the peak",
        f"Corrected, thirty houses: {thirty['thirty_house_cost']:.2f} $, "
        f"{thirty['peak_charging_kwh']:.2f} kWh in the peak",
    ]
    if proof is not None:
        gap = "unknown" if proof["gap"] is None else f"{100 * proof['gap']:.3f} %"
        lines.append(
            f"{proof['households']} homes x {proof['slots']} slots ({proof['form']}): {proof['status']}, withheld "
            f"{proof['withheld_kwh']:.1f} kWh, gap {gap}, {proof['wall_s']:.1f} s"
        )
    if "released" in found:
        released, plan, safe = (found[name] for name in ("released", "plan_anticipated", "plan_sum_of_caps"))
        lines.append(
            f"Anticipation releases {released['released_withheld_kwh']:.0f} of {safe['withheld_kwh']:.0f} kWh that "
            f"sum_of_caps withholds; charging costs {plan['charging_cost_eur']:.2f} instead of "
            f"{safe['charging_cost_eur']:.2f} EUR"
        )
    return lines


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
