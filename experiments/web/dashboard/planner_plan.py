"""Middle of the planner: the connection and how to plan, then the plan in figures, and what can be downloaded."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dash import Dash, Input, Output, State, html, no_update
from dash.development.base_component import Component

from cosim.errors import Fault, InputError
from cosim.experiments.web.catalogue import NotFoundError
from cosim.experiments.web.dashboard.controls import card, choice, lines, shown, table, text, upload, worker
from cosim.experiments.web.dashboard.planner_changes import changes_card
from cosim.experiments.web.dashboard.planner_figures import Planned, pictures
from cosim.experiments.web.dashboard.planner_words import (
    REFUSED,
    STATUS,
    WHOLE_DAYS,
    InTurn,
    address,
    asked,
    faults_of,
    in_words,
    listed,
    number,
    plain,
    problem_list,
    series,
    tell_faults,
)
from cosim.experiments.web.orders import series_text
from cosim.experiments.web.schemas import PlanRequest, Series

if TYPE_CHECKING:
    from cosim.experiments.web.planning import Planning
    from cosim.experiments.web.records import PlanRecord

_SERIES = {"capacity": "capacity_kw", "tariff": "tariff_eur_per_kwh", "site-load": None, "pv": None}
"""Fields that take a number or a series, to the name of the number in a request."""
_NUMBERS = ("margin-min", "min-power-kw", "peak-eur-per-kw", "shortfall-eur-per-kwh", "time-limit-s")
_CHOICES: dict[str, dict[str, str]] = {
    "formulation": {"lp": "LP: any power", "milp": "MILP: off, or at least the least power"},
    "objective": {"service": "service first, then cost", "weighted": "one sum of cost and shortfall"},
    "fairness": {"total": "least shortfall in all", "maxmin": "raise the worst served first"},
}
_FIELDS = (*_SERIES, *_CHOICES, *_NUMBERS)
_OCPP = ("1.6", "2.0.1", "2.1")
_TABLES = {
    "plan": "Plan by vehicle and step", "vehicles": "Vehicles", "station": "Station", "rows": "Rows at fault",
    "diff": "Changes by vehicle and step", "changes": "Changes by vehicle", "other_plans": "Other plans",
}  # fmt: skip
_FORMS = {"csv": "CSV", "parquet": "Parquet", "xlsx": "XLSX"}
_FILES = {"plan.json": "plan.json", "metrics.json": "metrics.json", "report.md": "report.md"}


def form(request: PlanRequest | None = None) -> Component:
    """What a plan is asked with."""
    asked_for = request or PlanRequest(capacity_kw=100.0)

    def typed(name: str, number_name: str | None) -> str:
        held = getattr(asked_for, name.replace("-", "_"))
        if held is not None:
            return _series_as_typed(held)
        value = getattr(asked_for, number_name) if number_name else None
        return "" if value is None else value if isinstance(value, str) else f"{value:g}"

    told = "A number, a value a line for a day (24, 48, 96, ...), or a CSV with a header and “time”."
    labels = {"capacity": ("Capacity [kW]", f"{told} “unlimited”: no limit."), "tariff": ("Price [EUR/kWh]", told),
              "site-load": ("Load of the site [kW]", "Beside the chargers; as above, or empty."),
              "pv": ("PV of the site [kW]", "As above, or empty.")}  # fmt: skip
    connection = []
    for name, (label, hint) in labels.items():
        file = upload(f"planner-{name}-file", f"{label.partition(' [')[0]} from a file", ".csv,.txt", small=True)
        connection.append(html.Div([lines(f"planner-{name}", label, typed(name, _SERIES[name]), hint), file]))
    labels_of = {"formulation": "Formulation", "objective": "What comes first", "fairness": "Fairness"}
    how = [choice(f"planner-{key}", labels_of[key], words, getattr(asked_for, key)) for key, words in _CHOICES.items()]
    hints = {
        "margin-min": ("Margin [min]", "Kept free before each departure."),
        "min-power-kw": ("Least power [kW]", "While charging; MILP."),
        "peak-eur-per-kw": ("Peak price [EUR/kW]", "Of what charging adds to the peak."),
        "shortfall-eur-per-kwh": ("Price of what is missing [EUR/kWh]", "Of one sum; empty: 100 EUR per battery."),
        "time-limit-s": ("Time limit [s]", "Then the best plan so far; empty: the server's."),
    }
    how += [text(f"planner-{key}", label, getattr(asked_for, key.replace("-", "_")), hint, kind="decimal")
            for key, (label, hint) in hints.items()]  # fmt: skip
    return card("4 · The plan", [
        html.Div(connection, className="shell-form"), html.H3("How"), html.Div(how, className="shell-form"),
        worker("Plan", "planner-go", "Planning …"),
        html.Div(id="planner-plan-problems", role="alert"),
    ], "planner-plan-card")  # fmt: skip


def register(app: Dash, planning: Planning, in_turn: InTurn) -> None:
    """Add the callbacks of these steps."""
    here = Output("planner-url", "search", allow_duplicate=True)
    live = Output("shell-live", "children", allow_duplicate=True)
    plan_id = Output("planner-plan", "data", allow_duplicate=True)

    for name in _SERIES:

        @app.callback(
            Output(f"planner-{name}", "value"), Input(f"planner-{name}-file", "contents"), prevent_initial_call=True
        )
        def filled(contents: str | None) -> Any:
            if not contents:
                return no_update
            return base64.b64decode(contents.partition(",")[2]).decode("utf-8-sig", "replace")

    @app.callback(
        output=(plan_id, here, live),
        inputs={
            "clicks": Input("planner-go", "n_clicks"), "sessions_id": State("planner-sessions", "data"),
            "typed": [State(f"planner-{name}", "value") for name in (*_SERIES, *_NUMBERS)],
            "picked": [State(f"planner-{name}", "data") for name in _CHOICES],
        },
        prevent_initial_call=True,
    )  # fmt: skip
    async def planned(clicks: int | None, sessions_id: str, typed: list[str], picked: list[str]) -> Any:
        if not clicks:
            return (no_update,) * 3
        made, faults = None, list[Fault]()
        try:
            request = _request(typed, picked, faults)
            made = await in_turn(lambda: planning.plan(sessions_id, request)) if request else None
        except REFUSED as error:
            faults += faults_of(error)
        tell_faults(faults, _FIELDS, "planner-plan-problems")
        if made is None:
            return no_update, no_update, "There is no plan: see what is wrong."
        return made.id, address(sessions=sessions_id, plan=made.id), in_words(made)

    @app.callback(
        plan_id, Output("planner-plan-part", "children"), Input("planner-url", "search"), State("planner-plan", "data"),
        prevent_initial_call="initial_duplicate",
    )  # fmt: skip
    async def chosen(search: str | None, known: str | None) -> Any:
        wanted = asked(search, "plan")
        if wanted == known:
            return no_update, no_update
        if wanted is None:
            return None, no_update
        try:
            found = await asyncio.to_thread(planning.get_plan, wanted)
        except NotFoundError:
            return wanted, no_update
        return wanted, form(found.request)

    @app.callback(Output("planner-result", "children"), Input("planner-plan", "data"), Input("shell-theme", "data"))
    async def result(wanted: str | None, theme: str | None) -> Any:
        if wanted is None or theme is None:
            return []
        try:
            found = await asyncio.to_thread(planning.get_plan, wanted)
        except NotFoundError as error:
            return problem_list([html.Li(f"{error}: it may be of another server. Choose one below, or plan again.")])
        of_table = (await asyncio.to_thread(planning.sessions, found.sessions_id)).warnings
        return await asyncio.to_thread(_result, found, theme, of_table)

    @app.callback(Output("planner-stale", "children"), Input("planner-sessions", "data"), Input("planner-plan", "data"))
    async def stale(sessions_id: str | None, wanted: str | None) -> Any:
        rows = await asyncio.to_thread(planning.plan_rows) if sessions_id and wanted else []
        of_another = any(row.id == wanted and row.sessions_id != sessions_id for row in rows)
        return html.P("The table above has changed since: plan again.", className="shell-doubt") if of_another else None


def _series_as_typed(held: Series) -> str:
    """A series as it can be typed: a day's values by line, where they are that, else as CSV."""
    values = held.values or []
    if held.start is None and WHOLE_DAYS.get(len(values)) == held.step_min:
        return "\n".join(f"{value:g}" for value in values)
    try:
        return series_text(held, "series")
    except InputError:  # of a plan that failed for it
        return ""


def _request(typed: list[str], picked: list[str], faults: list[Fault]) -> PlanRequest | None:
    """Request from what the form holds, in the order of its fields; None where something is no number."""
    values: dict[str, Any] = dict(zip(_CHOICES, picked, strict=True))
    for (name, number_name), words in zip(_SERIES.items(), typed, strict=False):
        if name == "capacity" and (words or "").strip().lower() in ("unlimited", "inf"):
            values["capacity_kw"] = "unlimited"
            continue
        value = series(words, name, faults)
        key = name.replace("-", "_")
        if isinstance(value, dict):
            values[key] = value
        elif value is not None and number_name:
            values[number_name] = value
        elif value is not None:
            values[key] = {"values": [value] * 24, "step_min": 60}
    for name, words in zip(_NUMBERS, typed[len(_SERIES) :], strict=True):
        if (value := number(words, name, faults)) is not None:
            values[name.replace("-", "_")] = value
    return None if faults else PlanRequest.model_validate(values)


def _result(found: PlanRecord, theme: str, of_table: Sequence[str]) -> list[Component]:
    """Cards of a plan; what is told of its table already is left out."""
    if found.status != "done":
        items = listed(found.faults)
        remedy = {
            "planning": "It is being planned: reload in a moment.",
            "interrupted": "The server ended before it was done: plan again.",
        }
        return problem_list(items or [html.Li(remedy.get(found.status, f"This plan is {found.status}."))])
    planned = Planned.read(found.folder)
    parts: list[Component] = [html.P(in_words(found), id="planner-words")]
    changed: list[Component] = []
    if found.parent:
        link = html.A("an earlier plan", href=address(sessions=found.sessions_id, plan=found.parent))
        parts.append(html.P(["It re-plans ", link, "."]))
        changed.append(changes_card(planned, found.diff(), found.changes(), theme))
    parts.append(_numbers(found.metrics))
    notes = [html.Li(plain(one)) for one in found.warnings if ", row " not in one and one not in of_table]
    if notes:
        parts.append(html.Div(html.Ul(notes), className="shell-doubt"))
    return [
        card("5 · What it gives", parts, "planner-kpis"),
        *changed,
        card("Figures", pictures(planned, theme), "planner-figures"),
        card("Vehicles and downloads", [
            html.Details([html.Summary("All vehicles"), table(planned.vehicles, "Vehicles of the plan")]),
            html.H3("Downloads"), _downloads(found, has_zone=planned.has_zone),
        ], "planner-downloads"),
    ]  # fmt: skip


def _numbers(metrics: dict[str, Any]) -> Component:
    gap = metrics["gap"]
    pairs = {
        "How it ended": STATUS.get(metrics["status"], metrics["status"]),
        "Gap": "none" if gap is not None and gap < 5e-5 else "not known" if gap is None else f"{100 * gap:.2f} %",
        "Need served": f"{shown(metrics['served_percent'], 1)} %",
        "Worst served": f"{shown(metrics['served_min_percent'], 1)} %",
        "Missing": f"{metrics['unserved_kwh']:.1f} kWh",
        "Missing in any plan": f"{metrics['unservable_kwh']:.1f} kWh",
        "Energy drawn": f"{metrics['energy_kwh']:.1f} kWh",
        "Cost": f"{metrics['energy_cost_eur'] + metrics['peak_cost_eur']:.2f} EUR",
        "Peak": f"{metrics['peak_kw']:.1f} kW",
        "Capacity used": "no limit"
        if metrics["capacity_used_percent"] is None
        else f"{shown(metrics['capacity_used_percent'], 1)} %",
    }
    return html.Dl(
        [html.Div([html.Dt(name), html.Dd(value)]) for name, value in pairs.items()], className="shell-numbers"
    )


def _downloads(found: PlanRecord, *, has_zone: bool) -> Component:
    """Links to the tables and files of the plan, and to its messages for chargers."""
    base = f"/api/v1/plans/{found.id}"
    items = []
    for name, words in _TABLES.items():
        if f"{name}.csv" in found.files or f"{name}.parquet" in found.files:
            links = [_link(kind, f"{base}/tables/{name}.{form}", f"{name}.{form}") for form, kind in _FORMS.items()]
            items.append(html.Li([f"{words}: ", *_separated(links)]))
    files = [_link(words, f"{base}/files/{name}", name) for name, words in _FILES.items() if name in found.files]
    messages: list[Component] = [html.Span("they need the station's clock: say it in step 2, and plan again")]
    if has_zone:
        messages = [_link(f"OCPP {one}", f"{base}/ocpp?version={one}", f"ocpp-{one}.json") for one in _OCPP]
    items += [html.Li(["Summary: ", *_separated(files)]), html.Li(["Charging profiles: ", *_separated(messages)])]
    return html.Ul(items)


def _link(words: str, path: str, name: str) -> Component:
    return html.A(words, href=path, download=name)


def _separated(links: list[Component]) -> list[Component | str]:
    return [part for link in links for part in (link, " · ")][:-1]
