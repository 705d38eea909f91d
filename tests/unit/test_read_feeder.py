"""``feeders.load`` on circuits that are odd, incomplete or broken: each gets its warning or its refusal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cosim import Trajectory, feeders, run
from cosim.contract import Connection, Exogenous, Feeder, TransformerSpec
from cosim.controllers.rules.none import NoControl
from cosim.errors import InputError
from cosim.measures import scoreboard
from cosim.opendss import OpenDssEngine
from cosim.reduced_engine import ReducedEngine

HEAD = """Clear
Set DefaultBaseFrequency=50
New Circuit.odd Bus1=src BasekV=11 pu=1.0 R1=0 X1=0.001 R0=0 X0=0.001
"""
TRANSFORMER = "New Transformer.T1 Phases=3 Windings=2 Buses=[src lv] Conns=[Delta Wye] kVs=[11 0.4] kVAs=[100 100]\n"
CABLE = "New Line.CABLE Bus1=lv Bus2=home Phases=3 R1=0.1 X1=0.02 R0=0.3 X0=0.06 C1=0 C0=0 Length=1 Units=km"
RATED = " NormAmps=150 EmergAmps=150\n"
HOMES = """New Load.A Phases=1 Bus1=home.1 kV=0.23 kW=3 kvar=1 Model=1
New Load.B Phases=1 Bus1=home.2 kV=0.23 kW=2 kvar=0 Model=1
"""
BASES = "Set VoltageBases=[11 0.4]\nCalcVoltageBases\n"
WHOLE = HEAD + TRANSFORMER + CABLE + RATED + HOMES + BASES

Write = Callable[..., Path]
MakeDay = Callable[..., Exogenous]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a master file, with coordinates and a feeder.toml unless asked otherwise, and return its path."""

    def written(text: str, toml: str | None = "nominal_voltage_v = 230.0\n", coordinates: bool = True) -> Path:
        if coordinates:
            (tmp_path / "xy.csv").write_text("src, 0, 0\nlv, 1, 0\nhome, 2, 0\n")
            text += "Buscoords xy.csv\n"
        if toml is not None:
            (tmp_path / "feeder.toml").write_text(toml)
        master = tmp_path / "Master.dss"
        master.write_text(text)
        return master

    return written


def told(feeder: Feeder) -> list[str]:
    """Warnings about the circuit itself; that its files are executed is said of each that is not shipped, once."""
    (executed,) = [warning for warning in feeder.warnings if warning.startswith("OpenDSS executes Master")]
    return [warning for warning in feeder.warnings if warning != executed]


def only_warning(feeder: Feeder) -> str:
    (warning,) = told(feeder)
    return warning


def test_a_whole_circuit_has_no_warning_and_its_facts(write: Write) -> None:
    feeder = feeders.load(write(WHOLE))
    assert told(feeder) == []
    assert feeder.customers == ("A", "B")
    assert feeder.customer_bus == ("HOME", "HOME")
    assert feeder.customer_phases == ((1,), (2,))
    assert feeder.load_kw.tolist() == [3.0, 2.0]
    assert feeder.load_kvar.tolist() == [1.0, 0.0]
    assert feeder.transformer == "T1"
    assert feeder.head_line == "CABLE"
    assert feeder.monitored == ("T1",)
    assert feeder.distance_m["HOME"] == 1000.0
    assert feeder.phase_limit_a == pytest.approx(100.0 / (np.sqrt(3.0) * 0.4))
    assert feeder.connection_kw.tolist() == [14.0, 14.0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEAD + TRANSFORMER + CABLE + "\n" + HOMES + BASES, "no line has a rating"),
        (
            WHOLE + CABLE.replace("CABLE", "SPUR").replace("lv", "end") + "\n" + BASES,
            "1 of 2 lines have no rating",
        ),
        (HEAD + TRANSFORMER + CABLE + RATED + HOMES + "MakeBusList\n", "no voltage bases"),
        (WHOLE.replace("kvar=1 Model=1", "kvar=1 Model=2"), "1 of 2 loads not constant power"),
        (
            WHOLE + "New Load.C Phases=1 Bus1=home.1.2 Conn=Delta kV=0.4 kW=1 kvar=0 Model=1\n",
            "1 of 3 loads connected between phases (delta)",
        ),
        (
            WHOLE + "New Load.C Phases=3 Bus1=home.1.2.3 Conn=Delta kV=0.4 kW=1 kvar=0 Model=1\n",
            "1 of 3 loads connected between phases (delta)",
        ),
        # in OpenDSS a load across two phases is often written as a star without a neutral
        (
            WHOLE + "New Load.C Phases=1 Bus1=home.1.2 kV=0.4 kW=1 kvar=0 Model=1\n",
            "1 of 3 loads connected between phases (delta)",
        ),
        (
            WHOLE + "New Load.C Phases=2 Bus1=home.1.2 kV=0.4 kW=1 kvar=0 Model=1\n",
            "1 of 3 loads connected to two phases",
        ),
        (
            WHOLE + "New Load.C Phases=3 Bus1=home kV=0.23 kW=1 kvar=0 Model=1\n",
            "1 of 3 loads rated for another voltage than their bus has",
        ),
        (
            HEAD + TRANSFORMER + CABLE + RATED + HOMES
            + "New RegControl.R Transformer=T1 Winding=2 Vreg=230 Band=4 PTratio=1\n" + BASES,
            "tap control disabled",
        ),
        (
            WHOLE + "New PVSystem.PV Phases=1 Bus1=home.1 kV=0.23 kVA=4 Pmpp=4 Irradiance=1\n",
            "other sources feed in by the file's shapes",
        ),
        (
            HEAD.replace("BasekV=11", "BasekV=0.4") + CABLE.replace("Bus1=lv", "Bus1=src") + RATED + HOMES
            + "Set VoltageBases=[0.4]\nCalcVoltageBases\n",
            "no transformer",
        ),
    ],
)  # fmt: skip
def test_says_what_will_mislead(write: Write, text: str, says: str) -> None:
    assert says in only_warning(feeders.load(write(text)))


def test_of_many_transformers_the_one_with_most_customers_is_watched(write: Write) -> None:
    streets = range(9)  # of a transformer and a home each; one has two
    text = HEAD + "".join(
        f"New Transformer.T{k} Phases=3 Windings=2 Buses=[src lv{k}] kVs=[11 0.4] kVAs=[50 50] xhl=4\n"
        f"New Load.L{k} Phases=1 Bus1=lv{k}.1 kV=0.23 kW=1 kvar=0 Model=1\n"
        for k in streets
    )
    text += "New Load.M Phases=1 Bus1=lv7.2 kV=0.23 kW=1 kvar=0 Model=1\n" + BASES
    assert feeders.load(write(text)).transformer == "T7"


def test_says_that_there_are_no_coordinates_and_no_declared_voltage(write: Write) -> None:
    feeder = feeders.load(write(WHOLE, toml=None, coordinates=False))
    assert any("no coordinates" in warning for warning in feeder.warnings)
    assert any("nominal voltage not declared" in warning and "230.0 V" in warning for warning in feeder.warnings)
    assert len(told(feeder)) == 2
    assert feeder.nominal_voltage_v == 230.0


def test_a_customer_of_another_voltage_is_named_and_judged_by_its_own(write: Write) -> None:
    feeder = feeders.load(write(WHOLE + "New Load.FAR Phases=1 Bus1=src.1 kV=6.35 kW=1 kvar=0 Model=1\n"))
    assert "1 of 3 loads on another level of voltage than nominal_voltage_v = 230" in only_warning(feeder)
    assert feeder.customer_nominal_v.tolist() == [230.0, 230.0, 6350.0]
    assert [(area.name, area.parent, area.customers) for area in feeder.areas] == [
        ("source", None, (2,)), ("T1", "source", (0, 1)),
    ]  # fmt: skip


REGULATOR = "New Transformer.REG Phases=3 Windings=2 Buses=[home behind] Conns=[Wye Wye] kVs=[0.4 0.4] kVAs=[50 50]\n"
BEHIND = CABLE.replace("CABLE", "SECOND").replace("Bus1=lv Bus2=home", "Bus1=behind Bus2=end") + RATED
FAR = "New Load.C Phases=1 Bus1=end.3 kV=0.23 kW=1 kvar=0 Model=1\n"


@pytest.mark.parametrize("tap", ["", "Transformer.REG.Taps=[1 1.1]\n"])
@pytest.mark.parametrize("regulator_first", [False, True])
def test_a_regulator_is_on_the_way_to_the_customers_behind_it(write: Write, regulator_first: bool, tap: str) -> None:
    transformers = REGULATOR + TRANSFORMER if regulator_first else TRANSFORMER + REGULATOR
    feeder = feeders.load(write(HEAD + transformers + CABLE + RATED + BEHIND + HOMES + FAR + tap + BASES))
    assert feeder.transformer == "T1"
    assert feeder.head_line == "CABLE"
    assert feeder.distance_m == {"SRC": 0.0, "LV": 0.0, "HOME": 1000.0, "BEHIND": 1000.0, "END": 2000.0}
    assert not any("not reached" in warning for warning in feeder.warnings)


def test_the_head_line_behind_a_regulator_at_the_transformer(write: Write) -> None:
    regulator = REGULATOR.replace("[home behind]", "[lv regulated]")
    cable = CABLE.replace("Bus1=lv", "Bus1=regulated") + RATED
    feeder = feeders.load(write(HEAD + TRANSFORMER + regulator + cable + HOMES + BASES))
    assert (feeder.transformer, feeder.head_line) == ("T1", "CABLE")
    assert feeder.distance_m["HOME"] == 1000.0


def test_a_transformer_that_changes_the_voltage_is_no_line(write: Write) -> None:
    """Two transformers in a row: customers are behind the lower one, and both are watched."""
    upper = "New Transformer.UP Phases=3 Windings=2 Buses=[src mv] Conns=[Wye Wye] kVs=[11 6] kVAs=[200 200]\n"
    feeder = feeders.load(write(HEAD + upper + TRANSFORMER.replace("[src lv]", "[mv lv]").replace("[11", "[6")
                                + CABLE + RATED + HOMES + BASES))  # fmt: skip
    assert feeder.transformer == "T1"
    assert feeder.distance_m == {"SRC": 0.0, "MV": 0.0, "LV": 0.0, "HOME": 1000.0}
    assert [(area.name, area.parent) for area in feeder.areas] == [("UP", None), ("T1", "UP")]


def test_a_feeder_of_one_voltage(write: Write) -> None:
    """Only an isolating transformer: it is the one to follow, and nothing behind it is out of reach."""
    head = HEAD.replace("BasekV=11", "BasekV=0.4")
    feeder = feeders.load(write(head + TRANSFORMER.replace("[11 0.4]", "[0.4 0.4]") + CABLE + RATED + HOMES + BASES))
    assert told(feeder) == []
    assert (feeder.transformer, feeder.head_line) == ("T1", "CABLE")
    assert feeder.distance_m["HOME"] == 1000.0


def test_both_halves_of_a_centre_tapped_winding_are_watched(write: Write) -> None:
    split = (
        "New Transformer.T1 Phases=1 Windings=3 Buses=[src.1 lv.1.0 lv.0.2] kVs=[6.35 0.12 0.12] kVAs=[25 25 25] "
        "XHL=2 XHT=2 XLT=1.3\n"
    )
    cable = CABLE.replace("Bus1=lv Bus2=home Phases=3", "Bus1=lv.1.2 Bus2=home.1.2 Phases=2") + RATED
    homes = "New Load.A Phases=1 Bus1=home.1 kV=0.12 kW=3 kvar=1 Model=1\n"
    feeder = feeders.load(write(HEAD + split + cable + homes + BASES, toml="nominal_voltage_v = 120.0\n"))
    assert told(feeder) == []
    halves = [limit for limit in feeder.limits if limit.kind == "transformer"]
    assert [(limit.phase, limit.rating_a) for limit in halves] == [("a1", 12.5 / 0.12), ("a2", 12.5 / 0.12)]
    assert feeder.distance_m == {"SRC": 0.0, "LV": 0.0, "HOME": 1000.0}


def test_three_phase_customers(write: Write, make_day: MakeDay) -> None:
    feeder = feeders.load(write(WHOLE + "New Load.C Phases=3 Bus1=home kV=0.4 kW=9 kvar=0 Model=1\n"))
    assert told(feeder) == []
    assert feeder.customer_phases[2] == (1, 2, 3)
    assert feeder.connection_kw[2] == 42.0
    np.testing.assert_allclose(feeder.phase_matrix[2], 1 / 3)
    assert_served(feeder, make_day)


def test_explicit_neutral(write: Write, make_day: MakeDay) -> None:
    """Four wires: the neutral is a node of its own, and the meter sees the voltage against it."""
    # a cable of four equal conductors that do not couple; the neutral is earthed at the transformer only
    four_wire = "New Line.CABLE Bus1=lv.1.2.3.4 Bus2=home.1.2.3.4 Phases=4 Length=1 NormAmps=150 EmergAmps=150"
    for key, ohm in (("RMatrix", 0.1), ("XMatrix", 0.05), ("CMatrix", 0.0)):
        four_wire += f" {key}=[{ohm}|0 {ohm}|0 0 {ohm}|0 0 0 {ohm}]"
    four_wire += " Units=km"  # a matrix of its own takes the unit away again
    transformer = (
        TRANSFORMER.replace("[src lv]", "[src lv.1.2.3.4]") + "New Reactor.EARTH Bus1=lv.4 Phases=1 R=1e-4 X=0\n"
    )
    homes = HOMES.replace("home.1", "home.1.4").replace("home.2", "home.2.4")
    feeder = feeders.load(write(HEAD + transformer + four_wire + "\n" + homes + BASES))
    assert told(feeder) == []
    assert feeder.customer_phases == ((1,), (2,))
    assert [feeder.network.node_names[n] for n in feeder.customer_neutral] == ["HOME.4", "HOME.4"]
    trajectory = assert_served(feeder, make_day)
    phase, neutral = feeder.customer_nodes[0][0], feeder.customer_neutral[0]
    assert abs(trajectory.node_v[0, neutral]) > 0.5  # the neutral is lifted by the current that returns in it
    expected_v = abs(trajectory.node_v[0, phase] - trajectory.node_v[0, neutral])
    assert trajectory.voltage_v[0, 0] == pytest.approx(expected_v)


def test_a_delta_customer_is_served(write: Write, make_day: MakeDay) -> None:
    feeder = feeders.load(write(WHOLE + "New Load.C Phases=1 Bus1=home.1.2 kV=0.4 kW=1 kvar=0 Model=1\n"))
    assert feeder.delta_customers == ("C",)
    assert feeder.customer_phases[2] == (1, 2)
    assert feeder.customer_neutral[2] == -1
    assert_served(feeder, make_day)


def test_a_circuit_that_never_solved_itself_is_read(write: Write, make_day: MakeDay) -> None:
    """Without CalcVoltageBases or Solve in the file, OpenDSS has no nodes before it is told to make them."""
    feeder = feeders.load(write(HEAD + TRANSFORMER + CABLE + RATED + HOMES, coordinates=False))
    assert_served(feeder, make_day)


def test_disabled_loads_are_no_customers(write: Write, make_day: MakeDay) -> None:
    off = "New Load.OFF Phases=1 Bus1=home.3 kV=0.23 kW=50 kvar=0 Model=1 Enabled=no\n"
    feeder = feeders.load(write(HEAD + TRANSFORMER + CABLE + RATED + off + HOMES + BASES))
    assert feeder.customers == ("A", "B")
    assert_served(feeder, make_day)


def assert_served(feeder: Feeder, make_day: MakeDay) -> Trajectory:
    """The power flow serves what is asked for, whatever load models and connections the file has."""
    asked_kw = np.linspace(1.0, 4.0, len(feeder.customers))
    trajectory = run(feeder, make_day(feeder, 2, demand_kw=asked_kw), NoControl(feeder), control_min=5)
    assert trajectory.notes == ()
    assert scoreboard(trajectory)["balance_error_percent"] < 1e-3
    return trajectory


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Clear\nNew Circuit.x\nRedirect missing.dss\n", "missing.dss"),
        (WHOLE.replace("Bus1=lv Bus2=home", "Bus1=lv Bus2=home LineCode=nowhere"), "nowhere"),
        ("New Loda.A kW=1\n", "OpenDSS refuses it"),
        ("! nothing here\n", "defines no circuit"),
        (HEAD + TRANSFORMER + CABLE + RATED + BASES, "has no load"),
    ],
)
def test_refuses_a_file_that_is_no_feeder(write: Write, text: str, problem: str) -> None:
    master = write(text, coordinates=False)
    with pytest.raises(InputError) as refused:
        feeders.load(master)
    (fault,) = refused.value.faults
    assert problem in str(fault)
    assert fault.where.split(", line")[0] == str(master)
    assert fault.remedy
    assert refused.value.exit_code == 2


def test_refuses_a_circuit_that_does_not_converge(write: Write) -> None:
    # far more generation than the cable can carry away at any voltage
    text = WHOLE + "New Generator.G Phases=3 Bus1=home kV=0.4 kW=90000 kvar=0 Model=1 Vminpu=0 Vmaxpu=9\n"
    with pytest.raises(InputError, match="does not converge"):
        feeders.load(write(text))


def test_refuses_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such feeder or file") as refused:
        feeders.load(tmp_path / "nowhere.dss")
    assert "european_lv" in str(refused.value)
    with pytest.raises(InputError, match="no such feeder or file"):
        feeders.load("a" * 5000)
    (tmp_path / "notes.pdf").write_text("x")
    with pytest.raises(InputError, match="no circuit file"):
        feeders.load(tmp_path / "notes.pdf")


def test_refuses_a_wrong_feeder_toml_with_all_its_faults(write: Write) -> None:
    toml = 'nominal_voltage_v = "230"\nhead_lime = "CABLE"\n'
    with pytest.raises(InputError) as refused:
        feeders.load(write(WHOLE, toml=toml))
    assert [fault.key for fault in refused.value.faults] == ["nominal_voltage_v", "head_lime"]
    with pytest.raises(InputError, match="there is no branch 'NO'"):
        feeders.load(write(WHOLE, toml='head_line = "NO"\n'))
    with pytest.raises(InputError, match="is not TOML"):
        feeders.load(write(WHOLE, toml="nominal"))


def test_replacing_the_transformer(write: Write) -> None:
    master = write(WHOLE)
    feeder = feeders.load(master, source_pu=1.03, transformer=TransformerSpec(50.0, 4.0, 1.0))
    assert feeder.transformer_kva == 50.0
    assert feeder.transformer_rating_a == pytest.approx(50.0 / (np.sqrt(3.0) * 0.4))
    assert feeder.network.source_pu == pytest.approx(1.03)
    two = write(WHOLE + TRANSFORMER.replace("T1", "T2").replace("[src lv]", "[src other]"))
    with pytest.raises(InputError, match="2 transformers"):
        feeders.load(two, transformer=TransformerSpec(50.0, 4.0, 1.0))


def test_loads_that_plain_opendss_would_turn_into_impedances(tmp_path):
    text = "New Circuit.c basekv=0.4 pu=1.08 phases=3\nNew Line.L1 bus1=sourcebus bus2=b length=1 units=m\n"
    band = " vminpu=0.5 vmaxpu=1.5"
    for extra, warned in (("", True), (band, False)):
        master = tmp_path / f"Master{warned}.dss"
        master.write_text(f"{text}New Load.home bus1=b.1 phases=1 kv=0.23 kw=1{extra}\n", encoding="utf-8")
        warnings = " ".join(feeders.load(master).warnings)
        assert ("makes them impedances" in warnings) is warned


def test_loads_can_be_moved_and_added():
    changed = feeders.load(
        "european_lv", connections=[Connection("LOAD1", "34", (2,)), Connection("HUB", "499", (1, 2, 3))]
    )
    assert changed.customers[-1] == "HUB"
    assert changed.customer_phases[0] == (2,)
    assert changed.customer_phases[-1] == (1, 2, 3)
    assert changed.customer_nodes[0] == (changed.network.node_names.index("34.2"),)
    assert changed.load_kw[-1] == 0.0
    power_kw = np.random.default_rng(1).uniform(0.0, 4.0, len(changed.customers))
    with_opendss = OpenDssEngine(changed).solve(power_kw, 0.3 * power_kw, np.nan)
    without = ReducedEngine(changed).solve(power_kw, 0.3 * power_kw, np.nan)
    assert np.abs(with_opendss - without).max() < 1e-5


def test_every_place_that_does_not_exist_is_named():
    wrong = [Connection("CP", "6910", (1,)), Connection("HUB", "499", (1, 4))]
    with pytest.raises(InputError) as caught:
        feeders.load("european_lv", connections=wrong)
    assert [fault.key for fault in caught.value.faults] == ["connection of CP", "connection of HUB"]
    assert "'6910.1'" in str(caught.value)
    assert "'499.4'" in str(caught.value)


@pytest.mark.parametrize(
    ("length", "unit"),
    [(0.2, "km"), (200.0, "m"), (656.168, "ft"), (0.656168, "kft"), (0.124274, "mi"), (20e3, "cm"), (7874.0, "in")],
)
def test_lengths_are_read_in_the_units_of_the_file(tmp_path: Path, length: float, unit: str) -> None:
    text = feeders.load("two_bus").master.read_text().replace("Buscoords Buscoords.csv", "")
    assert "Length=200 Units=m" in text
    (tmp_path / "Master.dss").write_text(text.replace("Length=200 Units=m", f"Length={length} Units={unit}"))
    feeder = feeders.load(tmp_path / "Master.dss")
    assert feeder.network.branch("LINE1").length_m == pytest.approx(200.0, rel=1e-5)
    assert feeder.distance_m["2"] == pytest.approx(200.0, rel=1e-5)


@pytest.mark.parametrize(("actual", "peak_kw"), [("no", 6.0), ("yes", 0.5)])
def test_a_shape_is_of_the_loads_power_or_in_kilowatts(tmp_path: Path, actual: str, peak_kw: float) -> None:
    text = feeders.load("two_bus").master.read_text().replace("Buscoords Buscoords.csv", "")
    shape = f"New LoadShape.s npts=3 interval=1 mult=[0.1 0.5 0.2] UseActual={actual}\nNew Load.LOAD1 Daily=s "
    (tmp_path / "Master.dss").write_text(text.replace("New Load.LOAD1 ", shape))  # of 12 kW
    first, second, _ = feeders.load(tmp_path / "Master.dss").load_shapes
    assert first is not None
    assert second is None
    assert first.interval_min == 60.0
    np.testing.assert_allclose(first.kw, np.array([0.2, 1.0, 0.4]) * peak_kw)


@pytest.mark.parametrize(("given", "rating_a"), [("NormAmps=700", 700.0), ("EmergAmps=180", 180.0)])
def test_a_line_of_which_only_the_emergency_rating_is_given_has_that(write: Write, given: str, rating_a: float) -> None:
    feeder = feeders.load(write(HEAD + TRANSFORMER + CABLE + f" {given}\n" + HOMES + BASES))
    assert (
        feeder.network.branch("CABLE").rating_a == rating_a
    )  # the other of the two is OpenDSS's default: 600 A, 400 A
