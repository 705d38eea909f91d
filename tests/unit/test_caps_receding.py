"""During the day: who came and who did not, caps that stand, and caps that are planned anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cosim import Trajectory, run
from cosim.contract import EvSessions, Exogenous, Feeder, Forecast, Setpoints
from cosim.controllers.caps import BilevelCaps, CapsOptions, CapsRecord, RunningPlan, solve_caps
from cosim.experiments.caps_output import verification_of
from cosim.experiments.studies.host_capacity.homes import draw_problem
from cosim.reduced import ReducedNetwork

STEPS, STEP_MIN = 72, 10.0
COME = 60.0
QUICK: dict[str, Any] = {"gap": 0.1, "node_limit": 5, "slot_min": 60.0, "time_limit_s": 10.0}
SLOT = 6  # steps


@pytest.fixture(scope="module")
def predictor(european_lv: Feeder) -> ReducedNetwork:
    return ReducedNetwork(european_lv)


@pytest.fixture(scope="module")
def forecast(european_lv: Feeder, make_day: Callable[..., Exogenous], make_sessions: Callable[..., Any]) -> Exogenous:
    """Twelve hours in which 20 cars wait for the cheap ones from the fourth on; most are expected after an hour."""
    rng = np.random.default_rng(7)
    homes = np.sort(rng.permutation(len(european_lv.customers))[:20])
    needs = rng.uniform(6.0, 14.0, homes.size)
    rows = [(home, COME, 700.0, need, 7.4) for home, need in zip(homes, needs, strict=True)]
    tariff = np.where(np.arange(STEPS) < 24, 0.3, 0.15)
    return make_day(
        european_lv, STEPS, STEP_MIN, demand_kw=0.5, demand_kvar=0.1, sessions=make_sessions(*rows),
        tariff_eur_per_kwh=tariff,
    )  # fmt: skip


def delivered(feeder: Feeder, day: Exogenous, told: Exogenous, controller: BilevelCaps) -> Trajectory:
    return run(
        feeder, day, controller, engine="reduced", step_min=STEP_MIN, control_min=STEP_MIN,
        forecast=Forecast("noisy", told),
    )  # fmt: skip


@pytest.fixture(scope="module")
def otherwise(forecast: Exogenous, european_lv: Feeder) -> Exogenous:
    """What really happens: needs are half as large again, four cars come where none is expected, two never come."""
    s = forecast.sessions
    count = len(s)
    others = np.setdiff1d(np.arange(len(european_lv.customers)), s.customer)[:4]
    kept = np.arange(2, count)
    rows = np.concatenate([kept, np.zeros(4, np.int64)])
    columns = {key: getattr(s, key)[rows] for key in EvSessions.__dataclass_fields__}
    columns["customer"] = np.concatenate([s.customer[kept], others])
    columns["energy_need_kwh"] = 1.5 * columns["energy_need_kwh"]
    order = np.argsort(columns["customer"], kind="stable")
    return replace(forecast, sessions=EvSessions(**{key: values[order] for key, values in columns.items()}))


def test_a_day_as_forecast_is_planned_once(european_lv: Feeder, predictor: ReducedNetwork, forecast: Exogenous) -> None:
    controller = BilevelCaps(european_lv, predictor=predictor, **QUICK)
    delivered(european_lv, forecast, forecast, controller)
    assert controller.running is not None
    assert len(controller.running.replans) >= 10
    assert {replan.decision.status for replan in controller.running.replans} == {"kept"}
    assert controller.running.caps_kw.tobytes() == controller.running.day_ahead.caps_kw.tobytes()


def test_one_clock_counts_for_a_look_and_its_striking_is_told(
    european_lv: Feeder, predictor: ReducedNetwork, forecast: Exogenous, otherwise: Exogenous
) -> None:
    controller = BilevelCaps(european_lv, predictor=predictor, replan_time_limit_s=1e-3, **QUICK)
    delivered(european_lv, otherwise, forecast, controller)
    assert controller.running is not None
    anew = [replan for replan in controller.running.replans if replan.plan.result is not None]
    assert anew
    for replan in anew:
        assert len(replan.plan.rounds) == 1  # no time for a second
        assert not replan.decision.reproducible
        assert np.isfinite(replan.plan.result.caps_kw).all()  # type: ignore[union-attr]


@pytest.mark.parametrize("homes", [4, pytest.param(6, marks=pytest.mark.slow)])
def test_a_plan_starts_from_caps_known_before(homes: int) -> None:
    problem = draw_problem(homes, 24)
    for form in ("auto", "kkt"):
        options = CapsOptions("least_restriction", form=form, gap=0.3)
        known = solve_caps(problem, replace(options, gap=0.02))
        again = solve_caps(problem, options, seed=3, start_kw=known.caps_kw)
        assert again.objective <= known.objective * (1 + 1e-9), form
    tighter = replace(problem, limit_kw=0.98 * problem.limit_kw)  # the caps known do not hold any more
    options = CapsOptions("least_restriction", gap=0.2)
    near = solve_caps(tighter, options, start_kw=solve_caps(problem, options).caps_kw)
    assert near.gap <= options.gap
    assert near.over_limit_kw <= 1e-5
    assert not near.unserved_kwh.any()


Ran = tuple[BilevelCaps, Trajectory, list[Setpoints]]


@pytest.fixture(scope="module")
def ran(
    european_lv: Feeder, predictor: ReducedNetwork, forecast: Exogenous, otherwise: Exogenous, scripted: type
) -> dict[float, Ran]:
    """The other day under the forecast, planned once (0) and looked at again every hour (60)."""
    runs = {}
    for minutes in (0.0, 60.0):
        controller = BilevelCaps(european_lv, predictor=predictor, replan_min=minutes, **QUICK)
        controller.plan(Forecast("noisy", forecast))
        witness = scripted(controller.decide, every_step=True)
        runs[minutes] = controller, delivered(european_lv, otherwise, forecast, witness), witness.answered
    return runs


def test_what_came_otherwise_is_planned_for(
    ran: dict[float, Ran], predictor: ReducedNetwork, otherwise: Exogenous
) -> None:
    peak = {minutes: _head_percent(trajectory, predictor) for minutes, (_, trajectory, _) in ran.items()}
    assert peak[0.0] > 102.0
    assert peak[60.0] <= 100.0
    controller, trajectory, _ = ran[60.0]
    assert (trajectory.delivered_kwh >= otherwise.sessions.energy_need_kwh - 0.1).all()
    once, running = ran[0.0][0].running, controller.running
    assert once is not None
    assert once.replans == []
    assert running is not None
    anew = [replan for replan in running.replans if replan.plan.result is not None]
    assert anew
    assert all(replan.minute % 60.0 == 0.0 for replan in anew)  # a slot that has begun stays as it is
    first = once.decision.status
    statuses = {decision.status for _, decision in trajectory.decisions}
    assert statuses == {first} | {replan.decision.status for replan in running.replans}


def _head_percent(trajectory: Trajectory, predictor: ReducedNetwork) -> float:
    flow = predictor.predict(trajectory.net_kw, trajectory.net_kvar)
    current_a = np.abs(flow.current_a[:, flow.branches.index(trajectory.feeder.head_line or "")])
    return float(100.0 * current_a.max() / trajectory.feeder.phase_limit_a)


def test_proof_tells_what_was_verified_and_planned_anew(ran: dict[float, Ran]) -> None:
    running = ran[60.0][0].running
    assert running is not None
    told = json.loads(json.dumps(verification_of(CapsRecord.of(running)), allow_nan=False))
    assert told["verified_clean"] is True
    assert [entry["round"] for entry in told["verification"]] == list(range(1, len(told["verification"]) + 1))
    last = told["verification"][told["verified_round"] - 1]
    assert 0.0 < last["worst_line_percent"] <= 100.0
    assert last["worst_line"].startswith("LINE1 phase ")
    assert 0.94 <= last["voltage_min_pu"] <= 1.05
    assert len(told["replans"]) == len(running.replans)
    anew = [entry for entry in told["replans"] if entry["status"] != "kept"]
    assert anew
    assert all(entry["verified_clean"] and entry["gap"] is not None and not entry["fallback"] for entry in anew)


def test_published_caps_of_begun_slots_never_change(ran: dict[float, Ran]) -> None:
    published = [answer.published_cap_kw for answer in ran[60.0][2]]
    for step in range(1, STEPS):
        slot = step // SLOT * SLOT
        begun = slot + SLOT if step % SLOT else slot  # at its beginning a slot may still change
        assert (published[step][:begun] == published[step - 1][:begun]).all()  # type: ignore[index]
    assert any((late != early).any() for late, early in zip(published[1:], published[:-1], strict=True))  # type: ignore[union-attr]


class _Waits:
    """Stands in for the planner of caps: it plans nothing and keeps what it is asked for."""

    def __init__(self, feeder: Feeder) -> None:
        self.feeder, self.asked, self.manner = feeder, [], SimpleNamespace(export=False)

    def plan(self, day: Exogenous, _: int) -> Any:
        return SimpleNamespace(
            caps_kw=np.full_like(day.demand_kw, np.inf), planned_kva=np.zeros(day.steps), result=None, withheld_kwh=0.0,
            fallback="", reproducible=True,
        )  # fmt: skip

    def again(self, day: Exogenous, steps: int, _: Any, caps_kw: np.ndarray, freed: set[int]) -> Any:
        self.asked.append((day, caps_kw.shape, set(freed)))
        return self.plan(day, steps)


def test_it_is_planned_anew_where_a_car_came_or_needs_less(
    two_bus: Feeder, make_day: Callable[..., Exogenous], make_sessions: Callable[..., EvSessions], seen_at: Any
) -> None:
    cars = make_sessions((0, 60.0, 230.0, 5.0, 7.4), (1, 60.0, 230.0, 8.0, 7.4), (2, 200.0, 230.0, 3.0, 7.4))
    day, waits = make_day(two_bus, 48, sessions=cars), _Waits(two_bus)
    running = RunningPlan(waits, day, steps=3, replan_min=60.0)  # type: ignore[arg-type]
    for minute in (0.0, 15.0):
        running.learn(seen_at(minute))
    assert waits.asked == []  # as forecast: nothing to look at before an hour has passed
    running.learn(seen_at(20.0, h1=(5.0, 230.0)))  # early, and 3 kWh less than forecast, within a slot
    assert waits.asked == []
    running.learn(seen_at(30.0, h1=(4.5, 230.0)))
    (day_left, shape, freed), *others = waits.asked
    assert others == []
    assert day_left.sessions.energy_need_kwh.tolist() == [5.0, 4.5, 3.0]
    assert shape == (42, 3)
    assert freed == set()  # room that became free is looked at when it is time
    running.learn(seen_at(60.0, h1=(2.5, 230.0)))
    assert waits.asked[-1][2] == {1}
    for minute in (120.0, 175.0, 180.0):  # the car of the first home has not come within two hours
        running.learn(seen_at(minute, h1=(0.0, 230.0)))
    assert [asked[2] for asked in waits.asked[2:]] == [set(), {0}]
    running.learn(seen_at(195.0, h1=(0.0, 230.0), h0=(4.0, 230.0)))  # it comes all the same
    assert len(waits.asked) == 5
