"""Station pricing: the reference instance gives its table; the exact search; the evolutionary algorithm; bad input."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from cosim.controllers.pricing import (
    OPTIMISTIC_WEIGHTS,
    PESSIMISTIC_WEIGHTS,
    READINGS,
    Follower,
    Leader,
    Rules,
    best_prices,
    better_moves,
    build,
    evaluate,
    evolve,
    generate,
    make_instance,
    minimise,
    scip_missing,
    with_periods,
)
from cosim.controllers.solver import Limits, OutOfTimeError
from cosim.errors import InputError

REFERENCE = {
    "budgets": [0.30, 0.40, 0.50, 0.40],
    "demands_kwh": [20, 30, 40, 25],
    "travel_h": [[0.1, 0.4], [0.3, 0.2], [0.5, 0.1], [0.2, 0.3]],
    "power_kw": [22, 50],
    "capacity_kwh": [80, 80],
    "beta_h": [0.05, 0.05],
}
TABLE = {
    (0.3, 0.3): (4, 34.5, 4.4455, 34.5, 4.4455, 34.5, 34.5),
    (0.3, 0.4): (4, 41.5, 4.4455, 38.5, 5.4091, 41.5, 38.5),
    (0.3, 0.5): (4, 42.5, 5.4091, 42.5, 5.4091, 42.5, 42.5),
    (0.4, 0.3): (4, 38.5, 5.2182, 38.5, 5.2182, 40.0, 38.5),
    (0.4, 0.4): (3, 38.0, 3.2864, 38.0, 3.2864, 38.0, 38.0),
    (0.4, 0.5): (3, 42.0, 4.1500, 42.0, 4.1500, 42.0, 42.0),
    (0.5, 0.3): (4, 42.5, 5.2182, 42.5, 5.2182, 42.5, 42.5),
    (0.5, 0.4): (3, 42.0, 4.1682, 42.0, 4.1682, 42.0, 42.0),
    (0.5, 0.5): (1, 20.0, 0.9500, 20.0, 0.9500, 20.0, 20.0),
}
"""Served; income and time by both of the slides' weights; income at both lexicographic ends: found by brute force."""

WAYS = [("cuts", "highs"), ("products", "highs"), ("products_lean", "highs"), ("cuts", "scip"), ("nonlinear", "scip")]


@pytest.fixture(scope="module")
def reference():
    return make_instance(**REFERENCE)


@pytest.mark.parametrize(("formulation", "solver"), WAYS)
def test_the_reference_instance_gives_its_table(reference, formulation, solver):
    if solver == "scip" and scip_missing():
        pytest.skip(f"SCIP: {scip_missing()}")
    follower = Follower(reference, Rules(formulation=formulation, solver=solver))
    for prices, row in TABLE.items():
        at = np.array(prices)
        first, second = follower.weighted(at, OPTIMISTIC_WEIGHTS), follower.weighted(at, PESSIMISTIC_WEIGHTS)
        found = [first.served, first.cost_eur, first.time_h, second.cost_eur, second.time_h,
                 follower.optimistic(at).cost_eur, follower.pessimistic(at).cost_eur]  # fmt: skip
        assert found == pytest.approx(row, abs=5e-5), prices


def test_weights_miss_an_efficient_answer_that_the_ends_find(reference):
    answers = Follower(reference).efficient(np.array([0.4, 0.3]))
    assert [round(answer.cost_eur, 2) for answer in answers] == [38.5, 40.0]
    assert answers[1].time_h < answers[0].time_h


def test_the_best_prices_are_proven_with_few_exact_solves(reference):
    leader = Leader(reference)
    for reading in (*READINGS, "moderate"):
        best = best_prices(leader, reading)
        assert best.income_eur == pytest.approx(42.5)
        assert best.vectors == 9
        assert best.solved < 9


@pytest.mark.parametrize("seed", range(2))
def test_bounds_lose_nothing_against_full_enumeration(seed):
    instance = generate(5, 2, np.random.default_rng(seed), spare=1.2)
    for options in ({}, {"price_order": True}, {"rules": Rules(congestion="equilibrium")}):
        leader = Leader(instance, **options)
        for reading in READINGS:
            all_eur = [leader.income_eur(reading, prices) for prices in leader.price_vectors()]
            assert best_prices(leader, reading).income_eur == pytest.approx(max(all_eur), abs=1e-5)


def test_the_evolutionary_algorithm_repeats_itself_and_stays_below_the_optimum():
    instance = generate(6, 2, np.random.default_rng(5))
    runs = [evolve(Leader(instance), np.random.default_rng(3), population=8, generations=4) for _ in range(2)]
    assert np.array_equal(runs[0].history_eur, runs[1].history_eur)
    assert np.array_equal(runs[0].moderate, runs[1].moderate)
    leader = Leader(instance)
    for found, reading in ((runs[0].optimistic_eur, READINGS[2]), (runs[0].pessimistic_eur, READINGS[3])):
        best = best_prices(leader, reading).income_eur
        assert 0.9 * best <= found <= best + 1e-6
    assert (np.diff(runs[0].history_eur, axis=0) >= 0).all()


def test_lost_sales_serve_as_much_as_fits_and_cost_the_rest(reference):
    tight = replace(reference, capacity_kwh=np.array([40.0, 45.0]))
    prices = np.array([0.3, 0.3])
    assert Follower(tight).optimistic(prices) is None
    answer = Follower(tight, Rules(lost_sales=True)).optimistic(prices)
    assert answer.lost_kwh == 115 - 85  # 40 in the first, 20 + 25 in the second
    leader = Leader(tight, Rules(lost_sales=True), lost_eur_per_kwh=0.1)
    assert leader.income_eur("optimistic", prices) == pytest.approx(0.3 * 85 - 0.1 * 30)
    all_eur = [leader.income_eur("pessimistic", each) for each in leader.price_vectors()]
    assert best_prices(leader, "pessimistic").income_eur == pytest.approx(max(all_eur))


def test_lost_sales_change_nothing_where_all_fit(reference):
    free, strict = Follower(reference, Rules(lost_sales=True)), Follower(reference)
    for prices in TABLE:
        at = np.array(prices)
        assert free.optimistic(at).cost_eur == pytest.approx(strict.optimistic(at).cost_eur)
        assert free.pessimistic(at).lost_kwh == 0.0


def test_more_power_is_not_cheaper_when_that_is_asked_for(reference):
    leader = Leader(reference, price_order=True)
    listed = [tuple(prices) for prices in leader.price_vectors()]
    assert listed == [prices for prices in TABLE if prices[1] >= prices[0]]
    assert leader.mended(np.array([0.5, 0.3])).tolist() == [0.5, 0.5]
    found = evolve(leader, np.random.default_rng(1), population=8, generations=8)
    assert leader.allowed(found.optimistic)
    assert found.optimistic_eur == pytest.approx(42.5)


def test_periods_are_stations_of_their_own(reference):
    both = with_periods(reference, [0, 0, 1, 1], 0.5, [0.5, 0.5])
    assert both.stations == 4
    assert both.travel_h[0].tolist() == pytest.approx([0.1, 0.4, 0.6, 0.9])
    assert both.travel_h[2].tolist() == pytest.approx([1.0, 0.6, 0.5, 0.1])
    assert both.capacity_kwh.tolist() == [40.0] * 4
    answer = Follower(both).optimistic(np.full(4, 0.3))
    assert both.period[answer.station].tolist() == [0, 0, 1, 1]  # nobody shifts: there is room in the own period
    assert Leader(both, price_order=True).allowed(np.array([0.3, 0.4, 0.5, 0.5]))  # order within a period only
    with pytest.raises(InputError, match="preferred_period"):
        with_periods(reference, [0, 0, 2, 1], 0.5, [0.5, 0.5])


def test_selfish_drivers_crowd_where_the_system_would_spread_them():
    # one quick station and a slow one: alone, each driver prefers the quick one until waiting eats the advantage
    instance = make_instance([0.5] * 6, [10] * 6, [[0.0, 0.5]] * 6, [50, 50], [100, 100], [0.1, 0.1])
    prices, weights = np.array([0.5, 0.5]), (0.0, 1.0)
    system = Follower(instance).weighted(prices, weights)
    selfish = Follower(instance, Rules(congestion="equilibrium")).weighted(prices, weights)
    assert (system.station == 0).sum() == 4
    assert (selfish.station == 0).sum() == 5
    assert better_moves(instance, prices, selfish, weights) == []
    assert len(better_moves(instance, prices, system, weights)) == 2  # both at the slow station would rather move
    assert system.time_h < selfish.time_h


def test_a_gap_is_kept_and_reported():
    instance = generate(30, 4, np.random.default_rng(2))
    exact, near = Follower(instance), Follower(instance, Rules(gap=0.01))
    prices = np.full(4, instance.levels[2])
    prices[:2] = instance.levels[-1]
    for weights in (OPTIMISTIC_WEIGHTS, PESSIMISTIC_WEIGHTS):
        good, best = near.weighted(prices, weights), exact.weighted(prices, weights)
        worth = [weights[0] * one.cost_eur + weights[1] * one.time_h for one in (good, best)]
        assert worth[1] - 1e-6 <= worth[0] <= worth[1] * 1.0101
    assert 0.0 <= near.worst_gap <= 0.01
    with pytest.raises(InputError, match="gap 0"):
        best_prices(Leader(instance, Rules(gap=0.01)), "optimistic")


def test_the_relaxation_of_the_cuts_is_whole_without_capacities_and_that_of_the_products_is_not():
    instance = replace(generate(10, 3, np.random.default_rng(1)), capacity_kwh=np.full(3, 1e6))
    prices = np.full(3, instance.levels[0])
    values = {}
    for formulation in ("cuts", "products", "products_lean"):
        model = build(instance, prices, formulation)
        values[formulation] = [minimise(model, model.time_h, relaxed=relaxed).value for relaxed in (True, False)]
    assert values["cuts"][0] == pytest.approx(values["cuts"][1], rel=1e-7)
    assert values["products"][1] == pytest.approx(values["cuts"][1], rel=1e-7)
    assert values["products"][0] < 0.95 * values["products"][1]
    assert values["products_lean"][0] == pytest.approx(values["products"][0], rel=1e-7)


def test_no_answer_is_called_proven_when_time_is_over():
    instance = generate(40, 5, np.random.default_rng(1), spare=1.05)
    model = build(instance, np.full(5, instance.levels[0]), "products")
    with pytest.raises(OutOfTimeError, match="no proven answer of the users within"):
        minimise(model, model.time_h, stop=Limits(time_s=0.2))


def test_highs_does_not_pretend_to_solve_the_nonlinear_form(reference):
    with pytest.raises(InputError, match="HiGHS does not solve"):
        Follower(reference, Rules(formulation="nonlinear")).optimistic(np.array([0.3, 0.4]))


def test_prices_above_all_budgets_earn_nothing(reference):
    answer = Follower(reference).optimistic(np.array([0.6, 0.6]))
    assert answer.served == 0
    assert answer.cost_eur == answer.time_h == answer.lost_kwh == 0.0
    assert Follower(reference).efficient(np.array([0.6, 0.6]))[0].served == 0


def test_values_of_an_assignment_by_hand(reference):
    answer = evaluate(reference, np.array([0.3, 0.5]), np.array([0, 0, 1, -1]))
    assert answer.cost_eur == pytest.approx(0.3 * 50 + 0.5 * 40)
    assert answer.time_h == pytest.approx(0.1 + 0.3 + 0.1 + 50 / 22 + 40 / 50 + 0.05 * (4 + 1))
    assert answer.lost_kwh == 25.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"budgets": [0.3, -0.4, 0.5, 0.4]}, [r"budgets\[2\]", "-0.4"]),
        ({"budgets": [0.3, float("nan"), 0.5, 0.4]}, [r"budgets\[2\]", "not a finite number"]),
        ({"travel_h": [[0.1, 0.4], [0.3], [0.5, 0.1], [0.2, 0.3]]}, ["travel_h", "ragged", "1 and 2"]),
        ({"travel_h": [[0.1, 0.4], [0.3, 0.2]]}, ["travel_h", "2 rows", r"one row per user \(4\)"]),
        ({"power_kw": [22, 0]}, [r"power_kw\[2\]", "above 0"]),
        ({"beta_h": [0.1]}, ["beta_h", "one per station"]),
        ({"demands_kwh": ["a", 1, 2, 3]}, ["demands_kwh", "no number"]),
        ({"budgets": ["0.3", 0.4, 0.5, True]}, ["budgets", "no number"]),
        ({"budgets": []}, ["budgets"]),
        ({"capacity_kwh": [10, 10]}, ["capacity_kwh", "0.30 EUR/kWh", "0.50 EUR/kWh", "115 kWh"]),
        ({"budgets": [-1, 0.4, 0.5, 0.4], "beta_h": [0.1], "power_kw": [22, 50]}, [r"budgets\[1\]", "beta_h"]),
    ],
)
def test_bad_instances_are_named(change, words):
    for word in words:
        with pytest.raises(InputError, match=word):
            make_instance(**{**REFERENCE, **change})


def test_prices_that_cannot_be_served_are_no_fault_of_the_instance(reference):
    tight = make_instance(**{**REFERENCE, "capacity_kwh": [40, 40]})
    leader = Leader(tight)
    served = [prices for prices in product(tight.levels, repeat=2) if leader.answer("optimistic", np.array(prices))]
    assert served == [(0.5, 0.5)]
    assert best_prices(leader, "optimistic").income_eur == pytest.approx(20.0)
    assert make_instance(**{**REFERENCE, "capacity_kwh": [1, 1]}, refuse_unservable=False).users == 4
