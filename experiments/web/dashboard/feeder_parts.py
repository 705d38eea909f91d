"""What the feeder's page holds once a run is known: scoreboard, maps with their controls, places of figures."""

from __future__ import annotations

from typing import Any

import pandas as pd
from dash import dcc, html
from dash.development.base_component import Component

from cosim.experiments.metric_table import METRICS, cells, metric_of
from cosim.experiments.show import read_standard
from cosim.experiments.web.dashboard import feeder_map
from cosim.experiments.web.dashboard.controls import card, choice, table
from cosim.experiments.web.dashboard.feeder_tables import RunFolder

NONE = "-"
"""Of the second run: nothing beside the first."""
MAPS = {"a": "first", "b": "second"}
_ACTS = {"+": ("+", "Zoom in"), "-": ("−", "Zoom out"), "0": ("Whole feeder", "Show the whole feeder")}
"""Of a map's buttons: key, sign, words."""


def results(run: RunFolder) -> Component:
    """Everything of a run that can be shown; figures come by their own callbacks."""
    customer = [
        html.P("Choose a customer here, or click on one on the map.", className="shell-hint"),
        choice("feeder-customer", "Customer", {}),  # the map's script fills it: every option costs the page time
        html.Div(id="feeder-customer-day"),
    ]
    return html.Div(
        [
            card("Scoreboard", _scoreboard(run), "feeder-score"),
            card("Map", _maps(run), "feeder-map-card"),
            card("One customer's day", customer, "feeder-customer-card"),
            card("Over time", html.Div(id="feeder-over-time"), "feeder-time"),
        ]
    )


def _maps(run: RunFolder) -> list[Component]:
    """What is shown and when, both maps, their scale and their numbers."""
    labels = {label: f"{label} ({run.stopped[label]})" if label in run.stopped else label for label in run.labels}
    second = next(iter(run.labels[1:]), NONE)
    days = {str(day): f"{run.times(day, 1)[0]:%d %b %Y}" for day in range(max(run.days, 1))}
    chosen = [
        choice("feeder-a", "First run", labels),
        choice("feeder-b", "Second run", {NONE: "no second run", **labels}, second),
        choice("feeder-quantity", "Colours", feeder_map.QUANTITIES),
        html.Div(choice("feeder-day", "Day", days), hidden=len(days) == 1),
    ]
    slider = [
        html.Button("Play the day", id="feeder-play", type="button"),
        html.Label("Time", htmlFor="feeder-step"),
        dcc.Input(id="feeder-step", type="range", min=0, max=run.per_day - 1, step=1, value=0),
        html.Output(id="feeder-clock"),
    ]
    return [
        html.Div(chosen, className="shell-form"),
        html.Div(slider, className="feeder-slider"),
        html.Div([_map(key, which) for key, which in MAPS.items()], className="feeder-maps"),
        html.Div(id="feeder-legend"),
        html.Details([html.Summary("The numbers of the map"), html.Div(id="feeder-numbers")]),
        dcc.Store(id="feeder-base"),
        dcc.Store(id="feeder-shown"),
        *(dcc.Store(id=f"feeder-values-{key}") for key in MAPS),
    ]


def _map(key: str, which: str) -> Component:
    """One map with what binds at the step, and buttons for those who do not drag."""
    name, keys = f"feeder-map-{key}", "Arrow keys move it, plus and minus zoom, 0 shows all"
    live: dict[str, Any] = {"aria-live": "polite"}
    named: dict[str, Any] = {"aria-label": f"Map of the {which} run. {keys}"}
    buttons = []
    for act, (sign, words) in _ACTS.items():
        told: dict[str, Any] = {"data-map": name, "data-act": act, "aria-label": f"{words}, {which} map"}
        buttons.append(html.Button(sign, type="button", **told))
    binding = html.Span(id=f"feeder-binding-{key}", className="feeder-binding", **live)
    return html.Figure(
        [
            html.Figcaption([html.Span(id=f"feeder-name-{key}"), ": ", binding]),
            html.Div(id=name, className="feeder-map", tabIndex=0, role="application", **named),
            html.Div(buttons, className="shell-row"),
        ]
    )


def _scoreboard(run: RunFolder) -> Component:
    """Measures × runs; the best of a row has a star, a violated limit an exclamation mark."""
    present = dict.fromkeys(name for values in run.metrics.values() for name in values)
    names = [*(name for name in METRICS if name in present), *(name for name in present if name not in METRICS)]
    first = [
        name
        for name in names
        if metric_of(name).shown(values.get(name, float("nan")) for values in run.metrics.values())
    ]
    rest = [name for name in names if name not in first]
    return html.Div(
        [
            html.P("* best of the runs; ! limit violated", className="shell-hint"),
            _board(run, first, "Measures of the scoreboard"),
            html.Details([html.Summary(f"All other measures ({len(rest)})"), _board(run, rest, "All other measures")]),
        ]
    )


def _board(run: RunFolder, names: list[str], title: str) -> Component:
    standard, rows = read_standard(run.path), []
    for name in names:
        values = {label: run.metrics[label].get(name, float("nan")) for label in run.labels}
        told, found = metric_of(name, standard), cells(name, values, run.stopped, dict.fromkeys(values, standard))
        marked = {label: cell.text + " !" * cell.violated + " *" * cell.best for label, cell in found.items()}
        rows.append({"measure": name, "unit": told.unit or "–", **marked, "meaning": told.meaning})
    return table(pd.DataFrame(rows), title)
