"""The host-capacity study: compute, and write metrics, figures, checks and report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cosim.controllers.caps import CapsProblem, CapsResult, solve_caps
from cosim.controllers.caps.follower import charging_cost_eur
from cosim.experiments.caps_output import uncontrolled_kw, write_caps
from cosim.experiments.deviation_output import deviation_rows
from cosim.experiments.files import origin, sha256_of, write_json
from cosim.experiments.reproduce import host_sized
from cosim.experiments.reproduce.host_figures import write_sized_figure, write_story_figures
from cosim.experiments.reproduce.host_floor import lowered
from cosim.experiments.reproduce.host_options import HOUSEHOLDS, SLOTS, WHERE, Order, Wishes, checked
from cosim.experiments.reproduce.host_released import GAP, Comparison, compare
from cosim.experiments.reproduce.host_report import write_report
from cosim.experiments.reproduce.host_story import Cases, Story, cases, tell
from cosim.experiments.reproduce.host_table import read_problem
from cosim.measures import json_safe

SIZED = "own_size"
DEVIATION_SEED = 7
MOST_WARNINGS = 5
PACKAGES = ("lv-feeder-cosim", "highspy", "pyomo", "scipy", "numpy", "pandas", "pyarrow", "matplotlib")


@dataclass(frozen=True)
class Told:
    """What a study says on the screen, and its numbers.

    Attributes
    ----------
    cases : dict of str to dict
        Metrics by case.
    lines, warnings : list of str
        For the screen.
    """

    cases: Cases
    lines: list[str]
    warnings: list[str]


def reproduce(folder: Path, order: Order | None = None) -> Told:
    """Tell the study and write its folder.

    Parameters
    ----------
    folder : Path
        Receives ``metrics.json``, ``caps.csv``, ``responses.csv``, ``deviation.csv``, ``proof.json``,
        ``figures/*.png``, ``report.md`` and ``manifest.json``. Caps and proof are those of the ordered size, else of
        the thirty houses.
    order : Order, optional
        A run at a size of one's own, besides the seed's cases; plans are compared at 55 x 96 without one.

    Returns
    -------
    Told

    Raises
    ------
    InputError
        Where own data, or the size and options together, are unfit.
    SolverError
        Where a programme ends without an answer that can be trusted.
    """
    asked = order or _usual()
    problem, households = _ordered(asked)
    options = asked.options
    result = solve_caps(problem, options, seed=asked.seed)
    refusal = lowered(problem, result, options, households, asked.seed) if asked.strict_floor else None
    if refusal is not None:
        raise refusal
    story = tell()
    told = cases(story)
    figures = write_story_figures(story, folder / "figures")
    compared = compare(problem, result, options, asked.margin, asked.seed)
    proof = None
    if order is None:
        _write_thirty(folder, story, compared)
    else:
        proof = write_caps(folder, problem, result, households=households, deviations=compared.deviations)
        told[SIZED] = _sized_metrics(proof) | _costs(problem, result)
        figures |= write_sized_figure(problem, result, folder / "figures")
    told |= compared.metrics
    write_json(folder / "metrics.json", {"cases": {name: json_safe(values) for name, values in told.items()}})
    write_report(folder / "report.md", told, figures, proof, problem, compared)
    write_json(folder / "manifest.json", _manifest(order, compared))
    return Told(told, _lines(told, proof), _warnings(result if proof is not None else None, compared))


def _usual() -> Order:
    """Return the size at which plans are compared where none is asked for."""
    order = checked(Wishes(households=HOUSEHOLDS, slots=SLOTS, gap=GAP))
    assert order is not None  # noqa: S101 - it was asked for
    return order


def _write_thirty(folder: Path, story: Story, compared: Comparison) -> None:
    problem, result = story.thirty.problem, story.thirty.result
    own = deviation_rows(problem, result.caps_kw, np.random.default_rng(DEVIATION_SEED), plan="thirty_houses")
    write_caps(folder, problem, result, deviations=[*own, *compared.deviations])


def _ordered(order: Order) -> tuple[CapsProblem, Sequence[str] | Sequence[int]]:
    """Make the problem before anything else is computed, so that bad input fails at once."""
    households: Sequence[str] | Sequence[int]
    if order.data is None:
        problem = host_sized.draw_problem(order)
        households, where = list(range(1, problem.homes + 1)), WHERE
    else:
        problem, households = read_problem(order.data, order.margin)
        where = str(order.data)
    by_sum = order.strict_floor and order.options.coordination == "sum_of_caps"
    floor_kw = order.options.floor_kw if by_sum else None
    host_sized.check(problem, households, floor_kw, where)
    return problem, households


def _sized_metrics(proof: dict[str, Any]) -> dict[str, float]:
    """Numbers of the proof, without durations."""
    numeric = {key: value for key, value in proof.items() if isinstance(value, (int, float))}
    return {key: float(value) for key, value in numeric.items() if key != "wall_s"}


def _costs(problem: CapsProblem, result: CapsResult) -> dict[str, float]:
    """What charging costs inside the caps, and what it would cost without any [EUR]."""
    return {
        "charging_cost_eur": float(charging_cost_eur(problem, result.charge_kw).sum()),
        "uncontrolled_cost_eur": float(charging_cost_eur(problem, uncontrolled_kw(problem)).sum()),
    }


def _manifest(order: Order | None, compared: Comparison) -> dict[str, Any]:
    options: dict[str, Any] | None = None
    inputs: dict[str, str] = {}
    if order is not None:
        options = asdict(order) | {"data": None if order.data is None else order.data.name}
        if order.data is not None:
            inputs[order.data.name] = sha256_of(order.data)
    return {
        "study": "host_capacity",
        "seed": None if order is None else order.seed,
        "options": options,
        "reproducible": not compared.skipped and all(p.result.reproducible for p in compared.plans.values()),
        **origin(PACKAGES),
        "inputs_sha256": inputs,
        "source": "github.com/TeraNYI/Thesis, figures read by pixel: experiments/reproduce/host_data.py",
    }


def _lines(told: Cases, proof: dict[str, Any] | None) -> list[str]:
    one, thirty = told["single_house"], told["thirty_houses"]
    alone, first = told["first_formulation_single_house"], told["first_formulation_thirty_houses"]
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
    if "released" in told:
        released, plan, safe = (told[name] for name in ("released", "plan_anticipated", "plan_sum_of_caps"))
        lines.append(
            f"Anticipation releases {released['released_withheld_kwh']:.0f} of {safe['withheld_kwh']:.0f} kWh that "
            f"sum_of_caps withholds; charging costs {plan['charging_cost_eur']:.2f} instead of "
            f"{safe['charging_cost_eur']:.2f} EUR"
        )
    return lines


def _warnings(result: CapsResult | None, compared: Comparison) -> list[str]:
    """What could not be had; of many relaxations the first, and how many more there are."""
    warnings = [f"no time was left to compare with {name}" for name in compared.skipped]
    if result is None:
        return warnings
    relaxed = [str(relaxation) for relaxation in result.relaxations]
    warnings += [result.fallback] if result.fallback else []
    warnings += relaxed[:MOST_WARNINGS]
    if len(relaxed) > MOST_WARNINGS:
        warnings.append(f"{len(relaxed) - MOST_WARNINGS} more relaxations: see proof.json")
    return warnings
