"""CSV files that no spreadsheet takes for programs, and that still say what was written."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cosim.experiments.tables import as_written, write_csv

TEXTS = ["=1+1", "+44", "-x", "@a", "\tb", "'=c", "''-d", "'s-Gravenhage", "plain", "", "a=b", 'ä;,"\n']


def test_no_text_begins_like_a_formula_and_every_text_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_csv(pd.DataFrame({"=name": TEXTS, "kw": -1.5}, index=TEXTS), path, index=True)
    read = pd.read_csv(path, dtype=str, keep_default_na=False)
    cells = [*read.columns, *read.iloc[:, 0], *read.iloc[:, 1]]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert [as_written(cell) for cell in read.iloc[:, 0]] == [as_written(cell) for cell in read.iloc[:, 1]] == TEXTS
    assert as_written(read.columns[1]) == "=name"
    assert set(read["kw"]) == {"-1.5"}  # a number is none


def test_numbers_among_texts_stay_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_csv(pd.DataFrame({"mixed": [-1, "-1", None, 2.5, True]}), path)
    assert path.read_text().split() == ["mixed", "-1", "'-1", '""', "2.5", "True"]


@pytest.mark.parametrize("kind", ["category", "string", object])
def test_whatever_the_type_of_text(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.csv"
    write_csv(pd.DataFrame({"a": pd.Series(["=b", "c"], dtype=kind)}), path)
    assert path.read_text() == "a\n'=b\nc\n"
