"""Chargers on one phase of homes with several: drawn, solved, controlled, read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import opendssdirect
import pytest

import cosim
from cosim import feeders
from cosim.contract import EvSessions, Exogenous, Feeder, Float, OilTransformer
from cosim.controllers import make as make_controller
from cosim.errors import InputError
from cosim.experiments.studies.rephase.moves import with_connections
from cosim.experiments.unbalance_tables import analyse, describe
from cosim.feeders.chargers import THREE_PHASE_KW, with_chargers
from cosim.measures.balance import BALANCE_LIMIT_PERCENT, balance_error_percent, judged
from cosim.measures.minutes import minute_extremes
from cosim.reduced import ReducedNetwork
from cosim.trajectory import Trajectory

STREET = """Clear
Set DefaultBaseFrequency=50
New Circuit.street bus1=mv basekv=11 pu=1.0 isc3=3000 isc1=2500
New Transformer.t windings=2 buses=(mv lv.1.2.3.4) conns=(delta wye) kvs=(11 0.4) kvas=(100 100) xhl=4 %loadloss=1
New Reactor.earth phases=1 bus1=lv.4 r=0.05 x=0
New Line.l1 bus1=lv.1.2.3.4 bus2=b.1.2.3.4 phases=4 r1=0.3 x1=0.1 r0=0.9 x0=0.3 c1=0 c0=0 length=0.2 normamps=120
New Line.l2 bus1=b.1.2.3.4 bus2=c.2.3.1.4 phases=4 r1=0.3 x1=0.1 r0=0.9 x0=0.3 c1=0 c0=0 length=0.1 normamps=120
New Load.three bus1=b.1.2.3.4 phases=3 kv=0.4 kw=4 pf=0.95
New Load.moved bus1=c.1.2.3.4 phases=3 kv=0.4 kw=3 pf=0.95
New Load.one bus1=c.2.4 phases=1 kv=0.2309401 kw=2 pf=0.95
Set voltagebases=[11 0.4]
Calcvoltagebases
Set Tolerance=1e-10 MaxIterations=200
Solve
"""
"""Four wires; at bus c the conductors are rotated, so its terminal 1 is not on phase a."""

SCENARIO = """name = "evening"
feeder = "street.dss"
start = 2026-01-15T17:00:00
horizon_h = 3
[households]
response = "immediate"
[ev]
share = 1.0
single_phase_share = 1.0
[[runs]]
controller = "none"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("street")
    (place / "street.dss").write_text(STREET)
    (place / "evening.toml").write_text(SCENARIO)
    return place


@pytest.fixture(scope="module")
def street(folder: Path) -> Feeder:
    return feeders.load(folder / "street.dss")


def day_of(folder: Path, changes: Sequence[tuple[str, str]] = ()) -> cosim.Day:
    text = SCENARIO
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "changed.toml"
    path.write_text(text)
    return cosim.load(path)


def by_plain_opendss(folder: Path, run: Trajectory, step: int, laws: str) -> Float:
    """Magnitudes of all nodes, from the circuit as a user would write it: home and charger are two loads."""
    dss = opendssdirect.dss.NewContext()
    dss.Text.Command(f'compile "{folder / "street.dss"}"')
    terminal = {"THREE": {1: 1, 2: 2, 3: 3}, "MOVED": {1: 2, 2: 3, 3: 1}}  # of each phase, at the bus of the home
    for row, name in enumerate(run.feeder.customers):
        own = run.feeder.charger_phase[row] if name in terminal else 0
        car_kw = run.ev_kw[step, row]
        home_kw = run.net_kw[step, row] - (car_kw if own else 0.0)
        dss.Text.Command(f"edit Load.{name} kw={home_kw} kvar={run.net_kvar[step, row]} {laws}")
        if own:
            at = f"{run.feeder.customer_bus[row]}.{terminal[name][own]}.4"
            dss.Text.Command(f"new Load.car_{name} bus1={at} phases=1 kv=0.2309401 kw={car_kw} kvar=0 {laws}")
    dss.Solution.Solve()
    assert dss.Solution.Converged()
    names = [name.upper() for name in dss.Circuit.AllNodeNames()]
    volts = dict(zip(names, dss.Circuit.AllBusVMag(), strict=True))
    return np.array([volts[name] for name in run.feeder.network.node_names])


@pytest.mark.parametrize("choice", ["first", "random", "lightest"])
def test_voltages_are_those_of_a_circuit_with_single_phase_loads(folder: Path, choice: str) -> None:
    day = day_of(folder, [("[[runs]]", f'phase_choice = "{choice}"\n[[runs]]')])
    run = day.run("none").trajectory
    step = int(run.ev_kw[:, :2].sum(axis=1).argmax())
    assert run.ev_kw[step, :2].any()
    expected_v = by_plain_opendss(folder, run, step, "model=1 vminpu=0.5 vmaxpu=1.5 vlowpu=0.5")
    assert np.abs(run.node_v[step]) == pytest.approx(expected_v, rel=2e-7, abs=1e-4)
    spread = replace(day.feeder, charger_phase=())
    even = cosim.run(spread, day.exogenous, make_controller("none", spread), label="even")
    assert np.abs(np.abs(even.node_v[step]) - expected_v).max() > 1.0


def test_both_engines_agree_and_the_run_is_valid(folder: Path) -> None:
    day = day_of(folder)
    of_engines = [day.run("none", engine=name).trajectory for name in ("opendss", "reduced")]
    apart_v = np.abs(of_engines[0].node_v - of_engines[1].node_v).max()
    assert apart_v < 1e-6 * day.feeder.nominal_voltage_v
    for run in of_engines:
        assert run.ev_kw[:, :2].any()
        assert not judged(run).invalid
        assert not run.degraded.any()
        assert balance_error_percent(run).max() < BALANCE_LIMIT_PERCENT / 1e3
    # a record that spreads the car over the phases of its home is not what was solved
    spread = replace(of_engines[0], feeder=replace(day.feeder, charger_phase=()))
    assert "devices' records differ" in judged(spread).invalid


def test_steps_are_replayed_with_cars_on_their_phase(folder: Path) -> None:
    day = day_of(folder)
    run = day.run("none", engine="reduced").trajectory
    minutes = replace(
        day.exogenous,
        demand_kw=np.repeat(run.demand_kw, 5, axis=0)
        * np.tile([[0.999], [1.0], [1.0], [1.0], [1.001]], (run.steps, 1)),
    )
    replayed = minute_extremes(run, minutes, ReducedNetwork(day.feeder))
    lowest = (run.terminal_v / run.feeder.customer_nominal_v[run.feeder.terminals[0]]).min()
    assert replayed["voltage_min_1min_pu"] == pytest.approx(lowest, abs=2e-4)
    assert lowest < 0.99


def test_a_collapse_sheds_what_it_cannot_carry(folder: Path) -> None:
    weak = day_of(folder)
    heavy = replace(weak.exogenous, demand_kw=weak.exogenous.demand_kw + 150.0)
    run = cosim.run(weak.feeder, heavy, make_controller("none", weak.feeder), label="heavy", on_collapse="shed")
    assert run.collapses
    assert all(len(one.asked_kw) == 3 + 2 for one in run.collapses)
    assert not judged(run).invalid


def test_least_power_is_of_the_phases_that_are_used(street: Feeder) -> None:
    assert street.charger_min_kw == pytest.approx([4.157, 4.157, 1.386], abs=1e-3)
    wired = replace(street, charger_phase=(2, 0, 0))
    assert wired.charger_min_kw == pytest.approx([1.386, 4.157, 1.386], abs=1e-3)
    assert wired.charger_phase_matrix.tolist()[0] == [0.0, 1.0, 0.0]
    assert wired.limit_share == pytest.approx(street.limit_share)
    head = [row for row, limit in enumerate(wired.limits) if limit.asset == "L1" and limit.phase != "n"]
    assert wired.charger_limit_share[head, 0] == pytest.approx([0.0, 1.0, 0.0], abs=1e-3)


@pytest.mark.parametrize("phase", [1, 2, 3])
def test_equal_caps_hold_where_all_is_drawn_by_the_car(street: Feeder, phase: int) -> None:
    wired = replace(street, charger_phase=(phase, phase, 0))
    caps_kw = make_controller("equal_share", wired).cap_kw  # type: ignore[attr-defined]
    nothing = np.zeros_like(caps_kw)
    for cars in np.ndindex(2, 2):
        cars_kw = np.append(cars, 0.0) * caps_kw
        loads = wired.at_loads(caps_kw, cars_kw)
        network = ReducedNetwork(wired)
        node_v = network.solve(loads[None], wired.at_loads(nothing, nothing)[None]).node_v
        currents = wired.limit_currents.percent(node_v)[0]
        # below nominal voltage the same power is more current, which the margin is for
        lowest_pu = np.abs(wired.load_ports.T @ node_v[0]) / wired.port_nominal_v
        assert currents.max() < 100.1 / lowest_pu.min()
    assert caps_kw[:2].max() < make_controller("equal_share", street).cap_kw[:2].max()  # type: ignore[attr-defined]


def test_drawn_chargers_are_nested_and_rated_by_their_phases(street: Feeder) -> None:
    many = replace(street, charger_phase=())
    half = with_chargers(many, 0.5, "random", None, np.random.default_rng(4)).charger_phase
    wired = with_chargers(many, 0.5, "random", None, np.random.default_rng(4))
    assert with_chargers(wired, 0.5, "random", None, np.random.default_rng(4)) is wired  # week after week
    whole = with_chargers(many, 1.0, "random", None, np.random.default_rng(4)).charger_phase
    assert [sum(map(bool, phases)) for phases in (half, whole)] == [1, 2]
    assert all(one in (0, other) for one, other in zip(half, whole, strict=True))
    assert with_chargers(many, 1.0, "first", None, np.random.default_rng(4)).charger_phase == (1, 3, 0)
    # phase 1 carries the single-phase home, so 2 and 3 are lightest
    used = with_chargers(many, 1.0, "lightest", None, np.random.default_rng(4)).charger_phase
    assert sorted(used) == [0, 2, 3]


def test_three_phases_have_eleven_kilowatts_only_where_asked(folder: Path) -> None:
    said = day_of(folder, [("single_phase_share = 1.0", "single_phase_share = 0.5")])
    silent = day_of(folder, [("single_phase_share = 1.0\n", "")])
    rated = said.exogenous.sessions, silent.exogenous.sessions
    pairs = zip(said.feeder.charger_phase, said.feeder.customers, strict=True)
    wide = np.array([not phase and name != "ONE" for phase, name in pairs])[rated[0].customer]
    assert wide.any()
    assert (rated[0].charger_kw[wide] == THREE_PHASE_KW).all()
    assert np.array_equal(rated[0].charger_kw[~wide], rated[1].charger_kw[~wide])
    assert np.array_equal(rated[0].energy_need_kwh, rated[1].energy_need_kwh)
    assert not len(silent.feeder.spurs[0])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("THREE,2026-01-15T17:00,2026-01-15T19:00,5,7.4,2\nONE,2026-01-15T17:00,2026-01-15T19:00,2,7.4,\n", ""),
        ("ONE,2026-01-15T17:00,2026-01-15T19:00,5,7.4,3\n", "is no phase of this home"),
        ("THREE,2026-01-15T17:00,2026-01-15T19:00,5,7.4,4\n", "is no phase of this home"),
        (
            "THREE,2026-01-15T17:00,2026-01-15T18:00,2,7.4,2\nTHREE,2026-01-15T18:30,2026-01-15T19:30,2,7.4,3\n",
            "differs",
        ),
        ("THREE,2026-01-15T17:00,2026-01-15T18:00,2,7.4,b\n", "charger_phase"),
    ],
)
def test_own_sessions_say_the_phase(folder: Path, rows: str, said: str) -> None:
    (folder / "cars.csv").write_text(f"customer,arrival,departure,energy_kwh,charger_kw,charger_phase\n{rows}")
    changes = [("share = 1.0\nsingle_phase_share = 1.0", 'sessions = "cars.csv"')]
    if said:
        with pytest.raises(InputError, match=said) as caught:
            day_of(folder, changes)
        assert "cars.csv" in str(caught.value)
    else:
        day = day_of(folder, changes)
        assert dict(zip(day.feeder.customers, day.feeder.charger_phase, strict=True))["THREE"] == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([("single_phase_share = 1.0", "single_phase_share = 1.5")], "ev.single_phase_share"),
        ([("single_phase_share = 1.0", 'phase_choice = "first"')], "without single_phase_share"),
        ([("single_phase_share = 1.0", 'single_phase_share = 1.0\nphase_choice = "a"')], "ev.phase_choice"),
        ([("share = 1.0\nsingle", 'sessions = "cars.csv"\nsingle')], "own sessions"),
    ],
)
def test_bad_keys_are_named(folder: Path, changes: list[tuple[str, str]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        day_of(folder, changes)


def test_a_feeder_refuses_phases_that_homes_do_not_have(street: Feeder) -> None:
    with pytest.raises(InputError, match="connected on 1"):
        replace(street, charger_phase=tuple(2 if len(on) == 1 else 0 for on in street.customer_phases))
    with pytest.raises(InputError, match="1 phases for 3 customers"):
        replace(street, charger_phase=(1,))


def test_planners_that_spread_cars_are_named(folder: Path) -> None:
    more = "".join(f'[[runs]]\ncontroller = "{name}"\n' for name in ("even", "bilevel_caps", "bilevel_caps"))
    safe = 'label = "safe"\noptions = { coordination = "sum_of_caps" }'
    day = day_of(folder, [('controller = "none"', f'controller = "pareto"\n{more}{safe}')])
    told = [warning for warning in day.warnings if "evenly on the phases" in warning]
    assert len(told) == 1
    assert told[0].startswith("pareto, safe reckons")


def test_caps_know_on_which_phase_a_car_charges(tmp_path: Path, make_day: Callable[..., Exogenous]) -> None:
    """Both homes of three phases charge on the second, where 20 A leave 4 kW; evenly there would be room for both."""
    (tmp_path / "street.dss").write_text(STREET.replace("normamps=120", "normamps=20"))
    even = feeders.load(tmp_path / "street.dss")
    wired = replace(even, charger_phase=(2, 2, 0))
    cars = EvSessions(
        customer=np.arange(2), arrival_min=np.zeros(2), departure_min=np.full(2, 120.0),
        energy_need_kwh=np.full(2, 3.5), charger_kw=np.full(2, 3.7), efficiency=np.ones(2),
        battery_kwh=np.full(2, 40.0), soc_arrival_kwh=np.zeros(2),
    )  # fmt: skip
    day = make_day(wired, 24, demand_kw=0.3, demand_kvar=0.0, sessions=cars)
    highest_a = {}
    for name, feeder in (("wired", wired), ("even", even)):
        caps = make_controller("bilevel_caps", feeder, predictor=ReducedNetwork(feeder), replan_min=0.0)
        run = cosim.run(wired, day, caps, engine="reduced", step_min=5, control_min=5)
        head = [line.name for line in run.rated_lines].index("L1")
        highest_a[name] = np.abs(run.line_current_a[:, head]).max()
        assert run.ev_kw.sum() * 5.0 / 60.0 == pytest.approx(7.0, abs=0.05)
    assert highest_a["wired"] <= 20.0 < 25.0 < highest_a["even"]


def test_sessions_go_through_a_run_under_every_rule(folder: Path) -> None:
    day = day_of(folder)
    for name in ("even", "equal_share", "dimming", "droop"):
        run = day.run(name).trajectory
        assert isinstance(run.exogenous.sessions, EvSessions)
        assert not judged(run).invalid


def test_cars_stay_at_constant_power_beside_homes_that_follow_their_voltage(folder: Path) -> None:
    model = "load_model = { p = [1.0, 0.0, 0.0], q = [1.0, 0.0, 0.0] }\n"
    run = day_of(folder, [("[ev]\nshare", f"{model}[ev]\nshare")]).run("none").trajectory
    assert run.ev_kw[:, :2].any()
    assert not judged(run).invalid
    assert not run.degraded.any()


def sunny_day(folder: Path, sun_kw: float, charger_kw: float) -> tuple[Feeder, cosim.Exogenous]:
    """Homes of three phases whose sun covers, at the meter, what the car draws from phase 1."""
    day = day_of(folder)
    several = np.array([len(on) > 1 for on in day.feeder.customer_phases])
    feeder = replace(day.feeder, charger_phase=tuple(several.astype(int).tolist()))
    steps, sessions = day.exogenous.steps, day.exogenous.sessions
    exogenous = replace(
        day.exogenous,
        pv_available_kw=np.tile(sun_kw * several, (steps, 1)),
        inverter_kva=sun_kw * several,
        sessions=replace(sessions, charger_kw=np.full(len(sessions), charger_kw)),
    )
    return feeder, exogenous


def test_equal_caps_hold_where_own_sun_hides_the_car(folder: Path) -> None:
    feeder, exogenous = sunny_day(folder, 10.0, 40.0)
    controller = make_controller("equal_share", feeder)
    run = cosim.run(feeder, exogenous, controller, label="sunny")
    row = [(limit.asset, limit.phase) for limit in feeder.limits].index(("T", "a"))
    assert run.ev_kw[:, :2].any()
    assert run.limit_percent[:, row].max() < 105.0
    assert (run.ev_kw[:, :2] <= controller.cap_kw[:2] + 1e-9).all()  # type: ignore[attr-defined]


def test_dimming_looks_at_the_phase_and_not_at_the_meter(folder: Path) -> None:
    feeder, exogenous = sunny_day(folder, 50.0, 40.0)
    sessions, nobody = exogenous.sessions, np.array([1.0, 1.0, 0.0])
    exogenous = replace(
        exogenous, demand_kw=exogenous.demand_kw * nobody, sessions=sessions[np.flatnonzero(sessions.customer < 2)]
    )
    limits = tuple(
        replace(limit, conductors=tuple((name, place, 40.0) for name, place, _ in limit.conductors), rating_a=40.0)
        for limit in feeder.limits
    )
    feeder = replace(feeder, limits=limits)
    controller = make_controller("dimming", feeder)
    run = cosim.run(feeder, exogenous, controller, label="sunny")
    first = int(run.ev_kw[:, :2].max(axis=1).argmax())
    assert (run.net_kw[first, :2] < 0.0).all()  # both homes feed in, and yet phase 1 is overloaded by what they draw
    a, b = ([(limit.asset, limit.phase) for limit in limits].index(("T", phase)) for phase in "ab")
    assert run.limit_percent[first, [a, b]].min() > 100.0
    assert np.isinf(run.ev_limit_kw[first, :2]).all()
    assert run.ev_limit_kw[first + 1, :2].tolist() == pytest.approx([4.2, 4.2])


def test_dimming_leaves_chargers_of_other_phases_alone(folder: Path) -> None:
    stepper = cosim.Stepper(day_of(folder), engine="reduced")
    feeder = replace(day_of(folder).feeder, charger_phase=(1, 2, 0))
    seen = stepper.reset()
    over = np.array([100.0 + 50.0 * (limit.phase == "b") for limit in feeder.limits])
    observation = replace(seen, limit_percent=over, net_kw=np.full(3, 9.0), ev_kw=np.full(3, 7.0))
    limit_kw = make_controller("dimming", feeder).decide(observation).ev_limit_kw
    assert limit_kw.tolist() == pytest.approx([np.inf, 4.2, np.inf])


def test_a_charger_answers_the_voltage_of_its_own_phase(folder: Path) -> None:
    day = day_of(folder)
    feeder = replace(day.feeder, charger_phase=(2, 2, 0))
    sessions = day.exogenous.sessions
    exogenous = replace(
        day.exogenous,
        source_pu=np.full(day.exogenous.steps, 0.97),
        sessions=replace(sessions, charger_kw=np.full(len(sessions), 7.4)),
        # phase 1 is the lowest, and it is not where these cars are
        demand_kw=day.exogenous.demand_kw + np.array([0.0, 0.0, 12.0]),
    )
    controller = make_controller("droop", feeder)
    run = cosim.run(feeder, exogenous, controller, label="droop")
    own_v = np.abs(run.node_v @ feeder.load_ports)[:, feeder.spurs[1]]
    curve = controller.curves.ev_volt_watt  # type: ignore[attr-defined]
    of_own_kw, of_meter_kw = (curve(volts) * 7.4 for volts in (own_v, run.voltage_v[:, :2]))
    assert (run.ev_kw[:, :2] <= of_own_kw + 0.05).all()
    step, home = np.unravel_index(run.ev_kw[:, :2].argmax(), of_own_kw.shape)
    assert run.ev_kw[step, home] == pytest.approx(of_own_kw[step, home], abs=0.05)
    assert of_meter_kw[step, home] < of_own_kw[step, home] - 0.5


def test_a_home_of_one_phase_takes_its_charger_along(folder: Path) -> None:
    thermal, judge = OilTransformer(top_oil_rise_k=40.0), "ansi_c84_1"
    loaded = feeders.load(folder / "street.dss", standard=judge, thermal=thermal, taps="controlled")
    wired = replace(loaded, charger_phase=(2, 3, 1))
    moved = with_connections(wired, [cosim.Connection("ONE", "C", (3,), 4)])
    assert moved.customer_phases[2] == (2,)
    assert moved.charger_phase == (2, 3, 0)
    assert (moved.standard.name, moved.thermal, moved.taps) == (judge, thermal, "controlled")


def test_causes_say_where_the_charger_is(folder: Path) -> None:
    day = day_of(folder)
    run = day.run("none").trajectory
    found = analyse(run)
    column = dict(zip(found.causes["customer"], found.causes["charger_phase"], strict=True))
    assert column == {
        name: str(phase or "") for name, phase in zip(day.feeder.customers, day.feeder.charger_phase, strict=True)
    }
    assert "charger on" in describe(found)[-1]
    assert "charger_phase" not in analyse(replace(run, feeder=replace(day.feeder, charger_phase=()))).causes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([("share = 1.0\nsingle", "single")], "there are no cars"),
        ([("share = 1.0\nsingle_phase_share = 1.0", "share = 1.0\nsingle_phase_share = 0.1")], "2 homes have several"),
    ],
)
def test_a_share_that_changes_nothing_is_told(folder: Path, changes: list[tuple[str, str]], said: str) -> None:
    told = [warning for warning in day_of(folder, changes).warnings if "single_phase_share" in warning]
    assert len(told) == 1
    assert said in told[0]


def test_a_charger_on_one_phase_has_that_phase_of_the_connection(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "street.dss").write_text(STREET)
    (tmp_path / "feeder.toml").write_text("connection_kw_per_phase = 3.0\n")
    over = [warning for warning in day_of(tmp_path).warnings if warning.startswith("chargers of")]
    assert len(over) == 1
    assert "7.4 kW at 3 kW on its phase" in over[0]


TWO_TRANSFORMERS = """Clear
Set DefaultBaseFrequency=50
New Circuit.two bus1=mv basekv=11 pu=1.0 isc3=3000 isc1=2500
New Transformer.t1 windings=2 buses=(mv lv1) conns=(delta wye) kvs=(11 0.4) kvas=(25 25) xhl=4 %loadloss=1
New Transformer.t2 windings=2 buses=(mv lv2) conns=(delta wye) kvs=(11 0.4) kvas=(25 25) xhl=4 %loadloss=1
New Load.left bus1=lv1.3.1.2 phases=3 kv=0.4 kw=4 pf=0.95
New Load.left_one bus1=lv1.1 phases=1 kv=0.2309401 kw=2 pf=0.95
New Load.left_two bus1=lv1.2 phases=1 kv=0.2309401 kw=2 pf=0.95
New Load.right_three bus1=lv2.3 phases=1 kv=0.2309401 kw=2 pf=0.95
New Load.right_too bus1=lv2.3 phases=1 kv=0.2309401 kw=2 pf=0.95
New Load.works bus1=mv phases=3 kv=11 kw=30 pf=0.95
Set voltagebases=[11 0.4]
Calcvoltagebases
Solve
"""


def test_lightest_is_behind_the_home_s_own_transformer(tmp_path: Path) -> None:
    (tmp_path / "street.dss").write_text(TWO_TRANSFORMERS)
    feeder = feeders.load(tmp_path / "street.dss")
    chosen = with_chargers(feeder, 1.0, "lightest", None, np.random.default_rng(1)).charger_phase
    # phase 3 is the one with most homes of all, and none of them is here; works at medium voltage own no charger
    assert dict(zip(feeder.customers, chosen, strict=True)) == {**dict.fromkeys(feeder.customers, 0), "LEFT": 3}


def test_a_customer_at_the_bus_of_the_source_is_not_blamed_for_it(tmp_path: Path) -> None:
    (tmp_path / "street.dss").write_text(TWO_TRANSFORMERS)
    run = day_of(tmp_path).run("none").trajectory
    assert not run.degraded.any()
    assert not judged(run).invalid


SPLIT_PHASE = """Clear
Set DefaultBaseFrequency=60
New Circuit.split bus1=mv basekv=7.2 phases=1 pu=1.0 isc3=3000 isc1=2500
New Transformer.t phases=1 windings=3 buses=(mv.1 lv.1.0 lv.0.2) kvs=(7.2 0.12 0.12) kvas=(25 25 25) xhl=2 xht=2 xlt=1
New Load.both bus1=lv.1.2 phases=2 kv=0.208 kw=4 pf=0.95
Set voltagebases=[12.47 0.208]
Calcvoltagebases
Solve
"""


def test_two_halves_of_a_winding_are_one_phase(tmp_path: Path) -> None:
    (tmp_path / "split.dss").write_text(SPLIT_PHASE)
    feeder = feeders.load(tmp_path / "split.dss")
    assert feeder.customer_phases == ((1, 1),)
    assert with_chargers(feeder, 1.0, "random", None, np.random.default_rng(1)).charger_phase == ()
    assert not len(replace(feeder, charger_phase=(1,)).spurs[0])
