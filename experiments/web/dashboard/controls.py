"""Parts of pages; fields of forms, with label, hint and a place for what is wrong; tables that a keyboard reaches.

Selects are native ones: their choice is the ``data`` of a store that has the field's id.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import dash_ag_grid
import pandas as pd
from dash import dcc, html
from dash.development.base_component import Component

Id = str | dict[str, str]
FEW = 12
MOST_COLUMNS = 30
MOST_ROWS, MOST_SHOWN = 2_000, 200
"""Rows and columns of a table that is shown; the file for download has all."""


def card(title: str, content: Component | Sequence[Component], name: str) -> Component:
    """A part of the page with its heading."""
    children = [content] if isinstance(content, Component) else list(content)
    heading = html.H2(title, id=f"{name}-heading")
    named: dict[str, Any] = {"aria-labelledby": f"{name}-heading"}
    return html.Section([heading, *children], className="shell-card", id=name, **named)


def field(key: str, label: str, control: Component, hint: str = "", *, fault: str = "", labels: str = "") -> html.Div:
    """Label, control, hint and fault of one field; ``labels`` is the control's id where it is not the field's.

    The fault is the element ``KEY-fault``; the script of the shell ties both texts to the control for screen readers.
    """
    below = [html.P(hint, className="shell-hint", id=f"{key}-hint")] if hint else []
    return html.Div(
        [
            html.Label(label, htmlFor=labels or key),
            control,
            *below,
            html.P(fault, id=f"{key}-fault", className="shell-fault"),
        ],
        className="shell-field",
    )


def text(
    name: str, label: str, value: object = None, hint: str = "", *, kind: Literal["text", "decimal"] = "text",
    placeholder: str = "", offered: Sequence[str] = (),
) -> Component:  # fmt: skip
    """One line of text, with suggestions where some are offered; numbers are read, and refused, by the server."""
    shown = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    listed = {"list": f"{name}-offered"} if offered else {}
    control = dcc.Input(
        id=name, type="text", value=shown, inputMode=kind, placeholder=placeholder, **listed  # type: ignore[arg-type]
    )  # fmt: skip
    made = field(name, label, control, hint)
    if offered:
        made.children.append(html.Datalist([html.Option(value=one) for one in offered], id=f"{name}-offered"))
    return made


def lines(name: str, label: str, value: str = "", hint: str = "", *, rows: int = 2) -> Component:
    """Several lines of text."""
    return field(name, label, dcc.Textarea(id=name, value=value, rows=rows), hint)


def choice(
    name: Id, label: str, options: Mapping[str, str], value: str | None = None, hint: str = "", *, fault: str = ""
) -> Component:
    """A native select; ``Input(name, "data")`` is the key of the option that is chosen."""
    chosen = value if value in options else next(iter(options), None)
    key = name if isinstance(name, str) else "-".join(name.values())
    select = html.Select(
        [html.Option(shown, value=key_, selected=key_ == chosen) for key_, shown in options.items()],
        id=f"{key}-choice",
        **{"data-store": name if isinstance(name, str) else json.dumps(name, sort_keys=True)},  # type: ignore[arg-type]
    )
    made = field(key, label, select, hint, fault=fault, labels=f"{key}-choice")
    made.children.append(dcc.Store(id=name, data=chosen))
    return made


def worker(words: str, name: str, busy: str) -> Component:
    """A button whose work takes a while; until it is done it says so, and takes no other click."""
    told: dict[str, Any] = {"data-busy": busy}
    button = html.Button(words, id=name, type="button", className="primary", **told)
    return html.Div([button, html.Span(id=f"{name}-busy", role="status")], className="shell-row")


def upload(name: str, words: str, accept: str, *, small: bool = False) -> Component:
    """A place to drop a file on, and a button that a keyboard reaches."""
    look = "shell-upload small" if small else "shell-upload"
    there = dcc.Upload(
        html.Span(words), id=name, accept=accept, className=look, className_active="active", style_active={}
    )
    return html.Div([there, html.P(id=f"{name}-fault", className="shell-fault")], **{"data-name": words})  # type: ignore[arg-type]


def table(frame: pd.DataFrame, name: str, *, digits: int = 2, links: Sequence[str] = ()) -> Component:
    """A table in a frame that scrolls and that a keyboard reaches; numbers to the right.

    It is one component, which the shell's script fills: thousands of cells as components would stop the browser.

    Parameters
    ----------
    frame : DataFrame
        Its rows, up to `MOST_ROWS` of them, and up to `MOST_SHOWN` columns.
    name : str
        What a screen reader calls it.
    digits : int
        Of fractions.
    links : sequence of str, optional
        Where the first cell of each row leads.
    """
    more = [html.P(f"The first {MOST_ROWS} of {len(frame)} rows.")] if len(frame) > MOST_ROWS else []
    if frame.shape[1] > MOST_SHOWN:
        more.append(html.P(f"The first {MOST_SHOWN} of {frame.shape[1]} columns."))
        frame = frame.iloc[:, :MOST_SHOWN]
    numeric = [pd.api.types.is_numeric_dtype(frame[column]) for column in frame]
    rows = [[shown(value, digits) for value in row] for row in frame.head(MOST_ROWS).itertuples(index=False)]
    held = {"head": [str(column) for column in frame], "numeric": numeric, "rows": rows, "links": list(links)}
    names = {"aria-label": name, "data-table": json.dumps(held)}
    filled = html.Div(className="shell-scroll", role="region", tabIndex=0, **names)  # type: ignore[arg-type]
    return html.Div([filled, *more])


def grid(
    name: str, rows: list[dict[str, Any]], columns: list[dict[str, Any]], row_id: str, *, height_px: int,
    column: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None, edited: str = "",
) -> Component:  # fmt: skip
    """A table of texts that can be edited; of few rows it is as high as they are.

    Parameters
    ----------
    name : str
        Its id.
    rows, columns : list of dict
        As AG Grid takes them.
    row_id : str
        Expression for a row's id.
    height_px : int
        Of more than `FEW` rows [px].
    column, options : dict, optional
        For all columns, and for the grid.
    edited : str, optional
        Name of a function of the page's scripts that is called after each edit.
    """
    few = len(rows) <= FEW
    every = {"editable": True, "resizable": True, "sortable": True, "minWidth": 130, "flex": 1, "cellDataType": "text"}
    look = {
        "domLayout": "autoHeight" if few else "normal",
        "stopEditingWhenCellsLoseFocus": True,
        "animateRows": False,
        "suppressColumnVirtualisation": len(columns) <= MOST_COLUMNS,
    }  # all of them for screen readers
    made: Component = dash_ag_grid.AgGrid(
        id=name, rowData=rows, columnDefs=columns, getRowId=row_id, className="ag-theme-quartz shell-grid",
        defaultColDef={**every, **(column or {})}, dashGridOptions={**look, **(options or {})},
        eventListeners={"cellValueChanged": [f"{edited}(params)"]} if edited else {},
        style={} if few else {"height": f"{height_px}px"},
    )  # fmt: skip
    return made


def shown(value: Any, digits: int = 2) -> str:
    """A value as a cell shows it; nothing where there is none."""
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def picture(title: str, figure: Mapping[str, Any], summary: str, data: pd.DataFrame, name: str) -> Component:
    """A figure with its title, what is to be seen in words, and the numbers behind it as a table."""
    height = {"height": f"{figure['layout']['height']}px"}
    graph = dcc.Graph(figure=figure, id=name, config={"displayModeBar": False}, responsive=True, style=height)
    return html.Figure(
        [
            html.Figcaption(title),
            html.P(summary, id=f"{name}-summary", className="shell-hint"),
            html.Div(graph, role="img", **{"aria-label": f"{title}. {summary}"}),  # type: ignore[arg-type]
            html.Details([html.Summary("The numbers of this figure"), table(data, f"Numbers: {title}")]),
        ]
    )
