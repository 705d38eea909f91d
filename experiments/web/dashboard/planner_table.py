"""First steps of the planner: sessions from a file or drawn, how their columns are read, and the table with its faults.

A table is never changed on the server: an edit, or another reading, makes other sessions, whose id is in the address.
"""

from __future__ import annotations

import asyncio
import base64
import re
from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

import dash_ag_grid
import pandas as pd
from dash import ALL, Dash, Input, Output, State, ctx, html, no_update
from dash.development.base_component import Component

from cosim.errors import Fault, InputError
from cosim.experiments.plan.columns import JOIN, QUANTITIES, lay_out, profiles
from cosim.experiments.plan.table import Table
from cosim.experiments.web.catalogue import NotFoundError
from cosim.experiments.web.dashboard.controls import GRID, choice, table, text, upload
from cosim.experiments.web.dashboard.planner_words import (
    REFUSED,
    address,
    asked,
    card,
    faults_of,
    listed,
    number,
    plain,
    problem_list,
    tell_faults,
    whole,
)
from cosim.experiments.web.schemas import DemandRequest, SessionReading

if TYPE_CHECKING:
    from cosim.experiments.web.planning import Planning, Sessions

MOST_SHOWN = 5_000
"""Rows of the table in the browser; those at fault come first where there are more."""
_READING = ("timezone", "day", "charger-kw", "stay-h", "efficiency")
_CHOICES = ("profile", "dates", "energy")
_DATES = {"": "as the file shows", "dmy": "day first: 3/12 is in December", "mdy": "month first: 3/12 is in March"}
_ENERGY = {"": "as the profile says", "plug": "at the plug (metered)", "battery": "in the battery"}
_WORDS = {
    "vehicle": "Vehicle or session", "arrival": "Arrival", "departure": "Departure", "stay_h": "Stay [h]",
    "energy_kwh": "Energy [kWh]", "energy_wh": "Energy [Wh]", "power_kw": "Largest power [kW]",
    "power_w": "Largest power [W]", "power_min_kw": "Least power [kW]", "battery_kwh": "Battery [kWh]",
    "battery_wh": "Battery [Wh]", "soe_arrival_kwh": "Content at arrival [kWh]",
    "soc_arrival_percent": "Content at arrival [%]", "soc_target_percent": "Target at departure [%]",
    "efficiency": "Efficiency", "phases": "Phases", "plug": "Plug", "connector": "Connector",
    "charger_type": "Kind of charger", "timezone": "Time zone", "arrival_zone": "Zone of arrival",
    "departure_zone": "Zone of departure",
}  # fmt: skip
_NAMED = re.compile(r"--columns ([a-z_]+)=NAME")
_SECOND = {"arrival": "Arrival, time of day if apart", "departure": "Departure, time of day if apart"}


def sources(accept: str) -> Component:
    """Where sessions come from."""
    words = "Choose a file of sessions, or drop it here: CSV, XLSX, JSON or Parquet"
    file = html.Div([html.H3("From a file"), upload("planner-upload", words, accept)])
    drawn = html.Div([
        html.H3("Drawn at random"),
        html.Div([text("planner-count", "Vehicles", 40, kind="decimal"), text("planner-seed", "Seed", 1, kind="decimal")],
                 className="shell-form"),
        html.Div(html.Button("Draw sessions", id="planner-generate", type="button"), className="shell-row"),
    ])  # fmt: skip
    both = html.Div([file, drawn], className="planner-two")
    return card("1 · Sessions", [both, html.Div(id="planner-source-problems", role="alert")], "planner-source")


def register(app: Dash, planning: Planning) -> None:
    """Add the callbacks of these steps."""
    here = Output("planner-url", "search", allow_duplicate=True)
    live = Output("shell-live", "children", allow_duplicate=True)
    alert = "planner-source-problems"

    @app.callback(
        here, Input("planner-upload", "contents"), State("planner-upload", "filename"), prevent_initial_call=True
    )
    async def uploaded(contents: str | None, name: str) -> Any:
        if not contents:
            return no_update
        try:
            content = base64.b64decode(contents.partition(",")[2])
            found = await asyncio.to_thread(planning.upload, name, content)
        except REFUSED as error:
            tell_faults(faults_of(error), (), alert)
            return no_update
        tell_faults((), ("count", "seed"), alert)
        return address(sessions=found.id)

    @app.callback(
        here, Input("planner-generate", "n_clicks"), State("planner-count", "value"), State("planner-seed", "value"),
        prevent_initial_call=True,
    )  # fmt: skip
    async def drawn(clicks: int | None, count: str, seed: str) -> Any:
        if not clicks:  # the page has just come
            return no_update
        faults, found = list[Fault](), None
        values = {"vehicles": whole(count, "count", faults), "seed": whole(seed, "seed", faults)}
        try:
            request = (
                None if faults else DemandRequest.model_validate({k: v for k, v in values.items() if v is not None})
            )
            found = await asyncio.to_thread(planning.generate, request) if request else None
        except REFUSED as error:
            faults = [Fault(one.where, "count" if one.key in ("vehicles", "rows") else one.key, one.problem, one.remedy)
                      for one in faults_of(error)]  # fmt: skip
        tell_faults(faults, ("count", "seed"), alert)
        return no_update if faults or found is None else address(sessions=found.id)

    @app.callback(
        Output("planner-sessions", "data"), Output("planner-sessions-part", "children"),
        Output("planner-plan-part", "hidden"), live, Input("planner-url", "search"), State("planner-sessions", "data"),
        prevent_initial_call="initial_duplicate",
    )  # fmt: skip
    async def chosen(search: str | None, known: str | None) -> Any:
        wanted = asked(search, "sessions")
        if wanted == known:
            return (no_update,) * 4
        if wanted is None:
            return None, None, True, ""
        try:
            found = await asyncio.to_thread(planning.sessions, wanted)
        except NotFoundError as error:
            told = html.Li(f"{error}: they may be of another server. Choose a file, or an earlier plan below.")
            return None, problem_list([told]), True, ""
        parts = [_reading_card(found), _table_card(found)]
        return found.id, parts, bool(found.faults), _told(found)

    of_columns = {"type": "planner-column", "quantity": ALL}

    @app.callback(
        output=here,
        inputs={
            "clicks": Input("planner-read", "n_clicks"), "sessions_id": State("planner-sessions", "data"),
            "search": State("planner-url", "search"), "typed": [State(f"planner-{name}", "value") for name in _READING],
            "picked": [State(f"planner-{name}", "data") for name in _CHOICES],
            "columns": State(of_columns, "data"), "ids": State(of_columns, "id"),
        },
        prevent_initial_call=True,
    )  # fmt: skip
    async def read_again(
        clicks: int | None, sessions_id: str, search: str, typed: list[str], picked: list[str], columns: list[str],
        ids: list[dict[str, str]],
    ) -> Any:  # fmt: skip
        if not clicks:
            return no_update
        faults: list[Fault] = []
        numbers = {key.replace("-", "_"): number(value, key, faults)
                   for key, value in zip(_READING[2:], typed[2:], strict=True)}  # fmt: skip
        words = dict(
            zip((*_READING[:2], *_CHOICES), ((value or "").strip() for value in [*typed[:2], *picked]), strict=True)
        )
        by_quantity = {one["quantity"]: column for one, column in zip(ids, columns, strict=True) if column}
        for quantity in _SECOND:
            if (second := by_quantity.pop(f"{quantity}-second", None)) and quantity in by_quantity:
                by_quantity[quantity] += f"{JOIN}{second}"
        found = None
        try:
            given = {key: value for key, value in {**numbers, **words}.items() if value not in (None, "")}
            reading = None if faults else SessionReading.model_validate({**given, "columns": by_quantity})
            found = await asyncio.to_thread(planning.remap, sessions_id, reading) if reading else None
        except REFUSED as error:
            faults += faults_of(error)
        tell_faults(faults, (*_READING, *_CHOICES), "planner-reading-problems")
        return address(sessions=found.id, plan=asked(search, "plan")) if found else no_update

    @app.callback(
        Output("planner-sessions", "data", allow_duplicate=True), here, Output("planner-grid", "rowData"),
        Output("planner-findings", "children"), Output("planner-plan-part", "hidden", allow_duplicate=True), live,
        Input("planner-grid", "cellValueChanged"), Input("planner-add-row", "n_clicks"),
        Input("planner-remove-rows", "n_clicks"), State("planner-grid", "rowData"),
        State("planner-grid", "selectedRows"), State("planner-sessions", "data"), State("planner-url", "search"),
        prevent_initial_call=True,
    )  # fmt: skip
    async def edited(
        cells: object, add: int | None, remove: int | None, rows: list[dict[str, Any]],
        selected: list[dict[str, Any]] | None, sessions_id: str, search: str,
    ) -> Any:  # fmt: skip
        if not (cells or add or remove):
            return (no_update,) * 6
        before = await asyncio.to_thread(planning.sessions, sessions_id)
        frame = _frame(before, rows)
        if ctx.triggered_id == "planner-add-row":
            frame.loc[max(frame.index, default=1) + 1] = ""
        elif ctx.triggered_id == "planner-remove-rows":
            frame = frame.drop(index=[row["row"] for row in selected or []])
        try:
            found = await asyncio.to_thread(planning.edit, sessions_id, frame)
        except REFUSED as error:
            told = problem_list(listed(faults_of(error)))
            return no_update, no_update, grid_rows(before), told, no_update, "That edit was refused."
        there = address(sessions=found.id, plan=asked(search, "plan"))
        return found.id, there, grid_rows(found), findings(found), bool(found.faults), _told(found)


def _told(found: Sessions) -> str:
    if not found.counts:
        return f"{found.name} is not understood yet: see what is missing."
    counts = found.counts
    return f"{counts['rows']} rows, {counts['planned']} usable, {counts['changed']} of them changed, {counts['left_out']} left out."


def _reading_card(found: Sessions) -> Component:
    reading, header = found.reading, [str(name) for name in found.table.columns]
    laid = _laid_out(found)
    known = {name: one.title or name for name, one in profiles().items()}
    profile = profiles().get(found.profile)
    told = f"Understood as: {profile.title or profile.name}." if profile else "It is not understood yet."
    zones = sorted(
        zone for zone in available_timezones() if "/" in zone and not zone.startswith(("Etc/", "posix", "right"))
    )
    form = html.Div([
        choice("planner-profile", "Kind of file", {"": "found by its header", **known}, reading.profile or ""),
        text("planner-timezone", "The station's clock", reading.timezone, "Days begin at its midnight.",
             placeholder="Europe/Berlin", offered=zones),
        text("planner-day", "Only this day", reading.day, placeholder="2025-03-18"),
        choice("planner-dates", "Order of dates", _DATES, reading.dates or ""),
        choice("planner-energy", "Energy is measured", _ENERGY, reading.energy or ""),
        text("planner-charger-kw", "Charger [kW]", reading.charger_kw, "Where no column says it.", kind="decimal"),
        text("planner-stay-h", "Stay [h]", reading.stay_h, "Where there is no departure.", kind="decimal"),
        text("planner-efficiency", "Efficiency", reading.efficiency, "Into the battery, of what is drawn.", kind="decimal"),
    ], className="shell-form")  # fmt: skip
    missing, others = _missing(found)
    own = html.Details(
        [
            html.Summary("Which column holds what"),
            html.Div([*_column_choices(found, header, laid, missing)], className="shell-form"),
        ],
        open=bool(found.faults or reading.columns),
        id="planner-columns",
    )
    return card("2 · How it is read", [
        html.P([html.Strong(found.name), f": {told}"], id="planner-understood"),
        html.Div(problem_list(listed(others)), id="planner-reading-problems", role="alert"), form, own,
        html.Div(html.Button("Read it so", id="planner-read", type="button"), className="shell-row"),
    ], "planner-reading")  # fmt: skip


def _missing(found: Sessions) -> tuple[dict[str, str], list[Fault]]:
    """What is to be chosen, by quantity, and the other faults of the table; unknown columns are what is chosen from."""
    missing, others = {}, []
    for fault in found.faults:
        told = _NAMED.search(fault.remedy)
        if told:
            missing[told[1]] = f"{fault.problem.replace('column', 'the column')} → choose it here"
        elif "unknown column" not in fault.problem or not found.faults:
            others.append(fault)
    return missing, others


def _column_choices(
    found: Sessions, header: list[str], laid: dict[str, tuple[str, ...]], missing: dict[str, str]
) -> list[Component]:
    """A select for each quantity, with the file's headers."""
    made = []
    for quantity in QUANTITIES:
        own = found.reading.columns.get(quantity, "").split(JOIN)
        by_profile = JOIN.join(laid.get(quantity, ()))
        nothing = (
            f"as found: {by_profile}" if by_profile and not own[0] else "as found" if own[0] else "not in the file"
        )
        options = {"": nothing, **{name: name for name in header if name}}
        made.append(choice({"type": "planner-column", "quantity": quantity}, _WORDS[quantity], options, own[0],
                           fault=missing.get(quantity, "")))  # fmt: skip
        if quantity in _SECOND:
            options = {"": "in the same column", **{name: name for name in header if name}}
            second = {"type": "planner-column", "quantity": f"{quantity}-second"}
            made.append(choice(second, _SECOND[quantity], options, own[1] if len(own) > 1 else ""))
    return made


def _laid_out(found: Sessions) -> dict[str, tuple[str, ...]]:
    frame = found.table
    held = Table(found.name, [str(name) for name in frame.columns], frame.to_numpy().tolist(), list(frame.index))
    try:
        return lay_out(held, found.reading.profile, found.reading.columns).columns
    except InputError:
        return {}


def _table_card(found: Sessions) -> Component:
    columns = [{"field": "row", "headerName": "row", "editable": False, "minWidth": 80, "flex": 0, "width": 80}]
    columns += [{"field": f"c{number}", "headerName": str(name) or f"column {number + 1}"}
                for number, name in enumerate(found.table.columns)]  # fmt: skip
    few = len(found.table) <= 12
    grid = dash_ag_grid.AgGrid(
        id="planner-grid", rowData=grid_rows(found), columnDefs=columns, getRowId="params.data.row.toString()", className=GRID,
        defaultColDef={
            "editable": True, "resizable": True, "sortable": True, "minWidth": 130, "flex": 1, "autoHeight": True, "wrapText": True,
            "cellRenderer": "PlannerCell", "cellDataType": "text",
            "equals": {"function": "false"},  # or a cell whose fault is gone is not drawn anew
            "cellClassRules": {"planner-bad": "params.data.faults[params.colDef.field] != null"},
        },
        dashGridOptions={
            "rowSelection": {"mode": "multiRow", "enableClickSelection": False}, "stopEditingWhenCellsLoseFocus": True,
            "domLayout": "autoHeight" if few else "normal", "suppressColumnVirtualisation": len(columns) <= 30, "animateRows": False,
        },
        style={} if few else {"height": "460px"},
    )  # fmt: skip
    shown = min(len(found.table), MOST_SHOWN)
    more = f" {shown} of {len(found.table)} rows are shown, those at fault first." if shown < len(found.table) else ""
    hint = (
        "Arrow keys move, Enter edits a cell and keeps what was typed, Escape does not. Each edit is checked at once."
    )
    return card("3 · The table", [
        html.P(f"{hint}{more}", className="shell-hint"), grid,
        html.Div([html.Button("Add a row", id="planner-add-row", type="button"),
                  html.Button("Remove the marked rows", id="planner-remove-rows", type="button")], className="shell-row"),
        html.Div(findings(found), id="planner-findings"),
    ], "planner-table")  # fmt: skip


def grid_rows(found: Sessions) -> list[dict[str, Any]]:
    """Rows of the table for the browser, each with what is wrong in it by column."""
    header = {str(name): f"c{number}" for number, name in reversed(list(enumerate(found.table.columns)))}
    faults: dict[int, dict[str, str]] = {}
    for one in found.findings.itertuples(index=False):
        cells = [header[part] for part in str(one.column).split(JOIN) if part in header] or ["row"]
        for cell in cells:
            faults.setdefault(int(one.row), {}).setdefault(cell, f"{one.problem}; {one.action} → {one.remedy}")
    rows = [
        {"row": line, **{f"c{number}": cell for number, cell in enumerate(cells)}, "faults": faults.get(line, {})}
        for line, cells in zip(found.table.index.tolist(), found.table.to_numpy().tolist(), strict=True)
    ]
    if len(rows) > MOST_SHOWN:
        rows.sort(key=lambda row: not row["faults"])
    return rows[:MOST_SHOWN]


def _frame(found: Sessions, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Table of the sessions with the rows that the browser holds."""
    frame = found.table.copy()
    for row in rows:
        cells = [
            "" if row.get(f"c{number}") is None else str(row[f"c{number}"]) for number in range(len(frame.columns))
        ]
        frame.loc[row["row"]] = cells
    return frame


def findings(found: Sessions) -> list[Component]:
    """What was found, below the table: counts, assumptions, and the faults of rows."""
    marked = found.findings
    doubts = [text for text in found.warnings if ", row " not in text]
    told = [html.P(_told(found), id="planner-counts")]
    if doubts:
        told.append(html.Div(html.Ul([html.Li(plain(text)) for text in doubts]), className="shell-doubt"))
    if len(marked):
        name = f"Findings: {len(marked)}, in rows: {marked['row'].nunique()}"
        told.append(html.Details([html.Summary(name), table(marked, name)], open=len(marked) <= 20))
    return [*told, *problem_list(listed(_missing(found)[1]))]
