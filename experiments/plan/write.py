"""Results of a plan as tables and JSON."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cosim.controllers.planner.options import Options, Rounding
from cosim.controllers.planner.plan import Plan, Planning
from cosim.controllers.planner.stays import presence
from cosim.experiments.files import json_ready, write_json
from cosim.experiments.plan.read import Demand, step_times
from cosim.experiments.tables import write_csv
from cosim.folder import write_whole
from cosim.measures import jain
from cosim.measures.fairness import served_share


def plan_table(planning: Planning, plan: Plan, demand: Demand) -> pd.DataFrame:
    """One row per vehicle and step of its stay: ``step, time, vehicle, power_kw, energy_kwh``."""
    requests = planning.requests
    vehicle, step, _ = presence(requests.arrival_step, requests.departure_step)
    times = step_times(demand.start, planning.station.steps, planning.station.step_s)
    table = pd.DataFrame({"step": step})
    if times is not None:
        table["time"] = times.as_unit("s")[step]
    table["vehicle"] = np.array(requests.vehicle, dtype=object)[vehicle]
    table["power_kw"] = np.round(plan.power_kw[step, vehicle], 9)
    table["energy_kwh"] = np.round(plan.energy_kwh[step, vehicle], 9)
    return table.sort_values(["step", "vehicle"], kind="stable").reset_index(drop=True)


def station_table(planning: Planning, demand: Demand) -> pd.DataFrame:
    """One row per step: ``step, time, power_kw, capacity_kw, site_kw, tariff_eur_per_kwh``.

    The capacity is what the site leaves for charging; empty where nothing limits it.
    """
    station = planning.station
    times = step_times(demand.start, station.steps, station.step_s)
    table = pd.DataFrame({"step": range(station.steps)})
    if times is not None:
        table["time"] = times.as_unit("s")
    table["power_kw"] = np.round(planning.best.power_kw.sum(axis=1), 9)
    table["capacity_kw"] = np.where(np.isfinite(station.capacity_kw), station.capacity_kw, np.nan)
    table["site_kw"] = station.site_kw
    table["tariff_eur_per_kwh"] = station.tariff_eur_per_kwh
    return table


def vehicle_kpis(planning: Planning) -> pd.DataFrame:
    """One row per vehicle, units in the names.

    ``workload_percent`` is seed 002's figure: energy *drawn* over energy wanted in the battery, so that it can exceed
    100 %; ``served_percent`` compares in the battery.
    """
    requests, best = planning.requests, planning.best
    drawn_kwh = best.energy_kwh.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        workload = 100.0 * drawn_kwh / requests.energy_need_kwh
    content_percent = 100.0 * (requests.soe_arrival_kwh + best.delivered_kwh) / requests.battery_kwh
    step_min = planning.station.step_s / 60.0
    return pd.DataFrame(
        {
            "vehicle": requests.vehicle,
            "arrival_step": requests.arrival_step,
            "departure_step": requests.departure_step,
            "energy_need_kwh": requests.energy_need_kwh,
            "energy_drawn_kwh": drawn_kwh,
            "energy_delivered_kwh": best.delivered_kwh,
            "unserved_kwh": best.unserved_kwh,
            "unservable_kwh": planning.unservable_kwh,
            "served_percent": 100.0 * served_share(best.delivered_kwh, requests.energy_need_kwh),
            "workload_percent": workload,
            "power_peak_kw": best.power_kw.max(axis=0),
            "soe_departure_percent": np.where(np.isfinite(requests.battery_kwh), content_percent, np.nan),
            "stay_lost_min": planning.lost_step * step_min,
            "stay_gained_min": planning.gained_step * step_min,
        }
    ).round(6)


def station_kpis(planning: Planning) -> dict[str, float]:
    """Figures of the whole station, units in the names."""
    requests, best, station = planning.requests, planning.best, planning.station
    need_kwh, drawn_kwh = float(requests.energy_need_kwh.sum()), float(best.energy_kwh.sum())
    room_kwh = float(station.capacity_kw.sum() * station.step_h)
    shares = served_share(best.delivered_kwh, requests.energy_need_kwh)
    return {
        "vehicles": len(requests),
        "energy_planned_kwh": need_kwh,
        "energy_kwh": drawn_kwh,
        "delivered_kwh": float(best.delivered_kwh.sum()),
        "workload_percent": 100.0 * drawn_kwh / need_kwh if need_kwh else math.nan,
        "served_percent": 100.0 * (1.0 - float(best.unserved_kwh.sum()) / need_kwh) if need_kwh else math.nan,
        "served_min_percent": 100.0 * float(np.nanmin(shares)) if np.isfinite(shares).any() else math.nan,
        "jain_served": jain(shares),
        "unserved_kwh": float(best.unserved_kwh.sum()),
        "unservable_kwh": float(planning.unservable_kwh.sum()),
        "unservable_vehicles": int((planning.unservable_kwh > 1e-6).sum()),
        "peak_kw": round(best.peak_kw, 9),
        **{f"peak_l{k}_kw": round(kw, 9) for k, kw in enumerate(planning.phase_peak_kw.tolist(), start=1)},
        "capacity_used_percent": 100.0 * drawn_kwh / room_kwh if 0 < room_kwh < math.inf else math.nan,
        "sun_kwh": best.sun_kwh,
        "energy_cost_eur": best.energy_cost_eur,
        "peak_cost_eur": best.peak_cost_eur,
    }


def plan_metrics(planning: Planning) -> dict[str, Any]:
    """Status, objective and bound, and the figures of the whole station: what does not depend on the clock."""
    numbers = {"objective_eur": planning.best.objective, "bound_eur": planning.bound, "gap": planning.gap}
    return {"status": planning.status, **numbers, **station_kpis(planning)}


def durations(planning: Planning) -> dict[str, Any]:
    """How long it took [s]: of ``timing.json``."""
    aims = {aim: ending.wall_s for aim, ending in planning.endings.items()}
    return {"build_s": planning.build_s, "solve_s": planning.solve_s, "aims_s": aims, "pool_s": planning.pool_s}


def summary(planning: Planning, options: Options, rounding: Rounding) -> dict[str, Any]:
    """Everything of ``plan.json``."""
    station = station_kpis(planning)
    return {
        "objective": planning.best.objective,
        "status": planning.status,
        "bound": planning.bound,
        "gap": planning.gap,
        **{key: station[key] for key in ("peak_kw", "energy_kwh", "unserved_kwh", "unservable_kwh")},
        "cost_eur": planning.best.cost_eur,
        "stays_shortened": int((planning.lost_step > 1e-9).sum()),
        "stay_lost_max_min": float(planning.lost_step.max(initial=0.0)) * planning.station.step_s / 60.0,
        "stays_lengthened": int((planning.gained_step > 1e-9).sum()),
        "steps": planning.station.steps,
        "time_step_s": planning.station.step_s,
        "rounding": rounding,
        "options": asdict(options),
        "aims": [
            {"aim": aim, "status": ending.termination,
             "objective": ending.value, "bound": ending.bound, "gap": ending.gap}
            for aim, ending in planning.endings.items()
        ],
        "station": station,
        "other_plans": [
            {"plan": number, "objective": other.objective, "peak_kw": round(other.peak_kw, 9),
             "unserved_kwh": float(other.unserved_kwh.sum())}
            for number, other in enumerate(planning.others, start=1)
        ],
    }  # fmt: skip


def write_plan(planning: Planning, demand: Demand, options: Options, rounding: Rounding, folder: Path) -> None:
    """Write ``plan``, ``station`` and ``vehicles`` as CSV and Parquet, and ``plan.json``.

    Where there are other plans, ``other_plans`` has them. Where rows of the session file were at fault, ``rows.csv``
    says which, why, and what became of them.
    """
    write_both(plan_table(planning, planning.best, demand), folder / "plan")
    write_both(station_table(planning, demand), folder / "station")
    vehicles = vehicle_kpis(planning)
    if demand.line:
        vehicles.insert(1, "row", demand.line)
    write_both(vehicles, folder / "vehicles")
    if planning.others:
        tables = [plan_table(planning, other, demand) for other in planning.others]
        for number, table in enumerate(tables, start=1):
            table.insert(0, "plan", number)
        write_both(pd.concat(tables, ignore_index=True), folder / "other_plans")
    if len(demand.findings):
        write_csv(demand.findings, folder / "rows.csv")
    write_json(folder / "plan.json", json_ready({**summary(planning, options, rounding), "rows": demand.counts}))


def write_both(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV and Parquet."""
    write_csv(table, path.with_suffix(".csv"))
    write_parquet(table, path.with_suffix(".parquet"))


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet, whole or not at all."""
    write_whole(path, lambda temporary: table.to_parquet(temporary, index=False))
