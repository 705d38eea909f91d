"""A zoo of broken circuits and ``feeder.toml`` files: each is refused by name, with what to write instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cosim import feeders, run
from cosim.contract import Connection, Exogenous, Feeder, TransformerSpec
from cosim.controllers.rules.none import NoControl
from cosim.errors import InputError
from cosim.measures import scoreboard

MakeDay = Callable[..., Exogenous]
HEAD = "Clear\nSet DefaultBaseFrequency=50\nNew Circuit.odd Bus1=src BasekV=11 pu=1.0 R1=0 X1=0.001 R0=0 X0=0.001\n"
MACHINE = "New Transformer.T1 Phases=3 Windings=2 Buses=[src lv] Conns=[Delta Wye] kVs=[11 0.4] kVAs=[100 100]\n"
CABLE = (
    "New Line.CABLE Bus1=lv Bus2=home Phases=3 R1=0.1 X1=0.02 R0=0.3 X0=0.06 C1=0 C0=0 Length=1 Units=km "
    "NormAmps=150 EmergAmps=150\n"
)
HOMES = "".join(f"New Load.{name} Phases=1 Bus1=home.{n} kV=0.23 kW=3 kvar=1\n" for n, name in ((1, "A"), (2, "B")))
BASES = "Set VoltageBases=[11 0.4]\nCalcVoltageBases\n"
TWO_PHASES = CABLE.replace("Phases=3", "Phases=2").replace("Bus1=lv Bus2=home", "Bus1=lv.1.2 Bus2=home.1.2")
SPUR = CABLE.replace("CABLE", "SPUR").replace("Bus1=lv Bus2=home", "Bus1=home Bus2=far")
CHARGED = SPUR.replace("C1=0 C0=0", "C1=300 C0=200")
ISLAND = CABLE.replace("CABLE", "ISLE").replace("Bus1=lv Bus2=home", "Bus1=p Bus2=q")
AT_FAR, AT_Q = "New Load.X Phases=1 Bus1=far.1 kV=0.23 kW=1\n", "New Load.X Phases=1 Bus1=q.1 kV=0.23 kW=1\n"
DEAD = "where there is no voltage without load either"


def circuit(head: str = HEAD, machine: str = MACHINE, cable: str = CABLE, homes: str = HOMES, end: str = "") -> str:
    return head + machine + cable + homes + BASES + end


def load(properties: str, cable: str = CABLE) -> str:
    return circuit(cable=cable, homes=f"{HOMES}New Load.X {properties}\n")


ZOO: dict[str, tuple[str | bytes, str]] = {
    # loads that hang on nothing
    "no such bus": (load("Phases=1 Bus1=99.1 kV=0.23"), "Load.X: hangs on bus '99'"),
    "a typing error": (load("Phases=1 Bus1=hone.1 kV=0.23"), "such as HOME"),
    "a phase that the line lacks": (
        load("Phases=1 Bus1=home.3 kV=0.23", TWO_PHASES),
        "node 3 of bus 'HOME', which has only 1, 2",
    ),
    "three phases on two": (load("Phases=3 Bus1=home kV=0.4", TWO_PHASES), "node 3 of bus 'HOME'"),
    "five phases": (load("Phases=5 Bus1=home kV=0.4"), "node 4 and 5 of bus 'HOME'"),
    "all behind an open switch": (circuit(end="Open Line.CABLE 1\n"), DEAD),
    "three phases, one open": (
        circuit(cable=CABLE + SPUR, homes=f"{HOMES}New Load.X Phases=3 Bus1=far kV=0.4\n", end="Open Line.SPUR 1 1\n"),
        f"node 1 of bus 'FAR', {DEAD}",
    ),
    "on an island": (circuit(cable=CABLE + ISLAND, homes=HOMES + AT_Q), "2 buses hang together with no source: P, Q"),
    "on earth": (load("Phases=1 Bus1=home.0 kV=0.23"), "begins at node 0 of bus 'HOME'"),
    "on bus 0": (load("Phases=1 Bus1=0 kV=0.23"), "hangs on bus '0'"),
    "on no bus": (load("Phases=1 kV=0.23"), "hangs on bus 'X_1'"),
    "from a node to itself": (load("Phases=1 Bus1=home.1.1 kV=0.23"), "begins and ends at node 1"),
    "between a phase and itself": (load("Phases=1 Bus1=home.2.2 Conn=delta kV=0.4"), "begins and ends at node 2"),
    "a neutral that nobody earths": (load("Phases=1 Bus1=home.1.4 kV=0.23"), "node 4 of bus 'HOME'"),
    "node 7": (load("Phases=1 Bus1=home.7 kV=0.23"), "node 7 of bus 'HOME', which has only 1, 2, 3"),
    "node -1": (load("Phases=1 Bus1=home.-1 kV=0.23"), "OpenDSS crashes on it"),
    "node x": (load("Phases=1 Bus1=home.x kV=0.23"), 'number conversion error for string: "x"'),
    "no phases": (load("Phases=0 Bus1=home.1 kV=0.23"), "cannot be zero"),
    # loads with impossible numbers
    "kv 0": (load("Phases=1 Bus1=home.3 kV=0"), "is rated kv=0 where there are 0.231 kV"),
    "kv negative": (load("Phases=1 Bus1=home.3 kV=-0.23"), "cannot be negative"),
    "kv nan": (load("Phases=1 Bus1=home.3 kV=nan"), "is rated kv=nan"),
    "kv inf": (load("Phases=1 Bus1=home.3 kV=inf"), "is rated kv=inf"),
    "volts for kilovolts": (load("Phases=1 Bus1=home.3 kV=230"), "give its rated voltage in kilovolts, e.g. kv=0.23"),
    "kw nan": (load("Phases=1 Bus1=home.3 kV=0.23 kW=nan"), "has kw=nan"),
    "kw inf": (load("Phases=1 Bus1=home.3 kV=0.23 kW=inf"), "has kw=inf"),
    "kw 1e300": (load("Phases=1 Bus1=home.3 kV=0.23 kW=1e300"), "has kw=1e+300"),
    "a name twice": (circuit(homes=HOMES + HOMES.splitlines()[0]), "Duplicate new element"),
    "all disabled": (circuit(homes=HOMES.replace("kW", "Enabled=no kW")), "has no load"),
    "a shape of nan": (
        circuit(
            machine="New LoadShape.s npts=2 interval=1 mult=[nan 1]\n" + MACHINE,
            homes=HOMES.replace("kW", "Yearly=s kW"),
        ),
        "LoadShape",
    ),
    # sources
    "no source": (circuit(end="Vsource.source.enabled=no\n"), DEAD),
    "a source of 0": (circuit(HEAD.replace("pu=1.0", "pu=0")), "source_pu: is 0.0 → give the voltage in per unit"),
    "a source of 100 pu": (circuit(HEAD.replace("pu=1.0", "pu=100")), "source_pu: is 100.0"),
    "a negative source": (circuit(HEAD.replace("pu=1.0", "pu=-1")), "source_pu: is -1.0"),
    "a source of nan": (circuit(HEAD.replace("pu=1.0", "pu=nan")), "does not converge even without loads"),
    "a source of 0 kV": (circuit(HEAD.replace("=11", "=0")), DEAD),
    "current without end": (
        circuit(end="New Isource.I Phases=3 Bus1=home amps=1e12\n"),
        "is rated kv=0.23 where there are",
    ),
    "negative frequency": (circuit(HEAD.replace("=50", "=-50")), DEAD),
    # transformers
    "xhl 0": (
        circuit(machine=MACHINE.replace("kVAs", "XHL=0 kVAs")),
        "Transformer.T1: has a short-circuit impedance of 700 %",
    ),
    "xhl negative": (
        circuit(machine=MACHINE.replace("kVAs", "XHL=-5 kVAs")),
        "Transformer.T1: has a negative reactance",
    ),
    "xhl nan": (circuit(machine=MACHINE.replace("kVAs", "XHL=nan kVAs")), "Matrix Inversion Error"),
    "negative kva": (circuit(machine=MACHINE.replace("[100 100]", "[-100 -100]")), "is rated -100 kVA"),
    "negative losses": (circuit(machine=MACHINE.replace("kVAs", "%Rs=[-2 -2] kVAs")), "negative resistance"),
    "0 kva": (circuit(machine=MACHINE.replace("[100 100]", "[0 0]")), "does not converge even without loads"),
    "a winding of 0 kv": (
        circuit(machine=MACHINE.replace("[11 0.4]", "[11 0]")),
        "Transformer.T1 has a winding of 0 kV",
    ),
    "one winding": (circuit(machine=MACHINE.replace("Windings=2", "Windings=1")), "must be greater than one"),
    "both ends on one bus": (circuit(machine=MACHINE.replace("[src lv]", "[src src]")), "no source: LV, HOME"),
    # lines
    "length negative": (circuit(cable=CABLE.replace("Length=1", "Length=-1")), "Line.CABLE: is -1000 m long"),
    "length 0": (circuit(cable=CABLE.replace("Length=1", "Length=0")), "Matrix Inversion Error"),
    "0 ohm": (
        circuit(cable=CABLE.replace("R1=0.1 X1=0.02 R0=0.3 X0=0.06", "R1=0 X1=0 R0=0 X0=0")),
        'Matrix Inversion Error for Line "cable"',
    ),
    "r nan": (circuit(cable=CABLE.replace("R1=0.1", "R1=nan")), "Matrix Inversion Error"),
    "r negative": (circuit(cable=CABLE.replace("R1=0.1", "R1=-0.1")), "Line.CABLE: has a negative resistance"),
    "x negative": (circuit(cable=CABLE.replace("X1=0.02 R0=0.3 X0=0.06", "X1=-2 R0=0.3 X0=-6")), "negative reactance"),
    "200 phases": (circuit(cable=CABLE.replace("Phases=3", "Phases=200")), "Invalid number of terminals"),
    "one end": (circuit(cable=CABLE.replace("Bus1=lv", "")), "2 buses hang together with no source: CABLE_1, HOME"),
    "a short": (circuit(end="New Fault.F Phases=3 Bus1=home R=1e-7\n"), DEAD),
    "a resonance": (circuit(end="New Capacitor.C Phases=3 Bus1=home kvar=1e9 kV=0.4\n"), DEAD),
    # files
    "empty": ("", "defines no circuit"),
    "cleared": (circuit(end="Clear\n"), "defines no circuit"),
    "a web page": ("<html><body>404 not found</body></html>\n", "OpenDSS refuses it"),
    "binary": (bytes(range(256)) * 50, "OpenDSS refuses it"),
    "a line of a megabyte": (f"New Circuit.x {'a' * 1_000_000}\n", "Invalid inline math entry"),
    "a million brackets": (f"New Circuit.x {'(' * 1_000_000}\n", "OpenDSS refuses it"),
    "more memory than there is": (
        circuit(end="New LoadShape.s npts=2000000000 interval=1 mult=[1 1]\n"),
        "OpenDSS crashes on it",
    ),
    "two circuits": (circuit(end=HEAD.replace("Clear\n", "")), "Duplicate new element"),
    "no name to redirect to": (circuit(end="Redirect\n"), "OpenDSS refuses it"),
    "a folder": (circuit(end="Redirect .\n"), "OpenDSS refuses it"),
    "a library": (circuit(end="New Generator.G Bus1=home kV=0.4 Model=6 UserModel=/nowhere.so\n"), "Not Loaded"),
}
QUICK = {
    "no such bus", "a phase that the line lacks", "all behind an open switch", "on an island", "from a node to itself",
    "volts for kilovolts", "kw nan", "a source of 0", "xhl 0", "r negative", "a web page",
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ZOO]
)
def test_a_broken_circuit_is_refused_by_name(name: str, tmp_path: Path) -> None:
    content, said = ZOO[name]
    master = tmp_path / "Master.dss"
    master.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as refused:
        feeders.load(master)
    assert said in str(refused.value)
    assert all(fault.where.startswith(str(master)) and fault.remedy for fault in refused.value.faults)


SOUND = {
    "as it is": circuit(),
    "names with spaces": circuit(homes=HOMES.replace("Load.A", '"Load.a b,c=d"').replace("Load.B", "Load.b.c")),
    "a line without resistance": circuit(cable=CABLE.replace("R1=0.1", "R1=0").replace("R0=0.3", "R0=0")),
    "a series capacitor that is small": circuit(cable=CABLE.replace("X1=0.02", "X1=-0.02")),
    "an open spare transformer": circuit(
        machine=MACHINE + MACHINE.replace("T1", "T2"), end="Open Transformer.T2 1\nOpen Transformer.T2 2\n"
    ),
    "an open line without load": circuit(cable=CABLE + CHARGED, end="Open Line.SPUR 1\nOpen Line.SPUR 2\n"),
    "a delta load to earth": load("Phases=1 Bus1=home.3 Conn=delta kV=0.23 kW=5"),
    "a regulator": circuit(
        cable=MACHINE.replace("T1", "REG").replace("[src lv]", "[lv reg]").replace("Delta", "Wye").replace("11", "0.4")
        .replace("kVAs", "XHL=0.01 %LoadLoss=0.00001 kVAs") + CABLE.replace("Bus1=lv", "Bus1=reg"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SOUND)
def test_an_odd_circuit_is_not_refused(name: str, tmp_path: Path) -> None:
    master = tmp_path / "Master.dss"
    master.write_text(SOUND[name])
    feeder = feeders.load(master)
    assert len(feeder.customers) == 2 + SOUND[name].count("Load.X")
    assert np.isfinite(feeder.network.no_load_v).all()


DE_ENERGISED = {
    "behind an open switch": circuit(cable=CABLE + SPUR, homes=HOMES + AT_FAR, end="Open Line.SPUR 1\n"),
    "behind a disabled line": circuit(cable=CABLE + SPUR, homes=HOMES + AT_FAR, end="Line.SPUR.enabled=no\n"),
    "behind an open end": circuit(cable=CABLE + SPUR, homes=HOMES + AT_FAR, end="Open Line.SPUR 2\n"),
    "on an open phase": circuit(cable=CABLE + SPUR, homes=HOMES + AT_FAR, end="Open Line.SPUR 1 1\n"),
    "on a floating phase": circuit(cable=CABLE + CHARGED, homes=HOMES + AT_FAR, end="Open Line.SPUR 1 1\n"),
    "on a charged island": circuit(cable=CABLE + ISLAND.replace("C1=0", "C1=99"), homes=HOMES + AT_Q),
    "between two open phases": circuit(
        cable=CABLE + SPUR, homes=HOMES + AT_FAR.replace("far.1 kV=0.23", "far.1.2 kV=0.4"), end="Open Line.SPUR 1\n"
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if "switch" in name else pytest.mark.slow) for name in DE_ENERGISED]
)
def test_a_load_that_nothing_feeds_is_named_and_no_customer(
    name: str, tmp_path: Path, make_day: Callable[..., Exogenous]
) -> None:
    master = tmp_path / "Master.dss"
    master.write_text(DE_ENERGISED[name])
    feeder = feeders.load(master)
    assert feeder.customers == ("A", "B")
    assert [warning for warning in feeder.warnings if "1 de-energised loads" in warning and warning.endswith("(X)")]
    for engine in ("opendss", "reduced"):
        trajectory = run(feeder, make_day(feeder, 2, demand_kw=[3.0, 2.0]), NoControl(feeder), engine=engine)
        assert trajectory.notes == ()
        assert scoreboard(trajectory)["voltage_min_pu"] > 0.9


def test_who_is_to_be_connected_where_nothing_is_fed_is_refused(tmp_path: Path) -> None:
    master = tmp_path / "Master.dss"
    master.write_text(DE_ENERGISED["behind an open switch"])
    with pytest.raises(InputError, match=r"Load.A: hangs on node 1 of bus 'FAR'"):
        feeders.load(master, connections=[Connection("A", "far", (1,))])


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    master = tmp_path / "Master.dss"
    wrong = ("Bus1=99.1 kV=0.23", "Bus1=home.7 kV=0.23", "Bus1=home.3 kV=0")
    homes = "".join(f"New Load.X{k} Phases=1 {text}\n" for k, text in enumerate(wrong))
    master.write_text(circuit(homes=HOMES + homes, cable=CABLE.replace("Length=1", "Length=-1")))
    with pytest.raises(InputError) as refused:
        feeders.load(master)
    assert [fault.key for fault in refused.value.faults] == ["Load.X0", "Load.X1", "Load.X2", "Line.CABLE"]


@pytest.mark.parametrize(
    ("toml", "key", "remedy"),
    [
        ("nominal_voltage_v = -230", "nominal_voltage_v", "give volts, phase to neutral, between 50 and 50,000"),
        ("nominal_voltage_v = 0.23", "nominal_voltage_v", "e.g. 230"),
        ("nominal_voltage_v = nan", "nominal_voltage_v", "e.g. 230"),
        ("nominal_voltage_v = true", "nominal_voltage_v", "e.g. 230"),
        ("nominal_voltage_v = [230]", "nominal_voltage_v", "e.g. 230"),
        ('nominal_voltage_v = "230"', "nominal_voltage_v", "e.g. 230"),
        ("nominal_voltage_v = 1e400", "nominal_voltage_v", "e.g. 230"),
        (f"nominal_voltage_v = 1{'0' * 400}", "nominal_voltage_v", "e.g. 230"),
        ("latitude_deg = 91", "latitude_deg", "give degrees between -90 and 90, e.g. 53.48"),
        ("longitude_deg = -181", "longitude_deg", "give degrees between -180 and 180, e.g. -2.24"),
        ("latitude_deg = inf", "latitude_deg", "e.g. 53.48"),
        ("connection_kw_per_phase = nan", "connection_kw_per_phase", "give kilowatts between 0.1 and 1,000, e.g. 14"),
        ("connection_kw_per_phase = 0", "connection_kw_per_phase", "e.g. 14"),
        ("connection_kw_per_phase = 1e300", "connection_kw_per_phase", "e.g. 14"),
        ("connection_kw_per_phase = false", "connection_kw_per_phase", "e.g. 14"),
        ('name = ""', "name", 'e.g. name = "my_street"'),
        ("name = 7", "name", 'e.g. name = "my_street"'),
        ('title = "a\\nb"', "title", 'e.g. title = "My street"'),
        ('head_line = ["CABLE"]', "head_line", 'e.g. head_line = "LINE1"'),
        ("monitored = []", "monitored", 'e.g. monitored = ["TR1"]'),
        ('monitored = "T1"', "monitored", 'e.g. monitored = ["TR1"]'),
        ("monitored = [1]", "monitored", 'e.g. monitored = ["TR1"]'),
        ('monitored = ["T1", "t1"]', "monitored", 'e.g. monitored = ["TR1"]'),
        ('monitored = [["T1"]]', "monitored", 'e.g. monitored = ["TR1"]'),
        ('monitored = ["T1", ""]', "monitored", 'e.g. monitored = ["TR1"]'),
        ('monitored = ["NO"]', "monitored", "name a Line or Transformer"),
        ('head_lime = "CABLE"', "head_lime", "write head_line"),
        ("kva = -1", "kva", "use only name, title"),
        ("[nominal_voltage_v]\nx = 1", "nominal_voltage_v.x", "e.g. 230"),
        ("nominal", "", "a text file in UTF-8 with lines such as nominal_voltage_v = 230"),
        (f"x = {'[' * 100_000}", "", "a text file in UTF-8"),
        ("name = 'x'".encode("utf-16"), "", "a text file in UTF-8"),
        (None, "", "a text file in UTF-8"),
    ],
)  # fmt: skip
def test_a_wrong_feeder_toml_is_refused_with_what_to_write(
    tmp_path: Path, toml: str | bytes | None, key: str, remedy: str
) -> None:
    (tmp_path / "Master.dss").write_text(circuit())
    path = tmp_path / "feeder.toml"
    if toml is None:
        path.mkdir()
    else:
        path.write_bytes(toml if isinstance(toml, bytes) else toml.encode())
    with pytest.raises(InputError) as refused:
        feeders.load(tmp_path)
    (fault,) = refused.value.faults
    assert (fault.where, fault.key) == (str(path), key)
    assert remedy in fault.remedy


def test_a_voltage_between_phases_is_asked_about(tmp_path: Path) -> None:
    (tmp_path / "Master.dss").write_text(circuit())
    (tmp_path / "feeder.toml").write_text("nominal_voltage_v = 400\n")
    warnings = feeders.load(tmp_path).warnings
    told = "loads on another level of voltage than nominal_voltage_v = 400: judged by their own rating"
    assert [warning for warning in warnings if told in warning]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -1.0, 0.0, True, "160"])
def test_parts_made_in_python_have_the_same_ranges(wrong: object, two_bus: Feeder) -> None:
    with pytest.raises(InputError, match="kva"):
        TransformerSpec(kva=wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="source_pu"):
        feeders.load("two_bus", source_pu=wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="nominal_voltage_v"):
        replace(two_bus, nominal_voltage_v=wrong)


def test_powers_of_customers_are_finite(two_bus: Feeder) -> None:
    for key, wrong in (("connection_kw", -1.0), ("connection_kw", np.inf), ("load_kw", np.nan), ("load_kvar", -np.inf)):
        with pytest.raises(InputError, match=f"{key}: is negative or no finite number for LOAD2"):
            replace(two_bus, **{key: np.array([1.0, wrong, 1.0])})


def test_what_replaces_parts_of_a_feeder_makes_sense() -> None:
    with pytest.raises(InputError, match="load_loss_percent: is 5 at uk_percent = 4"):
        TransformerSpec(160.0, 4.0, 5.0)
    names = ({"customer": ""}, {"customer": 'a" kw=9'}, {"bus": "b\nSolve"})
    phases = ({"phases": one} for one in ((), (1, 1), (True,), (0,), (1.0,)))
    for wrong in (*names, *phases, {"neutral": -1}, {"neutral": 1}):
        with pytest.raises(InputError) as refused:
            Connection(**{"customer": "CP", "bus": "2", "phases": (1,)} | wrong)  # type: ignore[arg-type]
        assert refused.value.faults[0].remedy
