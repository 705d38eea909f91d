"""The charge-point operator's planner against the same model written in CVXPY, both solved by HiGHS."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, get_args

import numpy as np

from cosim.controllers.planner.options import Formulation, Options
from cosim.controllers.planner.plan import Planning, plan
from cosim.controllers.planner.requests import Requests, Station, make_requests, make_station
from cosim.errors import Fault, InputError
from cosim.experiments.bench import Row, interleaved
from cosim.experiments.plan.generate import FIRST_DAY, generate_demand
from cosim.threads import ONE_THREAD

STEPS, STEP_S, CAPACITY_KW_PER_VEHICLE = 96, 900.0, 2.5
LEAST_POWER_KW = 4.14  # 6 A on three phases
GAP, TIME_LIMIT_S = 0.01, 60.0
SIZES = (40, 400, 4000)


def measure(repeats: int) -> list[Row]:
    """Build and solve for 40, 400 and 4,000 vehicles × 96 steps, LP and MILP (least power 4.14 kW, gap 1 %, 60 s).

    Both sides get the same requests, the seed's weighted objective, one thread and the same limits. The MILP of 4,000
    vehicles is measured once: CVXPY's side runs into the time limit.
    """
    _need_cvxpy()
    rows = []
    with ONE_THREAD:
        for count in SIZES:
            requests = draw_requests(count)
            station = make_station(STEPS, CAPACITY_KW_PER_VEHICLE * count, step_s=STEP_S)
            for formulation in get_args(Formulation):
                times = 1 if (count, formulation) == (SIZES[-1], "milp") else repeats
                rows.append(_row(requests, station, formulation, times))
    return rows


def draw_requests(count: int) -> Requests:
    """Demand of the generator, seed 1, both ends of a stay rounded down as in the seed."""
    table = generate_demand(count, np.random.default_rng(1))
    arrival, departure = (
        np.floor((table[name] - FIRST_DAY).dt.total_seconds().to_numpy() / STEP_S)
        for name in ("arrivalTime", "departureTime")
    )
    return make_requests(
        [str(name) for name in table["vehicle"]],
        table["powerNom"], table["energyRequired"], table["energyMax"], arrival, departure,
        power_min_kw=LEAST_POWER_KW,
    )  # fmt: skip


def _row(requests: Requests, station: Station, formulation: Formulation, repeats: int) -> Row:
    options = Options(formulation=formulation, objective="weighted", gap=GAP, time_limit_s=TIME_LIMIT_S)
    ours: list[Planning] = []
    theirs: list[tuple[str, float]] = []
    reference = cvxpy_plan(requests, station, formulation)
    row = interleaved(
        f"{len(requests)} vehicles x {station.steps}, {formulation}",
        lambda: ours.append(plan(requests, station, options)), lambda: theirs.append(reference()), repeats,
    )  # fmt: skip
    row.more.update(
        product_status=ours[-1].status,
        product_objective=ours[-1].best.objective,
        product_gap=ours[-1].gap,
        product_build_s=ours[-1].build_s,
        reference_status=theirs[-1][0],
        reference_objective=theirs[-1][1],
    )
    return row


def cvxpy_plan(requests: Requests, station: Station, formulation: str) -> Callable[[], tuple[str, float]]:
    """Seed 002's model as a user of CVXPY writes it: matrices of power and content, step by vehicle.

    Returns
    -------
    callable
        Builds, solves, and returns CVXPY's status and the objective.
    """
    import cvxpy as cp

    step = np.arange(station.steps)[:, None]
    there = ((step >= requests.arrival_step) & (step < requests.departure_step)).astype(float)
    high_kw = there * requests.power_max_kw
    departure = requests.departure_step.astype(int)
    vehicles = np.arange(len(requests))
    shape = (station.steps, len(requests))

    def build_and_solve() -> tuple[str, float]:
        power, content = cp.Variable(shape, nonneg=True), cp.Variable((shape[0] + 1, shape[1]), nonneg=True)
        under, over = cp.Variable(shape[1], nonneg=True), cp.Variable(shape[1], nonneg=True)
        gain = station.step_h * requests.efficiency[None, :]
        constraints: list[Any] = [
            content[0] == requests.soe_arrival_kwh,
            content[1:] == content[:-1] + cp.multiply(np.broadcast_to(gain, shape), power),
            content <= np.broadcast_to(requests.battery_kwh, (shape[0] + 1, shape[1])),
            under - over == requests.energy_need_kwh - content[departure, vehicles] + requests.soe_arrival_kwh,
            under <= requests.energy_need_kwh,
            over <= requests.energy_need_kwh,
            cp.sum(power, axis=1) <= station.capacity_kw,
        ]
        if formulation == "milp":
            active = cp.Variable(shape, boolean=True)
            constraints += [power <= cp.multiply(high_kw, active)]
            constraints += [power >= cp.multiply(there * requests.power_min_kw, active)]
        else:
            constraints += [power <= high_kw]
        cost = station.step_h * cp.sum(cp.multiply(np.broadcast_to(station.tariff_eur_per_kwh[:, None], shape), power))
        problem = cp.Problem(cp.Minimize((100.0 / requests.battery_kwh) @ under + cost), constraints)
        options = {"threads": 1, "time_limit": TIME_LIMIT_S, "mip_rel_gap": GAP}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of a time limit that strikes: the status tells
                problem.solve(solver=cp.HIGHS, highs_options=options)
        except cp.SolverError:  # the time limit struck before there was a plan
            return "no plan", float("nan")
        return str(problem.status), float("nan") if problem.value is None else float(problem.value)

    return build_and_solve


def _need_cvxpy() -> None:
    try:
        import cvxpy  # noqa: F401 - whether it is there
    except ImportError:
        remedy = "install it: pip install 'lv-feeder-cosim[bench]'"
        raise InputError(Fault("cosim bench plan", "", "the reference needs the package cvxpy", remedy)) from None
