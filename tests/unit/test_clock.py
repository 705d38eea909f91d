"""Times of files on the clock of a day: zones, offsets, and the days that have 23 or 25 hours."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from cosim.errors import Fault, InputError
from cosim.feeders.clock import Clock
from cosim.feeders.find import check_zone
from cosim.feeders.profiles import clear_sky

MAY = datetime(2026, 5, 15, 12)
LONDON = Clock(MAY, "Europe/London")


def read(clock: Clock, *times: str, in_order: bool = False) -> tuple[list[str], list[Fault]]:
    faults: list[Fault] = []
    found = clock.read(pd.Series(times, name="time"), "a.csv", faults, in_order=in_order)
    return list(found.dt.strftime("%d %H:%M")), faults


def test_offsets_are_moved_to_the_clock_and_local_times_stay() -> None:
    found, faults = read(
        LONDON, "2026-05-15T11:00Z", "2026-05-15T13:00+02:00", "2026-05-15 12:00", "2026-05-15T07:00-0400"
    )
    assert (found, faults) == (["15 12:00"] * 4, [])
    _, faults = read(Clock(MAY), "2026-05-15T11:00Z", "2026-05-15T11:00+01")
    assert [fault.problem for fault in faults] == ["has an offset: 2026-05-15T11:00Z (and 1 more rows)"]
    assert "zone" in faults[0].remedy


def test_a_winter_time_in_a_summer_file_is_moved_by_its_own_offset() -> None:
    # before the change the zone's clock is UTC; the day's clock, of May, is an hour ahead of that
    assert read(LONDON, "2026-03-29T00:30")[0] == ["29 01:30"]
    assert read(LONDON, "2026-03-29T02:30")[0] == ["29 02:30"]


@pytest.mark.parametrize("step_min", [15, 30, 60])
@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_a_day_of_a_change_is_read_without_a_gap_or_a_repeat(day: str, hours: int, step_min: int) -> None:
    utc = pd.date_range(day, periods=hours * 60 // step_min + 1, freq=f"{step_min}min", tz="Europe/London")
    local = utc.tz_localize(None).strftime("%Y-%m-%dT%H:%M")
    assert local[-1].endswith("T00:00")
    clock = Clock(datetime.fromisoformat(day), "Europe/London")
    times = clock.read(pd.Series(local, name="time"), "a.csv", faults := [], in_order=True)
    assert not faults
    elapsed = (times - clock.start) / timedelta(minutes=1)
    np.testing.assert_array_equal(elapsed, step_min * np.arange(len(local)))


def test_times_that_do_not_exist_or_come_twice_are_named() -> None:
    _, faults = read(LONDON, "2026-03-29T00:30", "2026-03-29T01:30")
    assert ["does not exist in Europe/London" in fault.problem for fault in faults] == [True]
    assert faults[0].where == "a.csv, line 3"
    _, faults = read(LONDON, "2026-10-25T01:30")
    assert ["comes twice in Europe/London" in fault.problem for fault in faults] == [True]
    assert read(LONDON, "2026-10-25T01:30+01:00", "2026-10-25T01:30Z") == (["25 01:30", "25 02:30"], [])


@pytest.mark.parametrize("text", ["46157.5", "46157.520833", "2026", "15/05/2026 12:00", "noon", "nan", "", "12:00"])
def test_what_is_no_time_is_named(text: str) -> None:
    for clock in (LONDON, Clock(MAY)):
        assert [fault.problem for fault in read(clock, text)[1]] == [f"not a time: {text!r}"]


def test_mistyped_years_are_named_with_and_without_an_offset() -> None:
    for clock in (LONDON, Clock(MAY)):
        _, faults = read(clock, "9999-12-31T22:00", "0001-01-01T00:00")
        assert [fault.problem for fault in faults] == ["out of range: 9999-12-31T22:00 (and 1 more rows)"]
    assert read(LONDON, "9999-12-31T22:00Z")[1][0].problem == "out of range: 9999-12-31T22:00Z"


def test_zones_and_starts_that_cannot_be() -> None:
    for zone in ("Europe/Londn", "", "../etc", "/etc/passwd", "x" * 5000, "BST"):
        with pytest.raises(InputError, match="there is no zone"):
            check_zone(zone, MAY)
    for start in (datetime(2026, 3, 29, 1, 30), datetime(2026, 10, 25, 1, 30)):
        with pytest.raises(InputError, match="no moment of Europe/London, or two"):
            check_zone("Europe/London", start)
    check_zone("Europe/London", MAY)


def test_a_change_within_the_horizon_is_told() -> None:
    assert Clock(datetime(2026, 3, 28, 12)).warnings(1440) == []
    assert LONDON.warnings(1440) == []
    (spring,) = Clock(datetime(2026, 3, 28, 12), "Europe/London").warnings(1440)
    assert "changes at about 29 March 2026 01:00" in spring
    (autumn,) = Clock(datetime(2026, 10, 24, 12), "Europe/London").warnings(1440)
    assert "25 October 2026 02:00" in autumn


@pytest.mark.parametrize(
    "zone", ["Europe/London", "Europe/Berlin", "Europe/Madrid", "America/New_York", "Asia/Kolkata"]
)
def test_the_sun_is_highest_when_the_zone_s_clock_says_so(zone: str) -> None:
    """Spencer's equation of time (Search 2(5), 1971, p. 172) shares nothing with pvlib's ephemeris."""
    latitude, longitude = 48.0, {"Asia/Kolkata": 77.2, "America/New_York": -74.0}.get(zone, 7.4)
    clock = Clock(datetime(2026, 5, 15), zone)
    assert clock.ahead_of_utc is not None
    sky = clear_sky(latitude, longitude, clock.start, 1440, clock.ahead_of_utc)
    angle = 2 * np.pi * (clock.start.timetuple().tm_yday - 1) / 365
    equation_min = 229.18 * (
        0.000075 + 0.001868 * np.cos(angle) - 0.032077 * np.sin(angle)
        - 0.014615 * np.cos(2 * angle) - 0.04089 * np.sin(2 * angle)
    )  # fmt: skip
    noon_min = 720.0 - 4.0 * longitude + clock.ahead_of_utc / timedelta(minutes=1) - equation_min
    assert np.argmin(sky.zenith_deg) == pytest.approx(noon_min, abs=2.0)
