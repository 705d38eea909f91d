"""Data of the caps problem: what is refused, what is derived, in which order households rank slots."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cosim.controllers.caps import CapsOptions, CapsProblem, best_response, share_of_phase, solve_caps
from cosim.errors import InputError


def given(**changes: Any) -> dict[str, Any]:
    """Two homes on two phases, a car at the first, three slots of half an hour."""
    data: dict[str, Any] = {
        "slot_h": 0.5,
        "tariff_eur_per_kwh": np.array([0.2, 0.1, 0.1]),
        "inflexible_kw": np.array([[1.0, 2.0], [1.5, 2.0], [13.0, -1.0]]),
        "connection_kw": np.array([14.0, 14.0]),
        "phase_share": share_of_phase(np.array([0, 1])),
        "limit_kw": np.full((3, 3), 10.0),
        "home": np.array([0]),
        "plugged": np.array([[0.5], [1.0], [1.0]]),
        "charger_kw": np.array([7.4]),
        "charger_min_kw": np.array([1.38]),
        "energy_need_kwh": np.array([3.0]),
        "efficiency": np.array([0.9]),
    }
    return data | changes


def test_derived_quantities() -> None:
    problem = CapsProblem(**given())
    assert problem.room_kw[:, 0] == pytest.approx([13.0, 12.5, 1.0])
    assert problem.usable_kw[:, 0] == pytest.approx([3.7, 7.4, 0.0])  # half plugged in; rating; room below 6 A
    assert problem.base_kw[2] == pytest.approx([13.0, -1.0, 0.0])
    assert problem.headroom_kw[2] == pytest.approx([0.0, 11.0, 10.0])
    assert problem.reachable_kwh == pytest.approx([3.0])
    assert CapsProblem(**given(energy_need_kwh=np.array([30.0]))).reachable_kwh == pytest.approx([0.9 * 0.5 * 11.1])


def test_withheld_counts_plugged_in_slots_of_homes_with_a_car_only() -> None:
    problem = CapsProblem(**given(plugged=np.array([[0.0], [1.0], [0.2]])))
    caps = np.array([[4.0, 4.0], [5.0, 4.0], [13.0, 4.0]])
    assert problem.withheld_kwh(caps) == pytest.approx(0.5 * (9.0 + 1.0))


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(InputError) as raised:
        CapsProblem(
            **given(
                slot_h=0.0,
                efficiency=np.array([1.2]),
                limit_kw=np.full((3, 3), np.nan),
                charger_min_kw=np.array([8.0]),
                energy_need_kwh=np.array([-1.0]),
                phase_share=np.array([[0.5, 0.0, 0.0], [0.0, 1.0, 0.0]]),
            )
        )
    keys = {fault.key for fault in raised.value.faults}
    assert keys == {"slot_h", "efficiency", "limit_kw", "charger_min_kw", "energy_need_kwh", "phase_share"}
    assert "and 4 more" in str(raised.value)


def test_wrong_shapes_are_named_with_the_shape_wanted() -> None:
    with pytest.raises(InputError) as raised:
        CapsProblem(**given(limit_kw=np.ones((3, 2)), plugged=np.ones((3, 2))))
    assert {fault.key: fault.remedy for fault in raised.value.faults} == {
        "limit_kw": "give shape (3, 3)",
        "plugged": "give shape (3, 1)",
    }


def test_two_cars_at_one_home_in_one_slot_are_refused_but_one_after_the_other_is_fine() -> None:
    twice = {key: np.repeat(given()[key], 2) for key in ("home", "charger_kw", "charger_min_kw", "energy_need_kwh")}
    twice["efficiency"] = np.repeat(0.9, 2)
    with pytest.raises(InputError, match="home 0 has two cars plugged in at once in slots \\[1\\]"):
        CapsProblem(**given(**twice, plugged=np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])))
    problem = CapsProblem(**given(**twice, plugged=np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])))
    assert problem.per_home(np.ones((3, 2)))[:, 0] == pytest.approx([2.0, 2.0, 2.0])


def one_car(tariff: np.ndarray) -> CapsProblem:
    slots = len(tariff)
    return CapsProblem(
        **given(
            tariff_eur_per_kwh=tariff, inflexible_kw=np.zeros((slots, 2)), limit_kw=np.full((slots, 3), 10.0),
            plugged=np.ones((slots, 1)),
        )
    )  # fmt: skip


def filled(problem: CapsProblem) -> list[int]:
    """Slots in the order in which the car fills them as it needs more."""
    order: list[int] = []
    for slots in range(1, problem.slots + 1):
        need = np.array([slots * 7.4 * 0.5 * 0.9])
        charge = best_response(replace(problem, energy_need_kwh=need), np.full((problem.slots, 2), 14.0))[:, 0]
        assert charge == pytest.approx(np.where(charge > 1.0, 7.4, 0.0))
        order += [slot for slot in np.flatnonzero(charge > 1.0).tolist() if slot not in order]
    return order


def test_the_cheapest_slots_come_first_and_the_earlier_of_equals() -> None:
    tariff = np.array([0.3, 0.1, 0.2, 0.1, 0.3, 0.2])
    problem = one_car(tariff)
    assert filled(problem) == problem.merit_order.tolist() == [1, 3, 2, 5, 0, 4]
    cost = problem.order_cost
    assert (np.diff(cost[problem.merit_order]) > 0).all()
    assert np.abs(cost - tariff).max() < 0.1 / 2  # never enough to pass another price


def test_a_flat_tariff_is_ordered_by_time_and_rounding_does_not_reorder() -> None:
    assert filled(one_car(np.full(4, 0.2))) == [0, 1, 2, 3]
    rounded = one_car(np.array([0.1 + 0.2, 0.3, 0.1 + 0.2, 0.3]))  # two floats, one price
    assert filled(rounded) == [0, 1, 2, 3]
    assert np.diff(rounded.order_cost).min() > 1e-4


def test_single_phase_homes_fall_apart_and_a_three_phase_car_joins_its_phases() -> None:
    homes = {
        "inflexible_kw": np.zeros((3, 3)),
        "connection_kw": np.full(3, 14.0),
        "home": np.arange(3),
        "plugged": np.ones((3, 3)),
        **{key: np.repeat(given()[key], 3) for key in ("charger_kw", "charger_min_kw")},
        "energy_need_kwh": np.full(3, 6.0),
        "efficiency": np.full(3, 0.9),
    }
    exact = CapsOptions("least_restriction", gap=1e-6)

    def withheld_kwh(share: np.ndarray, *only: int) -> float:
        problem = CapsProblem(**given(**homes, phase_share=share))
        drawn = np.array([car in only or not only for car in range(3)])
        found = solve_caps(replace(problem, energy_need_kwh=np.where(drawn, problem.energy_need_kwh, 0.0)), exact)
        load = problem.base_kw + found.charge_kw @ problem.car_share
        assert (load <= problem.limit_kw + 1e-6).all()
        return found.withheld_kwh

    apart = share_of_phase(np.array([2, 0, 2]))
    assert withheld_kwh(apart, 0, 2) > 1.0
    assert withheld_kwh(apart) == pytest.approx(withheld_kwh(apart, 0, 2) + withheld_kwh(apart, 1), abs=1e-3)
    three_phase = np.array([[0, 0, 1], [1, 0, 0], [1 / 3, 1 / 3, 1 / 3]])
    parts = withheld_kwh(three_phase, 0) + withheld_kwh(three_phase, 1) + withheld_kwh(three_phase, 2)
    assert withheld_kwh(three_phase) >= parts - 1e-3


def test_unknown_options_are_refused_together() -> None:
    with pytest.raises(InputError) as raised:
        CapsOptions(objective="most", coordination="hope", form="guess", limit_on="never", gap=-1.0, node_limit=-1)
    keys = {fault.key for fault in raised.value.faults}
    assert keys == {"objective", "coordination", "form", "limit_on", "gap", "node_limit"}
