"""Decision rules on fronts whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.controllers.pareto.choice import (
    RULES,
    by_asf,
    by_knee,
    by_turn,
    choice_faults,
    normalised,
)

OBJECTIVES = ("unbalance_current", "pv_curtailment")
SHARE = np.linspace(0.0, 1.0, 101)
CONVEX = np.column_stack([900.0 * (1.0 - SHARE) ** 2 + 100.0, 4.0 * SHARE**2])  # A², kW²: what the feeder looks like


def test_normalised_lies_between_ideal_and_nadir() -> None:
    scaled = normalised(CONVEX)
    assert scaled.min(axis=0).tolist() == [0.0, 0.0]
    assert scaled.max(axis=0).tolist() == [1.0, 1.0]
    assert normalised(np.array([[5.0, 1.0], [5.0, 2.0]]))[:, 0].tolist() == [0.0, 0.0]  # nadir equals ideal


@pytest.mark.parametrize(("weights", "share"), [((0.5, 0.5), 0.5), ((0.2, 0.8), 1 / 3), ((0.8, 0.2), 2 / 3)])
def test_asf_balances_the_weighted_objectives(weights: tuple[float, float], share: float) -> None:
    """With (1-t)² against t² the rule stands where w1 (1-t)² = w2 t²."""
    assert SHARE[by_asf(CONVEX, np.array(weights))] == pytest.approx(share, abs=0.01)


def test_a_weight_of_one_takes_the_end_of_the_front() -> None:
    assert SHARE[by_asf(CONVEX, np.array([0.0, 1.0]))] == pytest.approx(0.0, abs=0.01)
    assert SHARE[by_asf(CONVEX, np.array([1.0, 0.0]))] == pytest.approx(1.0, abs=0.01)


def test_knee_is_the_corner() -> None:
    front = np.array([[10.0, 0.0], [9.0, 0.4], [2.0, 1.0], [1.8, 6.0], [0.0, 10.0]])
    assert by_knee(front, np.array([0.5, 0.5])) == 2


def test_in_turn_takes_the_heaviest_objective_first() -> None:
    """Of the three best in the second objective, within a thousandth of its range, the best in the first."""
    front = np.array([[10.0, 0.0], [9.0, 0.0004], [8.0, 0.0009], [2.0, 0.5], [0.0, 1.0]])
    assert by_turn(front, np.array([0.25, 0.75])) == 2
    assert by_turn(front, np.array([0.75, 0.25])) == 4
    assert by_turn(front, np.array([0.5, 0.5])) == 4  # of equal weights their own order


@pytest.mark.parametrize("rule", RULES)
def test_flat_fronts_and_single_points(rule: str) -> None:
    weights = np.array([0.5, 0.5])
    assert RULES[rule](np.array([[3.0, 0.0]]), weights) == 0
    assert RULES[rule](np.array([[3.0, 0.0], [2.0, 0.0]]), weights) in (0, 1)
    assert RULES[rule](np.array([[0.0, 0.0], [0.0, 0.0]]), weights) in (0, 1)


def test_faults_are_collected() -> None:
    assert list(choice_faults("asf", (0.2, 0.8), OBJECTIVES)) == []
    found = [*choice_faults("best", (0.5, 0.6), OBJECTIVES), *choice_faults("asf", (1.0,), OBJECTIVES)]
    assert [fault.key for fault in found] == ["rule", "weights", "weights"]
    assert "sum to 1" in found[1].remedy
    assert [fault.key for fault in choice_faults("knee", (1.5, -0.5), OBJECTIVES)] == ["weights"]
    assert [fault.key for fault in choice_faults("knee", (float("nan"), 0.5), OBJECTIVES)] == ["weights"]
