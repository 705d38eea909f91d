"""Household caps at growing size, the textbook form beside them at small sizes, and parts of the method left out."""

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

import numpy as np

from cosim.controllers.caps import CapsOptions, CapsProblem, CapsResult, Parts, solve_caps
from cosim.experiments.bench import Row
from cosim.experiments.figures import style
from cosim.experiments.studies.host_capacity.homes import default_limits_kw, draw_problem
from cosim.threads import ONE_THREAD

TEXTBOOK_MOST = 1_000  # homes times slots; above, the textbook form has no plan in the time
MEMORY_HOMES = 1000  # where memory is measured too, in a process of its own
WITHOUT_END = 10**9
SAFETY = 3.0  # wall clock allowed, of the processor time that the target allows: other work may share the machine
SEEDS = 5
SINGLE_PHASE_KW = 7.5  # chargers above run on three phases
MINIMUM_KW = 1.38, 4.14  # 6 A at 230 V, on one and on three phases
PROOF = ("form", "status", "gap", "bound", "objective", "withheld_kwh", "max_response_error_kw", "over_limit_kw")
PARTS = {
    "all parts": Parts(),
    "no programme of all finishing rows": Parts(whole=False),
    "no neighbourhoods": Parts(neighbourhoods=False),
    "prices and rounding only": Parts(whole=False, neighbourhoods=False),
}


@dataclass(frozen=True)
class Case:
    """One size, with what was set as its target: chargers pause below 6 A, and slots count with their peaks.

    Attributes
    ----------
    homes, slots : int
        Size.
    limits : str
        ``total``: one limit; ``per-phase``: three.
    target_gap : float
        Relative gap on usable energy withheld at which a solve stops.
    target_s : float
        Processor time that the target allows; three times as much wall clock is a safety limit for the solve [s].
    three_phase_share : float
        Share of homes on all three phases.
    """

    homes: int
    slots: int
    limits: str
    target_gap: float
    target_s: float
    three_phase_share: float = 0.0

    @property
    def name(self) -> str:
        """In words."""
        mixed = f", {100 * self.three_phase_share:.0f} % three-phase" if self.three_phase_share else ""
        return f"caps {self.homes} x {self.slots}, {self.limits}{mixed}"


CASES = (
    Case(10, 24, "total", 0.01, 10.0),
    Case(30, 48, "total", 0.01, 10.0),
    Case(55, 96, "per-phase", 0.01, 30.0),
    Case(175, 96, "per-phase", 0.006, 20.0),
    Case(1000, 96, "per-phase", 0.003, 20.0),
    Case(55, 96, "per-phase", 0.03, 60.0, 0.4),
    Case(175, 96, "per-phase", 0.015, 60.0, 0.4),
    Case(10_000, 96, "total", 0.005, 100.0),
)
ABLATED = (CASES[2], CASES[3], CASES[6])


def measure(repeats: int, *, ablate: bool = False) -> list[Row]:
    """Solve shipped homes at several sizes, one limit on the total or one per phase, without floors or margin.

    Parameters
    ----------
    repeats : int
        Seeds of homes and cars, at most 5.
    ablate : bool
        Leave out one part of the method after the other, at three sizes, instead.

    Returns
    -------
    list of Row
        ``product_s`` is the least processor time of a solve, from the data to verified caps, ``usual`` its median;
        ``gap`` the median over seeds, and ``worst_gap`` the largest. The reference is the textbook form where it was
        run, given the same time, and its gap is ``none`` where it found no plan; of an ablation the whole method.
    """
    seeds = range(1, min(repeats, SEEDS) + 1)
    with ONE_THREAD:
        if not ablate:
            return [_row(case, seeds) for case in CASES]
        rows = []
        for case in ABLATED:
            found = {name: [_solved(case, seed, parts) for seed in seeds] for name, parts in PARTS.items()}
            whole = [one.process_s for one in found["all parts"]]
            rows += [_summed(f"{case.name}: {name}", case, many, min(whole)) for name, many in found.items()]
        return rows


@dataclass(frozen=True, eq=False)
class _Solved:
    process_s: float
    result: CapsResult


def draw(case: Case, seed: int = 1) -> CapsProblem:
    """Return the shipped homes of a case; limits are the base peak plus a quarter of what cars add to it."""
    problem = draw_problem(case.homes, case.slots, limits=case.limits, seed=seed)
    single = problem.charger_kw < SINGLE_PHASE_KW
    problem = replace(problem, charger_min_kw=np.where(single, *MINIMUM_KW))
    if not case.three_phase_share:
        return problem
    share = problem.phase_share.copy()
    share[np.random.default_rng(seed).random(case.homes) < case.three_phase_share] = 1.0 / share.shape[1]
    mixed = replace(problem, phase_share=share)
    return replace(mixed, limit_kw=default_limits_kw(mixed))


def options_of(case: Case) -> CapsOptions:
    """Return what a case asks for."""
    return CapsOptions(
        "least_restriction",
        gap=case.target_gap,
        time_limit_s=SAFETY * case.target_s,
        node_limit=WITHOUT_END,
        limit_on="peak",
    )


def _solved(case: Case, seed: int, parts: Parts) -> _Solved:
    problem, began = draw(case, seed), time.process_time()
    result = solve_caps(problem, options_of(case), parts=parts)
    return _Solved(time.process_time() - began, result)


def _summed(name: str, case: Case, solved: Sequence[_Solved], reference_s: float) -> Row:
    times, gaps = [one.process_s for one in solved], [one.result.gap for one in solved]
    more: dict[str, Any] = {
        **asdict(case),
        **{key: getattr(solved[0].result, key) for key in PROOF},
        "gap": median_high(gaps),
        "worst_gap": max(gaps),
        "worst_s": max(times),
        "unserved_kwh": max(float(one.result.unserved_kwh.sum()) for one in solved),
        "target_met": max(gaps) <= case.target_gap and max(times) <= case.target_s,
    }
    best_s = min(times)
    return Row(name, best_s, reference_s, best_s / reference_s, len(times), median_high(times), reference_s, more)


def _row(case: Case, seeds: Sequence[int]) -> Row:
    solved = [_solved(case, seed, Parts()) for seed in seeds]
    reference_s = float("nan")
    more: dict[str, Any] = {}
    if case.homes == MEMORY_HOMES:
        more["largest_memory_mb"] = _memory_mb(case)
    if case.homes * case.slots <= TEXTBOOK_MOST:
        textbook = replace(options_of(case), form="kkt")
        began = time.process_time()
        reference = solve_caps(draw(case), textbook)
        reference_s = time.process_time() - began
        more |= {"textbook_gap": reference.gap, "textbook_status": reference.status}
    row = _summed(case.name, case, solved, reference_s)
    return replace(row, more=row.more | more)


def figure(rows: Sequence[Row], path: Path) -> None:
    """Draw how time grows with homes and slots, targets beside it; a PNG."""
    with style.house_style():
        sheet, ((axes,),) = style.sheet(style.Block(1, 1, 3.4), right_in=1.6)
        kinds = list(dict.fromkeys((row.more["limits"], row.more["three_phase_share"]) for row in rows))
        for colour, kind in zip(style.RUN_COLOURS, kinds, strict=False):
            mine = [row for row in rows if (row.more["limits"], row.more["three_phase_share"]) == kind]
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
            style.line_key(colour, limits + (f", {100 * mixed:.0f} % three-phase" if mixed else ""), marker="o")
            for colour, (limits, mixed) in zip(style.RUN_COLOURS, kinds, strict=False)
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
    solve_caps(draw(case), options_of(case))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
