"""Envelopes hold at every corner of what they allow: told by all corners in OpenDSS, and by textbook programmes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog, minimize

from cosim import controllers, feeders
from cosim.contract import Exogenous, Feeder, Forecast
from cosim.controllers.caps import (
    ALLOCATIONS,
    BilevelCaps,
    Box,
    Elements,
    Envelopes,
    Limits,
    Shares,
    bound_of_box,
    farthest_corner,
    worst_of_box,
)
from cosim.errors import InputError
from cosim.network import monitored_currents
from cosim.opendss import OpenDssEngine
from cosim.reduced import ReducedNetwork

HOMES = 7
PER_STRESS_PU = 0.05
LEAST_KW = 0.1  # counted where logarithms are summed
LOW_PU, HIGH_PU = 0.94, 1.06


@pytest.fixture(scope="module")
def limits(weak: Feeder) -> Limits:
    """Of the street with a thin and a long cable."""
    return Limits(Elements(weak, ReducedNetwork(weak), LOW_PU), LOW_PU, HIGH_PU)


@pytest.fixture(scope="module")
def engine(weak: Feeder) -> OpenDssEngine:
    """The power flow that nothing under test asks."""
    return OpenDssEngine(weak)


def stress_in_opendss(weak: Feeder, engine: OpenDssEngine, limits: Limits, states: np.ndarray) -> np.ndarray:
    """Stress of all limits from OpenDSS's node voltages and the branches' own admittances, (state, limit)."""
    elements, found = limits.elements, []
    customer, node, neutral = weak.terminals
    assert (neutral < 0).all()
    for state in states:
        voltage = engine.solve(state[:HOMES], state[HOMES:-1], float("nan")).copy()
        pu = np.abs(voltage[node]) / weak.customer_nominal_v[customer]
        amps = []
        for name, phase in zip(elements.names[: elements.conductors], elements.phase, strict=False):
            branch = weak.network.branch(name)
            amps.append(abs(monitored_currents([branch], voltage[None, :])[0, 0, phase - 1]) / branch.rating_a)
        found.append([*amps, *(1.0 + (pu - HIGH_PU) / PER_STRESS_PU), *(1.0 + (LOW_PU - pu) / PER_STRESS_PU)])
    return np.array(found)


def all_corners(box: Box) -> np.ndarray:
    """Every corner in active power, reactive power as it is."""
    kw = np.array(list(product(*zip(box.low[:HOMES], box.high[:HOMES], strict=True))))
    return np.concatenate([kw, np.tile(box.low[HOMES:], (len(kw), 1))], axis=1)


def drawn(seed: int, size: float = 1.0) -> Box:
    """A box of random sides, up to 9 kW either way."""
    rng = np.random.default_rng(seed)
    rest = np.append(rng.uniform(0.0, 0.5, HOMES), 1.0)
    low, high = -rng.uniform(0.0, 6.0 * size, HOMES) * (rng.random(HOMES) < 0.7), rng.uniform(0.5, 9.0 * size, HOMES)
    return Box(np.concatenate([low, rest]), np.concatenate([high, rest]))


@pytest.mark.parametrize("seed", range(6))
def test_farthest_corner_of_arrows_in_the_plane_is_that_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrows, start = rng.normal(size=8) + 1j * rng.normal(size=8), complex(*rng.normal(size=2))
    down, up = -rng.random(8), rng.random(8)
    reach, high = farthest_corner(np.array(start), arrows, down, up)
    told = [abs(start + (arrows * np.where(ends, up, down)).sum()) for ends in product((False, True), repeat=8)]
    assert reach == pytest.approx(max(told))
    assert abs(start + (arrows * np.where(high, up, down)).sum()) == pytest.approx(max(told))


def test_where_no_conductor_has_a_rating_voltages_have_their_worst_corners(
    weak: Feeder, engine: OpenDssEngine, limits: Limits
) -> None:
    branches = tuple(replace(branch, rating_a=np.inf) for branch in weak.network.branches)
    bare = replace(weak, network=replace(weak.network, branches=branches))
    of_voltage, box = Limits(Elements(bare, ReducedNetwork(bare), LOW_PU), LOW_PU, HIGH_PU), drawn(1)
    assert of_voltage.elements.conductors == 0
    found = worst_of_box(of_voltage, [box], tightest=5)
    told = stress_in_opendss(weak, engine, limits, all_corners(box))[:, limits.elements.conductors :]
    np.testing.assert_allclose(found.stress, told.max(axis=0), atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_worst_corner_in_closed_form_is_that_of_all_corners_in_opendss(
    weak: Feeder, engine: OpenDssEngine, limits: Limits, seed: int
) -> None:
    box = drawn(seed)
    found = worst_of_box(limits, [box], tightest=5)
    told = stress_in_opendss(weak, engine, limits, all_corners(box))
    np.testing.assert_allclose(found.stress, told.max(axis=0), atol=1e-4)
    corner = stress_in_opendss(weak, engine, limits, found.corner)
    np.testing.assert_allclose(np.diag(corner), found.stress, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_proven_is_exceeded_nowhere_and_close(limits: Limits, seed: int) -> None:
    box = drawn(seed, 0.6)
    bound, rng = bound_of_box(limits, box), np.random.default_rng(seed)
    inside = rng.uniform(size=(400, len(box.low))) * (box.high - box.low) + box.low
    seen = np.maximum(limits.of_states(all_corners(box)).max(axis=0), limits.of_states(inside).max(axis=0))
    assert (bound >= seen - 1e-6).all()  # the predictor's own tolerance
    near = seen > 0.6 * seen.max()
    assert near.any()
    assert ((bound - seen)[near] < 0.2 * seen[near]).all()


def test_reactive_power_and_the_source_are_coordinates_too(limits: Limits) -> None:
    fixed, rng = drawn(0, 0.6), np.random.default_rng(4)
    low, high = fixed.low.copy(), fixed.high.copy()
    low[HOMES:-1], low[-1], high[-1] = -0.5, 0.98, 1.01
    box = Box(low, high)
    ends = np.where(rng.random((3000, len(low))) < 0.5, low, high)
    inside = rng.uniform(size=(500, len(low))) * (high - low) + low
    seen = np.maximum(limits.of_states(ends).max(axis=0), limits.of_states(inside).max(axis=0))
    found, bound = worst_of_box(limits, [box], tightest=3), bound_of_box(limits, box)
    assert (found.stress >= seen - 1e-4).all()
    assert (bound >= found.stress - 1e-6).all()
    assert (bound < 1.5 * np.maximum(found.stress, 0.5)).all()


def test_a_box_without_power_flow_is_no_box_that_holds(limits: Limits) -> None:
    huge = Box(np.append(np.zeros(2 * HOMES), 1.0), np.concatenate([np.full(HOMES, 500.0), np.zeros(HOMES), [1.0]]))
    assert worst_of_box(limits, [huge]).stress.max() == np.inf
    assert bound_of_box(limits, huge).max() == np.inf


def shares(seed: int) -> Shares:
    """Random rows that are not negative, and more than is there wanted by all."""
    rng = np.random.default_rng(seed)
    use = rng.uniform(0.0, 1.0, (30, 10)) * (rng.random((30, 10)) < 0.5)
    low = rng.uniform(0.0, 0.5, 10)
    return Shares(use, use @ low + rng.uniform(1.0, 6.0, 30), low, rng.uniform(3.0, 14.0, 10))


@pytest.mark.parametrize("seed", range(5))
def test_allocations_are_those_of_textbook_programmes(seed: int) -> None:
    of = shares(seed)
    bounds = list(zip(of.low, of.high, strict=True))
    most = linprog(-np.ones(10), of.use, of.room, bounds=bounds)
    got, aim = of.allocate("max_sum")
    assert got.sum() == pytest.approx(-most.fun) == pytest.approx(aim)

    level = np.concatenate([np.zeros(10), [-1.0]])
    above = np.hstack([-np.eye(10), of.high[:, None]])
    rows = np.vstack([np.hstack([of.use, np.zeros((30, 1))]), above])
    free = [*bounds, (0.0, 1.0)]
    # a home whose least is more than its share has that in any case
    top = linprog(level, rows, np.concatenate([of.room, np.zeros(10)]), bounds=free).fun
    smallest = linprog(
        -np.ones(10), of.use, of.room, bounds=list(zip(np.maximum(of.low, -top * of.high), of.high, strict=True))
    )
    got, aim = of.allocate("max_min")
    assert got.sum() == pytest.approx(-smallest.fun, rel=1e-6)
    assert (got / of.high).min() >= -top - 1e-6

    equal, _ = of.allocate("equal")
    assert (of.use @ equal <= of.room + 1e-6).all()
    assert (equal / of.high).min() >= -top - 1e-6
    for half in (slice(5), slice(5, 10)):
        share = (equal / of.high)[half][equal[half] > of.low[half] + 1e-6]
        assert len(share) == 0 or np.ptp(share) < 1e-6

    got, aim = of.allocate("proportional")
    start = of.allocate("max_min")[0]
    best = minimize(
        lambda z: -np.log(np.maximum(z, LEAST_KW)).sum(), start, jac=lambda z: -1.0 / np.maximum(z, LEAST_KW),
        bounds=bounds, constraints={"type": "ineq", "fun": lambda z: of.room - of.use @ z, "jac": lambda _: -of.use},
    )  # fmt: skip
    assert of.worth(got, "proportional") == pytest.approx(-best.fun, abs=2e-3)
    assert aim >= -best.fun - 1e-6


@pytest.fixture(scope="module")
def noon(weak: Feeder, make_day: Callable[..., Exogenous]) -> Exogenous:
    """Two hours of sun on every second roof."""
    kva = np.where(np.arange(HOMES) % 2 == 0, 5.0, 0.0)
    return make_day(weak, 12, demand_kw=0.5, demand_kvar=0.1, pv_available_kw=kva * 0.8, inverter_kva=kva)


def planned(weak: Feeder, day: Exogenous, **options: Any) -> Envelopes:
    """Envelopes of a day."""
    options = {"slot_min": 60.0, "voltage_max_pu": HIGH_PU, "kvar_percent": 0.0, **options}
    made = Envelopes(weak, predictor=ReducedNetwork(weak), **options)
    made.plan(Forecast("oracle", day))
    return made


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_no_corner_of_an_envelope_breaks_a_limit_in_opendss(
    weak: Feeder, noon: Exogenous, engine: OpenDssEngine, limits: Limits, allocation: str
) -> None:
    made = planned(weak, noon, allocation=allocation)
    proof = made.proof()
    assert (proof["verified"], proof["broken_limits"], proof["proven_share"]) == ("proven", 0, 1.0)
    caps = made.slots[0].caps_kw
    assert (caps[0] >= 0.5).all()
    assert (caps[1][1::2] == 0.0).all()
    rest = np.append(np.full(HOMES, 0.1), 1.0)
    told = stress_in_opendss(
        weak, engine, limits, all_corners(Box(np.concatenate([-caps[1], rest]), np.concatenate([caps[0], rest])))
    )
    assert 0.9 < told.max() <= 1.0 + 2e-4


def test_what_is_promised_separately_breaks_at_a_mixed_corner(weak: Feeder, noon: Exogenous) -> None:
    """One phase draws while another feeds in: what each alone may do is too much for the voltage of both."""
    joint, separate = (
        planned(weak, noon, allocation="max_min", promise=one, voltage_max_pu=1.02) for one in ("joint", "separate")
    )
    limits = Limits(Elements(weak, ReducedNetwork(weak), LOW_PU), LOW_PU, 1.02)
    assert separate.proof()["verified"] == "proven"
    rest = np.append(np.full(HOMES, 0.1), 1.0)
    caps, nothing = separate.slots[0].caps_kw, np.zeros(HOMES)

    def worst(low: np.ndarray, high: np.ndarray) -> float:
        corners = all_corners(Box(np.concatenate([low, rest]), np.concatenate([high, rest])))
        return float(limits.of_states(corners).max())

    assert max(worst(nothing, caps[0]), worst(-caps[1], nothing)) <= 1.0 + 2e-4 < worst(-caps[1], caps[0])
    assert caps.sum() > joint.slots[0].caps_kw.sum()


def test_load_that_no_cap_moves_is_a_named_relaxation(weak: Feeder, make_day: Callable[..., Exogenous]) -> None:
    demand = np.full(HOMES, 0.5)
    demand[0] = 16.0  # 70 A behind 60
    proof = planned(weak, make_day(weak, 12, demand_kw=demand)).proof()
    assert any("THIN" in text and "no cap moves" in text for text in proof["relaxations"])
    assert proof["broken_limits"] == 0


@pytest.mark.parametrize("lowest_pu", [LOW_PU, 0.97])
def test_caps_that_hold_whatever_homes_do_hold_at_every_corner_in_opendss(
    weak: Feeder,
    make_day: Callable[..., Exogenous],
    make_sessions: Callable[..., Any],
    engine: OpenDssEngine,
    limits: Limits,
    lowest_pu: float,
) -> None:
    """Every home is capped; sun that the forecast promises is not counted on, and a cap is never below zero."""
    cars = make_sessions((0, 0.0, 120.0, 9.0, 7.4), (1, 0.0, 120.0, 9.0, 7.4), (3, 0.0, 120.0, 9.0, 7.4))
    kva = np.where(np.arange(HOMES) % 2 == 0, 5.0, 0.0)
    day = make_day(weak, 24, demand_kw=0.5, demand_kvar=0.1, pv_available_kw=kva, inverter_kva=kva, sessions=cars)
    made = BilevelCaps(
        weak, predictor=ReducedNetwork(weak), coordination="sum_of_caps", slot_min=60.0, replan_min=0.0,
        voltage_min_pu=lowest_pu,
    )  # fmt: skip
    made.plan(Forecast("oracle", day))
    assert made.running is not None
    caps, found = made.running.caps_kw[0], made.running.day_ahead.verified
    assert (made.running.day_ahead.problem.inflexible_kw == 0.5).all()
    assert np.isfinite(caps).all()
    assert (caps >= 0.5 - 1e-9).all()
    assert found is not None
    assert (found.clean, found.proven_share) == (True, 1.0)
    rest = np.append(np.full(HOMES, 0.1), 1.0)
    box = Box(np.concatenate([-kva, rest]), np.concatenate([caps, rest]))
    told = stress_in_opendss(weak, engine, limits, all_corners(box))
    upper = limits.elements.conductors + np.arange(len(limits.elements.nominal_v))
    told[:, upper + len(upper)] += (lowest_pu - LOW_PU) / PER_STRESS_PU
    assert np.delete(told, upper, axis=1).max() <= 1.0 + 2e-4
    result = made.running.day_ahead.result
    assert result is not None
    assert result.bound <= result.objective
    # the programme knows the thin cable and the voltage: nothing had to be taken down afterwards
    assert result.objective <= result.bound + 0.1


@pytest.mark.parametrize("kind", ["sum_of_caps", "envelopes"])
def test_agreed_fallback_caps_are_inside_those_of_every_slot_but_for_load_that_no_cap_moves(
    kind: str, weak: Feeder, make_day: Callable[..., Exogenous], seen_at: Callable[..., Any]
) -> None:
    """A home that uses 0.5 kW for an hour and 3 kW for the next is never asked for less than that."""
    demand = np.full((24, HOMES), 0.5)
    demand[12:, 1] = 3.0
    day = make_day(weak, 24, demand_kw=demand)
    options: dict[str, Any] = {"slot_min": 60.0}
    made: Any = Envelopes(weak, predictor=ReducedNetwork(weak), **options)
    if kind == "sum_of_caps":
        made = BilevelCaps(weak, predictor=ReducedNetwork(weak), coordination=kind, replan_min=0.0, **options)
    made.plan(Forecast("oracle", day))
    published = made.decide(seen_at(0.0)).published_cap_kw
    for step in (0, 12):
        agreed = made.decide(seen_at(5.0 * step)).fallback_kw[0]
        assert (agreed >= demand[step] - 1e-9).all()
        assert (agreed <= published[step] + 1e-9).all()


def test_a_battery_that_is_expected_to_feed_in_is_not_counted_on(weak: Feeder, noon: Exogenous) -> None:
    fed_in = np.full_like(noon.demand_kw, -0.4)
    made = planned(weak, replace(noon, devices_kw=fed_in), allocation="max_sum")
    assert (made.slots[0].caps_kw[0] >= 0.5 - 1e-9).all()


def test_a_battery_hides_no_heat_pump_of_its_home(weak: Feeder, noon: Exogenous) -> None:
    nothing = np.zeros_like(noon.demand_kw)
    made = planned(weak, replace(noon, devices_kw=nothing, devices_load_kw=nothing + 2.0), allocation="max_sum")
    assert (made.slots[0].caps_kw[0] >= 2.5 - 1e-9).all()


def test_the_gap_is_what_the_programme_left_and_not_what_the_proof_costs(weak: Feeder, noon: Exogenous) -> None:
    proof = planned(weak, noon, allocation="max_min").proof()
    assert proof["objective"] <= proof["bound"] < proof["loosest_programme"]
    assert proof["gap"] == pytest.approx((proof["bound"] - proof["objective"]) / proof["bound"], rel=1e-3)
    assert proof["gap"] < 0.005
    assert proof["status"] in ("optimal", "gap_limit")


@pytest.mark.parametrize("name", ["envelopes", "bilevel_caps"])
def test_slots_that_are_no_whole_steps_are_refused_with_the_nearest(
    weak: Feeder, make_day: Callable[..., Exogenous], name: str
) -> None:
    day, predictor = make_day(weak, 24).resample(10.0), ReducedNetwork(weak)
    for slot_min, text in ((7.0, "slot_min = 10"), (25.0, "slot_min = 20")):
        controller = controllers.make(name, weak, predictor=predictor, slot_min=slot_min)
        (fault,) = controllers.check(controller, weak, day)
        assert (fault.key, text in str(fault)) == ("slot_min", True)
        with pytest.raises(InputError, match=text):
            controller.plan(Forecast("oracle", day))
    for slot_min in (10.0, 30.0):
        assert controllers.check(controllers.make(name, weak, predictor=predictor, slot_min=slot_min), weak, day) == []
    hourly = make_day(weak, 24).resample(60.0)  # the default is no length that somebody asked for
    assert controllers.check(controllers.make(name, weak, predictor=predictor), weak, hourly) == []


def test_the_neutral_of_four_wires_is_kept_too(tmp_path: Path, make_day: Callable[..., Exogenous]) -> None:
    """One home draws while another on the next phase feeds in: both currents meet in the neutral."""
    of_km = "|".join(" ".join(["0"] * k + ["0.3"]) for k in range(4))
    master = tmp_path / "Master.dss"
    master.write_text(
        "Clear\nNew Circuit.four basekv=0.4 pu=1.0 phases=3 bus1=src MVAsc3=20 MVAsc1=20\n"
        "New Reactor.earth bus1=src.4 phases=1 r=1e-3 x=0\n"
        f"New Line.c bus1=src.1.2.3.4 bus2=a.1.2.3.4 phases=4 rmatrix=[{of_km}] xmatrix=[{of_km}] length=0.1 "
        "cmatrix=[0|0 0|0 0 0|0 0 0 0] units=km normamps=30 emergamps=30\n"
        "New Load.a bus1=a.1.4 phases=1 kv=0.23 kw=1 pf=1\nNew Load.b bus1=a.2.4 phases=1 kv=0.23 kw=1 pf=1\n"
        "Set voltagebases=[0.4]\nCalcvoltagebases\n",
        encoding="utf-8",
    )
    feeder = feeders.load(master)
    kva = np.full(2, 6.0)
    day = make_day(feeder, 12, demand_kw=0.2, demand_kvar=0.0, pv_available_kw=kva, inverter_kva=kva)
    made = planned(feeder, day, allocation="max_sum", voltage_max_pu=1.1)
    caps, proof, engine = made.slots[0].caps_kw, made.proof(), OpenDssEngine(feeder)
    assert proof["verified"] == "proven"
    assert "C neutral" in proof["worst"]
    ends = [feeder.network.node_names.index(node) for node in ("SRC.4", "A.4")]

    def neutral_a(*kw: float) -> float:
        volts = engine.solve(np.array(kw), np.zeros(2), float("nan"))
        return float(abs((volts[ends[0]] - volts[ends[1]]) / (0.03 + 0.03j)))  # Ohm's law: wires are not coupled

    told = max(neutral_a(*corner) for corner in product(*zip(-caps[1], caps[0], strict=True)))
    assert 0.97 * 30.0 < told <= 30.0 * (1.0 + 2e-4)
    assert max(neutral_a(caps[0][0], 0.0), neutral_a(0.0, caps[0][1])) < 0.9 * 30.0  # either alone is far from it
