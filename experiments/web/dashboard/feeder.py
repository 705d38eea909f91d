"""The feeder: a run chosen or started, its scoreboard, its map over time, and one customer's day."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pandas as pd
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from cosim.errors import CosimError
from cosim.experiments.metric_table import METRICS, cells, metric_of
from cosim.experiments.show import read_standard
from cosim.experiments.web.dashboard import feeder_figures, feeder_map, feeder_start
from cosim.experiments.web.dashboard.controls import choice, picture, table
from cosim.experiments.web.dashboard.feeder_data import Quantity, RunFolder, day_of, day_values, read_run
from cosim.experiments.web.dashboard.feeder_figures import Picture
from cosim.experiments.web.dashboard.feeder_place import place_of

if TYPE_CHECKING:
    from cosim.experiments.web.jobs import Jobs
    from cosim.experiments.web.planning import Planning

PATH, NAME, TITLE = "/feeder", "Feeder", "A run on its feeder"
_NONE = "-"
"""Of the second run: nothing beside the first."""
_MAPS = {"a": "first", "b": "second"}
_ALL = ("a", "b", "day", "quantity")
_AFTER = [
    Input("feeder-shown", "data"), State("feeder-ready", "data"), *(State(f"feeder-{key}", "data") for key in _ALL)
]  # fmt: skip
"""What the map shows; figures come after it."""


def layout() -> Component:
    """What is there before a run is known."""
    return html.Div([feeder_start.form(), html.Div(id="feeder-results")])


def register(app: Dash, planning: Planning, jobs: Jobs) -> None:  # noqa: ARG001 - plans are another page's
    """Add the callbacks of the page."""
    feeder_start.register(app, jobs)

    def run_of(ready: dict[str, str] | None) -> RunFolder:
        return read_run(jobs.get((ready or {})["id"]).folder)

    @app.callback(Output("feeder-results", "children"), Input("feeder-ready", "data"))
    async def show(ready: dict[str, str] | None) -> Any:
        if not ready or ready["status"] in ("waiting", "running"):
            return None
        try:
            return await asyncio.to_thread(lambda: _results(run_of(ready)))
        except CosimError as error:
            return html.P(f"There is nothing to show: {error}", className="shell-problem")

    @app.callback(
        Output("feeder-base", "data"), Output("feeder-legend", "children"),
        State("feeder-ready", "data"), Input("feeder-quantity", "data"),
    )  # fmt: skip
    async def prepare(ready: dict[str, str] | None, quantity: Quantity) -> Any:
        place = await asyncio.to_thread(lambda: place_of(run_of(ready).path))
        return feeder_map.base(place, quantity), feeder_map.legend(place, quantity)

    for key in _MAPS:

        @app.callback(
            Output(f"feeder-values-{key}", "data"), State("feeder-ready", "data"), Input(f"feeder-{key}", "data"),
            Input("feeder-quantity", "data"), Input("feeder-day", "data"),
        )  # fmt: skip
        async def load(ready: dict[str, str] | None, label: str, quantity: Quantity, day: str) -> Any:
            if label == _NONE:
                return None
            return await asyncio.to_thread(lambda: day_values(run_of(ready), label, quantity, int(day)))

        app.clientside_callback(
            ClientsideFunction("feeder", "colour"), Output(f"feeder-binding-{key}", "children"),
            Input("feeder-step", "value"), Input(f"feeder-values-{key}", "data"), Input("feeder-base", "data"),
            Input("feeder-customer", "data"), State(f"feeder-map-{key}", "id"),
        )  # fmt: skip

    app.clientside_callback(
        ClientsideFunction("feeder", "clock"), Output("feeder-clock", "children"), Input("feeder-step", "value"),
        Input("feeder-values-a", "data"),
    )  # fmt: skip
    app.clientside_callback(
        ClientsideFunction("feeder", "play"), Output("feeder-play", "children"), Input("feeder-play", "n_clicks"),
        State("feeder-values-a", "data"), State("feeder-step", "value"), prevent_initial_call=True,
    )  # fmt: skip
    app.clientside_callback(
        ClientsideFunction("feeder", "name"), Output("feeder-name-a", "children"), Output("feeder-name-b", "children"),
        Output("feeder-step", "max"), Output("feeder-shown", "data"), Input("feeder-values-a", "data"),
        Input("feeder-values-b", "data"), *(State(f"feeder-{key}", "data") for key in _ALL),
    )  # fmt: skip

    @app.callback(Output("feeder-over-time", "children"), *_AFTER, Input("shell-theme", "data"))
    async def draw(told: str | None, ready: dict[str, str], a: str, b: str, day: str, _: str, theme: str) -> Any:
        if not told:
            return no_update
        return await asyncio.to_thread(lambda: _over_time(run_of(ready), _labels(a, b), int(day), theme))

    @app.callback(
        Output("feeder-customer-day", "children"), *_AFTER, Input("shell-theme", "data"),
        Input("feeder-customer", "data"),
    )  # fmt: skip
    async def one_customer(
        told: str | None, ready: dict[str, str], a: str, b: str, day: str, _: str, theme: str, name: str
    ) -> Any:
        def make() -> Component:
            run = run_of(ready)
            made = feeder_figures.customer(run, place_of(run.path), _labels(a, b), name, int(day), theme)
            return _shown(made, "feeder-customer-figure")

        return await asyncio.to_thread(make) if told and name else no_update

    @app.callback(Output("feeder-numbers", "children"), *_AFTER)
    async def tell(told: str | None, ready: dict[str, str], a: str, b: str, day: str, quantity: Quantity) -> Any:
        def make() -> Component:
            run = run_of(ready)
            days = {label: day_of(run, label, int(day)) for label in _labels(a, b)}
            numbers = feeder_map.numbers(run, place_of(run.path), quantity, days, int(day))
            return table(numbers, "Numbers of the map", digits=3 if quantity == "voltage_pu" else 1)

        return await asyncio.to_thread(make) if told else no_update


def _labels(a: str, b: str) -> list[str]:
    return [a] if b in (_NONE, a) else [a, b]


def _results(run: RunFolder) -> Component:
    """Everything of a run that can be shown; figures come by their own callbacks."""
    labels = {label: label + (f" ({run.stopped[label]})" if label in run.stopped else "") for label in run.labels}
    second = next((label for label in list(labels)[1:]), _NONE)
    days = {str(day): f"{run.times(day, 1)[0]:%d %b %Y}" for day in range(max(run.days, 1))}
    slider = dcc.Input(id="feeder-step", type="range", min=0, max=run.per_day - 1, step=1, value=0)
    return html.Div(
        [
            _card("Scoreboard", "feeder-score", _scoreboard(run)),
            _card(
                "Map", "feeder-map-card",
                html.Div(
                    [
                        choice("feeder-a", "First run", labels),
                        choice("feeder-b", "Second run", {_NONE: "none", **labels}, second),
                        choice("feeder-quantity", "Colours", feeder_map.QUANTITIES),
                        html.Div(choice("feeder-day", "Day", days), hidden=len(days) == 1),
                    ],
                    className="shell-form",
                ),
                html.Div(
                    [
                        html.Button("Play the day", id="feeder-play", type="button"),
                        html.Label("Time", htmlFor="feeder-step"), slider, html.Output(id="feeder-clock"),
                    ],
                    className="feeder-slider",
                ),
                html.Div([_map(key, which) for key, which in _MAPS.items()], className="feeder-maps"),
                html.Div(id="feeder-legend"),
                html.Details([html.Summary("The numbers of the map"), html.Div(id="feeder-numbers")]),
                dcc.Store(id="feeder-base"), dcc.Store(id="feeder-shown"), *(dcc.Store(id=f"feeder-values-{key}") for key in _MAPS),
            ),
            _card(
                "One customer's day", "feeder-customer-card",
                html.P("Choose a customer here, or click on one on the map.", className="shell-hint"),
                choice("feeder-customer", "Customer", {}),  # the map's script fills it, for every option costs the page time
                html.Div(id="feeder-customer-day"),
            ),
            _card("Over time", "feeder-time", html.Div(id="feeder-over-time")),
        ]
    )  # fmt: skip


def _card(title: str, name: str, *content: Component) -> Component:
    named: dict[str, Any] = {"aria-labelledby": f"{name}-heading"}
    return html.Section([html.H2(title, id=f"{name}-heading"), *content], className="shell-card", id=name, **named)


def _map(key: str, which: str) -> Component:
    """One map with what binds at the step, and buttons for those who do not drag."""
    acts = {"+": ("+", "Zoom in"), "-": ("−", "Zoom out"), "0": ("Whole feeder", "Show the whole feeder")}
    buttons = [
        html.Button(sign, type="button", **{"data-map": f"feeder-map-{key}", "data-act": act, "aria-label": f"{words}, {which} map"})  # type: ignore[arg-type]
        for act, (sign, words) in acts.items()
    ]
    named: dict[str, Any] = {"aria-label": f"Map of the {which} run. Arrow keys move it, plus and minus zoom, 0 shows all"}
    return html.Figure(
        [
            html.Figcaption([html.Span(id=f"feeder-name-{key}"), ": ", html.Span(id=f"feeder-binding-{key}", className="feeder-binding", **{"aria-live": "polite"})]),  # type: ignore[arg-type]
            html.Div(id=f"feeder-map-{key}", className="feeder-map", tabIndex=0, role="application", **named),
            html.Div(buttons, className="shell-row"),
        ]
    )


def _scoreboard(run: RunFolder) -> Component:
    """Measures × runs; the best of a row has a star, a violated limit an exclamation mark."""
    present = dict.fromkeys(name for values in run.metrics.values() for name in values)
    names = [*(name for name in METRICS if name in present), *(name for name in present if name not in METRICS)]
    first = [name for name in names if metric_of(name).shown(values.get(name, float("nan")) for values in run.metrics.values())]
    rest = [name for name in names if name not in first]
    return html.Div(
        [
            html.P("* best of the runs; ! limit violated", className="shell-hint"),
            _board(run, first, "Scoreboard"),
            html.Details([html.Summary(f"All other measures ({len(rest)})"), _board(run, rest, "All other measures")]),
        ]
    )


def _board(run: RunFolder, names: list[str], title: str) -> Component:
    standard, rows = read_standard(run.path), []
    for name in names:
        values = {label: run.metrics[label].get(name, float("nan")) for label in run.labels}
        told, found = metric_of(name, standard), cells(name, values, run.stopped, dict.fromkeys(values, standard))
        marked = {label: cell.text + " !" * cell.violated + " *" * cell.best for label, cell in found.items()}
        rows.append({"measure": name, "meaning": told.meaning, "unit": told.unit or "–", **marked})
    return table(pd.DataFrame(rows), title)


def _over_time(run: RunFolder, labels: list[str], day: int, theme: str) -> list[Component]:
    place = place_of(run.path)
    made = {"transformer": feeder_figures.transformer(run, place, labels, day, theme),
            "unbalance": feeder_figures.unbalance(run, place, labels, day, theme)}  # fmt: skip
    for label in labels:
        made[f"charging-{label}"] = feeder_figures.charging(run, labels, label, day, theme)
    return [_shown(one, f"feeder-{name}") for name, one in made.items()]


def _shown(made: Picture, name: str) -> Component:
    data = made.data if len(made.data) else pd.DataFrame({"time": []})
    return picture(made.title, made.figure, made.summary, data, name)
