"""Plans that real chargers and cars keep: limits of each phase, the fewest starts, and power below the rating."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.optimize import linprog

from cosim.contract import Float
from cosim.controllers.planner import solver
from cosim.controllers.planner.options import Options
from cosim.controllers.planner.plan import Plan, plan
from cosim.controllers.planner.requests import Requests, Station, make_requests, make_station
from cosim.errors import InputError
from tests.oracles.stations import aims_in_turn, switched_aims_in_turn

STEPS = 16
ON_PHASES = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3]])


def draw(seed: int, *, count: int = 6, steps: int = STEPS, low_kw: float = 0.0) -> tuple[Requests, Station]:
    """Cars of one, two and three phases with stays of whole steps, behind phases of which one is weak."""
    rng = np.random.default_rng(seed)
    arrival = rng.integers(0, steps // 2, count)
    departure = np.minimum(arrival + rng.integers(2, steps, count), steps)
    requests = make_requests(
        [f"car {k}" for k in range(count)], rng.choice([3.7, 7.4, 11.0], count), rng.uniform(1.0, 12.0, count),
        rng.uniform(20.0, 60.0, count), arrival, departure,
        power_min_kw=low_kw, phase_share=ON_PHASES[rng.integers(0, len(ON_PHASES), count)],
    )  # fmt: skip
    phase_kw = rng.uniform(3.0, 9.0, 3) * rng.uniform(0.6, 1.0, (steps, 1))
    tariff = rng.choice([0.13, 0.2], steps)
    return requests, make_station(steps, phase_kw.sum(axis=1), tariff_eur_per_kwh=tariff, phase_kw=phase_kw)


def starts_of(best: Plan) -> int:
    """Steps in which a car charges and did not in the step before."""
    on = best.power_kw > 0
    return int((on & ~np.vstack([np.zeros(on.shape[1], bool), on[:-1]])).sum())


@pytest.mark.parametrize("seed", range(12))
def test_limits_of_each_phase_hold_at_the_optimum_of_another_model(seed):
    requests, station = draw(seed)
    for objective in ("service", "weighted"):
        planning = plan(requests, station, Options(objective=objective))
        loads_kw = planning.best.power_kw @ requests.phase_share
        assert (loads_kw <= station.phase_kw + 1e-6).all()
        expected = aims_in_turn(requests, station, objective)
        assert planning.best.objective == pytest.approx(expected[-2], abs=1e-5)
        if objective == "service":
            assert planning.best.unserved_kwh.sum() == pytest.approx(expected[0], abs=1e-5)
        assert planning.phase_peak_kw == pytest.approx(loads_kw.max(axis=0))


@pytest.mark.parametrize("formulation", ["lp", "milp"])
def test_one_phase_is_loaded_by_its_own_cars_only(formulation):
    share = np.array([[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]])
    requests = make_requests(["a", "b", "c"], 7.4, 6.0, 50.0, 0.0, 4.0, power_min_kw=1.4, phase_share=share)
    options = Options(formulation=formulation)
    alone = plan(requests, make_station(4, 22.2), options).best
    told = plan(requests, make_station(4, 22.2, phase_kw=[7.4, 7.4, 7.4]), options).best
    assert alone.unserved_kwh.sum() == pytest.approx(0.0, abs=1e-5)
    assert told.delivered_kwh[:2].sum() == pytest.approx(0.9 * 7.4, abs=1e-5)
    assert told.delivered_kwh[2] == pytest.approx(6.0, abs=1e-5)
    none = plan(requests, make_station(4, 22.2, phase_kw=[0.0, 7.4, 7.4]), options)
    assert none.unservable_kwh == pytest.approx([6.0, 6.0, 0.0])


@pytest.mark.parametrize("formulation", ["lp", "milp"])
def test_a_plan_without_time_keeps_the_phases(formulation):
    requests, station = draw(3, count=40, low_kw=1.4)
    best = plan(requests, station, Options(formulation=formulation, time_limit_s=0.0)).best
    assert (best.power_kw @ requests.phase_share <= station.phase_kw + 1e-6).all()
    assert best.delivered_kwh.sum() > 0


@pytest.mark.parametrize("seed", range(8))
def test_starts_are_the_fewest_of_plans_as_good_in_another_model(seed):
    requests, station = draw(seed, count=3, steps=8, low_kw=1.4)
    planning = plan(requests, station, Options(formulation="milp"))
    expected = switched_aims_in_turn(requests, station, planning.best.unserved_kwh)
    assert planning.best.unserved_kwh.sum() == pytest.approx(expected[0], abs=1e-4)
    assert planning.best.cost_eur == pytest.approx(expected[1], abs=1e-4)
    assert starts_of(planning.best) == round(expected[2])
    assert (planning.best.power_kw @ requests.phase_share <= station.phase_kw + 1e-6).all()
    told = planning.endings["starts"]
    assert told.termination == "optimal"
    assert told.bound <= expected[2] + 1e-6


@pytest.mark.parametrize("seed", [1, 2])
def test_starts_are_the_fewest_of_all_there_are(seed):
    requests, station = draw(seed, count=2, steps=4, low_kw=3.0)
    found = []
    edge = np.arange(4)[:, None]
    there = (edge >= requests.arrival_step) & (edge < requests.departure_step)
    for pattern in product([False, True], repeat=8):
        on = np.array(pattern).reshape(4, 2)
        if not (on & ~there).any() and (one := _best_of(on, requests, station)) is not None:
            found.append((round(one[0], 5), round(one[1], 5), (on & ~np.vstack([[False] * 2, on[:-1]])).sum()))
    best = plan(requests, station, Options(formulation="milp")).best
    assert (best.unserved_kwh.sum(), best.cost_eur, starts_of(best)) == pytest.approx(min(found), abs=1e-4)


def _best_of(on: Float, requests: Requests, station: Station) -> tuple[float, float] | None:
    """Least shortfall and then cost where every switch is decided; None where that cannot be."""
    hours, cells = station.step_h, on.size
    gain = np.zeros((2, cells))
    gain[0, ::2], gain[1, 1::2] = hours * requests.efficiency
    rows = [np.hstack([-gain, -np.eye(2)]), np.hstack([gain, np.eye(2)])]
    limits = [-requests.energy_need_kwh, requests.headroom_kwh]
    phases = zip(requests.phase_share.T, station.phase_kw.T, strict=True)
    for share, most in [(np.ones(2), station.capacity_kw), *phases]:
        rows.append(np.hstack([np.kron(np.eye(4), share), np.zeros((4, 2))]))
        limits.append(most)
    low, high = (np.append((on * kw).ravel(), [end] * 2) for kw, end in
                 ((requests.power_min_kw, 0.0), (requests.power_max_kw, 99.0)))  # fmt: skip
    aims = [np.append(np.zeros(cells), [1.0, 1.0]), np.append(np.repeat(hours * station.tariff_eur_per_kwh, 2), [0, 0])]
    reached = []
    for aim in aims:
        solved = linprog(aim, np.vstack(rows), np.concatenate(limits), bounds=np.column_stack([low, high]))
        if solved.status:
            return None
        reached.append(solved.fun)
        rows.append(aim[None])
        limits.append(np.array([solved.fun + 1e-9]))
    return reached[0], reached[1]


def test_fewer_starts_leave_the_aims_and_come_before_early_energy():
    requests, _ = draw(5, count=30, steps=32, low_kw=1.4)
    station = make_station(32, 45.0)
    first, any_ = (plan(requests, station, Options(formulation="milp", least_starts=on)) for on in (True, False))
    assert first.endings.keys() - any_.endings.keys() == {"starts"}
    for aim in ("shortfall", "cost"):
        assert first.endings[aim].value == pytest.approx(any_.endings[aim].value, abs=1e-4)
    assert starts_of(first.best) < starts_of(any_.best)
    assert "starts" not in plan(requests, station).endings


def test_more_vehicles_than_one_piece_start_less_often():
    requests, _ = draw(6, count=130, steps=12, low_kw=1.4)
    station = make_station(12, 200.0)
    first, any_ = (plan(requests, station, Options(formulation="milp", least_starts=on)) for on in (True, False))
    assert starts_of(first.best) <= starts_of(any_.best)
    assert first.endings["starts"].bound <= starts_of(first.best)
    assert first.best.cost_eur == pytest.approx(any_.best.cost_eur, rel=2e-4)


def taken_kwh(best: Plan, requests: Requests, station: Station, share: float) -> float:
    """What cars that take no more than a share of each rating get of a plan, into batteries."""
    return float((np.minimum(best.power_kw, share * requests.power_max_kw).sum(axis=0) * station.step_h
                  * requests.efficiency).sum())  # fmt: skip


@pytest.mark.parametrize("formulation", ["lp", "milp"])
def test_derated_plans_are_kept_by_cars_that_take_less(formulation):
    rng = np.random.default_rng(4)
    arrival = rng.integers(0, 10, 20).astype(float)
    requests = make_requests(
        [str(k) for k in range(20)], 11.0, rng.uniform(5.0, 25.0, 20), 60.0, arrival, arrival + 16.0, power_min_kw=4.2
    )
    station = make_station(32, 120.0)
    options = (Options(formulation=formulation, derate=part) for part in (1.0, 0.9))
    plain, derated = (plan(requests, station, one).best for one in options)
    assert derated.unserved_kwh.sum() == pytest.approx(plain.unserved_kwh.sum(), abs=1e-4)
    full_kwh = derated.delivered_kwh.sum()
    assert taken_kwh(derated, requests, station, 0.9) == pytest.approx(full_kwh)
    assert taken_kwh(plain, requests, station, 0.9) < 0.95 * full_kwh


def test_whose_stay_needs_the_rating_keeps_it():
    requests = make_requests(["full", "slack"], 10.0, [9.0, 4.5], 50.0, 0.0, 4.0)  # 10 kWh in its stay at most
    best = plan(requests, make_station(4, 100.0), Options(derate=0.8)).best
    assert best.unserved_kwh == pytest.approx([0.0, 0.0], abs=1e-6)
    assert best.power_kw.max(axis=0) == pytest.approx([10.0, 8.0])


@pytest.mark.parametrize("derate", [0.0, 1.1, 90.0])
def test_a_derating_that_is_no_factor_is_refused(derate):
    with pytest.raises(InputError, match="derate"):
        Options(derate=derate)


def test_phases_that_are_none():
    with pytest.raises(InputError, match="phase_kw"):
        make_station(4, 10.0, phase_kw=[1.0, 2.0])
    requests = make_requests(["a"], 7.4, 5.0, 50.0, 0.0, 4.0, phase_share=[0.5, 0.0, 0.0])
    with pytest.raises(InputError, match="phase_share"):
        plan(requests, make_station(4, 10.0))


@pytest.mark.parametrize("seed", range(4))
def test_a_plan_that_begins_with_an_interior_point_ends_at_the_same_aims(seed, monkeypatch):
    monkeypatch.setattr(solver, "MANY", 0)
    requests, station = draw(seed, count=9)
    planning = plan(requests, station, Options(margin_min=20.0))
    expected = aims_in_turn(requests, station, "service", 20.0 / 15.0)
    assert planning.status == "optimal"
    reached = [planning.endings[aim].value for aim in ("shortfall", "margin", "cost")]
    assert reached == pytest.approx(expected[:3], abs=1e-4)


def test_a_large_plan_is_as_good_either_way(monkeypatch):
    rng = np.random.default_rng(1)
    arrival = rng.uniform(0.0, 60.0, 1200)
    requests = make_requests(
        [str(k) for k in range(1200)], rng.choice([7.4, 11.0, 22.0], 1200), rng.uniform(5.0, 40.0, 1200), 60.0,
        arrival, arrival + rng.uniform(4.0, 30.0, 1200),
    )  # fmt: skip
    station = make_station(96, 2000.0, tariff_eur_per_kwh=rng.uniform(0.1, 0.3, 96))
    large = plan(requests, station)
    monkeypatch.setattr(solver, "MANY", 10**9)
    small = plan(requests, station)
    assert large.best.unserved_kwh.sum() > 100.0  # the capacity binds
    for aim in ("shortfall", "cost", "early energy"):
        assert large.endings[aim].value == pytest.approx(small.endings[aim].value, rel=1e-6)
        assert large.endings[aim].termination == "optimal"
