"""A study on one and two processes against two loops that know nothing of each other, and what memory it takes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import pandas as pd

from cosim.experiments.bench import Row, interleaved
from cosim.experiments.scenario import DEFAULT
from cosim.experiments.study.conduct import Tasks, check, conduct
from cosim.experiments.study.config import Study
from cosim.experiments.study.runner import Counts
from cosim.experiments.study.world import run_world
from cosim.experiments.study.worlds import Worlds
from cosim.threads import ONE_THREAD

WORLDS = 40
CASES = (("none", "reduced"), ("equal_share", "reduced"), ("none", "opendss"))
SCENARIOS = (200, 2_000)


def measure(repeats: int) -> list[Row]:
    """40 placements of the default day by controller and engine, and memory at 200 and 2,000 scenarios of two homes.

    The reference is two processes, each with a plain loop over half of the worlds, which writes one Parquet file at its
    end; beginning the processes is counted on both sides. ``ratio`` is the time of two processes over that of the two
    loops: 1 / ratio of their rate is reached.

    Parameters
    ----------
    repeats : int
        Interleaved repetitions.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [_row(folder, controller, engine, repeats) for controller, engine in CASES]
        return [*rows, _memory(folder)]


def _row(folder: Path, controller: str, engine: str, repeats: int) -> Row:
    worlds = _worlds(DEFAULT, WORLDS, engine, [controller])
    check(worlds)
    numbers = iter(range(10**6))

    def study(jobs: int, of: Worlds = worlds) -> Callable[[], object]:
        return lambda: conduct(of, folder / f"{controller}-{engine}-{next(numbers)}", jobs=jobs)

    def loops() -> None:
        _at_once([(worlds, half, folder / f"loop-{half}.parquet") for half in (0, 1)])

    title = f"{WORLDS} days of european_lv, {controller}, {engine}: two processes against two loops"
    two = interleaved(title, study(2), loops, repeats)
    one = interleaved(title, study(1), study(2, _worlds(DEFAULT, 2, engine, [controller])), repeats)
    begin_s = one.reference_s  # two processes and a world on each: of a thousand days they begin once
    two.more.update(
        one_process_s=one.product_s,
        two_over_one=one.product_s / two.product_s,
        rate_of_two_loops_percent=100.0 / two.ratio,
        thousand_days_on_two_processes_s=begin_s + 998.0 * (two.product_s - begin_s) / (WORLDS - 2),
    )
    return two


def _worlds(scenario: str, placements: int, engine: str, controllers: list[str], **change: Any) -> Worlds:
    content = {
        "name": "bench", "scenario": scenario, "engine": engine, "change": change,
        "factors": {"placement": placements}, "runs": [{"controller": name} for name in controllers],
    }  # fmt: skip
    return Worlds(Study.model_validate(content), Path("bench"))


def _at_once(orders: list[tuple[Worlds, int, Path]]) -> None:
    context = get_context("spawn")
    processes = [context.Process(target=_loop, args=order) for order in orders]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise RuntimeError(f"a loop ended with exit code {process.exitcode}")


def _loop(worlds: Worlds, half: int, file: Path) -> None:
    """What two people would do who share the work: every second world each."""
    with ONE_THREAD:
        tasks = [task for number, task in enumerate(Tasks(worlds)) if number % 2 == half]
        pd.DataFrame([row for task in tasks for row in run_world(task.payload)]).to_parquet(file)


def _memory(folder: Path) -> Row:
    """Peak memory of the driver and of its largest worker: flat, whatever the number of scenarios."""
    found = []
    for scenarios in SCENARIOS:
        ours, theirs = get_context("spawn").Pipe()
        process = get_context("spawn").Process(target=_driver, args=(scenarios, folder / str(scenarios), theirs))
        process.start()
        theirs.close()
        found.append(ours.recv())
        process.join()
    (few, few_worker, few_s), (many, many_worker, many_s) = found
    more = {f"driver_{SCENARIOS[0]}_mb": few, f"driver_{SCENARIOS[1]}_mb": many}
    more |= {f"worker_{SCENARIOS[0]}_mb": few_worker, f"worker_{SCENARIOS[1]}_mb": many_worker}
    more["driver_growth_percent"] = 100.0 * (many / few - 1.0)
    title = f"{SCENARIOS[1]} scenarios against {SCENARIOS[0]}, two homes, one process"
    return Row(title, many_s, few_s, many_s / few_s, 1, many_s, few_s, more)


def _driver(scenarios: int, folder: Path, to_parent: Any) -> None:
    worlds, of_workers_mb = _worlds("two_bus_evening", scenarios // 2, "reduced", ["none", "even"], horizon_h=1), [0.0]
    check(worlds)

    def look(_: Counts) -> None:
        of_workers_mb.extend(_peak_mb(process.pid) for process in active_children())
        of_workers_mb[:] = [max(of_workers_mb)]

    took_s = conduct(worlds, folder, progress=look).elapsed_s
    to_parent.send((_peak_mb("self"), *of_workers_mb, took_s))


def _peak_mb(process: int | str | None) -> float:
    """Peak of the resident memory, where Linux tells it; that of ``getrusage`` would include the parent's."""
    try:
        told = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except OSError:  # it has just ended, or this is no Linux
        return 0.0
    return int(told.partition("VmHWM:")[2].split()[0]) / 1e3
