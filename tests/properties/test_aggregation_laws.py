"""Laws of fleet aggregation: what must hold for any cars, prices and factors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.controllers.aggregation import (
    ENVELOPE,
    PER_CAR,
    PER_STEP,
    SIMPLE,
    Case,
    Factors,
    FitOptions,
    Fleet,
    Recipe,
    StoreLp,
    Weights,
    aggregate,
    block_of_step,
    deviation,
    disaggregate,
    envelope,
    exact,
    fit_exactly,
    fit_factors,
    fleet_total,
    judge,
    make_week,
    parts,
    reference,
    scaled,
    simple_sum,
    train,
)
from cosim.controllers.aggregation.programme import LEVEL_TIE_EUR_PER_KWH, TIE_EUR_PER_KWH
from cosim.controllers.bilevel import BilevelLP, solve_bilevel
from cosim.controllers.solver import Limits, SolveResult
from cosim.experiments.studies.fleet_aggregation.data import draw_cars, draw_prices, draw_week, small_case

seeds = st.integers(0, 10_000)
few = settings(max_examples=8, deadline=None, derandomize=True)
ABSOLUTE = Weights(1.0, 1.0, 0.0)
QUICK = Limits(gap=1e-3)


def week_of(seed: int, cars: int = 5, *, discharge: bool = False) -> tuple[Fleet, np.ndarray]:
    rng = np.random.default_rng(seed)
    return draw_week(draw_cars(cars, rng), rng, discharge=discharge), draw_prices(rng)


def alike(fleet: Fleet) -> Fleet:
    """The same cars with one efficiency."""
    return replace(fleet, **{name: np.full(fleet.cars, 0.9) for name in PER_CAR})


@few
@given(seeds, st.integers(1, 6), st.booleans())
def test_identical_cars_are_aggregated_exactly(seed: int, copies: int, discharge: bool) -> None:
    one, price = week_of(seed, 1, discharge=discharge)
    price = np.abs(price) + 0.01  # a negative price would pay for burning energy in the losses
    many: Any = {name: np.repeat(getattr(one, name), copies, axis=-1) for name in (*PER_STEP, *PER_CAR)}
    week = make_week(replace(one, **many), price)
    for recipe in (SIMPLE, ENVELOPE):
        score = judge(train([week], recipe, np.random.default_rng(0)), [week])
        assert score.rmse_charge_kw == pytest.approx(0.0, abs=1e-6)
        assert score.rmse_level_kwh == pytest.approx(0.0, abs=1e-5)


@few
@given(seeds)
def test_a_sum_with_one_efficiency_is_a_relaxation(seed: int) -> None:
    fleet, price = week_of(seed)
    fleet = alike(fleet)
    cars_eur = fleet_total(reference(fleet, price)).cost_eur(price)
    lp = StoreLp(fleet.steps, fleet.keep)
    sum_eur, envelope_eur = (lp.solve(store, price).cost_eur(price) for store in (simple_sum(fleet), envelope(fleet)))
    assert sum_eur <= envelope_eur + 1e-4
    assert envelope_eur <= cars_eur + 1e-4


@few
@given(seeds, st.floats(0.7, 1.3))
def test_energy_balances_whatever_the_factors(seed: int, high: float) -> None:
    fleet, price = week_of(seed)
    cars = fleet_total(reference(fleet, price))
    factors = Factors.ones(24).value.copy()
    factors[1] = high
    store = simple_sum(fleet)
    mine = StoreLp(fleet.steps, fleet.keep).solve(
        scaled(store, Factors(factors, 24), block_of_step(168, 1.0, 24)), price
    )
    assert np.abs(mine.missing_kwh).max() < 1e-6
    driven_kwh = fleet.driving_kwh.sum()
    assert mine.charge_kw.sum() * store.charge_efficiency == pytest.approx(driven_kwh, abs=1e-5)
    assert (reference(fleet, price).charge_kw * fleet.charge_efficiency).sum() == pytest.approx(driven_kwh, abs=1e-5)
    assert mine.charge_kw.sum() == pytest.approx(cars.charge_kw.sum(), rel=0.02)  # its efficiency is a mean


@few
@given(seeds)
def test_what_cars_do_can_be_shared_out_again(seed: int) -> None:
    fleet, price = week_of(seed)
    wanted_kw = fleet_total(reference(fleet, price)).charge_kw
    shares = disaggregate(fleet, wanted_kw)
    assert shares.apart_kwh() == pytest.approx(0.0, abs=1e-6)
    assert shares.charge_kw.sum(axis=1) == pytest.approx(wanted_kw, abs=1e-6)
    assert (shares.charge_kw <= fleet.charge_high_kw + 1e-9).all()
    into = shares.charge_kw * fleet.charge_efficiency
    before = np.roll(shares.level_kwh, 1, axis=0)
    assert shares.level_kwh == pytest.approx(before + into - fleet.driving_kwh, abs=1e-6)


@few
@given(seeds)
def test_the_best_sharing_is_no_worse_than_the_cars_own_schedule(seed: int) -> None:
    fleet, price = week_of(seed)
    wanted_kw = StoreLp(168, 1.0).solve(simple_sum(fleet), price).charge_kw
    own_kw = fleet_total(reference(fleet, price)).charge_kw
    assert disaggregate(fleet, wanted_kw).apart_kwh() <= np.abs(wanted_kw - own_kw).sum() + 1e-4


@pytest.mark.parametrize("seed", [1, 2])
def test_the_milp_s_schedule_is_the_inner_optimum_at_its_factors(seed: int) -> None:
    case = small_case(seed, cars=3, hours=12)
    lp = StoreLp(12, 1.0)
    for kind in ("absolute", "squared"):
        best = fit_exactly(case, 6, deviation=kind, weights=ABSOLUTE, stop=QUICK)
        again = lp.solve(scaled(case.store, best.factors, block_of_step(12, 1.0, 6)), case.price_eur_per_kwh)
        assert best.schedule.charge_kw == pytest.approx(again.charge_kw, abs=1e-5)
        assert best.status in ("optimal", "gap_limit")
        off = best.schedule.charge_kw - case.target.charge_kw
        assert best.objective == pytest.approx(
            np.mean(np.abs(off) if kind == "absolute" else off**2), rel=1e-6, abs=1e-8
        )
        assert best.bound <= best.objective + 1e-9


TIME_OF_USE = np.where(np.arange(24) < 6, 0.1, np.where((np.arange(24) >= 17) & (np.arange(24) < 20), 0.5, 0.2))


def tied_case(seed: int, cars: int, hours: int, *, discharge: bool) -> Case:
    """A case on a tariff of three prices: nearly every step ties with others."""
    fleet, _ = week_of(seed, cars, discharge=discharge)
    fleet = replace(fleet, **{name: getattr(fleet, name)[:hours] for name in PER_STEP})
    price = TIME_OF_USE[:hours]
    return Case(aggregate(fleet, "sum"), price, fleet_total(reference(fleet, price)))


@pytest.mark.parametrize(("seed", "cars", "hours", "discharge"), [(5, 4, 24, False), (6, 3, 10, True)])
@pytest.mark.parametrize("kind", ["absolute", "squared"])
def test_ties_of_a_tariff_leave_the_milp_no_choice(
    seed: int, cars: int, hours: int, discharge: bool, kind: Literal["absolute", "squared"]
) -> None:
    """Charging, discharging and levels: all are those of the inner programme solved again, and so is the value."""
    case = tied_case(seed, cars, hours, discharge=discharge)
    best = fit_exactly(case, 24, deviation=kind, stop=Limits(gap=1e-2))
    assert best.status in ("optimal", "gap_limit")
    store = scaled(case.store, best.factors, block_of_step(hours, 1.0, 24))
    again = StoreLp(hours, 1.0).solve(store, case.price_eur_per_kwh)
    for name in ("charge_kw", "discharge_kw", "level_kwh"):
        assert getattr(best.schedule, name) == pytest.approx(getattr(again, name), abs=1e-4), name
    apart = [(weight, off) for weight, off in parts(case.target, again, Weights())]
    value = sum(weight * np.mean(np.abs(off) if kind == "absolute" else off**2) for weight, off in apart)
    assert best.objective == pytest.approx(value, rel=1e-9, abs=1e-12)
    assert best.bound <= best.objective + 1e-6


def test_blocks_whose_bounds_are_all_nil_keep_a_factor_of_one() -> None:
    case = tied_case(6, 4, 12, discharge=True)
    nothing = np.where(np.arange(12) < 6, 0.0, 1.0)
    store = replace(case.store, discharge_high_kw=case.store.discharge_high_kw * nothing)
    best = fit_exactly(replace(case, store=store), 6, stop=QUICK)
    assert np.isfinite(best.factors.value).all()
    assert best.factors.value[3, 0] == 1.0


def test_a_milp_whose_schedule_is_not_the_inner_optimum_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    case = tied_case(5, 4, 16, discharge=True)
    honest = exact._search

    def flattered(*given: Any, **how: Any) -> tuple[SolveResult, int]:
        found, rounds = honest(*given, **how)
        return replace(found, value=0.5 * found.value, bound=0.5 * found.bound), rounds

    monkeypatch.setattr(exact, "_search", flattered)
    best = fit_exactly(case, 24, stop=QUICK)
    assert best.status == "not_proven"
    assert best.objective > 0.01


def test_finer_nested_maps_fit_no_worse_with_proof() -> None:
    case = small_case(3, cars=4, hours=12)
    lp = StoreLp(12, 1.0)
    before = deviation(case.target, lp.solve(case.store, case.price_eur_per_kwh), ABSOLUTE)
    for block_h in (12, 6, 3):
        best = fit_exactly(case, block_h, deviation="squared", weights=ABSOLUTE, stop=QUICK)
        assert best.bound <= before + 1e-9
        before = best.objective + 1e-3 * best.objective


def test_finer_nested_maps_fit_no_worse_by_search() -> None:
    rng = np.random.default_rng(4)
    cars = draw_cars(10, rng)
    weeks = [make_week(draw_week(cars, rng), draw_prices(rng)) for _ in range(2)]
    simple = train(weeks, SIMPLE, rng)
    models = []
    for block_h in (168, 24, 12, 6):
        models.append(train(weeks, Recipe("sum", 1, block_h, 0.01), rng, FitOptions(kicks=0), coarser=models))
    objectives = [model.objective for model in models]
    assert objectives == sorted(objectives, reverse=True)
    assert judge(models[-1], weeks).rmse_charge_kw < 0.8 * judge(simple, weeks).rmse_charge_kw


@pytest.mark.parametrize("block_h", [24, 6])
def test_the_scalable_fit_is_near_the_proven_optimum(block_h: int) -> None:
    case = small_case(5, cars=3, hours=12)
    best = fit_exactly(case, block_h, deviation="squared", stop=QUICK)
    quick = fit_factors([case], block_h, np.random.default_rng(0), FitOptions(regularisation=0.0, kicks=30))
    assert quick.deviation >= best.bound - 1e-6
    assert quick.deviation <= 1.1 * best.objective + 1e-3


@pytest.mark.slow
def test_one_week_and_hourly_factors_reproduce_any_reference() -> None:
    fleet, price = week_of(6, 10)
    week = make_week(fleet, price)
    rng = np.random.default_rng(0)
    fitted = train([week], Recipe("sum", 1, 1, 0.0), rng, FitOptions(kicks=0))
    assert judge(fitted, [week]).rmse_charge_kw < 0.05 * judge(train([week], SIMPLE, rng), [week]).rmse_charge_kw


def test_the_milp_agrees_with_the_general_bilevel_solver() -> None:
    """Two solvers that share nothing: big-M with proven bounds, and branching without any big-M."""
    case = small_case(7, cars=3, hours=8)
    best = fit_exactly(case, 168, weights=ABSOLUTE, low=0.2, high=1.5)
    general = solve_bilevel(_as_bilevel(case, 0.2, 1.5), time_limit_s=60.0)
    assert general.proven
    assert best.objective == pytest.approx(general.value, rel=1e-3, abs=1e-4)


def _as_bilevel(case: Case, low: float, high: float) -> BilevelLP:
    """The same problem for ``solve_bilevel``: x is factors of charging and levels, then deviations; y is c, then s."""
    store, steps = case.store, case.store.steps
    eta, one = store.charge_efficiency, np.eye(steps)
    late = TIE_EUR_PER_KWH * (1.0 + np.arange(steps))
    square = np.zeros((steps, steps))
    column = lambda values: values[:, None]  # noqa: E731
    zero = np.zeros((steps, 1))
    charge_most, low_level, high_level = eta * store.charge_high_kw, store.level_low_kwh, store.level_high_kwh
    chain = one - np.roll(one, -1, axis=1)  # s[t] - s[t-1]
    assert chain[1, 0] == -1.0
    follower_x = np.block([
        [column(-charge_most), zero, zero, square], [zero, column(low_level), zero, square],
        [zero, zero, column(-high_level), square],
        [zero, zero, zero, square], [zero, zero, zero, square],
    ])  # fmt: skip
    follower_y = np.block([[one, square], [square, -one], [square, one], [-one, chain], [one, -chain]])
    right = np.concatenate([np.zeros(3 * steps), -store.driving_kwh, store.driving_kwh])
    leader_x = np.block([[np.zeros((steps, 3)), -one], [np.zeros((steps, 3)), -one]])
    leader_y = np.block([[one / eta, square], [-one / eta, square]])
    target = case.target.charge_kw
    return BilevelLP(
        c_x=np.concatenate([np.zeros(3), np.full(steps, 1.0 / steps)]), c_y=np.zeros(2 * steps),
        A=leader_x, B=leader_y, a=np.concatenate([target, -target]),
        C=follower_x, D=follower_y, b=right,
        d=np.concatenate([(case.price_eur_per_kwh + late) / eta, np.full(steps, LEVEL_TIE_EUR_PER_KWH)]),
        x_bounds=[(low, high)] * 3 + [(0.0, 1e3)] * steps, y_bounds=[(0.0, 1e4)] * (2 * steps),
    )  # fmt: skip


def test_units_of_one_car_each_are_the_cars() -> None:
    fleet, price = week_of(8, 6)
    week = make_week(fleet, price)
    model = train([week], Recipe("sum", 6), np.random.default_rng(0))
    assert judge(model, [week]).rmse_charge_kw == pytest.approx(0.0, abs=1e-6)
    assert aggregate(fleet, "sum").charge_high_kw == pytest.approx(fleet.charge_high_kw.sum(axis=1))
