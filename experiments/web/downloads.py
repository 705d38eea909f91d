"""Tables as files of the usual kinds, and figures when somebody asks for them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from io import BytesIO
from itertools import count
from threading import Lock
from typing import Any, Literal, get_args

import pandas as pd
from fastapi.responses import Response
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

from cosim.errors import Fault, InputError
from cosim.experiments.figures import style
from cosim.experiments.plan.draw import draw_heatmap, draw_stack
from cosim.experiments.tables import without_formulas
from cosim.experiments.web.stored import Kept

Form = Literal["csv", "parquet", "json", "xlsx"]
FORMS: tuple[str, ...] = get_args(Form)
Figure = Literal["heatmap", "stack"]
MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "json": "application/json",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "md": "text/markdown; charset=utf-8",
    "png": "image/png",
    "": "application/octet-stream",
}
"""By the end of a file's name."""
SHEET_ROWS = 1_048_576
_drawing = Lock()
"""Of matplotlib, whose style is one for the process."""


def documented(*forms: str) -> dict[int | str, dict[str, Any]]:
    """What the interface's document says of an answer that is a file of one of these kinds."""
    binary = {"type": "string", "format": "binary"}
    kinds = {MEDIA_TYPES[form].partition(";")[0]: {"schema": {} if form == "json" else binary} for form in forms}
    return {200: {"description": "The file.", "content": kinds}}


def as_file(table: pd.DataFrame, form: Form) -> bytes:
    """Return a table as the content of a file.

    Text that a spreadsheet would take for a formula is told apart in CSV and XLSX, see `tables`; times in XLSX, which
    has no zones, are the station's clock. Columns of one name get a number.

    Raises
    ------
    InputError
        Where a sheet cannot hold so many rows.
    """
    content = BytesIO()
    table = table.set_axis(_apart(table.columns), axis=1)
    if form == "json":
        return str(table.to_json(orient="records", date_format="iso", double_precision=12)).encode()
    if form == "parquet":
        table.to_parquet(content, index=False)
    elif form == "csv":
        without_formulas(table).to_csv(content, index=False, lineterminator="\n")
    elif len(table) >= SHEET_ROWS:
        raise InputError(Fault("table", "", f"has {len(table)} rows, more than a sheet holds", "take csv or parquet"))
    else:
        clock = {name: table[name].dt.tz_localize(None) for name in table.select_dtypes("datetimetz").columns}
        safe = without_formulas(table.assign(**clock))
        texts = safe.select_dtypes("object").replace(ILLEGAL_CHARACTERS_RE, "", regex=True)
        safe.assign(**texts).rename(columns=lambda name: ILLEGAL_CHARACTERS_RE.sub("", name)).to_excel(
            content, index=False, sheet_name="cosim"
        )
    return content.getvalue()


def _apart(names: Iterable[object]) -> list[str]:
    """Names, all different."""
    found: dict[str, None] = {}
    for name in map(str, names):
        again = next(f"{name} ({k})" for k in count(2) if f"{name} ({k})" not in found) if name in found else name
        found[again] = None
    return list(found)


def attachment(table: pd.DataFrame, name: str, form: Form) -> Response:
    """Answer with a table to be saved under a name of ours."""
    headers = {"Content-Disposition": f'attachment; filename="{name}.{form}"'}
    return Response(as_file(table, form), media_type=MEDIA_TYPES[form], headers=headers)


def json_attachment(document: object, name: str) -> Response:
    """Answer with a document to be saved."""
    headers = {"Content-Disposition": f'attachment; filename="{name}.json"'}
    text = json.dumps(document, indent=2, allow_nan=False)
    return Response(text, media_type="application/json", headers=headers)


def figure_png(kept: Kept, figure: Figure) -> bytes:
    """Draw a plan with its past."""
    draw = {"heatmap": draw_heatmap, "stack": draw_stack}[figure]
    with _drawing, style.house_style():
        return style.png(draw(kept.standing, kept.demand.start).figure)
