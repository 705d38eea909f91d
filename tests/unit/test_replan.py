"""Planning again in the middle of a day: what is the past stands, and what is left is planned as well as it can be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cosim.controllers.planner.options import Options
from cosim.controllers.planner.plan import Planning, plan
from cosim.controllers.planner.requests import Requests, Station, make_requests, make_station
from cosim.errors import InputError
from cosim.experiments.plan.replan import LiveState, VehicleState, rest_of, stand_after
from cosim.experiments.plan.standing import Standing, by_step, by_vehicle, standing_of

STEPS = 48
OPTIONS = Options()


def station(**more: float) -> Station:
    tariff = np.where(np.arange(STEPS) % 12 < 6, 0.1, 0.3)
    return make_station(STEPS, 22.0, step_s=1800.0, tariff_eur_per_kwh=tariff, **more)


def drawn(count: int, rng: np.random.Generator) -> Requests:
    arrival = rng.uniform(0, 30, count)
    stay = rng.uniform(3, 15, count)
    need_kwh = np.minimum(rng.uniform(5, 40, count), 0.9 * 11.0 * 0.5 * stay * 0.8)
    return make_requests(
        [f"v{k}" for k in range(count)], 11.0, need_kwh, 60.0, arrival, arrival + stay, soe_arrival_kwh=10.0
    )  # fmt: skip


def replanned(before: Standing, state: LiveState, options: Options = OPTIONS) -> tuple[Standing, Planning]:
    rest = rest_of(before, state)
    known = replace(before.station, peak_so_far_kw=rest.peak_so_far_kw)
    planning = plan(rest.requests, known, options)
    return stand_after(rest, planning), planning


def costs(standing: Standing, since: float = 0.0) -> float:
    """Of all energy, and of the peak as it is on the whole day."""
    energy = float(standing.station.tariff_eur_per_kwh @ standing.energy_kwh.sum(axis=1))
    peak_kw = float((standing.power_kw.sum(axis=1) + standing.station.site_kw).max())
    return energy + standing.station.peak_eur_per_kw * max(peak_kw - since, 0.0)


@pytest.mark.parametrize("now", [0.0, 9.0, 14.37, 25.0, 29.99])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_when_all_went_as_planned_the_rest_is_as_good_as_it_was(now: float, seed: int) -> None:
    known = station(peak_eur_per_kw=0.7)
    before = standing_of(plan(drawn(12, np.random.default_rng(seed)), known, OPTIONS))
    after, _ = replanned(before, LiveState(now_step=now))
    assert after.unserved_kwh.sum() <= before.unserved_kwh.sum() + 1e-5
    assert costs(after) <= costs(before) + 1e-4
    past = np.arange(STEPS) + 1 <= now
    np.testing.assert_array_equal(after.power_kw[past], before.power_kw[past])
    np.testing.assert_array_equal(after.energy_kwh[past], before.energy_kwh[past])
    assert (after.power_kw.sum(axis=1) <= 22.0 + 1e-6).all()


def test_the_rest_is_no_better_than_a_plan_that_knew_it_all_along() -> None:
    """A re-plan is a plan with its past fixed: the best plan of the whole day bounds it from below."""
    requests = drawn(12, np.random.default_rng(4))
    whole = plan(requests, station(), OPTIONS)
    fixed = standing_of(plan(requests, station(), Options(objective="weighted", shortfall_eur_per_kwh=0.2)))
    after, _ = replanned(fixed, LiveState(now_step=15.5))
    assert after.unserved_kwh.sum() >= whole.best.unserved_kwh.sum() - 1e-6
    assert after.unserved_kwh.sum() < fixed.unserved_kwh.sum()  # service first, from now on


def test_energy_is_neither_lost_nor_made_from_plan_to_plan() -> None:
    known, requests = station(), drawn(10, np.random.default_rng(6))
    standing = standing_of(plan(requests, known, OPTIONS))
    for now in (3.2, 3.4, 11.0, 19.75, 28.0):
        standing, _ = replanned(standing, LiveState(now_step=now))
        np.testing.assert_allclose(standing.energy_kwh.sum(axis=0) * 0.9, standing.by_departure_kwh, atol=1e-6)
        assert standing.now_step == now


def test_what_was_delivered_counts_and_not_what_was_planned() -> None:
    requests = make_requests(["a", "b"], 11.0, 20.0, 60.0, [0, 0], [20, 20], soe_arrival_kwh=5.0)
    before = standing_of(plan(requests, station(), OPTIONS))
    state = {"a": VehicleState(delivered_kwh=12.0), "b": VehicleState(delivered_kwh=20.0)}
    after, planning = replanned(before, LiveState(now_step=6.0, vehicles=state))
    np.testing.assert_allclose(planning.requests.energy_need_kwh, [8.0, 0.0])
    np.testing.assert_allclose(planning.requests.soe_arrival_kwh, [17.0, 25.0])
    np.testing.assert_allclose(planning.best.delivered_kwh, [8.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(after.by_departure_kwh, 20.0, atol=1e-6)


def test_who_stays_beyond_its_departure_is_charged_on_as_long_as_it_is_plugged_and_lacks_energy() -> None:
    requests = make_requests(["a", "b", "c"], 11.0, [20.0, 20.0, 5.0], 60.0, 0.0, [4.0, 4.0, 40.0])
    before = standing_of(plan(requests, station(), OPTIONS))
    told = {"a": VehicleState(status="plugged", delivered_kwh=15.0), "b": VehicleState(delivered_kwh=15.0)}
    rest = rest_of(before, LiveState(now_step=5.0, vehicles=told, further_stay_h=2.0))
    assert rest.requests.vehicle == ("a", "c")  # of b nobody says that it is still plugged
    assert rest.words == ("overstays", "as planned", "as planned")
    assert rest.requests.departure_step[0] == 5.0 + 4.0  # two hours of half-hour steps
    assert any("assumed to stay 2 h more" in note for note in rest.notes)
    after = stand_after(rest, plan(rest.requests, before.station, OPTIONS))
    np.testing.assert_allclose(after.by_departure_kwh, [20.0, 15.0, 5.0], atol=1e-5)
    served = {"a": VehicleState(status="plugged", delivered_kwh=20.0)}
    full, _ = replanned(before, LiveState(now_step=5.0, vehicles=served))
    assert full.rest_kwh[:, 0].sum() == pytest.approx(0.0, abs=1e-6)


def test_who_is_gone_gets_nothing_more_and_who_is_new_is_planned() -> None:
    known = station()
    before = standing_of(plan(drawn(4, np.random.default_rng(8)), known, OPTIONS))
    now = 20.25
    new = make_requests(["n"], 11.0, 10.0, np.inf, now, 38.0, efficiency=1.0)
    still_kwh = before.until(now).rest_kwh.sum(axis=0)
    row = int(still_kwh.argmax())
    assert still_kwh[row] > 1.0
    state = LiveState(now_step=now, vehicles={f"v{row}": VehicleState(status="gone")}, new=new)
    after, _ = replanned(before, state)
    assert after.rest_kwh[:, row].sum() == 0
    assert after.by_departure_kwh[-1] == pytest.approx(10.0, abs=1e-6)
    table = by_vehicle(before, after, rest_of(before, state).words).set_index("vehicle")
    assert table["what"].value_counts().to_dict() == {"gone": 1, "as planned": 3, "new": 1}
    assert table["unserved_after_kwh"].iloc[row] == pytest.approx(still_kwh[row] * 0.9, abs=1e-5)
    assert table["unserved_before_kwh"].isna().tolist() == [False] * 4 + [True]
    steps = by_step(before, after, None)
    assert steps.loc[steps["is_past"], "change_kw"].abs().max() == 0
    whole = steps.groupby("vehicle")["after_kwh"].sum().reindex(after.requests.vehicle, fill_value=0.0)
    np.testing.assert_allclose(whole, after.energy_kwh.sum(axis=0), atol=1e-6)


def test_a_new_departure_moves_what_is_left() -> None:
    requests = make_requests(["a"], 11.0, 30.0, 60.0, 0.0, 40.0)
    before = standing_of(plan(requests, station(), OPTIONS))
    told = {"a": VehicleState(departure_step=8.0, delivered_kwh=2.0)}
    after, planning = replanned(before, LiveState(now_step=5.0, vehicles=told))
    assert planning.best.power_kw[8:].sum() == 0
    assert after.unserved_kwh[0] == pytest.approx(30.0 - 2.0 - 0.9 * 11.0 * 1.5, abs=1e-6)


def test_the_peak_of_the_past_is_owed_already() -> None:
    """Once 11 kW were drawn, a kWh on top of less than that raises no peak: it is taken where it is cheapest."""
    requests = make_requests(["early", "late"], 11.0, [9.9, 9.9], 60.0, [0.0, 20.0], [2.0, 40.0])
    known = station(peak_eur_per_kw=50.0)
    before = standing_of(plan(requests, known, OPTIONS))
    _, planning = replanned(before, LiveState(now_step=10.0))
    assert planning.station.peak_so_far_kw == pytest.approx(11.0)
    assert planning.best.peak_cost_eur == pytest.approx(0.0, abs=1e-6)
    metered = rest_of(before, LiveState(now_step=10.0, peak_so_far_kw=4.0))
    assert metered.peak_so_far_kw == 4.0


def test_at_one_plug_the_next_begins_when_the_one_that_stays_has_left() -> None:
    requests = make_requests(["a", "b"], 11.0, [20.0, 5.0], 60.0, [0.0, 6.0], [4.0, 10.0])
    before = standing_of(plan(requests, station(), OPTIONS), plug=("one", "one"))
    told = {"a": VehicleState(status="plugged", delivered_kwh=0.0)}
    rest = rest_of(before, LiveState(now_step=5.0, vehicles=told, further_stay_h=1.5))
    assert rest.requests.arrival_step.tolist() == [5.0, 8.0]
    longer = rest_of(before, LiveState(now_step=5.0, vehicles=told, further_stay_h=4.0))
    assert longer.requests.vehicle == ("a",)
    assert any("is not planned" in note for note in longer.notes)


def test_who_is_late_is_planned_from_now_or_from_when_it_comes() -> None:
    requests = make_requests(["a", "b"], 11.0, 5.0, 60.0, [0.0, 0.0], [20.0, 20.0])
    before = standing_of(plan(requests, station(), OPTIONS))
    expected = VehicleState(status="expected", delivered_kwh=0.0)
    told = {"a": expected, "b": replace(expected, arrival_step=9.5)}
    rest = rest_of(before, LiveState(now_step=6.0, vehicles=told))
    assert rest.requests.arrival_step.tolist() == [6.0, 9.5]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (LiveState(now_step=-1.0), "from step 0 on"),
        (LiveState(now_step=float("nan")), "is step nan"),
        (LiveState(now_step=1e6), "is step 1e+06"),
        (LiveState(now_step=5.0, vehicles={"A": VehicleState()}), "is not in the plan"),
        (LiveState(now_step=5.0, vehicles={"a": VehicleState(delivered_kwh=61.0)}), "what its battery took"),
        (LiveState(now_step=5.0, vehicles={"a": VehicleState(delivered_kwh=float("nan"))}), "what its battery took"),
        (LiveState(now_step=5.0, vehicles={"a": VehicleState(departure_step=4.0)}), "departs before now"),
        (LiveState(now_step=5.0, vehicles={"a": VehicleState(departure_step=9e5)}), "within 336 h"),
        (LiveState(now_step=5.0, vehicles={"a": VehicleState(status="expected", arrival_step=4.0)}), "arrival is over"),
        (LiveState(now_step=5.0, further_stay_h=0.0), "give hours above 0"),
        (LiveState(now_step=5.0, new=make_requests(["a"], 11.0, 5.0, 60.0, 5.0, 9.0)), "is in the plan already"),
        (LiveState(now_step=5.0, new=make_requests(["n"], 11.0, 5.0, 60.0, 9.0, 5.0)), "is not after the arrival"),
    ],
)
def test_what_cannot_be_is_named(state: LiveState, words: str) -> None:
    requests = make_requests(["a"], 11.0, 20.0, 60.0, 0.0, 20.0)
    before = standing_of(plan(requests, station(), OPTIONS))
    with pytest.raises(InputError) as caught:
        rest_of(before, state)
    assert words in str(caught.value)
    assert all(fault.remedy for fault in caught.value.faults)


def test_time_does_not_go_back() -> None:
    before = standing_of(plan(make_requests(["a"], 11.0, 20.0, 60.0, 0.0, 20.0), station(), OPTIONS))
    after, _ = replanned(before, LiveState(now_step=6.0))
    with pytest.raises(InputError, match="from step 6 on"):
        rest_of(after, LiveState(now_step=5.0))
