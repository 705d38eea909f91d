"""Figures of the station-pricing study."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from cosim.contract import Float
from cosim.controllers.pricing import Leader
from cosim.experiments.figures import style
from cosim.experiments.studies.base import Cases

HIGH, LOW = "#0072B2", "#D55E00"
FORM_COLOURS = {"cuts": "#009E73", "products": "#D55E00", "products_lean": "#E69F00", "nonlinear": "#0072B2"}
SOLVERS = {"highs": ("HiGHS", "-"), "scip": ("SCIP", "--")}
MOST_BARS = 40
LOOP_PANELS = {
    "voltage_min_pu": "lowest voltage [pu]",
    "vuf_p95_percent": "VUF, 95 % [%]",
    "neutral_current_p95_a": "neutral current, 95 % [A]",
    "transformer_peak_percent": "transformer, worst phase [%]",
    "ev_delivered_kwh": "energy delivered to drivers [kWh]",
}


def draw_incomes(listed: Cases) -> style.Drawing:
    """Income of every price vector at both ends of the drivers' efficient answers."""
    shown = sorted(listed.items(), key=lambda item: -item[1]["best_optimistic"])[:MOST_BARS]
    figure, ((axes,),) = style.sheet(style.Block(1, 1, 3.2), right_in=1.0)
    at = np.arange(len(shown))
    marks = {
        "best_optimistic": ("least time first (optimistic)", -0.1, "^", HIGH),
        "best_pessimistic": ("least cost first (pessimistic)", 0.1, "v", LOW),
        "weighted_optimistic": ("weights 0.1, 0.9", 0.0, "+", "black"),
        "weighted_pessimistic": ("weights 0.9, 0.1", 0.0, "x", "black"),
    }
    income = {key: [case[key] for _, case in shown] for key in marks}
    axes.vlines(at, income["best_optimistic"], income["best_pessimistic"], color=style.REFERENCE, linewidth=5.0)
    for key, (_, beside, mark, colour) in marks.items():
        axes.plot(at + beside, income[key], mark, color=colour, markersize=7 if beside else 6)
    stations = shown[0][0].count(",") + 1
    axes.set_xticks(at, [name.replace(",", "\n") for name, _ in shown], fontsize=9 if stations < 3 else 6)
    style.panel_title(axes, "", "below: price of each station [EUR/kWh]")
    axes.set_ylabel("income [EUR]")
    axes.grid(visible=False, axis="x")
    title = "What each price vector earns, whichever efficient answer drivers choose"
    keys = [style.line_key(colour, text, marker=mark, linestyle="") for text, _, mark, colour in marks.values()]
    caption = "Bars: between both ends of the drivers' efficient answers, dearest first. Crosses: the slides' weights."
    return style.finish(figure, title, caption, keys)


def draw_efficient(listed: Cases, leader: Leader) -> style.Drawing:
    """All efficient answers of the drivers at the price vectors with most of them."""
    rows = sorted(listed.items(), key=lambda item: -item[1]["efficient_answers"])
    figure, ((axes,),) = style.sheet(style.Block(1, 1, 3.2), right_in=1.6)
    for (name, case), colour in zip(rows[:6], style.RUN_COLOURS, strict=False):
        answers = leader.follower.efficient(np.array(case["prices"]))
        cost, time = [a.cost_eur for a in answers], [a.time_h for a in answers]
        axes.plot(cost, time, "o-", color=colour, label=name, drawstyle="steps-post", markersize=5)
    axes.set(xlabel="what all drivers pay [EUR]: the operator's income", ylabel="time of all drivers [h]")
    axes.legend(title="prices", loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, borderaxespad=0.0)
    title = "Efficient answers of the drivers: who saves time pays more"
    caption = "Every point is an answer that no other beats in both cost and time (epsilon-constraint method)."
    return style.finish(figure, title, caption)


def draw_evolution(history_eur: Float, best: dict[str, Any]) -> style.Drawing:
    """Best fitness of both groups over the generations, against the optimum where it is known."""
    figure, ((axes,),) = style.sheet(style.Block(1, 1, 2.8), right_in=1.8)
    for fitness, colour in zip(history_eur.T, (HIGH, LOW), strict=True):
        shown = np.where(np.isfinite(fitness), fitness, np.nan)
        axes.plot(np.arange(1, len(shown) + 1), shown, color=colour, drawstyle="steps-post")
    optima = {f"optimum, {group}": best[f"weighted_{group}"] for group in ("optimistic", "pessimistic") if best}
    if optima and np.ptp(list(optima.values())) < 1e-6:
        optima = {"both optima": best["weighted_optimistic"]}
    for name, value in optima.items():
        style.limit_line(axes, value, name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="generation", ylabel="best fitness so far [EUR]")
    title = "The slides' evolutionary algorithm: best income of each group"
    caption = "Lines end with the search. Dashed: the proven optimum over all price vectors, where it is known."
    keys = [style.line_key(HIGH, "optimistic group (0.1 cost, 0.9 time)"),
            style.line_key(LOW, "pessimistic group (0.9 cost, 0.1 time)")]  # fmt: skip
    return style.finish(figure, title, caption, keys)


def draw_scaling(rows: list[dict[str, Any]]) -> style.Drawing:
    """Processor time of one lower level against users and against stations."""
    ways = list(dict.fromkeys((row["formulation"], row["solver"]) for row in rows))
    figure, (panels,) = style.sheet(style.Block(2, 2, 3.4, share_x=False))
    names, others = {"users": "drivers", "stations": "stations"}, {"users": "stations", "stations": "users"}
    for axes, (series, other) in zip(panels, others.items(), strict=True):
        mine = [row for row in rows if row["series"] == series]
        for form, solver in ways:
            way = [row for row in mine if (row["formulation"], row["solver"]) == (form, solver)]
            size, taken_s, colour = [row[series] for row in way], [row["median_s"] for row in way], FORM_COLOURS[form]
            unproven = [k for k, row in enumerate(way) if row["unproven"]]
            axes.plot(size, taken_s, SOLVERS[solver][1], color=colour, marker="o", markersize=5)
            axes.plot(size, taken_s, "o", markersize=5, color=colour, mfc="white", markevery=unproven)
        axes.set(yscale="log", xlabel=f"number of {names[series]}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        style.panel_title(axes, f"against {names[series]}", f"{mine[0][other]} {names[other]}")
    panels[0].set_ylabel("median processor time of a solve [s]")
    keys = [
        style.line_key(FORM_COLOURS[form], f"{form}, {SOLVERS[solver][0]}", linestyle=SOLVERS[solver][1])
        for form, solver in ways
    ]
    title = "The slides' open question: time to prove the drivers' answer, by formulation"
    caption = (
        "Same problems for all; both of the slides' weights. Open circles: some solve was not proven within its limit "
        "and counts as the limit; a line ends where a way proved less than half."
    )
    return style.finish(figure, title, caption, keys)


def draw_loop(loops: Cases) -> style.Drawing:
    """What the feeder feels of each price vector."""
    prices = list(dict.fromkeys(case["price_vector"] for case in loops.values()))
    controllers = list(dict.fromkeys(case["controller"] for case in loops.values()))
    figure, (panels,) = style.sheet(style.Block(len(LOOP_PANELS), 2, 2.0, share_x=False, share_y=False), header_in=1.0)
    width = 0.8 / len(controllers)
    for axes, (metric, label) in zip(panels, LOOP_PANELS.items(), strict=True):
        for case in loops.values():
            k, at = controllers.index(case["controller"]), prices.index(case["price_vector"])
            beside = (k - (len(controllers) - 1) / 2) * width
            axes.bar(at + beside, case[metric], width=0.9 * width, color=style.RUN_COLOURS[k + 1])
            if metric == "ev_delivered_kwh":
                axes.plot([at - 0.4, at + 0.4], [case["bought_kwh"]] * 2, color="black", linewidth=1.2)
        axes.set_xticks(range(len(prices)), prices)
        style.panel_title(axes, label)
        axes.grid(visible=False, axis="x")
    panels[0].set_ylim(bottom=0.8)
    title = "Prices on the wires: the same drivers and homes, other prices"
    caption = (
        "One day of the feeder for each price vector and controller; only the stations that drivers choose differ. "
        "Black: what drivers paid for; a controller that delivers little relieves the grid by not charging."
    )
    return style.finish(
        figure, title, caption, [style.area_key(style.RUN_COLOURS[k + 1], c) for k, c in enumerate(controllers)]
    )
