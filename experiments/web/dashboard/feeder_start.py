"""The upper part of the feeder's page: a run is chosen or started, and watched until it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from dash import Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component
from pydantic import ValidationError

from cosim import controllers
from cosim.errors import CosimError
from cosim.experiments.scenario import shipped
from cosim.experiments.web.dashboard.controls import card, choice, text
from cosim.experiments.web.job_schemas import RunRequest

if TYPE_CHECKING:
    from cosim.experiments.web.job_records import Job
    from cosim.experiments.web.jobs import Jobs

_POLL_MS = 1_000
_FIRST = ("none", "equal_share")
"""Ticked at first: what happens without control, and the simplest rule."""
_SHARES = {"ev_share": "Homes with a car [%]", "pv_share": "Homes with a roof plant [%]"}
_FIELDS = ("seed", *_SHARES)


def ticks(name: str, label: str, options: Sequence[str], ticked: Sequence[str]) -> Component:
    """Several of some options; ``Input(name, "data")`` is the list of them, in their order."""
    boxes = []
    for one in options:
        told: dict[str, Any] = {"aria-checked": str(one in ticked).lower(), "data-key": one, "data-ticks": name}
        boxes.append(html.Button(one, type="button", role="checkbox", className="feeder-tick", **told))
    shown = [html.Span(label, className="shell-legend", id=f"{name}-label"), html.Div(boxes, className="feeder-ticks")]
    named: dict[str, Any] = {"aria-labelledby": f"{name}-label"}
    held = dcc.Store(id=name, data=[one for one in options if one in ticked])
    return html.Div([html.Div(shown, role="group", **named), held], className="wide")


def form() -> Component:
    """Fields of a new run, and where its progress is."""
    hint = "Empty: the scenario's own."
    fields = [
        choice("feeder-scenario", "Scenario", {name: name for name in shipped()}, "two_bus_evening"),
        text("feeder-seed", "Seed", hint=hint, kind="decimal"),
        *(text(f"feeder-{key}", words, hint=hint, kind="decimal") for key, words in _SHARES.items()),
        ticks("feeder-controllers", "Controllers", controllers.names(), _FIRST),
    ]
    new = [
        html.Summary("Start a run"),
        html.Div(fields, className="shell-form"),
        html.Div(html.Button("Start", id="feeder-start", className="primary", type="button"), className="shell-row"),
        html.P(id="feeder-start-fault", className="shell-fault", role="alert"),
    ]
    buttons = {"feeder-cancel": "Cancel this run", "feeder-restart": "Run it again"}
    content = [
        html.Div(id="feeder-runs"),
        html.Details(new, id="feeder-new"),
        html.Div(id="feeder-progress"),
        html.Div(
            [html.Button(words, id=name, type="button", hidden=True) for name, words in buttons.items()],
            className="shell-row",
        ),
        dcc.Interval(id="feeder-poll", interval=_POLL_MS),
        dcc.Store(id="feeder-ready"),
        dcc.Location(id="feeder-url", refresh="callback-nav"),
    ]
    return card("Run", content, "feeder-run-card")


def register(app: Dash, jobs: Jobs) -> None:
    """Add the callbacks of this part."""

    @app.callback(Output("feeder-runs", "children"), Input("feeder-url", "search"), Input("feeder-ready", "data"))
    async def offer(search: str, _ready: object) -> Component:
        runs = await asyncio.to_thread(runs_of, jobs)
        if not runs:
            return html.P("No run yet: start one below, or by the API.")
        chosen = wanted(runs, search)
        words = {job.id: f"{job.name}, {job.created[:16].replace('T', ' ')} UTC, {job.status}" for job in runs}
        return choice("feeder-run", "Run to look at", words, chosen.id if chosen else None)

    @app.callback(
        Output("feeder-url", "search", allow_duplicate=True), Input("feeder-run", "data"),
        State("feeder-url", "search"), prevent_initial_call=True,
    )  # fmt: skip
    def go(run: str | None, search: str) -> Any:
        return no_update if not run or run == _asked(search) or ctx.triggered_id is None else f"?run={run}"

    @app.callback(
        Output("feeder-url", "search", allow_duplicate=True), Output("feeder-start-fault", "children"),
        Input("feeder-start", "n_clicks"), State("feeder-scenario", "data"), State("feeder-controllers", "data"),
        *(State(f"feeder-{key}", "value") for key in _FIELDS), prevent_initial_call=True,
    )  # fmt: skip
    async def start(clicks: int | None, scenario: str, named: list[str], *texts: str) -> Any:
        if not clicks:
            return no_update, no_update
        try:
            job = await asyncio.to_thread(
                jobs.start_run, _request(scenario, named, dict(zip(_FIELDS, texts, strict=True)))
            )
        except ValidationError as error:
            return no_update, "; ".join(f"{one['loc'][0]}: {one['msg']}" for one in error.errors())
        except (CosimError, ValueError) as error:
            return no_update, str(error)
        return f"?run={job.id}", ""

    @app.callback(
        Output("feeder-progress", "children"), Output("feeder-poll", "disabled"), Output("feeder-ready", "data"),
        Output("feeder-cancel", "hidden"), Output("feeder-restart", "hidden"),
        Output("shell-live", "children", allow_duplicate=True), Input("feeder-poll", "n_intervals"),
        Input("feeder-url", "search"), State("feeder-ready", "data"),
        prevent_initial_call="initial_duplicate",
    )  # fmt: skip
    async def watch(_ticks: int | None, search: str, ready: dict[str, str] | None) -> Any:
        job = await asyncio.to_thread(lambda: wanted(runs_of(jobs), search))
        if job is None:
            told = [html.P(f"There is no run '{_asked(search)}'.", className="shell-problem")] if _asked(search) else []
            return told, True, None, True, True, no_update
        now = {"id": job.id, "status": job.status}
        changed = now != ready
        news = f"{job.name}: {job.status}" if changed else no_update
        again = job.has_ended and job.status != "done"
        return _progress(job), job.has_ended, now if changed else no_update, job.has_ended, not again, news

    for button, act in (("feeder-cancel", jobs.cancel), ("feeder-restart", jobs.restart)):

        @app.callback(
            Output("feeder-poll", "disabled", allow_duplicate=True),
            Output("feeder-start-fault", "children", allow_duplicate=True),
            Input(button, "n_clicks"), State("feeder-ready", "data"), prevent_initial_call=True,
        )  # fmt: skip
        async def change(clicks: int | None, ready: dict[str, str] | None, act: Any = act) -> Any:
            if not clicks or not ready:
                return no_update, no_update
            try:
                await asyncio.to_thread(act, ready["id"])
            except CosimError as error:
                return False, str(error)
            return False, ""


def runs_of(jobs: Jobs) -> list[Job]:
    """All runs, the newest first."""
    return [job for job in jobs.all() if job.kind == "run"]


def wanted(runs: Sequence[Job], search: str | None) -> Job | None:
    """The run that an address names; where it names none the newest that is done, else the newest."""
    asked = _asked(search)
    if asked:
        return next((job for job in runs if job.id == asked), None)
    return next((job for job in runs if job.status == "done"), runs[0] if runs else None)


def _asked(search: str | None) -> str:
    return parse_qs((search or "").removeprefix("?")).get("run", [""])[0]


def _request(scenario: str, named: Sequence[str], texts: Mapping[str, str]) -> RunRequest:
    values: dict[str, Any] = {"scenario": scenario, "controllers": tuple(named)}
    if not named:
        raise ValueError("Controllers: tick at least one")
    for key, told in texts.items():
        if (told or "").strip():
            try:
                number = float(told.replace(",", "."))
            except ValueError:
                raise ValueError(f"{_SHARES.get(key, 'Seed')}: '{told}' is no number") from None
            values[key] = number / 100.0 if key in _SHARES else number
    return RunRequest(**values, figures=False)


def _progress(job: Job) -> Component:
    """How far a run is: a bar and words."""
    if job.status == "done":
        return html.P(f"{job.name} is done.")
    message = job.message.removeprefix(f"{job.status}; ")
    words = f"{job.name} is {job.status}" + (f": {message}" if message else "")
    if job.has_ended:
        return html.P(f"{words}.", className="shell-doubt")
    named: dict[str, Any] = {"aria-label": "Progress of the run"}
    bar = html.Progress(value=str(job.done), max=str(max(job.total, 1)), **named)
    return html.Div([bar, html.P(f"{words}, step {job.done} of {job.total or '?'}")], className="feeder-running")
