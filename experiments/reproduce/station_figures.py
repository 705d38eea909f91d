"""Figures of the station-pricing study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from cosim.contract import Float
from cosim.controllers.pricing import Leader
from cosim.experiments.figures import style

if TYPE_CHECKING:
    from cosim.experiments.reproduce.station_pricing import Told

HIGH, LOW, MEAN = "#0072B2", "#D55E00", "#009E73"
FORM_COLOURS = {"cuts": "#009E73", "products": "#D55E00", "products_lean": "#E69F00", "nonlinear": "#0072B2"}
SOLVER_DASHES = {"highs": "-", "scip": "--"}
MOST_BARS = 40


def write_figures(told: Told, leader: Leader, folder: Path) -> dict[str, str]:
    """Write what there is to show; caption by file name."""
    folder.mkdir(parents=True, exist_ok=True)
    drawings: dict[str, style.Drawing] = {}
    if any("," in name for name in told.cases):
        drawings["incomes.png"] = draw_incomes(told)
    if any("," in name and "efficient_answers" in case for name, case in told.cases.items()):
        drawings["efficient.png"] = draw_efficient(told, leader)
    if told.evolved is not None and np.isfinite(told.evolved.history_eur).any():
        drawings["evolution.png"] = draw_evolution(told, told.evolved.history_eur)
    if told.scaling:
        drawings["scaling.png"] = draw_scaling(told.scaling)
    loops = {name.removeprefix("loop_"): case for name, case in told.cases.items() if name.startswith("loop_")}
    if loops:
        drawings["loop.png"] = draw_loop(loops)
    for name, drawing in drawings.items():
        style.save(drawing.figure, folder / name)
    return {name: drawing.caption for name, drawing in drawings.items()}


def draw_incomes(told: Told) -> style.Drawing:
    """Income of every price vector at both ends of the drivers' efficient answers."""
    listed = [(name, case) for name, case in told.cases.items() if "," in name]
    listed = sorted(listed, key=lambda item: -item[1]["best_optimistic"])[:MOST_BARS]
    with style.house_style():
        figure, ((axes,),) = style.sheet(style.Block(1, 1, 3.2), right_in=1.0)
        at = np.arange(len(listed))
        high = np.array([case["best_optimistic"] for _, case in listed])
        low = np.array([case["best_pessimistic"] for _, case in listed])
        axes.vlines(at, low, high, color=style.REFERENCE, linewidth=5.0)
        axes.plot(at - 0.1, high, "^", color=HIGH, markersize=7)
        axes.plot(at + 0.1, low, "v", color=LOW, markersize=7)
        for k, mark in enumerate(("weighted_optimistic", "weighted_pessimistic")):
            axes.plot(at, [case[mark] for _, case in listed], "+x"[k], color="black", markersize=6)
        lines = len(told.chosen["optimistic"])
        axes.set_xticks(at, [name.replace(",", "\n") for name, _ in listed], fontsize=9 if lines < 3 else 6)
        style.panel_title(axes, "", "below: price of each station [EUR/kWh]")
        axes.set_ylabel("income [EUR]")
        axes.grid(visible=False, axis="x")
        title = "What each price vector earns, whichever efficient answer drivers choose"
        keys = [
            style.line_key(HIGH, "least time first (optimistic)", marker="^", linestyle=""),
            style.line_key(LOW, "least cost first (pessimistic)", marker="v", linestyle=""),
            style.line_key("black", "weights 0.1, 0.9", marker="+", linestyle=""),
            style.line_key("black", "weights 0.9, 0.1", marker="x", linestyle=""),
        ]
        style.heading(figure, title, keys)
    caption = "Bars: between both ends of the drivers' efficient answers, dearest first. Crosses: the slides' weights."
    return style.Drawing(figure, title, caption)


def draw_efficient(told: Told, leader: Leader) -> style.Drawing:
    """All efficient answers of the drivers at the price vectors with most of them."""
    rows = sorted(
        (item for item in told.cases.items() if "," in item[0]), key=lambda item: -item[1]["efficient_answers"]
    )
    with style.house_style():
        figure, ((axes,),) = style.sheet(style.Block(1, 1, 3.2), right_in=1.6)
        for (name, case), colour in zip(rows[:6], style.RUN_COLOURS, strict=False):
            answers = leader.follower.efficient(np.array(case["prices"]))
            cost, time = [a.cost_eur for a in answers], [a.time_h for a in answers]
            axes.plot(cost, time, "o-", color=colour, label=name, drawstyle="steps-post", markersize=5)
        axes.set_xlabel("what all drivers pay [EUR]: the operator's income")
        axes.set_ylabel("time of all drivers [h]")
        axes.legend(title="prices", loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, borderaxespad=0.0)
        title = "Efficient answers of the drivers: who saves time pays more"
        style.heading(figure, title)
    caption = "Every point is an answer that no other beats in both cost and time (epsilon-constraint method)."
    return style.Drawing(figure, title, caption)


def draw_evolution(told: Told, history: Float) -> style.Drawing:
    """Best fitness of both groups over the generations, against the optimum where it is known."""
    best = told.cases.get("best", {})
    with style.house_style():
        figure, ((axes,),) = style.sheet(style.Block(1, 1, 2.8), right_in=1.8)
        names = ("weighted_optimistic", "weighted_pessimistic")
        for k, colour in enumerate((HIGH, LOW)):
            shown = np.where(np.isfinite(history[:, k]), history[:, k], np.nan)
            axes.plot(np.arange(1, len(shown) + 1), shown, color=colour, drawstyle="steps-post")
        limits = {name: best[name] for name in names if best.get(name) is not None}
        together = len(limits) == 2 and abs(limits[names[0]] - limits[names[1]]) < 1e-6
        for name, value in list(limits.items())[: 1 if together else 2]:
            style.limit_line(axes, value, "both optima" if together else f"optimum, {name.removeprefix('weighted_')}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("generation")
        axes.set_ylabel("best fitness so far [EUR]")
        title = "The slides' evolutionary algorithm: best income of each group"
        style.heading(figure, title, [style.line_key(HIGH, "optimistic group (0.1 cost, 0.9 time)"),
                                      style.line_key(LOW, "pessimistic group (0.9 cost, 0.1 time)")])  # fmt: skip
    caption = "Lines end with the search. Dashed: the proven optimum over all price vectors, where it is known."
    return style.Drawing(figure, title, caption)


def draw_scaling(rows: list[dict[str, Any]]) -> style.Drawing:
    """Processor time of one lower level against users and against stations."""
    with style.house_style():
        figure, (panels,) = style.sheet(style.Block(2, 2, 3.4, share_x=False))
        for axes, series in zip(panels, ("users", "stations"), strict=True):
            _time_panel(axes, [row for row in rows if row["series"] == series], series)
        panels[0].set_ylabel("median processor time of a solve [s]")
        others = {"users": "stations", "stations": "users"}
        for axes, series in zip(panels, others, strict=True):
            fixed = next(row[others[series]] for row in rows if row["series"] == series)
            names = {"users": "drivers", "stations": "stations"}
            style.panel_title(axes, f"against {names[series]}", f"{fixed} {names[others[series]]}")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_xlabel(f"number of {names[series]}")
        ways = list(dict.fromkeys((row["formulation"], row["solver"]) for row in rows))
        keys = [
            style.line_key(FORM_COLOURS[form], f"{form}, {solver.upper() if solver == 'scip' else 'HiGHS'}",
                           linestyle=SOLVER_DASHES[solver])
            for form, solver in ways
        ]  # fmt: skip
        title = "The slides' open question: time to prove the drivers' answer, by formulation"
        style.heading(figure, title, keys)
    caption = (
        "Same problems for all; both of the slides' weights. Open circles: some solve was not proven within its limit "
        "and counts as the limit; a line ends where a way proved less than half."
    )
    return style.Drawing(figure, title, caption)


def _time_panel(axes: Axes, rows: list[dict[str, Any]], series: str) -> None:
    for form, solver in dict.fromkeys((row["formulation"], row["solver"]) for row in rows):
        mine = [row for row in rows if (row["formulation"], row["solver"]) == (form, solver)]
        size = [row[series] for row in mine]
        taken_s = [row["median_s"] for row in mine]
        axes.plot(size, taken_s, SOLVER_DASHES[solver], color=FORM_COLOURS[form])
        for row, x, y in zip(mine, size, taken_s, strict=True):
            filled = FORM_COLOURS[form] if not row["unproven"] else "white"
            axes.plot([x], [y], "o", markersize=5, markerfacecolor=filled, markeredgecolor=FORM_COLOURS[form])
    axes.set_yscale("log")


def draw_loop(loops: dict[str, dict[str, Any]]) -> style.Drawing:
    """What the feeder feels of each price vector."""
    shown = (("voltage_min_pu", "lowest voltage [pu]"), ("vuf_p95_percent", "VUF, 95 % [%]"),
             ("neutral_current_p95_a", "neutral current, 95 % [A]"),
             ("transformer_peak_percent", "transformer, worst phase [%]"),
             ("ev_delivered_kwh", "energy delivered to drivers [kWh]"))  # fmt: skip
    prices = list(dict.fromkeys(case["price_vector"] for case in loops.values()))
    controllers = list(dict.fromkeys(case["controller"] for case in loops.values()))
    with style.house_style():
        figure, (panels,) = style.sheet(style.Block(len(shown), 2, 2.0, share_x=False, share_y=False), header_in=1.0)
        width = 0.8 / len(controllers)
        for axes, (metric, label) in zip(panels, shown, strict=True):
            for k, controller in enumerate(controllers):
                mine = {case["price_vector"]: case for case in loops.values() if case["controller"] == controller}
                values = [mine[name][metric] if name in mine else np.nan for name in prices]
                at = np.arange(len(prices)) + (k - (len(controllers) - 1) / 2) * width
                axes.bar(
                    at, [np.nan if v is None else v for v in values], width=0.9 * width, color=style.RUN_COLOURS[k + 1]
                )
            axes.set_xticks(np.arange(len(prices)), prices)
            style.panel_title(axes, label)
            axes.grid(visible=False, axis="x")
            if metric == "voltage_min_pu":
                axes.set_ylim(bottom=0.8)
            if metric == "ev_delivered_kwh":
                for k, name in enumerate(prices):
                    wanted = next(c for c in loops.values() if c["price_vector"] == name)
                    bought_kwh = wanted["ev_delivered_kwh"] + wanted["ev_unserved_kwh"]
                    axes.plot([k - 0.4, k + 0.4], [bought_kwh, bought_kwh], color="black", linewidth=1.2)
        title = "Prices on the wires: the same drivers and homes, other prices"
        style.heading(figure, title, [style.area_key(style.RUN_COLOURS[k + 1], c) for k, c in enumerate(controllers)])
    caption = (
        "One day of the feeder for each price vector and controller; only the stations that drivers choose differ. "
        "Black: what drivers paid for; a controller that delivers little relieves the grid by not charging."
    )
    return style.Drawing(figure, title, caption)
