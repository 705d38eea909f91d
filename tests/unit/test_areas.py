"""Feeders of several transformers, voltages and phases, against what plain OpenDSS says of every winding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import opendssdirect
import pytest

from cosim import controllers, feeders
from cosim.contract import Exogenous, Feeder, Setpoints
from cosim.errors import InputError
from cosim.households import Behaviour
from cosim.loop import run
from cosim.measures import scoreboard
from cosim.measures.areas import by_area
from cosim.measures.worst import worst_moments
from cosim.trajectory import Trajectory

MakeDay = Callable[..., Exogenous]
Make = Callable[..., Any]

HEAD = "Clear\nSet DefaultBaseFrequency=50\nNew Circuit.test bus1=mv basekv=11 pu=1.0 isc3=3000 isc1=2500\n"
END = "Set voltagebases=[11 0.416]\nCalcvoltagebases\nSolve\n"
LOAD = "New Load.{} bus1={} phases=1 kv={} kw={} pf=0.95 model=1 vminpu=0.5 vmaxpu=1.5\n"


def machine(name: str, buses: str, kva: float, kvs: str = "11 0.416", conns: str = "delta wye", **more: str) -> str:
    given = " ".join(f"{key}={value}" for key, value in more.items())
    return (
        f"New Transformer.{name} windings=2 buses=({buses}) conns=({conns}) kvs=({kvs}) kvas=({kva} {kva}) xhl=4 "
        f"%loadloss=1 {given}\n"
    )


def cable(name: str, ends: str, amps: float = 0.0, length_km: float = 0.1) -> str:
    one, other = ends.split()
    rating = f" normamps={amps} emergamps={amps}" if amps else ""
    return (
        f"New Line.{name} bus1={one} bus2={other} phases=3 r1=0.1 x1=0.1 r0=0.3 x0=0.3 c1=0 c0=0 length={length_km} "
        f"units=km{rating}\n"
    )


TWO = (
    HEAD + machine("big", "mv lv1", 100) + machine("small", "mv lv2", 25) + cable("c1", "lv1 x") + cable("c2", "lv2 y")
)
TWO += "".join(LOAD.format(f"x{k}", f"x.{k}", 0.24, 3) for k in (1, 2, 3))
TWO += "".join(LOAD.format(f"y{k}", f"y.{k}", 0.24, 15) for k in (1, 2)) + END

SPLIT = (
    "Clear\nSet DefaultBaseFrequency=60\nNew Circuit.test bus1=mv basekv=12.47 pu=1.0 isc3=3000 isc1=2500\n"
    "New Transformer.can phases=1 windings=3 buses=(mv.2.0 lv.1.0 lv.0.2) kvs=(7.2 0.12 0.12) kvas=(25 25 25) "
    "xhl=2 xht=2 xlt=1.4 %rs=(0.6 1.2 1.2)\n"
    "New Line.drop bus1=lv.1.2 bus2=house.1.2 phases=2 rmatrix=[0.25|0.08 0.25] xmatrix=[0.13|0.09 0.13] "
    "cmatrix=[0|0 0] length=0.02 units=km normamps=150 emergamps=200\n{}"
    "Set voltagebases=[12.47 0.208]\nCalcvoltagebases\nSolve\n"
)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def written(text: str) -> Path:
        (tmp_path / "Master.dss").write_text(text)
        return tmp_path / "Master.dss"

    return written


def as_in_the_file(feeder: Feeder, make_day: MakeDay, engine: str = "opendss") -> Trajectory:
    day = make_day(feeder, 2, demand_kw=feeder.load_kw, demand_kvar=feeder.load_kvar)
    return run(feeder, day, controllers.make("none", feeder), engine=engine)


def plain_currents_a(master: Path, element: str) -> np.ndarray:
    """Magnitudes at every conductor of an element, terminal by terminal."""
    dss = opendssdirect.NewContext()
    dss.Text.Command(f'compile "{master}"')
    dss.Text.Command("set controlmode=off tolerance=1e-9")
    dss.Solution.Solve()
    dss.Circuit.SetActiveElement(element)
    return np.array(dss.CktElement.CurrentsMagAng())[::2]


@pytest.mark.parametrize("engine", ["opendss", "reduced"])
def test_a_transformer_at_twice_its_rating_is_seen_beside_a_larger_one(
    write: Make, make_day: MakeDay, engine: str
) -> None:
    master = write(TWO)
    feeder = feeders.load(master)
    assert [(area.name, area.parent, len(area.customers)) for area in feeder.areas] == [
        ("BIG", None, 3), ("SMALL", None, 2),
    ]  # fmt: skip
    trajectory = as_in_the_file(feeder, make_day, engine)
    plain = 100.0 * plain_currents_a(master, "Transformer.small")[4:7].max() / (25.0 / (np.sqrt(3.0) * 0.416))
    board = scoreboard(trajectory)
    assert board["transformer_peak_percent"] == pytest.approx(plain, rel=1e-6) == pytest.approx(200.0, abs=0.1)
    assert board["transformer_overload_min"] == 10.0
    worst, other = by_area(trajectory)
    assert (worst["area"], other["area"]) == ("SMALL", "BIG")
    assert other["transformer_peak_percent"] == pytest.approx(9.5, abs=0.1)


@pytest.mark.parametrize(("loads", "percent"), [((12.5, 12.5), 103.0), ((20.0, 0.0), 162.0)])
def test_half_of_a_centre_tapped_winding_carries_half_of_the_rating(
    write: Make, make_day: MakeDay, loads: tuple[float, float], percent: float
) -> None:
    homes = "".join(
        LOAD.format(f"h{k}", f"house.{k}", 0.12, kw).replace("pf=0.95", "pf=1") for k, kw in enumerate(loads, 1)
    )
    feeder = feeders.load(master := write(SPLIT.format(homes)))
    trajectory = as_in_the_file(feeder, make_day)
    assert feeder.nominal_voltage_v == 120.0
    assert set(feeder.customer_phases) == {(2,)}  # both halves hang on phase b
    assert scoreboard(trajectory)["transformer_peak_percent"] == pytest.approx(percent, abs=2.0)
    plain_a = plain_currents_a(master, "Transformer.can")
    assert scoreboard(trajectory)["transformer_peak_percent"] == pytest.approx(
        100.0 * max(plain_a[2:]) / (12.5 / 0.12), rel=1e-6
    )


def test_customers_of_different_voltages_are_each_judged_by_their_own(write: Make, make_day: MakeDay) -> None:
    text = HEAD + cable("mv", "mv mv2", 200, 1.0) + machine("t", "mv2 lv", 250, "11 0.4") + cable("c", "lv a")
    text += "".join(LOAD.format(f"a{k}", f"a.{k}", 0.23, 3) for k in (1, 2, 3))
    text += "New Load.mill bus1=mv2 phases=3 kv=11 kw=300 pf=0.95 vminpu=0.5 vmaxpu=1.5\n"
    feeder = feeders.load(write(text + END.replace("0.416", "0.4")))
    assert feeder.customer_nominal_v == pytest.approx([230.0] * 3 + [11e3 / np.sqrt(3.0)])
    for engine in ("opendss", "reduced"):
        trajectory = as_in_the_file(feeder, make_day, engine)
        per_unit = trajectory.voltage_v[0] / feeder.customer_nominal_v
        assert per_unit == pytest.approx([0.9991, 0.9991, 0.9991, 0.9966], abs=2e-4)
    assert {(area.name, area.parent) for area in feeder.areas} == {("SOURCE".lower(), None), ("T", "source")}


def test_transformers_in_parallel_are_one_limit_that_the_weaker_one_sets(write: Make, make_day: MakeDay) -> None:
    """Of equal voltage drop at rated current each carries its share; a stiffer one is full before the other."""
    pair = machine("one", "mv lv", 100) + machine("two", "mv lv", 50).replace("xhl=4", "xhl=2")
    text = HEAD + pair + cable("c", "lv a") + "".join(LOAD.format(f"a{k}", f"a.{k}", 0.24, 30) for k in (1, 2, 3)) + END
    feeder = feeders.load(master := write(text))
    (area,) = feeder.areas
    assert (area.name, area.rating_kva) == ("ONE+TWO", 150.0)
    trajectory = as_in_the_file(feeder, make_day)
    rated_a = {"one": 100.0 / (np.sqrt(3.0) * 0.416), "two": 50.0 / (np.sqrt(3.0) * 0.416)}
    plain = {name: plain_currents_a(master, f"Transformer.{name}")[4:7].max() for name in rated_a}
    assert plain["two"] / rated_a["two"] > 1.2 * plain["one"] / rated_a["one"]
    assert scoreboard(trajectory)["transformer_peak_percent"] == pytest.approx(
        100.0 * plain["two"] / rated_a["two"], rel=1e-6
    )
    assert scoreboard(trajectory)["transformer_peak_kva"] == pytest.approx(95.5, rel=0.02)
    (limit_a,) = {round(limit.rating_a, 6) for limit in feeder.limits if limit.kind == "transformer"}
    share = plain["two"] / (plain["one"] + plain["two"])
    assert limit_a == pytest.approx(rated_a["two"] / share, rel=0.01)


THREE_WINDINGS = HEAD + (
    "New Transformer.tw windings=3 buses=(mv la lb) conns=(delta wye wye) kvs=(11 0.416 0.416) kvas=(100 80 80) "
    "xhl=6 xht=6 xlt=10 %rs=(0.5 0.5 0.5)\n"
)
THREE_WINDINGS += cable("ca", "la a") + cable("cb", "lb b")
THREE_WINDINGS += "".join(LOAD.format(f"{at}{k}", f"{at}.{k}", 0.24, 24) for at in "ab" for k in (1, 2, 3)) + END


def test_a_transformer_of_two_secondaries_feeds_two_areas(write: Make, make_day: MakeDay) -> None:
    """Both secondaries are below their ratings; the primary, which carries both, is at 160 %."""
    feeder = feeders.load(master := write(THREE_WINDINGS))
    assert [(area.name, area.rating_kva, len(area.customers)) for area in feeder.areas] == [
        ("TW.2", 80.0, 3), ("TW.3", 80.0, 3),
    ]  # fmt: skip
    assert len({(limit.area, limit.name, limit.nominal_v) for limit in feeder.limits}) == len(feeder.limits) == 9
    trajectory = as_in_the_file(feeder, make_day)
    plain_a = plain_currents_a(master, "Transformer.tw")
    primary = 100.0 * plain_a[:3].max() / (100.0 / (np.sqrt(3.0) * 11.0))
    assert scoreboard(trajectory)["transformer_peak_percent"] == pytest.approx(primary, rel=1e-6)
    assert primary > 155.0 > 101.0 > 100.0 * plain_a[4:].max() / (80.0 / (np.sqrt(3.0) * 0.416))
    assert abs(trajectory.area_kva["TW.2"][0].sum()) == pytest.approx(76.0, rel=0.01)
    assert trajectory.area_kva["TW.3"] == pytest.approx(trajectory.area_kva["TW.2"])


def test_a_primary_of_less_counts_with_what_it_lets_through(write: Make) -> None:
    text = HEAD + machine("t", "mv lv", 100).replace("(100 100)", "(80 100)") + cable("c", "lv a")
    feeder = feeders.load(write(text + LOAD.format("a", "a.1", 0.24, 3) + END.replace("0.416", "0.4")))
    assert feeder.transformer_rating_a == pytest.approx(80.0 / (3.0 * 0.24), rel=1e-3)


def test_the_high_leg_of_a_delta_is_no_collapse(write: Make, make_day: MakeDay) -> None:
    """208 V to earth at the third corner of 240 V, whose load between the corners feels 240 V as all others do."""
    text = HEAD + (
        "New Transformer.lighting phases=1 windings=3 buses=(mv.1.2 lv.1.0 lv.0.2) kvs=(11 0.12 0.12) kvas=(50 50 50) "
        "xhl=4 xht=4 xlt=3\n"
        "New Transformer.power phases=1 windings=2 buses=(mv.2.3 lv.2.3) kvs=(11 0.24) kvas=(25 25) xhl=4\n"
    )
    text += cable("c", "lv a") + LOAD.format("lamp", "a.1", 0.12, 1)
    text += "New Load.mill bus1=a.1.2.3 phases=3 conn=delta kv=0.24 kw=6 pf=0.9 vminpu=0.5 vmaxpu=1.5\n"
    feeder = feeders.load(master := write(text + END.replace("0.416", "0.208")))
    assert feeder.port_nominal_v == pytest.approx([120.0, 240.0, 240.0, 240.0], rel=1e-3)
    trajectory = as_in_the_file(feeder, make_day, "reduced")
    assert trajectory.complete
    assert not trajectory.degraded.any()
    board = scoreboard(trajectory)
    assert 0.97 < board["voltage_min_pu"] < board["voltage_max_pu"] < 1.0
    assert trajectory.voltage_v[0] / feeder.customer_nominal_v == pytest.approx([0.99, 0.99], abs=0.02)
    of = {limit.name: trajectory.limit_percent[0, k] for k, limit in enumerate(feeder.limits)}
    plain_a = plain_currents_a(master, "Transformer.power")[2:].max()
    assert of["Transformer.POWER phase c"] == pytest.approx(100.0 * plain_a / (25.0 / 0.24), rel=1e-5)


def test_a_loop_is_no_parallel_group(write: Make) -> None:
    """Two stations at the ends of a loop: the nearer one carries most, and equal shares keep it below its rating."""
    text = HEAD + machine("one", "mv l1", 100) + machine("two", "mv l2", 100)
    text += cable("c1", "l1 a") + cable("c2", "l2 a", length_km=1.0)
    text += "".join(LOAD.format(f"a{k}", f"a.{k}", 0.24, 10).replace("0.95", "1") for k in (1, 2, 3)) + END
    feeder = feeders.load(master := write(text))
    (area,) = feeder.areas
    assert (area.transformers, area.rating_kva) == (("ONE", "TWO"), 200.0)
    (cap_kw,) = {round(kw, 3) for kw in controllers.make("equal_share", feeder).decide(None).import_cap_kw}
    (master.parent / "caps.dss").write_text(text.replace(END, f"batchedit load..* kw={cap_kw} kvar=0\n" + END))
    worst_a = plain_currents_a(master.parent / "caps.dss", "Transformer.one")[4:7].max()
    assert 0.8 < worst_a / (100.0 / (np.sqrt(3.0) * 0.416)) < 1.0


def test_phases_are_traced_and_not_read_from_node_numbers(write: Make, make_day: MakeDay) -> None:
    """A joint that turns the phases, and a secondary that is wired the other way round."""
    text = HEAD + machine("t", "mv lv.2.3.1", 100) + cable("c", "lv a") + cable("turned", "a.1.2.3 b.3.1.2")
    text += LOAD.format("a", "a.1", 0.24, 3) + LOAD.format("b", "b.1", 0.24, 5) + END
    feeder = feeders.load(master := write(text))
    # node 1 of the secondary is its third conductor; node 1 of b is joined to node 2 of a, the first
    assert feeder.customer_phases == ((3,), (1,))
    trajectory = as_in_the_file(feeder, make_day)
    plain_a = plain_currents_a(master, "Transformer.t")[4:7]
    assert np.abs(trajectory.transformer_current_a[0]) == pytest.approx(plain_a, rel=1e-6, abs=1e-6)


def test_a_regulator_and_the_station_above_are_watched_too(write: Make, make_day: MakeDay) -> None:
    text = HEAD.replace("basekv=11", "basekv=33") + machine("station", "mv ms", 400, "33 11") + cable("out", "ms r")
    text += (
        "New Transformer.reg windings=2 buses=(r q) conns=(wye wye) kvs=(11 11) kvas=(150 150) xhl=1 %loadloss=0.1\n"
    )
    text += cable("on", "q q2") + machine("t", "q2 lv", 250)
    text += "".join(LOAD.format(f"a{k}", f"lv.{k}", 0.24, 60) for k in (1, 2, 3)) + END.replace("11 0", "33 11 0")
    feeder = feeders.load(master := write(text))
    assert [(area.name, area.parent) for area in feeder.areas] == [("STATION", None), ("T", "STATION")]
    trajectory = as_in_the_file(feeder, make_day)
    of = {(limit.kind, limit.asset): trajectory.limit_percent[0, k] for k, limit in enumerate(feeder.limits)}
    plain_a = plain_currents_a(master, "Transformer.reg")[4:7].max()
    assert of["regulator", "REG"] == pytest.approx(100.0 * plain_a / (150.0 / (np.sqrt(3.0) * 11.0)), rel=1e-5)
    assert of["regulator", "REG"] > 120.0
    assert of["transformer", "STATION"] < of["transformer", "T"] < 100.0
    assert scoreboard(trajectory)["transformer_peak_percent"] == pytest.approx(of["regulator", "REG"], rel=1e-6)
    assert scoreboard(trajectory)["transformer_overload_min"] == 10.0
    assert worst_moments(trajectory)["transformer_peak_percent"]["element"] == "REG"
    assert by_area(trajectory)[0]["area"] == "STATION"  # in which it lies


def test_a_regulator_is_watched_where_the_source_feeds_the_customers(write: Make, make_day: MakeDay) -> None:
    """The only transformer feeds nobody: its zero is not the feeder's loading."""
    text = HEAD + "New Transformer.reg windings=2 buses=(mv q) conns=(wye wye) kvs=(11 11) kvas=(150 150) xhl=1\n"
    text += cable("on", "q q2") + machine("idle", "q2 lv", 250) + cable("c", "lv a")
    text += "New Load.mill bus1=q2 phases=3 kv=11 kw=200 pf=1 vminpu=0.5 vmaxpu=1.5\n" + END
    trajectory = as_in_the_file(feeders.load(master := write(text)), make_day)
    board = scoreboard(trajectory)
    plain_a = plain_currents_a(master, "Transformer.reg")[4:7].max()
    rated_a = 150.0 / (np.sqrt(3.0) * 11.0)
    assert board["transformer_peak_percent"] == pytest.approx(100.0 * plain_a / rated_a, rel=1e-5)
    assert board["transformer_peak_kva"] == pytest.approx(200.0, rel=0.01)
    assert [(row["area"], row["transformer_overload_min"]) for row in by_area(trajectory)] == [
        ("source", 10.0), ("IDLE", 0.0),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["equal_share", "dimming"])
def test_rules_hold_every_area(write: Make, make_day: MakeDay, make_sessions: Make, name: str) -> None:
    text = HEAD + machine("big", "mv lv1", 63) + machine("small", "mv lv2", 25)
    text += cable("c1", "lv1 x") + cable("c2", "lv2 y", 30.0)
    text += "".join(LOAD.format(f"x{k}", f"x.{k % 3 + 1}", 0.23, 1) for k in range(6))
    text += "".join(LOAD.format(f"y{k}", f"y.{k % 3 + 1}", 0.23, 1) for k in range(6)) + END
    feeder = feeders.load(write(text))
    cars = make_sessions(*[(home, 0.0, 239.0, 20.0, 7.4) for home in range(12)])
    day = make_day(feeder, 48, demand_kw=0.3, sessions=cars)
    free, held = (
        run(feeder, day, controllers.make(which, feeder), behaviour=Behaviour("immediate")) for which in ("none", name)
    )
    rows = {limit.name: k for k, limit in enumerate(feeder.limits)}
    cable_a = rows["Line.C2 phase a"]
    assert free.limit_percent[:, cable_a].max() > 150.0
    settled = held.limit_percent[2:]
    assert settled.max() <= (102.0 if name == "equal_share" else 170.0)
    if name == "dimming":  # 4.2 kW are kept
        limited = np.isfinite(held.ev_limit_kw).any(axis=0)
        assert limited[6:].all()
    else:  # the larger station's homes may draw more
        assert held.import_cap_kw[0, 0] > 1.5 * held.import_cap_kw[0, 6]


def test_a_controller_of_one_limit_refuses_a_feeder_of_several(write: Make) -> None:
    feeder = feeders.load(write(TWO))
    with pytest.raises(InputError, match=r"cannot hold: Transformer\.SMALL"):
        controllers.make("bilevel_caps", feeder)


def test_what_a_machine_is_rated_for_is_no_nominal_voltage(write: Make) -> None:
    """240.2 V for 230 V would hide every voltage between 253 and 264 V."""
    rated_kv = 0.416 / np.sqrt(3.0)
    text = HEAD + machine("t", "mv lv", 100) + cable("c", "lv a") + LOAD.format("a", "a.1", f"{rated_kv:.6f}", 3) + END
    feeder = feeders.load(write(text))
    assert feeder.nominal_voltage_v == 230.0
    assert any("rated 240.2 V as the transformer is: nominal is 230 V" in warning for warning in feeder.warnings)


def test_the_neutral_of_four_wires_is_a_limit_of_its_own(write: Make, make_day: MakeDay) -> None:
    wires = "|".join(" ".join(["0"] * k + ["0.3"]) for k in range(4))
    text = HEAD + machine("t", "mv lv.1.2.3.4", 100) + "New Reactor.earth bus1=lv.4 phases=1 r=1e-3 x=0\n"
    text += f"New Line.c bus1=lv.1.2.3.4 bus2=a.1.2.3.4 phases=4 rmatrix=[{wires}] xmatrix=[{wires}] length=0.1 "
    text += "cmatrix=[0|0 0|0 0 0|0 0 0 0] units=km normamps=100 emergamps=100\n"
    text += LOAD.format("a", "a.1.4", 0.23, 6) + LOAD.format("b", "a.2.4", 0.23, 6) + END
    feeder = feeders.load(master := write(text))
    trajectory = as_in_the_file(feeder, make_day)
    of = {limit.name: trajectory.limit_percent[0, k] for k, limit in enumerate(feeder.limits)}
    assert of["Line.C phase n"] == pytest.approx(plain_currents_a(master, "Line.c")[3], rel=1e-6)
    assert of["Line.C phase n"] > 20.0
    free = Setpoints.free(2)
    assert controllers.make("equal_share", feeder).decide(None).import_cap_kw.max() < free.import_cap_kw.max()
    three = text.replace(LOAD.format("b", "a.2.4", 0.23, 6), "New Load.b bus1=a.1.2.3.4 phases=3 kv=0.4 kw=6 pf=1\n")
    feeder = feeders.load(write(three))
    (neutral,) = [k for k, limit in enumerate(feeder.limits) if limit.phase == "n"]
    assert feeder.limit_share[neutral] == pytest.approx([1.0, 0.0], abs=1e-3)  # a balanced home needs no neutral


def test_a_transformer_may_be_called_like_a_line(write: Make, make_day: MakeDay) -> None:
    text = HEAD + machine("one", "mv lv", 25) + cable("one", "lv a", 50.0) + LOAD.format("a", "a.1", 0.23, 7) + END
    feeder = feeders.load(master := write(text))
    trajectory = as_in_the_file(feeder, make_day)
    of = {limit.kind: trajectory.limit_percent[0, k] for k, limit in enumerate(feeder.limits) if limit.phase == "a"}
    plain_a = plain_currents_a(master, "Transformer.one")[4]
    assert of["transformer"] == pytest.approx(100.0 * plain_a / (25.0 / (np.sqrt(3.0) * 0.416)), rel=1e-6)
    assert of["line"] == pytest.approx(100.0 * plain_currents_a(master, "Line.one")[0] / 50.0, rel=1e-6)
