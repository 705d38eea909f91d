"""The feeder: a run chosen or started, its scoreboard, its map over time, and one customer's day."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from dash import ClientsideFunction, Dash, Input, Output, State, html, no_update
from dash.development.base_component import Component

from cosim.errors import CosimError
from cosim.experiments.web.dashboard import feeder_figures, feeder_map, feeder_start
from cosim.experiments.web.dashboard.controls import table
from cosim.experiments.web.dashboard.feeder_data import Quantity, day_of, day_values
from cosim.experiments.web.dashboard.feeder_parts import MAPS, NONE, results
from cosim.experiments.web.dashboard.feeder_place import place_of
from cosim.experiments.web.dashboard.feeder_tables import RunFolder, read_run

if TYPE_CHECKING:
    from cosim.experiments.web.jobs import Jobs
    from cosim.experiments.web.planning import Planning

PATH, NAME, TITLE = "/feeder", "Feeder", "A run on its feeder"
_ALL = ("a", "b", "day", "quantity")
_AFTER = [
    Input("feeder-shown", "data"), State("feeder-ready", "data"), *(State(f"feeder-{key}", "data") for key in _ALL)
]  # fmt: skip
"""What the map shows; figures come after it."""


def layout() -> Component:
    """What is there before a run is known."""
    return html.Div([feeder_start.form(), html.Div(id="feeder-problem"), html.Div(id="feeder-results")])


def register(app: Dash, planning: Planning, jobs: Jobs) -> None:  # noqa: ARG001 - plans are another page's
    """Add the callbacks of the page."""
    feeder_start.register(app, jobs)

    def run_of(ready: dict[str, str] | None) -> RunFolder:
        return read_run(jobs.get((ready or {})["id"]).folder)

    @app.callback(
        Output("feeder-results", "children"), Output("feeder-results", "hidden"),
        Output("feeder-problem", "children"), Input("feeder-ready", "data"),
    )  # fmt: skip
    async def show(ready: dict[str, str] | None) -> Any:
        if not ready or ready["status"] in ("waiting", "running"):
            return no_update, True, None  # hidden, not taken away: answers for parts that are gone would stop the page
        try:
            return await asyncio.to_thread(lambda: results(run_of(ready))), False, None
        except CosimError as error:
            where = f"{jobs.get(ready['id']).folder}/"
            told = f"There is nothing to show: {str(error).replace(where, '')}"
            return no_update, True, html.P(told, className="shell-problem")

    @app.callback(
        Output("feeder-base", "data"), Output("feeder-legend", "children"),
        State("feeder-ready", "data"), Input("feeder-quantity", "data"),
    )  # fmt: skip
    async def prepare(ready: dict[str, str] | None, quantity: Quantity) -> Any:
        place = await asyncio.to_thread(lambda: place_of(run_of(ready).path))
        return feeder_map.base(place, quantity), feeder_map.legend(place, quantity)

    for key in MAPS:

        @app.callback(
            Output(f"feeder-values-{key}", "data"), State("feeder-ready", "data"), Input(f"feeder-{key}", "data"),
            Input("feeder-quantity", "data"), Input("feeder-day", "data"),
        )  # fmt: skip
        async def load(ready: dict[str, str] | None, label: str, quantity: Quantity, day: str) -> Any:
            if label == NONE:
                return None
            return await asyncio.to_thread(lambda: day_values(run_of(ready), label, quantity, int(day)))

        app.clientside_callback(  # type: ignore[no-untyped-call]
            ClientsideFunction("feeder", "colour"), Output(f"feeder-binding-{key}", "children"),
            Input("feeder-step", "value"), Input(f"feeder-values-{key}", "data"), Input("feeder-base", "data"),
            Input("feeder-customer", "data"), State(f"feeder-map-{key}", "id"),
        )  # fmt: skip

    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("feeder", "clock"), Output("feeder-clock", "children"), Input("feeder-step", "value"),
        Input("feeder-values-a", "data"),
    )  # fmt: skip
    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("feeder", "play"), Output("feeder-play", "children"), Input("feeder-play", "n_clicks"),
        State("feeder-values-a", "data"), State("feeder-step", "value"), prevent_initial_call=True,
    )  # fmt: skip
    app.clientside_callback(  # type: ignore[no-untyped-call]
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
            return made.shown("feeder-customer-figure")

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
    return [a] if b in (NONE, a) else [a, b]


def _over_time(run: RunFolder, labels: list[str], day: int, theme: str) -> list[Component]:
    place = place_of(run.path)
    made = {"transformer": feeder_figures.transformer(run, place, labels, day, theme),
            "unbalance": feeder_figures.unbalance(run, place, labels, day, theme)}  # fmt: skip
    for label in labels:
        made[f"charging-{label}"] = feeder_figures.charging(run, labels, label, day, theme)
    return [one.shown(f"feeder-{name}") for name, one in made.items()]
