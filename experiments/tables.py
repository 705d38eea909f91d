"""Tables on disk and in Markdown, in one way for runs and studies.

A text that a spreadsheet would take for a formula (it begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage
return) gets an apostrophe before it in every CSV file, header and index too; one that has apostrophes there already
gets one more, so that taking away one (`as_written`) gives the text back. Numbers, JSON and Parquet stay as they are.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from cosim.folder import write_whole

DIGITS = 6
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def write_csv(table: pd.DataFrame, path: Path, *, index: bool = False) -> None:
    """Write a CSV without formulas, whole or not at all."""
    safe = without_formulas(table)
    write_whole(path, lambda temporary: safe.to_csv(temporary, index=index, lineterminator="\n"))


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Put an apostrophe before every text that a spreadsheet would take for a formula."""

    def safe(cell: object) -> object:
        return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell

    texts, table = table.select_dtypes(exclude=["number", "bool", "datetime"]), table.copy()
    table[texts.columns] = texts.astype(object).map(safe)
    return table.rename(index=safe, columns=safe).rename_axis(index=safe, columns=safe)


def as_written(cell: str) -> str:
    """Text of a cell that `write_csv` wrote."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a CSV of rounded numbers, whole or not at all."""
    write_csv(table.round(dict.fromkeys(table.select_dtypes("number").columns, DIGITS)), path)


def markdown(table: pd.DataFrame, digits: int = 4) -> str:
    """Return a table as Markdown, numbers to four digits or as many as are asked for."""
    if table.empty:
        return "(none)\n"

    def cell(value: object) -> str:
        return f"{value:.{digits}g}" if isinstance(value, float) else str(value)

    head = "| " + " | ".join(map(str, table.columns)) + " |"
    rule = "|" + "---|" * len(table.columns)
    rows = ["| " + " | ".join(cell(value) for value in row) + " |" for row in table.itertuples(index=False)]
    return "\n".join([head, rule, *rows]) + "\n"
