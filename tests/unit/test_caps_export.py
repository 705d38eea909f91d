"""Export caps: textbook programmes, limits that cannot be kept, and a noon that the power flow confirms."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linprog

from cosim import controllers, run
from cosim.contract import EvSessions, Exogenous, Feeder, Forecast
from cosim.controllers.caps import (
    BilevelCaps,
    CapsRecord,
    ExportProblem,
    FeedInRows,
    RunningPlan,
    solve_export,
)
from cosim.errors import InputError
from cosim.experiments.caps_output import write_caps
from cosim.reduced import ReducedNetwork

HIGHEST_PU = 1.10


def rows_of(*rows: tuple[int, list[float], float, str]) -> FeedInRows:
    """Rows from slot, shares, limit [kW] and name each."""
    slots, shares, limits, names = zip(*rows, strict=True)
    return FeedInRows(np.array(slots), np.array(shares), np.array(limits), names)


PHASE = ((0, [1.0, 1.0], 3.0, "phase 1"), (1, [1.0, 1.0], 3.0, "phase 1"))


def make(**changed: Any) -> ExportProblem:
    """Two homes on one phase in two slots of an hour; 4 and 2 kW of surplus, of which 3 kW may flow back."""
    sun = np.array([[5.0, 3.0], [0.0, 0.0]])
    values: dict[str, Any] = {
        "slot_h": 1.0,
        "load_kw": np.ones_like(sun),
        "sun_kw": sun,
        "rated_kw": np.array([8.0, 4.0]),
        "rows": rows_of(*PHASE),
    }
    return ExportProblem(**(values | changed))


def drawn(seed: int) -> ExportProblem:
    """Four homes in three slots under random rows, some of which relieve."""
    rng = np.random.default_rng(seed)
    share = rng.uniform(0.2, 1.0, (6, 4)) * rng.choice([1.0, 1.0, 0.0, -0.4], (6, 4))
    rows = FeedInRows(np.repeat(np.arange(3), 2), share, rng.uniform(0.5, 4.0, 6), tuple("abcdef"))
    return make(
        load_kw=rng.uniform(0.0, 2.0, (3, 4)), sun_kw=rng.uniform(0.0, 6.0, (3, 4)), rated_kw=np.full(4, 6.0), rows=rows
    )


@pytest.mark.parametrize("seed", range(8))
def test_objectives_are_those_of_textbook_programmes(seed: int) -> None:
    """Columns: what each home sells in each slot, and the largest share that one loses; written out row by row."""
    problem = drawn(seed)
    wanted = np.maximum(problem.sun_kw - problem.load_kw, 0.0)
    rows, most = np.zeros((6, 13)), np.zeros(6)
    for row, (slot, share) in enumerate(zip(problem.rows.slot, problem.rows.share, strict=True)):
        rows[row, 4 * slot : 4 * slot + 4] = share
        most[row] = problem.rows.limit_kw[row] + share @ np.maximum(problem.load_kw - problem.sun_kw, 0.0)[slot]
    losing = np.hstack([-np.tile(np.eye(4), 3), -wanted.sum(axis=0)[:, None]])
    every, limit = np.vstack([rows, losing]), np.concatenate([most, -wanted.sum(axis=0)])
    bounds = [*((0.0, kw) for kw in wanted.ravel()), (0.0, 1.0)]
    sold, lost = np.append(-np.ones(12), 0.0), np.append(np.zeros(12), 1.0)
    least, fair = solve_export(problem, "least"), solve_export(problem, "max_min")
    assert least.withheld_kwh == pytest.approx(wanted.sum() + linprog(sold, every, limit, bounds=bounds).fun, abs=1e-5)
    assert fair.worst_share == pytest.approx(linprog(lost, every, limit, bounds=bounds).fun, abs=1e-5)
    for found in (least, fair):
        assert (rows[:, :12] @ np.maximum(-found.net_kw, 0.0).ravel() <= most + 1e-5).all()
        assert found.over_reverse_kw < 1e-5
    assert fair.worst_share <= least.worst_share + 1e-6
    assert fair.withheld_kwh >= least.withheld_kwh - 1e-6


@pytest.mark.parametrize("objective", ["least", "max_min"])
@pytest.mark.parametrize("seed", range(3))
def test_safe_caps_hold_whatever_homes_do_inside_them(seed: int, objective: str) -> None:
    problem, rng = drawn(seed), np.random.default_rng(seed)
    cars = rng.uniform(0.0, 4.0, (3, 4))
    problem = replace(problem, at_will_kw=cars)
    found = solve_export(problem, objective)
    relaxed = bool(found.relaxations)
    least = problem.load_kw - problem.sun_kw
    for _ in range(300):
        ends = rng.random((3, 4)) < 0.5
        net = np.where(ends, np.maximum(least, -found.caps_kw), np.maximum(least, 0.0) + cars)
        back = -(problem.rows.share * net[problem.rows.slot]).sum(axis=1)
        assert relaxed or (back <= problem.rows.limit_kw + 1e-5).all()
    assert found.withheld_kwh >= solve_export(replace(problem, at_will_kw=None), "least").withheld_kwh - 1e-6


def test_the_least_withheld_and_the_fairest() -> None:
    least, fair = (solve_export(make(), one) for one in ("least", "max_min"))
    assert least.withheld_kwh == pytest.approx(3.0)
    assert least.worst_share == pytest.approx(0.5)  # of all ways to withhold 3 kWh the fairest
    assert fair.caps_kw[0] == pytest.approx([2.0, 1.0], abs=1e-5)
    assert (least.caps_kw[1] == make().rated_kw).all()
    counts_twice = make(rows=rows_of(*PHASE, (0, [1.0, 0.25], 2.0, "a far end")))
    assert solve_export(counts_twice).withheld_kwh == pytest.approx(3.0)
    tighter = make(rows=rows_of(*PHASE, (0, [1.0, 0.5], 1.0, "a far end")))
    assert solve_export(tighter).caps_kw[0] == pytest.approx([0.0, 4.0], abs=1e-5)


def test_what_cannot_be_kept_is_relaxed_as_little_as_possible_and_named() -> None:
    impossible = make(rows=rows_of(*PHASE, (0, [1.0, 0.0], -2.0, "LOAD1 phase 1")))
    found = solve_export(impossible)
    assert found.caps_kw[0] == pytest.approx([0.0, 2.0], abs=1e-5) or found.caps_kw[0, 1] == 4.0
    assert [one.amount for one in found.relaxations] == pytest.approx([2.0])
    assert "LOAD1 phase 1" in str(found.relaxations[0])


def test_safe_caps_count_on_nobody_for_relief() -> None:
    relieved = make(rows=rows_of((0, [1.0, -0.5], 1.5, "phase 1")))
    assert solve_export(relieved).caps_kw[0, 0] == pytest.approx(2.5, abs=1e-5)
    safe = replace(relieved, at_will_kw=np.zeros((2, 2)))
    assert solve_export(safe).caps_kw[0, 0] == pytest.approx(1.5, abs=1e-5)


def test_bad_input_is_named_all_at_once() -> None:
    with pytest.raises(InputError) as caught:
        make(sun_kw=np.full((2, 2), 9.0), load_kw=np.full((2, 2), -1.0))
    assert {fault.key for fault in caught.value.faults} == {"rated_kw", "load_kw"}


@pytest.fixture(scope="module")
def predictor(european_lv: Feeder) -> ReducedNetwork:
    return ReducedNetwork(european_lv)


@pytest.fixture(scope="module")
def noon(european_lv: Feeder, busy_day: Callable[..., Exogenous]) -> Exogenous:
    """An hour from 12:00 with 7 kW on every second roof: customers' voltages rise above 253 V."""
    day = busy_day(european_lv, 5, 60, 12.0).resample(5)
    return replace(day, pv_available_kw=1.8 * day.pv_available_kw, inverter_kva=1.8 * day.inverter_kva)


def planned(feeder: Feeder, predictor: ReducedNetwork, day: Exogenous, **options: Any) -> RunningPlan:
    controller = BilevelCaps(feeder, predictor=predictor, export=True, **options)
    controller.plan(Forecast("oracle", day))
    assert controller.running is not None
    return controller.running


def highest_pu(predictor: ReducedNetwork, feeder: Feeder, net_kw: np.ndarray, day: Exogenous) -> np.ndarray:
    voltage = np.abs(predictor.predict(net_kw, day.demand_kvar, day.source_pu).voltage_v)
    return np.asarray(voltage.max(axis=1) / feeder.nominal_voltage_v)


@pytest.mark.parametrize("objective", ["least", "max_min"])
def test_the_power_flow_confirms_the_caps_and_little_is_given_away(
    european_lv: Feeder, predictor: ReducedNetwork, noon: Exogenous, objective: str
) -> None:
    sunny = replace(noon, sessions=EvSessions.none())
    running = planned(european_lv, predictor, sunny, export_objective=objective)
    assert running.export is not None
    plan = running.export.plan
    before = highest_pu(predictor, european_lv, sunny.demand_kw - sunny.pv_available_kw, sunny)
    after = highest_pu(predictor, european_lv, plan.result.net_kw, sunny)
    assert before.max() > HIGHEST_PU + 0.005
    assert after.max() <= HIGHEST_PU + 1e-4
    assert plan.verified is not None
    assert plan.verified.clean
    assert plan.verified.voltage_max_pu == pytest.approx(after.max())
    high = before > HIGHEST_PU + 0.001
    assert (after[high] > HIGHEST_PU - 0.001).all()  # nothing is curtailed beyond the limit
    assert np.isinf(plan.caps_kw).any()


@pytest.mark.slow
def test_caps_that_are_safe_whatever_cars_do_give_more_away(
    european_lv: Feeder, predictor: ReducedNetwork, noon: Exogenous
) -> None:
    sunny = replace(noon, sessions=EvSessions.none())
    least = planned(european_lv, predictor, sunny, export_objective="least")
    safe = planned(european_lv, predictor, noon, export_objective="least", coordination="sum_of_caps")
    assert safe.export is not None
    assert least.export is not None
    assert safe.export.plan.result.withheld_kwh > least.export.plan.result.withheld_kwh


def test_a_source_that_is_too_high_is_named_with_what_is_left(
    european_lv: Feeder, predictor: ReducedNetwork, noon: Exogenous
) -> None:
    high = replace(noon, source_pu=np.full(noon.steps, 1.07))
    running = planned(european_lv, predictor, high, rounds=3)
    assert running.export is not None
    verified = running.export.plan.verified
    assert verified is not None
    assert not verified.clean
    assert verified.voltage_max_pu > HIGHEST_PU
    assert "above the highest voltage permitted" in running.decision.fallback
    assert running.export.plan.result.relaxations
    sold = np.maximum(-running.export.plan.result.net_kw, 0.0)
    assert sold.sum() < 0.5 * running.export.plan.problem.surplus_kw.sum()


def test_a_day_under_the_controller_keeps_the_voltage_and_writes_its_proof(
    european_lv: Feeder, predictor: ReducedNetwork, noon: Exogenous, tmp_path: Path
) -> None:
    def highest(forecast: Forecast | None, **options: Any) -> tuple[float, BilevelCaps]:
        controller = controllers.make("bilevel_caps", european_lv, predictor=predictor, **options)
        trajectory = run(european_lv, noon, controller, engine="reduced", step_min=5, control_min=5, forecast=forecast)
        assert isinstance(controller, BilevelCaps)
        return float(highest_pu(predictor, european_lv, trajectory.net_kw, noon).max()), controller

    assert highest(None)[0] > HIGHEST_PU + 0.005
    kept, controller = highest(None, export=True)
    assert kept <= HIGHEST_PU + 1e-4
    cloudy = Forecast("wrong", replace(noon, pv_available_kw=0.6 * noon.pv_available_kw))
    surprised, learning = highest(cloudy, export=True)
    assert learning.running is not None
    assert learning.running.export is not None
    assert learning.running.export.corrected_steps > 5
    assert surprised < highest(cloudy)[0] - 0.004

    assert controller.running is not None
    assert controller.problem is not None
    assert controller.result is not None
    write_caps(
        tmp_path, controller.problem, controller.result, households=european_lv.customers,
        record=CapsRecord.of(controller.running),
    )  # fmt: skip
    table, proof = pd.read_csv(tmp_path / "export_caps.csv"), json.loads((tmp_path / "proof.json").read_text())
    assert len(table) == noon.steps * int((noon.inverter_kva > 0).sum())
    assert (table["export_kw"] <= table["export_cap_kw"] + 1e-9).all()
    withheld = (table["wanted_kw"] - table["export_cap_kw"]).clip(lower=0.0).sum() * noon.step_min / 60.0
    assert proof["export"]["withheld_kwh"] == pytest.approx(withheld)
    assert proof["export"]["verified_clean"] is True
    assert proof["export"]["status"] == "optimal"


def test_without_a_predictor_phases_are_kept_by_their_rating(european_lv: Feeder, noon: Exogenous) -> None:
    sunny = replace(noon, pv_available_kw=np.broadcast_to(noon.inverter_kva, noon.demand_kw.shape))
    controller = controllers.make("bilevel_caps", european_lv, export=True)
    trajectory = run(european_lv, sunny, controller, engine="reduced", step_min=5, control_min=5)
    kept_kw = 0.9 * european_lv.phase_limit_a * european_lv.nominal_voltage_v / 1e3
    share = european_lv.phase_matrix
    assert ((sunny.pv_available_kw - sunny.demand_kw) @ share).max() > 1.1 * kept_kw
    back_kw = -(trajectory.net_kw @ share)
    assert back_kw.max() <= kept_kw + 1e-6
    assert back_kw.max() > 0.97 * kept_kw  # what is left to reactive power


def test_options_are_checked(european_lv: Feeder) -> None:
    with pytest.raises(InputError) as caught:
        controllers.make("bilevel_caps", european_lv, export=True, voltage_max_pu=0.9, margin=2.0)
    assert {fault.key for fault in caught.value.faults} == {"voltage_max_pu", "margin"}
    shown = controllers.options("bilevel_caps")
    assert (shown["export"], shown["export_objective"], shown["voltage_max_pu"]) == (False, "max_min", 1.10)
