"""What is wrong with single rows of a session file, and what became of them: changed, or left out; the others go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cosim.contract import Float
from cosim.contract.signals import Bool
from cosim.controllers.planner.requests import row_faults
from cosim.errors import Fault
from cosim.experiments.plan.table import Table

LEFT_OUT = "left out"


@dataclass(frozen=True, eq=False)
class Finding:
    """One kind of fault in one column.

    Attributes
    ----------
    bad : ndarray of bool, shape (row,)
        Which rows have it.
    cells : sequence, length (row,)
        What stands there; ``problem`` and ``action`` are formatted with it.
    column, problem, remedy : str
        Of the fault.
    action : str
        What became of the row.
    """

    bad: Bool
    cells: Sequence[Any] | Float
    column: str
    problem: str
    remedy: str
    action: str = LEFT_OUT


class Rows:
    """Rows of a table with all that was found; those at fault are out, or changed.

    Parameters
    ----------
    table : Table
        As it was read.
    of_interest : ndarray of bool, shape (row,)
        Rows that are asked for: of others nothing is told.
    """

    def __init__(self, table: Table, of_interest: Bool) -> None:
        self.table = table
        self.kept = of_interest.copy()
        self.changed = np.zeros(len(of_interest), bool)
        self.findings: list[Finding] = []
        self.notes: list[str] = []
        self.of_interest = of_interest
        self._told: dict[str, NDArray[np.bool_]] = {}

    def note(self, finding: Finding) -> Bool:
        """Take down a finding, once for each row and column, and leave its rows out if that is the action.

        Returns
        -------
        ndarray of bool, shape (row,)
            Rows of the table that are to be changed: at fault, asked for, and not left out.
        """
        told = self._told.setdefault(finding.column, np.zeros(len(self.kept), bool))
        bad = finding.bad & self.of_interest
        new = bad & ~told
        if new.any():
            told |= new
            self.findings.append(
                Finding(new, finding.cells, finding.column, finding.problem, finding.remedy, finding.action)
            )
        if finding.action == LEFT_OUT:
            self.kept &= ~bad
        else:
            self.changed |= bad
        return bad & self.kept

    def numbers(self, column: str, *, otherwise: str = LEFT_OUT) -> Float:
        """Cells of a column as numbers, nan where there is none; such rows are left out, or read as is said.

        Decimal commas are understood where the column shows that they are such: one cell, at least, has other than
        three digits after its comma.
        """
        cells = self.table.column(column)
        plain = [cell if isinstance(cell, float | int) and not isinstance(cell, bool) else str(cell) for cell in cells]
        values = pd.to_numeric(pd.Series(plain, dtype=object), errors="coerce").to_numpy(np.float64, na_value=np.nan)
        text = pd.Series(np.where(np.isnan(values), np.array(list(map(str, plain)), object), ""), dtype=str)
        comma = text.str.fullmatch(r"[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+),\d+")
        if (comma & ~text.str.fullmatch(r"[^,]*,\d{3}")).any():
            points = text.str.replace(".", "").str.replace(",", ".")
            values = np.where(comma, pd.to_numeric(points.where(comma), errors="coerce"), values)
        empty = np.array([cell is None or str(cell).strip() in ("", "nan", "NaN", "None") for cell in cells])
        remedy = "write a number with a decimal point, without a unit or a separator of thousands"
        is_workbook = self.table.where.lower().endswith((".xlsx", ".xlsm"))
        saved = " (a formula whose result was never saved is empty: open and save the workbook)" if is_workbook else ""
        self.note(Finding(empty, cells, column, "is empty", f"{remedy}{saved}", otherwise))
        odd = ~np.isfinite(values) & ~empty
        self.note(Finding(odd, cells, column, "is not a number: {!r}", remedy))
        return np.where(np.isfinite(values), values, np.nan)

    def faults(self, *, with_action: bool = True) -> list[Fault]:
        """All findings, up to twenty rows of each, with what became of the row unless that is not wanted."""
        found = []
        for one in self.findings:
            problem = f"{one.problem}; {one.action}" if with_action else one.problem
            found += row_faults(one.bad, one.cells, self.table.place, one.column, problem, one.remedy)
        return found

    def report(self) -> pd.DataFrame:
        """Every finding of every row: ``row, column, problem, action, remedy``, in the order of the file."""
        told = [
            (self.table.line[row], one.column, one.problem.format(one.cells[row]),
             one.action.format(one.cells[row]), one.remedy)
            for one in self.findings
            for row in np.flatnonzero(one.bad).tolist()
        ]  # fmt: skip
        table = pd.DataFrame(told, columns=["row", "column", "problem", "action", "remedy"])
        return table.sort_values("row", kind="stable", ignore_index=True)
