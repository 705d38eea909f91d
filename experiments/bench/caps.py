"""Household caps at growing size, with the textbook form given the same time beside it at small sizes."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median_high
from typing import Any

from cosim.controllers.caps import CapsOptions, CapsProblem, solve_caps
from cosim.experiments.bench import Row
from cosim.experiments.figures import style
from cosim.experiments.studies.host_capacity.homes import draw_problem
from cosim.threads import ONE_THREAD

SEED = 1
TEXTBOOK_MOST = 1500  # homes times slots, all that share a limit: as large as the textbook form may be
MEMORY_HOMES = 1000  # where memory is measured too, in a process of its own
WITHOUT_END = 10**9
PROOF = ("form", "status", "gap", "bound", "withheld_kwh", "withheld_bound_kwh", "max_response_error_kw")


@dataclass(frozen=True)
class Case:
    """One size, with what was set as its target.

    Attributes
    ----------
    homes, slots : int
        Size.
    limits : str
        ``total``: one limit; ``per-phase``: three.
    target_gap : float
        Relative gap on withheld energy (``max_min``: on the smallest room) at which a solve stops.
    target_s : float
        Wall clock that the target allows; a safety limit for the solve [s].
    objective : str
        As in `CapsOptions`.
    """

    homes: int
    slots: int
    limits: str
    target_gap: float
    target_s: float
    objective: str = "least_restriction"


CASES = (
    Case(10, 24, "total", 0.01, 10.0),
    Case(30, 48, "total", 0.01, 10.0),
    Case(55, 96, "total", 0.01, 10.0),
    Case(200, 96, "total", 0.005, 10.0),
    Case(1000, 96, "total", 0.002, 30.0),
    Case(55, 96, "per-phase", 0.03, 60.0),
    Case(1000, 96, "per-phase", 0.005, 60.0),
    Case(55, 96, "total", 0.01, 30.0, "max_min"),
    Case(10_000, 96, "total", 0.002, 300.0),
)


def measure(repeats: int) -> list[Row]:
    """Solve shipped homes at several sizes, one limit on the total or one per phase, without floors or margin.

    Parameters
    ----------
    repeats : int
        At most this often, and at most twice; cases that take more than a few seconds are solved once.

    Returns
    -------
    list of Row
        ``product_s`` is the best time of a solve, from the data to verified caps; the reference is the textbook form
        where it was run, given the same time, and its gap is ``none`` where it found no plan.
    """
    with ONE_THREAD:
        return [_row(case, min(repeats, 2)) for case in CASES]


def draw(case: Case) -> CapsProblem:
    """Return the shipped homes of a case; limits are the base peak plus a quarter of what cars add to it."""
    return draw_problem(case.homes, case.slots, limits=case.limits, seed=SEED)


def _row(case: Case, repeats: int) -> Row:
    problem = draw(case)
    options = CapsOptions(case.objective, gap=case.target_gap, time_limit_s=case.target_s)
    times: list[float] = []
    while len(times) < repeats and (not times or times[0] < case.target_s / 4):
        began = time.perf_counter()
        result = solve_caps(problem, options)
        times.append(time.perf_counter() - began)
    more: dict[str, Any] = {
        **asdict(case),
        **{name: getattr(result, name) for name in PROOF},
        "target_met": result.gap <= case.target_gap and min(times) <= case.target_s,
    }
    if case.homes == MEMORY_HOMES:
        more["largest_memory_mb"] = _memory_mb(case)
    reference_s = float("nan")
    if case.homes * case.slots <= TEXTBOOK_MOST and case.objective == "least_restriction":
        textbook = replace(options, form="kkt", time_limit_s=max(times[0], 1.0), node_limit=WITHOUT_END)
        began = time.perf_counter()
        reference = solve_caps(problem, textbook)
        reference_s = time.perf_counter() - began
        more["textbook_gap"] = "none" if reference.fallback else reference.gap
        more["textbook_status"] = "no plan" if reference.fallback else reference.status
    name = f"caps {case.homes} x {case.slots}, {case.limits}, {case.objective}"
    best_s, usual_s = min(times), median_high(times)
    return Row(name, best_s, reference_s, best_s / reference_s, len(times), usual_s, reference_s, more)


def figure(rows: Sequence[Row], path: Path) -> None:
    """Draw how time grows with homes and slots, targets beside it; a PNG."""
    with style.house_style():
        sheet, ((axes,),) = style.sheet(style.Block(1, 1, 3.4), right_in=1.6)
        kinds = list(dict.fromkeys((row.more["limits"], row.more["objective"]) for row in rows))
        for colour, kind in zip(style.RUN_COLOURS, kinds, strict=False):
            mine = [row for row in rows if (row.more["limits"], row.more["objective"]) == kind]
            size = [row.more["homes"] * row.more["slots"] for row in mine]
            axes.plot(size, [row.product_s for row in mine], "o-", color=colour)
            axes.plot(size, [row.more["target_s"] for row in mine], "_", color=colour, markersize=14)
            for row, at in zip(mine, size, strict=True):
                text = f"{row.more['homes']} x {row.more['slots']}: gap {100 * row.more['gap']:.2g} %"
                axes.annotate(text, (at, row.product_s), xytext=(5, -9), textcoords="offset points", fontsize=8)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("homes x slots")
        axes.set_ylabel("time of a solve [s]")
        keys = [
            style.line_key(colour, f"{limits}, {objective}", marker="o")
            for colour, (limits, objective) in zip(style.RUN_COLOURS, kinds, strict=False)
        ]
        keys.append(style.line_key("#000000", "time that the target allows", marker="_", linestyle="none"))
        style.heading(sheet, "How the time of a solve grows with homes and slots", keys)
        style.save(sheet, path)


def _memory_mb(case: Case) -> float:
    """Peak memory of a process that solves the case and nothing else."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(solve_alone, case).result()


def solve_alone(case: Case) -> float:
    """Solve a case, and return the peak memory of this process [MB]."""
    solve_caps(draw(case), CapsOptions(case.objective, gap=case.target_gap, time_limit_s=case.target_s))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
