"""Files that are small and become large, and others that a network may bring: refused in words, and before they do."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosim.errors import InputError
from cosim.experiments.plan.table import Limits, read_table

FRAME = pd.DataFrame({"arrival": ["08:00"] * 12, "departure": ["16:00"] * 12, "energy_kwh": [5.0] * 12})
NARROW = Limits(rows=10, cells=1_000, unpacked_bytes=100_000)


def written(folder: Path, kind: str, frame: pd.DataFrame = FRAME) -> Path:
    path = folder / f"cars.{kind}"
    if kind == "json":
        frame.to_json(path, orient="records")
    else:
        getattr(frame, {"csv": "to_csv", "xlsx": "to_excel", "parquet": "to_parquet"}[kind])(path, index=False)
    return path


def refused(path: Path, limits: Limits = NARROW) -> str:
    with pytest.raises(InputError) as caught:
        read_table(path, limits)
    assert caught.value.faults[0].remedy
    return str(caught.value)


@pytest.mark.parametrize("kind", ["csv", "xlsx", "json", "parquet"])
def test_rows_are_counted_in_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    assert "rows" in refused(written(tmp_path, kind))
    assert len(read_table(written(tmp_path, kind, FRAME[:10]), NARROW)) == 10


def test_a_workbook_that_unpacks_to_much_is_not_unpacked(tmp_path: Path) -> None:
    path = written(tmp_path, "xlsx", FRAME[:3])
    with ZipFile(path, "a", ZIP_DEFLATED) as parts:
        parts.writestr("xl/more.xml", b" " * 200_000)
    assert path.stat().st_size < 20_000
    assert "unpacks to more than" in refused(path)


def test_a_dictionary_of_one_long_word_is_not_spelled_out(tmp_path: Path) -> None:
    """50 kB on disk, 100 GB as text: what the metadata say of its size knows nothing of the rows."""
    rows = pa.array(np.zeros(100_000, np.int32))
    words = pa.DictionaryArray.from_arrays(rows, pa.array(["x" * 1_000_000]))
    path = tmp_path / "cars.parquet"
    pq.write_table(pa.table({"arrival": words}), path)
    assert path.stat().st_size < 100_000
    assert "unpacks to more than" in refused(path, Limits())


def test_lists_inside_a_parquet_file_are_left_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "cars.parquet"
    pq.write_table(pa.table({"arrival": ["08:00"], "cells": [[1, 2]], "car": [{"name": "x"}]}), path)
    assert read_table(path).header == ["arrival"]


def test_halves_of_characters_become_question_marks(tmp_path: Path) -> None:
    path = tmp_path / "cars.json"
    path.write_text('[{"arrival": "\\ud800", "\\udfff": "ü", "in": {"\\ud83d": 1}}]')
    found = read_table(path)
    assert (found.header, found.rows) == (["arrival", "?", "in.?"], [["?", "ü", 1]])


@pytest.mark.parametrize("depth", [200, 950, 100_000])
def test_a_deep_document_is_read_or_refused(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "cars.json"
    path.write_text("[" + '{"a":' * depth + "1" + "}" * depth + "]")
    try:
        assert len(read_table(path).header) == 1
    except InputError as error:
        assert "is no JSON" in str(error)  # noqa: PT017 - either is right


def test_a_broken_parquet_file_is_refused_whatever_is_broken(tmp_path: Path) -> None:
    content = BytesIO()
    FRAME.to_parquet(content)
    rng, path, right = np.random.default_rng(1), tmp_path / "cars.parquet", 0
    for _ in range(100):
        broken = np.frombuffer(content.getvalue(), np.uint8).copy()
        broken[rng.integers(0, len(broken), 3)] ^= rng.integers(1, 256, 3, dtype=np.uint8)
        path.write_bytes(broken.tobytes())
        try:
            right += len(read_table(path)) == len(FRAME)
        except InputError:
            continue
    assert right < 100
