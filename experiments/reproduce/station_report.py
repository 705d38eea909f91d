"""The station-pricing study in words and tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosim.experiments.reproduce.station_read import Order
from cosim.record import write_whole

if TYPE_CHECKING:
    from cosim.experiments.reproduce.station_pricing import Told

LOOP_METRICS = ("voltage_min_pu", "vuf_p95_percent", "neutral_current_p95_a", "transformer_peak_percent",
                "ev_delivered_kwh", "ev_unserved_kwh")  # fmt: skip


def write_report(path: Path, told: Told, order: Order) -> None:
    """Write ``report.md``."""
    instance = order.instance
    parts = [
        f"# Prices at charging stations: {order.name}",
        f"{instance.users} drivers, {instance.stations} stations"
        + (f" (counted once per period, {order.wishes.periods} periods)" if order.wishes.periods > 1 else "")
        + f", {len(instance.levels)} possible prices. The operator sets prices; drivers then choose stations so that "
        "cost and time cannot both be bettered. As the operator earns what drivers pay, it earns most if they look at "
        "time first (*optimistic*) and least if they look at cost first (*pessimistic*).",
        _assumptions(order),
        _best(told),
        _vectors(told),
        _evolution(told),
        _scaling(told),
        _loop(told),
        "\n\n".join(f"![{caption}](figures/{name})\n\n*{caption}*" for name, caption in told.figures.items()),
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _assumptions(order: Order) -> str:
    rules, wishes = order.rules, order.wishes
    lost = (
        f"drivers for whom there is no room are lost at {wishes.lost_sales:g} EUR/kWh, after as much energy as can be "
        "is served" if wishes.lost_sales is not None
        else "who can pay some station's price must be served, and prices that leave no room are refused"
    )  # fmt: skip
    crowd = (
        "each driver looks after itself: the answer is a Nash equilibrium (least Rosenthal potential)"
        if rules.congestion == "equilibrium"
        else "drivers choose together what is best for all of them (system optimum)"
    )
    ordered = "; a station of more power must not be cheaper than one of less" if wishes.price_order else ""
    gap = f" within a proven gap of {100 * rules.gap:g} %" if rules.gap else " exactly"
    return (
        f"What the slides leave open is decided so: {lost}; {crowd}; capacity is energy over the period; prices are "
        f"drivers' budgets{ordered}. The lower level is solved{gap}, in the formulation `{rules.formulation}`."
    )


def _best(told: Told) -> str:
    case = told.cases.get("best")
    if case is None:
        return "There are too many price vectors to prove the best; what follows is the evolutionary algorithm's."
    rows = [
        f"| {name} | {_prices(c)} | {c['best_optimistic']:.2f} | {c['best_pessimistic']:.2f} | {c['gap_eur']:.2f} | "
        f"{c['served']} |"
        for name, c in ((name, told.cases[name]) for name in ("optimistic", "pessimistic", "moderate"))
    ]
    solved = case["solved_exactly"]
    return "\n".join([
        "## Best prices, with proof", "",
        "| chosen for | prices [EUR/kWh] | F, optimistic [EUR] | F, pessimistic [EUR] | at risk [EUR] | served |",
        "|---|---|---:|---:|---:|---:|", *rows, "",
        f"All {case['price_vectors']} price vectors were bounded; {solved['optimistic']} had to be solved exactly for "
        f"the optimistic reading and {solved['pessimistic']} for the pessimistic one. With the slides' weights "
        f"the best incomes are {case['weighted_optimistic']:.2f} and {case['weighted_pessimistic']:.2f} EUR. "
        "*Moderate* is the largest mean of both ends.",
    ])  # fmt: skip


def _vectors(told: Told) -> str:
    listed = {name: case for name, case in told.cases.items() if "," in name}
    if not listed:
        return ""
    moves = any("better_moves" in case for case in listed.values())
    head = "| prices | served | weights .1/.9: F, time | weights .9/.1: F, time | lexicographic F | efficient answers |"
    rows = [
        f"| {name} | {c['served']} | {c['weighted_optimistic']:.2f}, {c['time_weighted_optimistic_h']:.4f} | "
        f"{c['weighted_pessimistic']:.2f}, {c['time_weighted_pessimistic_h']:.4f} | {c['best_optimistic']:.2f} / "
        f"{c['best_pessimistic']:.2f} | {c.get('efficient_answers', '-')} |"
        + (f" {c['better_moves']} |" if moves else "")
        for name, c in listed.items()
    ]
    return "\n".join(["## Every price vector that can be served", "", head + (" gainful moves |" if moves else ""),
                      "|---|---:|---|---|---|---:|" + ("---:|" if moves else ""), *rows])  # fmt: skip


def _evolution(told: Told) -> str:
    case = told.cases.get("evolutionary")
    if case is None:
        return ""
    text = (
        f"## The slides' algorithm\n\nIt ended after {case['generations']} generations with "
        f"{case['weighted_optimistic']:.2f} EUR (optimistic) and {case['weighted_pessimistic']:.2f} EUR (pessimistic), "
        f"having evaluated {case['evaluated']} of {case['price_vectors']} price vectors; largest gap of a lower level "
        f"{case['lower_level_gap']:.1e}."
    )
    certified = told.cases.get("certify")
    if certified:
        both, first, second = (
            f"{100 * certified[key]:.0f} %"
            for key in ("share_optimal", "share_optimal_weighted_optimistic", "share_optimal_weighted_pessimistic")
        )
        text += (
            f"\n\nOn {certified['instances']} drawn instances it found the proven optimum of both readings in {both} "
            f"(optimistic {first}, pessimistic {second}), with a mean gap of {certified['mean_gap_percent']:.3f} %, "
            f"having evaluated {100 * certified['evaluated_share']:.0f} % of "
            "all price vectors."
        )
    return text


def _scaling(told: Told) -> str:
    if not told.scaling:
        return ""
    from cosim.experiments.reproduce.station_scaling import answer

    rows = [
        f"| {r['users']} × {r['stations']} | {r['formulation']} | {r['solver']} | {r['columns']} | "
        f"{r['median_s']:.4f} | {r['worst_s']:.3f} | {r['solves'] - r['unproven']} of {r['solves']} |"
        for r in told.scaling
    ]
    return "\n".join([
        "## Linearised or as it stands?", "", *[f"- {line}" for line in answer(told.scaling)], "",
        "Why: the relaxation of the products is blind (every x at one half costs nothing), that of the square as it "
        "stands is below the square between whole numbers, and that of the cuts is the convex hull of the square at "
        "whole numbers: but for capacities, the drivers' problem is then a flow of convex costs, whose relaxation is "
        "whole by itself.", "",
        "| drivers × stations | formulation | solver | columns | median [s] | worst [s] | proven |",
        "|---|---|---|---:|---:|---:|---:|", *rows,
    ])  # fmt: skip


def _loop(told: Told) -> str:
    loops: Mapping[str, Mapping[str, Any]] = {n: c for n, c in told.cases.items() if n.startswith("loop_")}
    if not loops:
        return ""
    rows = [
        f"| {c['price_vector']} ({_prices(c)}) | {c['controller']} | {c['drivers']} | "
        + " | ".join("-" if c[m] is None else f"{c[m]:.3f}" for m in LOOP_METRICS) + " |"
        for c in loops.values()
    ]  # fmt: skip
    return "\n".join([
        "## On the wires", "",
        "Drivers charge where they chose, after the time it takes to get there; each station has plugs at its bus. "
        "What differs between rows of one controller is the prices alone. "
        f"{_equal_share_words(loops)}", "",
        "| prices for | controller | drivers | " + " | ".join(f"`{metric}`" for metric in LOOP_METRICS) + " |",
        "|---|---|---:|" + "---:|" * len(LOOP_METRICS), *rows,
    ])  # fmt: skip


def _equal_share_words(loops: Mapping[str, Mapping[str, Any]]) -> str:
    """Why a plug gets so little of an equal share."""
    mine = [case for case in loops.values() if case["controller"] == "equal_share"]
    if not mine:
        return ""
    given = [case["ev_delivered_kwh"] for case in mine]
    wanted = [case["ev_delivered_kwh"] + case["ev_unserved_kwh"] for case in mine]
    return (
        "`equal_share` divides what a phase can carry among all homes and plugs on it, used or not: a plug of 22 or "
        "50 kW gets as much as a home, often less than the charger's least power, which then is a pause. "
        f"So it delivers {_range(given)} of the {_range(wanted)} kWh that drivers paid for; its kind figures for "
        "voltage and transformer are those of a station that hardly charges, not of a good sharing. `cpo_planner`, "
        "which gives all plugs together what the homes leave, is the one to compare with."
    )


def _range(values: list[float]) -> str:
    low, high = (f"{value:.0f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _prices(case: Mapping[str, Any]) -> str:
    return ", ".join(f"{price:.2f}" for price in case["prices"])
