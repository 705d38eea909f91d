"""Own household profiles: read honestly, refused with every fault at once."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cosim.errors import InputError
from cosim.feeders.clock import Clock
from cosim.feeders.households import draw_households, read_profiles
from cosim.feeders.series import Series

NOON = datetime(2026, 5, 15, 12)


def a_day() -> pd.DataFrame:
    minute = np.arange(1440)
    return pd.DataFrame({"a": minute / 1000.0, "b": 0.5 + 0.0 * minute, "c": 1.0 + (minute > 720)})


def read(path: Path) -> Series:
    return read_profiles(path, Clock(NOON))


def draw(path: Path, count: int = 3, minutes: int = 1440, **options: int) -> np.ndarray:
    return draw_households(read(path), count, NOON, minutes, np.random.default_rng(0), **options)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_day_is_taken_through_midnight(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"own{suffix}"
    a_day().to_csv(path, index=False) if suffix == ".csv" else a_day().to_parquet(path)
    today_kw, yesterday_kw = (read(path).over(NOON, 1440, day=day) for day in (0, -1))
    np.testing.assert_allclose(today_kw, np.roll(a_day().to_numpy(), -720, axis=0))
    np.testing.assert_array_equal(today_kw, yesterday_kw)  # one day only: yesterday was the same


def test_fewer_or_more_columns_than_customers_are_drawn(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    a_day().to_csv(path, index=False)
    assert sorted(draw(path, 2).sum(axis=0)) != sorted(draw(path, 2, 60).sum(axis=0))
    assert len({column.tobytes() for column in draw(path, 7).T}) == 3


def test_a_time_column_declares_step_and_dates(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    times = pd.date_range("2026-05-14T12:00", periods=96, freq="30min")
    pd.DataFrame({"time": times, "home": np.arange(96) / 100}).to_csv(path, index=False)
    assert read(path).step_min == 30
    demand_kw = draw(path, 1)
    assert demand_kw[0, 0] == demand_kw[29, 0] == 0.48
    assert demand_kw[-1, 0] == 0.95
    assert draw(path, 1, day=-1)[0, 0] == 0.0
    with pytest.raises(InputError, match=r"covers 2026-05-14 12:00:00 to 2026-05-16 12:00:00"):
        draw(path, 1, minutes=1441)
    with pytest.raises(InputError, match="covers"):
        draw(path, 1, day=-2)


def test_every_fault_of_a_file_is_told_at_once_with_line_and_remedy(tmp_path: Path) -> None:
    table = a_day().astype(object)
    table.loc[4, "a"] = "n/k"
    table.loc[9, "a"] = np.nan
    table.loc[[2, 3], "b"] = -0.5
    table["c"] = 450.0
    path = tmp_path / "bad.csv"
    table.iloc[:-1].to_csv(path, index=False)
    with pytest.raises(InputError) as caught:
        draw(path)
    told = [(fault.where.removeprefix(str(path)), fault.key, fault.problem) for fault in caught.value.faults]
    assert told == [
        ("", "rows", "wrong length: 1439 rows of 1 min are no whole days"),
        (", line 6", "a", "not a number: 'n/k'"),
        (", line 11", "a", "empty or not finite: nan"),
        (", line 4", "b", "negative demand: -0.5 kW (and 1 more rows)"),
        (", line 2", "c", "absurd demand: 450 kW looks like watts (and 1438 more rows)"),
    ]
    assert all(fault.remedy for fault in caught.value.faults)


def test_faults_of_the_time_column(tmp_path: Path) -> None:
    def refuse(times: list[str], match: str) -> None:
        path = tmp_path / "times.csv"
        pd.DataFrame({"time": times, "home": 0.3}).to_csv(path, index=False)
        with pytest.raises(InputError, match=match):
            read(path)

    refuse(["2026-05-15T12:00", "2026-05-15T12:30", "2026-05-15T14:00"], r"line 4: time: does not follow .* 30 min")
    refuse(["2026-05-15T12:00", "noon", "2026-05-15T14:00"], r"line 3: time: not a time: 'noon'")
    refuse(["2026-05-15T12:00+02:00", "2026-05-15T12:30+02:00"], r"line 2: time: has an offset")
    refuse(["2026-05-15T12:30", "2026-05-15T12:00"], "rows follow one another by -30 min")
    refuse(["2026-05-15T12:30"], "wrong length: 1 rows")


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("missing.csv", None, "no such file.*may_weekday"),
        ("empty.csv", b"", "is empty"),
        ("blank.csv", b"  \n\n", "cannot be read as a table"),
        ("empty.parquet", b"", "is empty"),
        ("semicolons.csv", b"a;b\n" + b"0,5;0,5\n" * 1440, "separated by semicolons.*not 0,5"),
        ("tabs.csv", b"a\tb\n" + b"0.5\t0.5\n" * 1440, "separated by tabs"),
        ("one_comma.csv", b"a\n" + b"0,5\n" * 1440, "more fields than the header.*not 0,5"),
        ("trailing.csv", b"a,b,c\n" + b"0.1,0.2,0.3,0.9\n" * 1440, "more fields than the header"),
        ("latin.csv", "Käse,b\n1,2\n".encode("latin-1"), "not UTF-8"),
        ("latin_below.csv", "a,b\n1,2\n1,ä\n".encode("latin-1"), "not UTF-8"),
        ("utf16.csv", "a,b\n1,2\n".encode("utf-16"), "not UTF-8"),
        ("ragged.csv", b"a,b\n1,2\n1,2,3\n", "cannot be read as a table"),
        ("binary.csv", bytes(range(128, 256)) * 20, "not UTF-8"),
        ("not.parquet", b"a,b\n1,2\n", "cannot be read as a table"),
        ("header.csv", b"a,b\n", "wrong length: 0 rows"),
        ("only_time.csv", b"time\n2026-05-15T12:00\n2026-05-15T12:01\n", "no values beside the time"),
    ],
)
def test_what_is_no_table_is_said_so(tmp_path: Path, name: str, content: bytes | None, match: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=match):
        draw(path)


def test_a_parquet_file_in_time_keeps_its_time(tmp_path: Path) -> None:
    path = tmp_path / "own.parquet"
    table = pd.DataFrame(
        {"home": np.arange(192) / 100}, index=pd.date_range("2026-05-14T12:00", periods=192, freq="15min")
    )
    table.to_parquet(path)
    found = read(path)
    assert (found.step_min, found.start, found.names) == (15, datetime(2026, 5, 14, 12), ("home",))
    table.tz_localize("UTC").to_parquet(path)
    with pytest.raises(InputError, match="has an offset"):
        read(path)


def test_a_parquet_file_with_another_index_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.parquet"
    a_day().set_index("a").to_parquet(path)
    with pytest.raises(InputError, match=r"named by an index \(a\).*index=False"):
        read(path)


def test_an_infinity_is_one_fault(tmp_path: Path) -> None:
    table = a_day()
    table.loc[3, "a"], table.loc[4, "b"] = np.inf, -np.inf
    path = tmp_path / "own.csv"
    table.to_csv(path, index=False)
    with pytest.raises(InputError) as caught:
        read(path)
    assert [(fault.key, fault.problem) for fault in caught.value.faults] == [
        ("a", "empty or not finite: inf"),
        ("b", "empty or not finite: -inf"),
    ]


def test_a_set_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(InputError, match="january_weekday, july_weekday, may_weekday, october_weekday"):
        draw_households("february_weekday", 3, NOON, 60, np.random.default_rng(0))


def test_rows_of_commas_at_the_end_are_no_gaps_and_hours_are_no_home(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    table = a_day().assign(time=pd.date_range("2026-05-15", periods=1440, freq="min"))
    path.write_text(table.to_csv(index=False) + ",,,\n,,,\n")
    assert read(path).means.shape == (1440, 3)
    path.write_text(table.to_csv(index=False).replace("\n", "\n,,,\n", 1))
    with pytest.raises(InputError, match="line 2"):
        read(path)
    table.assign(Hour=table.time.dt.hour).to_csv(path, index=False)
    with pytest.raises(InputError, match=r"Hour: is no demand by its name"):
        read(path)
    table.set_index("time").rename_axis(None).to_csv(path)
    with pytest.raises(InputError, match="name it `time` where it holds times"):
        read(path)
    table.to_parquet(tmp_path / "OWN.PARQUET")
    assert read(tmp_path / "OWN.PARQUET").names == ("a", "b", "c")
