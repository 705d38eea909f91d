"""Figures of a run's day over time, as plain data that plotly draws in the browser, each with what it says in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cosim.experiments.web.dashboard.feeder_place import Place
from cosim.experiments.web.dashboard.feeder_tables import (
    RunFolder,
    charging_kw,
    customer_day,
    phases_percent,
    read_table,
)
from cosim.experiments.web.dashboard.figure_parts import Picture, as_json, draw_limit, layout_of, look_of
from cosim.experiments.web.dashboard.planner_figures import BLUE, GREEN, HEAT, HEAT_DARK, ORANGE, RED

PHASE_COLOURS = {"a": BLUE, "b": ORANGE, "c": GREEN}
DASHES = ("solid", "dash", "dot")
"""Runs side by side differ in more than colour."""


def transformer(run: RunFolder, place: Place, labels: list[str], day: int, theme: str) -> Picture:
    """Loading of the transformer, phase by phase, a panel for each run; its rating is the dashed line."""
    columns, traces, told = {}, [], []
    for row, label in enumerate(labels):
        percent = phases_percent(read_table(run, label, "steps", day))
        for phase, colour in PHASE_COLOURS.items():
            own = percent[phase].to_numpy()
            columns[f"{label}, phase {phase} [%]"] = own
            hover = f"{label}, phase {phase}: %{{y:.1f}} %"
            traces.append({
                **_line(run.times(day, len(own)), own, f"phase {phase}", colour, hover),
                "yaxis": f"y{row + 1 if row else ''}", "legendgroup": phase, "showlegend": row == 0,
            })  # fmt: skip
        if np.isfinite(percent.to_numpy()).any():
            peak = percent.max()
            over = float((percent.max(axis=1) > 100.0).sum()) * run.step_min
            told.append(f"{label}: peak {peak.max():.0f} % on phase {peak.idxmax()}, {over:.0f} min above the rating")
    rating = f"{place.rating_kva:g} kVA, {place.rating_a:.0f} A a phase"
    names = "+".join(place.supplies) or "the supply"
    over_all = [one for one in told if not one.endswith(", 0 min above the rating")]
    title = f"Transformer {names} is above its rating" if over_all else f"Transformer {names} stays within its rating"
    if not told:
        title = f"What each phase of {names} carries was not kept"
    summary = f"Rating: {rating} = 100 %. {'; '.join(told) or 'Run the scenario again to see it'}."
    figure = _panels(traces, labels, "load [%]", 100.0, theme)
    return Picture(figure, title, summary, _table(run, day, columns))


def unbalance(run: RunFolder, place: Place, labels: list[str], day: int, theme: str) -> Picture:
    """Unbalance factor of the worst of the customers' buses with three phases, with its limit."""
    columns, traces, told = {}, [], []
    limit = place.vuf_percent if np.isfinite(place.vuf_percent) else None
    for row, label in enumerate(labels):
        own = (
            read_table(run, label, "steps", day).reindex(columns=["vuf_max_percent"])["vuf_max_percent"].to_numpy(float)
        )
        columns[f"{label} [%]"] = own
        look = (BLUE, ORANGE)[row % 2]
        traces.append({**_line(run.times(day, len(own)), own, label, look, f"{label}: %{{y:.2f}} %", DASHES[row])})
        if np.isfinite(own).any():
            told.append((label, float(np.nanmax(own)), run.clock(day, int(np.nanargmax(own)))))
    most = max(told, key=lambda one: one[1], default=None)
    title = "No home's bus has three phases, so that no unbalance factor is known"
    if most is not None:
        said = (
            "" if limit is None else f", {'above' if most[1] > limit else 'below'} the {limit:g} % of {place.standard}"
        )
        title = f"Unbalance peaks at {most[1]:.2f} %{said}"
    summary = f"VUF of each step at the worst bus; {'; '.join(f'{a}: at most {b:.2f} % at {c}' for a, b, c in told)}."
    if limit is not None:
        summary += f" The limit of {limit:g} % holds for 95 % of 10-minute values."
    layout = layout_of(theme, "VUF [%]")
    draw_limit(layout, limit, "y", theme, f"{limit:g} %" if limit else "")
    layout["yaxis"]["range"] = [0.0, 1.1 * max([limit or 0.0, *(one[1] for one in told)], default=1.0)]
    return Picture({"data": traces, "layout": layout}, title, summary, _table(run, day, columns))


def charging(run: RunFolder, labels: list[str], label: str, day: int, theme: str) -> Picture:
    """Charging power of the homes that charge, homes × time; all runs that are shown have one scale."""
    every = {one: charging_kw(run, one, day) for one in labels}
    wide, most_kw = every[label], max((float(one.to_numpy().max()) for one in every.values() if one.size), default=1.0)
    times, homes = run.times(day, len(wide)), [str(home) for home in wide]
    total = wide.sum(axis=1).to_numpy()
    title = f"{label}: no home charges"
    summary = "No car draws power on this day."
    if homes:
        at = int(total.argmax())
        title = f"{label}: up to {int((wide > 0.0).sum(axis=1).max())} of {len(homes)} homes charge at once"
        summary = f"Together they draw at most {total[at]:.1f} kW, at {run.clock(day, at)}. Empty: not charging."
    layout = layout_of(theme, "home", height=int(np.clip(120 + 15 * len(homes), 260, 900)))
    layout["yaxis"] |= {"autorange": "reversed", "type": "category", "showgrid": False}
    layout["xaxis"] |= {"showgrid": False}
    layout["hovermode"] = "closest"
    heat = {
        "type": "heatmap", "x": _iso(times), "y": homes, "z": as_json(wide.to_numpy().T), "zmin": 0.0, "zmax": most_kw,
        "colorscale": HEAT_DARK if theme == "dark" else HEAT, "ygap": 1,
        "colorbar": {"title": {"text": "kW"}, "thickness": 12, "outlinewidth": 0},
        "hovertemplate": "%{y}, %{x}: %{z:.2f} kW<extra></extra>",
    }  # fmt: skip
    data = _table(run, day, {f"{home} [kW]": wide[home].to_numpy() for home in wide})
    return Picture({"data": [heat] if homes else [], "layout": layout}, title, summary, data)


def customer(run: RunFolder, place: Place, labels: list[str], name: str, day: int, theme: str) -> Picture:
    """A customer's day: voltage with its limits above, powers and import cap below; the second run is dashed."""
    row = place.customers.index(name)
    level_v, limits_v = place.customer_v[row], place.customer_limits_pu[row] * place.customer_v[row]
    columns, traces, told = dict[str, Any](), [], []
    powers = {"net_kw": ("net power", look_of(theme)["ink"]), "ev_kw": ("car", BLUE), "pv_kw": ("PV", ORANGE),
              "import_cap_kw": ("import cap", RED)}  # fmt: skip
    for number, label in enumerate(labels):
        rows = customer_day(run, label, name, day)
        times, own_v, dash = list(rows["time"]), rows["voltage_v"].to_numpy(), DASHES[number]
        columns[f"{label}: voltage [V]"] = own_v
        traces.append({**_line(times, own_v, f"{label}: voltage", GREEN, "%{y:.1f} V", dash), "yaxis": "y2"})
        for column, (word, colour) in powers.items():
            own = rows[column].where(np.isfinite(rows[column])).to_numpy(float)
            columns[f"{label}: {word} [kW]"] = own
            if np.nan_to_num(own).any():
                traces.append(_line(times, own, f"{label}: {word}", colour, "%{y:.2f} kW", dash))
        outside = float(((own_v < limits_v[0]) | (own_v > limits_v[1])).sum()) * run.step_min
        charged = float(rows["ev_kw"].sum()) * run.step_min / 60.0
        told.append(
            f"{label}: {own_v.min():.1f} to {own_v.max():.1f} V, {outside:.0f} min outside its limits, "
            f"{charged:.1f} kWh charged"
        )
    layout = layout_of(theme, "power [kW]", height=460)
    layout["yaxis"]["domain"] = [0.0, 0.52]
    layout["yaxis2"] = {**layout["yaxis"], "domain": [0.6, 1.0], "title": {"text": "voltage [V]"}}
    for limit in limits_v[np.isfinite(limits_v)].tolist():
        draw_limit(layout, limit, "y2", theme, f"{limit:.4g} V")
    lowest, highest = (getattr(np, which)([values for key, values in columns.items() if key.endswith("[V]")])
                       for which in ("min", "max"))  # fmt: skip
    edges = [lowest, highest, *limits_v[np.isfinite(limits_v)]]
    layout["yaxis2"]["range"] = [min(edges) - 0.01 * level_v, max(edges) + 0.02 * level_v]
    is_out = [one for one in told if ", 0 min outside" not in one]
    title = f"{name} ({place.customer_words[row]}) {'leaves' if is_out else 'stays within'} its limits of voltage"
    return Picture({"data": traces, "layout": layout}, title, f"{'; '.join(told)}.", _table(run, day, columns))


def _panels(traces: list[dict[str, Any]], labels: list[str], y: str, limit: float, theme: str) -> dict[str, Any]:
    """A panel a run below each other, with one scale and one limit."""
    layout = layout_of(theme, y, height=80 + 220 * len(labels))
    top = 1.08 * max([limit, *(value for trace in traces for value in trace["y"] if value is not None)])
    share = 1.0 / len(labels)
    first = dict(layout["yaxis"])
    for row, label in enumerate(labels):
        name = f"y{row + 1 if row else ''}"
        domain = [1.0 - share * (row + 1) + (0.0 if row == len(labels) - 1 else 0.06), 1.0 - share * row - 0.05]
        layout[name.replace("y", "yaxis")] = {**first, "domain": domain, "range": [0.0, top]}
        draw_limit(layout, limit, name, theme, "rating")
        layout["annotations"].append({
            "text": label, "xref": "paper", "yref": "paper", "x": 0.0, "y": domain[1], "xanchor": "left",
            "yanchor": "bottom", "showarrow": False,
        })  # fmt: skip
    layout["legend"]["y"] = 1.04
    layout["xaxis"]["anchor"] = name
    return {"data": traces, "layout": layout}


def _line(times: list[Any], values: Any, name: str, colour: str, hover: str, dash: str = "solid") -> dict[str, Any]:
    """A value that holds through its step, the last one to its end."""
    ends = [*times, times[-1] + (times[1] - times[0])] if len(times) > 1 else times
    held = as_json(values)
    return {
        "type": "scatter", "mode": "lines", "x": _iso(ends), "y": [*held, *held[-1:]][: len(ends)], "name": name,
        "line": {"color": colour, "shape": "hv", "width": 2, "dash": dash}, "hovertemplate": f"{hover}<extra></extra>",
    }  # fmt: skip


def _table(run: RunFolder, day: int, columns: Mapping[str, Any]) -> pd.DataFrame:
    """The steps at which hours begin: all of them are in the run's files, and would be a page of their own."""
    count = max((len(values) for values in columns.values()), default=0)
    told = {name: pd.Series(np.asarray(values, dtype=float)) for name, values in columns.items()}
    table = pd.DataFrame({"time": [run.clock(day, step) for step in range(count)], **told})
    return table.iloc[:: max(round(60.0 / run.step_min), 1)]


def _iso(times: list[Any]) -> list[str]:
    return [time.isoformat() for time in times]
