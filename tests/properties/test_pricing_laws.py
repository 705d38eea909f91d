"""Laws of the drivers' problem, against brute force over all assignments of small random instances."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.controllers.pricing import Follower, Instance, Leader, Rules, better_moves, evaluate, make_instance

FEW = settings(max_examples=15, deadline=None, derandomize=True)
SAME = 1e-5


@st.composite
def cases(draw) -> tuple[Instance, np.ndarray]:
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    users, stations = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    demands = rng.integers(5, 40, users).astype(float)
    instance = make_instance(
        budgets=rng.choice([0.3, 0.4, 0.5, 0.6], users),
        demands_kwh=demands,
        travel_h=rng.uniform(0.0, 1.0, (users, stations)).round(2),
        power_kw=rng.choice([11.0, 22.0, 50.0], stations),
        capacity_kwh=np.floor(rng.uniform(0.8, 2.0) * demands.sum() / stations * np.ones(stations)),
        beta_h=rng.choice([0.0, 0.02, 0.2], stations),
        refuse_unservable=False,
    )
    return instance, rng.choice(instance.levels, stations)


def all_answers(instance: Instance, prices: np.ndarray, congestion: str = "system") -> list:
    """Every feasible assignment of those who must be served, by brute force."""
    able = instance.affordable(prices)
    choices = [np.flatnonzero(row).tolist() or [-1] for row in able]
    found = []
    for choice in product(*choices):
        station = np.array(choice)
        going = station >= 0
        used = np.bincount(station[going], instance.demands_kwh[going], instance.stations)
        if (used <= instance.capacity_kwh + 1e-9).all():
            found.append(evaluate(instance, prices, station, congestion))
    return found


def efficient_values(answers: list) -> list[tuple[float, float]]:
    kept: list[tuple[float, float]] = []
    for cost, time in sorted((a.cost_eur, a.potential_h) for a in answers):
        if not kept or time < kept[-1][1] - SAME:
            kept.append((cost, time))
    return kept


@FEW
@given(cases())
def test_the_ends_and_all_between_are_those_of_brute_force(case) -> None:
    instance, prices = case
    follower, brute = Follower(instance), all_answers(instance, prices)
    if not brute:
        assert follower.optimistic(prices) is None
        assert follower.weighted(prices, (0.5, 0.5)) is None
        assert follower.efficient(prices) == []
        return
    wanted = efficient_values(brute)
    found = [(answer.cost_eur, answer.time_h) for answer in follower.efficient(prices)]
    assert np.allclose(found, wanted, atol=2 * SAME)
    optimistic, pessimistic = follower.optimistic(prices), follower.pessimistic(prices)
    assert np.allclose([pessimistic.cost_eur, pessimistic.time_h], wanted[0], atol=2 * SAME)
    assert np.allclose([optimistic.cost_eur, optimistic.time_h], wanted[-1], atol=2 * SAME)
    assert optimistic.cost_eur >= pessimistic.cost_eur - SAME


@FEW
@given(
    cases(),
    st.sampled_from([(0.1, 0.9), (0.9, 0.1), (0.0, 1.0), (1.0, 0.0)]),
    st.sampled_from(["system", "equilibrium"]),
)
def test_formulations_agree_with_each_other_and_with_brute_force(case, weights, congestion) -> None:
    instance, prices = case

    def worth(answer) -> float:
        return weights[0] * answer.cost_eur + weights[1] * answer.potential_h

    brute = all_answers(instance, prices, congestion)
    for formulation in ("cuts", "products", "products_lean"):
        answer = Follower(instance, Rules(congestion, formulation=formulation)).weighted(prices, weights)
        assert (answer is None) == (not brute)
        if answer is not None:
            assert abs(worth(answer) - min(map(worth, brute))) <= SAME


@FEW
@given(cases(), st.sampled_from([(0.1, 0.9), (0.9, 0.1), (0.5, 0.5)]))
def test_selfish_answers_are_nash_equilibria(case, weights) -> None:
    instance, prices = case
    answer = Follower(instance, Rules("equilibrium")).weighted(prices, weights)
    if answer is not None:
        assert better_moves(instance, prices, answer, weights) == []


@FEW
@given(cases())
def test_lost_energy_is_the_least_possible(case) -> None:
    instance, prices = case
    answer = Follower(instance, Rules(lost_sales=True)).pessimistic(prices)
    able = instance.affordable(prices)
    least = np.inf
    for choice in product(*[[-1, *np.flatnonzero(row).tolist()] for row in able]):
        station = np.array(choice)
        used = np.bincount(station[station >= 0], instance.demands_kwh[station >= 0], instance.stations)
        if (used <= instance.capacity_kwh + 1e-9).all():
            least = min(least, float(instance.demands_kwh[(station < 0) & able.any(axis=1)].sum()))
    assert abs(answer.lost_kwh - least) <= SAME


@FEW
@given(cases())
def test_income_is_what_drivers_pay_and_readings_are_ordered(case) -> None:
    instance, prices = case
    leader = Leader(instance)
    income = {reading: leader.income_eur(reading, prices) for reading in ("optimistic", "pessimistic", "moderate")}
    if np.isfinite(income["optimistic"]):
        answer = leader.answer("optimistic", prices)
        going = answer.station >= 0
        paid = prices[answer.station[going]] @ instance.demands_kwh[going]
        assert abs(income["optimistic"] - paid) <= SAME
        assert income["pessimistic"] - SAME <= income["moderate"] <= income["optimistic"] + SAME
        assert (prices[answer.station[going]] <= instance.budgets[going] + 1e-9).all()
