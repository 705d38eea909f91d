"""The charge-point operator's planner against the same model, sparse, in CVXPY, solved by HiGHS and by Clarabel."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import numpy as np
from scipy import sparse

from cosim.controllers.planner.options import Formulation, Options
from cosim.controllers.planner.plan import Planning, plan
from cosim.controllers.planner.requests import Requests, Station, make_requests, make_station
from cosim.errors import Fault, InputError
from cosim.experiments.bench import Row, interleaved
from cosim.experiments.plan.generate import FIRST_DAY, generate_demand
from cosim.threads import ONE_THREAD

STEPS, STEP_S, CAPACITY_KW_PER_VEHICLE = 96, 900.0, 2.5
TIGHT_KW_PER_VEHICLE = 1.5  # behind which a quarter of the energy is missing
LEAST_POWER_KW = 4.14  # 6 A on three phases
GAP, TIME_LIMIT_S = 0.01, 60.0
SIZES = (40, 400, 4000)
GROWTH = 5
SOLVERS = {"lp": ("HIGHS", "CLARABEL"), "milp": ("HIGHS",)}


def measure(repeats: int) -> list[Row]:
    """Build and solve for 40, 400 and 4,000 vehicles × 96 steps, LP and MILP (least power 4.14 kW, gap 1 %, 60 s).

    Both sides get the same requests, the seed's weighted objective, one thread and the same limits; ours also chooses
    the earliest of its optima. The MILP of 4,000 vehicles is measured once. Linear programmes also against Clarabel,
    where CVXPY has it; and 20,000 vehicles of ours, whose time is held against five times that of 4,000, where the
    capacity binds here and there, and where it binds for half the day.
    """
    _need_cvxpy()
    import cvxpy

    rows = []
    with ONE_THREAD:
        for count in SIZES:
            requests = draw_requests(count)
            station = _station(count)
            for formulation in get_args(Formulation):
                times = 1 if (count, formulation) == (SIZES[-1], "milp") else repeats
                solvers = [name for name in SOLVERS[formulation] if name in cvxpy.installed_solvers()]
                rows += [_row(requests, station, formulation, solver, times) for solver in solvers]
        rows += [_growth(repeats, kw) for kw in (CAPACITY_KW_PER_VEHICLE, TIGHT_KW_PER_VEHICLE)]
    return rows


def _station(count: int, kw_per_vehicle: float = CAPACITY_KW_PER_VEHICLE) -> Station:
    return make_station(STEPS, kw_per_vehicle * count, step_s=STEP_S)


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


def _growth(repeats: int, kw_per_vehicle: float) -> Row:
    """Compare five times as many vehicles with five times the time."""
    options = Options(objective="weighted", gap=GAP, time_limit_s=TIME_LIMIT_S)
    many, few = ((draw_requests(count), _station(count, kw_per_vehicle)) for count in (GROWTH * SIZES[-1], SIZES[-1]))
    row = interleaved("", lambda: plan(*many, options), lambda: plan(*few, options), repeats)
    name = f"{len(many[0])} vehicles x {STEPS}, lp, {kw_per_vehicle:g} kW each, against {GROWTH} times {len(few[0])}"
    return replace(row, name=name, reference_s=GROWTH * row.reference_s, ratio=row.ratio / GROWTH)


def _row(requests: Requests, station: Station, formulation: Formulation, solver: str, repeats: int) -> Row:
    options = Options(
        formulation=formulation, objective="weighted", gap=GAP, time_limit_s=TIME_LIMIT_S, least_starts=False
    )
    ours: list[Planning] = []
    theirs: list[tuple[str, float]] = []
    reference = cvxpy_plan(requests, station, formulation, solver)
    row = interleaved(
        f"{len(requests)} vehicles x {station.steps}, {formulation}, {solver}",
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


def cvxpy_plan(
    requests: Requests, station: Station, formulation: str, solver: str = "HIGHS"
) -> Callable[[], tuple[str, float]]:
    """Seed 002's model as one who knows CVXPY writes it: powers of the steps of each stay only, sparse matrices.

    Returns
    -------
    callable
        Builds, solves, and returns CVXPY's status and the objective.
    """
    import cvxpy as cp

    def build_and_solve() -> tuple[str, float]:
        arrival, departure = requests.arrival_step.astype(int), requests.departure_step.astype(int)
        count, stay = len(requests), departure - arrival
        vehicle = np.repeat(np.arange(count), stay)
        pair = np.arange(len(vehicle))
        step = pair - np.repeat(np.cumsum(stay) - stay, stay) + arrival[vehicle]
        by_step = sparse.csr_array((np.ones(len(pair)), (step, pair)), shape=(station.steps, len(pair)))
        gain = station.step_h * requests.efficiency[vehicle]
        by_vehicle = sparse.csr_array((gain, (vehicle, pair)), shape=(count, len(pair)))
        high_kw = requests.power_max_kw[vehicle]
        power, under = cp.Variable(len(pair), nonneg=True), cp.Variable(count, nonneg=True)
        content = by_vehicle @ power
        constraints: list[Any] = [
            by_step @ power <= station.capacity_kw,
            content + under >= requests.energy_need_kwh,
            content <= requests.headroom_kwh,
        ]
        if formulation == "milp":
            active = cp.Variable(len(pair), boolean=True)
            constraints += [power <= cp.multiply(high_kw, active)]
            constraints += [power >= cp.multiply(requests.power_min_kw[vehicle], active)]
        else:
            constraints += [power <= high_kw]
        cost = (station.step_h * station.tariff_eur_per_kwh[step]) @ power
        problem = cp.Problem(cp.Minimize((100.0 / requests.battery_kwh) @ under + cost), constraints)
        highs = {"highs_options": {"threads": 1, "time_limit": TIME_LIMIT_S, "mip_rel_gap": GAP}}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of a time limit that strikes: the status tells
                problem.solve(solver=solver, **(highs if solver == "HIGHS" else {"time_limit": TIME_LIMIT_S}))
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
