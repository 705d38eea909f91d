"""The figure of a hosting study: how many placements bear how much, and capacities with their intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from cosim.experiments.figures import style
from cosim.experiments.hosting.config import HostingConfig, Technology

if TYPE_CHECKING:
    from cosim.experiments.hosting.study import Hosting

_WORDS = {"ev": "a car", "pv": "a roof plant", "heat_pump": "a heat pump"}
_SPAN = (0.0, 150.0)
"""Percent; what is beyond 100 is room for words."""
_MARKERS = "osD^vP*X<>"


def draw(found: Hosting, technology: Technology, config: HostingConfig) -> style.Drawing:
    """Draw for each feeder the share of placements that are hosted against penetration, and below it the capacities."""
    feeders = list(found.days)
    longest = int(found.table.groupby("feeder").size().max())
    figure, blocks = style.sheet(
        *[
            block
            for _ in feeders
            for block in (style.Block(1, 1, 3.0, share_x=False), style.Block(1, 1, 0.3 * longest + 0.3, share_x=False))
        ],
        left_in=2.6,
    )
    for number, feeder in enumerate(feeders):
        (curves,), (bars,) = blocks[2 * number], blocks[2 * number + 1]
        own = found.table[found.table["feeder"] == feeder].reset_index(drop=True)
        _curves(curves, own, found.placements, config)
        _bars(bars, own, technology)
    share = 100.0 - config.method.quantile_percent
    title = f"Homes with {_WORDS[technology]} that {', '.join(feeders)} hosts in {share:g} % of placements"
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return style.Drawing(
        figure, title, "Above: placements that bear so many homes; below: capacity, its interval, what binds"
    )


def _label(row: pd.Series) -> str:
    return str(row["controller"] if row["network"] == "as_built" else row["network"].replace("_", " "))


def _curves(axes: Axes, own: pd.DataFrame, placements: pd.DataFrame, config: HostingConfig) -> None:
    keys = ["feeder", "technology", "network", "controller"]
    for number, row in own.iterrows():
        index = int(str(number))
        under = (len(own) - 1 - index) / len(own)  # those that coincide lie on each other, thin on wide
        borne = np.sort(placements[(placements[keys] == row[keys]).all(axis=1)]["capacity_percent"].to_numpy(float))
        share = 100.0 * (1.0 - np.arange(len(borne)) / len(borne))
        axes.step(
            np.concatenate([[0.0], borne, borne[-1:]]), np.concatenate([[100.0], share, [0.0]]), where="pre",
            color=style.RUN_COLOURS[index % len(style.RUN_COLOURS)],
            linestyle="-" if row["network"] == "as_built" else "--", label=_label(row), marker=_MARKERS[index % 10],
            markevery=max(len(borne) // 5, 1), markersize=4.0 + 4.0 * under,
            linewidth=1.4 + 4.0 * under,
        )  # fmt: skip
    axes.axhline(100.0 - config.method.quantile_percent, color=style.LIMIT, linewidth=0.8, linestyle=":")
    axes.set(xlim=_SPAN, ylim=(0.0, 104.0), xlabel="homes with it [%]", ylabel="placements that\nhost so many [%]")
    axes.set_xticks(range(0, 101, 20))
    axes.legend(loc="upper right", frameon=False, fontsize=8)


def _bars(axes: Axes, own: pd.DataFrame, technology: Technology) -> None:
    places = np.arange(len(own))[::-1]
    built = own["network"] == "as_built"
    colours = np.where(built, "#5A5A5A", "#BDBDBD")
    axes.barh(places, own["capacity_percent"], color=colours.tolist(), height=0.62)
    for place, (_, row) in zip(places.tolist(), own.iterrows(), strict=True):
        unknown = ""
        for end, edge, arrow, word in ((row["low"], 0.0, "<", "below"), (row["high"], 100.0, ">", "above")):
            open_end = bool(np.isnan(end))
            axes.plot([edge if open_end else end, row["capacity_percent"]], [place, place], color="black",
                      linewidth=1.2, linestyle=":" if open_end else "-", marker=arrow if open_end else "|",
                      markevery=[0], markersize=8, clip_on=False)  # fmt: skip
            unknown += f", open {word}" * open_end
        binds = row["limit_binding"].replace("_", " ") + (f", {row['where']}" if row["where"] else "")
        told = f"{row['capacity_percent']:.0f} %, {row['capacity_kw']:.0f} kW{unknown}: {binds}"
        axes.text(103.0, place, told, va="center", fontsize=8)
    axes.set_yticks(places, [_label(row) for _, row in own.iterrows()])
    axes.set(xlim=_SPAN, xlabel=f"capacity [% of homes with {_WORDS[technology]}], and its interval (dotted: open)")
    axes.set_xticks(range(0, 101, 20))
    axes.grid(visible=False, axis="y")
