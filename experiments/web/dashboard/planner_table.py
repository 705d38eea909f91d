"""First and third step of the planner: sessions from a file or drawn, and their table with its faults.

A table is never changed on the server: an edit, or another reading, makes other sessions, whose id is in the address.
"""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import pandas as pd
from dash import Dash, Input, Output, State, ctx, html, no_update
from dash.development.base_component import Component

from cosim.errors import Fault
from cosim.experiments.plan.columns import JOIN
from cosim.experiments.web.catalogue import NotFoundError
from cosim.experiments.web.dashboard.controls import card, grid, table, text, upload
from cosim.experiments.web.dashboard.planner_reading import missing_columns, reading_card
from cosim.experiments.web.dashboard.planner_words import (
    REFUSED,
    address,
    asked,
    faults_of,
    listed,
    plain,
    problem_list,
    tell_faults,
    whole,
)
from cosim.experiments.web.problems import fault_answer
from cosim.experiments.web.schemas import DemandRequest

if TYPE_CHECKING:
    from cosim.experiments.web.planning import Planning
    from cosim.experiments.web.records import Sessions

MOST_SHOWN = 5_000
"""Rows of the table in the browser; those at fault come first where there are more."""


def sources(accept: str) -> Component:
    """Where sessions come from."""
    words = "Choose a file of sessions, or drop it here: CSV, XLSX, JSON or Parquet"
    file = html.Div([html.H3("From a file"), upload("planner-upload", words, accept)])
    drawn = html.Div([
        html.H3("Drawn at random"),
        html.Div([text(f"planner-{name}", name.title().replace("Count", "Vehicles"), value, kind="decimal")
                  for name, value in (("count", 40), ("seed", 1))], className="shell-form"),
        html.Div(_button("Draw sessions", "planner-generate"), className="shell-row"),
    ])  # fmt: skip
    both = html.Div([file, drawn], className="planner-two")
    return card("1 · Sessions", [both, html.Div(id="planner-source-problems", role="alert")], "planner-source")


def register(app: Dash, planning: Planning) -> None:
    """Add the callbacks of these steps."""
    here = Output("planner-url", "search", allow_duplicate=True)
    live = Output("shell-live", "children", allow_duplicate=True)
    alert = "planner-source-problems"

    @app.callback(
        here, Output("planner-upload", "contents"), Input("planner-upload", "contents"),
        State("planner-upload", "filename"), prevent_initial_call=True,
    )  # fmt: skip
    async def uploaded(contents: str | None, name: str) -> Any:
        if not contents:
            return no_update, no_update
        try:
            content = base64.b64decode(contents.partition(",")[2])
            found = await asyncio.to_thread(planning.upload, name, content)
        except REFUSED as error:
            tell_faults(faults_of(error), (), alert)
            return no_update, None
        tell_faults((), ("count", "seed"), alert)
        return address(sessions=found.id), None  # so that the same file can be given again

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
        parts = [reading_card(found), _table_card(found)]
        return found.id, parts, bool(found.faults), _told(found)

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


def _table_card(found: Sessions) -> Component:
    columns = [{"field": "row", "headerName": "row", "editable": False, "minWidth": 80, "flex": 0, "width": 80}]
    columns += [{"field": f"c{number}", "headerName": str(name) or f"column {number + 1}"}
                for number, name in enumerate(found.table.columns)]  # fmt: skip
    sheet = grid(
        "planner-grid", grid_rows(found), columns, "params.data.row.toString()", height_px=460,
        column={
            "autoHeight": True, "wrapText": True, "cellRenderer": "PlannerCell",
            "cellClassRules": {"planner-bad": "params.data.faults[params.colDef.field] != null"},
            "equals": {"function": "false"},  # or a cell whose fault is gone is not drawn anew
        },
        options={"rowSelection": {"mode": "multiRow", "enableClickSelection": False}}, edited="plannerEdited",
    )  # fmt: skip
    shown = min(len(found.table), MOST_SHOWN)
    more = f" {shown} of {len(found.table)} rows are shown, those at fault first." if shown < len(found.table) else ""
    hint = (
        "Arrow keys move, Enter edits a cell and keeps what was typed, Escape does not. Each edit is checked at once."
    )
    return card("3 · The table", [
        html.P(f"{hint}{more}", className="shell-hint"), sheet,
        html.Div([_button("Add a row", "planner-add-row"), _button("Remove the marked rows", "planner-remove-rows")],
                 className="shell-row"),
        html.Div(findings(found), id="planner-findings"),
    ], "planner-table")  # fmt: skip


def grid_rows(found: Sessions) -> list[dict[str, Any]]:
    """Rows of the table for the browser, each with what is wrong in it by column."""
    header = {str(name): f"c{number}" for number, name in reversed(list(enumerate(found.table.columns)))}
    marked = [(int(str(one.row)), str(one.column), f"{one.problem}; {one.action} → {one.remedy}")
              for one in found.findings.itertuples(index=False)]  # fmt: skip
    marked += [(told.row, told.key, plain(f"{told.problem} → {told.remedy}"))
               for told in map(fault_answer, found.faults) if told.row is not None]  # fmt: skip
    faults: dict[int, dict[str, str]] = {}
    for line, column, words in marked:
        for cell in [header[part] for part in column.split(JOIN) if part in header] or ["row"]:
            faults.setdefault(line, {}).setdefault(cell, words)
    rows = [
        {"row": line, **{f"c{number}": cell for number, cell in enumerate(cells)}, "faults": faults.get(line, {})}
        for line, cells in zip(found.table.index.tolist(), found.table.to_numpy().tolist(), strict=True)
    ]
    if len(rows) > MOST_SHOWN:
        rows.sort(key=lambda row: not row["faults"])
    return rows[:MOST_SHOWN]


def _frame(found: Sessions, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Table of the sessions with the rows that the browser holds."""
    cells, at = found.table.to_numpy(copy=True), {line: number for number, line in enumerate(found.table.index)}
    for row in rows:
        held = (row.get(f"c{number}") for number in range(cells.shape[1]))
        cells[at[row["row"]]] = ["" if cell is None else str(cell) for cell in held]
    return pd.DataFrame(cells, index=found.table.index, columns=found.table.columns)


def _cells(found: Sessions) -> list[str]:
    """Where each finding is in the table, as the page's script takes one there."""
    header = {str(name): f"c{number}" for number, name in reversed(list(enumerate(found.table.columns)))}
    first = (str(column).split(JOIN)[0] for column in found.findings["column"])
    places = zip(found.findings["row"], first, strict=True)
    return [f"#planner-grid/{line}/{header.get(column, 'row')}" for line, column in places]


def findings(found: Sessions) -> list[Component]:
    """What was found, below the table: counts, assumptions, and the faults of rows."""
    marked = found.findings
    doubts = doubts_of(found)
    told: list[Component] = [html.P(_told(found), id="planner-counts")]
    if doubts:
        told.append(html.Div(html.Ul([html.Li(plain(text)) for text in doubts]), className="shell-doubt"))
    if len(marked):
        name = f"Findings: {len(marked)}, in rows: {marked['row'].nunique()}"
        told.append(
            html.Details([html.Summary(name), table(marked, name, links=_cells(found))], open=len(marked) <= 20)
        )
    return [*told, *problem_list(listed(missing_columns(found)[1]))]


def doubts_of(found: Sessions) -> list[str]:
    """What was assumed or left out of the table as a whole: warnings that are no finding of a row."""
    of_rows = tuple(
        str(Fault(f"{found.name}, row {one.row}", str(one.column), str(one.problem), "")).removesuffix(" → ")
        for one in found.findings.itertuples(index=False)
    )
    return [text for text in found.warnings if not text.startswith(of_rows)]


def _button(words: str, name: str) -> Component:
    return html.Button(words, id=name, type="button")


def _told(found: Sessions) -> str:
    if not found.counts:
        return f"{found.name} is not understood yet: see what is missing."
    told = "{rows} rows, {planned} usable, {changed} of them changed, {left_out} left out."
    return told.format(**found.counts)
