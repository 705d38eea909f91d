"""What metrics, promises and caps of a run on the street must be: computed from its tables and plain OpenDSS."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from oracles import textbook
from oracles.street import Solved, Street
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
    hot_spot_c,
    lines_percent,
    t1_percent,
)
from oracles.tables import BUS as BUS_OF

SLOT_H, SLOTS, PER_SLOT = 0.5, 12, 6


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
        "en50160_compliant_customers_percent": 100.0 * np.mean([en50160(v) for v in terminals.values()]),
        **unbalance_of(now),
        "transformer_peak_kva": np.abs(now.transformer_kva).max(),
        "transformer_peak_percent": transformer.max(),
        "transformer_overload_min": (transformer > 100.0).sum() * STEP_MIN,
        "transformer_hot_spot_max_c": hottest.max(),
        "transformer_ageing_h": (2.0 ** ((hottest - 98.0) / 6.0)).sum() * STEP_H,
        "line_peak_percent": lines.max(),
        "line_overload_min": (lines > 100.0).any(axis=1).sum() * STEP_MIN,
        "losses_kwh": losses,
        "balance_error_percent": 100.0 * abs(source + pv.to_numpy().sum() * STEP_H - consumed - losses) / losses,
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
        "cost_eur": (import_kwh.sum(axis=1) * TARIFF).sum() - 0.05 * export_kwh.sum() + 0.5 * short.sum(),
        "withheld_kwh": withheld.to_numpy().sum() * STEP_H,
        "setpoint_error_max_kw": max(over[np.isfinite(over)].max(initial=0.0), 0.0),
        "promise_error_max_kva": largest(np.abs(planned - np.abs(now.transformer_kva))),
        "solve_gap_max": largest(solved["gap"].to_numpy()) if len(solved) else 0.0,
        "degraded_steps": steps["degraded"].sum(),
        **fronts_of(street, label),
    }


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
        "i2_p95_a": np.quantile(np.abs(two), 0.95),
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
        ev_kw[car.customer].to_numpy()[(starts + STEP_MIN > car.arrives) & (starts < car.until)].sum()  # type: ignore[operator]
        * STEP_H * car.efficiency
        for car in cars.rename(columns={"from": "arrives"}).itertuples()
    ]  # fmt: skip
    return cars


def largest(values: np.ndarray) -> float:
    return float(np.nanmax(values)) if np.isfinite(values).any() else float("nan")


def metrics_table(street: Street, solved: Callable[[str], Solved]) -> Columns:
    rows = pd.DataFrame([metrics_of(street, label, solved(label)) for label in LABELS])
    return {"controller": list(LABELS), **rows.to_dict("list"), "complete": [True] * len(LABELS)}


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
            "pareto": "control_min = 60.0; generations = 5; population = 12; ",
        }
        noise = "demand_error_percent = 30.0; pv_error_percent = 20.0; arrival_error_min = 30.0; energy_error_percent = 20.0"
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
    return pd.DataFrame(rows).to_dict("list")  # type: ignore[return-value]


# --- caps -------------------------------------------------------------------------------------------------------------


def caps_of(street: Street) -> pd.DataFrame:
    return street.table("caps/bilevel_caps/caps.csv")


def slot_means(of_minutes: np.ndarray) -> np.ndarray:
    """Of a quantity by minute and home, home by home."""
    return of_minutes.reshape(SLOTS, 30, -1).mean(axis=1).T.ravel()


def best_answer(caps: pd.DataFrame) -> np.ndarray:
    """What a household inside its caps draws: cheapest slots first, the earlier of two that cost the same [kW]."""
    charge = pd.Series(0.0, index=caps.index)
    for _, slots in caps[caps["stay"] >= 0].groupby("stay"):
        room = np.minimum(slots["charger_kw"] * slots["plugged"], (slots["cap_kw"] - slots["inflexible_kw"]).clip(0.0))
        room = room.where(slots["plugged"] > 0, 0.0)
        # 6 A or nothing: a slot whose room is below what the charger can draw is of no use
        usable = (
            np.minimum(slots["charger_kw"], slots["cap_kw"] - slots["inflexible_kw"]) >= slots["charger_min_kw"] - 1e-6
        )
        left = slots["energy_need_kwh"].iloc[0] / slots["efficiency"].iloc[0] / SLOT_H
        for row in slots.sort_values(["tariff_eur_per_kwh", "slot"], kind="stable").index:
            drawn = min(left, room[row] if usable[row] else 0.0)
            charge[row] += drawn
            left -= drawn
    return charge.to_numpy()


def caps_table(street: Street) -> Columns:
    """Data of the forecast, caps as they are, and the answer to them computed once more."""
    caps, told = caps_of(street), street.day.forecast.expected
    tariff = np.tile(TARIFF.reshape(SLOTS, PER_SLOT).mean(axis=1), len(CUSTOMERS))
    answer, slot = best_answer(caps), np.tile(np.arange(SLOTS), len(CUSTOMERS))
    limits = caps[["limit_1_kw", "limit_2_kw", "limit_3_kw"]]
    loaded = {home: [f"limit_{phase}_kw" for phase in phases] for home, phases in PHASES.items()}
    stays = forecast_stays(street)
    own = stays.loc[caps["stay"].clip(lower=0)].reset_index(drop=True)
    nobody = (caps["stay"] < 0).to_numpy()
    assert caps.groupby("slot")[list(limits)].nunique().eq(1).all(axis=None)  # one limit for all homes
    assert (limits > 0).all(axis=None)
    rank = caps["order_cost"].groupby(caps["household"]).rank()
    expected_rank = pd.Series(tariff + 1e-6 * slot).groupby(caps["household"]).rank()
    assert (rank == expected_rank).all()
    assert (caps["cap_kw"] <= caps["connection_kw"] + 1e-9).all()
    return {
        "household": np.repeat(CUSTOMERS, SLOTS),
        "phase": np.repeat([int("".join(map(str, PHASES[home]))) for home in CUSTOMERS], SLOTS),
        "slot": slot,
        "tariff_eur_per_kwh": tariff,
        "order_cost": tariff + (caps["order_cost"] - tariff).clip(0.0, 0.05),  # within half a step of the prices
        "inflexible_kw": slot_means(told.demand_kw - told.pv_available_kw),
        "connection_kw": np.repeat([CONNECTION_KW[home] for home in CUSTOMERS], SLOTS),
        "charger_kw": np.where(nobody, 0.0, own["charger_kw"]),
        "plugged": plugged_of(caps, stays),
        "energy_need_kwh": np.where(nobody, 0.0, own["energy_kwh"]),
        "efficiency": np.where(nobody, 1.0, own["efficiency"]),
        "cap_kw": np.where(answer > 1e-6, np.maximum(caps["cap_kw"], caps["inflexible_kw"] + answer), caps["cap_kw"]),
        "charge_kw": answer,
        "limit_kw": [limits.loc[row, loaded[home]].min() for row, home in enumerate(caps["household"])],
        "charger_min_kw": [0.0 if n else 1.38 * len(PHASES[h]) for n, h in zip(nobody, caps["household"], strict=True)],
        "stay": np.where(nobody, -1, caps["stay"]),
        "planned_kw": answer,
        "slot_h": SLOT_H,
        **{name: limits[name] for name in limits},
    }


def forecast_stays(street: Street) -> pd.DataFrame:
    """Cars as they were told to the controller, one row a stay."""
    told = street.day.forecast.expected.sessions
    return pd.DataFrame({
        "household": [CUSTOMERS[home] for home in told.customer], "from": told.arrival_min, "until": told.departure_min,
        "energy_kwh": told.energy_need_kwh, "charger_kw": told.charger_kw, "efficiency": told.efficiency,
    })  # fmt: skip


def plugged_of(caps: pd.DataFrame, stays: pd.DataFrame) -> np.ndarray:
    """Share of each slot in which any car of the home is there."""
    by_stay = textbook.stays(list(zip(stays["from"], stays["until"], strict=True)), SLOTS, 30.0)
    of_home = pd.DataFrame(by_stay).groupby(stays["household"]).sum().reindex(list(CUSTOMERS), fill_value=0.0)
    return of_home.to_numpy().ravel()


def responses_table(street: Street) -> Columns:
    """Every stay's energy and cost from the slots of the caps; what is unserved though the stay could hold it."""
    caps, stays = caps_of(street), forecast_stays(street)
    caps["answer"] = best_answer(caps)
    by_stay = caps[caps["stay"] >= 0].groupby("stay")
    drawn = by_stay["answer"].sum() * SLOT_H
    cost = by_stay.apply(lambda slots: (slots["answer"] * slots["tariff_eur_per_kwh"]).sum() * SLOT_H)
    most = by_stay.apply(
        lambda slots: (
            np.minimum(slots["charger_kw"] * slots["plugged"], (slots["connection_kw"] - slots["inflexible_kw"]).clip(0.0))
            * slots["efficiency"]
        ).sum() * SLOT_H
    )  # fmt: skip
    reachable = np.minimum(stays["energy_kwh"], most)
    zero = np.zeros(len(stays))
    return {
        "household": stays["household"],
        "stay": np.arange(len(stays)),
        "energy_need_kwh": stays["energy_kwh"],
        **{f"{way}_kwh": drawn for way in ("anticipated", "greedy", "lp")},
        **{f"{way}_cost_eur": cost for way in ("anticipated", "greedy", "lp")},
        "cost_difference_eur": zero,
        "greedy_error_kw": zero,
        "lp_error_kw": zero,
        "unserved_kwh": (reachable - drawn * stays["efficiency"]).clip(lower=0.0),
    }


def deviation_table(street: Street) -> Columns:
    """The first row is the plan; the others are drawn, so that only what must hold of any draw is known."""
    table, caps = street.table("caps/bilevel_caps/deviation.csv"), caps_of(street)
    charge = caps.assign(answer=best_answer(caps)).pivot(index="slot", columns="household", values="answer")
    base = caps.pivot(index="slot", columns="household", values="inflexible_kw")
    excess = 0.0
    for phase in (1, 2, 3):
        share = pd.Series({home: (phase in phases) / len(phases) for home, phases in PHASES.items()})
        limit = caps.groupby("slot")[f"limit_{phase}_kw"].first()
        expected = base @ share
        excess = max(excess, float((expected + charge @ share - np.maximum(limit, expected)).max()))
    broken = table["over_limit_share"] > 0
    everybody = table["behaviour"].str.contains("every")
    return {
        "plan": ["bilevel_caps"] * len(table),
        "behaviour": table["behaviour"].drop_duplicates(),
        "homes_share": np.where(table["behaviour"] == "as modelled", 0.0, np.where(everybody, 1.0, 0.2)),
        "respects_caps": ~table["behaviour"].str.contains("inflexible"),
        "draws": np.where(table.index.isin([0, 6]), 1, 100),
        "over_limit_share": table["over_limit_share"].clip(0.0, 1.0).where(table.index > 0, float(excess > 1e-6)),
        "mean_excess_kw": np.minimum(table["mean_excess_kw"], table["max_excess_kw"]).where(broken, 0.0),
        "max_excess_kw": table["max_excess_kw"].where(broken, 0.0).where(table.index > 0, max(excess, 0.0)),
    }


def export_caps_table(street: Street) -> Columns:
    """Inside its cap a roof exports what it wants; what then is fed in serves the home's own load first."""
    table, told = street.table("caps/bilevel_caps/export_caps.csv"), street.day.forecast.expected
    roofs = np.flatnonzero(told.inverter_kva > 0)
    homes = [CUSTOMERS[row] for row in roofs]

    def of_steps(minutes: np.ndarray) -> np.ndarray:
        return np.asarray(minutes.reshape(STEPS, 5, -1).mean(axis=1)[:, roofs].T.ravel())

    caps = caps_of(street)
    sun = np.minimum(of_steps(told.pv_available_kw), np.repeat(told.inverter_kva[roofs], STEPS))
    # expected charging: by steps, in which a car is there later and shorter than in the slots of the caps
    charging = pd.Series(table["load_kw"].to_numpy() - of_steps(told.demand_kw)).groupby(table["household"])
    planned = pd.Series(best_answer(caps)).groupby(caps["household"]).sum() * SLOT_H
    assert (charging.min() >= -1e-9).all()
    assert (charging.max() <= caps.groupby("household")["charger_kw"].max()[charging.max().index] + 1e-9).all()
    np.testing.assert_allclose(charging.sum() * STEP_H, planned[charging.sum().index], rtol=0.12, atol=1e-6)
    wanted = (sun - table["load_kw"]).clip(lower=0.0)
    assert ((table["export_cap_kw"] >= -1e-9) & (table["export_cap_kw"] <= table["rated_kw"] + 1e-9)).all()
    return {
        "household": np.repeat(homes, STEPS),
        "phase": np.repeat([PHASES[home][0] for home in homes], STEPS),
        "slot": np.tile(np.arange(STEPS), len(roofs)),
        "sun_kw": sun,
        "load_kw": table["load_kw"],
        "rated_kw": np.repeat(told.inverter_kva[roofs], STEPS),
        "wanted_kw": wanted,
        "export_cap_kw": table["export_cap_kw"],
        "export_kw": np.minimum(wanted, table["export_cap_kw"]),
        "feed_in_limit_kw": sun - (wanted - np.minimum(wanted, table["export_cap_kw"])),
    }
