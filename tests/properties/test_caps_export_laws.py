"""Export caps: what homes answer is their own optimum, and every form finds the same least that can be withheld."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from cosim.controllers.caps.export import ExportProblem, ExportRow, solve_export
from cosim.controllers.caps.export.allocation import rows_of
from cosim.controllers.caps.export.follower import best_response, best_response_lp, cost_eur, uncontrolled
from cosim.controllers.caps.export.forms import solve_form
from cosim.controllers.caps.export.given import kinds_of
from cosim.controllers.caps.merit_order import price_in_steps
from cosim.controllers.solver import Limits
from cosim.errors import SolverError

CLOSE = 1e-4
EXACT = Limits(1e-7, 200_000, 60.0)
FEED_IN = (-0.03, 0.0, 0.05)
PRICES = (-0.05, 0.0, 0.05, 0.12, 0.22)


def random_homes(
    rng: np.random.Generator,
    tariffs: tuple[float, ...] = (0.12, 0.22),
    feed_in: tuple[float, ...] = FEED_IN,
    slots: int = 4,
    homes: int = 3,
    three_phase: bool = False,
) -> ExportProblem:
    """A few homes with sun and cars, prices of their own or common ones, and little that may flow back."""
    shape = (slots, homes)
    priced = shape if rng.random() < 0.5 else (slots,)
    tariff = rng.choice(tariffs, priced)
    plugged = (rng.random(shape) < 0.8) * rng.choice([0.5, 1.0], shape)
    charger = rng.choice([3.7, 7.4], homes)
    share = np.eye(2)[rng.integers(0, 2, homes)]
    if three_phase:
        share[int(rng.integers(homes))] = 0.5
    return ExportProblem(
        slot_h=0.5,
        tariff_eur_per_kwh=tariff,
        feed_in_eur_per_kwh=np.minimum(rng.choice(feed_in, priced), tariff),
        demand_kw=rng.uniform(0.0, 2.0, shape),
        sun_kw=np.where(rng.random(shape) < 0.75, rng.uniform(0.0, 6.0, shape), 0.0),
        rated_kw=np.full(homes, 6.0),
        connection_kw=np.full(homes, 14.0),
        import_cap_kw=rng.uniform(0.0, 10.0, shape),
        phase_share=share,
        limit_kw=np.full((slots, 2), np.inf),
        reverse_limit_kw=rng.uniform(0.0, 4.0, (slots, 2)),
        home=np.arange(homes),
        plugged=plugged,
        charger_kw=charger,
        energy_need_kwh=rng.uniform(0.0, 1.0, homes) * 0.45 * (plugged * charger).sum(axis=0),
        efficiency=np.full(homes, 0.9),
    )


def drawn(**given_by: object) -> st.SearchStrategy[ExportProblem]:
    make: Callable[[int], ExportProblem] = lambda seed: random_homes(np.random.default_rng(seed), **given_by)  # type: ignore[arg-type]  # noqa: E731
    return st.integers(0, 2**32 - 1).map(make)


def with_far_end(problem: ExportProblem) -> ExportProblem:
    """Add limits in which homes count unequally, and one of them relieves."""
    rows = [ExportRow(slot, np.array([1.0, -0.3, 0.6]), 2.5, "a far end") for slot in range(0, problem.slots, 2)]
    return replace(problem, rows=tuple(rows))


def random_caps(problem: ExportProblem, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(problem.demand_kw.shape) < 0.2, np.inf, rng.uniform(0.0, 7.0, problem.demand_kw.shape))


@given(problem=drawn(tariffs=PRICES, feed_in=(-0.03, 0.0, 0.05, 0.12), slots=6), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_closed_form_is_the_optimum_of_the_linear_programme(problem: ExportProblem, seed: int) -> None:
    caps = random_caps(problem, seed)
    found = best_response(problem, problem.import_cap_kw, caps)
    for home in range(problem.homes):
        charge, net = best_response_lp(problem, problem.import_cap_kw, caps, home)
        assert found.charge_kw[:, home] == pytest.approx(charge[:, 0], abs=1e-6)
        assert found.net_kw[:, home] == pytest.approx(net, abs=1e-6)


@given(problem=drawn(tariffs=PRICES, feed_in=(-0.03, 0.0, 0.05), slots=6), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_it_costs_no_more_than_the_home_must_pay_at_its_real_prices(problem: ExportProblem, seed: int) -> None:
    caps = np.minimum(random_caps(problem, seed), problem.rated_kw)
    found = best_response(problem, problem.import_cap_kw, caps)
    slots = problem.slots
    for home in range(problem.homes):
        price = np.concatenate([problem.tariff[:, home], -problem.feed_in[:, home], np.zeros(2 * slots)])
        eye = np.eye(slots)
        balance = np.concatenate([eye, -eye, -eye, -eye], axis=1)  # import - export - curtailed - charge
        most = [
            np.maximum(problem.import_cap_kw, problem.deficit_kw)[:, home],
            caps[:, home],
            problem.sun_kw[:, home],
            problem.car_kw[:, home],
        ]
        need = np.concatenate([np.zeros(3 * slots), np.ones(slots)])
        least = linprog(
            price,
            A_eq=np.vstack([balance, need]),
            b_eq=np.append(problem.demand_kw[:, home] - problem.sun_kw[:, home], problem.need_kw[home]),
            bounds=np.column_stack([np.zeros(4 * slots), np.concatenate(most)]),
        )
        assert cost_eur(problem, found.net_kw)[home] == pytest.approx(problem.slot_h * least.fun, abs=1e-6)


@given(problem=drawn(three_phase=True))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_for_given_import_caps_the_linear_programme_is_the_bilevel_optimum(problem: ExportProblem) -> None:
    problem = with_far_end(problem)
    found = solve_export(problem)
    assert found.status == "optimal"
    if found.relaxations:  # import of a home that relieves by export does the contrary
        with pytest.raises(SolverError, match="infeasible"):
            solve_form(problem, stop=EXACT)
        return
    for form in ("order", "kkt"):
        exact = solve_form(problem, form, stop=EXACT)
        assert exact.status == "optimal"
        assert exact.objective == pytest.approx(found.withheld_kwh, abs=CLOSE)
        assert max(exact.max_response_error_kw, exact.over_reverse_kw) < CLOSE
    assert found.withheld_kwh == pytest.approx(found.objective, abs=CLOSE)
    assert max(found.max_response_error_kw, found.over_reverse_kw) < CLOSE


@given(problem=drawn(tariffs=(0.0, 0.05, 0.12), feed_in=(-0.03, 0.0, 0.05, 0.12)))
@settings(max_examples=12, deadline=None, derandomize=True)
def test_where_import_may_be_cheaper_than_sun_the_bound_is_below_and_the_caps_are_safe(problem: ExportProblem) -> None:
    found, exact = solve_export(problem), solve_form(problem, "order", stop=EXACT)
    assert found.bound - CLOSE <= exact.objective <= found.objective + CLOSE
    assert found.over_reverse_kw < CLOSE
    assert exact.objective == pytest.approx(solve_form(problem, "kkt", stop=EXACT).objective, abs=CLOSE)


@given(problem=drawn())
@settings(max_examples=12, deadline=None, derandomize=True)
def test_deciding_import_caps_too_gains_nothing_for_homes_on_one_phase(problem: ExportProblem) -> None:
    found = solve_export(problem)
    for form in ("order", "kkt"):
        both = solve_form(problem, form, decide_import=True, stop=EXACT)
        assert both.objective == pytest.approx(found.objective, abs=CLOSE)
        assert both.max_response_error_kw < CLOSE


@given(problem=drawn(tariffs=(0.05, 0.12, 0.22), three_phase=True, slots=3))
@settings(max_examples=8, deadline=None, derandomize=True)
def test_both_forms_agree_where_import_is_limited_and_decided_too(problem: ExportProblem) -> None:
    wide = replace(
        problem,
        import_cap_kw=np.full_like(problem.import_cap_kw, 10.0),
        energy_need_kwh=0.6 * problem.energy_need_kwh,
    )
    load = uncontrolled(wide).import_kw @ wide.phase_share
    tight = replace(wide, limit_kw=np.maximum(0.8 * load, wide.deficit_kw @ wide.phase_share + 1.5))
    found = []
    for form in ("order", "kkt"):
        try:
            both = solve_form(tight, form, decide_import=True, stop=EXACT)
        except SolverError:  # no caps keep the limits
            found.append(np.inf)
            continue
        found.append(both.objective)
        assert both.objective == pytest.approx(both.withheld_kwh + both.withheld_import_kwh, abs=CLOSE)
        assert max(both.over_limit_kw, both.over_reverse_kw, both.max_response_error_kw) < CLOSE
    assert found[0] == pytest.approx(found[1], abs=CLOSE)


@given(problem=drawn(three_phase=True), seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_the_sum_of_caps_holds_whatever_homes_do_and_costs_more(problem: ExportProblem, seed: int) -> None:
    rng = np.random.default_rng(seed)
    safe = solve_export(problem, "least", "sum_of_caps")
    assert safe.withheld_kwh >= solve_export(problem).withheld_kwh - CLOSE
    at_will = rng.random(problem.demand_kw.shape) * (problem.sun_kw + 0.0)
    load = problem.demand_kw + problem.per_home(rng.random(problem.car_kw.shape) * problem.car_kw)
    net = np.maximum(load - problem.sun_kw + np.where(rng.random(load.shape) < 0.5, 0.0, at_will), -safe.caps_kw)
    assert rows_of(problem).over_kw(net).max(initial=0.0) < CLOSE


@given(problem=drawn(three_phase=True))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_fairness_orders_the_objectives(problem: ExportProblem) -> None:
    least, fair, equal = (solve_export(problem, one) for one in ("least", "max_min", "equal_share"))
    assert least.withheld_kwh <= fair.withheld_kwh + CLOSE
    assert fair.worst_share <= least.worst_share + CLOSE
    assert least.withheld_kwh <= equal.withheld_kwh + CLOSE
    assert equal.bound == pytest.approx(least.withheld_kwh, abs=CLOSE)
    assert max(one.over_reverse_kw for one in (least, fair, equal)) < CLOSE
    assert (uncontrolled(problem).export_kw <= problem.rated_kw + CLOSE).all()


def test_prices_that_decide_nothing_are_levels() -> None:
    problem = random_homes(np.random.default_rng(3), tariffs=PRICES)
    bought, sold = problem.levels
    assert ((bought < 0) == (price_in_steps(problem.tariff) < 0)).all()
    assert ((sold < 0) == (price_in_steps(problem.feed_in) < 0)).all()
    assert (bought != 0).all()
    assert (sold <= bought).all()
    assert not kinds_of(random_homes(np.random.default_rng(4))).mixed.any()
