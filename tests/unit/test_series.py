"""Series of a user's file: any regular step, on any horizon, with every fault told once."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cosim.errors import InputError
from cosim.feeders.clock import Clock
from cosim.feeders.series import Quantity, Series, read_series

START = datetime(2026, 5, 15, 12)
PRICE = Quantity("price", "EUR/kWh", -5.0, 5.0)
DEMAND = Quantity("demand", "kW", 0.0, 100.0, usual=(0.05, 30.0))


def told(path: Path, quantity: Quantity = DEMAND, zone: str | None = None, **options: float) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_series(path, "profiles", quantity, Clock(START, zone), **options)
    return [f"{fault.key}: {fault.problem}" for fault in caught.value.faults]


@pytest.mark.parametrize("step_s", [1, 10, 30, 45, 60, 90, 300, 420, 900, 3600])
@pytest.mark.parametrize("lead_s", [0, 20, 90])
def test_minutes_are_the_means_of_whatever_rows(step_s: int, lead_s: int) -> None:
    rows = 2 * 3600 // step_s + 5
    means = np.random.default_rng(step_s).uniform(0.0, 2.0, (rows, 2))
    series = Series(means, step_s / 60, ("a", "b"), START - timedelta(seconds=lead_s), "a.csv")
    by_second = np.repeat(means, step_s, axis=0)[lead_s:]  # every second by itself
    expected = by_second[: 60 * 60].reshape(60, 60, 2).mean(axis=1)
    np.testing.assert_allclose(series.over(START, 60), expected, rtol=0, atol=1e-12)


def test_a_horizon_that_is_not_covered_names_what_is() -> None:
    series = Series(np.ones((4, 1)), 15.0, ("a",), START, "a.csv")
    assert series.over(START, 60).shape == (60, 1)
    for start, minutes, day in ((START, 61, 0), (START - timedelta(minutes=1), 30, 0), (START, 60, -1)):
        with pytest.raises(InputError, match=r"covers 2026-05-15 12:00:00 to 2026-05-15 13:00:00, not"):
            series.over(start, minutes, day=day)


def test_rows_without_times_take_the_step_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    pd.DataFrame({"h": np.arange(96) / 100}).to_csv(path, index=False)
    series = read_series(path, "profiles", DEMAND, Clock(START), step_min=15)
    assert series.over(START, 16)[[0, 14, 15], 0].tolist() == [0.48, 0.48, 0.49]
    assert told(path) == ["rows: wrong length: 96 rows of 1 min are no whole days"]
    assert told(path, step_min=7) == ["rows: wrong length: 96 rows of 7 min are no whole days"]


def test_of_three_days_without_dates_the_second_is_taken() -> None:
    series = Series(np.repeat([[1.0], [2.0], [3.0]], 24, axis=0), 60.0, ("a",), None, "a.csv")
    assert [set(series.over(START, 720, day=day).ravel()) for day in (-1, 0, 1)] == [{1.0}, {2.0}, {3.0}]
    assert set(series.over(START, 1440).ravel()) == {2.0, 3.0}


def test_times_with_offsets_are_read_on_the_clock_of_the_day(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    times = pd.date_range("2026-05-15T10:30Z", periods=8, freq="15min")
    frame = pd.DataFrame({"time": times.strftime("%Y-%m-%dT%H:%MZ"), "eur": np.arange(8) / 10.0})
    frame.to_csv(path, index=False)
    of_london = read_series(path, "tariff", PRICE, Clock(START, "Europe/London"))
    assert of_london.over(START, 15).ravel().tolist() == [0.2] * 15  # 11:00 UTC
    parquet = tmp_path / "a.parquet"
    frame.assign(time=times).to_parquet(parquet)
    same = read_series(parquet, "tariff", PRICE, Clock(START, "Europe/London"))
    assert (same.start, same.step_min) == (of_london.start, of_london.step_min) == (datetime(2026, 5, 15, 11, 30), 15.0)


@pytest.mark.parametrize(
    ("times", "zone", "word"),
    [
        (
            ["12:00", "12:15", "12:30", "13:00", "13:15"],
            None,
            "does not follow the row before by 15 min: 2026-05-15T13:00",
        ),
        (["12:00", "12:15", "12:15", "12:30"], None, "2026-05-15T12:15"),
        (["12:30", "12:15", "12:00"], None, "rows follow one another by -15 min"),
        (["12:00", "12:00", "12:00"], None, "rows follow one another by 0 min"),
    ],
)
def test_gaps_repeats_and_backward_times(tmp_path: Path, times: list[str], zone: str | None, word: str) -> None:
    path = tmp_path / "a.csv"
    pd.DataFrame({"time": [f"2026-05-15T{time}" for time in times], "h": 0.5}).to_csv(path, index=False)
    assert any(word in one for one in told(path, zone=zone))


def test_a_change_of_the_clock_without_a_zone_is_a_gap_and_with_one_is_none(tmp_path: Path) -> None:
    path, clock = tmp_path / "a.csv", Clock(datetime(2026, 10, 25), "Europe/London")
    times = pd.date_range("2026-10-25", periods=25, freq="h", tz="Europe/London").tz_localize(None)
    pd.DataFrame({"time": times.strftime("%Y-%m-%dT%H:%M"), "h": np.arange(25) / 100}).to_csv(path, index=False)
    assert read_series(path, "profiles", DEMAND, clock).over(clock.start, 1500)[-1, 0] == 0.24
    with pytest.raises(InputError, match=r"line 4: time: does not follow .* give the scenario a zone"):
        read_series(path, "profiles", DEMAND, Clock(clock.start))


def test_a_fault_of_many_columns_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    table = pd.DataFrame(450.0, index=range(1440), columns=[f"h{k}" for k in range(55)])
    table.to_csv(path, index=False)
    (one,) = told(path)
    assert one.startswith(
        "h0: absurd demand: 450 kW looks like watts (and 1439 more rows) (and so in 54 more columns: h1"
    )
    table.loc[3, "h7"] = -1.0
    table.to_csv(path, index=False)
    assert [one.partition(":")[0] for one in told(path)] == ["h0", "h7"]


@pytest.mark.parametrize("name", ["Unnamed: 0", "index", "timestamp", "Time", "Hour"])
def test_an_index_column_is_no_home(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.parquet"
    pd.DataFrame({name: np.random.default_rng(0).uniform(0, 1, 1440), "h": 0.5}).to_parquet(path)
    assert len(told(path)) == 1


def test_a_column_that_counts_from_anywhere_is_no_home(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    times = pd.date_range(START, periods=8, freq="15min").strftime("%Y-%m-%dT%H:%M")
    for count in (np.arange(24, 32), 15 * np.arange(8), 31 - np.arange(8)):  # of a slice, minutes, backwards
        pd.DataFrame({"time": times, "row": count, "h": 0.5}).to_csv(path, index=False)
        assert told(path) == ["row: counts rows, so it is no demand"]


@pytest.mark.parametrize(
    ("factor", "word"), [(0.001, "Multiply it by 1000"), (1.0, ""), (70.0, "Multiply it by 0.001")]
)
def test_another_unit_is_told_with_its_factor(tmp_path: Path, factor: float, word: str) -> None:
    path = tmp_path / "a.csv"
    pd.DataFrame({"h": np.full(1440, 1.3 * factor)}).to_csv(path, index=False)
    assert [word in one for one in read_series(path, "profiles", DEMAND, Clock(START)).warnings] == [True] * bool(word)


def test_blanks_around_names_of_columns_are_none_and_dates_of_another_name_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(" time , h \n2026-05-15T12:00,0.5\n2026-05-15T12:30,0.5\n")
    assert read_series(path, "profiles", DEMAND, Clock(START)).names == ("h",)
    path.write_text(path.read_text().replace("time", "when"))
    assert "when: holds dates" in told(path)


def test_what_is_no_number_among_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b,c,d\n" + '"0,5",inf,,True\n' * 1440)
    assert [one.partition(" (and")[0] for one in told(path)] == [
        "a: not a number: '0,5'", "b: empty or not finite: inf", "c: empty or not finite: nan",
        "d: holds bool, not numbers",
    ]  # fmt: skip
