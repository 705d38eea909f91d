"""Tables that a script draws: a component for every cell would be looked at whenever anything on the page changes."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pandas as pd
from dash import html
from dash.development.base_component import Component

MOST_ROWS = 2_000
"""Of a table that is shown; the file for download has all."""


def table(frame: pd.DataFrame, name: str, *, digits: int = 2, heads: int = 0) -> Component:
    """Draw a table in a frame that scrolls and that a keyboard reaches; numbers to the right.

    Parameters
    ----------
    frame : DataFrame
        As shown, without its index.
    name : str
        For screen readers.
    digits : int
        After the decimal point.
    heads : int
        Of the first so many columns each cell heads its row.
    """
    columns = [
        {"name": str(column).strip(), "number": bool(pd.api.types.is_numeric_dtype(frame[column]))} for column in frame
    ]
    rows = [[shown(value, digits) for value in row] for row in frame.head(MOST_ROWS).itertuples(index=False)]
    more = [html.P(f"The first {MOST_ROWS} of {len(frame)} rows.")] if len(frame) > MOST_ROWS else []
    return html.Div([drawn(columns, rows, name, heads), *more])


def drawn(columns: Sequence[dict[str, object]], rows: Sequence[Sequence[str]], name: str, heads: int) -> Component:
    """The same of texts; a column has a ``name``, and ``number`` says whether it is one of numbers."""
    told = json.dumps({"columns": columns, "rows": rows, "heads": heads})
    named = {"aria-label": name, "data-table": told}
    return html.Div(className="shell-scroll", role="region", tabIndex=0, **named)  # type: ignore[arg-type]


def shown(value: object, digits: int = 2) -> str:
    """A value as a cell shows it; nothing where there is none."""
    if value is None or value is pd.NaT or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)
