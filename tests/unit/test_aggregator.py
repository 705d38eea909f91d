"""The aggregator in the loop: what it promises, how the cars keep it, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cosim import controllers, run
from cosim.contract import EvSessions, Exogenous, Feeder, Forecast
from cosim.controllers.aggregation.controller import Aggregator, awaiting_kw, cut_kwh, fleet_of_stays, keep_minimum
from cosim.errors import InputError, SolverError


def test_the_aggregator_keeps_a_promise_that_can_be_kept(
    two_bus: Feeder, make_day: Callable[..., Exogenous], make_sessions: Callable[..., EvSessions]
) -> None:
    day = make_day(two_bus, 48, tariff_eur_per_kwh=np.repeat([0.3, 0.1], 24), demand_kw=0.5, demand_kvar=0.1,
                   sessions=make_sessions((0, 0.0, 240.0, 6.0, 7.4), (1, 0.0, 240.0, 6.0, 7.4)))  # fmt: skip
    controller = controllers.make("aggregator", two_bus)
    assert isinstance(controller, Aggregator)
    done = run(two_bus, day, controller)
    delivered = done.ev_kw.sum(axis=1).reshape(-1, 3).mean(axis=1)
    assert controller.promise_kw.sum() / 4.0 == pytest.approx(12.0 / 0.9, rel=1e-3)
    assert delivered == pytest.approx(controller.promise_kw, abs=0.8)  # the chargers' least power is 1.4 kW
    assert controller.promise_kw[:8] == pytest.approx(0.0, abs=1e-6)
    assert done.delivered_kwh.sum() == pytest.approx(12.0, abs=0.1)
    assert controller.promised_short_kwh == pytest.approx(0.0, abs=1e-3)


def test_the_simple_promise_of_unlike_cars_is_broken_and_known_to_be(
    two_bus: Feeder, make_day: Callable[..., Exogenous], make_sessions: Callable[..., EvSessions]
) -> None:
    day = make_day(two_bus, 48, tariff_eur_per_kwh=np.linspace(0.3, 0.1, 48),
                   sessions=make_sessions((0, 0.0, 120.0, 10.0, 7.4), (1, 120.0, 240.0, 2.0, 7.4)))  # fmt: skip
    promised = {}
    for kind in ("sum", "bilevel"):
        controller = controllers.make("aggregator", two_bus, aggregate=kind)
        controller.plan(Forecast("oracle", day))
        assert isinstance(controller, Aggregator)
        promised[kind] = controller.promised_short_kwh
    assert promised["bilevel"] <= promised["sum"] + 1e-6


def test_small_powers_become_a_pause_or_the_least(two_bus: Feeder, make_day: Any, make_sessions: Any) -> None:
    day = make_day(two_bus, 12, sessions=make_sessions((0, 0.0, 60.0, 2.0, 7.4), (1, 0.0, 60.0, 2.0, 7.4)))
    seen: list[Any] = []

    class Look:
        every_step = False

        def plan(self, forecast: Forecast) -> None: ...

        def decide(self, observation: Any) -> Any:
            seen.append(observation)
            return controllers.make("none", two_bus).decide(observation)

    run(two_bus, day, Look())
    now = seen[0]
    least = now.charger_min_kw[0]
    limit = keep_minimum(np.array([0.5 * least, 0.6 * least, 0.0]), now)
    assert sorted(limit[:2]) == pytest.approx([0.0, least])
    assert keep_minimum(np.array([5.0, 0.1, 0.0]), now)[:2] == pytest.approx([5.0, 0.0])


@pytest.mark.parametrize("options", [{"units": 0}, {"block_h": 5}, {"plan_step_min": 0.0}])
def test_options_out_of_range_are_refused(two_bus: Feeder, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        controllers.make("aggregator", two_bus, **options)


def test_deciding_before_planning_is_refused(two_bus: Feeder) -> None:
    with pytest.raises(InputError, match="plan"):
        controllers.make("aggregator", two_bus).decide(None)  # type: ignore[arg-type]


def test_where_sharing_fails_cars_charge_freely_and_the_decision_says_so(
    two_bus: Feeder, make_day: Any, make_sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = make_day(two_bus, 12, sessions=make_sessions((0, 0.0, 60.0, 2.0, 7.4)))
    controller = controllers.make("aggregator", two_bus)

    def fail(*_: Any) -> None:
        raise SolverError("out of order")

    planned = controller.plan
    controller.plan = lambda forecast: (  # type: ignore[method-assign,func-returns-value]
        planned(forecast), monkeypatch.setattr("cosim.controllers.aggregation.controller.disaggregate", fail)
    )  # fmt: skip
    done = run(two_bus, day, controller)
    assert done.degraded.any()
    assert "out of order" in done.decisions[0][1].fallback
    assert done.delivered_kwh.sum() == pytest.approx(2.0, abs=0.05)


def test_a_car_that_comes_between_decisions_does_not_wait_for_the_next(
    two_bus: Feeder, make_day: Callable[..., Exogenous], make_sessions: Callable[..., EvSessions]
) -> None:
    """It stays 40 minutes from five past, and needs 39 of them."""
    need_kwh = 0.9 * 7.4 * 39.0 / 60.0
    day = make_day(two_bus, 24, sessions=make_sessions((0, 5.0, 45.0, need_kwh, 7.4), (1, 0.0, 120.0, 3.0, 7.4)))
    controller = controllers.make("aggregator", two_bus)
    done = run(two_bus, day, controller)
    assert done.delivered_kwh == pytest.approx([need_kwh, 3.0], abs=0.02)
    assert isinstance(controller, Aggregator)
    assert controller.cut_kwh == pytest.approx(0.0, abs=1e-6)


def test_who_comes_in_a_hurry_finds_the_whole_charger(make_sessions: Callable[..., EvSessions]) -> None:
    stays = make_sessions((0, 5.0, 60.0, 6.0, 7.4), (1, 5.0, 300.0, 6.0, 7.4), efficiency=1.0)
    assert awaiting_kw(stays, np.array([0.0, 2.0]), np.array([0, 1]), 15.0) == pytest.approx([7.4, 2.0])


def test_what_no_schedule_can_charge_is_reported(make_sessions: Callable[..., EvSessions]) -> None:
    stays = make_sessions((0, 0.0, 60.0, 10.0, 7.0), (1, 0.0, 60.0, 3.0, 7.0), efficiency=1.0)
    assert cut_kwh(stays, fleet_of_stays(stays, 4, 0.25)) == pytest.approx(3.0, abs=1e-6)
