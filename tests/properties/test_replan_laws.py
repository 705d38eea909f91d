"""Laws of a day that is planned again and again: the past stands, limits hold, nobody charges who is not there."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import Generator

from cosim.controllers.planner.options import Options
from cosim.controllers.planner.plan import plan
from cosim.controllers.planner.requests import Station, make_requests, make_station
from cosim.errors import InputError
from cosim.experiments.plan.replan import LiveState, VehicleState, rest_of, stand_after
from cosim.experiments.plan.standing import Standing, standing_of

STEPS = 48
WAYS = {
    "lp": Options(),
    "weighted": Options(objective="weighted", shortfall_eur_per_kwh=2.0),
    "maxmin": Options(fairness="maxmin"),
    "margin": Options(margin_min=30.0),
    "milp": Options(formulation="milp", min_up_steps=2),
}


def drawn_station(rng: Generator) -> Station:
    return make_station(
        2 * STEPS, rng.uniform(5, 40, 2 * STEPS), step_s=1800.0, tariff_eur_per_kwh=rng.uniform(0.05, 0.4, 2 * STEPS),
        peak_eur_per_kw=0.5, site_kw=rng.uniform(-3, 3, 2 * STEPS),
    )  # fmt: skip


def drawn_plan(rng: Generator, options: Options) -> Standing:
    count = int(rng.integers(2, 9))
    arrival = rng.uniform(0, 40, count)
    battery_kwh = np.where(rng.random(count) < 0.3, np.inf, rng.uniform(30, 90, count))
    requests = make_requests(
        [f"v{k}" for k in range(count)], rng.choice([3.7, 11.0, 22.0], count), rng.uniform(0, 25, count), battery_kwh,
        arrival, arrival + rng.uniform(0.3, 14, count), power_min_kw=1.38 if options.switched else 0.0,
    )  # fmt: skip
    rounding = str(rng.choice(["prorata", "outside", "nearest"]))
    planning = plan(requests, drawn_station(rng), options, rounding=rounding)  # type: ignore[arg-type]
    plugs = [f"p{k // 2}" for k in range(count)] if rng.random() < 0.3 else []
    return standing_of(planning, plugs)


def drawn_state(rng: Generator, standing: Standing, now: float, number: int) -> LiveState:
    vehicles = {}
    for name in standing.requests.vehicle:
        status = rng.choice([None, "plugged", "expected", "gone"])
        vehicles[name] = VehicleState(
            status=status,
            delivered_kwh=None if rng.random() < 0.5 else float(rng.uniform(0, 30)),
            departure_step=None if rng.random() < 0.6 else float(now + rng.uniform(5.1, 20)),
            arrival_step=float(now + rng.uniform(0, 5)) if status == "expected" else None,
        )
    new = make_requests([f"n{number}"], 11.0, 8.0, np.inf, now, now + float(rng.uniform(0.5, 12)), efficiency=1.0)
    return LiveState(now_step=now, vehicles=vehicles if rng.random() < 0.7 else {}, new=new)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_laws_of_re_planning(way: str, seed: int) -> None:
    rng, options, tried = np.random.default_rng(seed), WAYS[way], 0
    for _ in range(3):
        try:
            before = drawn_plan(rng, options)
        except InputError:  # rounding left no stay
            continue
        now = 0.0
        for number in range(3):
            now += float(rng.uniform(0, 14))
            rest = rest_of(before, drawn_state(rng, before, now, number))
            after = stand_after(rest, plan(rest.requests, before.station, options))
            check(before, after, now)
            before, tried = after, tried + 1
    assert tried >= 3


def check(before: Standing, after: Standing, now: float) -> None:
    count, step = len(before.requests), np.arange(len(after.power_kw))[:, None]
    past = (step + 1 <= now)[:, 0]
    np.testing.assert_array_equal(after.power_kw[past, :count], before.power_kw[past])
    np.testing.assert_array_equal(after.past_kwh[:, :count], before.until(now).past_kwh)
    later = (step >= np.ceil(now))[:, 0]
    assert (after.power_kw[later].sum(axis=1) <= after.station.capacity_kw[later] + 1e-5).all()
    begins = np.maximum(after.requests.arrival_step, now)
    away = (step + 1 <= begins + 1e-6) | (step >= after.requests.departure_step - 1e-6)
    assert np.where(away, after.rest_kwh, 0.0).max() <= 1e-6
    room_kwh = np.maximum(after.requests.headroom_kwh - after.delivered_kwh, 0.0)
    assert (after.rest_kwh.sum(axis=0) * after.requests.efficiency <= room_kwh + 1e-5).all()
    for name in set(after.plug):
        rows = np.flatnonzero(np.array(after.plug) == name)
        assert ((after.rest_kwh[:, rows] > 1e-6).sum(axis=1) <= 2).all()  # one after the other inside a step
        inside = after.rest_kwh[:, rows].sum(axis=1)
        assert (inside <= after.station.step_h * after.requests.power_max_kw[rows].max() + 1e-6).all()
