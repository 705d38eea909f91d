"""Tables on disk and in Markdown, in one way for runs and studies."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from cosim.folder import write_whole

DIGITS = 6


def write_csv(table: pd.DataFrame, path: Path, *, index: bool = False) -> None:
    """Write a CSV, whole or not at all."""
    write_whole(path, lambda temporary: table.to_csv(temporary, index=index, lineterminator="\n"))


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
