"""The deviation test on homes small enough to follow by hand, and on caps that are safe by their sum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cosim.controllers.caps import CapsProblem, Deviation, deviation_test
from cosim.experiments.studies.host_capacity.homes import draw_problem


def two_homes(**changes: object) -> tuple[CapsProblem, np.ndarray]:
    """Two cars that need 5 kWh each in two hours of one price; the caps send the first to the second hour."""
    problem = CapsProblem(
        slot_h=1.0,
        tariff_eur_per_kwh=np.array([0.2, 0.2]),
        inflexible_kw=np.zeros((2, 2)),
        connection_kw=np.array([10.0, 10.0]),
        phase_share=np.ones((2, 1)),
        limit_kw=np.full((2, 1), 5.0),
        home=np.array([0, 1]),
        plugged=np.ones((2, 2)),
        charger_kw=np.array([5.0, 5.0]),
        charger_min_kw=np.zeros(2),
        energy_need_kwh=np.array([5.0, 5.0]),
        efficiency=np.ones(2),
    )
    return replace(problem, **changes), np.array([[0.0, 10.0], [10.0, 10.0]])


def outcome(problem: CapsProblem, caps_kw: np.ndarray, seed: int = 1, **options: object) -> dict[str, Deviation]:
    rows = deviation_test(problem, caps_kw, np.random.default_rng(seed), **options)  # type: ignore[arg-type]
    return {row.behaviour: row for row in rows}


def test_what_two_homes_do_can_be_followed_by_hand():
    rows = outcome(*two_homes(), share=1.0)
    assert rows["as modelled"].max_excess_kw == 0.0
    assert rows["charging at once"].over_limit_share == 0.0  # the second starts at once anyway
    assert rows["everybody latest first inside the band"].max_excess_kw == pytest.approx(5.0)  # both in the last hour
    shuffled = rows["shuffled inside the tariff band"]
    assert 0.3 < shuffled.over_limit_share < 0.7  # the second picks either hour
    assert (shuffled.mean_excess_kw, shuffled.max_excess_kw) == (pytest.approx(5.0), pytest.approx(5.0))
    more = rows["20 % more energy"]
    assert more.over_limit_share == 1.0
    assert more.max_excess_kw == pytest.approx(1.0)  # the sixth kWh of the second goes to the first one's hour


def test_a_larger_share_of_homes_does_more():
    one, both = (outcome(*two_homes(), share=share)["20 % more energy"] for share in (0.2, 1.0))
    assert one.over_limit_share < both.over_limit_share
    assert one.homes_share == 0.2


def test_late_cars_draw_what_is_left_of_their_stay():
    problem, caps = two_homes(slot_h=2.0, energy_need_kwh=np.array([10.0, 10.0]))
    assert outcome(problem, caps, share=1.0)["2 h late"].max_excess_kw == pytest.approx(5.0)


def test_another_tariff_moves_cars_to_other_hours():
    problem, _ = two_homes(tariff_eur_per_kwh=np.array([0.1, 0.3]), limit_kw=np.array([[10.0], [0.0]]))
    other = outcome(problem, np.full((2, 2), 10.0), share=1.0)["another tariff"]
    assert 0.2 < other.over_limit_share < 0.8  # an odd shift swaps the hours, an even one changes nothing
    assert other.max_excess_kw == pytest.approx(10.0)


def test_noise_changes_what_is_left_of_a_cap_but_no_cap_holds_the_noise_itself():
    problem, caps = two_homes(inflexible_kw=np.full((2, 2), 1.0), limit_kw=np.full((2, 1), 7.0))
    noisy = outcome(problem, caps)["inflexible load 30 % off everywhere"]
    assert not noisy.respects_caps
    assert 0.0 < noisy.mean_excess_kw < noisy.max_excess_kw < 2.0


def test_limits_to_judge_by_may_be_others():
    rows = outcome(*two_homes(), share=1.0, limit_kw=np.full((2, 1), 10.0))
    assert all(row.max_excess_kw == 0.0 for row in rows.values())


def test_load_that_is_above_the_limit_by_itself_is_nobodys_deviation():
    problem, caps = two_homes(inflexible_kw=np.full((2, 2), 4.0))
    assert outcome(problem, np.full_like(caps, 4.0))["charging at once"].max_excess_kw == 0.0


def test_the_same_seed_gives_the_same_draws():
    first, again, other = (outcome(*two_homes(), seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("limits", ["total", "per-phase"])
def test_caps_whose_sum_respects_the_limits_are_safe_for_all_who_respect_their_caps(limits):
    problem = draw_problem(30, 48, limits=limits)
    homes = problem.phase_share.sum(axis=0)
    share = (problem.headroom_kw / homes) @ problem.phase_share.T
    rows = outcome(problem, problem.inflexible_kw + share, draws=30)
    assert {row.behaviour: row.max_excess_kw for row in rows.values() if row.respects_caps} == {
        behaviour: pytest.approx(0.0, abs=1e-9) for behaviour, row in rows.items() if row.respects_caps
    }
    assert sum(row.respects_caps for row in rows.values()) == len(rows) - 1
    without = outcome(problem, np.broadcast_to(problem.connection_kw, problem.inflexible_kw.shape), draws=5)
    assert without["as modelled"].max_excess_kw > 1.0
