"""What the tables of a run on the street must hold, by plain OpenDSS, the cars' own file and textbook formulas."""

from __future__ import annotations

from datetime import datetime, timedelta
from io import StringIO

import numpy as np
import pandas as pd

from oracles import textbook
from oracles.street import CARS, Solved, Street, solve_again

Columns = dict[str, object]

LABELS = ("none", "droop", "bilevel_caps", "pareto")
STEPS, STEP_MIN, STEP_H = 72, 5.0, 5.0 / 60.0
START = datetime(2026, 5, 15, 14)
CUSTOMERS = ("H1", "H2", "H3", "H4", "SHOP")
PHASES = {"H1": (1,), "H2": (2,), "H3": (1,), "H4": (3,), "SHOP": (1, 2, 3)}
BUS = {"H1": "A", "H2": "A", "H3": "B", "H4": "B", "SHOP": "B"}
CONNECTION_KW = {name: 8.0 * len(phases) for name, phases in PHASES.items()}
T1_RATING_A, LINE_RATING_A, NOMINAL_V = 20e3 / (np.sqrt(3.0) * 400.0), 40.0, 230.0
WATCHED = {"T1": T1_RATING_A, "TAIL": LINE_RATING_A}
CARS_AT_HOME = pd.read_csv(StringIO(CARS), parse_dates=["arrival", "departure"])
CARS_AT_HOME["from"] = (CARS_AT_HOME["arrival"] - START).dt.total_seconds() / 60.0
CARS_AT_HOME["until"] = (CARS_AT_HOME["departure"] - START).dt.total_seconds() / 60.0


def by_home(street: Street, label: str, column: str) -> pd.DataFrame:
    """One column of the customers' table, a column per customer."""
    table = street.table(f"trajectories/{label}/customers.parquet")
    return wide(table, "step", "customer", column)[list(CUSTOMERS)]


def wide(table: pd.DataFrame, rows: str, columns: str, values: str) -> pd.DataFrame:
    """Values by two keys that name each row once."""
    return table.pivot(index=rows, columns=columns, values=values)  # noqa: PD010 - an aggregate would hide doubles


def five_minutes(of_minutes: np.ndarray) -> np.ndarray:
    """Mean of every five minutes."""
    return np.asarray(np.mean([of_minutes[minute::5] for minute in range(5)], axis=0))


def price(k: int) -> float:
    """Three bands by the clock."""
    hour = (START + k * timedelta(minutes=STEP_MIN)).hour
    return 0.12 if hour < 7 or hour == 23 else 0.32 if 16 <= hour < 20 else 0.22


TARIFF = np.array([price(k) for k in range(STEPS)])


def meters_v(now: Solved) -> pd.DataFrame:
    """What each meter reads; of the shop the phase farthest from nominal."""
    columns = {}
    for name, phases in PHASES.items():
        volts = np.abs(now.bus_v(BUS[name]))[:, [phase - 1 for phase in phases]]
        columns[name] = volts[np.arange(STEPS), np.abs(volts - NOMINAL_V).argmax(axis=1)]
    return pd.DataFrame(columns)


def t1_percent(now: Solved) -> np.ndarray:
    return 100.0 * np.abs(now.current_a["T1"]) / T1_RATING_A


def lines_percent(now: Solved) -> np.ndarray:
    """Of both lines, shape (step, line)."""
    return np.stack([100.0 * np.abs(now.current_a[name]).max(axis=1) / LINE_RATING_A for name in ("HEAD", "TAIL")], 1)


def hot_spot_c(street: Street, now: Solved) -> np.ndarray:
    # its load loss is eight times its no-load loss
    ambient_c = five_minutes(street.day.exogenous.ambient_c)
    return textbook.hot_spot(t1_percent(now).max(axis=1) / 100.0, ambient_c, STEP_MIN, loss_ratio=1.6 / 0.2)


def no_load_kw(now: Solved) -> np.ndarray:
    """0.2 % of a third of 20 kVA in every core, by the square of its voltage."""
    per_unit = np.abs(now.bus_v("LV")) / (400.0 / np.sqrt(3.0))
    return np.asarray(0.002 * 20.0 / 3.0 * (per_unit**2).sum(axis=1))


# --- trajectories -----------------------------------------------------------------------------------------------------


def steps_table(street: Street, label: str, now: Solved) -> Columns:
    decided = street.table(f"trajectories/{label}/decisions.parquet")
    written = street.table(f"trajectories/{label}/steps.parquet")["balance_error_percent"]
    home = {key: by_home(street, label, key).to_numpy().sum(axis=1) for key in ("demand_kw", "ev_kw", "pv_kw")}
    fell_back = decided.loc[decided["fallback"].fillna("") != "", "step"]
    return {
        "step": np.arange(STEPS),
        "time": [START + k * timedelta(minutes=5) for k in range(STEPS)],
        "tariff_eur_per_kwh": TARIFF,
        "p_kw": now.transformer_kva.real,
        "q_kvar": now.transformer_kva.imag,
        "s_kva": np.hypot(now.transformer_kva.real, now.transformer_kva.imag),
        "worst_phase_percent": t1_percent(now).max(axis=1),
        "hot_spot_c": hot_spot_c(street, now),
        "losses_kw": now.losses_kw,
        "other_sources_kw": 0.0,
        "degraded": np.isin(np.arange(STEPS), fell_back),
        "p_hv_kw": now.transformer_hv_kva.real,
        "q_hv_kvar": now.transformer_hv_kva.imag,
        "source_kw": now.source_kw,
        "consumption_kw": home["demand_kw"] + home["ev_kw"],
        "generation_kw": home["pv_kw"],
        "losses_lines_kw": now.losses_lines_kw,
        "losses_transformers_kw": now.losses_transformers_kw,
        "losses_others_kw": now.losses_kw - now.losses_lines_kw - now.losses_transformers_kw,
        "losses_no_load_kw": no_load_kw(now),
        "balance_error_percent": written.clip(0.0, 1e-4),  # what is left is the power flow's own tolerance
        "ambient_c": five_minutes(street.day.exogenous.ambient_c),
        "source_pu": 1.075,
        **{f"transformer_{phase}_percent": t1_percent(now)[:, row] for row, phase in enumerate("abc")},
        "vuf_max_percent": np.maximum(*(textbook.vuf(now.bus_v(bus)) for bus in ("A", "B"))),
    }


def customers_table(street: Street, label: str, now: Solved) -> Columns:
    """Powers from the balance at the meter, of which the voltages say that it was drawn; cars from their file."""
    day, run = street.day.exogenous, street.results.runs[label].trajectory
    demand_kw, sun_kw = five_minutes(day.demand_kw), five_minutes(day.pv_available_kw)
    ev_kw, net_kw = (by_home(street, label, key).to_numpy() for key in ("ev_kw", "net_kw"))
    demand_kvar, volts = demand_kw * np.tan(np.arccos(0.95)), meters_v(now).to_numpy()
    kva, free = day.inverter_kva, np.full((STEPS, len(CUSTOMERS)), np.inf)
    cap_kw, pv_limit_kw, ceiling_kw, pv_kvar = free, free, np.minimum(sun_kw, kva), np.zeros_like(free)
    if label == "droop":  # AS/NZS 4777.2, Australia A: reactive power first
        pv_kvar = np.interp(volts, (207, 220, 240, 258), (-0.44, 0, 0, 0.60)) * kva * (sun_kw > 0)
        volt_watt = np.interp(volts, (253, 260), (1.0, 0.2)) * kva
        ceiling_kw = np.minimum(ceiling_kw, np.minimum(volt_watt, np.sqrt(kva**2 - pv_kvar**2)))
    if label == "bilevel_caps":
        caps = wide(street.table("caps/bilevel_caps/caps.csv"), "slot", "household", "cap_kw")
        caps["H4"] = np.inf  # has no car, and so no cap
        cap_kw = np.repeat(caps[list(CUSTOMERS)].clip(lower=0.0).to_numpy(), 6, axis=0)
    if label in ("bilevel_caps", "pareto"):  # as the controller wanted it, which only it knows
        pv_limit_kw = run.pv_limit_kw
    plugged, soc_kwh = np.zeros((2, STEPS, len(CUSTOMERS)))
    for home, cars in CARS_AT_HOME.groupby("customer"):
        column = CUSTOMERS.index(str(home))
        share = textbook.stays(list(zip(cars["from"], cars["until"], strict=True)), STEPS, STEP_MIN)
        for car, there in zip(cars.itertuples(), share, strict=True):
            at_home = there > 0
            charged_kwh = np.cumsum(ev_kw[:, column] * at_home) * STEP_H * car.efficiency
            plugged[at_home, column] = there[at_home]
            soc_kwh[at_home, column] = (car.soc_arrival_kwh + charged_kwh)[at_home]
    return {
        "step": np.repeat(np.arange(STEPS), len(CUSTOMERS)),
        "customer": list(CUSTOMERS) * STEPS,
        "demand_kw": demand_kw.ravel(),
        "pv_available_kw": sun_kw.ravel(),
        "pv_kw": np.minimum(ceiling_kw, pv_limit_kw).ravel(),
        "ev_kw": (net_kw - demand_kw + np.minimum(ceiling_kw, pv_limit_kw)).ravel(),
        "soc_kwh": soc_kwh.ravel(),
        "plugged": plugged.ravel(),
        "import_cap_kw": cap_kw.ravel(),
        "ev_limit_kw": (run.ev_limit_kw if label == "pareto" else free).ravel(),
        "pv_limit_kw": pv_limit_kw.ravel(),
        "net_kw": (demand_kw + ev_kw - np.minimum(ceiling_kw, pv_limit_kw)).ravel(),
        "voltage_v": volts.ravel(),
        "net_kvar": (demand_kvar + pv_kvar).ravel(),
    }


def nodes_table(street: Street, label: str, now: Solved) -> Columns:
    nodes = [f"{bus}.{phase}" for bus in ("SRC", "LV", "A", "B") for phase in (1, 2, 3)]
    return {"step": np.arange(STEPS)} | {node: np.abs(now.voltage_v[node]) for node in nodes}


def lines_table(street: Street, label: str, now: Solved) -> Columns:
    ends = [(line, phase) for line in ("HEAD", "TAIL") for phase in (1, 2, 3)]
    return {"step": np.arange(STEPS)} | {f"{n}.{p}": np.abs(now.current_a[n][:, p - 1]) for n, p in ends}


def decisions_table(street: Street, label: str, now: Solved) -> Columns:
    """What a solver says of itself can only be handed on; that gaps belong to objectives and bounds can be seen."""
    given = [decision for _, decision in street.results.runs[label].trajectory.decisions]
    objective, bound = (np.array([getattr(one, key) for one in given]) for key in ("objective", "bound"))
    larger = np.maximum(np.abs(objective), np.abs(bound))
    return {
        "step": np.arange(0, STEPS, 1 if label == "bilevel_caps" else 12),
        "status": ["rule"] * 6 if label in ("none", "droop") else [str(one.status) for one in given],
        "objective": objective,
        "bound": bound,
        "gap": np.abs(objective - bound) / np.where(larger > 0, larger, 1.0),
        "fallback": [one.fallback for one in given],
    }


def front_table(street: Street, label: str, now: Solved) -> Columns:
    """One point of each front is taken, and none dominates another."""
    table = street.table(f"trajectories/{label}/front.parquet")
    for _, points in table.groupby("step"):
        assert points["chosen"].sum() == 1
        ordered = points.sort_values(["unbalance_current", "pv_curtailment"])
        assert (np.diff(ordered["pv_curtailment"]) <= 1e-9).all()
    points = points_of(table)
    return {"step": points.pop("step"), "point": points.pop("point"), "chosen": table["chosen"], **points}


def points_of(table: pd.DataFrame) -> Columns:
    values = table[["unbalance_current", "pv_curtailment"]].abs()  # nothing negative
    decisions = np.arange(0, STEPS, 12)
    assert set(table["step"]) <= set(decisions)
    return {"step": np.sort(table["step"]), "point": table.groupby("step").cumcount()} | {k: values[k] for k in values}


def reference_table(street: Street, label: str, now: Solved) -> Columns:
    return points_of(street.table(f"trajectories/{label}/reference.parquet"))


def bettered_by(point: np.ndarray, front: np.ndarray) -> float:
    """How far a point is above the chords of a front, where the front's first objective is no larger."""
    ordered = front[np.argsort(front[:, 0], kind="stable")]
    lowest = point[1]
    for (x0, y0), (x1, y1) in zip(ordered, [*ordered[1:], ordered[-1]], strict=True):
        if x0 <= point[0]:
            share = min((point[0] - x0) / (x1 - x0), 1.0) if x1 > x0 else 0.0
            lowest = min(lowest, y0, y0 + share * (y1 - y0))
    return float(point[1] - lowest)


def certificates_table(street: Street, label: str, now: Solved) -> Columns:
    """Hypervolumes from the points; the scale of a decision is what the worst of either objective is."""
    table = street.table(f"trajectories/{label}/certificates.parquet")
    names = ("unbalance_current", "pv_curtailment")
    front, reference = (street.table(f"trajectories/{label}/{name}.parquet") for name in ("front", "reference"))
    area: dict[str, list[float]] = {"hypervolume": [], "hypervolume_reference": []}
    gaps: list[float] = []
    for row in table.itertuples():
        for key, points in zip(area, (front, reference), strict=True):
            width = [getattr(row, f"{name}_at_1") for name in names]
            area[key].append(
                textbook.hypervolume_of_two(points.loc[points["step"] == row.step, names].to_numpy() / width)
            )
        known = reference.loc[reference["step"] == row.step, names].to_numpy() / width
        (taken,) = front.loc[(front["step"] == row.step) & front["chosen"], names].to_numpy() / width
        gaps.append(max(bettered_by(taken, known), bettered_by(taken[::-1], known[:, ::-1]), 0.0))
    chosen = front[front["chosen"]].set_index("step").loc[table["step"]]
    assert (table["regret_a"] <= np.sqrt(chosen["unbalance_current"]).to_numpy() + 1e-9).all()
    assert (table["regret_kwh"] <= chosen["pv_curtailment"].to_numpy() + 1e-9).all()
    assert (table[["regret_a", "regret_kwh"]] >= -1e-9).all(axis=None)
    return {
        "step": np.sort(front["step"].unique()),
        **area,
        "regret_a": table["regret_a"],
        "regret_kwh": table["regret_kwh"],
        "gap": gaps,
        "unbalance_current_at_0": 0.0,
        "unbalance_current_at_1": table["unbalance_current_at_1"].abs(),
        "pv_curtailment_at_0": 0.0,
        "pv_curtailment_at_1": table["pv_curtailment_at_1"].abs(),
    }


# --- unbalance --------------------------------------------------------------------------------------------------------


def worst_first(rows: list[Columns], key: str) -> Columns:
    return pd.DataFrame(rows).sort_values(key, ascending=False, kind="stable").to_dict("list")


def moment(values: np.ndarray) -> Columns:
    k = int(values.argmax())
    return {"worst_step": k, "worst_time": f"{START + k * timedelta(minutes=5):%H:%M}"}


def buses_table(street: Street, label: str, now: Solved) -> Columns:
    rows = []
    for bus, distance_m in (("SRC", 0.0), ("LV", 0.0), ("A", 250.0), ("B", 450.0)):
        v = now.bus_v(bus)
        base_v = np.abs(v).mean() if bus == "SRC" else NOMINAL_V
        factor, zero = textbook.pairs_rms(textbook.vuf(v)), textbook.pairs_rms(textbook.v0(v))
        rows.append(
            {"bus": bus, "distance_m": distance_m, "voltage_min_pu": np.abs(v).min() / base_v,
             "voltage_max_pu": np.abs(v).max() / base_v, "vuf_max_percent": factor.max(),
             "vuf_p95_percent": np.quantile(factor, 0.95), "v0_max_percent": zero.max(),
             "v0_p95_percent": np.quantile(zero, 0.95), "pvur_max_percent": textbook.spread(np.abs(v)).max(),
             "lvur_max_percent": textbook.spread(textbook.line_to_line(v)).max(), **moment(textbook.vuf(v))}
        )  # fmt: skip
    return worst_first(rows, "vuf_max_percent")


def branches_table(street: Street, label: str, now: Solved) -> Columns:
    rows = []
    for name, ends, rating_a in (
        ("HEAD", ("LV", "A"), LINE_RATING_A), ("TAIL", ("A", "B"), LINE_RATING_A), ("T1", ("SRC", "LV"), T1_RATING_A),
    ):  # fmt: skip
        i = now.current_a[name]
        zero, _, two = textbook.sequences(i)
        residual, index = np.abs(i.sum(axis=1)), textbook.pui(i, rating_a)
        rows.append(
            {"branch": name, "from_bus": ends[0], "to_bus": ends[1], "neutral_max_a": residual.max(),
             "neutral_p95_a": np.quantile(residual, 0.95), "i2_max_a": np.abs(two).max(),
             "i2_p95_a": np.quantile(np.abs(two), 0.95),
             "unbalance_current_mean_a2": (np.abs(two) ** 2 + np.abs(zero) ** 2).mean(),
             "pui_mean_percent": np.nanmean(index), "pui_max_percent": np.nanmax(index),
             "peak_percent": 100.0 * np.abs(i).max() / rating_a, **moment(residual)}
        )  # fmt: skip
    table = pd.DataFrame(rows)  # places that differ by rounding alone stay in the order of the file
    return table.iloc[np.argsort(-table["neutral_max_a"].round(3), kind="stable")].to_dict("list")


def causes_table(street: Street, label: str, now: Solved) -> Columns:
    """Each home left out in plain OpenDSS, at the moments of the two worst places of the other tables."""
    folder = f"unbalance/{label}"
    bus, branch = (street.table(f"{folder}/{name}.csv").iloc[0] for name in ("buses", "lines"))
    net = [by_home(street, label, key) for key in ("net_kw", "net_kvar")]

    def without(step: int) -> Solved:
        left_out = [pd.concat([one.iloc[[step]]] * 6, ignore_index=True) for one in net]
        for row, home in enumerate(CUSTOMERS, start=1):
            for one in left_out:
                one.loc[row, home] = 0.0
        return solve_again(street.day.feeder.master, *left_out)

    factor = textbook.vuf(without(int(bus["worst_step"])).bus_v(str(bus["bus"])))
    residual = np.abs(without(int(branch["worst_step"])).current_a[str(branch["branch"])].sum(axis=1))
    rows: list[Columns] = [
        {"customer": home, "bus": BUS[home], "phases": ".".join(map(str, PHASES[home])),
         "net_kw_at_worst_bus_time": net[0].loc[int(bus["worst_step"]), home],
         "vuf_share_percent": factor[0] - factor[row],
         "net_kw_at_worst_line_time": net[0].loc[int(branch["worst_step"]), home],
         "neutral_share_a": residual[0] - residual[row]}
        for row, home in enumerate(CUSTOMERS, start=1)
    ]  # fmt: skip
    return worst_first(rows, "neutral_share_a")
