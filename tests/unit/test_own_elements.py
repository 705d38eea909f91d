"""What a circuit's file brings along beside loads and lines: honoured as plain OpenDSS does, or refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import opendssdirect
import pandas as pd
import pytest

import cosim as framework
from cosim import feeders
from cosim.errors import InputError, UnsupportedError
from cosim.experiments.day import Run
from cosim.reduced import ReducedNetwork
from cosim.stepper import make_engine

HEAD = """Clear
Set DefaultBaseFrequency=50
New Circuit.c bus1=mv basekv=11 pu=1.0 isc3=3000 isc1=2500
New Transformer.t windings=2 buses=(mv lv) conns=(delta wye) kvs=(11 0.4) kvas=(100 100) xhl=4 %loadloss=1
"""
CABLE = "New Line.l1 bus1={} bus2=b phases=3 r1=0.3 x1=0.1 r0=0.9 x0=0.3 c1=0 c0=0 length=0.3 normamps=200\n"
HOMES = "".join(
    f"New Load.e{phase} bus1=b.{phase} phases=1 kv=0.23 kw={kw} pf=0.95 daily=homes vminpu=.5 vmaxpu=1.5\n"
    for phase, kw in ((1, 5), (2, 5), (3, 2))
)
END = "Set voltagebases=[11 0.4]\nCalcvoltagebases\nSolve\n"
SCENARIO = """name = "own"
feeder = "Master.dss"
start = 2026-05-15T00:00:00
horizon_h = 24
step_min = {step_min}
control_min = 60
[households]
profiles = "feeder"
[grid]
{grid}
[[runs]]
controller = "none"
"""


def shape(name: str, values: int, seed: int, low: float = 0.0) -> str:
    drawn = np.random.default_rng(seed).uniform(low, 1.0, values).round(4)
    return f"New LoadShape.{name} npts={values} minterval={1440 // values} mult=[{' '.join(map(str, drawn))}]\n"


@dataclass
class Made:
    """A circuit and a scenario on it, in a folder of their own."""

    folder: Path

    def day(self, circuit: str, grid: str = "", step_min: int = 60) -> Path:
        (self.folder / "Master.dss").write_text(circuit)
        path = self.folder / "scenario.toml"
        path.write_text(SCENARIO.format(grid=grid, step_min=step_min))
        return path

    def run(self, circuit: str, grid: str = "", step_min: int = 60) -> Run:
        return framework.load(self.day(circuit, grid, step_min)).run("none")

    def plain(self, steps: int, settings: str, step_min: int = 60) -> Iterator[opendssdirect.OpenDSSDirect]:
        """OpenDSS alone, in its own daily mode, after every step."""
        dss = opendssdirect.NewContext()
        dss.Text.Command(f'compile "{self.folder / "Master.dss"}"')
        dss.Text.Command(f"set mode=daily number=1 stepsize={step_min}m time=(0, 0) tolerance=1e-8 {settings}")
        for _ in range(steps):
            dss.Solution.Solve()
            assert dss.Solution.Converged()
            yield dss


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def source_kw(run: Run) -> np.ndarray:
    """What enters the transformer at the source's bus."""
    branch = run.trajectory.feeder.network.branch("T")
    (current_a,) = framework.network.terminal_currents([branch], run.trajectory.node_v)
    volts = run.trajectory.node_v[:, branch.nodes[:3]]
    return np.asarray((volts * current_a[:, :3].conj()).real.sum(axis=1) / 1e3)


def same_voltages(run: Run, dss: opendssdirect.OpenDSSDirect, step: int) -> None:
    names = [name.upper() for name in dss.Circuit.YNodeOrder()]
    volts = dict(zip(names, np.array(dss.YMatrix.getV()).view(complex)[1:], strict=True))
    wanted = np.array([volts[name] for name in run.trajectory.feeder.network.node_names])
    np.testing.assert_allclose(np.abs(run.trajectory.node_v[step] - wanted).max(), 0.0, atol=1e-6 * np.abs(wanted).max())


JOINED = {
    "a fuse": "New Reactor.fuse phases=3 bus1=lv bus2=a r=0.01 x=0.005\n",
    "a resistance": "New Fault.link phases=3 bus1=lv bus2=a r=0.01\n",
    "a series capacitor": "New Capacitor.row phases=3 bus1=lv bus2=a kvar=900 kv=0.4\n",
}


@pytest.mark.parametrize("what", JOINED)
def test_what_joins_two_buses_is_on_the_way_and_in_the_losses(made: Made, what: str) -> None:
    more = JOINED[what] + "New Reactor.earth phases=1 bus1=b.1 r=500 x=0\nNew Capacitor.bank bus1=b kvar=6 kv=0.4\n"
    run = made.run(HEAD + shape("homes", 24, 1) + more + CABLE.format("a") + HOMES + END)
    place = run.trajectory.feeder
    assert place.distance_m["B"] > place.distance_m["A"] == 0.0
    assert place.head_line == "L1"
    assert not any("not reached" in warning for warning in place.warnings)
    for step, dss in enumerate(made.plain(24, "controlmode=off")):
        same_voltages(run, dss, step)
        # OpenDSS leaves what is connected to earth out of its losses: source less loads is all that is lost
        lost_kw = -dss.Circuit.TotalPower()[0] - run.trajectory.net_kw[step].sum()
        assert run.trajectory.losses_kw[step] == pytest.approx(lost_kw, abs=1e-5)
    assert run.metrics["balance_error_percent"] < 1e-3
    assert not run.trajectory.degraded.any()


SOURCES = (
    "New Generator.chp bus1=b.3 phases=1 kv=0.23 kw=4 pf=0.95 daily=chp vminpu=.5 vmaxpu=1.5\n"
    "New Generator.always bus1=b phases=3 kv=0.4 kw=3 kvar=1 vminpu=.5 vmaxpu=1.5\n"
    "New PVSystem.roof bus1=b.1 phases=1 kv=0.23 kva=8 pmpp=10 irradiance=0.9 daily=sun %cutin=5 vminpu=.5 vmaxpu=1.5\n"
    "New PVSystem.between bus1=b.1.2 phases=1 kv=0.4 kva=3 pmpp=3 irradiance=1 daily=sun vminpu=.5 vmaxpu=1.5\n"
    "New Storage.bat bus1=b.2 phases=1 kv=0.23 kwrated=5 kwhrated=10 state=idling\n"
    "New Storage.moving bus1=b phases=3 kv=0.4 kwrated=4 kwhrated=12 dispmode=follow daily=chp vminpu=.5 vmaxpu=1.5\n"
    "New Isource.welder bus1=lv.2 phases=1 amps=3 angle=30 daily=chp\n"
)


@pytest.mark.parametrize("step_min", [60, 30])
def test_own_sources_follow_their_shapes_as_in_plain_opendss(made: Made, step_min: int) -> None:
    steps = 1440 // step_min
    shapes = shape("homes", steps, 1) + shape("sun", 24, 2) + shape("chp", 48, 3, low=-1.0)
    run = made.run(HEAD + shapes + CABLE.format("lv") + HOMES + SOURCES + END, step_min=step_min)
    fed_kw, names = run.trajectory.others_kw, run.trajectory.feeder.network.injectors
    for step, dss in enumerate(made.plain(steps, "controlmode=off", step_min)):
        same_voltages(run, dss, step)
        for column, name in enumerate(names):
            dss.Circuit.SetActiveElement(name)
            assert fed_kw[step, column] == pytest.approx(-sum(dss.CktElement.Powers()[::2]), abs=1e-4)
        dss.Circuit.SetActiveElement("Vsource.source")
        assert -sum(dss.CktElement.Powers()[::2]) == pytest.approx(source_kw(run)[step], abs=1e-4)
    assert np.ptp(fed_kw[:, names.index("Storage.MOVING")]) > 1.0
    assert run.metrics["balance_error_percent"] < 1e-3
    assert not run.trajectory.degraded.any()
    again = run.day.run("none").trajectory
    np.testing.assert_allclose(again.others_kw, fed_kw, atol=1e-6)


REGULATED = """Clear
Set DefaultBaseFrequency=60
New Circuit.c bus1=hv basekv=115 pu=1.0 isc3=20000 isc1=21000
New Transformer.sub windings=2 buses=(hv mv) conns=(delta wye) kvs=(115 4.16) kvas=(2000 2000) xhl=8 %loadloss=1
New RegControl.ltc transformer=sub winding=2 vreg=120.5 band=1.2 ptratio=20 delay=30
New LineCode.over nphases=3 r1=0.3 x1=0.6 r0=0.7 x0=1.9 c1=0 c0=0 units=km
New Line.trunk bus1=mv bus2=mid linecode=over length=1.2 units=km normamps=700
""" + "".join(
    f"New Transformer.reg{p} phases=1 windings=2 buses=(mid.{p} far.{p}) kvs=(2.4 2.4) kvas=(1666 1666) xhl=0.1\n"
    f"New RegControl.r{p} transformer=reg{p} winding=2 vreg=122 band=2 ptratio=20 delay={delay} r=3 x=7 ctprim=700\n"
    for p, delay in ((1, 15), (2, 400), (3, 60))
) + """New Line.lateral bus1=far bus2=end linecode=over length=2 units=km normamps=400
New Capacitor.bank bus1=end phases=3 kvar=300 kv=4.16 numsteps=3
New CapControl.switch capacitor=bank element=Line.trunk terminal=1 type=kvar onsetting=120 offsetting=-60 delay=120
"""
REGULATED_END = "".join(
    f"New Load.{bus}{p} bus1={bus}.{p} phases=1 kv=2.4 kw={kw} pf=0.9 daily=d{p} vminpu=.5 vmaxpu=1.5\n"
    for bus, size in (("mid", 120), ("end", 200))
    for p, kw in ((1, size), (2, size * 0.6), (3, size * 1.3))
) + "Set voltagebases=[115 4.16]\nCalcvoltagebases\n"


def regulated(steps: int) -> str:
    """A medium-voltage feeder with an on-load tap changer, three regulators and a switched capacitor."""
    return REGULATED + "".join(shape(f"d{p}", steps, p, low=0.1) for p in (1, 2, 3)) + REGULATED_END


MOVING = {"Transformer.SUB.2", "Capacitor.BANK", *(f"Transformer.REG{p}.2" for p in (1, 2, 3))}


def state_of(dss: opendssdirect.OpenDSSDirect, element: str) -> float:
    kind, name, *winding = element.split(".")
    if kind == "Capacitor":
        dss.Capacitors.Name(name)
        return sum(dss.Capacitors.States())
    dss.Transformers.Name(name)
    dss.Transformers.Wdg(int(winding[0]))
    return dss.Transformers.Tap()


@pytest.mark.parametrize("step_min", [5, 15])
def test_taps_and_capacitors_move_as_in_plain_opendss_at_every_step(made: Made, step_min: int) -> None:
    steps = 1440 // step_min
    run = made.run(regulated(steps), 'taps = "controlled"', step_min)
    trajectory = run.trajectory
    log = pd.DataFrame(trajectory.switchings, columns=["step", "element", "before", "after"])
    assert set(log["element"]) == MOVING
    at = log.groupby("element")["before"].first().to_dict()
    for step, dss in enumerate(made.plain(steps, "controlmode=time maxiterations=100", step_min)):
        at.update(log[log["step"] == step].set_index("element")["after"])
        assert at == pytest.approx({element: state_of(dss, element) for element in MOVING}, abs=1e-9), step
        same_voltages(run, dss, step)
        lost_kw = -dss.Circuit.TotalPower()[0] - trajectory.net_kw[step].sum()
        assert trajectory.losses_kw[step] == pytest.approx(lost_kw, abs=2e-3)
        dss.Circuit.SetActiveElement("Transformer.sub")
        into_a = np.array(dss.CktElement.Currents()).view(complex)[4:7]
        np.testing.assert_allclose(np.abs(trajectory.transformer_current_a[step]), np.abs(into_a), rtol=1e-5)
    assert run.metrics["tap_changes"] == len(log) > 20
    assert run.metrics["balance_error_percent"] < 0.01
    assert not trajectory.degraded.any()
    assert run.day.run("none").trajectory.switchings == trajectory.switchings
