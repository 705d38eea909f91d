"""The optimum of a day against what shares nothing with it: textbook formulas, plain OpenDSS, enumeration, scipy."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import linprog

import cosim
from cosim import controllers, run
from cosim.contract import Exogenous, Feeder, Forecast
from cosim.controllers.optimum import lower
from cosim.controllers.optimum.controller import Optimum
from cosim.controllers.optimum.day import CUT, EV, Day
from cosim.controllers.optimum.enclosure import Box, Corner
from cosim.controllers.optimum.forms import form_of
from cosim.controllers.optimum.lower import proven
from cosim.controllers.optimum.solve import Budgets, find
from cosim.controllers.solver import Model, solve
from cosim.errors import InputError
from cosim.experiments.optimum import measured, table
from cosim.measures import scoreboard
from cosim.opendss import OpenDssEngine
from cosim.reduced import ReducedNetwork

MakeDay = Callable[..., Exogenous]
SUN_KW = np.array([60.0, 40.0, 50.0])


@pytest.fixture(scope="module")
def predictor(two_bus: Feeder) -> ReducedNetwork:
    return ReducedNetwork(two_bus)


@pytest.fixture(scope="module")
def sunny(two_bus: Feeder, make_day: MakeDay, make_sessions: Callable[..., Any]) -> Exogenous:
    """Three steps of an hour: roofs beyond what the cable bears, one car that is there throughout, cheap at last."""
    sun = np.array([1.0, 0.5, 0.0])[:, None] * SUN_KW
    return make_day(
        two_bus, 3, 60.0, demand_kw=1.0, pv_available_kw=sun, inverter_kva=60.0,
        tariff_eur_per_kwh=[0.3, 0.3, 0.1], sessions=make_sessions((0, 0.0, 180.0, 9.0, 7.4)),
    )  # fmt: skip


def highest(engine: OpenDssEngine, feeder: Feeder, net_kw: np.ndarray) -> float:
    """Highest of voltages over 1.10 pu and of currents over ratings, by plain OpenDSS."""
    volts = engine.solve(net_kw, np.zeros(3), np.nan).copy()
    nodes = [feeder.network.node_names.index(f"2.{phase}") for phase in (1, 2, 3)]
    return max(float(np.abs(volts[nodes]).max() / 253.0), feeder.limit_currents.percent(volts[None, :]).max() / 100.0)


def test_least_curtailment_is_what_plain_opendss_finds(
    two_bus: Feeder, sunny: Exogenous, predictor: ReducedNetwork
) -> None:
    """On this feeder phases do not see each other, so the least of each home is a bisection of its own."""
    answer = find(Day(two_bus, sunny, predictor), "curtailment", Budgets(), bound=True)
    assert answer.bound is not None
    engine, least = OpenDssEngine(two_bus), 0.0
    for step, home in product(range(2), range(3)):
        net = np.ones(3)
        low, high = 0.0, float(sunny.pv_available_kw[step, home])
        for _ in range(25):
            middle = (low + high) / 2.0
            # the car charges as much as it can while the sun is high, which its need allows
            net[home] = 1.0 + (7.4 if (step, home) == (0, 0) else 0.0) - sunny.pv_available_kw[step, home] + middle
            low, high = (low, middle) if highest(engine, two_bus, net) <= 1.0 else (middle, high)
        least += high
    engine.close()
    assert least > 5.0
    assert answer.best.value == pytest.approx(least, rel=1e-3)
    assert answer.bound.value <= least + 1e-6
    assert answer.bound.value >= 0.97 * least
    assert answer.bound.unproven == 0


def test_what_runs_is_the_plan_and_keeps_every_limit(two_bus: Feeder, sunny: Exogenous) -> None:
    made = controllers.make("optimum", two_bus, predictor=ReducedNetwork(two_bus), objective="cost")
    assert isinstance(made, Optimum)
    done = run(two_bus, sunny, made, step_min=60, control_min=180)
    answer, board = made.answer, scoreboard(done)
    assert answer is not None
    assert answer.best.value == pytest.approx(board["cost_eur"], abs=1e-6)
    assert board["ev_unserved_kwh"] == pytest.approx(0.0, abs=1e-6)
    assert [board[key] for key in ("overvoltage_min", "line_overload_min", "transformer_overload_min")] == [0, 0, 0]
    power = done.ev_kw[done.ev_kw > 1e-6]
    assert (power >= two_bus.charger_min_kw[0] - 1e-6).all()


def test_the_bill_is_a_textbook_linear_programme(two_bus: Feeder, sunny: Exogenous, predictor: ReducedNetwork) -> None:
    weak = replace(sunny, pv_available_kw=sunny.pv_available_kw / 20.0)  # no limit is near
    answer = find(Day(two_bus, weak, predictor), "cost", Budgets(), bound=True)
    # of the home with the car: charging and import of each hour; the others have nothing to choose
    net, price = (weak.demand_kw - weak.pv_available_kw), weak.tariff_eur_per_kwh
    car = linprog(
        np.r_[np.full(3, 0.05), price - 0.05], A_ub=np.hstack([np.eye(3), -np.eye(3)]), b_ub=-net[:, 0],
        A_eq=[[0.9] * 3 + [0.0] * 3], b_eq=[9.0], bounds=[(0, 7.4)] * 3 + [(0, None)] * 3,
    ).fun + 0.05 * net[:, 0].sum()  # fmt: skip
    others = (net[:, 1:].clip(0.0) * price[:, None] + 0.05 * net[:, 1:].clip(max=0.0)).sum()
    assert answer.relaxed.value == pytest.approx(car + others, abs=1e-6)
    assert answer.bound is not None
    assert answer.bound.without_network >= car + others - 1e-5
    assert answer.bound.value <= answer.best.score
    # with 6 A every plan of whole hours was looked at by hand: pause, 6 A and more in steps of 10 W
    least_kw = two_bus.charger_min_kw[0]
    steps = np.r_[0.0, np.arange(least_kw, 7.4, 0.01), 7.4]
    costs = [
        sum(_bill(net[t, 0] + e, price[t]) for t, e in enumerate((a, b, 10.0 - a - b)))
        for a, b in product(steps, steps)
        if 10.0 - a - b <= 7.4 and (10.0 - a - b >= least_kw or abs(10.0 - a - b) < 1e-9)
    ]
    assert answer.best.value == pytest.approx(min(costs) + others, abs=5e-3)
    # one step may be below, as the car ends in it: nothing that is possible then is below what is proven
    every = np.arange(0.0, 7.4, 0.05)
    ends = [
        sum(_bill(net[t, 0] + e, price[t]) for t, e in enumerate((a, b, 10.0 - a - b)))
        for a, b in product(every, every)
        if 0.0 <= 10.0 - a - b <= 7.4 and sum(1e-9 < e < least_kw - 1e-9 for e in (a, b, 10.0 - a - b)) <= 1
    ]
    assert answer.bound.value <= min(ends) + others + 1e-9


def _bill(net_kw: float, price: float) -> float:
    return max(net_kw, 0.0) * price + 0.05 * min(net_kw, 0.0)


def test_any_multipliers_prove_a_bound() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        matrix, x = rng.normal(size=(6, 9)), rng.uniform(size=9)
        low = np.where(rng.uniform(size=6) < 0.5, -np.inf, matrix @ x - rng.uniform(size=6))
        model = Model(rng.normal(size=9), sparse.csc_array(matrix), low, matrix @ x + 0.1, np.zeros(9), np.ones(9))
        found = solve(model)
        assert proven(model, found.row_dual) == pytest.approx(found.value, abs=1e-6)
        assert proven(model, found.row_dual) <= found.value
        for scale in (0.1, 1.0, 10.0):
            assert proven(model, scale * rng.normal(size=6)) <= found.value + 1e-9


def random_states_stay_inside(day: Day, step: int, is_high: bool, count: int, rng: np.random.Generator) -> int:
    """How many random setpoints of a box leave its enclosure or break a row of its relaxation."""
    columns = day.of_step[step]
    cut, high = day.columns[0][columns] == CUT, day.columns[3][columns]
    at_high = np.full(len(columns), is_high) & ~cut
    most_kw = np.array([0.4 * float(high[cut].sum()), 0.9 * float(high[~cut].sum())])
    box = Box(np.zeros_like(high), high, np.zeros(2), most_kw)
    form = day.form("losses")
    corner = Corner(day, step, columns, at_high, np.where(cut, 0, 1), form)
    relaxed = corner.relaxed(box)
    assert relaxed is not None
    x = high * rng.random((count, len(high))) ** rng.choice([0.2, 1.0, 4.0], (count, 1))
    x *= rng.random((count, len(high))) < rng.choice([0.3, 0.7, 1.0], (count, 1))
    for mine, most in zip((cut, ~cut), most_kw, strict=True):
        x[:, mine] *= np.minimum(1.0, most / np.maximum(x[:, mine].sum(axis=1), 1e-9))[:, None]
    net = np.repeat(day.fixed_kw[[step]], count, axis=0)
    np.add.at(net.T, day.columns[2][columns], (x * day.signs[columns]).T)
    reactive, source = np.repeat(day.day.demand_kvar[[step]], count, axis=0), np.repeat(day.source[[step]], count)
    port_v, current_a = day.limits.elements.solve(net, reactive, source)
    start_x = np.where(at_high, high, 0.0)[None, :]
    start = day.fixed_kw[[step]].copy()
    np.add.at(start.T, day.columns[2][columns], (start_x * day.signs[columns]).T)
    base_v, _ = day.limits.elements.solve(start, reactive[:1], source[:1])
    z = base_v / port_v - 1.0
    of_pair, change = relaxed.of_pair, (x - start_x) @ relaxed.change.T
    mine = z
    others = np.concatenate([change * mine.real[:, of_pair], change * mine.imag[:, of_pair], mine.real, mine.imag], 1)
    left = np.concatenate([x, others], axis=1) @ relaxed.matrix.toarray().T - relaxed.most
    # real parts of weighted sums of currents are at least what is proven of them
    drawn_a = np.conj(1e3 * day.feeder.at_ports(net + 1j * reactive) / port_v)
    parts = form.parts(drawn_a, source)
    weights = rng.normal(size=(8, parts.shape[1], 2)) @ np.array([1.0, 1.0j])
    rows, least = corner.above(relaxed, weights)
    sums = (parts @ weights.T).real
    below = np.concatenate([x, others], axis=1) @ rows.T + least
    conductors = day.limits.elements.conductors
    breach = (day.limits.stress(port_v, current_a)[:, : conductors + port_v.shape[1]].max(axis=1) - 1.0).clip(0.0)
    left[:, relaxed.is_limit] -= breach[:, None]
    out = (
        (left > 1e-7).any(axis=1)
        | (others < relaxed.low - 1e-9).any(axis=1)
        | (others > relaxed.high + 1e-9).any(axis=1)
        | (below > sums + 1e-7 * np.abs(sums) + 1e-7).any(axis=1)
    )
    return int(out.sum())


def test_no_random_setpoint_leaves_its_enclosure(two_bus: Feeder, sunny: Exogenous, predictor: ReducedNetwork) -> None:
    day, rng = Day(two_bus, sunny, predictor), np.random.default_rng(0)
    assert [random_states_stay_inside(day, step, high, 400, rng) for step, high in product((0, 1), (False, True))] == [
        0, 0, 0, 0,
    ]  # fmt: skip


@pytest.mark.slow
def test_no_random_setpoint_of_the_default_day_leaves_its_enclosure() -> None:
    world = cosim.load("european_lv_may_day")
    day, rng = Day(world.feeder, world.exogenous.resample(5), world.predictor), np.random.default_rng(0)
    steps = np.flatnonzero(day.sun_kw.sum(axis=1) > 60.0)[::4][:10]
    assert (
        sum(random_states_stay_inside(day, int(step), high, 500, rng) for step in steps for high in (False, True)) == 0
    )


@pytest.mark.slow
def test_the_default_day_is_as_the_prototype_found_it() -> None:
    """Least curtailment of seed 1 within all limits: 3.95 to 4.05 kWh."""
    world = cosim.load("european_lv_may_day")
    answer = find(Day(world.feeder, world.exogenous.resample(5), world.predictor), "curtailment", Budgets(), bound=True)
    assert answer.bound is not None
    assert 3.85 < answer.bound.value < answer.best.value < 4.05
    assert answer.gap < 0.05


def test_objectives_of_currents_are_what_opendss_measures(two_bus: Feeder, sunny: Exogenous) -> None:
    done = run(two_bus, sunny, controllers.make("none", two_bus), step_min=60, control_min=60)
    day, board = Day(two_bus, sunny, ReducedNetwork(two_bus)), scoreboard(done)
    port_v, _ = day.flow(done.net_kw)
    for name in ("unbalance", "losses", "peak"):
        form = form_of(name, two_bus, 3, 1.0)
        value = form.value(form.parts(day.port_a(done.net_kw, port_v), day.source), day.source)
        assert value == pytest.approx(measured(name, done, board), rel=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["unbalance", "peak", "losses"])
def test_no_random_plan_within_budgets_is_better(
    two_bus: Feeder, sunny: Exogenous, predictor: ReducedNetwork, name: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lower, "BOXES", 12)
    half = replace(sunny, pv_available_kw=sunny.pv_available_kw / 2.0)
    day, rng = Day(two_bus, half, predictor), np.random.default_rng(1)
    answer = find(day, name, Budgets(60.0, 30.0), bound=True)
    form = form_of(name, two_bus, 3, 1.0)
    kind, _, _, high = day.columns
    found = []
    for _ in range(600):
        x = high * rng.random(len(high))
        x[kind == EV] *= 10.0 / x[kind == EV].sum()
        net = day.net_kw(x)
        port_v, current_a = day.flow(net)
        fits = (x <= high).all() and day.cut_kwh(x) <= 60.0 and day.bill_eur(net) <= 30.0
        if fits and day.limits.stress(port_v, current_a).max() <= 1.0:
            found.append(form.value(form.parts(day.port_a(net, port_v), day.source), day.source))
    assert len(found) > 10
    assert answer.relaxed.value <= min(found) * 1.005
    assert answer.bound is not None
    assert 0.85 * answer.relaxed.value - 0.1 <= answer.bound.value <= min(min(found), answer.best.score)
    assert answer.bound.unproven == 0
    assert answer.relaxed.breach_h == pytest.approx(0.0, abs=1e-8)


def test_only_the_truth_is_planned_with(two_bus: Feeder, sunny: Exogenous, predictor: ReducedNetwork) -> None:
    made = controllers.make("optimum", two_bus, predictor=predictor)
    with pytest.raises(InputError, match=r"forecast.kind: is 'noisy': an optimum knows the day"):
        made.plan(Forecast("noisy", sunny))
    (fault,) = controllers.check(made, two_bus, sunny, "noisy")
    assert fault.problem == "'noisy': it plans with the truth"


def test_budgets_that_nothing_keeps_are_refused(two_bus: Feeder, sunny: Exogenous, predictor: ReducedNetwork) -> None:
    half = replace(sunny, pv_available_kw=sunny.pv_available_kw / 2.0)
    with pytest.raises(InputError, match="no plan was found within 0 kWh and -500 EUR"):
        find(Day(two_bus, half, predictor), "unbalance", Budgets(0.0, -500.0), bound=False)
    with pytest.raises(InputError, match="'cost' has no budgets"):
        find(Day(two_bus, half, predictor), "cost", Budgets(bill_eur=1.0), bound=False)


def test_bills_below_nil_leave_spare_too(two_bus: Feeder, sunny: Exogenous, predictor: ReducedNetwork) -> None:
    """Two per cent above what is earned at most is less earned."""
    half = replace(sunny, pv_available_kw=sunny.pv_available_kw / 2.0)
    day = Day(two_bus, half, predictor)
    earned = find(day, "cost", Budgets(), bound=False).best.value
    assert earned < 0.0
    answer = find(day, "peak", Budgets(), bound=False)
    assert answer.objective.bill_eur == pytest.approx(0.98 * earned)


def test_neutral_cars_cost_no_household_more(two_bus: Feeder, sunny: Exogenous, predictor: ReducedNetwork) -> None:
    free, neutral, fixed = (
        find(Day(two_bus, sunny, predictor, cars), "curtailment", Budgets(), bound=False) for cars in
        ("free", "neutral", "uncontrolled")
    )  # fmt: skip
    assert free.best.value < neutral.best.value - 1.0
    assert neutral.best.value <= fixed.best.value + 1e-6
    paid = (neutral.plan.ev_kw[:, 0] * sunny.tariff_eur_per_kwh).sum()
    assert paid <= neutral.day.cheapest[1][0] + 1e-6
    assert json.dumps(neutral.facts())


SUNNY = """
name = "sunny"
feeder = "two_bus"
seed = 4
start = 2026-05-15T10:00:00
horizon_h = 4
step_min = 15
control_min = 15
[grid]
transformer = { kva = 15, uk_percent = 4.0, load_loss_percent = 1.5 }
[households]
profiles = "may_weekday"
[ev]
share = 1.0
[pv]
share = 1.0
kwp = 10.0
[[runs]]
controller = "none"
"""


def test_a_table_that_was_begun_repeats_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lower, "BOXES", 4)
    (tmp_path / "sunny.toml").write_text(SUNNY)
    day, made = cosim.load(tmp_path / "sunny.toml"), []
    rows = table(day, "curtailment", [1], tmp_path, lambda *told: made.append(told))
    assert made == [("optimum", 1), ("none", 1)]
    best, none = rows
    assert best["bound"] == none["bound"] <= best["score"] <= none["score"]
    assert none["regret"] == pytest.approx(none["score"] - none["bound"])
    assert (none["value"], none["limits_exceeded_h"] > 0.1) == (0.0, True)
    assert table(day, "curtailment", [1], tmp_path, lambda *told: made.append(told)) == rows
    assert len(made) == 2
    assert len((tmp_path / "optima.csv").read_text().splitlines()) == 3


def test_no_battery_burns_energy(tmp_path: Path) -> None:
    """To charge and discharge at once would save sun from curtailment, and a run could not follow."""
    (tmp_path / "sunny.toml").write_text(SUNNY.replace("[[runs]]", "[battery]\nshare = 1.0\n[[runs]]"))
    done = cosim.load(tmp_path / "sunny.toml").run("optimum", objective="curtailment")
    answer = done.controller.answer
    assert done.metrics["transformer_overload_min"] == 0.0
    assert done.metrics["pv_curtailed_kwh"] == pytest.approx(answer.best.value, abs=1e-6)
    assert answer.relaxed.value < answer.best.value - 0.1  # which burns
