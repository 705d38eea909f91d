"""Cars at home: drawn sessions can be served, own ones are read honestly."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cosim.contract import EvSessions
from cosim.errors import InputError
from cosim.feeders.clock import Clock
from cosim.feeders.find import DATA
from cosim.feeders.sessions import cut_to_horizon, draw_sessions, read_sessions

NOON = datetime(2026, 5, 15, 12)
CUSTOMERS = ("LOAD1", "LOAD2", "LOAD3")


def draw(seed: int = 1, start: datetime = NOON, minutes: int = 1440, share: float = 0.6, day: int = 0) -> EvSessions:
    return draw_sessions(55, share, start, minutes, np.random.default_rng(seed), day=day)


def assert_servable(sessions: EvSessions, minutes: int) -> None:
    stay_h = (sessions.departure_min - sessions.arrival_min) / 60
    assert (stay_h > 0).all()
    assert sessions.arrival_min.min() >= 0
    assert sessions.departure_min.max() <= minutes
    assert (sessions.energy_need_kwh <= sessions.charger_kw * sessions.efficiency * stay_h).all()
    assert (sessions.energy_need_kwh > 0).all()
    assert (sessions.soc_arrival_kwh >= 0).all()
    assert (sessions.soc_arrival_kwh + sessions.energy_need_kwh <= sessions.battery_kwh + 1e-9).all()
    same = sessions.customer[1:] == sessions.customer[:-1]
    assert (np.diff(sessions.customer) >= 0).all()
    assert (sessions.arrival_min[1:][same] >= sessions.departure_min[:-1][same] + 30).all()


@pytest.mark.parametrize("hour", [0, 7, 12, 17, 20, 23])
@pytest.mark.parametrize("days", [1, 4])
def test_whatever_the_horizon_every_need_can_be_met(hour: int, days: int) -> None:
    for seed in range(5):
        minutes = days * 1440
        assert_servable(draw(seed, datetime(2026, 5, 15, hour, 10), minutes), minutes)


def test_a_stay_that_the_next_arrival_cuts_short_has_a_need_that_still_fits() -> None:
    """About one session of a thousand is cut so far; its need has to be lowered once more."""
    cars = draw_sessions(400, 1.0, datetime(2026, 5, 15), 4 * 1440, np.random.default_rng(1))
    most_kwh = cars.charger_kw * 0.9 * (cars.departure_min - cars.arrival_min) / 60.0
    assert (cars.energy_need_kwh <= 0.95 * most_kwh + 1e-9).all()


def test_sessions_are_seeded_and_the_fleet_is_as_declared() -> None:
    sessions, again = draw(1), draw(1)
    np.testing.assert_array_equal(sessions.energy_need_kwh, again.energy_need_kwh)
    assert not np.array_equal(sessions.energy_need_kwh[:5], draw(2).energy_need_kwh[:5])
    long = draw(1, minutes=5 * 1440)
    cars = {int(c): (kw, kwh) for c, kw, kwh in zip(long.customer, long.charger_kw, long.battery_kwh, strict=True)}
    assert len(cars) == 33
    assert sum(kw == 7.4 for kw, _ in cars.values()) == 22
    assert sum(kw == 3.7 for kw, _ in cars.values()) == 11
    assert {kwh for _, kwh in cars.values()} <= {40.0, 52.0, 60.0, 77.0}
    assert (long.efficiency == 0.9).all()
    assert len(draw(1, share=0.0)) == 0


def test_energy_a_day_is_european_and_no_edge_of_a_horizon_loses_any() -> None:
    def mean_kwh(hour: int, days: int) -> float:
        start = datetime(2026, 5, 15, hour)
        return float(np.mean([draw(s, start, days * 1440).energy_need_kwh.sum() / 33 / days for s in range(20)]))

    for hour in (0, 12, 20):
        assert mean_kwh(hour, 1) == pytest.approx(9.5, abs=0.8)
    assert mean_kwh(12, 3) == pytest.approx(mean_kwh(12, 1), rel=0.06)


def test_needs_before_any_cut_have_the_declared_spread() -> None:
    need_kwh = np.concatenate([draw(s, minutes=30 * 1440, share=1.0).energy_need_kwh for s in range(3)])
    inner = need_kwh[need_kwh >= 2.0]
    assert inner.size > 0.97 * need_kwh.size
    assert need_kwh.max() <= 40.0
    assert need_kwh.mean() == pytest.approx(9.6, abs=0.5)
    assert need_kwh.std() == pytest.approx(6.4, abs=0.7)


def test_arrivals_keep_the_shipped_distribution() -> None:
    shipped_min = pd.read_parquet(DATA / "ev_sessions.parquet")["arrival_min"].to_numpy()
    midnight = datetime(2026, 5, 15)
    drawn_min = np.concatenate([draw(s, midnight, 20 * 1440, share=1.0).arrival_min for s in range(3)])
    drawn_min = drawn_min[drawn_min > 0] % 1440
    for quantile in (0.25, 0.5, 0.75):
        assert np.quantile(drawn_min, quantile) == pytest.approx(np.quantile(shipped_min, quantile), abs=25)


def test_a_day_stays_the_same_whatever_horizon_it_is_seen_from() -> None:
    first, both, second = draw(4), draw(4, minutes=2 * 1440), draw(4, NOON + timedelta(days=1), day=1)
    inside = (both.arrival_min > 0) & (both.departure_min < 1440)
    seen = (first.arrival_min > 0) & (first.departure_min < 1440)
    np.testing.assert_array_equal(both.energy_need_kwh[inside], first.energy_need_kwh[seen])
    later = (both.arrival_min > 1440) & (both.departure_min < 2880)
    seen = (second.arrival_min > 0) & (second.departure_min < 1440)
    np.testing.assert_array_equal(both.arrival_min[later] - 1440, second.arrival_min[seen])
    yesterday = draw(4, day=-1)
    assert set(yesterday.customer) <= set(both.customer) | set(first.customer)
    assert not np.array_equal(yesterday.energy_need_kwh[:10], first.energy_need_kwh[:10])


def test_in_the_evening_cars_are_already_home() -> None:
    evening = draw(1, datetime(2026, 5, 15, 20))
    assert 10 < np.count_nonzero(evening.arrival_min == 0) < 33


def test_cutting_shares_the_need_evenly_over_the_stay() -> None:
    whole = EvSessions(
        customer=np.array([1, 0, 0]),
        arrival_min=np.array([1380.0, -60.0, 2000.0]),
        departure_min=np.array([1500.0, 180.0, 2100.0]),
        energy_need_kwh=np.array([8.0, 8.0, 5.0]),
        charger_kw=np.full(3, 7.4),
        efficiency=np.full(3, 0.9),
        battery_kwh=np.full(3, 50.0),
        soc_arrival_kwh=np.full(3, 30.0),
    )
    cut = cut_to_horizon(whole, 1440)
    np.testing.assert_array_equal(cut.customer, [0, 1])
    np.testing.assert_allclose(cut.arrival_min, [0, 1380])
    np.testing.assert_allclose(cut.departure_min, [180, 1440])
    np.testing.assert_allclose(cut.energy_need_kwh, [6.0, 4.0])
    np.testing.assert_allclose(cut.soc_arrival_kwh, [32.0, 30.0])


def test_draws_refuse_what_cannot_be() -> None:
    with pytest.raises(InputError) as caught:
        draw_sessions(55, 1.5, NOON, 1440, np.random.default_rng(0), efficiency=0.0)
    assert [fault.key for fault in caught.value.faults] == ["share", "efficiency"]


def own(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_own_sessions_are_read_with_defaults(tmp_path: Path) -> None:
    text = "customer,arrival,departure,energy_kwh,charger_kw\n"
    text += "LOAD3,2026-05-15T18:00,2026-05-16T07:00,12,7.4\nLOAD1,2026-05-15 17:30,2026-05-16 06:30,70,3.7\n"
    text += "LOAD1,2026-05-18T18:00,2026-05-19T07:00,12,7.4\n"
    sessions = read_sessions(own(tmp_path / "cars.csv", text), CUSTOMERS, Clock(NOON), 1440)
    np.testing.assert_array_equal(sessions.customer, [0, 2])
    np.testing.assert_allclose(sessions.arrival_min, [330, 360])
    np.testing.assert_allclose(sessions.departure_min, [1110, 1140])
    np.testing.assert_allclose(
        sessions.energy_need_kwh, [70, 12]
    )  # 70 cannot be met: for the run to count, not a fault
    np.testing.assert_allclose(sessions.battery_kwh, [70, 60])
    np.testing.assert_allclose(sessions.soc_arrival_kwh, [0, 42])
    np.testing.assert_allclose(sessions.efficiency, 0.9)


def test_own_sessions_may_say_everything(tmp_path: Path) -> None:
    text = "customer,arrival,departure,energy_kwh,charger_kw,battery_kwh,soc_arrival_kwh,efficiency\n"
    text += "LOAD2,2026-05-15T18:00,2026-05-16T07:00,12,11,40,10,0.85\n"
    sessions = read_sessions(own(tmp_path / "cars.csv", text), CUSTOMERS, Clock(NOON), 1440)
    assert (sessions.battery_kwh[0], sessions.soc_arrival_kwh[0], sessions.efficiency[0]) == (40, 10, 0.85)


def test_every_fault_of_own_sessions_is_told_at_once(tmp_path: Path) -> None:
    text = "customer,arrival,departure,energy_kwh,charger_kw,battery_kwh,soc_arrival_kwh\n"
    text += "LOAD9,2026-05-15T18:00,2026-05-16T07:00,12,7.4,60,20\n"
    text += "LOAD1,teatime,2026-05-16T07:00,12,7.4,60,20\n"
    text += "LOAD1,2026-05-15T18:00,2026-05-15T17:00,12,7400,60,20\n"
    text += "LOAD2,2026-05-15T18:00,2026-05-16T07:00,lots,7.4,60,20\n"
    text += "LOAD2,2026-05-16T06:00,2026-05-16T09:00,-3,,60,20\n"
    text += "LOAD3,2026-05-15T18:00,2026-05-16T07:00+01:00,12,7.4,60,55\n"
    path = own(tmp_path / "cars.csv", text)
    with pytest.raises(InputError) as caught:
        read_sessions(path, CUSTOMERS, Clock(NOON), 1440)
    told = {(fault.where.removeprefix(f"{path}, "), fault.key) for fault in caught.value.faults}
    assert told == {
        ("line 2", "customer"),
        ("line 3", "arrival"),
        ("line 4", "departure"),
        ("line 4", "charger_kw"),
        ("line 5", "energy_kwh"),
        ("line 6", "arrival"),
        ("line 6", "energy_kwh"),
        ("line 6", "charger_kw"),
        ("line 7", "departure"),
        ("line 7", "battery_kwh"),
    }
    assert all(fault.remedy for fault in caught.value.faults)


def test_columns_missing_or_unknown_and_dates_outside(tmp_path: Path) -> None:
    path = own(tmp_path / "cars.csv", "customer,arrival,departure,energy_kw,charger_kw\n")
    with pytest.raises(InputError) as caught:
        read_sessions(path, CUSTOMERS, Clock(NOON), 1440)
    assert [(fault.key, fault.problem) for fault in caught.value.faults] == [
        ("energy_kwh", "column is missing"),
        ("energy_kw", "unknown column"),
    ]
    text = (
        "customer,arrival,departure,energy_kwh,charger_kw,colour\nLOAD1,2026-05-15T18:00,2026-05-16T07:00,12,-7,red\n"
    )
    with pytest.raises(InputError) as caught:
        read_sessions(own(tmp_path / "odd.csv", text), CUSTOMERS, Clock(NOON), 1440)
    assert [fault.key for fault in caught.value.faults] == ["colour", "charger_kw"]
    text = "customer,arrival,departure,energy_kwh,charger_kw\nLOAD1,2025-05-15T18:00,2025-05-16T07:00,12,7.4\n"
    with pytest.raises(InputError, match="none of 1 sessions lies within 1440 min"):
        read_sessions(own(tmp_path / "old.csv", text), CUSTOMERS, Clock(NOON), 1440)
    with pytest.raises(InputError, match="no such file"):
        read_sessions(tmp_path / "none.csv", CUSTOMERS, Clock(NOON), 1440)


def test_a_stranger_and_an_infinity_are_each_told_once(tmp_path: Path) -> None:
    text = "customer,arrival,departure,energy_kwh,charger_kw\n"
    text += "A,2026-05-15T18:00,2026-05-16T07:00,12,7.4\nLOAD1,2026-05-15T18:00,2026-05-16T07:00,inf,7.4\n"
    with pytest.raises(InputError) as caught:
        read_sessions(own(tmp_path / "cars.csv", text), CUSTOMERS, Clock(NOON), 1440)
    assert sorted(fault.key for fault in caught.value.faults) == ["customer", "energy_kwh"]


@pytest.mark.parametrize("offset", ["T18:00Z", " 18:00+02:00", "T18:00-0530", " 18:00+02"])
def test_an_offset_is_refused_however_it_is_written(tmp_path: Path, offset: str) -> None:
    text = f"customer,arrival,departure,energy_kwh,charger_kw\nLOAD1,2026-05-15{offset},2026-05-16T07:00,12,7.4\n"
    with pytest.raises(InputError, match="has an offset"):
        read_sessions(own(tmp_path / "cars.csv", text), CUSTOMERS, Clock(NOON), 1440)


def test_customers_named_by_numbers_are_names_and_bounds_are_said(tmp_path: Path) -> None:
    text = "customer,arrival,departure,energy_kwh,charger_kw\n007,2026-05-15T18:00,2026-05-16T07:00,12,7.4\n,,,,\n"
    sessions = read_sessions(own(tmp_path / "cars.csv", text), ["7", "007"], Clock(NOON), 1440)
    np.testing.assert_array_equal(sessions.customer, [1])
    with pytest.raises(InputError, match="no such customer: '007'"):
        read_sessions(tmp_path / "cars.csv", CUSTOMERS, Clock(NOON), 1440)
    with pytest.raises(InputError, match="charger_kw: out of range: 150 → give kW, not W, above 0 and at most 50"):
        read_sessions(own(tmp_path / "dc.csv", text.replace("7.4", "150")), ["007"], Clock(NOON), 1440)
