"""Every table of ``cosim plan`` read back and computed once more from the demand and from the powers alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

DEMAND = """vehicle,powerNom,energyRequired,energyMax,arrivalTime,departureTime
a,22,26,52,47.5,67
b,7,17.5,30,33,43.25
c,11,45.8,52,41,58
d,11,27.9,88,59,69
e,6,20.3,88,32,46
"""
EFFICIENCY, STEP_H, CAPACITY_KW, PRICE, PEAK_PRICE = 0.85, 0.25, 14.0, 0.2, 0.05
TABLES = ("plan", "station", "vehicles", "other_plans")


def test_plans_vehicles_and_the_station_are_what_the_powers_say(
    cosim: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    demand, out = tmp_path / "demand.csv", tmp_path / "out"
    demand.write_text(DEMAND, encoding="utf-8")
    code, _, err = cosim(
        "plan", str(demand), "--capacity-kw", str(CAPACITY_KW), "--efficiency", str(EFFICIENCY), "--n-sols", "3",
        "--tariff-eur-per-kwh", str(PRICE), "--peak-eur-per-kw", str(PEAK_PRICE), "--out", str(out),
    )  # fmt: skip
    assert code == 0, err
    station = check_best(out)
    check_files(out)
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    (case,) = metrics["cases"].values()
    assert {key: case[key] for key in station} == station


def check_best(planned: Path) -> dict[str, float]:
    asked = pd.read_csv(planned.parent / "demand.csv").set_index("vehicle")
    plan = pd.read_parquet(planned / "plan.parquet")
    assert list(plan.columns) == ["step", "vehicle", "power_kw", "energy_kwh"]
    stay = asked.loc[plan["vehicle"], ["arrivalTime", "departureTime"]].to_numpy()
    share = np.minimum(plan["step"] + 1, stay[:, 1]) - np.maximum(plan["step"], stay[:, 0])  # of the step
    assert (share > 0).all()
    np.testing.assert_allclose(plan["energy_kwh"], plan["power_kw"] * share * STEP_H, atol=1e-8)
    assert (plan["power_kw"].to_numpy() <= asked.loc[plan["vehicle"], "powerNom"].to_numpy() + 1e-9).all()
    assert plan.groupby("step")["power_kw"].sum().max() <= CAPACITY_KW + 1e-6

    drawn = plan.groupby("vehicle")["energy_kwh"].sum()
    delivered, need = EFFICIENCY * drawn, asked["energyRequired"]
    most = np.minimum(need, EFFICIENCY * asked["powerNom"] * (asked["departureTime"] - asked["arrivalTime"]) * STEP_H)
    expected = pd.DataFrame({
        "vehicle": list(asked.index),
        "row": np.arange(len(asked)) + 2,  # lines of the file, its header the first
        "arrival_step": asked["arrivalTime"].to_numpy(),
        "departure_step": asked["departureTime"].to_numpy(),
        "energy_need_kwh": need.to_numpy(),
        "energy_drawn_kwh": drawn.to_numpy(),
        "energy_delivered_kwh": delivered.to_numpy(),
        "unserved_kwh": (need - delivered).clip(lower=0.0).to_numpy(),
        "unservable_kwh": (need - most).to_numpy(),
        "served_percent": (100.0 * delivered / need).clip(upper=100.0).to_numpy(),
        "workload_percent": (100.0 * drawn / need).to_numpy(),
        "power_peak_kw": plan.groupby("vehicle")["power_kw"].max().to_numpy(),
        "soe_departure_percent": (100.0 * delivered / asked["energyMax"]).to_numpy(),
        "stay_lost_min": 0.0,
        "stay_gained_min": 0.0,
    })  # fmt: skip
    vehicles = pd.read_parquet(planned / "vehicles.parquet")
    pd.testing.assert_frame_equal(vehicles, expected, check_dtype=False, rtol=0.0, atol=2e-6)

    told = json.loads((planned / "plan.json").read_text(encoding="utf-8"))
    station, peak_kw = told["station"], plan.groupby("step")["power_kw"].sum().max()
    wanted = {
        "vehicles": 5, "energy_planned_kwh": need.sum(), "energy_kwh": drawn.sum(), "delivered_kwh": delivered.sum(),
        "workload_percent": 100.0 * drawn.sum() / need.sum(),
        "served_percent": 100.0 * (1.0 - expected["unserved_kwh"].sum() / need.sum()),
        "served_min_percent": expected["served_percent"].min(),
        "jain_served": (delivered / need).sum() ** 2 / (5 * ((delivered / need) ** 2).sum()),
        "unserved_kwh": expected["unserved_kwh"].sum(), "unservable_kwh": (need - most).sum(),
        "unservable_vehicles": int((need - most > 1e-6).sum()), "peak_kw": peak_kw,
        "capacity_used_percent": 100.0 * drawn.sum() / (CAPACITY_KW * told["steps"] * STEP_H),
        "energy_cost_eur": PRICE * drawn.sum(), "peak_cost_eur": PEAK_PRICE * peak_kw, "sun_kwh": 0.0,
    }  # fmt: skip
    assert station == pytest.approx(wanted, abs=1e-5)
    assert told["cost_eur"] == pytest.approx(PRICE * drawn.sum() + PEAK_PRICE * peak_kw, abs=1e-6)
    return dict(station)


def check_files(planned: Path) -> None:
    """Other plans are as good, and every table says the same in both of its files."""
    names = {path.name for path in planned.iterdir() if path.suffix != ".png"}
    kinds = {f"{table}.{kind}" for table in TABLES for kind in ("csv", "parquet")}
    of_a_study = {".cosim-files", "metrics.json", "manifest.json", "timing.json", "report.md"}
    assert names == kinds | of_a_study | {"plan.json"}  # a file that is new needs a check here
    for table in TABLES:
        text = pd.read_csv(planned / f"{table}.csv", dtype={"vehicle": str})
        pd.testing.assert_frame_equal(pd.read_parquet(planned / f"{table}.parquet"), text, check_dtype=False)
    station = pd.read_parquet(planned / "station.parquet")
    assert (station["capacity_kw"].unique().tolist(), station["site_kw"].unique().tolist()) == ([CAPACITY_KW], [0.0])
    power_kw = pd.read_parquet(planned / "plan.parquet").groupby("step")["power_kw"].sum()
    np.testing.assert_allclose(station["power_kw"], power_kw.reindex(station["step"], fill_value=0.0), atol=1e-6)
    best, others = (pd.read_parquet(planned / f"{table}.parquet") for table in ("plan", "other_plans"))
    told = json.loads((planned / "plan.json").read_text(encoding="utf-8"))
    for number, other in others.groupby("plan"):
        assert (other["step"].to_numpy(), list(other["vehicle"])) == (
            pytest.approx(best["step"]),
            list(best["vehicle"]),
        )
        assert other.groupby("step")["power_kw"].sum().max() <= CAPACITY_KW + 1e-6
        (said,) = [one for one in told["other_plans"] if one["plan"] == number]
        assert said["peak_kw"] == pytest.approx(other.groupby("step")["power_kw"].sum().max(), abs=1e-6)
        served = EFFICIENCY * other["energy_kwh"].sum()
        assert served == pytest.approx(EFFICIENCY * best["energy_kwh"].sum(), rel=1e-3)  # service comes first
