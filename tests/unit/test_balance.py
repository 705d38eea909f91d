"""Energy that does not close, and devices that are not served as they say, make a run invalid."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import opendssdirect
import pytest

import cosim
from cosim import feeders
from cosim.contract import Feeder
from cosim.controllers import make as make_controller
from cosim.errors import RunStoppedError
from cosim.measures import balance_error_of_steps_percent, scoreboard
from cosim.measures.balance import BALANCE_LIMIT_PERCENT, balance_error_percent, judged, served_error, valid
from cosim.plant import Plant
from cosim.trajectory import Trajectory

Make = Callable[..., Any]

FUSED = """Clear
Set DefaultBaseFrequency=50
New Circuit.c bus1=mv basekv=11 pu=1.0 isc3=3000 isc1=2500
New Transformer.t windings=2 buses=(mv lv.1.2.3.4) conns=(delta wye) kvs=(11 0.416) kvas=(100 100) xhl=4 %loadloss=1
~ %noloadloss=0.3
New Reactor.earth phases=1 bus1=lv.4 r=0.05 x=0
New Reactor.fuse phases=3 bus1=lv bus2=a r=0.01 x=0.005
New Line.l1 bus1=a bus2=b phases=3 r1=0.3 x1=0.1 r0=0.9 x0=0.3 c1=0 c0=0 length=0.2 normamps=120
New Load.e1 bus1=b.1 phases=1 kv=0.24 kw=10 pf=0.95 vminpu=0.5 vmaxpu=1.5
New Load.e2 bus1=b.2 phases=1 kv=0.24 kw=6 pf=0.95 vminpu=0.5 vmaxpu=1.5
New Load.e3 bus1=b.3 phases=1 kv=0.24 kw=3 pf=0.95 vminpu=0.5 vmaxpu=1.5
Set voltagebases=[11 0.416]
Calcvoltagebases
Set Tolerance=1e-10 MaxIterations=200
Solve
"""
"""A fuse in series between transformer and cable, and a star point that is earthed through a resistance."""
SCENARIO = """name = "evening"
feeder = "two_bus"
start = 2026-01-15T16:00:00
horizon_h = 2
[ev]
share = 1.0
[pv]
share = 1.0
[[runs]]
controller = "none"
[[runs]]
controller = "equal_share"
"""


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Feeder:
    master = tmp_path_factory.mktemp("fused") / "Master.dss"
    master.write_text(FUSED, encoding="utf-8")
    return feeders.load(master)


@pytest.fixture(scope="module")
def evening(make_day: Make, make_sessions: Make) -> Callable[..., Trajectory]:
    """Two steps of any feeder at what its file says, with a car and a roof where they are asked for."""

    def run(feeder: Feeder, engine: str = "opendss", **day: Any) -> Trajectory:
        rated = {"demand_kw": feeder.load_kw, "demand_kvar": feeder.load_kvar}
        made = make_day(feeder, 2, **rated | day)
        return cosim.run(feeder, made, make_controller("none", feeder), control_min=5, engine=engine)

    return run


@pytest.mark.parametrize("engine", ["opendss", "reduced"])
def test_fuses_earth_and_iron_are_in_the_balance(fused: Feeder, evening: Make, engine: str) -> None:
    run = evening(fused, engine)
    dss = opendssdirect.NewContext()
    for line in FUSED.splitlines():
        dss.Text.Command(line)
    lost_kw: dict[str, float] = {}
    for name in dss.Circuit.AllElementNames():
        dss.Circuit.SetActiveElement(name)
        kind = name.split(".")[0]
        lost_kw[kind] = lost_kw.get(kind, 0.0) + dss.CktElement.Losses()[0] / 1e3
    volts = np.array(dss.Circuit.AllBusVolts()).view(complex)
    at = dict(zip(dss.Circuit.AllNodeNames(), volts, strict=True))
    across = np.abs([at[f"lv.{phase}"] - at["lv.4"] for phase in (1, 2, 3)]) * np.sqrt(3.0) / 416.0
    plain = {
        "lines": lost_kw["Line"],
        "transformers": lost_kw["Transformer"],
        "others": lost_kw["Reactor"],
        "no_load": 0.003 * 100.0 / 3.0 * (across**2).sum(),
    }
    assert {kind: getattr(run.losses, kind)[0] for kind in plain} == pytest.approx(plain, rel=1e-5)
    assert run.losses.total[0] == pytest.approx(sum(plain[kind] for kind in ("lines", "transformers", "others")))
    assert run.source_kw[0] == pytest.approx(-dss.Circuit.TotalPower()[0], rel=1e-7)
    assert run.transformer_hv_kva[0] == pytest.approx(-complex(*dss.Circuit.TotalPower()), rel=1e-6)
    assert balance_error_percent(run).max() < 1e-4
    assert judged(run) is run


def test_the_larger_of_what_is_used_and_given_is_the_measure_with_a_floor() -> None:
    error = balance_error_of_steps_percent([5.0, -7.99, 0.001], [0.0, 10.0, 0.0], [4.9, 2.0, 0.0], [0.09, 0.0, 0.0])
    assert error == pytest.approx([100 * 0.01 / 4.9, 100 * 0.01 / 10.0, 100 * 0.001 / 0.1])
    assert BALANCE_LIMIT_PERCENT == 0.1


@pytest.mark.parametrize("engine", ["opendss", "reduced"])
@pytest.mark.parametrize("name", ["LINE1", "TR1"])
def test_a_branch_that_is_left_out_is_missed(two_bus: Feeder, evening: Make, name: str, engine: str) -> None:
    run = evening(two_bus, engine)
    assert judged(run) is run
    branches = tuple(branch for branch in two_bus.network.branches if branch.name != name)
    missing = replace(run, feeder=replace(two_bus, network=replace(two_bus.network, branches=branches), monitored=()))
    found = judged(missing)
    assert "energy balance misses up to" in found.invalid
    assert found.degraded.all()


def test_what_one_home_says_too_much_and_another_too_little_is_found(two_bus: Feeder, evening: Make) -> None:
    run = evening(two_bus)
    swapped = replace(run, demand_kw=run.demand_kw[:, [1, 0, 2]])
    assert balance_error_percent(swapped).max() < BALANCE_LIMIT_PERCENT
    found = judged(swapped)
    assert "devices' records differ from the power served by up to" in found.invalid
    with pytest.raises(RunStoppedError, match="run: invalid: devices' records") as stop:
        valid(swapped)
    assert stop.value.exit_code == 3
    assert valid(run) is run
    apart_kva = np.abs(run.demand_kw[0, 0] - run.demand_kw[0, 1])
    assert served_error(swapped)[0] == pytest.approx([apart_kva, apart_kva], rel=1e-3)
    assert [step for step, _ in found.notes] == [0, 1]
    assert scoreboard(found)["degraded_steps"] == 2


def test_a_step_without_a_number_is_invalid(two_bus: Feeder, evening: Make) -> None:
    run = evening(two_bus)
    node_v = run.node_v.copy()
    node_v[1] = np.nan
    found = judged(replace(run, node_v=node_v))
    assert "in 1 of 2 steps, first in step 1" in found.invalid
    assert found.degraded.tolist() == [False, True]


def test_what_nobody_measured_is_not_judged(two_bus: Feeder, evening: Make) -> None:
    run = evening(two_bus)
    fed = replace(two_bus, network=replace(two_bus.network, injectors=("Generator.G1",)))
    unknown = replace(run, feeder=fed, node_v=run.node_v * 1.01)
    assert np.isnan(balance_error_percent(unknown)).all()
    assert np.isnan(scoreboard(unknown)["balance_error_max_percent"])
    assert "energy balance" not in judged(unknown).invalid


@pytest.mark.parametrize("engine", ["opendss", "reduced"])
def test_a_device_that_forgets_what_it_drew_ends_as_invalid(
    cosim: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    step = Plant.step

    def forgetful(plant: Plant, setpoints: Any) -> None:
        k = plant.completed
        step(plant, setpoints)
        if k == 7 and plant._decisions[0][1].status == "rule" and np.isinf(setpoints.import_cap_kw).all():
            plant._record["demand_kw"][k] *= 0.99  # of `none`: only equal_share caps

    monkeypatch.setattr(Plant, "step", forgetful)
    (tmp_path / "evening.toml").write_text(SCENARIO, encoding="utf-8")
    out = tmp_path / "out"
    code, shown, told = cosim(
        "run", str(tmp_path / "evening.toml"), "--out", str(out), "--engine", engine, "--no-figures"
    )
    assert code == 3
    assert "none: invalid: energy balance misses up to 1" in " ".join(told.split())
    assert "none (invalid)" in shown
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert list(metrics["invalid"]) == ["none"]
    assert metrics["incomplete"] == []
    assert metrics["controllers"]["none"]["balance_error_max_percent"] > 0.9
    assert metrics["controllers"]["none"]["degraded_steps"] == 1
    assert metrics["controllers"]["equal_share"]["balance_error_max_percent"] < 1e-4
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["runs"]["none"]["invalid"] == metrics["invalid"]["none"]
    assert manifest["runs"]["equal_share"]["invalid"] is None
    assert not manifest["complete"]
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "Run none is invalid: none of its figures may be used." in report
    assert "energy balance misses 1.01 % of what is consumed or generated" in report
    code, shown, _ = cosim("compare", str(out))
    assert code == 0
    assert "invalid: none: energy balance misses up to" in " ".join(shown.split())
