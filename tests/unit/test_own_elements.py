"""What a circuit's file brings along beside loads and lines: honoured as plain OpenDSS does, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import opendssdirect
import pandas as pd
import pytest

import cosim as framework
from cosim import feeders
from cosim.contract import BaseController, Feeder, Observation, Setpoints
from cosim.errors import InputError, UnsupportedError
from cosim.experiments.day import Run
from cosim.experiments.keep import cross_check
from cosim.measures.balance import served_error
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
    assert np.abs(run.trajectory.node_v[step] - wanted).max() <= 1e-6 * np.abs(wanted).max()


JOINED = {
    "a fuse": "New Reactor.fuse phases=3 bus1=lv bus2=a r=0.01 x=0.005\n",
    "a resistance": "New Fault.link phases=3 bus1=lv bus2=a r=0.01\n",
    "a series capacitor": "New Capacitor.row phases=3 bus1=lv bus2=a kvar=900 kv=0.4\n",
}


@pytest.mark.parametrize(
    "what", [one if one == "a fuse" else pytest.param(one, marks=pytest.mark.slow) for one in JOINED]
)
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


@pytest.mark.parametrize("step_min", [60, pytest.param(30, marks=pytest.mark.slow)])
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
    assert run.metrics["balance_error_max_percent"] < 1e-4
    assert not run.trajectory.degraded.any()
    again = run.day.run("none").trajectory
    np.testing.assert_allclose(again.others_kw, fed_kw, atol=1e-6)


def test_the_reduced_engine_lets_them_feed_in_too(made: Made) -> None:
    shapes = shape("homes", 24, 1) + shape("sun", 24, 2) + shape("chp", 48, 3, low=-1.0)
    steady = "".join(line for line in SOURCES.splitlines(keepends=True) if "Isource" not in line)
    true = made.run(HEAD + shapes + CABLE.format("lv") + HOMES + steady + END)
    for reduced in (true.day.run("none", engine="reduced"), true.day.run("none", engine="reduced")):
        deviation_v = np.abs(reduced.trajectory.node_v - true.trajectory.node_v)
        assert (deviation_v / np.abs(true.trajectory.node_v)).max() <= 1e-6
        np.testing.assert_allclose(reduced.trajectory.others_kw, true.trajectory.others_kw, atol=1e-4)
        assert reduced.metrics["balance_error_max_percent"] < 1e-4
        assert not reduced.trajectory.degraded.any()
    assert cross_check(reduced.trajectory)["voltage_max_pu"] < 1e-6


REGULATED = (
    """Clear
Set DefaultBaseFrequency=60
New Circuit.c bus1=hv basekv=115 pu=1.0 isc3=20000 isc1=21000
New Transformer.sub windings=2 buses=(hv mv) conns=(delta wye) kvs=(115 4.16) kvas=(2000 2000) xhl=8 %loadloss=1
New RegControl.ltc transformer=sub winding=2 vreg=120.5 band=1.2 ptratio=20 delay=30
New LineCode.over nphases=3 r1=0.3 x1=0.6 r0=0.7 x0=1.9 c1=0 c0=0 units=km
New Line.trunk bus1=mv bus2=mid linecode=over length=1.2 units=km normamps=700
"""
    + "".join(
        f"New Transformer.reg{p} phases=1 windings=2 buses=(mid.{p} far.{p}) kvs=(2.4 2.4) kvas=(1666 1666) xhl=0.1\n"
        f"New RegControl.r{p} transformer=reg{p} winding=2 vreg=122 band=2 ptratio=20 delay={delay} r=3 x=7\n"
        for p, delay in ((1, 15), (2, 400), (3, 60))
    )
    + """New Line.lateral bus1=far bus2=end linecode=over length=2 units=km normamps=400
New Capacitor.bank bus1=end phases=3 kvar=300 kv=4.16 numsteps=3
New CapControl.switch capacitor=bank element=Line.trunk terminal=1 type=kvar onsetting=120 offsetting=-60 delay=120
"""
)
REGULATED_END = (
    "".join(
        f"New Load.{bus}{p} bus1={bus}.{p} phases=1 kv=2.4 kw={kw} pf=0.9 daily=d{p} vminpu=.5 vmaxpu=1.5\n"
        for bus, size in (("mid", 120), ("end", 200))
        for p, kw in ((1, size), (2, size * 0.6), (3, size * 1.3))
    )
    + "Set voltagebases=[115 4.16]\nCalcvoltagebases\n"
)


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


@pytest.mark.parametrize("step_min", [15, pytest.param(5, marks=pytest.mark.slow)])
def test_taps_and_capacitors_move_as_in_plain_opendss_at_every_step(made: Made, step_min: int) -> None:
    steps = 1440 // step_min
    run = made.run(regulated(steps), 'taps = "controlled"', step_min)
    trajectory = run.trajectory
    log = pd.DataFrame(trajectory.switchings, columns=["step", "element", "before", "after"])
    assert set(log["element"]) == MOVING
    at_ltc = [row for row, limit in enumerate(trajectory.feeder.limits) if limit.asset == "SUB"][:3]
    rated_a = 2000 / (np.sqrt(3) * 4.16)
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
        np.testing.assert_allclose(trajectory.limit_percent[step, at_ltc], 100.0 * np.abs(into_a) / rated_a, rtol=1e-5)
    assert run.metrics["tap_changes"] == len(log) > 20
    assert run.metrics["balance_error_percent"] < 0.01
    assert run.metrics["balance_error_max_percent"] < 1e-3
    assert served_error(trajectory)[0].max() < 1e-3  # at homes behind all that moved
    assert not trajectory.degraded.any()
    assert run.day.run("none").trajectory.switchings == trajectory.switchings


def test_controlled_taps_need_opendss_and_frozen_ones_are_in_the_reduced_network(made: Made) -> None:
    day = framework.load(made.day(regulated(24), 'taps = "controlled"'))
    assert any("controllers that predict voltages know the first taps only" in warning for warning in day.warnings)
    with pytest.raises(UnsupportedError, match=r"controls that act .*: RegControl.LTC, .*CapControl.SWITCH"):
        make_engine("reduced", day.feeder)
    made.day(regulated(24))
    frozen = feeders.load(made.folder / "Master.dss")
    powers = frozen.load_kw, frozen.load_kvar, float("nan")
    reduced, true = (make_engine(name, frozen).solve(*powers) for name in ("reduced", "opendss"))
    np.testing.assert_allclose(reduced, true, rtol=1e-6)


def test_what_the_reduced_engine_lacks_is_refused_before_the_run(
    made: Made, cosim: Callable[..., tuple[int, str, str]]
) -> None:
    park = "New Isource.park bus1=end phases=3 amps=20\n"
    day = made.day(regulated(24).replace("Set voltagebases", park + "Set voltagebases"), 'taps = "controlled"')
    code, _, error = cosim("run", str(day), "--engine", "reduced", "--out", str(made.folder / "out"))
    assert code == 2
    assert "RegControl.LTC" in error
    assert error.count("Isource.PARK (use the OpenDSS engine)") == 1
    assert not (made.folder / "out").exists()


def test_a_run_writes_what_moved_and_what_own_sources_fed_in(made: Made) -> None:
    grid = 'taps = "controlled"'
    pv = "New PVSystem.park bus1=end phases=3 kv=4.16 kva=300 pmpp=300 irradiance=1 daily=d1 vminpu=.5 vmaxpu=1.5\n"
    run = made.run(regulated(24).replace("Set voltagebases", pv + "Set voltagebases"), grid)
    run.save(made.folder / "out", figures=False)
    tables = made.folder / "out" / "trajectories" / "none"
    taps = pd.read_parquet(tables / "taps.parquet")
    assert list(taps.columns) == ["step", "time", "element", "before", "after"]
    assert len(taps) == run.metrics["tap_changes"] > 5
    assert (taps["time"] == pd.Timestamp(2026, 5, 15) + pd.to_timedelta(taps["step"], "h")).all()
    assert taps["element"].tolist() == [element for _, element, _, _ in run.trajectory.switchings]
    fed = pd.read_parquet(tables / "other_sources.parquet")
    np.testing.assert_allclose(fed["PVSystem.PARK"], run.trajectory.others_kw[:, 0], rtol=1e-6)
    total = pd.read_parquet(tables / "steps.parquet")["other_sources_kw"]
    np.testing.assert_allclose(total, run.trajectory.others_kw[:, 0])
    assert total.max() > 250.0


PLACE = HEAD + shape("homes", 24, 1) + CABLE.format("lv") + HOMES
PV = "New PVSystem.roof bus1=b.1 phases=1 kv=0.23 kva=8 pmpp=8 irradiance=1 vminpu=.5 vmaxpu=1.5\n"
BATTERY = "New Storage.bat bus1=b.2 phases=1 kv=0.23 kwrated=5 kwhrated=10 state=discharging vminpu=.5 vmaxpu=1.5 "
REFUSED = {
    "Storage.BAT": (BATTERY + "dispmode=external\n", "has dispmode=External, which nothing dispatches"),
    "Generator.G": ("New Generator.g bus1=b.3 phases=1 kv=0.23 kw=1 dispmode=loadlevel\n", "has dispmode="),
    "StorageController.SC": (
        BATTERY + "\nNew StorageController.sc element=Line.l1 terminal=1 kwtarget=4 elementlist=[bat]\n",
        "does not act",
    ),
    "InvControl.VV": (
        "New XYcurve.vv npts=4 xarray=[0.5 0.95 1.05 1.5] yarray=[0.1 0 0 -0.1]\n" + PV +
        "New InvControl.vv mode=voltvar vvc_curve1=vv\n",
        "does not act",
    ),
    "Vsource.SOURCE": ("Edit Vsource.source daily=homes\n", "has a shape over time"),
    "IndMach012.PUMP": ("New IndMach012.pump bus1=b kv=0.4 kw=1 kva=2\n", "is solved as in a snapshot"),
}  # fmt: skip


_SLOW = ("Generator.G", "Vsource.SOURCE", "IndMach012.PUMP")


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.slow) if one in _SLOW else one for one in REFUSED]
)
def test_what_cannot_be_honoured_is_refused_by_name_unless_accepted(
    made: Made, cosim: Callable[..., tuple[int, str, str]], name: str
) -> None:
    more, why = REFUSED[name]
    path = str(made.day(PLACE + more + END.replace("Solve", "")))
    code, _, said = cosim("check", path)
    assert code == 2
    assert f"{name}: {why}" in " ".join(said.split())
    assert f"--accept {name}" in " ".join(said.split())
    feeder = feeders.load(made.folder / "Master.dss")
    with pytest.raises(InputError, match=name):
        make_engine("opendss", feeder)
    # a StorageController takes its storage over, so that both are named
    accept = [part for one, _ in feeder.network.unhonoured for part in ("--accept", one)]
    assert cosim("check", path, *accept)[0] == 0


def test_a_run_with_an_accepted_element_says_so(made: Made, cosim: Callable[..., tuple[int, str, str]]) -> None:
    path = str(made.day(PLACE + REFUSED["Storage.BAT"][0] + END))
    out = ("--out", str(made.folder / "out"), "--no-figures")
    assert cosim("run", path, *out)[0] == 2
    assert cosim("run", path, *out, "--accept", "storage.bat")[0] == 0
    manifest = json.loads((made.folder / "out" / "manifest.json").read_text())
    assert manifest["scenario"]["grid"]["accept"] == ["storage.bat"]
    assert any("Storage.BAT has dispmode" in warning and "(accepted)" in warning for warning in manifest["warnings"])
    metrics = json.loads((made.folder / "out" / "metrics.json").read_text())["controllers"]["none"]
    assert metrics["balance_error_percent"] < 1e-2
    assert metrics["degraded_steps"] == 0


def test_a_name_that_nothing_refuses_is_not_accepted(made: Made, cosim: Callable[..., tuple[int, str, str]]) -> None:
    code, _, said = cosim("check", str(made.day(PLACE + PV + END, 'accept = ["PVSystem.roof"]')))
    assert code == 2
    assert "'PVSystem.roof' is nothing that would be refused" in " ".join(said.split())


ROOF = (
    "New PVSystem.roof bus1=b.1 phases=1 kv=0.23 kva=6 pmpp=8 irradiance=0.9 daily=sun %cutin=5 %cutout=5 "
    "vminpu=.5 vmaxpu=1.5\n"
)


class TwoKilowatts(BaseController):
    """Let no roof give more."""

    def __init__(self, feeder: Feeder) -> None:
        self._free = Setpoints.free(len(feeder.customers))

    def decide(self, observation: Observation) -> Setpoints:
        return replace(self._free, pv_limit_kw=np.full(len(observation.net_kw), 2.0))


def test_a_pv_system_of_the_file_can_be_a_customers_roof_that_controllers_curtail(made: Made) -> None:
    circuit = HEAD + shape("homes", 24, 1) + shape("sun", 24, 2) + CABLE.format("lv") + HOMES + ROOF + END
    path = made.day(circuit)
    path.write_text(path.read_text() + '[pv]\nfrom_file = ["roof"]\n')
    day = framework.load(path)
    free = day.run("none")
    assert day.feeder.network.injectors == ()
    assert day.exogenous.inverter_kva.tolist() == [6.0, 0.0, 0.0]
    for step, dss in enumerate(made.plain(24, "controlmode=off")):
        same_voltages(free, dss, step)
    assert free.trajectory.pv_kw[:, 0].max() == 6.0
    assert free.metrics["balance_error_percent"] < 1e-3
    curtailed = day.run(TwoKilowatts)
    assert curtailed.trajectory.pv_kw[:, 0].max() == 2.0
    assert curtailed.metrics["pv_curtailed_kwh"] == pytest.approx(np.maximum(free.trajectory.pv_kw - 2.0, 0.0).sum())


@pytest.mark.parametrize(
    ("roof", "says"),
    [
        (ROOF.replace("b.1", "lv.1"), "PVSystem.ROOF has no customer at the same phases of bus 'LV'"),
        (ROOF.replace("roof", "other"), "there is no PVSystem.ROOF"),
        ("New XYcurve.e npts=2 xarray=[0.1 1] yarray=[0.9 1]\n" + ROOF.strip() + " effcurve=e\n", "has EffCurve"),
    ],
)
def test_a_pv_system_that_is_no_roof_is_refused(made: Made, roof: str, says: str) -> None:
    made.day(PLACE + shape("sun", 24, 2) + roof + END)
    with pytest.raises(InputError, match=says):
        feeders.load(made.folder / "Master.dss", roofs=["roof"])


PARK = "New PVSystem.park bus1=b phases=3 kv=0.4 kva=60 pmpp=60 irradiance=1 daily=sun %cutin=1 vminpu=.5 vmaxpu=1.5\n"
CLEAR = "New LoadShape.sun npts=24 interval=1 mult=[0 0 0 0 0 .1 .3 .5 .7 .8 .9 1 1 1 .9 .8 .6 .4 .2 .1 0 0 0 0]\n"
AFTERNOON = """[grid]
source_pu = 1.04
[pv]
share = 1.0
kwp = 9.0
cloud = "clear"
[forecast]
kind = "oracle"
"""


def told_beforehand(run: Run, day: framework.Day) -> None:
    """What is predicted with the sources that planners are told of is what OpenDSS finds."""
    trajectory = run.trajectory
    loads = trajectory.feeder.loads(trajectory.net_kw, trajectory.net_kvar, trajectory.ev_kw)
    predicted = day.predictor.predict(*loads, trajectory.exogenous.source_pu, day.others_kva)
    np.testing.assert_allclose(np.abs(predicted.voltage_v), trajectory.voltage_v, atol=1e-5)


def test_roofs_are_curtailed_for_the_voltage_that_a_source_of_the_file_lifts(made: Made) -> None:
    cable = CABLE.format("lv").replace("length=0.3", "length=0.5")
    path = made.day(HEAD + shape("homes", 24, 1) + CLEAR + cable + HOMES + PARK + END, step_min=15)
    text = path.read_text().replace("T00:00:00", "T11:00:00").replace("horizon_h = 24", "horizon_h = 4")
    path.write_text(text.replace("[grid]\n", AFTERNOON).replace('"none"', '"pareto"'))
    day = framework.load(path)
    assert not any("plans without" in warning for warning in day.warnings)
    free, held = day.run("none"), day.run("pareto")
    assert free.metrics["overvoltage_min"] > 120
    assert held.metrics["overvoltage_min"] == 0
    assert 10.0 < held.metrics["pv_curtailed_kwh"] < 0.8 * held.trajectory.exogenous.pv_available_kw.sum() / 4.0
    for run in (free, held):
        told_beforehand(run, day)
    day.__dict__["others_kva"] = None  # and does so for no other reason
    assert day.run("pareto").metrics["overvoltage_min"] == free.metrics["overvoltage_min"]


def test_caps_leave_room_for_a_storage_of_the_file_that_charges(made: Made) -> None:
    charging = "New Storage.bat bus1=b phases=3 kv=0.4 kwrated=25 kwhrated=900 %stored=5 state=charging vminpu=.5\n"
    path = made.day(HEAD.replace("kvas=(100 100)", "kvas=(50 50)") + shape("homes", 24, 1) + CABLE.format("lv") + HOMES
                    + charging + END, step_min=30)  # fmt: skip
    cars = '[ev]\nshare = 1.0\n[forecast]\nkind = "oracle"\n[grid]\n'
    text = path.read_text().replace("T00:00:00", "T15:00:00").replace("horizon_h = 24", "horizon_h = 12")
    path.write_text(text.replace("[grid]\n", cars).replace('"none"', '"bilevel_caps"'))
    day = framework.load(path)
    assert day.without_predictor == ""
    free, held = day.run("none"), day.run("bilevel_caps")
    assert free.metrics["transformer_overload_min"] > 0
    assert held.metrics["transformer_overload_min"] == 0
    told_beforehand(held, day)


def test_what_holds_whatever_homes_do_leaves_out_what_sources_of_the_file_feed_in(made: Made) -> None:
    """It is not turned off for sources that feed in, and is where some draw, which it would have to know."""
    shapes, planner = shape("homes", 24, 1) + shape("sun", 24, 2), 'controller = "bilevel_caps"'
    circuit = HEAD + shapes + CABLE.format("lv") + HOMES + ROOF + END
    path, whatever = made.day(circuit), {"coordination": "sum_of_caps"}
    path.write_text(
        path.read_text().replace('controller = "none"', planner + '\n[runs.options]\ncoordination = "sum_of_caps"')
    )
    day = framework.load(path)
    assert day.without_predictor_of("bilevel_caps", whatever) == ""
    assert any("plans without PVSystem.ROOF" in one and "from_file = true" in one for one in day.warnings)
    nothing = np.zeros((1, 3))
    assert np.abs(day.predictor.predict(nothing, nothing).current_a).max() < 1e-3
    charging = "New Storage.bat bus1=b.2 phases=1 kv=0.23 kwrated=5 kwhrated=10 %stored=50 state=charging\n"
    (made.folder / "Master.dss").write_text(circuit.replace(ROOF, charging))
    day = framework.load(path)
    assert "what Storage.BAT draws" in day.without_predictor_of("bilevel_caps", whatever)
    assert day.without_predictor_of("bilevel_caps", {}) == ""
