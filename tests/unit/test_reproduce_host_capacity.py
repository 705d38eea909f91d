"""The host-capacity study: its known numbers, homes of any number, and files that prove a plan by themselves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cosim.controllers.caps import BilevelCaps, CapsOptions, solve_caps
from cosim.experiments import caps_output, caps_tables
from cosim.experiments import scenario as scenarios
from cosim.experiments.compose import compose
from cosim.experiments.scenario import Run
from cosim.experiments.studies.host_capacity.data import (
    PUBLISHED_EV_KW,
    TOTAL_INFLEXIBLE_KW,
    single_house,
    tariff,
    thirty_houses,
)
from cosim.experiments.studies.host_capacity.homes import check, draw_problem
from cosim.experiments.studies.host_capacity.kkt import extreme_cost
from cosim.experiments.studies.host_capacity.replication import Replication, cases, replicate
from cosim.experiments.studies.host_capacity.table import read_problem

CAPS_COLUMNS = [
    "household", "phase", "slot", "tariff_eur_per_kwh", "order_cost", "inflexible_kw", "connection_kw", "charger_kw",
    "plugged", "energy_need_kwh", "efficiency", "cap_kw", "charge_kw", "limit_kw",
]  # fmt: skip
PROOF_KEYS = {
    "objective", "bound", "gap", "withheld_kwh", "withheld_bound_kwh", "uncontrolled_peak_kw", "status", "form",
    "max_response_error_kw",
}  # fmt: skip


@pytest.fixture(scope="module")
def found() -> Replication:
    return replicate()


def test_the_single_house_is_that_of_the_seed() -> None:
    one = single_house()
    assert one.inflexible_kw.max() == pytest.approx(2.3906, abs=1e-4)
    assert one.headroom_kw[one.price == 0.10].sum() == pytest.approx(15.9528, abs=1e-4)
    assert one.headroom_kw[one.price < 0.50].sum() == pytest.approx(26.56, abs=0.01)


def test_what_is_published_costs_what_it_costs() -> None:
    houses = thirty_houses()
    assert houses.need_kwh.sum() == pytest.approx(279.5)
    assert houses.cost(PUBLISHED_EV_KW) == pytest.approx(62.8, abs=0.05)
    assert houses.charged_kwh(PUBLISHED_EV_KW) == pytest.approx(
        {"peak_charging_kwh": 67.1, "shoulder_charging_kwh": 79.1, "off_peak_charging_kwh": 134.7}
    )
    assert (TOTAL_INFLEXIBLE_KW + PUBLISHED_EV_KW).max() <= houses.limit_kw + 0.2  # as exact as the pixels


def test_the_first_formulation_has_no_solution_for_one_house_unless_the_tariff_is_flat(found: Replication) -> None:
    one = single_house()
    fixed = np.full((24, 1), one.limit_kw)
    assert not extreme_cost(one, "least", bound_multiplier=False, caps_kw=fixed).feasible
    assert found.flat.feasible
    assert found.flat.charge_kw.sum() == pytest.approx(20.0)


def test_the_first_formulation_admits_any_cost_for_thirty_houses(found: Replication) -> None:
    low, high = found.first_least, found.first_most
    assert low.cost == pytest.approx(29.87, abs=0.01)
    assert high.cost == pytest.approx(83.11, abs=0.01)
    for point in (low, high):
        assert point.cost == pytest.approx(point.bound, rel=1e-5)
        assert point.charge_kw.sum(axis=0) == pytest.approx(thirty_houses().need_kwh, abs=1e-5)
        assert point.cap_kw.sum(axis=1).max() <= thirty_houses().limit_kw + 1e-6
    assert not found.thirty.first.feasible  # no freedom is left to it inside the right caps


def test_the_range_of_the_first_formulation_is_what_a_sort_gives(found: Replication) -> None:
    """Without any bilevel structure left: total headroom filled from the cheapest hour, or from the dearest."""
    houses = thirty_houses()
    for point, order_of_hours in ((found.first_least, 1), (found.first_most, -1)):
        hours = np.argsort(order_of_hours * houses.price, kind="stable")
        room = houses.headroom_kw[hours]
        drawn = np.clip(houses.need_kwh.sum() - (np.cumsum(room) - room), 0.0, room)
        assert point.cost == pytest.approx(float(houses.price[hours] @ drawn), abs=1e-4)


def test_one_house_follows_the_tariff(found: Replication) -> None:
    one = found.single
    assert one.cost == pytest.approx(2.4047, abs=1e-4)
    assert one.least.cost == pytest.approx(one.cost, abs=1e-6)
    assert one.most.cost == pytest.approx(one.cost, abs=1e-6)
    assert one.least.marginal_price == pytest.approx([0.20])
    assert one.result.charge_kw[[0, 5, 20, 23], 0] == pytest.approx([1.897, 1.263, 0.867, 1.857], abs=1e-3)
    told = cases(found)["single_house"]
    assert told["single_house_cost"] == one.cost
    assert told["single_house_bill"] == pytest.approx(10.0410, abs=1e-4)
    assert told["shoulder_charging_kwh"] == pytest.approx(4.0472, abs=1e-4)
    assert told["peak_charging_kwh"] == 0.0


@pytest.mark.parametrize("case", ["thirty_houses", "thirty_houses_another_split"])
def test_thirty_houses_follow_the_tariff_however_the_total_is_split(found: Replication, case: str) -> None:
    told = cases(found)[case]
    assert told["thirty_house_cost"] == pytest.approx(29.9, abs=0.05)
    assert told["peak_charging_kwh"] == 0.0
    assert told["shoulder_charging_kwh"] == pytest.approx(19.2, abs=1e-3)
    assert told["conditions_least_cost"] == pytest.approx(told["conditions_most_cost"], abs=1e-6)
    assert told["load_peak_kw"] <= told["limit_kw"]
    assert cases(found)["thirty_houses"]["saving_percent"] == pytest.approx(52, abs=1)


def test_another_split_is_another_split_of_the_same_total() -> None:
    equal, drawn = thirty_houses(), thirty_houses(np.random.default_rng(1))
    assert drawn.inflexible_kw.sum(axis=1) == pytest.approx(equal.inflexible_kw.sum(axis=1))
    assert np.abs(drawn.inflexible_kw - equal.inflexible_kw).max() > 0.1
    assert drawn.inflexible_kw.min() > 0


def test_the_right_conditions_are_the_households_optimum_for_random_caps() -> None:
    """For any caps the textbook conditions with the multiplier give the cost of a sort, and nothing else."""
    rng = np.random.default_rng(3)
    for _ in range(4):
        load = rng.uniform(0.3, 2.0, (24, 3))
        caps = load + rng.uniform(0.0, 3.0, (24, 3))
        need = 0.7 * (caps - load).sum(axis=0) * rng.uniform(0.2, 1.0, 3)
        houses = replace(single_house(), inflexible_kw=load, need_kwh=need, limit_kw=float(caps.sum(axis=1).max()))
        hours = np.argsort(tariff(), kind="stable")
        room = (caps - load)[hours]
        best = tariff()[hours] @ np.clip(need - (np.cumsum(room, axis=0) - room), 0.0, room)
        for aim in ("least", "most"):
            assert extreme_cost(houses, aim, bound_multiplier=True, caps_kw=caps).cost == pytest.approx(best.sum())


def test_drawn_homes_are_nested_and_their_limits_are_a_quarter_of_the_way_up() -> None:
    small, large = draw_problem(5, 24), draw_problem(130, 24)
    assert large.inflexible_kw[:, :5].tobytes() == small.inflexible_kw.tobytes()
    assert large.energy_need_kwh[:5].tobytes() == small.energy_need_kwh.tobytes()
    assert set(np.unique(large.plugged)) == {0.0, 1.0}
    base, peak = large.base_kw.max(), caps_output.uncontrolled_peak_kw(large)
    assert large.limit_kw == pytest.approx(np.full((24, 1), base + 0.25 * (peak - base)))
    phases = draw_problem(30, 24, limits="per-phase", margin=0.1)
    assert phases.limit_kw.shape == (24, 3)
    free = draw_problem(30, 24, limits="per-phase")
    assert phases.limit_kw == pytest.approx(0.9 * free.limit_kw)
    check(large, range(1, 131), "here")


def independent_response(rows: pd.DataFrame, slot_h: float) -> np.ndarray:
    """What a household does, from its rows of ``caps.csv`` alone."""
    room = np.minimum(rows.cap_kw - rows.inflexible_kw, rows.charger_kw * rows.plugged).clip(lower=0.0)
    charge, left = np.zeros(len(rows)), float(rows.energy_need_kwh.iloc[0]) / rows.efficiency.iloc[0] / slot_h
    for k in np.argsort(rows.order_cost.to_numpy()):
        charge[k] = min(room.iloc[k], left)
        left -= charge[k]
    return charge


@pytest.mark.parametrize("limits", ["total", "per-phase"])
def test_the_files_prove_the_plan_by_themselves(tmp_path: Path, limits: str) -> None:
    problem = draw_problem(6, 24, limits=limits)
    result = solve_caps(problem, CapsOptions("least_restriction", gap=0.02))
    proof = caps_output.write_caps(tmp_path, problem, result)
    assert proof == json.loads((tmp_path / "proof.json").read_text())
    assert proof.keys() >= PROOF_KEYS
    table = pd.read_csv(tmp_path / "caps.csv")
    assert list(table.columns[: len(CAPS_COLUMNS)]) == CAPS_COLUMNS
    assert len(table) == 6 * 24
    withheld = (table.connection_kw - table.cap_kw)[table.plugged > 0].sum()
    assert withheld == pytest.approx(proof["withheld_kwh"])
    assert proof["withheld_bound_kwh"] <= proof["withheld_kwh"] + 1e-9
    assert withheld > 0
    for _, rows in table.groupby("household"):
        assert independent_response(rows, 1.0) == pytest.approx(rows.charge_kw.to_numpy(), abs=1e-6)
    load = (table.inflexible_kw + table.charge_kw).groupby([table.phase, table.slot]).sum()
    assert (load <= table.groupby(["phase", "slot"]).limit_kw.first() + 1e-6).all()
    answers = pd.read_csv(tmp_path / "responses.csv")
    assert answers.cost_difference_eur.abs().max() < 1e-6
    assert proof["max_response_error_kw"] < 1e-5
    again, names = read_problem(tmp_path / "caps.csv")
    assert names == [str(n) for n in range(1, 7)]
    for key in ("inflexible_kw", "limit_kw", "plugged", "energy_need_kwh", "charger_kw", "tariff_eur_per_kwh"):
        assert getattr(again, key) == pytest.approx(getattr(problem, key)), key


def test_a_wrong_plan_is_found_out() -> None:
    problem = draw_problem(4, 24)
    result = solve_caps(problem, CapsOptions("least_restriction"))
    moved = replace(result, planned_kw=np.roll(result.planned_kw, 1, axis=0))
    answers = caps_tables.responses(problem, moved, range(4))
    assert answers["greedy_error_kw"].max() > 0.1  # by both ways to find a household's own optimum
    assert answers["lp_error_kw"].max() > 0.1
    assert caps_output.proof_of(problem, moved, answers)["max_response_error_kw"] > 0.1


def test_what_was_planned_is_compared_with_what_households_do_not_with_itself() -> None:
    problem = draw_problem(4, 24)
    result = solve_caps(problem, CapsOptions("least_restriction"))
    dearer = result.planned_kw.copy()
    car = int(np.argmax(dearer.sum(axis=0)))
    dearest = int(np.argmax(problem.tariff_eur_per_kwh))
    dearer[:, car] = 0.0
    dearer[dearest, car] = result.planned_kw[:, car].sum()
    answers = caps_tables.responses(problem, replace(result, planned_kw=dearer), range(4))
    assert answers.cost_difference_eur[car] > 0.01
    assert answers.greedy_cost_eur.to_numpy() == pytest.approx(answers.lp_cost_eur.to_numpy())
    others = answers.drop(index=car)
    assert others.cost_difference_eur.abs().max() < 1e-5
    optimistic = solve_caps(problem, CapsOptions("least_restriction", ties="optimistic"))
    answers = caps_tables.responses(problem, optimistic, range(4))
    assert answers.cost_difference_eur.abs().max() < 1e-5
    assert caps_output.proof_of(problem, optimistic, answers)["max_response_error_kw"] < 1e-5


def test_homes_with_two_stays_and_with_none_are_told_apart() -> None:
    drawn = draw_problem(3, 24)
    plugged = np.zeros((24, 2))
    plugged[2:6, 0] = plugged[12:20, 1] = 1.0
    problem = replace(
        drawn, home=np.array([1, 1]), plugged=plugged, charger_kw=np.array([3.0, 7.0]), charger_min_kw=np.zeros(2),
        energy_need_kwh=np.array([2.0, 5.0]), efficiency=np.array([0.9, 0.8]), limit_kw=np.full((24, 1), 40.0),
    )  # fmt: skip
    table = caps_tables.caps_table(problem, solve_caps(problem), ["a", "b", "c"])
    two, none = table[table.household == "b"], table[table.household == "a"]
    assert two.energy_need_kwh.tolist() == [2.0] * 6 + [5.0] * 18
    assert two.charger_kw.tolist() == [3.0] * 6 + [7.0] * 18
    assert two.plugged.sum() == 12
    assert (none[["charger_kw", "plugged", "energy_need_kwh", "charge_kw"]] == 0).all(axis=None)


def test_the_caps_controller_of_a_run_writes_the_same_files(tmp_path: Path) -> None:
    scenario = scenarios.read("two_bus_evening")
    composition = compose(scenario)
    controller = composition.controller(Run(controller="bilevel_caps", options={"limit_on": "mean"}))
    assert isinstance(controller, BilevelCaps)
    controller.plan(composition.forecast)
    assert controller.problem is not None
    assert controller.result is not None
    names = composition.feeder.customers
    proof = caps_output.write_caps(tmp_path, controller.problem, controller.result, households=names)
    assert proof["max_response_error_kw"] < 1e-5
    table = pd.read_csv(tmp_path / "caps.csv")
    assert len(table) == len(names) * controller.problem.slots
    assert list(table.household.unique()) == list(names)
    for number, phases in enumerate(composition.feeder.customer_phases):
        loaded = int("".join(map(str, phases)))
        assert (table.phase[table.household == names[number]] == loaded).all()
