"""The map of a run: what stays as the slider moves, its scale of colours, and its numbers as a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from dash import html
from dash.development.base_component import Component

from cosim.experiments.web.dashboard.feeder_data import Day, Quantity
from cosim.experiments.web.dashboard.feeder_place import Place
from cosim.experiments.web.dashboard.feeder_tables import RunFolder

QUANTITIES: dict[str, str] = {
    "voltage_v": "Voltage [V]", "voltage_pu": "Voltage [pu]", "loading_percent": "Loading [% of rating]"
}  # fmt: skip
_SIZE = 1000.0
"""Of the longer side of a map, in its own units."""
_UNDER, _OVER = "#2D004B", "#7F3B08"
_BELOW = ("#542788", "#7A68AC", "#9A90C4", "#B8B0D8", "#D2CEE6", "#E6E4F0")
_ABOVE = ("#FBE9CF", "#FDD5A0", "#FDBE6F", "#F4A03C", "#E08214", "#B35806")
"""Purple and orange, told apart with every common colour blindness; each is darker towards its limit."""
_LOADED = ("#FDE725", "#C2DF23", "#86D549", "#52C569", "#2AB07F", "#1E9B8A", "#25858E", "#2D708E", "#38588C", "#433E85")
_OVERLOADED = ("#D55E00", "#7A0403")
_TENTHS, _HIGH_PERCENT = 10, 150.0
_MOST_LINES = 20


def scale(place: Place, quantity: Quantity) -> tuple[list[float], list[str]]:
    """Edges of the classes of colour [pu] or [%], limits among them, and the colours: one more than edges."""
    if quantity == "loading_percent":
        return [*(100.0 * (k + 1) / _TENTHS for k in range(_TENTHS)), _HIGH_PERCENT], [*_LOADED, *_OVERLOADED]
    low, high = _limits(place)
    below, above = np.linspace(low, 1.0, len(_BELOW) + 1), np.linspace(1.0, high, len(_ABOVE) + 1)
    return [*below.tolist(), *above[1:].tolist()], [_UNDER, *_BELOW, *_ABOVE, _OVER]


def _limits(place: Place) -> tuple[float, float]:
    return place.limits_pu if np.isfinite(place.limits_pu).all() else (0.9, 1.1)


def base(place: Place, quantity: Quantity) -> dict[str, Any]:
    """What the script of the map needs beside the values of a day: positions, names, limits, scale."""
    edges, colours = scale(place, quantity)
    is_loading = quantity == "loading_percent"
    unit, factor, digits = {
        "voltage_pu": ("pu", 1.0, 3), "voltage_v": ("V", place.nominal_v, 1), "loading_percent": ("%", 1.0, 1)
    }[quantity]  # fmt: skip
    spots = np.array([*place.at, *place.transformers.values()]).reshape(-1, 2)
    every = np.concatenate([place.ends.reshape(-1, 2), spots[np.isfinite(spots).all(axis=1)]])
    foot, top = (every.min(axis=0), every.max(axis=0)) if len(every) else (np.zeros(2), np.ones(2))
    middle, per = (foot + top) / 2.0, _SIZE / (float((top - foot).max()) or 1.0)
    spots, ends = (spots - middle) * per, (place.ends - np.tile(middle, 2)) * per
    names = [*place.customers, *place.transformers]
    words = [*place.customer_words, *[""] * len(place.transformers)]
    limits = np.full((len(names), 2), np.nan)
    if is_loading:
        limits[len(place.customers) :, 1] = 100.0
    else:
        limits[: len(place.customers)] = place.customer_limits_pu
    return {
        "lines": place.lines,
        "ends": ends.round(2).ravel().tolist(),
        "points": [
            {"name": name, "words": words[row], "home": row < len(place.customers), **_numbers("x y", spots[row]),
             **_numbers("lower upper", limits[row])}
            for row, name in enumerate(names)
        ],
        "extent": np.maximum((top - foot) * per, 1.0).tolist(),
        "edges": edges, "colours": colours, "wide": [is_loading and k >= _TENTHS for k in range(len(colours))],
        "unit": unit, "factor": factor, "digits": digits,
    }  # fmt: skip


def _numbers(names: str, values: Any) -> dict[str, float | None]:
    return {
        name: float(value) if np.isfinite(value) else None for name, value in zip(names.split(), values, strict=True)
    }


def legend(place: Place, quantity: Quantity) -> Component:
    """The scale of colours, its limits marked, and what shapes say."""
    edges, colours = scale(place, quantity)
    is_loading = quantity == "loading_percent"
    limits = {100.0: "rating"} if is_loading else {}
    if not is_loading and np.isfinite(place.limits_pu).all():
        limits = {place.limits_pu[0]: "lower limit", place.limits_pu[1]: "upper limit"}
    said = {edge: _said(place, quantity, edge) for edge in edges}
    items = [_class(colours[0], f"below {said[edges[0]]}", "", is_nominal=False), *(
        _class(
            colour, said[edge], next((word for limit, word in limits.items() if abs(limit - edge) < 1e-9), ""),
            is_nominal=abs(edge - (50.0 if is_loading else 1.0)) < 1e-9, is_late=edge > edges[len(edges) // 2],
        )
        for edge, colour in zip(edges, colours[1:], strict=True)
    )]  # fmt: skip
    homes = "Homes: ● within their limits, ▲ above, ▼ below."
    of_lines = "■ transformer, ◆ above its rating; thick lines are above theirs; grey: not rated, or not kept."
    shapes = of_lines if is_loading else homes
    of_buses = "" if is_loading else " Lines show the mean of their ends, of each bus the phase farthest from nominal"
    of_buses += ", to earth, not to the neutral conductor." if of_buses and place.to_earth else "." if of_buses else ""
    named: dict[str, Any] = {"aria-label": f"Scale of colours, {QUANTITIES[quantity]}: each from its value on"}
    known = "" if is_loading else f" Limits: {place.standard}."
    return html.Div(
        [
            html.Ol(items, className="feeder-scale", **named),
            html.P(f"{shapes}{of_buses}{known} {place.told}", className="shell-hint"),
        ]
    )


def _class(colour: str, text: str, limit: str, *, is_nominal: bool, is_late: bool = False) -> Component:
    """A class of colour, named by its lower edge; narrow screens show the names of few."""
    swatch = html.Span(className="swatch", style={"backgroundColor": colour})
    named = html.Span([text, html.Br(), limit] if limit else text, className="label")
    look = "nominal" if is_nominal else ""
    return html.Li([swatch, named], className=f"limit{' late' if is_late else ''}" if limit else look)


def _said(place: Place, quantity: Quantity, edge: float) -> str:
    if quantity == "loading_percent":
        return f"{edge:.0f} %"
    return f"{edge * place.nominal_v:.0f} V" if quantity == "voltage_v" else f"{edge:.3f}"


def numbers(run: RunFolder, place: Place, quantity: Quantity, days: dict[str, Day], day: int) -> pd.DataFrame:
    """The day as a table: of voltages every home's extremes, of loadings the transformer and the fullest lines."""
    rows = []
    for label, found in days.items():
        lines, points = found.of(place, quantity)
        if quantity == "loading_percent":
            peaks = {f"line {name}": lines[:, row] for row, name in enumerate(place.lines)}
            known = [name for name in peaks if np.isfinite(peaks[name]).any()]
            most = sorted(known, key=lambda name: -float(np.nanmax(peaks[name])))[:_MOST_LINES]
            for row, name in enumerate(place.transformers, start=len(place.customers)):
                if np.isfinite(points[:, row]).any():
                    peaks[f"transformer {name}"] = points[:, row]
                    most.insert(0, f"transformer {name}")
            for name in most:
                at = int(np.nanargmax(peaks[name]))
                over_min = float((peaks[name] > 100.0).sum()) * run.step_min
                rows.append({"run": label, "element": name, "peak [%]": float(peaks[name][at]),
                             "at": run.clock(day, at), "above rating [min]": over_min})  # fmt: skip
            continue
        for row, name in enumerate(place.customers):
            pu, limits = points[:, row], place.customer_limits_pu[row]
            level = place.customer_v[row] if quantity == "voltage_v" else 1.0
            low, high = int(pu.argmin()), int(pu.argmax())
            unit = "V" if quantity == "voltage_v" else "pu"
            outside = float(((pu < limits[0]) | (pu > limits[1])).sum()) * run.step_min
            rows.append({"run": label, "home": name, "where": place.customer_words[row],
                         f"lowest [{unit}]": float(pu[low] * level), "at": run.clock(day, low),
                         f"highest [{unit}]": float(pu[high] * level), "at ": run.clock(day, high),
                         "outside limits [min]": outside})  # fmt: skip
    return pd.DataFrame(rows)
