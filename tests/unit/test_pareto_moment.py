"""One operating point outside the loop: every objective against the full network, and the exact front's claims."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cosim.contract import Feeder, Float
from cosim.controllers.pareto.exact import exact_front
from cosim.controllers.pareto.front import Scale
from cosim.controllers.pareto.moment import MomentSpace, Units, decide_moment, moment_scene
from cosim.controllers.pareto.problem import DispatchProblem
from cosim.controllers.pareto.programme import Quadratic, duality_gap, solve, solve_within
from cosim.controllers.pareto.surroundings import Surroundings
from cosim.errors import InputError
from cosim.measures import neutral_current_a, pui_percent, unbalance_current_a2, vuf_percent
from cosim.network import branch_losses_kw, monitored_currents
from cosim.reduced import ReducedNetwork

PAIR = ("unbalance_current", "pv_curtailment")


@pytest.fixture(scope="module")
def network(european_lv: Feeder) -> ReducedNetwork:
    return ReducedNetwork(european_lv)


@pytest.fixture(scope="module")
def demand_kw() -> Float:
    return np.random.default_rng(1).gamma(2.0, 0.3, 55)


@pytest.fixture(scope="module")
def units() -> Units:
    """Three charge points and twelve roofs."""
    roof = np.arange(15) >= 3
    sun_kw = np.random.default_rng(2).uniform(3.0, 6.0, 15)
    return Units(np.r_[0:3, 10:22], roof, np.where(roof, 0.0, 5.5), np.where(roof, sun_kw, 11.0))


LINES = ("TR1", "LINE1", "LINE161")  # the last is not one that the predictor watches
"""Watched lines."""


def test_objectives_are_those_of_the_full_network(
    european_lv: Feeder, network: ReducedNetwork, demand_kw: Float, units: Units
) -> None:
    names = (*PAIR, "neutral_current", "pui", "vuf", "voltage_deviation", "losses", "ev_shortfall", "cost")
    around = Surroundings.of(european_lv, network, names, lines=LINES)
    scene = moment_scene(units, demand_kw, 0.2 * demand_kw, hours=0.5, tariff_eur_per_kwh=0.3)
    problem = DispatchProblem(around, scene, MomentSpace(units, 55))
    kw = 0.5 * (units.low_kw + units.high_kw)
    found = dict(zip(names, problem.values(kw[None, :])[0][0], strict=True))

    net_kw = demand_kw.copy()
    np.add.at(net_kw, units.customer, np.where(units.roof, -kw, kw))
    node_v = network.solve(net_kw[None, :], 0.2 * demand_kw[None, :]).node_v
    nothing = np.zeros((1, 55))
    unloaded_v = network.solve(nothing, nothing).node_v
    current_a = monitored_currents([european_lv.network.branch(name) for name in LINES], node_v)[0]
    rows = {name: row for row, name in enumerate(european_lv.network.node_names)}
    bus_v = np.array([[node_v[0, rows[f"{bus}.{phase}"]] for phase in (1, 2, 3)] for bus in around.probe.buses])
    terminal_pu = np.abs(node_v[0, [nodes[0] for nodes in european_lv.customer_nodes]]) / 230.0
    branches = european_lv.network.branches
    lost_kw = (branch_losses_kw(branches, node_v) - branch_losses_kw(branches, unloaded_v)).sum()
    half_roofs = 0.25 * (units.high_kw[units.roof] ** 2).sum()
    expected = {
        "unbalance_current": unbalance_current_a2(current_a).sum(),
        "pv_curtailment": half_roofs,
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


def test_the_exact_front_is_not_beaten_and_beats_a_search(
    european_lv: Feeder, network: ReducedNetwork, demand_kw: Float, units: Units
) -> None:
    """No attainable point lies below its supporting lines; a random search stays behind it."""
    around = Surroundings.of(european_lv, network, PAIR)
    scene = moment_scene(units, demand_kw, 0.2 * demand_kw)
    space = MomentSpace(units, 55)
    problem = DispatchProblem(around, scene, space)
    rng = np.random.default_rng(3)
    x = np.vstack([np.ones(15), np.zeros(15), rng.random((2000, 15)), 1.0 - rng.random((2000, 15)) ** 6])
    values, _ = problem.values(space.decode(x))
    scale = Scale.of(problem, values)
    exact = exact_front(problem, scale, 60)
    assert exact is not None
    assert exact.gap < 1e-4
    assert (np.diff(exact.values[:, 0]) > 0.0).all()
    assert (np.diff(exact.values[:, 1]) < 0.0).all()
    for corner, weights in zip(exact.support / scale.width, exact.weights, strict=True):
        assert ((values / scale.width) @ weights >= weights @ corner - 1e-4).all()
    assert scale.hypervolume(exact.values) > scale.hypervolume(values) + 0.01


def test_a_front_with_its_choice_and_certificate(
    european_lv: Feeder, network: ReducedNetwork, demand_kw: Float, units: Units
) -> None:
    around = Surroundings.of(european_lv, network, PAIR)

    def decide(weights: tuple[float, float], kind: str):  # type: ignore[no-untyped-def]
        return decide_moment(
            around, units, demand_kw, 0.2 * demand_kw, rng=np.random.default_rng(1), weights=weights,
            population=40, generations=8, certificate=kind,
        )  # fmt: skip

    careful, bold = decide((0.1, 0.9), "qp"), decide((0.9, 0.1), "long")
    for moment in (careful, bold):
        assert (moment.kw >= units.low_kw - 1e-9).all()
        assert (moment.kw <= units.high_kw + 1e-9).all()
        assert moment.certificate is not None
        assert 0.97 < moment.front.hypervolume / moment.certificate.hypervolume < 1.01
        assert moment.certificate.regret_a >= 0.0
        assert moment.certificate.regret_kwh >= 0.0
    bold_values, careful_values = (moment.front.values[moment.chosen] for moment in (bold, careful))
    assert bold_values[0] < careful_values[0]
    assert bold_values[1] > careful_values[1]


def test_the_exact_front_need_not_seed(
    european_lv: Feeder, network: ReducedNetwork, demand_kw: Float, units: Units
) -> None:
    """A search that has to find the front by itself is judged by the same reference, and comes out behind."""
    around = Surroundings.of(european_lv, network, PAIR)
    seeded, alone = (
        decide_moment(
            around, units, demand_kw, 0.2 * demand_kw, rng=np.random.default_rng(1), population=40, generations=12,
            certificate="qp", certificate_seeds=seeds,
        )
        for seeds in (True, False)
    )  # fmt: skip
    assert seeded.certificate is not None
    assert alone.certificate is not None
    assert alone.certificate.hypervolume == pytest.approx(seeded.certificate.hypervolume)
    assert alone.front.hypervolume < seeded.front.hypervolume <= 1.01 * seeded.certificate.hypervolume


@pytest.mark.parametrize("objectives", [("pui", "pv_curtailment"), ("neutral_current", "pv_curtailment"), PAIR])
def test_limits_are_kept_where_they_can_be(
    european_lv: Feeder, network: ReducedNetwork, demand_kw: Float, units: Units, objectives: tuple[str, str]
) -> None:
    """All the sun lifts a home above the limit asked for; every point of the front stays below it and the least."""

    def around(**limits: Any) -> Surroundings:
        return Surroundings.of(european_lv, network, objectives, lines=LINES, **limits)

    def voltages_pu(where: Surroundings, kw: Float) -> Float:
        problem = DispatchProblem(where, moment_scene(units, demand_kw, 0.2 * demand_kw), MomentSpace(units, 55))
        return np.abs(problem.evaluated(kw)[0].voltage_v[:, 0]) / 230.0

    free = around(voltage_limits_pu=None, loading_limit_percent=None)
    extremes_pu = voltages_pu(free, np.array([np.where(units.roof, units.high_kw, units.low_kw), units.high_kw]))
    low, high = float(extremes_pu[1].min()) + 0.002, float(extremes_pu[0].max()) - 0.006
    limited = around(voltage_limits_pu=(low, high))
    found = decide_moment(
        limited, units, demand_kw, 0.2 * demand_kw, rng=np.random.default_rng(1), population=30, generations=30
    )
    assert found.front.feasible
    assert not found.front.relaxed
    assert len(found.kw) >= 8
    assert voltages_pu(limited, found.kw).max() <= high + 1e-9
    assert voltages_pu(limited, found.kw).min() >= low - 1e-9


def test_loading_is_a_limit_of_every_phase_of_named_lines(
    european_lv: Feeder, network: ReducedNetwork, demand_kw: Float, units: Units
) -> None:
    """Lines that objectives do not watch are limited as well; the worst phase counts."""
    scene, space = moment_scene(units, demand_kw, 0.2 * demand_kw), MomentSpace(units, 55)
    names = ("losses", "pv_curtailment")

    def problem(percent: float | None) -> DispatchProblem:
        around = Surroundings.of(european_lv, network, names, lines=LINES, loading_limit_percent=percent)
        return DispatchProblem(around, scene, space)

    _, loading_a = problem(None).evaluated(units.high_kw[None, :])
    around = problem(None).around
    row = (*around.branches, *around.probe.lines).index("TR1")
    percent = 100.0 * float(np.abs(loading_a[0, 0, row]).max()) / float(around.rating_a[row])
    for limit, kept in ((percent + 0.01, True), (percent - 0.01, False), (None, True)):
        _, quantity = problem(limit).values(units.high_kw[None, :])
        assert (problem(limit).excess(quantity)[0, 2 + row] <= 0.0) == kept
    assert "LINE161" in around.probe.lines


@pytest.mark.parametrize("algorithm", ["auto", "nsga2"])
def test_three_objectives(
    european_lv: Feeder, network: ReducedNetwork, demand_kw: Float, units: Units, algorithm: str
) -> None:
    around = Surroundings.of(european_lv, network, ("neutral_current", "losses", "cost"))
    found = decide_moment(
        around, units, demand_kw, 0.2 * demand_kw, rng=np.random.default_rng(1), algorithm=algorithm,
        population=30, generations=6, tariff_eur_per_kwh=0.3,
    )  # fmt: skip
    assert found.front.values.shape[1] == 3
    assert len(found.kw) > 5
    assert found.front.hypervolume > 0.0


def test_what_is_wrong_is_named_together(european_lv: Feeder, network: ReducedNetwork, demand_kw: Float) -> None:
    around = Surroundings.of(european_lv, network, PAIR)
    units = Units(np.array([0, 99]), np.array([False, False]), np.array([5.0, 0.0]), np.array([1.0, 2.0]))
    with pytest.raises(InputError) as caught:
        decide_moment(around, units, demand_kw, demand_kw, rng=np.random.default_rng(0), weights=(0.5, 0.6))
    text = str(caught.value)
    for part in ("sum to 1", "no customer 99", "5.0..1.0", "'pv_curtailment' needs roofs"):
        assert part in text


def test_quadratic_programmes_against_known_answers() -> None:
    """min (x+y-1)² + 0.01 (x² + y²) on the unit box: 50/101 each; with x + 2y >= 2 the row binds."""
    open_ended = np.array([np.inf])
    free = Quadratic(
        slope=np.array([[1.0, 1.0]]), offset=np.array([-1.0]), diagonal=np.full(2, 0.01), target=np.zeros(2),
        low=np.zeros(2), high=np.ones(2), rows=np.array([[1.0, 2.0]]), row_low=-open_ended, row_high=open_ended,
    )  # fmt: skip
    kw, gap = solve(free)
    assert kw == pytest.approx([1.0 / 2.01] * 2, abs=1e-5)
    assert 0.0 <= gap < 1e-4
    assert duality_gap(free, np.array([1.0, 1.0]), np.zeros(1)) > 1.0  # far from the optimum, and it says so
    bound, _ = solve_within(free, np.array([[-1.0, -2.0]]), np.array([-2.0]))
    assert bound @ [1.0, 2.0] == pytest.approx(2.0, abs=1e-5)
    assert bound == pytest.approx([0.0, 1.0], abs=0.02)
