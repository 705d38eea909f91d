"""The loop against the fastest bare OpenDSS loop that does the same work."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

import cosim
from cosim import Exogenous, Feeder, Trajectory, controllers, feeders, run
from cosim.contract import Complex
from cosim.experiments.bench import Row, interleaved
from cosim.experiments.scenario import DEFAULT, Run
from cosim.feeders.draw import DaySpec, draw_day
from cosim.opendss import OpenDssEngine, low_level
from cosim.record import write_trajectory
from cosim.reduced import ReducedNetwork
from cosim.threads import ONE_THREAD

_MINUTES = 1440


def measure(repeats: int, engine: str = "opendss") -> list[Row]:
    """1440 one-minute steps of ``european_lv``: all node voltages and transformer power, 55 customers written each.

    The reference writes the same loads through the low-level library, solves without control loops and copies the
    voltages through a pointer; its compilation is not counted, the product's is.

    Parameters
    ----------
    repeats : int
        Interleaved repetitions.
    engine : str
        The power flow of the product. With ``reduced`` two rows more: its power flow alone, all steps at once, and
        how far it is from OpenDSS where both get what every controller of the default day led to.
    """
    with ONE_THREAD:
        feeder = feeders.load("european_lv")
        households = DaySpec(start=datetime(2026, 1, 15), minutes=_MINUTES, profiles="january_weekday")
        day = draw_day(feeder, households, lambda *_: np.random.default_rng(1))
        bare = bare_loop(feeder, day)
        rows = [_loop_row(feeder, day, bare, repeats, engine)]
        if engine == "reduced":
            rows += [_power_flow_row(feeder, day, bare, repeats), *_replayed(repeats)]
    return rows


def _loop_row(
    feeder: Feeder, day: Exogenous, bare: Callable[[], tuple[Complex, Complex]], repeats: int, engine: str
) -> Row:
    kept: list[Trajectory] = []

    def product() -> None:
        kept[:] = [run(feeder, day, controllers.make("none", feeder), step_min=1, engine=engine)]
        kept[0].transformer_kva  # noqa: B018 - computed when first asked for; the reference records it too

    row = interleaved(f"1440 steps with {engine}, all node voltages, transformer power", product, bare, repeats)
    voltages, power_kva = bare()
    difference_v = float(np.abs(voltages - kept[0].node_v).max())
    difference_kva = float(np.abs(power_kva - kept[0].transformer_kva).max())
    with tempfile.TemporaryDirectory() as folder:
        write_trajectory(kept[0], Path(folder))
        size_mb = sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6
    row.more.update(
        trajectory_mb=size_mb, largest_voltage_difference_v=difference_v, largest_power_difference_kva=difference_kva
    )
    return row


def _power_flow_row(feeder: Feeder, day: Exogenous, bare: Callable[[], tuple[Complex, Complex]], repeats: int) -> Row:
    """The power flow alone: all voltages of all steps in one batch, the factorisation of the network included."""

    def product() -> Complex:
        return ReducedNetwork(feeder, watched=()).solve(day.demand_kw, day.demand_kvar).node_v

    return interleaved("power flow of 1440 steps alone, all node voltages", product, bare, repeats)


def _replayed(repeats: int) -> Iterator[Row]:
    """What each controller of the default day led to, solved again by the reduced network at one blow."""
    composition = cosim.load(DEFAULT)
    named = {run.controller for run in composition.scenario.runs}
    others = [Run(controller=name) for name in controllers.names() if name not in named]
    for item in (*composition.scenario.runs, *others):
        began = time.perf_counter()
        told = composition.run_spec(item).trajectory
        whole_s = time.perf_counter() - began
        network = ReducedNetwork(told.feeder, watched=())
        source_pu, times = told.exogenous.source_pu, []
        for _ in range(repeats):
            began = time.perf_counter()
            replayed_v = network.solve(told.net_kw, told.net_kvar, source_pu).node_v
            times.append(time.perf_counter() - began)
        off_pu = float(np.abs(replayed_v - told.node_v).max()) / told.feeder.nominal_voltage_v
        name = f"replay of {item.name}, {told.steps} steps, against its run with OpenDSS"
        middle_s = float(np.median(times))
        yield Row(
            name, min(times), whole_s, min(times) / whole_s, repeats, middle_s, whole_s,
            {"largest_voltage_difference_pu": off_pu},
        )  # fmt: skip


def bare_loop(feeder: Feeder, day: Exogenous) -> Callable[[], tuple[Complex, Complex]]:
    """The fastest plain loop: no checks but convergence, no observation, no controller."""
    dss: Any = OpenDssEngine(feeder).context
    lib, ffi = low_level(dss), dss.dss_ffi
    nodes, terminal = len(feeder.network.node_names), feeder.network.branch(str(feeder.transformer)).monitored
    index = {name.upper(): k + 1 for k, name in enumerate(dss.Loads.AllNames())}
    loads = [index[name] for name in feeder.customers]
    kw, kvar = day.demand_kw.tolist(), day.demand_kvar.tolist()
    pointer = ffi.new("double**")

    def loop() -> tuple[Complex, Complex]:
        voltages, power = np.empty((day.steps, nodes), complex), np.empty((day.steps, 3), complex)
        select, set_kw, set_kvar = lib.Loads_Set_idx, lib.Loads_Set_kW, lib.Loads_Set_kvar
        dss.Circuit.SetActiveElement(f"Transformer.{feeder.transformer}")
        for k in range(day.steps):
            for load, p, q in zip(loads, kw[k], kvar[k], strict=True):
                select(load)
                set_kw(p)
                set_kvar(q)
            lib.Solution_SolveNoControl()
            if not lib.Solution_Get_Converged():
                raise RuntimeError(f"step {k} did not converge")
            lib.YMatrix_getVpointer(pointer)
            voltages[k] = np.frombuffer(ffi.buffer(pointer[0], 16 * (nodes + 1)), dtype=complex)[1:]
            dss.Circuit.SetActiveElement(f"Transformer.{feeder.transformer}")
            power[k] = -np.array(dss.CktElement.Powers()).view(complex)[terminal][:3]
        return voltages, power

    return loop
