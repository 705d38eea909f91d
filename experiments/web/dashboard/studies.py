"""Studies: how far they are, their rows by factor, controllers compared, and how much feeders host."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pandas as pd
from dash import ALL as EVERY
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component

from cosim.errors import CosimError
from cosim.experiments.study import dataset
from cosim.experiments.web.dashboard.controls import card, table
from cosim.experiments.web.dashboard.studies_data import ROWS, read_hosting, read_study
from cosim.experiments.web.dashboard.studies_figures import hosting, means
from cosim.experiments.web.dashboard.studies_parts import ANY, of_hosting, of_study

if TYPE_CHECKING:
    from cosim.experiments.web.job_records import Job
    from cosim.experiments.web.jobs import Jobs
    from cosim.experiments.web.planning import Planning

PATH, NAME, TITLE = "/studies", "Studies", "Studies"
_POLL_MS = 1_000
_KINDS = ("study", "hosting")


def layout() -> Component:
    """What is there before the studies are known."""
    return html.Div(
        [
            card("What there is", html.Div(id="studies-jobs"), "studies-list"),
            html.Div(id="studies-results"),
            dcc.Interval(id="studies-poll", interval=_POLL_MS),
            dcc.Store(id="studies-told"),
            dcc.Store(id="studies-ready"),
            dcc.Store(id="studies-shown"),
            dcc.Location(id="studies-url", refresh="callback-nav"),
        ]
    )


def register(app: Dash, planning: Planning, jobs: Jobs) -> None:  # noqa: ARG001 - plans are another page's
    """Add the callbacks of the page."""

    @app.callback(
        Output("studies-jobs", "children"), Output("studies-told", "data"), Output("studies-ready", "data"),
        Output("studies-poll", "disabled"), Input("studies-poll", "n_intervals"), Input("studies-url", "search"),
        State("studies-told", "data"), State("studies-ready", "data"),
    )  # fmt: skip
    async def watch(_ticks: int | None, search: str, told: str | None, ready: dict[str, Any] | None) -> Any:
        every = await asyncio.to_thread(lambda: [job for job in jobs.all() if job.kind in _KINDS])
        job, rows = _wanted(every, search), _rows(every)
        now = None if job is None else {"id": job.id, "kind": job.kind, "status": job.status, "parts": _parts(job)}
        shown = json.dumps(rows)
        listed = _list(every, rows) if shown != told else no_update
        return listed, shown, now if now != ready else no_update, all(one.has_ended for one in every)

    @app.callback(
        Output("studies-results", "children"), Output("studies-shown", "data"), Input("studies-ready", "data"),
        State("studies-shown", "data"),
    )  # fmt: skip
    async def show(ready: dict[str, Any] | None, shown: str | None) -> Any:
        key = f"{ready['id']} {ready['status']}" if ready else None
        if not ready or key == shown:  # more rows of the same study: choices stay, tables follow by themselves
            return no_update, no_update
        job = jobs.get(ready["id"])
        try:
            made = await asyncio.to_thread(lambda: of_hosting(job) if job.kind == "hosting" else of_study(job))
        except CosimError as error:
            return html.P(f"There is nothing to show yet: {error}", className="shell-doubt"), None
        return made, key

    @app.callback(
        Output("studies-comparison", "children"), Input("studies-ready", "data"), Input("studies-measure", "data"),
        Input("studies-factor", "data"), Input("shell-theme", "data"),
    )  # fmt: skip
    async def compared(ready: dict[str, Any], measure: str, factor: str, theme: str) -> Any:
        def make() -> Any:
            found = read_study(jobs.get(ready["id"]).folder).comparison
            return no_update if found is None else means(found, measure, factor, theme).shown("studies-means")

        return await asyncio.to_thread(make)

    @app.callback(
        Output("studies-rows", "children"), Output("studies-page", "data"), Output("studies-extent", "children"),
        Output("studies-before", "disabled"), Output("studies-next", "disabled"), Input("studies-before", "n_clicks"),
        Input("studies-next", "n_clicks"), Input({"type": "studies-only", "name": EVERY}, "data"),
        Input("studies-by", "data"), Input("studies-order", "data"), Input("studies-ready", "data"),
        State({"type": "studies-only", "name": EVERY}, "id"), State("studies-page", "data"),
    )  # fmt: skip
    async def page(
        _before: int | None, _next: int | None, values: list[str], by: str, order: str, ready: dict[str, Any],
        names: list[dict[str, str]], number: int | None,
    ) -> Any:  # fmt: skip
        which = ctx.triggered_id if isinstance(ctx.triggered_id, str) else ""
        turned = {"studies-before": -1, "studies-next": 1}.get(which, 0)
        kept = turned or which == "studies-ready"
        number = max((number or 0) + turned, 0) if kept else 0
        only = {one["name"]: value for one, value in zip(names, values, strict=True) if value != ANY}

        def make() -> Any:
            found = read_study(jobs.get(ready["id"]).folder)
            rows, count = found.page(only, by, descending=order == "down", number=number)
            first = number * ROWS + 1 if len(rows) else 0
            said = f"Rows {first} to {number * ROWS + len(rows)} of {count}."
            return table(rows, "Rows of the study", digits=3), number, said, number == 0, (number + 1) * ROWS >= count

        return await asyncio.to_thread(make)

    @app.callback(Output("studies-curves", "children"), Input("studies-ready", "data"), Input("shell-theme", "data"))
    async def curves(ready: dict[str, Any], theme: str) -> Any:
        def make() -> list[Component]:
            folder = jobs.get(ready["id"]).folder
            found, placements = read_hosting(folder)
            method = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["config"]["method"]
            share = 100.0 - float(method["quantile_percent"])
            feeders = list(dict.fromkeys(found["feeder"]))
            return [
                hosting(found, placements, share, feeder, theme).shown(f"studies-hosting-{number}")
                for number, feeder in enumerate(feeders)
            ]

        return await asyncio.to_thread(make)


def _wanted(every: Sequence[Job], search: str | None) -> Job | None:
    """The study that an address names, else the newest that is done, else the newest."""
    asked = parse_qs((search or "").removeprefix("?")).get("study", [""])[0]
    if asked:
        return next((job for job in every if job.id == asked), None)
    return next((job for job in every if job.status == "done"), every[0] if every else None)


def _parts(job: Job) -> int:
    return len(dataset.parts(job.folder)) if job.kind == "study" else 0


def _rows(every: Sequence[Job]) -> list[dict[str, str]]:
    return [
        {
            "study": f"{job.name} ({job.id})", "kind": job.kind, "status": job.status,
            "worlds": f"{job.done} of {job.total}" if job.total else "",
            "left": "" if job.left_s is None or job.has_ended else f"{job.left_s / 60.0:.0f} min",
            "begun": job.created[:16].replace("T", " "), "what it does": job.message,
        }
        for job in every
    ]  # fmt: skip


def _list(every: Sequence[Job], rows: Sequence[dict[str, str]]) -> Component:
    """All studies with their progress; the first cell leads to one."""
    if not rows:
        return html.P("No study yet: start one by the API, POST /api/v1/studies or /api/v1/hosting.")
    return table(pd.DataFrame(rows), "Studies", links=[f"{PATH}?study={job.id}" for job in every])
