"""``cosim plan``: reading demand, naming every fault, writing the plan."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cosim.errors import InputError
from cosim.experiments.plan.generate import generate_demand
from cosim.experiments.plan.options import ReadOptions
from cosim.experiments.plan.read import read_demand

HEADER = "vehicle,powerNom,energyRequired,energyMax,arrivalTime,departureTime"
STEPS = f"""{HEADER}
0,22,26,52,47,67
1,7,17.6711,30,33,43
2,11,45.815,52,41,58
3,11,27.9156,88,59,69
4,6,20.305,88,32,46
"""
DATES = """,vehicle,powerNom,energyRequired,energyMax,arrivalTime,departureTime,parkingDuration
0,0,22,26,52,2025-08-18 11:59:53,2025-08-18 16:46:38,4.77917
1,1,7,17.6711,30,2025-08-18 08:18:18,2025-08-18 10:49:46,2.52444
2,2,11,45.815,52,2025-08-18 10:26:38,2025-08-18 14:36:32,4.165
3,3,11,27.9156,88,2025-08-18 14:47:47,2025-08-18 17:20:03,2.53778
4,4,6,20.305,88,2025-08-18 08:10:04,2025-08-18 11:33:07,3.38417
"""


def write(folder: Path, text: str, name: str = "demand.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_text(text, encoding=encoding)
    return path


def faults_of(path: Path) -> list[tuple[str, str]]:
    with pytest.raises(InputError) as caught:
        read_demand(path, 900.0, ReadOptions(strict=True))
    return [(fault.where.removeprefix(str(path)).removeprefix(", "), fault.key) for fault in caught.value.faults]


def test_the_whole_folder(cosim, tmp_path):
    demand, out = write(tmp_path, STEPS), tmp_path / "out"
    code, _, err = cosim(
        "plan", str(demand), "--capacity-kw", "20", "--formulation", "milp", "--min-power-kw", "4.2",
        "--objective", "weighted", "--n-sols", "3", "--out", str(out),
    )  # fmt: skip
    assert code == 0, err
    assert "no plan can serve 10.23 kWh of 4 vehicles" in err
    told = json.loads((out / "plan.json").read_text())
    assert told["objective"] == pytest.approx(39.7672, abs=1e-3)
    assert told["status"] == "optimal"
    assert {"gap", "peak_kw", "energy_kwh", "unserved_kwh"} <= told.keys()
    plan = pd.read_parquet(out / "plan.parquet")
    assert list(plan.columns) == ["step", "vehicle", "power_kw", "energy_kwh"]
    pd.testing.assert_frame_equal(plan, pd.read_csv(out / "plan.csv", dtype={"vehicle": str}), check_dtype=False)
    assert plan["energy_kwh"].sum() == pytest.approx(told["energy_kwh"], abs=1e-6)
    by_step = plan.groupby("step")["power_kw"].sum()
    assert by_step.max() == pytest.approx(told["peak_kw"], abs=1e-6)
    assert by_step.max() <= 20 + 1e-6
    vehicles = pd.read_parquet(out / "vehicles.parquet")
    assert vehicles["unserved_kwh"].sum() == pytest.approx(told["unserved_kwh"], abs=1e-4)
    assert set(pd.read_parquet(out / "other_plans.parquet")["plan"]) == {1, 2}
    for name in ("heatmap.png", "stack.png", "vehicles.csv", "other_plans.csv"):
        assert (out / name).stat().st_size > 500
    assert not list(out.glob("*.part"))


def test_dates_rounded_down_are_the_steps_of_the_seed(cosim, tmp_path):
    demand, out = write(tmp_path, DATES), tmp_path / "out"
    code, _, err = cosim(
        "plan", str(demand), "--capacity-kw", "100", "--objective", "weighted", "--rounding", "down", "--out", str(out)
    )
    assert code == 0
    told = json.loads((out / "plan.json").read_text())
    assert told["objective"] == pytest.approx(37.2029, abs=1e-3)
    assert (told["steps"], told["stays_shortened"]) == (96, 5)
    assert "rounding shortens 5 stays" in err
    assert pd.read_csv(out / "plan.csv")["time"].iloc[0] == "2025-08-18 08:00:00"


def test_dates_are_planned_as_they_are_unless_told_otherwise(cosim, tmp_path):
    demand, out = write(tmp_path, DATES), tmp_path / "out"
    code, _, err = cosim("plan", str(demand), "--capacity-kw", "100", "--out", str(out))
    assert code == 0
    assert "rounding" not in err
    told = json.loads((out / "plan.json").read_text())
    assert (told["rounding"], told["stays_shortened"], told["stays_lengthened"]) == ("prorata", 0, 0)
    stay_h = np.array([4.77917, 2.52444, 4.165, 2.53778, 3.38417])
    most_kwh = 0.9 * stay_h * np.array([22, 7, 11, 11, 6])
    short_kwh = np.maximum(np.array([26, 17.6711, 45.815, 27.9156, 20.305]) - most_kwh, 0).sum()
    assert told["unserved_kwh"] == pytest.approx(short_kwh, abs=1e-3)


def test_aliases_semicolons_and_a_byte_order_mark(tmp_path):
    text = (
        "vehicle_id;charger_kw;energy_need_kwh;battery_kwh;arrival;departure;soe_arrival_kwh;power_min_kw\n"
        "ä;7,4;10,5;40;2025-08-18T22:00;2025-08-19 06:30;20;1,38\n"
    )
    read = read_demand(write(tmp_path, text, encoding="utf-8-sig"), 900.0)
    requests = read.requests
    assert requests.vehicle == ("ä",)
    assert (requests.power_max_kw[0], requests.energy_need_kwh[0], requests.power_min_kw[0]) == (7.4, 10.5, 1.38)
    assert (requests.arrival_step[0], requests.departure_step[0]) == (88.0, 122.0)
    assert (read.steps, str(read.start)) == (192, "2025-08-18 00:00:00")


def test_a_workbook(tmp_path):
    pytest.importorskip("openpyxl")
    from openpyxl import Workbook

    table = pd.read_csv(write(tmp_path, DATES), index_col=0, parse_dates=["arrivalTime", "departureTime"])
    book = Workbook()
    sheet = book.active
    sheet.append(list(table.columns))
    for row in table.itertuples(index=False):
        sheet.append([cell.to_pydatetime() if isinstance(cell, pd.Timestamp) else cell for cell in row])
    book.save(tmp_path / "demand.xlsx")
    from_book = read_demand(tmp_path / "demand.xlsx", 900.0)
    from_text = read_demand(tmp_path / "demand.csv", 900.0)
    assert from_book.requests.vehicle == from_text.requests.vehicle
    assert from_book.requests.arrival_step == pytest.approx(from_text.requests.arrival_step)
    assert from_book.requests.energy_need_kwh == pytest.approx(from_text.requests.energy_need_kwh)
    empty = Workbook()
    empty.save(tmp_path / "empty.xlsx")
    assert faults_of(tmp_path / "empty.xlsx") == [("", "")]
    sheet["C3"] = "much"
    book.save(tmp_path / "demand.xlsx")
    assert faults_of(tmp_path / "demand.xlsx") == [("row 3", "energyRequired")]


def test_no_workbook(tmp_path):
    pytest.importorskip("openpyxl")
    (tmp_path / "demand.xlsx").write_bytes(b"no workbook")
    assert faults_of(tmp_path / "demand.xlsx") == [("", "")]


def test_every_fault_at_once(cosim, tmp_path):
    text = f"""{HEADER}
a,22,26,52,2025-08-18 12:00,2025-08-18 16:00
b,22,-1,52,2025-08-18 12:00,2025-08-18 16:00
c,22,53.38,30,2025-08-18 12:00,2025-08-18 16:00
a,22,26,52,2025-08-18 12:00,2025-08-18 16:00
e,fast,26,52,2025-08-18 12:00,2025-08-18 11:00
f,22,26,52,47,2025-08-18 16:00
g,22,26,,2025-08-18 12:00,someday
h,22,26,52,2025-08-18T12:00+02:00,2025-08-18 16:00
"""
    path = write(tmp_path, text)
    assert set(faults_of(path)) == {
        ("row 3", "energyRequired"), ("row 4", "energyRequired"), ("row 5", "vehicle"), ("row 6", "powerNom"),
        ("row 6", "departureTime"), ("row 7", "arrivalTime"), ("row 8", "energyMax"), ("row 8", "departureTime"),
        ("row 9", "arrivalTime"),
    }  # fmt: skip
    code, _, err = cosim("plan", str(path), "--capacity-kw", "20", "--strict", "--out", str(tmp_path / "out"))
    assert code == 2
    assert err.count("error:") == 9
    assert "row 4: energyRequired: 53.38 kWh wanted, 30 kWh of room in the battery" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [("", "")]),
        (f"{HEADER}\n", [("", "")]),
        (f"{HEADER},colour\n1,fast,5,30,0,9,red\n", [("row 1", "colour"), ("row 2", "powerNom")]),
        ("vehicle,powerNom,arrivalTime,departureTime,colour\n1,7,0,9,red\n",
         [("row 1", "colour"), ("row 1", "energyRequired")]),
        (f"{HEADER},power_kw\n1,7,5,30,0,9,7\n", [("row 1", "power_kw")]),
        (f"{HEADER}\n1,7,5,30,0\n", [("row 2", ""), ("row 2", "departureTime")]),
        (f"{HEADER}\n1,7,5,30,0,9,9\n", [("row 2", "")]),
        (f"{HEADER}\n,7,5,30,0,9\n", [("row 2", "vehicle")]),
        (f"{HEADER}\n1,7,5,30,2025-08-18 10:00,2052-08-18 12:00\n", [("row 2", "departureTime")]),
        (f"{HEADER}\n1,7,5,30,-4,9\n", [("row 2", "arrivalTime")]),
        (f"{HEADER}\n1,inf,5,30,0,9\n", [("row 2", "powerNom")]),
    ],
)  # fmt: skip
def test_tables_that_are_refused(tmp_path, text, expected):
    assert sorted(faults_of(write(tmp_path, text))) == sorted(expected)


def test_one_departure_in_a_wrong_year_does_not_blame_the_other_rows(tmp_path):
    head = "vehicle,powerNom,energyRequired,energyMax,arrivalTime,departureTime\n"
    good = "a,11,5,50,2025-08-18 08:00,2025-08-18 12:00\n"
    wrong = "b,11,5,50,2025-08-18 08:00,1925-08-18 12:00\n"
    assert faults_of(write(tmp_path, head + good + wrong)) == [("row 3", "departureTime")]


def test_other_encodings(tmp_path):
    text = STEPS.replace("\n2,", "\nBüro,")
    assert faults_of(write(tmp_path, text, encoding="latin-1")) == [("row 4", "vehicle")]
    assert faults_of(write(tmp_path, text, encoding="utf-16")) == [("", "")]


def test_the_faults_of_a_hundred_thousand_rows_are_counted(tmp_path):
    table = generate_demand(100_000, np.random.default_rng(1))
    path = tmp_path / "demand.csv"
    table.loc[1:, "energyRequired"] = -1.0
    table.to_csv(path, index=False)
    with pytest.raises(InputError) as caught:
        read_demand(path, 900.0, ReadOptions(strict=True))
    assert len(caught.value.faults) == 20
    assert "99979 more rows" in caught.value.faults[-1].problem


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["DEMAND: is missing", "--capacity-kw: is missing"]),
        (["nowhere.csv", "--capacity-kw", "20"], ["no such file"]),
        (["--generate", "5"], ["--out: is no CSV file"]),
        (
            ["x.csv", "--capacity-kw", "-1", "--n-sols", "0"],
            ["--capacity-kw: is -1", "a number of 0 or more", "--n-sols: is 0"],
        ),
        (
            [__file__, "--generate", "5", "--out", "made.csv"],
            ["--generate: makes demand, and ", "leave one of them out"],
        ),
    ],
)
def test_bad_arguments(cosim, arguments, words):
    code, _, err = cosim("plan", *arguments)
    assert code == 2
    for word in words:
        assert word in err


def test_generated_demand_is_seeded_feasible_or_marked(cosim, tmp_path):
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert cosim("plan", "--generate", "40", "--seed", seed, "--out", str(tmp_path / f"{name}.csv"))[0] == 0
    contents = [(tmp_path / f"{name}.csv").read_bytes() for name in "abc"]
    assert contents[0] == contents[1] != contents[2]
    assert pd.read_csv(tmp_path / "a.csv")["feasible"].all()
    code, _, err = cosim("plan", str(tmp_path / "a.csv"), "--capacity-kw", "1000", "--out", str(tmp_path / "out"))
    assert code == 0, err
    assert "no plan can serve" not in err
    assert json.loads((tmp_path / "out" / "plan.json").read_text())["unserved_kwh"] == pytest.approx(0.0, abs=1e-3)
    code, out, _ = cosim("plan", "--generate", "40", "--seed", "3", "--any-need", "--out", str(tmp_path / "d.csv"))
    assert code == 0
    marked = pd.read_csv(tmp_path / "d.csv")["feasible"]
    assert 0 < (~marked).sum() < 40
    assert f"{(~marked).sum()} of them" in out
    cosim("plan", str(tmp_path / "d.csv"), "--capacity-kw", "1000", "--out", str(tmp_path / "out"))
    vehicles = pd.read_csv(tmp_path / "out" / "vehicles.csv")
    assert ((vehicles["unservable_kwh"] > 1e-4) <= ~marked).all()


def test_series_of_prices_capacity_load_and_sun(cosim, tmp_path):
    demand = write(tmp_path, f"{HEADER}\n0,8,9,100,2025-08-18 10:00:00,2025-08-18 14:00:00\n")
    step_min = np.arange(1440)
    for name, values in {
        "prices": np.where(step_min // 60 == 12, 0.1, 0.4),
        "room": np.full(1440, 10.0),
        "load": np.where(step_min // 60 == 12, 6.0, 1.0),
        "sun": np.where(step_min // 15 == 13 * 4, 5.0, 0.0),
    }.items():
        pd.DataFrame({"kW" if name != "prices" else "price": values}).to_csv(tmp_path / f"{name}.csv", index=False)
    named = {"--tariff": "prices", "--capacity": "room", "--site-load": "load", "--pv": "sun"}
    files = [part for key, name in named.items() for part in (key, str(tmp_path / f"{name}.csv"))]
    code, _, err = cosim("plan", str(demand), *files, "--out", str(tmp_path / "out"))
    assert code == 0, err
    plan = pd.read_csv(tmp_path / "out" / "plan.csv").set_index("step")["power_kw"]
    # 10 kWh: 4 kW at noon for 0.1; of the sun at one, 4 kW of 5 are left beside the load; the other 5 kWh at ten
    assert plan.loc[48:51].tolist() == pytest.approx([4.0] * 4, abs=1e-6)
    assert plan.loc[[40, 41, 42, 43, 52]].tolist() == pytest.approx([8.0, 8.0, 4.0, 0.0, 4.0], abs=1e-6)
    told = json.loads((tmp_path / "out" / "plan.json").read_text())
    assert told["station"]["sun_kwh"] == pytest.approx(1.0, abs=1e-6)
    assert told["cost_eur"] == pytest.approx(4.0 * 0.1 + 1.0 * 0.0 + 5.0 * 0.4, abs=1e-6)
    code, _, err = cosim("plan", str(demand), "--capacity-kw", "9", *files, "--out", str(tmp_path / "two"))
    assert (code, "--capacity: is given twice" in err.replace("\n", " ")) == (2, True), err


def test_whom_the_weighted_sum_gives_nothing_is_told(cosim, tmp_path):
    demand = write(tmp_path, STEPS.replace(",88,59", ",250,59"))
    words = ["--objective", "weighted", "--tariff-eur-per-kwh", "0.5", "--capacity-kw", "100", "--out"]
    code, _, err = cosim("plan", str(demand), *words, str(tmp_path / "out"))
    assert (code, "1 vehicles get nothing" in err) == (0, True), err


PHASED = """vehicle,charger_kw,energy_kwh,arrival,departure,phase,phases
one,7.4,6,2025-08-18 10:00:00,2025-08-18 11:00:00,L1,
two,7.4,6,2025-08-18 10:00:00,2025-08-18 11:00:00,L1,
all,9,6,2025-08-18 10:00:00,2025-08-18 11:00:00,,3
odd,6,3,2025-08-18 10:00:00,2025-08-18 11:00:00,2,1
two more,6,3,2025-08-18 10:00:00,2025-08-18 11:00:00,L2+L3,
"""


def test_each_phase_has_its_limit_where_sessions_say_their_phase(cosim, tmp_path):
    demand = write(tmp_path, PHASED)
    code, _, err = cosim("plan", str(demand), "--capacity-kw", "30", "--out", str(tmp_path / "out"))
    err = " ".join(err.split())
    assert code == 0, err
    assert "'2' is no phase; taken as even on all three" in err  # it may as well be a number of phases
    assert "1 rows do not say which phase" in err
    assert err.count("phases are told apart") == 1
    plan = pd.read_csv(tmp_path / "out" / "plan.csv")
    power_kw = plan.pivot_table(index="step", columns="vehicle", values="power_kw")
    thirds = (power_kw["all"] + power_kw["odd"]) / 3
    loads_kw = [power_kw["one"] + power_kw["two"] + thirds, thirds + power_kw["two more"] / 2]
    station = json.loads((tmp_path / "out" / "plan.json").read_text())["station"]
    assert station["peak_l1_kw"] == pytest.approx(loads_kw[0].max()) == pytest.approx(10.0)
    assert station["peak_l2_kw"] == station["peak_l3_kw"] == pytest.approx(loads_kw[1].max())
    assert station["unserved_kwh"] == pytest.approx(15.0 - 10.0, abs=1e-5)  # of a kWh of all, a third is on L1


def test_series_of_three_phases(cosim, tmp_path):
    demand = write(tmp_path, PHASED)
    ones = np.ones(1440)
    pd.DataFrame({"L3": 9 * ones, "L1": 5 * ones, "L2": 9 * ones}).to_csv(tmp_path / "room.csv", index=False)
    pd.DataFrame({"load": 3 * ones}).to_csv(tmp_path / "load.csv", index=False)
    files = ["--capacity", str(tmp_path / "room.csv"), "--site-load", str(tmp_path / "load.csv")]
    code, _, err = cosim("plan", str(demand), *files, "--out", str(tmp_path / "out"))
    assert code == 0, err
    station = json.loads((tmp_path / "out" / "plan.json").read_text())["station"]
    assert station["peak_l1_kw"] == pytest.approx(4.0)
    assert max(station["peak_l2_kw"], station["peak_l3_kw"]) < 8.0
    pd.DataFrame({"L1": ones, "L2": ones}).to_csv(tmp_path / "room.csv", index=False)
    code, _, err = cosim("plan", str(demand), *files, "--out", str(tmp_path / "two"))
    assert (code, "L1, L2, L3 for power by phase" in " ".join(err.split())) == (2, True), err


def test_sessions_without_a_phase_are_planned_as_before(cosim, tmp_path):
    demand = write(tmp_path, PHASED.replace("L1", "").replace("L2+L3", "").replace(",2,1", ",,1"))
    code, _, err = cosim("plan", str(demand), "--capacity-kw", "30", "--out", str(tmp_path / "out"))
    assert code == 0, err
    assert not any(words in " ".join(err.split()) for words in ("told apart", "which phase"))
    assert "peak_l1_kw" not in json.loads((tmp_path / "out" / "plan.json").read_text())["station"]


def test_a_derating_is_a_factor(cosim, tmp_path):
    demand = write(tmp_path, f"{HEADER}\n0,8,9,100,2025-08-18 10:00:00,2025-08-18 14:00:00\n")
    words = ["--capacity-kw", "30", "--out"]
    assert cosim("plan", str(demand), "--derate", "0.9", *words, str(tmp_path / "out"))[0] == 0
    assert pd.read_csv(tmp_path / "out" / "plan.csv")["power_kw"].max() == pytest.approx(7.2)
    code, _, err = cosim("plan", str(demand), "--derate", "90", *words, str(tmp_path / "two"))
    assert (code, "--derate" in err) == (2, True), err
