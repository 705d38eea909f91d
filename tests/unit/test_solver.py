"""The solver door: what it says of linear, mixed-integer and quadratic models, of retries, and of aims in turn."""

from __future__ import annotations

import itertools
from typing import Any

import highspy
import numpy as np
import pyomo.environ as pyo
import pytest

from cosim.controllers.caps import CapsOptions, solve_caps
from cosim.controllers.planner.plan import plan
from cosim.controllers.planner.requests import make_requests, make_station
from cosim.controllers.solver import (
    OPTIMAL_GAP,
    Clock,
    Limits,
    Model,
    OutOfTimeError,
    Rows,
    Solver,
    SolveResult,
    Termination,
    judged,
    minimise_in_turn,
    pyomo_model,
    relative_gap,
    solve,
    solve_in_turn,
    worst,
)
from cosim.errors import SolverError

INF = np.inf


def knapsack(items: int, seed: int) -> Model:
    """Several rows, so that the tree is not closed at its root."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(10, 100, (5, items)).astype(float)
    worth = -weight.sum(axis=0) - rng.integers(0, 30, items)
    return Model(worth, weight, -INF, weight.sum(axis=1) // 2, 0.0, 1.0, np.ones(items, bool))


def test_a_linear_programme_with_its_multipliers() -> None:
    found = solve(Model(np.array([-3.0, -2.0]), np.array([[1.0, 1.0], [1.0, 0.0]]), -INF, np.array([4.0, 3.0])))
    assert (found.termination, found.value, found.bound, found.gap) == (Termination.OPTIMAL, -11.0, -11.0, 0.0)
    assert found.x == pytest.approx([3.0, 1.0])
    assert found.row_dual == pytest.approx([-2.0, -1.0])
    assert found.retries == ()


@pytest.mark.parametrize("seed", range(5))
def test_a_mixed_integer_programme_is_that_of_an_enumeration(seed: int) -> None:
    model = knapsack(10, seed)
    every = np.array(list(itertools.product((0.0, 1.0), repeat=10)))
    least = (every @ model.cost)[(every @ model.matrix.T <= model.row_high).all(axis=1)].min()
    found = solve(model, Limits(gap=0.0))
    assert (found.termination, found.value) == (Termination.OPTIMAL, pytest.approx(least))
    assert found.bound == pytest.approx(least)
    assert not len(found.row_dual)  # of a tree there are none


def test_a_convex_quadratic_objective() -> None:
    found = solve(Model(np.array([-2.0, -6.0]), np.ones((1, 2)), -INF, 2.0, hessian=2.0 * np.eye(2), offset=10.0))
    assert found.x == pytest.approx([0.0, 2.0], abs=1e-6)
    assert found.value == pytest.approx(10.0 + 4.0 - 12.0)


def test_what_has_no_point_and_what_has_no_end() -> None:
    none = solve(Model(np.ones(2), np.ones((1, 2)), 5.0, 6.0, 0.0, 2.0))
    assert (none.termination, none.has_point, none.value, none.bound) == (Termination.INFEASIBLE, False, INF, INF)
    whole = solve(Model(np.ones(1), np.array([[2.0]]), 1.0, 1.0, 0.0, 5.0, np.array([True])))
    assert whole.termination is Termination.INFEASIBLE
    endless = solve(Model(np.array([-1.0]), np.ones((1, 1)), 0.0, INF))
    assert (endless.termination, endless.has_point) == (Termination.UNBOUNDED, False)
    with pytest.raises(SolverError, match="the sum ended with 'unbounded'"):
        endless.proven("the sum")


def test_a_time_limit_leaves_a_plan_and_its_bound_and_is_not_called_optimal() -> None:
    found = solve(knapsack(120, 1), Limits(gap=0.0, nodes=10**9, time_s=0.3))
    assert (found.termination, found.has_point, found.is_proven) == (Termination.TIME_LIMIT, True, False)
    assert found.bound < found.value
    assert found.gap > 0.0
    with pytest.raises(OutOfTimeError, match="the clock struck in a knapsack"):
        found.proven("a knapsack")
    assert solve(knapsack(120, 1), Limits(time_s=0.0)).termination is Termination.TIME_LIMIT


def test_other_limits_say_what_they_are() -> None:
    model = knapsack(60, 2)
    rough = solve(model, Limits(gap=0.2))
    assert (rough.termination, rough.gap > OPTIMAL_GAP, rough.gap <= 0.2) == (Termination.GAP_LIMIT, True, True)
    assert solve(model, Limits(gap=0.0, nodes=1)).termination is Termination.NODE_LIMIT
    assert solve(model, Limits(gap=0.0, plans=1)).termination is Termination.FIRST_PLAN
    assert solve(model, Limits(gap=0.0, target=0.5 * rough.value)).termination is Termination.FIRST_PLAN


def test_a_start_is_used() -> None:
    model = knapsack(60, 3)
    best = solve(model, Limits(gap=0.01, nodes=500)).x
    assert solve(model, Limits(gap=0.5), start=best).value <= model.cost @ best + 1e-6


def test_a_model_is_changed_and_solved_again() -> None:
    solver = Solver(Model(np.array([1.0, 2.0]), np.ones((1, 2)), 4.0, INF, 0.0, 3.0))
    assert solver.solve().value == pytest.approx(5.0)
    solver.set_cost(np.array([2.0, 1.0]))
    assert solver.solve().x == pytest.approx([1.0, 3.0])
    solver.set_columns([1], np.array([0.0]), np.array([2.0]))
    assert solver.solve().x == pytest.approx([2.0, 2.0])
    row = solver.add_rows(np.array([[1.0, 0.0]]), -INF, 1.0)
    assert solver.solve().termination is Termination.INFEASIBLE
    solver.set_rows(row, np.array([-INF]), np.array([2.5]))
    assert solver.solve().value == pytest.approx(6.0)
    solver.set_coefficients(0, [0], np.array([2.0]))
    assert solver.solve().x == pytest.approx([1.0, 2.0])
    solver.delete_rows(row)
    assert (solver.rows, solver.columns) == (1, 2)


def test_added_columns_follow_the_multipliers() -> None:
    """Cutting stock: widths 3 and 5 from rolls of 11; the master's multipliers price patterns by enumeration."""
    demand, width, roll = np.array([40.0, 25.0]), np.array([3, 5]), 11
    patterns = [np.array(p) for p in itertools.product(range(4), range(3)) if 0 < width @ p <= roll]
    master = Solver(Model(np.ones(2), np.eye(2), demand, INF))
    known = 2
    while True:
        found = master.solve().proven("the master")
        worths = [float(found.row_dual @ pattern) for pattern in patterns]
        if max(worths) <= 1.0 + 1e-9:
            break
        numbers = master.add_columns(np.ones(1), patterns[int(np.argmax(worths))][:, None].astype(float))
        assert numbers.tolist() == [known]
        known += 1
    whole = solve(Model(np.ones(len(patterns)), np.array(patterns, float).T, demand, INF))
    assert found.value == pytest.approx(whole.value)
    assert found.row_dual @ demand == pytest.approx(whole.value)  # duality: the multipliers prove it


def test_a_basis_is_read_and_restored() -> None:
    solver = Solver(Model(np.array([-1.0, -1.0]), np.array([[1.0, 2.0]]), -INF, 3.0, 0.0, 2.0), presolve="off")
    solver.solve()
    basis = solver.basis()
    assert (basis.columns.tolist(), basis.rows.tolist(), basis.at_high.tolist()) == ([1], [], [True, False])
    solver.set_cost(np.array([1.0, 1.0]))
    solver.solve()
    solver.restore(basis)
    assert solver.basis().columns.tolist() == [1]


class _Failing(Solver):
    """Its first runs end as they do where HiGHS meets numerical trouble: with an unknown status."""

    failures = 1

    def _run(self) -> None:
        super()._run()
        self.failures -= 1
        if self.failures >= 0:
            self._highs.clearSolver()


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_a_failed_call_is_tried_again_with_other_settings(failures: int) -> None:
    solver = _Failing(Model(np.array([-3.0, -2.0]), np.ones((1, 2)), -INF, 4.0, 0.0, 3.0))
    solver.failures = failures
    found = solver.solve()
    assert (found.termination, found.value) == (Termination.OPTIMAL, -11.0)
    assert found.retries == ("presolve off", "wider tolerances", "ipm")[:failures]
    again = solver.solve()
    assert (again.value, again.retries) == (-11.0, ())  # with its own settings again


def test_what_fails_with_any_settings_is_an_error() -> None:
    solver = _Failing(Model(np.ones(1), np.ones((1, 1)), 1.0, INF))
    solver.failures = 9
    found = solver.solve()
    assert (found.termination, found.has_point) == (Termination.ERROR, False)
    with pytest.raises(SolverError, match="it ended with 'error', with presolve off, wider tolerances, ipm too"):
        found.proven("it")


def test_a_verdict_that_presolve_leaves_open_is_settled_by_a_retry() -> None:
    """Without any hook: presolve says "unbounded or infeasible", which is neither."""
    model = Model(np.array([1.0, -2.0]), np.ones((1, 2)), 2.0, INF)
    alone = highspy.Highs()
    alone.silent()
    alone.setOptionValue("allow_unbounded_or_infeasible", True)
    x, y = alone.addVariable(lb=0.0, ub=INF, obj=1.0), alone.addVariable(lb=0.0, ub=INF, obj=-2.0)
    alone.addConstr(x + y >= 2.0)
    alone.minimize()
    assert alone.getModelStatus() == highspy.HighsModelStatus.kUnboundedOrInfeasible
    found = solve(model, allow_unbounded_or_infeasible=True)
    assert found.termination is Termination.UNBOUNDED
    assert found.retries


def aims_of(seed: int) -> tuple[Any, list[np.ndarray[Any, np.dtype[np.float64]]]]:
    rng = np.random.default_rng(seed)
    model = Model(np.zeros(4), rng.integers(0, 4, (3, 4)).astype(float), rng.uniform(2.0, 5.0, 3), INF, 0.0, 5.0)
    return model, [rng.integers(0, 3, 4).astype(float), rng.integers(0, 3, 4).astype(float), -np.ones(4)]


@pytest.mark.parametrize("seed", range(8))
def test_aims_in_turn_are_those_of_the_vertices(seed: int) -> None:
    """By hand: every vertex of the polytope, kept aim by aim."""
    model, aims = aims_of(seed)
    rows = np.vstack([model.matrix, np.eye(4), -np.eye(4)])
    low = np.concatenate([model.row_low, np.zeros(4), np.full(4, -5.0)])
    vertices = []
    for chosen in itertools.combinations(range(len(rows)), 4):
        square = rows[list(chosen)]
        if abs(np.linalg.det(square)) > 1e-9:
            vertex = np.linalg.solve(square, low[list(chosen)])
            if (rows @ vertex >= low - 1e-9).all():
                vertices.append(vertex)
    kept, best = np.array(vertices), []
    for aim in aims:
        best.append((kept @ aim).min())
        kept = kept[kept @ aim <= best[-1] + 1e-9]
    found = minimise_in_turn(Solver(model), aims, slack=1e-9)
    assert (found.termination, found.reached) == (Termination.OPTIMAL, 3)
    assert found.values == pytest.approx(best, abs=1e-6)
    assert [float(aim @ found.x) for aim in aims] == pytest.approx(best, abs=1e-6)


def told(*endings: SolveResult) -> tuple[Any, list[list[float]]]:
    """An aim solver that ends as told, and what it was given."""
    given: list[list[float]] = []
    left = iter(endings)

    def solve_aim(_: int, most: list[float]) -> SolveResult:
        given.append(most)
        return next(left)

    return solve_aim, given


def reached(value: float) -> SolveResult:
    return SolveResult(Termination.OPTIMAL, value, value, np.array([value]))


def test_a_plan_is_kept_when_a_later_aim_runs_out_of_time() -> None:
    solve_aim, _ = told(reached(3.0), SolveResult(Termination.TIME_LIMIT, 9.0, 1.0, np.array([9.0])))
    found = solve_in_turn(solve_aim, 3)
    assert (found.termination, found.values, found.x.tolist()) == (Termination.TIME_LIMIT, (3.0,), [3.0])
    model, aims = aims_of(0)
    none = minimise_in_turn(Solver(model), aims, time_s=0.0)
    assert (none.termination, none.reached) == (Termination.TIME_LIMIT, 0)


def test_a_kept_aim_is_loosened_once_and_then_the_plan_stands() -> None:
    infeasible = SolveResult(Termination.INFEASIBLE, bound=INF)
    solve_aim, given = told(reached(-3.0), infeasible, reached(1.0))
    found = solve_in_turn(solve_aim, 2, slack=1e-6)
    assert (found.termination, found.values) == (Termination.OPTIMAL, (-3.0, 1.0))
    assert given[1:] == [pytest.approx([-3.0 + 4e-6], abs=1e-12), pytest.approx([-3.0 + 4e-5], abs=1e-12)]
    solve_aim, _ = told(reached(-3.0), infeasible, infeasible)
    found = solve_in_turn(solve_aim, 2)
    assert (found.termination, found.values, found.x.tolist()) == (Termination.FEASIBLE, (-3.0,), [-3.0])
    solve_aim, _ = told(infeasible)
    assert solve_in_turn(solve_aim, 2).termination is Termination.INFEASIBLE


def test_a_pyomo_model_holds_the_plan_of_the_last_aim_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=(0.0, 4.0)), pyo.Var(bounds=(0.0, 4.0))
    m.row = pyo.Constraint(expr=m.x + m.y >= 5.0)
    found = pyomo_model.minimise_in_turn(m, [m.x + m.y, m.x])
    assert (found.termination, m.x.value, m.y.value) == (Termination.OPTIMAL, pytest.approx(1.0, abs=1e-4), 4.0)
    honest, calls = pyomo_model.door.solve, []

    def late(*given: Any, **options: Any) -> SolveResult:
        calls.append(1)
        return honest(*given, **options) if len(calls) == 1 else SolveResult(Termination.TIME_LIMIT)

    monkeypatch.setattr(pyomo_model.door, "solve", late)
    found = pyomo_model.minimise_in_turn(m, [m.y, m.x])
    assert (found.termination, found.values) == (Termination.TIME_LIMIT, (pytest.approx(1.0),))
    assert m.y.value == pytest.approx(1.0)
    assert not list(m.component_objects(pyo.Objective))


def test_one_gap_and_what_it_proves() -> None:
    assert relative_gap(-10.0, -11.0) == pytest.approx(0.1)
    assert relative_gap(1e-7, 0.0, 1e-6) == 0.0
    assert relative_gap(INF, 0.0) == INF
    assert judged(10.0, 10.0, 0.0) is Termination.OPTIMAL
    assert judged(10.0, 9.5, 0.1, Termination.TIME_LIMIT) is Termination.GAP_LIMIT
    assert judged(10.0, 5.0, 0.1, Termination.TIME_LIMIT) is Termination.TIME_LIMIT
    assert judged(10.0, 5.0, 0.1, Termination.OPTIMAL) is Termination.FEASIBLE  # optimal, but not this point
    assert worst([]) is Termination.OPTIMAL
    assert worst([Termination.TIME_LIMIT, Termination.FALLBACK, Termination.OPTIMAL]) is Termination.TIME_LIMIT


def test_rows_are_added_block_by_block_and_entries_add_up() -> None:
    rows = Rows()
    first = rows.add(2, -INF, np.array([2.0, 3.0]), (np.array([0, 1, 1]), np.array([0, 1, 1]), 1.0))
    then = rows.add(1, 1.0, 1.0, (np.array([0, 0]), np.array([0, 1]), np.array([1.0, -1.0])))
    model = rows.model(np.ones(2), np.zeros(2), np.full(2, 9.0))
    assert (first.tolist(), then.tolist()) == ([0, 1], [2])
    assert model.matrix.toarray().tolist() == [[1.0, 0.0], [0.0, 2.0], [1.0, -1.0]]
    assert solve(model).x == pytest.approx([1.0, 0.0])


def test_a_clock_counts_down() -> None:
    assert Clock(0.0).over
    clock = Clock(1e6)
    assert 0.0 < clock.left_s <= 1e6
    assert clock.passed_s >= 0.0


def late_after(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock strike for every solve after so many."""
    honest, made = Solver.solve, []

    def solve_or_late(*given: Any, **options: Any) -> SolveResult:
        made.append(1)
        return honest(*given, **options) if len(made) <= calls else SolveResult(Termination.TIME_LIMIT)

    monkeypatch.setattr(Solver, "solve", solve_or_late)


@pytest.mark.parametrize("objective", ["least_restriction", "max_min"])
def test_caps_found_for_the_first_aims_are_kept_when_a_later_one_is_cut_off(
    objective: str, street: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the aims of ``sum_of_caps`` only service is reached, or with ``max_min`` the smallest room too."""
    options = CapsOptions(objective, "sum_of_caps", levels=1)
    whole = solve_caps(street(4, 8, 0), options)
    late_after(2 if objective == "max_min" else 1, monkeypatch)
    cut = solve_caps(street(4, 8, 0), options)
    assert (whole.status, cut.status, cut.form) == (Termination.OPTIMAL, Termination.TIME_LIMIT, "lp")
    assert not cut.reproducible
    assert cut.unserved_kwh == pytest.approx(whole.unserved_kwh, abs=1e-4)
    assert (cut.over_limit_kw <= 1e-6) == (whole.over_limit_kw <= 1e-6)
    if objective == "max_min":  # its own aim was reached: the bound is still its value
        assert (cut.objective, cut.gap) == (pytest.approx(whole.objective, abs=1e-4), 0.0)
    else:  # nothing is claimed for what was not reached
        assert (cut.bound, cut.gap > OPTIMAL_GAP) == (0.0, True)


def test_caps_that_stand_in_for_others_are_never_called_optimal(street: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    options = CapsOptions("least_restriction", ties="optimistic", time_limit_s=0.0)
    result = solve_caps(street(8, 10, 2), options)
    assert "sum_of_caps" in result.fallback
    assert result.status in (Termination.FALLBACK, Termination.TIME_LIMIT)
    assert result.coordination == "sum_of_caps"


def test_a_planner_keeps_its_plan_when_cost_has_no_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = make_requests(["a", "b"], 10.0, [9.0, 9.0], 50.0, [0, 0], [4, 4])
    station = make_station(4, 3.0, tariff_eur_per_kwh=[0.3, 0.2, 0.1, 0.2])
    honest, made = Solver.solve, []

    def solve_or_late(self: Solver, limits: Limits | None = None, **options: Any) -> SolveResult:
        made.append(1)
        return honest(self, limits, **options) if len(made) <= 2 else SolveResult(Termination.TIME_LIMIT)

    full = plan(requests, station)
    monkeypatch.setattr(Solver, "solve", solve_or_late)
    cut = plan(requests, station)
    assert {aim: result.termination for aim, result in cut.endings.items()} == {
        "shortfall": Termination.OPTIMAL, "cost": Termination.TIME_LIMIT,
    }  # fmt: skip
    assert cut.status is Termination.TIME_LIMIT
    assert cut.best.unserved_kwh.sum() == pytest.approx(full.best.unserved_kwh.sum(), abs=1e-5)


def test_a_bound_above_its_value_proves_nothing() -> None:
    assert judged(1.0, 2.0, 1e-4) is Termination.ERROR
    assert judged(1.0, 1.0 + 1e-9, 1e-4) is Termination.OPTIMAL


def test_status_and_gap_of_tiny_objectives_agree() -> None:
    tiny = SolveResult(Termination.OPTIMAL, -8.50e-5, -8.53e-5, rounding=1e-6)
    assert tiny.gap == 0.0
