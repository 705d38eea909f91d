"""The rules against figures worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosim import Behaviour, feeders, run
from cosim.contract import Feeder, Forecast, Observation, Setpoints, TransformerSpec
from cosim.controllers.rules.dimming import Dimming
from cosim.controllers.rules.droop import STANDARDS, Droop
from cosim.controllers.rules.equal_share import EqualShare
from cosim.controllers.rules.even import Even
from cosim.controllers.rules.none import NoControl
from cosim.controllers.rules.on_arrival import OnArrival
from cosim.errors import InputError

Make = Callable[..., Any]


def with_rating(feeder: Feeder, machine_a: float, cable_a: float) -> Feeder:
    """The same feeder with other ratings of transformer and head line."""
    rating = {feeder.transformer: machine_a, feeder.head_line: cable_a}
    branches = tuple(
        replace(branch, rating_a=rating.get(branch.name, branch.rating_a)) for branch in feeder.network.branches
    )
    limits = tuple(
        replace(limit, rating_a=rated, conductors=((limit.asset, limit.conductors[0][1], rated),))
        for limit in feeder.limits
        if np.isfinite(rated := rating[limit.asset])
    )
    return replace(feeder, network=replace(feeder.network, branches=branches), limits=limits)


def with_phases(feeder: Feeder, *phases: tuple[int, ...]) -> Feeder:
    """The same feeder with its customers on other phases."""
    bus = {int(feeder.network.node_names[node].split(".")[1]): node for (node,) in feeder.customer_nodes}
    nodes = tuple(tuple(bus[phase] for phase in of_home) for of_home in phases)
    return replace(feeder, customer_phases=phases, customer_nodes=nodes, customer_ends=())


@pytest.mark.parametrize(("machine_a", "cable_a"), [(100.0, 180.0), (144.0, 100.0), (np.nan, 100.0), (100.0, np.nan)])
def test_equal_share_divides_the_smaller_limit(two_bus: Feeder, machine_a: float, cable_a: float) -> None:
    feeder = with_rating(two_bus, machine_a, cable_a)
    assert EqualShare(feeder).cap_kw.tolist() == pytest.approx([23.0] * 3)  # 100 A x 230 V, one home a phase
    assert EqualShare(with_phases(feeder, (1,), (1,), (2,))).cap_kw.tolist() == pytest.approx([11.5, 11.5, 23.0])
    assert EqualShare(feeder, margin_percent=10.0).cap_kw.tolist() == pytest.approx([20.7] * 3)


def test_a_three_phase_home_counts_a_third_on_each_phase(two_bus: Feeder) -> None:
    feeder = with_phases(with_rating(two_bus, 100.0, 180.0), (1,), (2,), (1, 2, 3))
    cap_kw = EqualShare(feeder).cap_kw
    np.testing.assert_allclose(cap_kw, 23.0 / (4.0 / 3.0))
    assert (cap_kw @ feeder.phase_matrix <= 23.0 + 1e-9).all()


def test_equal_share_keeps_the_limit_whatever_the_phases(european_lv: Feeder) -> None:
    cap_kw = EqualShare(european_lv).cap_kw
    limit_kw = european_lv.phase_limit_a * 0.23
    assert european_lv.phase_limit_a == 179.0  # the cable binds before the 160 kVA machine
    np.testing.assert_allclose(cap_kw @ european_lv.phase_matrix, limit_kw)


def test_equal_share_announces_its_caps(two_bus: Feeder, make_day: Make) -> None:
    controller = EqualShare(two_bus)
    controller.plan(Forecast("oracle", make_day(two_bus, 5)))
    published = controller.decide(None).published_cap_kw  # type: ignore[arg-type]
    assert published is not None
    np.testing.assert_array_equal(published, np.tile(controller.cap_kw, (5, 1)))


@pytest.mark.parametrize("kind", [EqualShare, Dimming])
def test_without_any_rating_they_refuse_and_name_what_is_missing(two_bus: Feeder, kind: type) -> None:
    with pytest.raises(InputError) as refused:
        kind(with_rating(two_bus, np.nan, np.nan))
    assert [fault.key for fault in refused.value.faults] == ["Transformer.TR1 kVAs", "Line.LINE1 NormAmps"]
    with pytest.raises(InputError) as refused:
        kind(replace(with_rating(two_bus, np.nan, np.nan), transformer=None, head_line=None))
    assert [fault.key for fault in refused.value.faults] == ["transformer", "head_line"]


def test_options_out_of_range_are_refused(two_bus: Feeder) -> None:
    with pytest.raises(InputError, match="margin_percent: is nan"):
        EqualShare(two_bus, margin_percent=float("nan"))
    with pytest.raises(InputError) as refused:
        Dimming(two_bus, trigger_percent=0.0, release_percent=95.0, hold_min=-1.0)
    assert [fault.key for fault in refused.value.faults] == ["trigger_percent", "release_percent", "hold_min"]
    with pytest.raises(InputError, match="use one of as_nzs_4777_2_australia_a, vde_ar_n_4105"):
        Droop(two_bus, standard="ieee")


@pytest.fixture
def observe(two_bus: Feeder, make_day: Make, make_sessions: Make, scripted: Make) -> Callable[..., Observation]:
    """An observation with given currents and charging; homes that import 5 kW, with 11 kW chargers."""
    witness = scripted(Setpoints.free(3))
    cars = make_sessions(*[(home, 0.0, 999.0, 50.0, 11.0) for home in range(3)])
    run(two_bus, make_day(two_bus, 1, demand_kw=5.0, sessions=cars), witness)
    (seen,) = witness.seen

    def make(
        current_a: Any, ev_kw: Any = 0.0, net_kw: Any = 5.0, head_a: Any = 0.0, feeder: Feeder | None = None
    ) -> Observation:
        feeder = feeder or with_rating(two_bus, 100.0, 180.0)

        def three(value: Any) -> np.ndarray:
            return np.broadcast_to(np.asarray(value, float), (3,))

        machine_a, cable_a = (feeder.network.branch(name).rating_a for name in ("TR1", "LINE1"))
        percent = 100.0 * np.concatenate([three(current_a) / machine_a, three(head_a) / cable_a])
        return replace(seen, limit_percent=percent, ev_kw=three(ev_kw), net_kw=three(net_kw), voltage_v=three(230.0))

    return make


FREE = [np.inf] * 3


def test_dimming_acts_on_the_phase_that_is_over_its_limit(two_bus: Feeder, observe: Make) -> None:
    feeder = with_rating(two_bus, 100.0, 180.0)
    controller = Dimming(feeder)
    assert controller.every_step
    assert controller.decide(observe([99.0, 99.0, 99.0])).ev_limit_kw.tolist() == FREE
    setpoints = controller.decide(observe([99.0, 101.0, 50.0]))
    assert setpoints.ev_limit_kw.tolist() == [np.inf, 4.2, np.inf]
    assert setpoints.import_cap_kw.tolist() == setpoints.pv_limit_kw.tolist() == FREE  # households are not touched


def test_dimming_watches_the_head_line_too(two_bus: Feeder, observe: Make) -> None:
    feeder = with_rating(two_bus, 300.0, 180.0)
    seen = observe(200.0, head_a=[179.0, 181.0, 0.0], feeder=feeder)
    assert Dimming(feeder).decide(seen).ev_limit_kw.tolist() == [np.inf, 4.2, np.inf]


def test_dimming_a_three_phase_charger_where_any_of_its_phases_is_over(two_bus: Feeder, observe: Make) -> None:
    feeder = with_phases(with_rating(two_bus, 100.0, 180.0), (1,), (2,), (1, 2, 3))
    assert Dimming(feeder).decide(observe([0.0, 101.0, 0.0])).ev_limit_kw.tolist() == [np.inf, 4.2, 4.2]


def test_an_overload_by_generation_is_not_dimmed(two_bus: Feeder, observe: Make) -> None:
    controller = Dimming(with_rating(two_bus, 100.0, 180.0))
    assert controller.decide(observe(150.0, net_kw=-30.0)).ev_limit_kw.tolist() == FREE


def test_release_waits_until_full_power_would_fit_for_the_hold_time(two_bus: Feeder, observe: Make) -> None:
    """An 11 kW charger held at 4.2 kW would add 6.8 kW / 230 V = 29.6 A."""
    controller = Dimming(with_rating(two_bus, 100.0, 180.0), release_percent=90.0, hold_min=15.0)
    held = {"ev_kw": [4.2, 0.0, 0.0]}

    def limited(current_a: float, **given: Any) -> bool:
        return bool(np.isfinite(controller.decide(observe([current_a, 0.0, 0.0], **given)).ev_limit_kw[0]))

    assert limited(120.0, ev_kw=[11.0, 0.0, 0.0])
    assert limited(61.0, **held)  # 61 + 29.6 is more than 90 A
    assert limited(60.0, **held)  # fits: 5 minutes
    assert limited(60.0, **held)  # 10
    assert limited(61.0, **held)  # does not: begin again
    assert limited(60.0, **held)
    assert limited(60.0, **held)
    assert not limited(60.0, **held)  # 15 minutes
    assert not limited(99.0)  # below the trigger it stays released
    assert limited(101.0)
    # a car that draws less than its limit would not draw more without it
    assert limited(89.0, ev_kw=[2.0, 0.0, 0.0])
    assert limited(89.0, ev_kw=[2.0, 0.0, 0.0])
    assert not limited(89.0, ev_kw=[2.0, 0.0, 0.0])


def test_a_new_plan_forgets_what_was_dimmed(two_bus: Feeder, observe: Make, make_day: Make) -> None:
    controller = Dimming(with_rating(two_bus, 100.0, 180.0))
    controller.decide(observe(150.0))
    controller.plan(Forecast("oracle", make_day(two_bus, 1)))
    assert controller.decide(observe(95.0)).ev_limit_kw.tolist() == FREE


def test_a_dimmed_charger_keeps_six_amperes_where_they_are_more_than_4_2_kw(two_bus: Feeder, observe: Make) -> None:
    feeder = with_phases(with_rating(two_bus, 100.0, 180.0), (1,), (2,), (1, 2, 3))
    feeder = replace(feeder, customer_nominal_v=np.full(3, 240.0))
    assert Dimming(feeder).decide(observe(150.0)).ev_limit_kw.tolist() == pytest.approx([4.2, 4.2, 4.32])


def test_dimming_in_the_loop_never_takes_more_than_it_may(two_bus: Feeder, make_day: Make, make_sessions: Make) -> None:
    feeder = with_rating(two_bus, 40.0, 180.0)  # 9.2 kW a phase
    cars = make_sessions((0, 10.0, 120.0, 12.0, 11.0), (1, 10.0, 120.0, 12.0, 3.7), (2, 40.0, 120.0, 4.0, 11.0))
    day = make_day(feeder, 24, demand_kw=1.0, sessions=cars)
    trajectory = run(feeder, day, Dimming(feeder), behaviour=Behaviour("immediate"))
    fast, small = trajectory.ev_kw[:, 0], trajectory.ev_kw[:, 1]
    assert fast[2:4].tolist() == pytest.approx([11.0, 4.2])  # seen one step later, then dimmed
    assert small[2:10].tolist() == pytest.approx([3.7] * 8)  # not above 4.2 kW, so not touched
    limits = trajectory.ev_limit_kw
    assert limits[np.isfinite(limits)].tolist() == [4.2] * int(np.isfinite(limits).sum())
    assert (np.abs(trajectory.transformer_current_a[3:8, 0]) < 40.0).all()
    # one step at 11 kW and 21 at 4.2 kW: its full power never fits; 22 steps at 3.7 kW; all that it wanted
    served_kwh = [0.9 * (11.0 + 21 * 4.2) / 12, 0.9 * 22 * 3.7 / 12, 4.0]
    assert trajectory.delivered_kwh.tolist() == pytest.approx(served_kwh)


def test_droop_curves_are_those_of_the_standard(two_bus: Feeder) -> None:
    curves = Droop(two_bus).curves
    assert curves.pv_volt_watt is not None
    assert curves.pv_volt_var is not None
    assert curves.ev_volt_watt is not None
    volts = np.array([200.0, 207.0, 213.5, 220.0, 240.0, 249.0, 258.0, 270.0])
    np.testing.assert_allclose(curves.pv_volt_var(volts), [-0.44, -0.44, -0.22, 0.0, 0.0, 0.3, 0.6, 0.6], atol=1e-12)
    np.testing.assert_allclose(
        curves.pv_volt_watt(np.array([240.0, 253.0, 256.5, 260.0, 270.0])), [1, 1, 0.6, 0.2, 0.2]
    )
    np.testing.assert_allclose(curves.ev_volt_watt(np.array([200.0, 207.0, 218.5, 230.0])), [0.1875, 0.1875, 1.0, 1.0])
    assert "AS/NZS 4777.2:2020" in curves.pv_volt_var.source


def test_droop_by_the_german_rule(two_bus: Feeder) -> None:
    small, large = (Droop(two_bus, standard=name).curves for name in ("vde_ar_n_4105", "vde_ar_n_4105_above_4_6_kva"))
    assert small.pv_volt_watt is large.pv_volt_watt is None
    assert small.pv_volt_var is not None
    assert large.pv_volt_var is not None
    at = np.array([0.93, 0.97, 1.03, 1.05, 1.07]) * 230.0
    np.testing.assert_allclose(small.pv_volt_var(at), np.array([-1.0, 0.0, 0.0, 0.5, 1.0]) * 0.31225, atol=1e-5)
    np.testing.assert_allclose(large.pv_volt_var(at), np.array([-1.0, 0.0, 0.0, 0.5, 1.0]) * 0.43589, atol=1e-5)
    assert "VDE-AR-N 4105" in small.pv_volt_var.source


def test_droop_curves_can_be_switched_off_and_scale_with_the_nominal_voltage(two_bus: Feeder) -> None:
    none = Droop(two_bus, pv_volt_watt=False, pv_volt_var=False, ev_volt_watt=False).curves
    assert none.pv_volt_watt is none.pv_volt_var is none.ev_volt_watt is None
    low = Droop(replace(two_bus, nominal_voltage_v=115.0)).curves
    assert low.pv_volt_watt is not None
    assert low.pv_volt_watt.voltage_v == pytest.approx((126.5, 130.0))
    assert STANDARDS["as_nzs_4777_2_australia_a"].ev_volt_watt is None


def test_droop_in_the_loop_lowers_the_voltage(two_bus: Feeder, make_day: Make, scripted: Make) -> None:
    day = make_day(two_bus, 2, pv_available_kw=10.0, inverter_kva=10.0, source_pu=1.07)
    without = run(two_bus, day, scripted(Setpoints.free(3)))
    trajectory = run(two_bus, day, Droop(two_bus))
    assert trajectory.notes == ()
    assert (trajectory.voltage_v < without.voltage_v - 1.0).all()
    assert (trajectory.pv_kvar > 0.5).all()
    assert without.pv_kvar.max() == 0.0


PRICES = np.repeat([0.3, 0.2, 0.1, 0.3], 12)  # four hours
RESPONSES = pytest.mark.parametrize("response", ["cheapest", "immediate"])


@RESPONSES
def test_on_arrival_nobody_waits(two_bus: Feeder, make_day: Make, make_sessions: Make, response: str) -> None:
    """Even homes that ignore caps and would wait for the cheap hour."""
    cars = make_sessions((0, 2.0, 240.0, 4.0, 6.0), (2, 40.0, 240.0, 5.0, 6.0), efficiency=1.0)
    day = make_day(two_bus, 48, sessions=cars, tariff_eur_per_kwh=PRICES)
    noncompliant = Behaviour(response, np.array([True, False, False]))
    drawn_kw = run(two_bus, day, OnArrival(two_bus), behaviour=noncompliant).ev_kw
    assert drawn_kw[:9, 0].tolist() == pytest.approx([6.0 * 0.6, *[6.0] * 7, 2.4])  # three fifths of the first step
    assert drawn_kw[9:, 0].max() == 0.0
    assert drawn_kw[8:18, 2].tolist() == pytest.approx([6.0] * 10)
    waited = run(two_bus, day, NoControl(two_bus), behaviour=noncompliant).ev_kw
    assert (waited[:24].max() == 0.0) == (response == "cheapest")


@RESPONSES
@pytest.mark.parametrize(
    ("need_kwh", "until_min", "hourly_kw"),
    [
        (3.0, 240.0, [0.0, 0.0, 3.0, 0.0]),  # over all of the cheapest hour
        (1.0, 240.0, [0.0, 0.0, 1.0, 0.0]),  # at 6 A it takes less than the hour
        (8.0, 240.0, [0.0, 2.0, 6.0, 0.0]),  # what the cheapest hour cannot hold is spread over the next price
        (16.0, 240.0, [2.0, 6.0, 6.0, 2.0]),  # and over the next, before and after
        (3.0, 150.0, [0.0, 0.0, 3.0, 0.0]),  # it leaves after half of the cheap hour: full power
        (4.5, 150.0, [0.0, 1.5, 3.0, 0.0]),
        (30.0, 240.0, [6.0, 6.0, 6.0, 6.0]),  # more than it can have
    ],
)
def test_even_spreads_over_the_cheapest_hours(
    two_bus: Feeder, make_day: Make, make_sessions: Make, response: str, need_kwh: float, until_min: float,
    hourly_kw: list[float],
) -> None:  # fmt: skip
    day = make_day(
        two_bus, 48, sessions=make_sessions((1, 0.0, until_min, need_kwh, 6.0), efficiency=1.0), demand_kw=0.5,
        tariff_eur_per_kwh=PRICES,
    )  # fmt: skip
    trajectory = run(two_bus, day, Even(two_bus), behaviour=Behaviour(response))
    drawn_kw = trajectory.ev_kw[:, 1]
    assert drawn_kw.reshape(4, 12).mean(axis=1).tolist() == pytest.approx(hourly_kw, abs=0.01)
    running = drawn_kw[drawn_kw > 0.0]
    assert running[:-1].min(initial=6.0) >= 1.38 - 1e-9  # the last step may end early
    level = running.max()
    if need_kwh == 3.0:
        assert running == pytest.approx(level)  # no peak at the beginning or the end


def test_even_reckons_with_the_charging_losses(two_bus: Feeder, make_day: Make, make_sessions: Make) -> None:
    """Of a pace without them a tenth is missing, made up for at the end or never."""
    day = make_day(two_bus, 24, sessions=make_sessions((1, 0.0, 120.0, 7.2, 6.0), efficiency=0.8))
    trajectory = run(two_bus, day, Even(two_bus), behaviour=Behaviour("immediate"))
    np.testing.assert_allclose(trajectory.ev_kw[:, 1], 7.2 / 0.8 / 2.0)
    assert trajectory.delivered_kwh == pytest.approx([7.2])


def test_even_paces_a_car_that_comes_within_a_step_and_one_that_should_have_left(
    two_bus: Feeder, make_day: Make, make_sessions: Make, seen_at: Make
) -> None:
    cars = make_sessions((1, 12.0, 60.0, 3.0, 6.0), efficiency=1.0)
    day = make_day(two_bus, 12, sessions=cars)
    drawn_kw = run(two_bus, day, Even(two_bus), behaviour=Behaviour("immediate")).ev_kw[:, 1]
    assert drawn_kw[2] == pytest.approx(1.38 * 0.6)  # 6 A until it was seen, from minute 12 on
    assert drawn_kw[3:] == pytest.approx((3.0 - 0.069) * 60.0 / 45.0)
    even = Even(two_bus)
    even.plan(Forecast("oracle", day))
    limit_kw = even.decide(seen_at(30.0, h0=(2.0, 30.0), h1=(0.0, 60.0))).ev_limit_kw
    assert limit_kw.tolist() == pytest.approx([7.4, 0.0, 1.38])
    with pytest.raises(InputError, match="plan"):
        Even(two_bus).decide(seen_at(0.0))


FOUR_WIRES = """Clear
Set DefaultBaseFrequency=50
New Circuit.four Bus1=src BasekV=11 pu=1.0
New Transformer.T1 Phases=3 Windings=2 Buses=[src lv.1.2.3.4] Conns=[Delta Wye] kVs=[11 0.4] kVAs=[40 40] %R=0.8 XHL=4
New Reactor.EARTH Phases=1 Bus1=lv.4 Bus2=lv.0 R=0.01 X=0
New Line.L1 Phases=4 Bus1=lv.1.2.3.4 Bus2=home.1.2.3.4 Length=0.2 Units=km NormAmps=200 EmergAmps=200
~ RMatrix=[0.3|0 0.3|0 0 0.3|0 0 0 0.3] XMatrix=[0.1|0 0.1|0 0 0.1|0 0 0 0.1] CMatrix=[0|0 0|0 0 0|0 0 0 0]
New Load.A Phases=1 Bus1=home.1.4 kV=0.23 kW=2 Model=1
New Load.B Phases=1 Bus1=home.2.4 kV=0.23 kW=2 Model=1
New Load.C Phases=1 Bus1=home.3.4 kV=0.23 kW=2 Model=1
New Load.D Phases=1 Bus1=home.3.4 kV=0.23 kW=2 Model=1
New Load.E Phases=3 Bus1=home.1.2.3.4 kV=0.4 kW=6 Model=1
Set VoltageBases=[11 0.4]
CalcVoltageBases
"""


@pytest.fixture
def four_wires(tmp_path: Path) -> Feeder:
    """A neutral of its own, four single-phase homes and one on three phases; 12 kW a phase."""
    (tmp_path / "feeder.toml").write_text("nominal_voltage_v = 230.0\n")
    (tmp_path / "Master.dss").write_text(FOUR_WIRES)
    return feeders.load(tmp_path, transformer=TransformerSpec(36.0))


def test_rules_on_four_wires_with_a_three_phase_home(four_wires: Feeder, make_day: Make, make_sessions: Make) -> None:
    chargers = (7.4, 7.4, 7.4, 7.4, 11.0)
    cars = make_sessions(*[(home, 10.0, 475.0, 20.0, kw) for home, kw in enumerate(chargers)])
    day = make_day(four_wires, 96, demand_kw=0.4, demand_kvar=0.05, sessions=cars)
    rating_a = four_wires.phase_limit_a

    def delivered(controller: Any) -> Any:
        trajectory = run(four_wires, day, controller, behaviour=Behaviour("immediate"))
        assert trajectory.notes == ()
        return trajectory, np.abs(trajectory.transformer_current_a)

    free, free_a = delivered(NoControl(four_wires))
    assert free_a.max(axis=0) == pytest.approx(np.array([51.0, 51.0, 85.0]), abs=5.0)
    assert free_a[:, 2].max() > 1.5 * rating_a

    shared, shared_a = delivered(EqualShare(four_wires, margin_percent=10.0))
    assert (shared_a <= rating_a).all()
    assert shared.net_kw.max() <= EqualShare(four_wires).cap_kw.max()
    # phases 1 and 2 hold a home and a third, phase 3 two homes and a third, and 10 % are kept free
    given_kw = 0.9 * rating_a * 0.230
    small_kw, large_kw = given_kw / (7 / 3), given_kw / (4 / 3)
    assert shared.import_cap_kw[0].tolist() == pytest.approx([large_kw, large_kw, small_kw, small_kw, small_kw])
    assert shared.ev_kw[:, 4].max() == pytest.approx(small_kw - 0.4)  # 4.21 kW, just above 6 A on three phases

    dimmed, dimmed_a = delivered(Dimming(four_wires))
    over = np.flatnonzero(dimmed_a[:, 2] > rating_a)
    assert len(over) <= 2  # seen one step late, then cured: 4.2 + 4.2 + 1.4 kW and 0.9 kW of demand
    assert dimmed.ev_limit_kw[over[-1] + 1].tolist() == [np.inf, np.inf, 4.2, 4.2, 4.2]
    assert dimmed.ev_kw[over[-1] + 1, 4] == pytest.approx(4.2)

    droop, _ = delivered(Droop(four_wires))
    lowered = droop.ev_kw[5] < free.ev_kw[5] - 0.1
    assert lowered.tolist() == (free.voltage_v[5] < 0.95 * 230.0 - 1.0).tolist()
    assert lowered[2:].all()
    assert droop.voltage_v.min() > free.voltage_v.min() + 1.0
    for trajectory in (free, shared, dimmed, droop):
        running = trajectory.ev_kw[5][trajectory.ev_kw[5] > 0]
        assert (running >= np.array([1.38, 1.38, 1.38, 1.38, 4.14])[trajectory.ev_kw[5] > 0] - 1e-6).all()
