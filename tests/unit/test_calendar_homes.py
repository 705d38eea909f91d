"""Homes drawn for any day: none twice, weekends apart, and together as the shipped sets are."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from cosim.feeders.clock import Clock
from cosim.feeders.households import admd_kw, draw_households, read_profiles

MONDAY = datetime(2026, 1, 12)
HOMES = 60


def draw(start: datetime, minutes: int, homes: int = HOMES, day: int = 0) -> np.ndarray:
    return draw_households("calendar", homes, start, minutes, np.random.default_rng(1), day=day)


@pytest.fixture(scope="module")
def week_kw() -> np.ndarray:
    """A week in January, shape (day, minute, home)."""
    return draw(MONDAY, 7 * 1440).reshape(7, 1440, HOMES)


def test_no_day_of_a_week_and_no_home_is_like_another(week_kw: np.ndarray) -> None:
    days = week_kw.transpose(0, 2, 1).reshape(-1, 1440)
    assert len({day.tobytes() for day in days}) == 7 * HOMES
    assert np.corrcoef(days).max(initial=-1, where=~np.eye(len(days), dtype=bool)) < 0.99


def test_a_day_is_the_same_from_every_horizon_and_as_the_day_before(week_kw: np.ndarray) -> None:
    saturday = draw(MONDAY + timedelta(days=5, hours=6), 720, homes=9)
    np.testing.assert_array_equal(saturday, week_kw[5, 360:1080, :9])
    np.testing.assert_array_equal(draw(MONDAY + timedelta(days=6, hours=6), 720, homes=9, day=-1), saturday)
    over = draw(MONDAY + timedelta(days=6), 2 * 1440, homes=3)  # from one week into the next
    np.testing.assert_array_equal(over[:1440], week_kw[6, :, :3])
    np.testing.assert_array_equal(over[1440:], draw(MONDAY + timedelta(days=7), 1440, homes=3))


def test_weekdays_are_as_the_shipped_ones_and_weekends_are_not(week_kw: np.ndarray) -> None:
    shipped_kw = read_profiles("january_weekday", Clock(MONDAY)).means[:1440]
    weekday_kw, weekend_kw = week_kw[:5], week_kw[5:]
    assert weekday_kw.mean() == pytest.approx(shipped_kw.mean(), rel=0.10)
    groups, rng = (10, 55), np.random.default_rng(0)
    drawn = np.mean([admd_kw(day, groups, rng, draws=40) for day in weekday_kw], axis=0)
    np.testing.assert_allclose(drawn, admd_kw(shipped_kw, groups, rng, draws=40), rtol=0.15)
    office = slice(9 * 60, 15 * 60)
    assert weekend_kw[:, office].mean() > 1.1 * weekday_kw[:, office].mean()


def test_summer_needs_less_than_winter(week_kw: np.ndarray) -> None:
    july_kw = draw(datetime(2026, 7, 13), 7 * 1440, homes=30)
    assert july_kw.mean() < 0.95 * week_kw[:, :, :30].mean()
