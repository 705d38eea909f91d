"""Laws that hold whatever the day: energy is conserved, time steps do not matter, chance is repeatable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosim import Behaviour, Trajectory, controllers, run
from cosim.contract import Exogenous, Feeder, Setpoints
from cosim.measures import scoreboard
from cosim.measures.balance import valid
from cosim.network import branch_losses_kw, terminal_currents

Make = Callable[..., Any]
SEEDS = st.integers(0, 2**32 - 1)
RULES = ("none", "on_arrival", "even", "equal_share", "dimming", "droop")

law = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,  # the same examples everywhere: a failure can be found again
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def day_of(feeder: Feeder, make: Make, seed: int) -> Exogenous:
    """A random day of six hours on two_bus, from idle to overloaded."""
    rng = np.random.default_rng(seed)
    day = make(feeder, seed, minutes=360, start_h=rng.choice([10.0, 14.0, 21.0]))  # sun, a dear and a cheap evening
    return replace(day, demand_kw=day.demand_kw * rng.uniform(0.0, 12.0), source_pu=rng.uniform(0.95, 1.08, day.steps))


@law
@given(seed=SEEDS, name=st.sampled_from(RULES), response=st.sampled_from(["cheapest", "immediate"]))
def test_power_balance_closes(two_bus: Feeder, busy_day: Make, seed: int, name: str, response: str) -> None:
    """What the source feeds in is what homes draw net of their roofs, plus losses, at every step."""
    day = day_of(two_bus, busy_day, seed)
    trajectory = run(two_bus, day, controllers.make(name, two_bus), behaviour=Behaviour(response))
    machine = two_bus.network.branch("TR1")
    (current_a,) = terminal_currents([machine], trajectory.node_v)
    high_side = slice(0, len(machine.phases))
    fed_in_kw = (trajectory.node_v[:, machine.nodes[high_side][:3]] * current_a[:, high_side][:, :3].conj()).real / 1e3
    losses_kw = branch_losses_kw(two_bus.network.branches, trajectory.node_v).sum(axis=1)
    consumed_kw = trajectory.net_kw.sum(axis=1) + losses_kw
    scale_kw = np.abs(trajectory.net_kw).sum(axis=1) + losses_kw
    assert (losses_kw >= 0.0).all()
    assert np.abs(fed_in_kw.sum(axis=1) - consumed_kw).max() <= 1e-3 * scale_kw.max()
    np.testing.assert_allclose(
        trajectory.net_kw, trajectory.exogenous.demand_kw + trajectory.ev_kw - trajectory.pv_kw, atol=1e-12
    )
    assert scoreboard(trajectory)["balance_error_percent"] <= 0.1
    assert valid(trajectory) is trajectory


@law
@given(seed=SEEDS, name=st.sampled_from(RULES), response=st.sampled_from(["cheapest", "immediate"]))
def test_devices_stay_within_their_bounds(two_bus: Feeder, busy_day: Make, seed: int, name: str, response: str) -> None:
    day = day_of(two_bus, busy_day, seed)
    trajectory = run(two_bus, day, controllers.make(name, two_bus), behaviour=Behaviour(response))
    resampled, sessions = trajectory.exogenous, day.sessions
    assert (trajectory.ev_kw >= 0.0).all()
    assert (trajectory.ev_kw[trajectory.plugged == 0.0] == 0.0).all()
    assert (
        trajectory.ev_kw <= np.bincount(sessions.customer, sessions.charger_kw, 3) * trajectory.plugged + 1e-9
    ).all()
    assert (trajectory.pv_kw >= 0.0).all()
    assert (trajectory.pv_kw <= resampled.pv_available_kw + 1e-9).all()
    assert (np.hypot(trajectory.pv_kw, trajectory.pv_kvar) <= resampled.inverter_kva + 0.02).all()
    assert (trajectory.delivered_kwh <= sessions.energy_need_kwh + 1e-9).all()
    assert (trajectory.delivered_kwh >= -1e-12).all()
    into_batteries_kwh = (trajectory.ev_kw.sum(axis=0) * 0.9 * trajectory.step_h).sum()
    assert trajectory.delivered_kwh.sum() == pytest.approx(into_batteries_kwh, abs=1e-9)
    # where a home obeys its cap, only its own demand can exceed it
    over = trajectory.net_kw > trajectory.import_cap_kw + 1e-9
    assert (trajectory.ev_kw[over] == 0.0).all()


@law
@given(seed=SEEDS, cap_kw=st.floats(1.5, 9.0))
def test_households_charge_in_their_cheapest_hours(
    two_bus: Feeder, busy_day: Make, scripted: Make, seed: int, cap_kw: float
) -> None:
    """No charging at a dearer price that could have been done cheaper inside stay, charger and cap."""
    day = day_of(two_bus, busy_day, seed).resample(5)
    day = replace(day, pv_available_kw=0.0 * day.pv_available_kw)
    published = np.full((day.steps, 3), cap_kw)
    caps = replace(Setpoints.free(3), import_cap_kw=published[0], published_cap_kw=published)
    trajectory = run(two_bus, day, scripted(caps))
    headroom = cap_kw - day.demand_kw
    rating = np.bincount(day.sessions.customer, day.sessions.charger_kw, 3)
    room_kw = np.where(headroom >= 1.38, np.minimum(rating, headroom), 0.0) * trajectory.plugged
    unused_kw = room_kw - trajectory.ev_kw
    price = day.tariff_eur_per_kwh
    for home in range(3):
        charging = trajectory.ev_kw[:, home] > 1e-6
        if charging.any():
            cheaper = price < price[charging].max() - 1e-12
            assert unused_kw[cheaper, home].max(initial=0.0) <= 1e-6


@law
@given(seed=SEEDS, name=st.sampled_from(RULES))
def test_same_day_same_bytes(two_bus: Feeder, busy_day: Make, seed: int, name: str) -> None:
    first, second = (run(two_bus, day_of(two_bus, busy_day, seed), controllers.make(name, two_bus)) for _ in range(2))
    assert fingerprint(first) == fingerprint(second)


def test_same_day_same_bytes_on_the_real_feeder(european_lv: Feeder, busy_day: Make) -> None:
    day = busy_day(european_lv, seed=11, minutes=360, start_h=15.0)
    first, second = (run(european_lv, day, controllers.make("droop", european_lv)) for _ in range(2))
    assert fingerprint(first) == fingerprint(second)
    assert fingerprint(first) != fingerprint(run(european_lv, day, controllers.make("none", european_lv)))


def fingerprint(trajectory: Trajectory) -> list[bytes]:
    names = ("node_v", "ev_kw", "pv_kw", "pv_kvar", "soc_kwh", "net_kw", "import_cap_kw", "ev_limit_kw", "degraded")
    return [getattr(trajectory, name).tobytes() for name in names]


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("response", ["cheapest", "immediate"])
def test_the_length_of_a_step_does_not_matter(european_lv: Feeder, busy_day: Make, seed: int, response: str) -> None:
    day = busy_day(european_lv, seed)
    boards = {}
    for step_min in (10, 5):
        controller = controllers.make("none", european_lv)
        trajectory = run(
            european_lv, day, controller, step_min=step_min, control_min=step_min, behaviour=Behaviour(response)
        )
        assert trajectory.notes == ()
        boards[step_min] = scoreboard(trajectory) | {"pv_kwh": trajectory.pv_kw.sum() * trajectory.step_h}
    for metric, tolerance in (
        ("import_kwh", 0.01),
        ("export_kwh", 0.01),
        ("pv_kwh", 0.01),
        ("ev_delivered_kwh", 0.01),
        ("losses_kwh", 0.03),
    ):
        assert boards[10][metric] > 10.0  # there is something to compare
        assert boards[10][metric] == pytest.approx(boards[5][metric], rel=tolerance), metric
