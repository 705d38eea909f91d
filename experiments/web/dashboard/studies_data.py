"""What the page of studies shows of a study's folder: rows by factor, a comparison, hosting capacities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from cosim.errors import Fault, InputError
from cosim.experiments.comparison.paired import CONTROLLER, FACTORS, PLACEMENT, Comparison, compare
from cosim.experiments.comparison.write import MEASURES, chosen
from cosim.experiments.study import dataset
from cosim.experiments.web.run_results import settled

ROWS = 25
"""Of a page of the table."""
_BASELINE = "none"


@dataclass(frozen=True, eq=False)
class StudyFolder:
    """The rows of a study that are finished.

    Attributes
    ----------
    rows : pandas.DataFrame
        As in ``results.parquet``.
    factors : dict of str to list of str
        What rows differ in, with its values as they are shown; the controller and the status among them.
    measures : list of str
        Those in which controllers differ, where they can be compared, else the usual ones.
    comparison : Comparison or None
        None where no world was ended by every controller yet.
    why : str
        Why there is no comparison.
    """

    rows: pd.DataFrame
    factors: dict[str, list[str]]
    measures: list[str]
    comparison: Comparison | None
    why: str

    def page(
        self, only: Mapping[str, str], by: str, *, descending: bool, number: int
    ) -> tuple[pd.DataFrame, int]:  # fmt: skip
        """Rows of a page of those that have all the values asked for, and how many there are in all."""
        kept = self.rows
        for factor, value in only.items():
            kept = kept[kept[factor].map(_text) == value]
        if by in kept:
            kept = kept.sort_values(by, ascending=not descending, kind="stable", key=_sortable)
        shown = [*self.factors, *(name for name in self.measures if name in kept)]
        return kept[list(dict.fromkeys(shown))].iloc[number * ROWS : (number + 1) * ROWS], len(kept)


def read_study(folder: Path) -> StudyFolder:
    """Read what is finished of a study; kept until more is.

    Raises
    ------
    InputError
        Where nothing is finished yet.
    """
    return _read(folder, tuple((path.name, path.stat().st_size) for path in settled(lambda: dataset.parts(folder))))


@lru_cache(maxsize=2)
def _read(folder: Path, parts: tuple[tuple[str, int], ...]) -> StudyFolder:  # noqa: ARG001 - which tells what is read
    rows = settled(lambda: dataset.read(folder))
    names = [CONTROLLER, *FACTORS, PLACEMENT, "status"]
    factors = {
        name: list(dict.fromkeys(map(_text, rows[name].sort_values(kind="stable", key=_sortable))))
        for name in names
        if name in rows and (len(set(map(_text, rows[name]))) > 1 or name == CONTROLLER)
    }
    try:
        controllers = list(dict.fromkeys(rows[CONTROLLER]))
        comparison = compare(rows, _BASELINE if _BASELINE in controllers else controllers[0], folder.name)
        return StudyFolder(rows, factors, chosen(comparison), comparison, "")
    except InputError as error:
        return StudyFolder(rows, factors, [name for name in MEASURES if name in rows], None, str(error))


def read_hosting(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Capacities and placements of a hosting study.

    Raises
    ------
    InputError
        Where it has not come so far.
    """
    try:
        table = pd.read_csv(folder / "hosting.csv", keep_default_na=False, na_values=[""])
        return table, pd.read_csv(folder / "placements.csv", keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise InputError(Fault(str(folder / "hosting.csv"), "", f"cannot be read: {error}", "let it end")) from None


def _text(value: object) -> str:
    return "" if value is None or value != value else f"{value:g}" if isinstance(value, float) else str(value)


def _sortable(values: pd.Series) -> pd.Series:
    """Texts beside numbers are sorted as texts."""
    return values if pd.api.types.is_numeric_dtype(values) else values.map(_text)
