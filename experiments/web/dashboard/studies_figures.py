"""Figures of studies: means of controllers with their intervals, and how much feeders host."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from cosim.experiments.comparison.paired import ALL, Comparison
from cosim.experiments.figures.style import RUN_COLOURS
from cosim.experiments.metric_table import metric_of
from cosim.experiments.web.dashboard.figure_parts import Picture, as_json, draw_limit, layout_of

_MARKERS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "star")
"""Controllers differ in shape too."""
_DARK_INK = "#E9EEF3"
_KEYS = ["feeder", "technology", "network", "controller"]


def means(comparison: Comparison, metric: str, factor: str, theme: str) -> Picture:
    """Mean of a measure under every controller, by the levels of a factor, with the 95 % interval over placements."""
    told = metric_of(metric)
    unit, levels = told.unit or "1", comparison.levels(factor) if factor != ALL else [""]
    traces, rows = [], []
    for number, controller in enumerate(comparison.controllers):
        found = {level: comparison.told(metric, factor, level).get(controller, {}) for level in levels}
        mean, low, high = ([one.get(key, np.nan) for one in found.values()] for key in ("mean", "low", "high"))
        reach = np.nan_to_num(np.array([np.subtract(high, mean), np.subtract(mean, low)]))
        x = levels if factor != ALL else [controller]
        look = _look(number, theme)
        traces.append({
            "type": "scatter", "mode": "markers", "name": controller, "x": x, "y": as_json(mean),
            "error_y": {"type": "data", "symmetric": False, "array": as_json(reach[0]), "arrayminus": as_json(reach[1]),
                        "color": look["color"], "thickness": 1.5, "width": 5},
            "marker": {**look, "size": 10}, "showlegend": factor != ALL,
            "hovertemplate": f"{controller}: %{{y:.{told.digits}f}} {unit}<extra></extra>",
        })  # fmt: skip
        rows += [
            {factor: level, "controller": controller, f"mean [{unit}]": one.get("mean"), "from": one.get("low"),
             "to": one.get("high"), f"difference to {comparison.baseline}": one.get("difference"),
             "of it from": one.get("difference_low"), "of it to": one.get("difference_high"),
             "wins [%]": one.get("wins_percent")}
            for level, one in found.items()
        ]  # fmt: skip
    layout = layout_of(theme, f"{told.meaning} [{unit}]", height=380)
    layout["xaxis"] |= {
        "type": "category",
        "title": {"text": "controller" if factor == ALL else factor.replace("_", " ")},
    }
    layout |= {"scattermode": "group", "hovermode": "closest"}
    if told.limit is not None:
        draw_limit(layout, told.limit, "y", theme, f"limit {told.limit:g} {unit}")
    data = pd.DataFrame(rows).astype({name: float for name in rows[0] if name not in (factor, "controller")})
    count = int(comparison.of(metric)["placements"].max())
    summary = (
        f"Mean of {comparison.compared} worlds, with the 95 % interval over {count} placements; {told.direction[1]}."
    )
    return Picture({"data": traces, "layout": layout}, _finding(comparison, metric), summary.replace("; .", "."),
                   data.drop(columns=[ALL], errors="ignore"))  # fmt: skip


def _finding(comparison: Comparison, metric: str) -> str:
    """Say which controller differs most from the baseline beyond chance."""
    told, rows = metric_of(metric), comparison.told(metric)
    apart = {
        name: row["difference"]
        for name, row in rows.items()
        if name != comparison.baseline and (row["difference_low"] > 0.0 or row["difference_high"] < 0.0)
    }
    if not apart:
        return f"{told.meaning}: no controller differs from {comparison.baseline} beyond chance"
    most = max(apart, key=lambda name: abs(apart[name]))
    return f"{told.meaning}: {most} {apart[most]:+.{told.digits}f} {told.unit} against {comparison.baseline}".replace(
        "-", "−"
    )


def hosting(table: pd.DataFrame, placements: pd.DataFrame, share_percent: float, feeder: str, theme: str) -> Picture:
    """Share of placements that host so many homes, for each controller and reinforcement of a feeder."""
    own = table[table["feeder"] == feeder].reset_index(drop=True)
    traces = []
    for number, row in enumerate(own.to_dict("records")):
        same = (placements[_KEYS] == pd.Series({key: row[key] for key in _KEYS})).all(axis=1)
        borne = np.sort(placements.loc[same, "capacity_percent"].to_numpy(float))
        share = 100.0 * (1.0 - np.arange(len(borne)) / len(borne))
        look, name = _look(number, theme), _named(row)
        width = 2.0 + 4.0 * (1.0 - (number + 1) / len(own))  # those that coincide lie on each other, thin on wide
        traces.append({
            "type": "scatter", "mode": "lines+markers", "name": name,
            "x": as_json([0.0, *borne, *borne[-1:]]), "y": as_json([100.0, *share, 0.0]),
            "line": {"shape": "vh", "width": width, "color": look["color"], "dash": _dash(row)},
            "marker": {**look, "size": 8},
            "hovertemplate": f"{name}: %{{y:.0f}} % of placements host %{{x:.0f}} % of homes<extra></extra>",
        })  # fmt: skip
    layout = layout_of(theme, "placements that host so many [%]", height=420)
    layout["xaxis"] |= {"title": {"text": "homes with it [%]"}, "range": [0, 104]}
    layout["yaxis"]["range"] = [0, 104]
    layout["hovermode"] = "closest"
    draw_limit(layout, share_percent, "y", theme, f"{share_percent:g} % of placements")
    told = [
        f"{_named(row)} {row['capacity_percent']:.0f} % ({row['limit_binding'].replace('_', ' ')})"
        for row in own.to_dict("records")
    ]
    data = own.assign(what=[_named(row) for row in own.to_dict("records")])
    columns = ["what", "capacity_percent", "low", "high", "capacity_kw", "limit_binding", "where", "placements"]
    title = f"{feeder} hosts, in {share_percent:g} % of placements: {'; '.join(told)}"
    summary = (
        "A point is the capacity of a placement; dashed curves are reinforced networks. In brackets: what binds first."
    )
    return Picture({"data": traces, "layout": layout}, title, summary, data[columns])


def _named(row: dict[Any, Any]) -> str:
    return str(row["controller"] if row["network"] == "as_built" else row["network"].replace("_", " "))


def _dash(row: dict[Any, Any]) -> str:
    return "solid" if row["network"] == "as_built" else "dash"


def _look(number: int, theme: str) -> dict[str, str]:
    colour = RUN_COLOURS[number % len(RUN_COLOURS)]
    colour = _DARK_INK if theme == "dark" and colour == "#000000" else colour
    return {"color": colour, "symbol": _MARKERS[number % len(_MARKERS)]}
