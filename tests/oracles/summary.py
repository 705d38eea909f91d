"""What metrics and promises of runs on the street must be: computed from their tables and plain OpenDSS."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from oracles import textbook
from oracles.street import Solved, Street, solve_again
from oracles.tables import BUS as BUS_OF
from oracles.tables import (
    CARS_AT_HOME,
    CONNECTION_KW,
    CUSTOMERS,
    LABELS,
    NOMINAL_V,
    PHASES,
    STEP_H,
    STEP_MIN,
    STEPS,
    TARIFF,
    WATCHED,
    Columns,
    by_home,
    five_minutes,
    hot_spot_c,
    lines_percent,
    no_load_kw,
    t1_percent,
)


def metrics_of(street: Street, label: str, now: Solved) -> dict[str, float]:
    """Every metric of a run."""
    home = {
        key: by_home(street, label, key)
        for key in ("net_kw", "pv_kw", "pv_available_kw", "import_cap_kw", "plugged", "demand_kw", "ev_kw")
    }
    decided = street.table(f"trajectories/{label}/decisions.parquet")
    steps = street.table(f"trajectories/{label}/steps.parquet")
    net, sun, pv = home["net_kw"], home["pv_available_kw"], home["pv_kw"]
    lost = (sun - pv).sum() * STEP_H
    terminals = {
        customer: np.abs(now.bus_v(BUS_OF[customer]))[:, [phase - 1 for phase in phases]] / NOMINAL_V
        for customer, phases in PHASES.items()
    }
    every = np.concatenate(list(terminals.values()), axis=1)
    transformer, lines, hottest = t1_percent(now).max(axis=1), lines_percent(now), hot_spot_c(street, now)
    import_kwh, export_kwh = net.clip(lower=0).to_numpy() * STEP_H, -net.clip(upper=0).to_numpy() * STEP_H
    cars = cars_of(street, label)
    short = (cars["servable"] - cars["delivered"]).clip(lower=0.0)
    served = (cars["servable"] - short).groupby(cars["customer"]).sum() / cars.groupby("customer")["servable"].sum()
    withheld = (pd.Series(CONNECTION_KW)[list(CUSTOMERS)] - home["import_cap_kw"]).clip(lower=0.0) * home["plugged"]
    consumed = (home["demand_kw"] + home["ev_kw"]).to_numpy().sum() * STEP_H
    losses, source = now.losses_kw.sum() * STEP_H, now.source_kw.sum() * STEP_H
    planned = street.results.runs[label].trajectory.planned_kva
    solved = decided[decided["status"] != "rule"]
    over = (net - home["import_cap_kw"]).to_numpy()
    return {
        "voltage_min_pu": every.min(),
        "voltage_max_pu": every.max(),
        "overvoltage_min": (every > 1.1).any(axis=1).sum() * STEP_MIN,
        "undervoltage_min": (every < 0.9).any(axis=1).sum() * STEP_MIN,
        "deep_undervoltage_minutes": (every < 0.8).any(axis=1).sum() * STEP_MIN,
        **dict.fromkeys(
            ("voltage_compliant_customers_percent", "en50160_compliant_customers_percent"),
            100.0 * np.mean([en50160(v) for v in terminals.values()]),
        ),
        **unbalance_of(now),
        "transformer_peak_kva": np.abs(now.transformer_kva).max(),
        "transformer_peak_percent": transformer.max(),
        "transformer_overload_min": (transformer > 100.0).sum() * STEP_MIN,
        "transformer_hot_spot_max_c": hottest.max(),
        "transformer_ageing_h": (2.0 ** ((hottest - 98.0) / 6.0)).sum() * STEP_H,
        "line_peak_percent": lines.max(),
        "line_overload_min": (lines > 100.0).any(axis=1).sum() * STEP_MIN,
        "energy_not_served_kwh": 0.0,
        "losses_kwh": losses,
        "losses_lines_kwh": now.losses_lines_kw.sum() * STEP_H,
        "losses_transformers_kwh": now.losses_transformers_kw.sum() * STEP_H,
        "losses_no_load_kwh": no_load_kw(now).sum() * STEP_H,
        "balance_error_percent": 100.0 * abs(source + pv.to_numpy().sum() * STEP_H - consumed - losses) / losses,
        "balance_error_max_percent": steps["balance_error_percent"].max(),
        "import_kwh": import_kwh.sum(),
        "export_kwh": export_kwh.sum(),
        "pv_available_kwh": sun.to_numpy().sum() * STEP_H,
        "pv_curtailed_kwh": lost.sum(),
        "pv_curtailed_max_home_percent": (100.0 * lost / (sun.sum() * STEP_H)).max(),
        "ev_delivered_kwh": cars["delivered"].sum(),
        "ev_unserved_kwh": short.sum(),
        "ev_unservable_kwh": (cars["energy_kwh"] - cars["servable"]).sum(),
        "ev_served_min_percent": 100.0 * served.min(),
        "jain_ev_served": served.sum() ** 2 / (len(served) * (served**2).sum()),
        "cost_eur": (paid := (import_kwh.sum(axis=1) * TARIFF).sum() - 0.05 * export_kwh.sum()),
        "unserved_penalty_eur": 0.5 * short.sum(),
        "cost_with_penalty_eur": paid + 0.5 * short.sum(),
        "withheld_kwh": withheld.to_numpy().sum() * STEP_H,
        **felt_by_homes(street, label, cars, withheld),
        **movements(street, label, cars),
        "setpoint_error_max_kw": max(over[np.isfinite(over)].max(initial=0.0), 0.0),
        "promise_error_max_kva": largest(np.abs(planned - np.abs(now.transformer_kva))),
        "solve_gap_max": largest(solved["gap"].to_numpy()) if len(solved) else 0.0,
        "degraded_steps": steps["degraded"].sum(),
        "tap_changes": np.nan,  # nothing regulates
        **fronts_of(street, label),
        **by_minute(street, home, by_home(street, label, "net_kvar")),
    }


def felt_by_homes(street: Street, label: str, cars: pd.DataFrame, withheld: pd.DataFrame) -> dict[str, float]:
    """What homes with a car bear: energy withheld, and hours in which less than 4.2 kW, or the rating, is left."""
    charger = cars.groupby("customer")["charger_kw"].max()
    of_home = {
        key: by_home(street, label, key)[charger.index]
        for key in ("import_cap_kw", "net_kw", "ev_kw", "ev_limit_kw", "plugged")
    }
    left = of_home["import_cap_kw"] - of_home["net_kw"] + of_home["ev_kw"]
    left = left.where(left < of_home["ev_limit_kw"], of_home["ev_limit_kw"])
    hours = (left.lt(charger.clip(upper=4.2) - 1e-6, axis=1) * of_home["plugged"]).sum() * STEP_H
    borne = withheld[charger.index].sum() * STEP_H
    apart = np.abs(borne.to_numpy()[:, None] - borne.to_numpy()).mean()
    return {
        "withheld_max_home_kwh": borne.max(),
        "withheld_gini": apart / (2.0 * borne.mean()) if borne.mean() > 0.0 else 0.0,
        "hours_below_floor_mean_h": hours.mean(),
        "hours_below_floor_max_h": hours.max(),
    }


def movements(street: Street, label: str, cars: pd.DataFrame) -> dict[str, float]:
    """Starts counted one step after the other, and the largest jumps of sums."""
    of = {key: by_home(street, label, key) for key in ("ev_kw", "pv_kw", "net_kw")}
    starts = []
    for car in cars.rename(columns={"from": "arrives"}).itertuples():
        first, last = (round(minute / STEP_MIN) for minute in (car.arrives, car.until))
        row, ran, count = of["ev_kw"][car.customer].to_numpy(), False, 0
        for step in range(first, max(min(last, STEPS), first + 1)):
            count += not ran and row[step] > 0.05
            ran = row[step] > 0.05
        starts.append(count)
    jumps = {key.replace("_kw", "_ramp_max_kw"): largest(table.sum(axis=1).diff().abs()) for key, table in of.items()}
    return {"ev_starts_mean": float(np.mean(starts)), "ev_starts_max": float(max(starts)), **jumps}


def by_minute(street: Street, home: dict[str, pd.DataFrame], net_kvar: pd.DataFrame) -> dict[str, float]:
    """Extremes of every minute, solved in plain OpenDSS: demand and used sun as in the profiles, all else held."""
    minutes, held = street.day.exogenous, np.repeat(np.arange(STEPS), 5)
    of_step = {key: table.to_numpy()[held] for key, table in home.items()}
    used = of_step["pv_kw"] / np.where(of_step["pv_available_kw"] > 0, of_step["pv_available_kw"], 1.0)
    sun, demand, kvar = (
        values[: len(held)] for values in (minutes.pv_available_kw, minutes.demand_kw, minutes.demand_kvar)
    )
    kw = of_step["net_kw"] + demand - of_step["demand_kw"] - (sun - of_step["pv_available_kw"]) * used
    kvar = net_kvar.to_numpy()[held] + kvar - np.repeat(five_minutes(kvar), 5, axis=0)
    now = solve_again(street.day.feeder.master, *(pd.DataFrame(power, columns=list(CUSTOMERS)) for power in (kw, kvar)))
    pu = [
        np.abs(now.bus_v(BUS_OF[customer]))[:, [phase - 1 for phase in phases]] / NOMINAL_V
        for customer, phases in PHASES.items()
    ]
    return {"voltage_min_1min_pu": min(x.min() for x in pu), "voltage_max_1min_pu": max(x.max() for x in pu)}


def en50160(pu: np.ndarray) -> bool:
    """Of a customer's phases: all 10-minute values in 0.85..1.1, 95 % of them in 0.9..1.1."""
    windows = textbook.pairs_rms(pu)
    inside = (windows >= 0.9) & (windows <= 1.1)
    return bool(((windows >= 0.85) & (windows <= 1.1)).all() and (inside.mean(axis=0) >= 0.95).all())


def unbalance_of(now: Solved) -> dict[str, float]:
    """At buses of customers, all of which have three phases, and at the watched branches."""
    at_bus = np.stack([now.bus_v(bus) for bus in ("A", "B")], axis=1)
    factor, zero = textbook.pairs_rms(textbook.vuf(at_bus)), textbook.pairs_rms(textbook.v0(at_bus))
    currents = np.stack([now.current_a[name] for name in WATCHED], axis=1)
    _, _, two = textbook.sequences(currents)
    index = [textbook.pui(now.current_a[name], rating_a) for name, rating_a in WATCHED.items()]
    return {
        "vuf_max_percent": factor.max(),
        "vuf_p95_percent": np.quantile(factor, 0.95),
        "vuf_p95_worst_bus_percent": np.quantile(factor, 0.95, axis=0).max(),
        "v0_p95_percent": np.quantile(zero, 0.95),
        "pvur_max_percent": textbook.spread(np.abs(at_bus)).max(),
        "lvur_max_percent": textbook.spread(textbook.line_to_line(at_bus)).max(),
        "pui_mean_percent": float(np.nanmean(index)),
        "neutral_current_p95_a": np.quantile(np.abs(currents.sum(axis=2)), 0.95),
        "neutral_current_max_a": max(np.abs(a.sum(axis=1)).max() for a in now.current_a.values()),
        "neutral_voltage_max_v": np.nan,  # the street's neutral is earth
        "i2_p95_a": np.quantile(np.abs(two), 0.95),
    }


def extremes(now: Solved) -> dict[str, dict[tuple[str, ...], np.ndarray]]:
    """Of every metric that is an extreme: its values over time at every place at which it could be."""
    letters = dict(enumerate("abc", 1))
    terminals = {
        (customer, BUS_OF[customer], letters[phase]): np.abs(now.bus_v(BUS_OF[customer]))[:, phase - 1] / NOMINAL_V
        for customer, phases in PHASES.items()
        for phase in phases
    }

    def of(element: str, rating_a: float) -> dict[tuple[str, ...], np.ndarray]:
        loading = 100.0 * np.abs(now.current_a[element]) / rating_a
        return {(element, letters[phase]): loading[:, phase - 1] for phase in letters}

    return {
        "voltage_min_pu": terminals,
        "voltage_max_pu": terminals,
        "vuf_max_percent": {(bus,): textbook.pairs_rms(textbook.vuf(now.bus_v(bus))) for bus in ("A", "B")},
        "transformer_peak_percent": of("T1", WATCHED["T1"]),
        "line_peak_percent": of("HEAD", WATCHED["TAIL"]) | of("TAIL", WATCHED["TAIL"]),
        "neutral_current_max_a": {(name,): np.abs(current.sum(axis=1)) for name, current in now.current_a.items()},
    }


def fronts_of(street: Street, label: str) -> dict[str, float]:
    """From the certificates of the run that leaves some."""
    names = ("ratio_mean", "ratio_min", "ratio_above_one")
    if label != "pareto":
        return {f"hypervolume_{name}": np.nan for name in names} | {"regret_mean_a": np.nan, "regret_kwh": np.nan}
    table = street.table("trajectories/pareto/certificates.parquet")
    ratio = (table["hypervolume"] / table["hypervolume_reference"])[table["hypervolume_reference"] > 1e-4]
    figures = (ratio.clip(upper=1.0).mean(), ratio.clip(upper=1.0).min(), (ratio > 1.0 + 1e-6).sum())
    regrets = {"regret_mean_a": table["regret_a"].mean(), "regret_kwh": table["regret_kwh"].sum()}
    return {f"hypervolume_{name}": figure for name, figure in zip(names, figures, strict=True)} | regrets


def cars_of(street: Street, label: str) -> pd.DataFrame:
    """What each car of the file could get, and what it got."""
    cars, ev_kw = CARS_AT_HOME.copy(), by_home(street, label, "ev_kw")
    could = cars["charger_kw"] * cars["efficiency"] * (cars["until"] - cars["from"]) / 60.0
    room = cars["battery_kwh"] - cars["soc_arrival_kwh"]
    cars["servable"] = np.minimum(np.minimum(cars["energy_kwh"], could), room)
    starts = STEP_MIN * np.arange(STEPS)
    cars["delivered"] = [
        ev_kw[car.customer].to_numpy()[(starts + STEP_MIN > car.arrives) & (starts < car.until)].sum()
        * STEP_H * car.efficiency
        for car in cars.rename(columns={"from": "arrives"}).itertuples()
    ]  # fmt: skip
    return cars


def largest(values: np.ndarray) -> float:
    return float(np.nanmax(values)) if np.isfinite(values).any() else float("nan")


def metrics_table(street: Street, solved: Callable[[str], Solved]) -> Columns:
    rows = pd.DataFrame([metrics_of(street, label, solved(label)) for label in LABELS])
    return {"controller": list(LABELS), **rows.to_dict("list"), "complete": [True] * len(LABELS)}


def areas_table(street: Street, solved: Callable[[str], Solved]) -> Columns:
    """One transformer, so one area: its figures are those of the whole street."""
    rows = pd.DataFrame([metrics_of(street, label, solved(label)) for label in LABELS])
    of_the_machine = [name for name in rows if name.startswith("transformer_")]
    fixed = {
        "area": "T1", "parent": np.nan, "transformers": "T1", "rating_kva": 20.0, "nominal_voltage_v": NOMINAL_V,
        "customers": len(CUSTOMERS),
    }  # fmt: skip
    shown = [*of_the_machine, "voltage_min_pu", "voltage_max_pu", "import_kwh", "export_kwh"]
    return {
        "controller": list(LABELS),
        **{name: [value] * len(LABELS) for name, value in fixed.items()},
        "worst_element": [
            f"Transformer.T1 phase {'abc'[t1_percent(solved(label)).max(axis=0).argmax()]}" for label in LABELS
        ],
        **rows[shown].to_dict("list"),
    }


def promise_table(street: Street, solved: Callable[[str], Solved]) -> Columns:
    """The promise itself stands in no table; what became of it does."""
    measured, rows = street.table("metrics.csv").set_index("controller"), []  # which has a check of its own
    for label in LABELS:
        now, figures = solved(label), measured.loc[label]
        planned = street.results.runs[label].trajectory.planned_kva
        excess = np.where(now.transformer_kva.real > 0, np.abs(now.transformer_kva) - planned, np.nan)
        promised = bool(np.isfinite(planned).any())
        overloaded = (t1_percent(now).max(axis=1) > 100.0) | (lines_percent(now) > 100.0).any(axis=1)
        as_measured = (
            "transformer_peak_percent", "transformer_overload_min", "line_peak_percent", "line_overload_min",
        )  # fmt: skip
        own = {
            "bilevel_caps": "export = True; replan_min = 0.0; ",
            "pareto": "control_min = 60.0; ",
        }
        noise = "demand_error_percent = 30.0; pv_error_percent = 20.0; "
        noise += "arrival_error_min = 30.0; energy_error_percent = 20.0"
        rows.append({
            "label": label,
            "controller": label,
            "coordination": "anticipated" if label == "bilevel_caps" else "",
            "forecast": "noisy",
            "noncompliant_share": 0.2,
            "promised_peak_kva": largest(planned),
            "delivered_peak_kva": figures["transformer_peak_kva"],
            "excess_max_kva": max(largest(excess), 0.0) if promised else np.nan,
            "above_promise_min": (excess > 1.0).sum() * STEP_MIN if promised else np.nan,
            **{name: figures[name] for name in as_measured},
            "overload_min": overloaded.sum() * STEP_MIN,
            **{name: figures[name] for name in ("withheld_kwh", "ev_unserved_kwh", "cost_eur", "degraded_steps")},
            "complete": True,
            "options": own.get(label, "") + noise,
        })  # fmt: skip
    return pd.DataFrame(rows).to_dict("list")
