"""Own data and customers: by name, by position only where there are no names, and nothing left unsaid."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cosim.errors import InputError
from cosim.experiments.compose import compose
from cosim.experiments.day import Day
from cosim.experiments.report import assumptions
from cosim.experiments.scenario import parse
from cosim.feeders.join import join_columns, read_customer_table, rows_of

CUSTOMERS = ("LOAD1", "LOAD2", "LOAD3")


def join(*names: str, **options: object) -> tuple[list[int], list[str]]:
    told: list[str] = []
    return join_columns(names, CUSTOMERS, "a.csv", told.append, **options).tolist(), told  # type: ignore[arg-type]


@pytest.mark.parametrize("names", [("load3", "LOAD1", "Load2"), (" LOAD3", "LOAD1 ", "load2")])
def test_columns_are_joined_by_name_in_any_order_and_capitals(names: tuple[str, ...]) -> None:
    assert join(*names) == ([1, 2, 0], [])


def test_surplus_columns_are_listed_and_missing_customers_refused() -> None:
    columns, told = join("LOAD1", "x", "LOAD2", "LOAD3", "y")
    assert (columns, told) == ([0, 2, 3], ["a.csv: left out: 2 columns of no customer (x, y)"])
    with pytest.raises(InputError) as caught:
        join("LOAD1", "LOAD_3")
    (fault,) = caught.value.faults
    assert "2 of 3 customers have no column (LOAD2, LOAD3); 1 column of no customer (LOAD_3)" in fault.problem
    assert "for 'LOAD_3' did you mean 'LOAD3'?" in fault.remedy
    assert join("LOAD2", missing="has no roof plant") == (
        [-1, 0, -1], ["a.csv: 2 of 3 customers have no column (LOAD1, LOAD3): each has no roof plant"],
    )  # fmt: skip
    with pytest.raises(InputError, match="3 of 3 customers have no column"):
        join("roof", missing="has no roof plant")


def test_one_customer_has_one_column() -> None:
    with pytest.raises(InputError, match="LOAD1: has several columns"):
        join("LOAD1", "load1", "LOAD2", "LOAD3")


@pytest.mark.parametrize("names", [("h0", "h1", "h2"), ("1", "2", "3"), ("home_10", "home_11", "home_12")])
def test_numbered_columns_are_taken_in_order_and_it_is_said(names: tuple[str, ...]) -> None:
    columns, (told,) = join(*names)
    assert columns == [0, 1, 2]
    assert f"{names[0]} is LOAD1" in told
    assert join(*names, how="order") == ([0, 1, 2], [])  # as was asked for


@pytest.mark.parametrize("names", [("a", "b", "c"), ("h0", "h2", "h1"), ("h0", "g1", "h2"), ("Smith", "Jones", "Lee")])
def test_names_of_nobody_are_refused_unless_the_user_says_how(names: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="3 of 3 customers have no column"):
        join(*names)
    assert join(*names, how="order")[0] == [0, 1, 2]
    with pytest.raises(InputError, match="has 2 columns for 3 customers"):
        join(*names[:2], how="order")


def test_numbered_columns_of_another_number_are_drawn_where_that_may_be() -> None:
    def draws() -> np.ndarray:
        return np.array([1, 0, 1])

    columns, (told,) = join("h0", "h1", draws=draws)
    assert (columns, "homes draw them" in told) == ([1, 0, 1], True)
    assert join("LOAD1", "x", how="draw", draws=draws) == ([1, 0, 1], [])
    with pytest.raises(InputError, match="has 2 columns for 3 customers"):
        join("h0", "h1")


def test_an_exact_name_goes_before_one_in_other_capitals() -> None:
    np.testing.assert_array_equal(
        rows_of(["load1", "Load1", "7", "007", "x"], ["load1", "LOAD1", "7", "007"]), [0, 1, 2, 3, -1]
    )


def table(tmp_path: Path, text: str, **options: object) -> tuple[dict[str, list[float]], list[str]]:
    path, told = tmp_path / "a.csv", []
    path.write_text(text)
    ranges = {"capacity_kwh": (0.1, 100.0, "kWh"), "power_kw": (0.1, 50.0, "kW")}
    values = read_customer_table(path, "battery", CUSTOMERS, ranges, told.append, **options)  # type: ignore[arg-type]
    return {name: column.tolist() for name, column in values.items()}, told


def test_a_table_of_customers(tmp_path: Path) -> None:
    text = "power_kw,customer,capacity_kwh\n3, load3 ,10\n5,LOAD1,12\n1,LOAD2,2\n"
    assert table(tmp_path, text) == ({"capacity_kwh": [12, 2, 10], "power_kw": [5, 1, 3]}, [])
    values, told = table(tmp_path, "customer,capacity_kwh,power_kw\nLOAD2,10,3\nX,10,3\n", missing="has no battery")
    np.testing.assert_array_equal(values["capacity_kwh"], [np.nan, 10.0, np.nan])
    assert [one.removeprefix(f"{tmp_path}/a.csv: ") for one in told] == [
        "left out: 1 row of no customer (X)", "2 of 3 customers have no row (LOAD1, LOAD3): each has no battery",
    ]  # fmt: skip
    assert "power_kw" not in table(tmp_path, "customer,capacity_kwh\nLOAD1,9\n", missing="-", optional=("power_kw",))[0]


def test_every_fault_of_a_table_of_customers_at_once(tmp_path: Path) -> None:
    text = "customer,capacity_kwh,powerkw\nLOAD1,10,3\nload1,10,3\nLOAD2,9000,3\nLOAD3,-1,3\n"
    with pytest.raises(InputError) as caught:
        table(tmp_path, text)
    assert [(fault.key, fault.problem) for fault in caught.value.faults] == [
        ("power_kw", "column is missing"), ("powerkw", "unknown column"), ("customer", "has a row before: 'load1'"),
        ("capacity_kwh", "out of range: 9000 (and 1 more rows)"),
    ]  # fmt: skip
    with pytest.raises(InputError, match="2 of 3 customers have no row"):
        table(tmp_path, "customer,capacity_kwh,power_kw\nLOAD2,10,3\n")


def day(tmp_path: Path, **tables: dict[str, object]) -> Day:
    scenario = {
        "name": "a", "feeder": "two_bus", "start": datetime(2026, 5, 15, 12), "horizon_h": 1, "zone": "Europe/London",
        "runs": [{"controller": "none"}], **tables,
    }  # fmt: skip
    return compose(parse(scenario, tmp_path / "a.toml"), tmp_path / "a.toml")


def hours(**columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"time": ["2026-05-15T11:00Z", "2026-05-15T11:30Z"], **columns})


def test_homes_and_roofs_of_a_scenario_are_joined_by_name_on_the_clock_of_the_zone(tmp_path: Path) -> None:
    hours(load3=[0.3, 0.33], spare=[9.0, 9.0], LOAD1=[0.1, 0.11], LOAD2=[0.2, 0.22]).to_csv(
        tmp_path / "h.csv", index=False
    )
    hours(LOAD2=[2.0, 4.0]).to_csv(tmp_path / "pv.csv", index=False)
    (tmp_path / "i.csv").write_text("customer,inverter_kva,kwp\nLOAD2,4.6,5\n")
    made = day(tmp_path, households={"profiles": "h.csv"}, pv={"profiles": "pv.csv", "inverters": "i.csv"})
    assert made.exogenous.demand_kw[[0, 59]].tolist() == [[0.1, 0.2, 0.3], [0.11, 0.22, 0.33]]
    assert made.exogenous.pv_available_kw[[0, 59]].tolist() == [[0, 2, 0], [0, 4, 0]]
    assert made.exogenous.inverter_kva.tolist() == [0, 4.6, 0]
    assert [warning.partition(".csv: ")[2] for warning in made.warnings if ".csv" in warning] == [
        "left out: 1 column of no customer (spare)",
        "2 of 3 customers have no column (LOAD1, LOAD3): each has no roof plant",
    ]
    assert {"profiles/h.csv", "pv/pv.csv", "pv/i.csv"} <= made.inputs_sha256.keys()
    told = " ".join(assumptions(made, "opendss"))
    assert "that of Europe/London" in told
    assert "inverters are rated as in a table of their own" in told
    assert day(tmp_path, pv={"profiles": "pv.csv"}).exogenous.inverter_kva.tolist() == [0, 4, 0]
    (tmp_path / "i.csv").write_text("customer,inverter_kva\nLOAD2,3\n")
    with pytest.raises(InputError, match="LOAD2: gives up to 4 kW, its inverter 3 kVA"):
        day(tmp_path, pv={"profiles": "pv.csv", "inverters": "i.csv"})


def test_faults_of_all_own_files_come_together(tmp_path: Path) -> None:
    hours(LOAD1=[0.1, 450.0]).to_csv(tmp_path / "h.csv", index=False)
    hours(LOAD2=[-2.0, 4.0]).to_csv(tmp_path / "pv.csv", index=False)
    (tmp_path / "s.csv").write_text("customer,arrival,departure,energy_kwh,charger_kw\nX,2026-05-15T12:00,noon,3,7.4\n")
    with pytest.raises(InputError) as caught:
        day(tmp_path, households={"profiles": "h.csv"}, pv={"profiles": "pv.csv"}, ev={"sessions": "s.csv"})
    assert sorted(fault.key for fault in caught.value.faults) == ["LOAD1", "LOAD2", "customer", "departure"]


def test_sessions_with_offsets_are_on_the_clock_of_the_zone(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(
        "customer,arrival,departure,energy_kwh,charger_kw\nload2,2026-05-15T11:15Z,2026-05-15T12:45+01:00,3,7.4\n"
    )
    sessions = day(tmp_path, ev={"sessions": "s.csv"}).exogenous.sessions
    assert (sessions.customer.tolist(), sessions.arrival_min.tolist(), sessions.departure_min.tolist()) == (
        [1],
        [15],
        [45],
    )


def test_a_zone_moves_the_sun_and_nothing_else(tmp_path: Path) -> None:
    base = {"name": "a", "feeder": "two_bus", "start": datetime(2026, 5, 15), "runs": [{"controller": "none"}]}
    parts = {"ev": {"share": 0.67}, "pv": {"share": 1.0, "cloud": "clear"}}
    solar, civil = (
        compose(parse({**base, **parts, **zone}, tmp_path / "a.toml")).exogenous
        for zone in ({}, {"zone": "Europe/London"})
    )
    np.testing.assert_array_equal(solar.demand_kw, civil.demand_kw)
    np.testing.assert_array_equal(solar.sessions.arrival_min, civil.sessions.arrival_min)
    np.testing.assert_allclose(
        civil.pv_available_kw[60:], solar.pv_available_kw[:-60], atol=0.02
    )  # not the air's warmth
    assert solar.pv_available_kw.max() > 1.0
