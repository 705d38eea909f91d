"""The reduced network against OpenDSS, against hand calculation, and what it refuses."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cosim import feeders, run
from cosim.contract import Exogenous, Feeder
from cosim.controllers.rules.none import NoControl
from cosim.errors import InputError, PowerFlowError, UnsupportedError
from cosim.experiments.bench import batch
from cosim.experiments.keep import cross_check
from cosim.network import monitored_currents
from cosim.opendss import OpenDssEngine
from cosim.reduced import ReducedNetwork
from cosim.reduced_engine import ReducedEngine
from cosim.stepper import make_engine

LOG = logging.getLogger(__name__)
SOURCE_PU = (0.95, 1.0, 1.02, 1.05)

FOUR_WIRES = """
Clear
New Circuit.four_wire BasekV=0.4 pu=1.0 phases=3 Bus1=src MVAsc3=20 MVAsc1=20
New LineCode.c nphases=4 Units=km Rmatrix=(.3 |.05 .3 |.05 .05 .3 |.05 .05 .05 .3)
~ Xmatrix=(.35 |.25 .35 |.25 .25 .35 |.25 .25 .25 .35) Cmatrix=(0|0 0|0 0 0|0 0 0 0)
New Reactor.earth Bus1=src.4 Bus2=src.0 phases=1 R=0.05 X=0
New Line.L1 Bus1=src.1.2.3.4 Bus2=a.1.2.3.4 LineCode=c Length=0.2 units=km
New Line.L2 Bus1=a.1.2.3.4 Bus2=b.1.2.3.4 LineCode=c Length=0.1 units=km
New Load.one Phases=1 Bus1=b.1.4 kV=0.23 kW=3 kvar=1
New Load.two Phases=1 Bus1=b.2.4 kV=0.23 kW=2 kvar=0.5
New Load.three Phases=3 Bus1=a.1.2.3.4 kV=0.4 kW=9 kvar=3
New Load.four Phases=3 Bus1=b.1.2.3 kV=0.4 kW=3 kvar=1
{more}
Set VoltageBases=[0.4]
CalcVoltageBases
"""


@pytest.fixture
def four_wires(tmp_path: Path) -> Callable[[str], Feeder]:
    def make(more: str = "") -> Feeder:
        master = tmp_path / "Master.dss"
        master.write_text(FOUR_WIRES.format(more=more), encoding="utf-8")
        return feeders.load(master)

    return make


def random_powers(rng: np.random.Generator, points: int, customers: int) -> tuple[np.ndarray, np.ndarray]:
    """From 8 kW of export to 12 kW of import per home, with any power factor down to about 0.9."""
    p_kw = rng.uniform(-8.0, 12.0, (points, customers))
    return p_kw, p_kw * rng.uniform(-0.3, 0.5, (points, customers))


def opendss_voltages(feeder: Feeder, p_kw: np.ndarray, q_kvar: np.ndarray, source_pu: np.ndarray) -> np.ndarray:
    """Node voltages of every point; nan where OpenDSS itself does not converge."""
    engine, found = OpenDssEngine(feeder), np.full((len(p_kw), len(feeder.network.node_names)), np.nan, complex)
    for row, point in enumerate(zip(p_kw, q_kvar, source_pu, strict=True)):
        with contextlib.suppress(PowerFlowError):
            found[row] = engine.solve(*point)
    return found


def largest_deviation(feeder: Feeder, points: int, seed: int) -> tuple[float, float]:
    """Largest difference to OpenDSS: node voltages over their own magnitude [pu], and watched currents [A]."""
    rng = np.random.default_rng(seed)
    p_kw, q_kvar = random_powers(rng, points, len(feeder.customers))
    source_pu = rng.choice(SOURCE_PU, points)
    solved_v = opendss_voltages(feeder, p_kw, q_kvar, source_pu)
    solved = np.isfinite(solved_v[:, 0])
    assert solved.mean() >= 0.99  # a few random points are beyond what the feeder can carry
    solved_v = solved_v[solved]
    network = ReducedNetwork(feeder)
    reduced_v = network.solve(p_kw, q_kvar, source_pu).node_v[solved]
    reduced_a = network.predict(p_kw, q_kvar, source_pu).current_a[solved]
    solved_a = monitored_currents([feeder.network.branch(name) for name in network.branches], solved_v)
    return float((np.abs(reduced_v - solved_v) / np.abs(solved_v)).max()), float(np.abs(reduced_a - solved_a).max())


def test_agrees_with_opendss_at_300_random_points(european_lv: Feeder) -> None:
    voltage_pu, current_a = largest_deviation(european_lv, 300, seed=1)
    LOG.info("largest deviation from OpenDSS: %.1e pu at any node, %.1e A in any watched branch", voltage_pu, current_a)
    assert voltage_pu <= 1e-6
    assert current_a <= 1e-3


def test_agrees_with_opendss_on_two_buses(two_bus: Feeder) -> None:
    voltage_pu, current_a = largest_deviation(two_bus, 100, seed=2)
    assert voltage_pu <= 1e-6
    assert current_a <= 1e-3


def test_agrees_with_opendss_with_a_neutral_conductor_and_three_phase_customers(
    four_wires: Callable[[str], Feeder],
) -> None:
    feeder = four_wires("")
    assert min(feeder.customer_neutral) < 0 <= max(feeder.customer_neutral)
    p_kw, q_kvar = random_powers(np.random.default_rng(3), 50, 4)
    solved_v = opendss_voltages(feeder, p_kw, q_kvar, np.ones(50))
    network = ReducedNetwork(feeder)
    # the neutral itself is near earth, so its own magnitude is no base
    difference_v = np.abs(network.solve(p_kw, q_kvar).node_v - solved_v)
    assert difference_v.max() <= 1e-6 * 230.0
    ports = [pair for nodes, n in zip(feeder.customer_nodes, feeder.customer_neutral, strict=True) for pair in
             ((node, n) for node in nodes)]  # fmt: skip
    between = np.stack([solved_v[:, a] - (solved_v[:, n] if n >= 0 else 0.0) for a, n in ports], axis=1)
    difference_v = np.abs(network.predict(p_kw, q_kvar).voltage_v - between)
    assert difference_v.max() <= 1e-6 * 230.0
    assert network.port_customer.tolist() == [0, 1, 2, 2, 2, 3, 3, 3]


def test_many_customers_at_few_nodes_are_solved_by_back_substitution(
    four_wires: Callable[[str], Feeder], monkeypatch: pytest.MonkeyPatch
) -> None:
    feeder = four_wires("")
    p_kw, q_kvar = random_powers(np.random.default_rng(4), 20, 4)
    solved_v = opendss_voltages(feeder, p_kw, q_kvar, np.ones(20))
    dense = ReducedNetwork(feeder)
    monkeypatch.setattr("cosim.reduction._LEAN", 0.0)
    lean = ReducedNetwork(feeder)
    assert lean._transfer.is_lean > dense._transfer.is_lean
    assert np.abs(lean.solve(p_kw, q_kvar).node_v - solved_v).max() <= 1e-6 * 230.0
    assert np.abs(lean.solve(p_kw[:1], q_kvar[:1]).node_v - solved_v[:1]).max() <= 1e-6 * 230.0


def test_two_buses_by_hand(two_bus: Feeder) -> None:
    """The quadratic equation of ``feeders/two_bus/SOURCE.md``."""
    found = ReducedNetwork(two_bus).predict(np.array([[12.0, 6.0, 3.0]]), np.array([[4.0, 2.0, 0.0]]))
    assert np.abs(found.voltage_v[0]) == pytest.approx([224.1453, 227.5976, 229.6313], abs=1e-3)
    transformer_a = found.current_a[0, found.branches.index("TR1")]
    assert np.abs(transformer_a) == pytest.approx([56.4326, 27.7883, 13.0644], abs=1e-3)


def test_sensitivities_are_the_slopes_of_what_opendss_solves(four_wires: Callable[[str], Feeder]) -> None:
    feeder, step_kw = four_wires(BETWEEN), 0.01
    rng, customers = np.random.default_rng(8), len(feeder.customers)
    p_kw, q_kvar = rng.uniform(-2.0, 6.0, (2, customers)), rng.uniform(-1.0, 2.0, (2, customers))
    network = ReducedNetwork(feeder, watched=["L1"])
    found = network.sensitivity(p_kw, q_kvar)
    moved, still = step_kw * np.eye(customers), np.zeros((customers, customers))
    for per_v, per_a, of_p, of_q in (
        (found.voltage_v_per_kw, found.current_a_per_kw, moved, still),
        (found.voltage_v_per_kvar, found.current_a_per_kvar, still, moved),
    ):
        for row in range(2):
            ends_v = [
                opendss_voltages(feeder, p_kw[row] + sign * of_p, q_kvar[row] + sign * of_q, np.ones(customers))
                for sign in (1.0, -1.0)
            ]
            slope_v = (ends_v[0] - ends_v[1]) / (2.0 * step_kw)
            np.testing.assert_allclose(per_v[row].T, slope_v @ feeder.load_ports, atol=2e-5)
            slope_a = monitored_currents([feeder.network.branch("L1")], slope_v)  # which is linear
            np.testing.assert_allclose(np.moveaxis(per_a[row], -1, 0), slope_a, atol=2e-4)
    hopeless = network.sensitivity(np.stack([p_kw[0], p_kw[0] + 1e3]), q_kvar)
    np.testing.assert_allclose(hopeless.voltage_v_per_kw[0], found.voltage_v_per_kw[0], rtol=1e-9)
    assert np.isnan(hopeless.voltage_v_per_kw[1]).all()
    assert np.isnan(hopeless.current_a_per_kvar[1]).all()


def test_watches_what_it_is_told_to(european_lv: Feeder) -> None:
    assert ReducedNetwork(european_lv).branches == ("TR1", "LINE1")
    p_kw = np.full((2, 55), 1.5)
    found = ReducedNetwork(european_lv, watched=["line5", "TR1"]).predict(p_kw, 0.2 * p_kw)
    assert found.branches == ("LINE5", "TR1")
    assert found.current_a.shape == (2, 2, 3)
    with pytest.raises(InputError, match="no branch 'NOWHERE'"):
        ReducedNetwork(european_lv, watched=["nowhere"])


def test_source_voltage(european_lv: Feeder) -> None:
    network = ReducedNetwork(european_lv)
    p_kw = np.full((1, 55), 1.0)
    own = network.predict(p_kw, p_kw).voltage_v
    assert (network.predict(p_kw, p_kw, float("nan")).voltage_v == own).all()
    assert (network.predict(p_kw, p_kw, 1.02).voltage_v == own).all()
    assert (np.abs(network.predict(p_kw, p_kw, 1.05).voltage_v) > np.abs(own) + 6.0).all()


def test_a_hopeless_candidate_is_nan_and_leaves_the_others_alone(european_lv: Feeder) -> None:
    network = ReducedNetwork(european_lv)
    p_kw = np.random.default_rng(4).uniform(0.0, 4.0, (20, 55))
    alone = network.predict(p_kw, 0.3 * p_kw)
    p_kw[7] = 1e3  # far beyond what the feeder can carry
    p_kw[11] = 40.0  # likewise, but not absurd
    together = network.predict(p_kw, 0.3 * p_kw)
    bad = np.isin(np.arange(20), [7, 11])
    assert (np.isnan(together.voltage_v).all(axis=1) == bad).all()
    assert (np.isnan(together.current_a).all(axis=(1, 2)) == bad).all()
    assert np.abs(together.voltage_v[~bad] - alone.voltage_v[~bad]).max() <= 1e-6
    assert np.isnan(network.solve(p_kw[bad], p_kw[bad]).node_v).all()


def test_the_engine_refuses_what_has_no_solution(two_bus: Feeder) -> None:
    engine = ReducedEngine(two_bus)
    with pytest.raises(PowerFlowError, match=r"no solution within 0.5..1.5 pu.*net load of 3000.0 kW"):
        engine.solve(np.full(3, 1e3), np.zeros(3), float("nan"))
    # the collapsed branch of the same equation is no answer either: 110 kW still solve, 150 kW do not
    assert np.abs(engine.solve(np.full(3, 110.0), np.zeros(3), 1.0)).min() > 115.0
    with pytest.raises(PowerFlowError):
        engine.solve(np.full(3, 150.0), np.zeros(3), 1.0)


def test_a_voltage_outside_the_band_is_no_solution_and_takes_no_other_with_it(two_bus: Feeder) -> None:
    """There OpenDSS has impedances for loads, so that powers kept constant would be of another feeder."""
    source_pu = np.array([0.45, 0.6, 1.0, 1.45, 1.55])
    loads = np.ones((5, 3)), np.zeros((5, 3))
    found = ReducedNetwork(two_bus).predict(*loads, source_pu)
    assert np.isfinite(found.voltage_v).all(axis=1).tolist() == [False, True, True, True, False]
    assert np.isfinite(found.current_a).all(axis=(1, 2)).tolist() == [False, True, True, True, False]


@pytest.mark.slow
def test_the_benchmark_compares_equal_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "SIZES", (60,))
    monkeypatch.setattr(batch, "POINTS", 2)
    rows = [row for row in batch.measure(1) if "OpenDSS" in row.name]
    assert len(rows) == 4
    assert all(row.more["largest_voltage_difference_v"] < 1e-5 for row in rows)
    assert rows[0].more["nodes"] == 2 * 2718 + 3


def test_the_cross_check_compares_node_by_node(two_bus: Feeder, busy_day: Callable[..., Exogenous]) -> None:
    """Voltages at the wrong nodes, and a step of another moment, have the same extremes as the right ones."""
    day = busy_day(two_bus, seed=2, minutes=120, start_h=17.0)
    trajectory = run(two_bus, day, NoControl(two_bus), engine="reduced")
    right = cross_check(trajectory)
    assert right["steps"] == 24
    assert right["voltage_max_pu"] < 1e-7
    first, second, _ = (nodes[0] for nodes in two_bus.customer_nodes)
    exchanged = trajectory.node_v.copy()
    exchanged[:, [first, second]] = trajectory.node_v[:, [second, first]]
    assert cross_check(replace(trajectory, node_v=exchanged))["voltage_max_pu"] > 1.0  # a phase for another
    lowered = trajectory.node_v.copy()
    k = int(np.abs(lowered[:, second]).argmax())
    lowered[k, second] *= 0.999  # one node at one step
    assert cross_check(replace(trajectory, node_v=lowered))["voltage_max_pu"] == pytest.approx(1e-3, rel=0.1)


def test_bad_calls(two_bus: Feeder) -> None:
    network = ReducedNetwork(two_bus)
    with pytest.raises(ValueError, match=r"must be \(candidate, 3\)"):
        network.predict(np.zeros((1, 2)), np.zeros((1, 2)))


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ("New Generator.chp Phases=1 Bus1=a.1.4 kV=0.23 kW=2 model=3", "Generator.CHP"),
        ("New Isource.welder Phases=1 Bus1=a.2 amps=3", "Isource.WELDER"),
    ],
)
def test_refuses_what_it_cannot_represent_by_name(four_wires: Callable[[str], Feeder], more: str, named: str) -> None:
    feeder = four_wires(more)
    with pytest.raises(UnsupportedError, match=named):
        ReducedNetwork(feeder)
    with pytest.raises(UnsupportedError, match=named):
        make_engine("reduced", feeder)


OWN = """New Generator.chp Phases=3 Bus1=a.1.2.3.4 kV=0.4 kW=8 kvar=2 vminpu=.6 vmaxpu=1.3
New PVSystem.roof Phases=1 Bus1=b.2.4 kV=0.23 kVA=6 Pmpp=5 irradiance=0.8 pf=0.95 vminpu=.6 vmaxpu=1.3
New PVSystem.pair Phases=1 Bus1=a.1.3 kV=0.4 kVA=3 Pmpp=3 irradiance=1 vminpu=.6 vmaxpu=1.3
New Storage.bat Phases=3 Bus1=b.1.2.3 kV=0.4 conn=delta kWrated=4 kWhrated=9 state=charging vminpu=.6 vmaxpu=1.3
"""


def test_sources_of_the_file_feed_in_what_opendss_says(four_wires: Callable[[str], Feeder]) -> None:
    feeder = four_wires(OWN)
    p_kw, q_kvar = random_powers(np.random.default_rng(9), 20, 4)
    network = ReducedNetwork(feeder, others_kva=feeder.network.others_kva)
    found = network.solve(p_kw, q_kvar)
    solved_v = opendss_voltages(feeder, p_kw, q_kvar, np.ones(20))
    assert np.abs(found.node_v - solved_v).max() <= 1e-6 * 230.0
    without = network.solve(p_kw, q_kvar, others_kva=np.zeros(4, complex)).node_v
    assert np.abs(without - solved_v).max() > 2.0
    with pytest.raises(UnsupportedError, match=r"other than customers: Generator.CHP, PVSystem.ROOF"):
        ReducedNetwork(feeder)
    narrow = four_wires(OWN.replace("vmaxpu=1.3", "vmaxpu=0.9"))  # where its power would follow its voltage
    assert not ReducedNetwork(narrow, others_kva=feeder.network.others_kva).solve(p_kw, q_kvar).solved.any()


BETWEEN = """New Load.pair Phases=1 Bus1=a.1.2 kV=0.4 conn=delta kW=3 kvar=1
New Load.triangle Phases=3 Bus1=a.1.2.3 kV=0.4 conn=delta kW=6 kvar=0
New Load.odd Phases=2 Bus1=a.3.1.4 kV=0.4 kW=2 kvar=0
"""


def test_loads_between_phases_are_ports_between_phases(four_wires: Callable[[str], Feeder]) -> None:
    feeder = four_wires(BETWEEN)
    assert feeder.delta_customers == ("PAIR", "TRIANGLE")
    rng, customers = np.random.default_rng(7), len(feeder.customers)
    p_kw, q_kvar = rng.uniform(-2.0, 6.0, (20, customers)), rng.uniform(-1.0, 2.0, (20, customers))
    network = ReducedNetwork(feeder, watched=())
    difference_v = np.abs(
        network.solve(p_kw, q_kvar).node_v - opendss_voltages(feeder, p_kw, q_kvar, np.ones(len(p_kw)))
    )
    assert difference_v.max() <= 2e-8 * 230.0
    with pytest.raises(UnsupportedError, match=r"Load.PAIR, Load.TRIANGLE"):
        network.predict(p_kw, q_kvar)  # what controllers are told are voltages to neutral


def test_a_run_is_the_same_with_either_engine(european_lv: Feeder, busy_day: Callable[..., Exogenous]) -> None:
    day = busy_day(european_lv, seed=5, minutes=360)
    true, reduced = (run(european_lv, day, NoControl(european_lv), engine=name) for name in ("opendss", "reduced"))
    assert reduced.engine == "reduced"
    assert (reduced.net_kw == true.net_kw).all()
    assert not reduced.degraded.any()
    assert (np.abs(reduced.node_v - true.node_v) / np.abs(true.node_v)).max() <= 1e-6
