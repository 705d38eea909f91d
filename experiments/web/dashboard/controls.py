"""Fields of forms, each with a label, a hint and a place for what is wrong with it; and tables that a keyboard reaches.

Selects are native ones: their choice is the ``data`` of a store that has the field's id.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd
from dash import dcc, html
from dash.development.base_component import Component

Id = str | dict[str, str]
MOST_ROWS = 2_000
"""Of a table that is shown; the file for download has all."""


def field(name: Id, label: str, control: Component, hint: str = "", *, wide: bool = False) -> Component:
    """Label, control, hint and fault of one field; the control's id is the field's, or ends in ``-choice``.

    The fault is the element ``NAME-fault``; the script of the shell ties both texts to the control for screen readers.
    """
    key = name if isinstance(name, str) else "-".join(name.values())
    below = [html.P(hint, className="shell-hint", id=f"{key}-hint")] if hint else []
    return html.Div(
        [
            html.Label(label, htmlFor=control.id if isinstance(control.id, str) else None),
            control,
            *below,
            html.P(id=f"{key}-fault", className="shell-fault"),
        ],
        className="shell-field wide" if wide else "shell-field",
    )


def text(
    name: str, label: str, value: object = None, hint: str = "", *, kind: Literal["text", "decimal"] = "text",
    placeholder: str = "", offered: Sequence[str] = (), wide: bool = False,
) -> Component:  # fmt: skip
    """One line of text, with suggestions where some are offered; numbers are read, and refused, by the server."""
    shown = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    listed = {"list": f"{name}-offered"} if offered else {}
    control = dcc.Input(
        id=name, type="text", value=shown, inputMode=kind, placeholder=placeholder, **listed  # type: ignore[arg-type]
    )  # fmt: skip
    made = field(name, label, control, hint, wide=wide)
    if offered:
        made.children.append(html.Datalist([html.Option(value=one) for one in offered], id=f"{name}-offered"))  # type: ignore[union-attr]
    return made


def lines(name: str, label: str, value: str = "", hint: str = "", *, rows: int = 2) -> Component:
    """Several lines of text."""
    return field(name, label, dcc.Textarea(id=name, value=value, rows=rows), hint)


def choice(
    name: Id, label: str, options: Mapping[str, str], value: str | None = None, hint: str = "", *, wide: bool = False
) -> Component:
    """A native select; ``Input(name, "data")`` is the key of the option that is chosen."""
    chosen = value if value in options else next(iter(options), None)
    key = name if isinstance(name, str) else "-".join(name.values())
    select = html.Select(
        [html.Option(shown, value=key_, selected=key_ == chosen) for key_, shown in options.items()],  # type: ignore[arg-type]
        id=f"{key}-choice",
        **{"data-store": name if isinstance(name, str) else json.dumps(name, sort_keys=True)},  # type: ignore[arg-type]
    )
    made = field(key, label, select, hint, wide=wide)
    made.children.append(dcc.Store(id=name, data=chosen))  # type: ignore[union-attr]
    return made


def upload(name: str, words: str, accept: str) -> Component:
    """A place to drop a file on, and a button that a keyboard reaches."""
    there = dcc.Upload(html.Span(words), id=name, accept=accept, className="shell-upload", style_active={})
    return html.Div([there, html.P(id=f"{name}-fault", className="shell-fault")], **{"data-name": words})  # type: ignore[arg-type]


def table(frame: pd.DataFrame, name: str, *, digits: int = 2) -> Component:
    """A table in a frame that scrolls and that a keyboard reaches; numbers to the right."""
    numeric = [pd.api.types.is_numeric_dtype(frame[column]) for column in frame]
    head = [html.Th(str(column), scope="col", className="number" if is_number else "")
            for column, is_number in zip(frame, numeric, strict=True)]  # fmt: skip
    body = [
        html.Tr([html.Td(shown(value, digits), className="number" if is_number else "")
                 for value, is_number in zip(row, numeric, strict=True)])
        for row in frame.head(MOST_ROWS).itertuples(index=False)
    ]  # fmt: skip
    more = [html.P(f"The first {MOST_ROWS} of {len(frame)} rows.")] if len(frame) > MOST_ROWS else []
    held = html.Div(
        html.Table([html.Thead(html.Tr(head)), html.Tbody(body)]), className="shell-scroll", role="region", tabIndex=0,
        **{"aria-label": name},
    )  # type: ignore[arg-type]  # fmt: skip
    return html.Div([held, *more])


def shown(value: Any, digits: int = 2) -> str:
    """A value as a cell shows it; nothing where there is none."""
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def picture(title: str, figure: Mapping[str, Any], summary: str, data: pd.DataFrame, name: str) -> Component:
    """A figure with its title, what is to be seen in words, and the numbers behind it as a table."""
    graph = dcc.Graph(figure=figure, id=name, config={"displayModeBar": False, "responsive": True}, responsive=True)
    return html.Figure(
        [
            html.Figcaption(title),
            html.P(summary, id=f"{name}-summary", className="shell-hint"),
            html.Div(graph, role="img", **{"aria-label": f"{title}. {summary}"}),  # type: ignore[arg-type]
            html.Details([html.Summary("The numbers of this figure"), table(data, f"Numbers: {title}")]),
        ]
    )
