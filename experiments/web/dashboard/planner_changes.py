"""What a re-plan changes: the power of each vehicle in each step, and what each gets by its departure."""

from __future__ import annotations

import numpy as np
import pandas as pd
from dash import html
from dash.development.base_component import Component

from cosim.experiments.web.dashboard.controls import card, picture, table
from cosim.experiments.web.dashboard.planner_figures import (
    DARK,
    LIGHT,
    Planned,
    as_labels,
    frame_of,
    plain_numbers,
    without_zone,
)

LESS_MORE = [[0.0, "#b35806"], [0.5, "#f7f7f7"], [1.0, "#08519c"]]
LESS_MORE_DARK = [[0.0, "#f1a340"], [0.5, "#333e49"], [1.0, "#67b7ff"]]
_KW, _KWH = 0.005, 0.005
_COLUMNS = {
    "vehicle": "vehicle", "what": "now", "delivered_kwh": "delivered [kWh]",
    "by_departure_before_kwh": "by departure, before [kWh]", "by_departure_after_kwh": "by departure, after [kWh]",
    "unserved_before_kwh": "missing, before [kWh]", "unserved_after_kwh": "missing, after [kWh]",
}  # fmt: skip


def changes_card(planned: Planned, diff: pd.DataFrame, changes: pd.DataFrame, theme: str) -> Component:
    """Card of the changes."""
    step_h = float(planned.told["time_step_s"]) / 3600.0
    moved = diff[diff["change_kw"].abs() > _KW]
    by_vehicle = moved.groupby("vehicle", sort=False)["change_kw"].agg(
        more_kwh=lambda kw: kw.clip(lower=0.0).sum() * step_h, less_kwh=lambda kw: -kw.clip(upper=0.0).sum() * step_h
    )
    told = changes.set_index("vehicle")
    gets_kwh = told["by_departure_after_kwh"] - told["by_departure_before_kwh"].fillna(0.0)
    is_other = (told["what"] != "as planned") | (gets_kwh.abs() > _KWH) | told.index.isin(by_vehicle.index)
    listed = told[is_other].reset_index()[list(_COLUMNS)].rename(columns=_COLUMNS)
    listed["now"] = listed["now"].replace({"expected": "still to come", "plugged": "plugged in"})
    worse = told[(told["unserved_after_kwh"] - told["unserved_before_kwh"].fillna(0.0)) > _KWH]
    title = f"{is_other.sum()} of {len(told)} vehicles change" if is_other.any() else "Nothing changes"
    summary = (
        f"In some steps {by_vehicle['more_kwh'].sum():.1f} kWh more are charged, in others "
        f"{by_vehicle['less_kwh'].sum():.1f} kWh less; {len(worse)} vehicles miss more than before"
    )
    if len(worse):
        summary += f", first {', '.join(map(str, worse.index[:3]))}"
    parts: list[Component] = [table(listed, f"Changes by vehicle: {title}")]
    if len(moved):
        parts = [_heatmap(planned, moved, theme, title, f"{summary}."), html.H3("By vehicle"), *parts]
    else:
        parts.insert(0, html.P(f"{title}: {summary}."))
    return card("What the re-plan changes", parts, "planner-changes")


def _heatmap(planned: Planned, moved: pd.DataFrame, theme: str, title: str, summary: str) -> Component:
    look = DARK if theme == "dark" else LIGHT
    wide = moved.pivot_table(index="step", columns="vehicle", values="change_kw", aggfunc="sum", sort=False)
    wide = wide.reindex(index=planned.station["step"])
    names = as_labels(wide)
    layout = frame_of(planned, look, "vehicle", height=int(np.clip(120 + 18 * len(names), 240, 900)))
    layout["yaxis"] |= {"autorange": "reversed", "type": "category", "showgrid": False}
    layout["yaxis"].pop("rangemode")
    layout |= {"hovermode": "closest", "xaxis": {**layout["xaxis"], "showgrid": False}}
    most_kw = float(moved["change_kw"].abs().max())
    heat = {
        "type": "heatmap", "x": planned.edges, "y": names, "z": plain_numbers(wide.to_numpy().T), "zmin": -most_kw,
        "zmax": most_kw, "colorscale": LESS_MORE_DARK if look is DARK else LESS_MORE, "hoverongaps": False, "ygap": 1,
        "colorbar": {"title": {"text": "kW"}, "thickness": 12, "outlinewidth": 0, "tickformat": "+.1f"},
        "hovertemplate": "%{y}, %{x}: %{z:+.2f} kW<extra></extra>",
    }  # fmt: skip
    words = f"{summary} Blue: more than before; orange: less; empty: as before."
    data = without_zone(moved.drop(columns=["is_past"]))
    return picture(f"{title}, by step", {"data": [heat], "layout": layout}, words, data, "planner-diff")
