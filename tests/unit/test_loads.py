"""Loads of the circuit's file, against plain OpenDSS: models, shapes, ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import opendssdirect
import pytest

import cosim
from cosim import Behaviour, feeders, run
from cosim.contract import Feeder, LoadLaws, Setpoints, ZipShares
from cosim.controllers.rules.none import NoControl
from cosim.errors import InputError, UnsupportedError
from cosim.feeders.draw import feeder_demand
from cosim.measures import scoreboard
from cosim.measures.balance import served_error
from cosim.opendss import OpenDssEngine
from cosim.plant import Plant
from cosim.reduced import ReducedNetwork

Make = Callable[..., Any]
HEAD = """Clear
Set DefaultBaseFrequency=50
New Circuit.street Bus1=mv BasekV=11 pu=1.0 ISC3=3000 ISC1=2500
New Transformer.T Windings=2 Buses=(mv lv) Conns=(delta wye) kVs=(11 0.4) kVAs=(100 100) XHL=4 %LoadLoss=1
New Line.CABLE Bus1=lv Bus2=end Phases=3 R1=0.4 X1=0.1 R0=1.2 X0=0.3 C1=0 C0=0 Length=0.3 NormAmps=150
"""
BASES = "Set VoltageBases=[11 0.4]\nCalcVoltageBases\n"
MODELS = "".join(
    f"New Load.M{model} Phases=1 Bus1=end.{model % 3 + 1} kV={0.25 - model / 500} kW=3 kvar=1 Model={model} {more}\n"
    for model, more in (
        (1, ""), (2, ""), (3, "Vminpu=0.7"), (4, "CVRwatts=0.8 CVRvars=3.1 Vminpu=0.7"), (5, "Vminpu=0.97"),
        (6, "Vminpu=0.7"), (7, "Vminpu=0.98 Vlowpu=0.6"), (8, "ZIPV=[0.3 0.5 0.2 0.7 0.1 0.2 0.6] Vminpu=0.8"),
    )
)  # fmt: skip
MODELS += "New Load.SHOP Phases=3 Bus1=end kV=0.4 kW=9 kvar=3 Model=5 Vminpu=0.8\n"
MODELS += "New Load.OVEN Phases=1 Bus1=end.1.2 Conn=delta kV=0.4 kW=4 kvar=0 Model=2\n"


@pytest.fixture(scope="module")
def feeder(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Load the street with these loads."""

    @cache
    def load(loads: str, **options: Any) -> Feeder:
        folder = tmp_path_factory.mktemp("street")
        (folder / "Master.dss").write_text(HEAD + loads + BASES)
        (folder / "feeder.toml").write_text("nominal_voltage_v = 230.0\n")
        return feeders.load(folder, **options)

    return load


class Plain:
    """OpenDSS without any of this project's code."""

    def __init__(self, loads: str) -> None:
        self.dss = opendssdirect.NewContext()
        for line in (HEAD + loads + BASES).splitlines():
            self.dss.Text.Command(line)
        self.do("Set Tolerance=1e-9 MaxIterations=200")

    def do(self, *commands: str) -> Plain:
        for command in (*commands, "Solve"):
            self.dss.Text.Command(command)
        assert self.dss.Solution.Converged()
        return self

    def kva(self, *names: str) -> np.ndarray:
        """P + jQ that loads draw, all conductors together."""
        powers = []
        for name in names:
            self.dss.Circuit.SetActiveElement(f"Load.{name}")
            powers.append(np.array(self.dss.CktElement.Powers()).view(complex).sum())
        return np.array(powers)

    def voltage_v(self, feeder: Feeder) -> np.ndarray:
        """Node voltages in the feeder's order."""
        voltages = np.array(self.dss.Circuit.AllBusVolts()).view(complex)
        at = dict(zip(self.dss.Circuit.AllNodeNames(), voltages, strict=True))
        return np.array([at[name.lower()] for name in feeder.network.node_names])


def solved(feeder: Feeder, make_day: Make, engine: str = "opendss", **day: Any) -> cosim.Trajectory:
    """A step without control, of what the file's loads are rated at."""
    rated = {"demand_kw": feeder.load_kw, "demand_kvar": feeder.load_kvar}
    trajectory = run(feeder, make_day(feeder, 2, **rated | day), NoControl(feeder), control_min=5, engine=engine)
    assert not trajectory.degraded.any()
    assert scoreboard(trajectory)["balance_error_percent"] < 1e-3
    assert served_error(trajectory)[0].max() < 1e-4
    return trajectory


def test_every_model_of_the_file_draws_what_plain_opendss_draws(feeder: Make, make_day: Make) -> None:
    street, plain = feeder(MODELS, load_model="file"), Plain(MODELS)
    trajectory = solved(street, make_day)
    drawn = plain.kva(*street.customers)
    np.testing.assert_allclose(trajectory.net_kw[0] + 1j * trajectory.net_kvar[0], drawn, atol=1e-5)
    np.testing.assert_allclose(trajectory.node_v[0], plain.voltage_v(street), atol=1e-6 * 230)
    # the voltage is low enough that every model but constant power within its band draws something else than asked
    same = np.abs(drawn.real - street.load_kw) < 1e-3
    assert [name for name, as_asked in zip(street.customers, same, strict=True) if as_asked] == ["M3", "M6"]
    at_constant_power = feeder(MODELS)
    assert at_constant_power.load_laws is None
    np.testing.assert_array_equal(solved(at_constant_power, make_day).net_kw[0], street.load_kw)


def test_cars_and_roofs_are_constant_power_beside_them(feeder: Make, make_day: Make, make_sessions: Make) -> None:
    street = feeder(MODELS, load_model="file")
    car, roof = street.customers.index("M2"), street.customers.index("M8")
    sun_kw = np.zeros(len(street.customers))
    sun_kw[roof] = 5.0
    cars = make_sessions((car, 0.0, 60.0, 30.0, 3.7))
    day = make_day(
        street, 2, demand_kw=street.load_kw, demand_kvar=street.load_kvar, sessions=cars, pv_available_kw=sun_kw,
        inverter_kva=sun_kw,
    )  # fmt: skip
    trajectory = run(street, day, NoControl(street), control_min=5, behaviour=Behaviour("immediate"))
    beside = "New Load.CAR Phases=1 Bus1=end.3 kV=0.23 kW=3.7 kvar=0 Vminpu=0.5 Vmaxpu=1.5\n"
    beside += "New Load.SUN Phases=1 Bus1=end.3 kV=0.23 kW=-5 kvar=0 Vminpu=0.5 Vmaxpu=1.5\n"
    plain = Plain(MODELS + beside)
    assert not trajectory.degraded.any()
    assert trajectory.ev_kw[0, car] == pytest.approx(3.7)
    np.testing.assert_allclose(trajectory.node_v[0], plain.voltage_v(street), atol=1e-6 * 230)
    np.testing.assert_allclose(trajectory.demand_kw[0], plain.kva(*street.customers).real, atol=1e-5)
    assert scoreboard(trajectory)["balance_error_percent"] < 1e-3


def test_an_import_cap_holds_for_what_is_drawn(
    feeder: Make, make_day: Make, make_sessions: Make, scripted: Make
) -> None:
    street = feeder(MODELS, load_model="file")
    car, count = street.customers.index("M2"), len(street.customers)
    day = make_day(street, 2, demand_kw=street.load_kw, sessions=make_sessions((car, 0.0, 60.0, 30.0, 7.4)))
    caps = replace(Setpoints.free(count), import_cap_kw=np.full(count, 6.0))
    trajectory = run(street, day, scripted(caps), control_min=5, behaviour=Behaviour("immediate"))
    assert trajectory.ev_kw[0, car] > 3.2  # an impedance of 3 kW leaves more of the cap than 3 kW
    assert trajectory.net_kw[0, car] == pytest.approx(6.0, abs=0.02)


def test_one_table_of_shares_for_all(feeder: Make, make_day: Make) -> None:
    shares = ZipShares((0.4, 0.5, 0.1), (1.0, 0.0, 0.0))
    street = feeder(MODELS, load_model=shares)
    plain = Plain(MODELS).do("BatchEdit Load..* Model=8 ZIPV=[0.4 0.5 0.1 1 0 0 0] Vminpu=0.5 Vlowpu=0.5 Vmaxpu=1.5")
    trajectory = solved(street, make_day)
    drawn = trajectory.net_kw[0] + 1j * trajectory.net_kvar[0]
    np.testing.assert_allclose(drawn, plain.kva(*street.customers), atol=1e-5)
    with pytest.raises(InputError, match="sum 1"):
        ZipShares((0.4, 0.5, 0.2), (1.0, 0.0, 0.0))
    with pytest.raises(InputError, match="load_model: is 'zip'"):
        feeder(MODELS, load_model="zip")


def test_what_an_engine_draws_instead_of_the_model_is_marked(feeder: Make, make_day: Make) -> None:
    street = feeder(MODELS, load_model="file")
    laws = street.load_laws
    assert laws is not None
    other = replace(street, load_laws=replace(laws, model=np.where(laws.model == 2, 5, laws.model)))
    day = make_day(street, 2, demand_kw=street.load_kw)
    plant = Plant(other, day, OpenDssEngine(street), day, Behaviour())
    plant.reset()
    plant.step(Setpoints.free(len(street.customers)))
    assert plant.trajectory("other", 5.0).degraded.tolist() == [True]


def test_the_reduced_network_refuses_by_name_what_it_lacks(feeder: Make) -> None:
    with pytest.raises(UnsupportedError, match=r"load_model.*Load.HOB"):
        ReducedNetwork(feeder("New Load.HOB Phases=1 Bus1=end.1 kV=0.23 kW=1 Model=2\n", load_model="file"))
    wide = "New Load.HOB Phases=1 Bus1=end.1 kV=0.23 kW=1 Model=1 Vminpu=0.4 Vmaxpu=1.6\n"
    assert feeder(wide, load_model="file").load_laws is None  # constant power after all


BANDS = ((0.95, 1.05, 0.5), (0.5, 1.5, 0.5), (0.8, 1.2, 0.3), (0.9, 1.1, 0.9), (0.4, 1.1, 0.5))
ZIPVS = ((0.3, 0.3, 0.4, 0.2, 0.5, 0.3, 0.0), (1.0, 0.5, -0.4, 0.1, 0.1, 0.1, 0.75))


def _all_laws() -> Iterator[tuple[int, tuple[float, ...], tuple[float, ...], tuple[float, ...]]]:
    for model in range(1, 9):
        for band in BANDS:
            for exponents in ((1.0, 2.0), (1.5, 3.0), (0.7, 4.2))[: 3 if model == 4 else 1]:
                for zipv in ZIPVS if model == 8 else ((0.0,) * 7,):
                    yield model, band, exponents, zipv


def test_the_laws_are_those_of_the_engine_at_any_voltage() -> None:
    dss = opendssdirect.NewContext()
    for line in ("Clear", "New Circuit.c Bus1=b BasekV=0.4 ISC3=1e9 ISC1=1e9", "Set Tolerance=1e-10 MaxIterations=500"):
        dss.Text.Command(line)
    laws, all_laws = [], list(_all_laws())
    for number, (model, (least, most, low), (watts, kvars), zipv) in enumerate(all_laws):
        dss.Text.Command(
            f"New Load.L{number} Bus1=b.1 Phases=1 kV=0.23 kW=5 kvar=2 Model={model} Vminpu={least} Vmaxpu={most} "
            f"Vlowpu={low} CVRwatts={watts} CVRvars={kvars} ZIPV={list(zipv)}"
        )
        laws.append((low, least, most))
    mine = LoadLaws(
        model=np.array([law[0] for law in all_laws]), base_v=np.full(len(laws), 230.0), band_pu=np.array(laws),
        exponents=np.array([law[2] for law in all_laws]), zipv=np.array([law[3] for law in all_laws]),
    )  # fmt: skip
    every = np.arange(len(laws))
    for pu in np.linspace(0.25, 1.6, 28):
        dss.Text.Command(f"Edit Vsource.source pu={pu}")
        dss.Text.Command("Solve")
        drawn, volts = [], []
        for number in every:
            dss.Circuit.SetActiveElement(f"Load.L{number}")
            drawn.append(complex(*dss.CktElement.Powers()[:2]))
            volts.append(complex(*dss.CktElement.Voltages()[:2]))
        p, q = mine.drawn(every, np.array(volts))
        np.testing.assert_allclose(5 * p + 2j * q, drawn, atol=1e-5)


SHAPES = """New LoadShape.h24 npts=24 interval=1 mult=[0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23]
New LoadShape.kw24 npts=24 interval=1 UseActual=yes mult=[3 1 2 3 4 5 6 7 8 9 10 9 8 7 6 5 4 3 2 1 2 1 2 1]
New LoadShape.pq npts=24 interval=1 UseActual=yes mult=(file=p.csv) qmult=(file=q.csv)
New LoadShape.both npts=24 interval=1 mult=(file=p.csv) qmult=(file=q.csv)
"""
P_CSV, Q_CSV = np.linspace(0.2, 1.4, 24), np.linspace(0.5, -0.3, 24)
SHAPED = {
    "A": "kW=0.5 PF=0.95 Daily=h24",
    "B": "kW=0.5 kvar=0.1 Daily=kw24",
    "C": "kW=0.5 PF=-0.9 Daily=kw24",
    "D": "kW=0.5 PF=0.95 Daily=pq",
    "E": "kW=0.5 PF=0.95 Daily=both",
    "FIXED": "kW=2 PF=0.95 Daily=h24 Status=fixed",
    "EXEMPT": "kW=0.5 kvar=0 Daily=h24 Status=exempt",
    "TWO": "kW=0.5 PF=0.95 Daily=h24 Yearly=pq",
    "DUTY": "kW=1 PF=0.95 Duty=h24",
    "COIL": "kW=0 kvar=2 Daily=h24",
    "OWN_KVAR": "kW=0.5 kvar=0.4 Daily=h24 Model=6",
    "BARE": "kVA=1 PF=0.9",
}


def test_shapes_are_followed_as_plain_opendss_follows_them(tmp_path: Path) -> None:
    loads = "".join(
        f"New Load.{name} Phases=1 Bus1=end.{k % 3 + 1} kV=0.23 Vminpu=0.5 Vmaxpu=1.5 {text}\n"
        for k, (name, text) in enumerate(SHAPED.items())
    )
    shapes = SHAPES.replace("p.csv", str(tmp_path / "p.csv")).replace("q.csv", str(tmp_path / "q.csv"))
    np.savetxt(tmp_path / "p.csv", P_CSV)
    np.savetxt(tmp_path / "q.csv", Q_CSV)
    (tmp_path / "Master.dss").write_text(HEAD + shapes + loads + BASES)
    street = feeders.load(tmp_path / "Master.dss")
    (told,) = (warning for warning in street.warnings if "no run follows" in warning)
    assert "duty=h24" in told
    assert told.endswith("(DUTY)")
    demand_kw, demand_kvar = feeder_demand(street, datetime(2026, 1, 1), 1440)
    for mode in ("daily", "yearly"):
        # of a load that has both, a day is its yearly shape here
        names = [name for name in SHAPED if mode == "yearly" or name != "TWO"]
        rows, plain = [street.customers.index(name) for name in names], Plain(shapes + loads)
        plain.dss.Text.Command(f"Set Mode={mode} StepSize=1h Number=1")
        for hour in range(24):
            drawn = plain.do().kva(*names)
            asked = demand_kw[60 * hour] + 1j * demand_kvar[60 * hour]
            np.testing.assert_allclose(asked[rows], drawn, atol=1e-4)
    assert set(demand_kw[:, street.customers.index("FIXED")]) == {2.0}


ENDS = {
    "one phase to earth": "Phases=1 Bus1=end.1 Conn=delta kV=0.23",
    "earth to one phase": "Phases=1 Bus1=end.0.1 kV=0.23",
    "two phases": "Phases=1 Bus1=end.1.2 Conn=delta kV=0.4",
    "a star with a phase for its neutral": "Phases=1 Bus1=end.3.1 kV=0.4",
    "two of a star on a third phase": "Phases=2 Bus1=end.1.2.3 kV=0.69",
    "an open delta": "Phases=2 Bus1=end.1.2.3 Conn=delta kV=0.4",
    "an open delta to earth": "Phases=2 Bus1=end.1.2 Conn=delta kV=0.3",
    "three phases": "Phases=3 Bus1=end Conn=delta kV=0.4",
    "a delta with a corner on earth": "Phases=3 Bus1=end.1.2.0 Conn=delta kV=0.3",
    "two phases of a star": "Phases=2 Bus1=end.1.2 kV=0.4",
}


def test_loads_draw_between_the_ends_that_plain_opendss_gives_them(feeder: Make, make_day: Make) -> None:
    loads = "".join(f"New Load.E{k} {text} kW={k + 1} kvar=0.5\n" for k, text in enumerate(ENDS.values()))
    street = feeder(loads)
    plain = Plain(loads).do("BatchEdit Load..* Vminpu=0.5 Vlowpu=0.5 Vmaxpu=1.5")
    np.testing.assert_allclose(plain.kva(*street.customers), np.arange(1, len(ENDS) + 1) + 0.5j, atol=1e-5)
    for engine in ("opendss", "reduced"):
        trajectory = solved(street, make_day, engine)
        np.testing.assert_allclose(trajectory.node_v[0], plain.voltage_v(street), atol=1e-6 * 230)
