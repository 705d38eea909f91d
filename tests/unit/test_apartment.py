"""Cars as measured: what is drawn has the measured quantiles and falls together as measured."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from cosim.contract import EvSessions
from cosim.errors import InputError
from cosim.feeders.apartment import draw_apartment
from cosim.feeders.sessions import draw_sessions

Float = NDArray[np.float64]

WEEK_MIN = 10_080
MONDAY = datetime(2026, 2, 2, 4)
USERS, WEEKS = 1000, 26
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
MEASURED: dict[str, tuple[float, ...]] = {
    "sessions a week": (1.5, 2.1, 4.2, 5.9, 8.7),
    "kWh a session": (2.9, 4.9, 8.4, 14.5, 22.1),
    "stay [h]": (1.27, 3.2, 11.4, 16.0, 21.8),
    "plug-in [h after 4]": (9.36, 11.67, 13.6, 16.26, 18.21),
}
"""Quantiles over users (the first) and sessions, of private users above 0.5 kWh and below 72 h."""
WEEKLY_KWH = (29.8, 43.8, 60.9)
PEAK_KW = {30: 1.65, 50: 1.38, 100: 1.16}
"""Of all user-weeks of the file alike: who is there for long and plugs in seldom counts more, cut weeks count too."""
USERS_ALIKE_KW = {30: 1.75, 50: 1.49, 100: 1.28}
"""Of whole weeks of the file, all users there for more than four alike, as the quantiles above count them."""
DRAWS, ONE_OFF = 4, 0.12  # draws of 1,000 user-weeks deviate by 0.025
FILE = Path(os.environ.get("COSIM_MEASURED_SESSIONS", ""))


def drawn_weeks(seed: int, weeks: int) -> pd.DataFrame:
    """Weeks of a thousand users at the meter, uncut; they begin on Monday at 4 h."""
    cars = draw_apartment(np.arange(USERS), MONDAY, weeks * WEEK_MIN, np.random.default_rng(seed), efficiency=1.0)
    return pd.DataFrame({
        "user": cars.customer, "start_min": cars.arrival_min, "kwh": cars.energy_need_kwh,
        "stay_min": cars.departure_min - cars.arrival_min,
    }).query(f"0 <= start_min < {weeks * WEEK_MIN}")  # fmt: skip


@pytest.fixture(scope="module")
def drawn() -> pd.DataFrame:
    return drawn_weeks(2, WEEKS)


def figures(table: pd.DataFrame) -> dict[str, pd.Series]:
    return {
        "sessions a week": table.groupby("user").size() / WEEKS,
        "kWh a session": table["kwh"],
        "stay [h]": table["stay_min"] / 60.0,
        "plug-in [h after 4]": table["start_min"] % 1440 / 60.0,
    }


def peak_kw(curves: Float, group: int) -> float:
    """Mean peak per car of 150 groups of user-weeks, in 15-minute means."""
    rng = np.random.default_rng(0)
    groups = (curves[rng.integers(len(curves), size=group)].sum(axis=0).max() for _ in range(150))
    return float(np.mean([peak / group for peak in groups]))


def week_curves(table: pd.DataFrame, weeks: int) -> Float:
    """Power of every user-week that charges at 7.2 kW from plug-in, in 15-minute means, shape (week, quarter hour)."""
    curves = np.zeros((weeks, WEEK_MIN // 15))
    edges = np.arange(0, 2 * WEEK_MIN + 15, 15.0)
    for row, start_min, kwh, stay_min in table[["row", "start_min", "kwh", "stay_min"]].itertuples(index=False):
        end_min = start_min + min(kwh / 7.2 * 60.0, stay_min)
        first, last = int(start_min // 15), int(end_min // 15) + 1
        here = np.minimum(edges[first + 1 : last + 1], end_min) - np.maximum(edges[first:last], start_min)
        np.add.at(curves[int(row)], np.arange(first, last) % curves.shape[1], 7.2 * here / 15.0)
    return curves


def test_quantiles_of_drawn_users_and_sessions_are_the_measured_ones(drawn: pd.DataFrame) -> None:
    for name, values in figures(drawn).items():
        np.testing.assert_allclose(values.quantile(QUANTILES), MEASURED[name], rtol=0.10, err_msg=name)
    weekly_kwh = drawn.groupby("user")["kwh"].sum() / WEEKS
    np.testing.assert_allclose(weekly_kwh.quantile(QUANTILES[1:4]), WEEKLY_KWH, rtol=0.10)
    ranks = drawn[["stay_min", "kwh"]].corr("spearman").iloc[0, 1]
    assert ranks == pytest.approx(0.37, abs=0.05)


def test_user_weeks_fall_together_as_measured() -> None:
    drawn = [week_curves(drawn_weeks(seed, 1).rename(columns={"user": "row"}), USERS) for seed in range(DRAWS)]
    for group, measured_kw in PEAK_KW.items():
        peaks_kw = np.array([peak_kw(curves, group) for curves in drawn])
        np.testing.assert_allclose(peaks_kw, measured_kw, rtol=ONE_OFF)
        assert measured_kw <= peaks_kw.mean() <= min(USERS_ALIKE_KW[group], 1.08 * measured_kw)


@pytest.mark.skipif(not FILE.is_file(), reason="needs the measured sessions (COSIM_MEASURED_SESSIONS)")
def test_the_pinned_figures_are_those_of_the_file() -> None:
    table = pd.read_csv(FILE, parse_dates=["start", "end"])
    stay_min = (table["end"] - table["start"]).dt.total_seconds() / 60.0
    kept = table[(table["private"] == 1) & (table["energy_kwh"] > 0.5) & (stay_min < 72 * 60)]
    assert (len(kept), kept["user"].nunique()) == (5272, 56)
    since = (kept["start"] - pd.Timestamp("2018-01-01")).dt.total_seconds() / 60.0
    kept = kept.assign(week=since // WEEK_MIN, start_min=since % WEEK_MIN, stay_min=stay_min, kwh=kept["energy_kwh"])
    hour = (kept["start_min"] / 60.0 - 4.0) % 24.0
    for name, values in (
        ("kWh a session", kept["kwh"]),
        ("stay [h]", kept["stay_min"] / 60.0),
        ("plug-in [h after 4]", hour),
    ):
        np.testing.assert_allclose(values.quantile(QUANTILES), MEASURED[name], rtol=0.01, err_msg=name)
    users = kept.groupby("user")
    weeks = (users["week"].max() - users["week"].min() + 1).astype(int)
    rate = (users.size() / ((users["end"].max() - users["start"].min()).dt.days / 7.0))[weeks > 4]
    np.testing.assert_allclose(rate.quantile(QUANTILES), MEASURED["sessions a week"], rtol=0.05)
    row = (kept["week"] - kept["user"].map(users["week"].min())) + kept["user"].map(weeks.cumsum() - weeks)
    curves = week_curves(kept.assign(row=row), int(weeks.sum()))
    place = np.concatenate([np.arange(count) for count in weeks])
    user, last = np.repeat(np.arange(len(weeks)), weeks), np.repeat(weeks - 1, weeks)
    is_whole = (place > 0) & (place < last) & (np.repeat(weeks, weeks) > 4)
    alike = np.random.default_rng(1).choice(len(user), 5_000, p=_of_users(user, is_whole))
    for group, measured_kw in PEAK_KW.items():
        assert peak_kw(curves, group) == pytest.approx(measured_kw, rel=0.035)
        assert peak_kw(curves[alike], group) == pytest.approx(USERS_ALIKE_KW[group], rel=0.035)


def _of_users(user: NDArray[np.int64], kept: NDArray[np.bool_]) -> Float:
    """Chances of rows that are kept, all users alike."""
    chance = kept / np.maximum(np.bincount(user, kept), 1.0)[user]
    return np.asarray(chance / chance.sum())


def draw(start: datetime, minutes: int, day: int = 0) -> EvSessions:
    return draw_sessions(60, 0.5, start, minutes, np.random.default_rng(3), model="apartment", day=day)


def inside(cars: EvSessions, begin_min: float, end_min: float) -> EvSessions:
    return cars[(cars.arrival_min > begin_min) & (cars.departure_min < end_min)]


def test_a_day_is_the_same_from_every_horizon_and_as_the_day_before() -> None:
    start = datetime(2026, 5, 14, 12)  # Thursday to Wednesday, across the seam of two weeks
    whole = draw(start, WEEK_MIN)
    for number in range(7):
        day = draw(start + timedelta(days=number), 1440)
        before = draw(start + timedelta(days=number + 1), 1440, day=-1)
        of_whole = inside(whole, number * 1440, (number + 1) * 1440)
        for cars in (inside(day, 0, 1440), inside(before, 0, 1440)):
            np.testing.assert_array_equal(cars.customer, of_whole.customer)
            np.testing.assert_allclose(cars.arrival_min, of_whole.arrival_min - number * 1440)
            np.testing.assert_allclose(cars.energy_need_kwh, of_whole.energy_need_kwh)


def test_a_month_can_be_served_and_its_weekends_differ() -> None:
    cars = draw_sessions(300, 1.0, datetime(2026, 1, 31, 17, 5), 31 * 1440, np.random.default_rng(5), model="apartment")
    stay_h = (cars.departure_min - cars.arrival_min) / 60.0
    assert (cars.energy_need_kwh <= cars.charger_kw * cars.efficiency * stay_h).all()
    assert (cars.soc_arrival_kwh >= 0).all()
    assert (cars.soc_arrival_kwh + cars.energy_need_kwh <= cars.battery_kwh + 1e-9).all()
    same = cars.customer[1:] == cars.customer[:-1]
    assert (cars.arrival_min[1:] > cars.departure_min[:-1])[same].all()
    clock_min = cars.arrival_min[cars.arrival_min > 0] + 17 * 60 + 5  # since Saturday 0 h
    weekend = clock_min // 1440 % 7 < 2
    noon = (clock_min % 1440 > 12 * 60) & (clock_min % 1440 < 15 * 60)
    assert noon[weekend].mean() > 2 * noon[~weekend].mean()  # measured: 20 % and 9 %


def plugs(**options: float) -> tuple[float, float]:
    """Sessions and energy at the meter [kWh] of a car and week."""
    cars = draw_sessions(200, 1.0, datetime(2026, 5, 11), 4 * WEEK_MIN, np.random.default_rng(1), **options)
    return len(cars) / 800, float(cars.energy_need_kwh.sum()) / 0.9 / 800


def test_fewer_plug_ins_keep_the_energy_of_a_week() -> None:
    (daily, daily_kwh), (seldom, seldom_kwh) = (
        plugs(weekly_energy_kwh=44.0),
        plugs(plug_in_days=3.5, weekly_energy_kwh=44.0),
    )
    assert daily == pytest.approx(7.2, abs=0.1)  # ends of the horizon cut stays in two
    assert seldom == pytest.approx(3.6, abs=0.1)
    assert daily_kwh == pytest.approx(44.0, rel=0.03)
    assert seldom_kwh == pytest.approx(44.0, rel=0.06)


def test_a_car_plugs_in_on_that_many_days_of_a_week() -> None:
    week = draw_sessions(60, 1.0, datetime(2026, 5, 11), WEEK_MIN, np.random.default_rng(1), plug_in_days=3.0)
    days = (
        pd.Series(inside(week, 0, WEEK_MIN).arrival_min // 1440).groupby(inside(week, 0, WEEK_MIN).customer).nunique()
    )
    assert days.max() == 3


def test_models_and_days_out_of_range_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        draw_sessions(5, 1.0, MONDAY, 60, np.random.default_rng(0), model="villa", plug_in_days=8.0)
    assert [fault.key for fault in caught.value.faults] == ["model", "plug_in_days"]
