"""One operating point outside the loop: every objective against the full network, and the exact front's claims."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cosim.contract import Feeder, Float
from cosim.controllers.pareto.certificate import Decided
from cosim.controllers.pareto.convex import Exact
from cosim.controllers.pareto.decide import Method
from cosim.controllers.pareto.objectives import OBJECTIVES
from cosim.controllers.pareto.problem import DispatchProblem
from cosim.controllers.pareto.scale import Scale
from cosim.controllers.pareto.surroundings import Surroundings
from cosim.errors import InputError
from cosim.experiments.studies.powertrip.moment import MomentSpace, Units, decide_moment, moment_scene
from cosim.measures import neutral_current_a, pui_percent, unbalance_current_a2, vuf_percent
from cosim.network import branch_losses_kw, monitored_currents
from cosim.reduced import ReducedNetwork
from cosim.reduction import default_watched

PAIR = ("unbalance_current", "squared_curtailment")


@pytest.fixture(scope="module")
def network(european_lv: Feeder) -> ReducedNetwork:
    return ReducedNetwork(european_lv, watched=[*default_watched(european_lv), "LINE161"])


@pytest.fixture(scope="module")
def demand_kw() -> Float:
    return np.random.default_rng(1).gamma(2.0, 0.3, 55)


@pytest.fixture(scope="module")
def units() -> Units:
    """Three charge points and twelve roofs."""
    roof = np.arange(15) >= 3
    sun_kw = np.random.default_rng(2).uniform(3.0, 6.0, 15)
    return Units(np.r_[0:3, 10:22], roof, np.where(roof, 0.0, 5.5), np.where(roof, sun_kw, 11.0))


LINES = ("TR1", "LINE1", "LINE161")
"""Watched lines."""


def test_objectives_are_those_of_the_full_network(
    european_lv: Feeder, network: ReducedNetwork, demand_kw: Float, units: Units
) -> None:
    names = tuple(OBJECTIVES)
    around = Surroundings.of(european_lv, network, names, lines=LINES)
    scene = moment_scene(units, demand_kw, 0.2 * demand_kw, hours=0.5, tariff_eur_per_kwh=0.3)
    problem = DispatchProblem(around, scene, MomentSpace(units, 55))
    kw = 0.5 * (units.low_kw + units.high_kw)
    found = dict(zip(names, problem.values(problem.evaluated(kw[None, :]))[0], strict=True))

    net_kw = demand_kw.copy()
    np.add.at(net_kw, units.customer, np.where(units.roof, -kw, kw))
    node_v = network.solve(net_kw[None, :], 0.2 * demand_kw[None, :]).node_v
    nothing = np.zeros((1, 55))
    unloaded_v = network.solve(nothing, nothing).node_v
    current_a = monitored_currents([european_lv.network.branch(name) for name in LINES], node_v)[0]
    rows = {name: row for row, name in enumerate(european_lv.network.node_names)}
    buses = [
        bus for bus in dict.fromkeys(european_lv.customer_bus) if {f"{bus}.{phase}" for phase in (1, 2, 3)} <= set(rows)
    ]
    bus_v = np.array([[node_v[0, rows[f"{bus}.{phase}"]] for phase in (1, 2, 3)] for bus in buses])
    terminal_pu = np.abs(node_v[0, [nodes[0] for nodes in european_lv.customer_nodes]]) / 230.0
    branches = european_lv.network.branches
    lost_kw = (branch_losses_kw(branches, node_v) - branch_losses_kw(branches, unloaded_v)).sum()
    half_roofs = 0.25 * (units.high_kw[units.roof] ** 2).sum()
    expected = {
        "unbalance_current": unbalance_current_a2(current_a).sum(),
        "squared_curtailment": half_roofs,
        "pv_curtailment": 0.5 * 0.5 * units.high_kw[units.roof].sum(),
        "curtailment_fairness": 0.0,  # all at half
        "peak_current": np.abs(current_a[0]).max(),
        "ramp": 0.0,  # there is one step
        "switchings": 3.0,
        "neutral_current": (neutral_current_a(current_a) ** 2).sum(),
        "pui": (pui_percent(np.abs(current_a), 0.0) ** 2).sum(),
        "vuf": (vuf_percent(bus_v) ** 2).mean(),
        "voltage_deviation": (100.0 * (terminal_pu - 1.0) ** 2 * 100.0).mean(),
        "ev_shortfall": 3.0 * 2.75**2,
        "cost": 0.5 * (0.3 * net_kw.clip(0.0).sum() - 0.05 * (-net_kw).clip(0.0).sum()),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-6), name
    assert found["losses"] == pytest.approx(lost_kw, rel=0.02)  # the source's own impedance is in it


@pytest.mark.parametrize("pair", [PAIR, ("losses", "pv_curtailment"), ("peak_current", "cost")])
def test_the_exact_front_is_not_beaten_and_beats_a_search(
    european_lv: Feeder, network: ReducedNetwork, demand_kw: Float, units: Units, pair: tuple[str, str]
) -> None:
    """No attainable point lies below its supporting lines; a random search stays behind it."""
    around = Surroundings.of(european_lv, network, pair)
    scene = moment_scene(units, demand_kw, 0.2 * demand_kw, tariff_eur_per_kwh=0.3)
    space = MomentSpace(units, 55)
    problem = DispatchProblem(around, scene, space)
    rng = np.random.default_rng(3)
    x = np.vstack([np.ones(15), np.zeros(15), rng.random((2000, 15)), 1.0 - rng.random((2000, 15)) ** 6])
    values = problem.values(problem.evaluated(space.decode(x)))
    scale, exact = Scale.of(problem), Exact(problem, then_peak=False)
    corners = exact.front()
    assert exact.gap < 1e-4
    at = np.array([corner.scaled for corner in corners])
    assert (np.diff(at[:, 0]) > 0.0).all()
    assert (np.diff(at[:, 1]) < 0.0).all()
    for corner in corners:
        assert corner.excess <= 0.0
        assert ((values / scale.width) @ corner.weights >= corner.weights @ corner.scaled - 2e-4).all()
    assert scale.hypervolume(at * scale.width) > scale.hypervolume(values) + 0.005


def decide_pair(
    european_lv: Feeder, network: ReducedNetwork, demand_kw: Float, units: Units, **how: Any
) -> tuple[Decided, float]:
    """A decision of the pair, and the share of the exact front's hypervolume that it reaches."""
    around = Surroundings.of(european_lv, network, PAIR)
    found = decide_moment(
        around, units, demand_kw, 0.2 * demand_kw, rng=np.random.default_rng(1), certificate=True, **how
    )
    assert found.verdict is not None
    return found, found.front.hypervolume / found.verdict.hypervolume


def test_a_front_with_its_choice_and_certificate(
    european_lv: Feeder, network: ReducedNetwork, demand_kw: Float, units: Units
) -> None:
    (careful, _), (bold, _) = (
        decide_pair(european_lv, network, demand_kw, units, weights=weights) for weights in ((0.1, 0.9), (0.9, 0.1))
    )
    for moment in (careful, bold):
        assert (moment.front.kw >= units.low_kw - 1e-9).all()
        assert (moment.front.kw <= units.high_kw + 1e-9).all()
        assert moment.verdict is not None
        assert 0.0 <= moment.verdict.regret_a < 1.0
    bold_values, careful_values = (moment.front.values[moment.front.chosen] for moment in (bold, careful))
    assert bold_values[0] < careful_values[0]
    assert bold_values[1] > careful_values[1]


def test_a_search_keeps_what_is_exact_and_falls_behind_without(
    european_lv: Feeder, network: ReducedNetwork, demand_kw: Float, units: Units
) -> None:
    searched: dict[str, Any] = {"method": "nsga2", "population": 40, "generations": 12}
    (_, exact), (_, seeded), (_, alone) = (
        decide_pair(european_lv, network, demand_kw, units, **how)
        for how in ({}, searched, searched | {"certificate_seeds": False})
    )
    assert alone < seeded <= 1.01
    assert seeded == pytest.approx(1.0, abs=0.01)
    assert exact == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("objectives", [("pui", "pv_curtailment"), ("neutral_current", "pv_curtailment"), PAIR])
def test_limits_are_kept_where_they_can_be(
    european_lv: Feeder, network: ReducedNetwork, demand_kw: Float, units: Units, objectives: tuple[str, str]
) -> None:
    """All the sun lifts a home above the limit asked for; every point of the front stays below it and the least."""

    def around(**limits: Any) -> Surroundings:
        return Surroundings.of(european_lv, network, objectives, lines=LINES, **limits)

    def voltages_pu(where: Surroundings, kw: Float) -> Float:
        problem = DispatchProblem(where, moment_scene(units, demand_kw, 0.2 * demand_kw), MomentSpace(units, 55))
        return np.asarray(np.abs(problem.evaluated(kw).voltage_v[:, 0]) / 230.0)

    free = around()
    extremes_pu = voltages_pu(free, np.array([np.where(units.roof, units.high_kw, units.low_kw), units.high_kw]))
    low, high = float(extremes_pu[1].min()) + 0.002, float(extremes_pu[0].max()) - 0.006
    limited = around(voltage_limits_pu=(low, high))
    found = decide_moment(
        limited, units, demand_kw, 0.2 * demand_kw, rng=np.random.default_rng(1), population=30, generations=30
    )
    assert found.front.feasible
    assert not found.fallback
    assert len(found.front.kw) >= 5
    assert voltages_pu(limited, found.front.kw).max() <= high + 1e-9
    assert voltages_pu(limited, found.front.kw).min() >= low - 1e-9


def test_loading_is_a_limit_of_every_phase_of_named_lines(
    european_lv: Feeder, network: ReducedNetwork, demand_kw: Float, units: Units
) -> None:
    """Lines that objectives do not watch are limited as well; the worst phase counts."""
    scene, space = moment_scene(units, demand_kw, 0.2 * demand_kw), MomentSpace(units, 55)
    names = ("losses", "pv_curtailment")

    def problem(percent: float) -> DispatchProblem:
        around = Surroundings.of(european_lv, network, names, lines=LINES, loading_limit_percent=percent)
        return DispatchProblem(around, scene, space)

    loading_a = problem(np.inf).evaluated(units.high_kw[None, :]).loading_a
    around = problem(np.inf).around
    row = around.branches.index("TR1")
    percent = 100.0 * float(np.abs(loading_a[0, 0, row]).max()) / float(around.rating_a[row])
    for limit, kept in ((percent + 0.01, True), (percent - 0.01, False), (np.inf, True)):
        one = problem(limit)
        excess = one.excess(one.evaluated(units.high_kw[None, :]))[0]
        mine = [name == "current of TR1" for _, name in one.places]
        assert (excess[mine].max(initial=-1.0) <= 0.0) == kept


@pytest.mark.parametrize("method", ["convex", "nsga2"])
def test_three_objectives(
    european_lv: Feeder, network: ReducedNetwork, demand_kw: Float, units: Units, method: Method
) -> None:
    around = Surroundings.of(european_lv, network, ("neutral_current", "losses", "cost"))
    found = decide_moment(
        around, units, demand_kw, 0.2 * demand_kw, rng=np.random.default_rng(1), method=method,
        population=30, generations=6, tariff_eur_per_kwh=0.3,
    )  # fmt: skip
    assert found.front.values.shape[1] == 3
    assert len(found.front.kw) > 5
    assert found.front.hypervolume > 0.0


def test_a_limit_that_nothing_keeps_is_named(
    european_lv: Feeder, network: ReducedNetwork, demand_kw: Float, units: Units
) -> None:
    """Without any sun voltages are above 1.0 pu at no load: everything is curtailed, and the homes are named."""
    around = Surroundings.of(european_lv, network, PAIR, voltage_limits_pu=(0.9, 1.0))
    found = decide_moment(around, units, demand_kw, 0.2 * demand_kw, rng=np.random.default_rng(1))
    assert found.fallback.startswith("beyond reach, whatever may be curtailed: step 0: highest voltage of LOAD")
    assert found.kw[units.roof].max() < 0.15  # of 3 to 6 kW


def test_what_is_wrong_is_named_together(european_lv: Feeder, network: ReducedNetwork, demand_kw: Float) -> None:
    around = Surroundings.of(european_lv, network, PAIR)
    units = Units(np.array([0, 99]), np.array([False, False]), np.array([5.0, 0.0]), np.array([1.0, 2.0]))
    with pytest.raises(InputError) as caught:
        decide_moment(around, units, demand_kw, demand_kw, rng=np.random.default_rng(0), weights=(0.5, 0.6))
    text = str(caught.value)
    for part in ("sum to 1", "no customer 99", "5.0..1.0", "'squared_curtailment' needs roofs"):
        assert part in text
