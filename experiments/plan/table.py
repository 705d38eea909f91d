"""A user's table as it stands in the file: a header and rows of cells, with the row numbers that an editor shows.

Nothing that a file claims or unpacks to takes more memory or time than a station's table could: the limits are below.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosim.contract.signals import Bool
from cosim.errors import Fault, InputError

MOST_PARTS, MOST_COLUMNS = 2_000, 500

_FORMATS = "give a CSV file in UTF-8 with a header, an .xlsx workbook, JSON or Parquet"
_SEPARATORS = ",;\t"
_ZIP, _OLE, _PARQUET = b"PK\x03\x04", bytes.fromhex("d0cf11e0a1b11ae1"), b"PAR1"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How large a table may be.

    Attributes
    ----------
    file_bytes, unpacked_bytes : int
        Of the file, and of what is in a workbook or Parquet file.
    rows, cells : int
        Of the table, empty ones included.
    """

    file_bytes: int = 200_000_000
    unpacked_bytes: int = 500_000_000
    rows: int = 20_000_000
    cells: int = 20_000_000


@dataclass(frozen=True)
class Table:
    """A table before it is understood.

    Attributes
    ----------
    where : str
        Its file.
    header : list of str
        Names of the columns; empty names are kept.
    rows : list of list
        Cells, as many as the header has: text from CSV, whatever other files hold; None or "" if empty.
    line : list of int
        Row of each in the file, from 1; of JSON and Parquet, which have no header row, the record's number.
    uneven : ndarray of bool, shape (row,), or None
        Rows that are longer or shorter than the header; cells that they lack are None. None: no row is.
    doubts : tuple of Fault
        What of the file is not read.
    """

    where: str
    header: list[str]
    rows: list[list[Any]]
    line: list[int]
    uneven: Bool | None = None
    doubts: tuple[Fault, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def place(self, row: int) -> str:
        """File and row, for a fault."""
        return f"{self.where}, row {self.line[row]}"

    def column(self, name: str) -> list[Any]:
        """Cells of a column."""
        index = self.header.index(name)
        return [row[index] for row in self.rows]


def read_table(path: Path, limits: Limits | None = None) -> Table:
    """Read CSV, the first sheet of a workbook, JSON or Parquet.

    Rows of a single cell above the header are a title; they and further sheets are told as doubts.

    Parameters
    ----------
    path : Path
        The file.
    limits : Limits, optional
        How large it may be.

    Raises
    ------
    InputError
        With what is wrong with the file as such.
    """
    limits = limits or Limits()
    if not os.path.isfile(path):  # false, not an error, where the name is too long for a file
        raise InputError(Fault(str(path), "DEMAND", "no such file", _FORMATS))
    if path.stat().st_size > limits.file_bytes:
        raise InputError(Fault(str(path), "", f"has more than {limits.file_bytes} bytes", "give the table in parts"))
    with path.open("rb") as file:
        begin = file.read(len(_OLE))
    if begin == _OLE:  # old .xls, or an encrypted .xlsx
        remedy = "save it without a password as .xlsx, or as CSV"
        raise InputError(Fault(str(path), "", "is an encrypted or an old Excel file", remedy))
    if path.suffix.lower() == ".parquet" or begin.startswith(_PARQUET):
        return _parquet(path, limits)
    if path.suffix.lower() == ".json":
        return _json(path, limits)
    is_workbook = path.suffix.lower() in (".xlsx", ".xlsm") or begin.startswith(_ZIP)
    numbered, doubts = _workbook(path, limits) if is_workbook else (_csv(path, limits), [])
    filled = [(line, row) for line, row in numbered if _cells(row)]
    if not filled:
        raise InputError([Fault(str(path), "", "is empty", "write a header and one row per session"), *doubts])
    titles = next((count for count, (_, row) in enumerate(filled) if _cells(row) > 1), 0)
    if titles:
        problem = f"has its header in row {filled[titles][0]}; what stands alone above it is not read"
        doubts.append(Fault(str(path), "", problem, "leave titles out"))
    filled = filled[titles:]
    header = ["" if cell is None else str(cell).strip() for cell in filled[0][1]]
    if len(header) > MOST_COLUMNS:
        problem = f"has {len(header)} columns"
        raise InputError(Fault(f"{path}, row {filled[0][0]}", "", problem, "keep those that cosim plan knows"))
    if len(filled) == 1:
        raise InputError([Fault(str(path), "", "has a header but no rows", "write one row per session"), *doubts])
    width, below = len(header), filled[1:]
    rows = [[*row[:width], *[None] * (width - len(row))] for _, row in below]
    uneven = np.array([len(row) < width or _cells(row[width:]) > 0 for _, row in below])
    return Table(str(path), header, rows, [line for line, _ in below], uneven, tuple(doubts))


def _cells(row: Iterable[Any]) -> int:
    """Count cells that are not empty."""
    return sum(cell not in (None, "") for cell in row)


def _refuse_size(path: Path, rows: int, columns: int, limits: Limits) -> None:
    if rows > limits.rows or rows * columns > limits.cells or columns > MOST_COLUMNS:
        problem = f"has {rows} rows of {columns} columns or more"
        remedy = f"keep {limits.rows} rows and {MOST_COLUMNS} columns, {limits.cells} cells in all, such as a day"
        raise InputError(Fault(str(path), "rows", problem, remedy))


def _parquet(path: Path, limits: Limits) -> Table:
    try:
        frame = _unpacked(path, limits).to_pandas()
    except (InputError, MemoryError):
        raise
    except Exception as error:  # whatever broken pages, types or pandas' own notes make the reader raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(Fault(str(path), "", f"cannot be read as Parquet ({reason})", _FORMATS)) from None
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    if not len(frame):
        raise InputError(Fault(str(path), "", "has no rows", "write one row per session"))
    cells = frame.astype(object).where(frame.notna(), None)
    return Table(str(path), [str(name).strip() for name in frame.columns], cells.to_numpy().tolist(), _count(frame))


def _unpacked(path: Path, limits: Limits) -> pa.Table:
    """Columns of a Parquet file that are no lists or records; texts stay dictionaries, whose sizes are known."""
    metadata, schema = pq.read_metadata(path), pq.read_schema(path)
    packed_bytes = sum(metadata.row_group(k).total_byte_size for k in range(metadata.num_row_groups))
    _refuse_size(path, metadata.num_rows, metadata.num_columns, limits)
    flat = [field.name for field in schema if not pa.types.is_nested(field.type)]
    texts = [name for name in flat if pa.types.is_string(schema.field(name).type)]
    table = None if packed_bytes > limits.unpacked_bytes else pq.read_table(path, columns=flat, read_dictionary=texts)
    chunks = [chunk for column in table.columns for chunk in column.chunks] if table is not None else []
    words = [chunk for chunk in chunks if pa.types.is_dictionary(chunk.type)]
    lengths = (pc.sum(pc.take(pc.binary_length(chunk.dictionary), chunk.indices)).as_py() or 0 for chunk in words)
    if table is None or sum(lengths) > limits.unpacked_bytes:
        problem = f"unpacks to more than {limits.unpacked_bytes // 1_000_000} MB"
        raise InputError(Fault(str(path), "", problem, "keep the columns of sessions, or give it in parts"))
    return table


def _json(path: Path, limits: Limits) -> Table:
    """Records of a JSON document: a list of objects, or the only list of objects in an object around it."""
    try:
        return _of_records(path, limits, json.loads(path.read_text(encoding="utf-8-sig")))
    except (ValueError, RecursionError) as error:  # no UTF-8 either
        raise InputError(Fault(str(path), "", f"is no JSON ({error})", _FORMATS)) from None


def _of_records(path: Path, limits: Limits, document: Any) -> Table:
    lists = [document] if isinstance(document, list) else []
    if isinstance(document, dict):
        lists = [held for held in document.values() if isinstance(held, list) and held and isinstance(held[0], dict)]
        lists = lists if len(lists) == 1 and "start_date_time" not in document else [[document]]
    _refuse_size(path, max(map(len, lists), default=0), 1, limits)
    records = [dict(_flat(record)) for record in lists[0] if isinstance(record, dict)] if lists else []
    if not records:
        raise InputError(Fault(str(path), "", "holds no list of sessions", "give a list of objects, one per session"))
    header = list(dict.fromkeys(name for record in records for name in record))
    _refuse_size(path, len(records), len(header), limits)
    return Table(str(path), header, [[record.get(name) for name in header] for record in records], _count(records))


def _flat(record: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Values by name, those of objects inside by both names with a point; a list inside is a text, for messages."""
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            cell = str(value)[:80] if isinstance(value, list) else value
            yield _whole(before + name), _whole(cell) if isinstance(cell, str) else cell


def _whole(text: str) -> str:
    """Text without halves of characters, which JSON can spell and nothing can write."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _count(records: Sized) -> list[int]:
    return list(range(1, len(records) + 1))


def _csv(path: Path, limits: Limits) -> list[tuple[int, list[Any]]]:
    """Rows of a CSV file; semicolons or tabs with decimal commas, as some spreadsheets write them, are understood."""
    raw = path.read_bytes()
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(Fault(str(path), "", "is in UTF-16", "save it as CSV in UTF-8"))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(_encoding_fault(path, raw, error.start)) from None
    if "\0" in text:
        raise InputError(Fault(str(path), "", "is no text file", _FORMATS))
    lines = (line for line in text.split("\n", 100)[:100] if any(mark in line for mark in _SEPARATORS))
    separator = max(_SEPARATORS, key=next(lines, "").count)  # of the header: a title may stand above it
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    rows: list[tuple[int, list[Any]]] = []
    try:
        for row in reader:
            rows.append((reader.line_num, [cell.strip() for cell in row]))
            if len(rows) > limits.rows + 1:  # with the header
                _refuse_size(path, len(rows) - 1, 1, limits)
    except csv.Error as error:
        raise InputError(Fault(f"{path}, row {reader.line_num}", "", f"is no CSV ({error})", _FORMATS)) from None
    if separator != ",":
        return [(line, [_decimal_point(cell) for cell in row]) for line, row in rows]
    return rows


def _decimal_point(cell: str) -> str:
    changed = cell.replace(",", ".", 1)
    try:
        float(changed)
    except ValueError:
        return cell
    return changed


def _encoding_fault(path: Path, raw: bytes, position: int) -> Fault:
    before = raw[:position].split(b"\n")
    header, line = before[0], len(before)
    mark = b";" if b";" in header and b"," not in header else b","
    names = [name.strip() for name in header.decode("utf-8-sig", "replace").split(mark.decode())]
    index = before[-1].count(mark)
    key = names[index] if index < len(names) and line > 1 else ""
    problem = f"is not in UTF-8 (byte 0x{raw[position]:02x})"
    return Fault(f"{path}, row {line}", key, problem, "save it as CSV in UTF-8")


def _workbook(path: Path, limits: Limits) -> tuple[list[tuple[int, list[Any]]], list[Fault]]:
    """Rows of the first sheet, and which others hold something."""
    try:
        from openpyxl import load_workbook
    except ImportError:
        remedy = "install it (pip install 'lv-feeder-cosim[plan]'), or save the sheet as CSV"
        raise InputError(Fault(str(path), "", "reading .xlsx needs the package openpyxl", remedy)) from None
    try:
        _refuse_bomb(path, limits)
        book = load_workbook(path, read_only=True, data_only=True)
        try:
            if not book.worksheets:
                raise InputError(Fault(str(path), "", "has no sheet of cells", "put the table on the first sheet"))
            first, *others = book.worksheets
            more = ", ".join(repr(sheet.title) for sheet in others if _holds_any(sheet))
            problem, remedy = f"is read from its sheet {first.title!r} alone, not from {more}", "put the table first"
            return _filled(first, path, limits), [Fault(str(path), "", problem, remedy)] if more else []
        finally:
            book.close()
    except InputError:
        raise
    except Exception as error:  # whatever a broken zip, broken XML or a missing part makes the reader raise
        problem = f"cannot be read as a workbook ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        raise InputError(Fault(str(path), "", problem, "save it anew as .xlsx, or as CSV")) from None


def _holds_any(sheet: Any) -> bool:
    """Whether something stands in its first rows."""
    sheet.reset_dimensions()
    return any(_cells(row) for row in sheet.iter_rows(max_row=20, values_only=True))


def _refuse_bomb(path: Path, limits: Limits) -> None:
    """Refuse a small file that unpacks to a large one, or that defines entities; sizes in the directory bound both."""
    with ZipFile(path) as parts:
        infos = parts.infolist()
        if len(infos) > MOST_PARTS or sum(info.file_size for info in infos) > limits.unpacked_bytes:
            problem = f"unpacks to more than {limits.unpacked_bytes // 1_000_000} MB or {MOST_PARTS} parts"
            raise InputError(Fault(str(path), "", problem, "save the first sheet alone, or as CSV"))
        for info in infos:
            with parts.open(info) as part:
                if b"<!DOCTYPE" in part.read(4096).replace(b"\0", b"").upper():  # in UTF-16, too
                    problem = f"its part {info.filename} defines entities, which no spreadsheet writes"
                    raise InputError(Fault(str(path), "", problem, "save it anew as .xlsx, or as CSV"))


def _filled(sheet: Any, path: Path, limits: Limits) -> list[tuple[int, list[Any]]]:
    """Rows that hold anything; a sheet may say that it is larger than it is, or be large and empty."""
    sheet.reset_dimensions()
    filled: list[tuple[int, list[Any]]] = []
    cells = 0
    for number, row in enumerate(sheet.values, start=1):
        cells += len(row)
        if cells > limits.cells or len(filled) > limits.rows + 1:
            problem = f"has more than {limits.rows} rows or {limits.cells} cells"
            raise InputError(Fault(str(path), "rows", problem, "give it in parts, such as a day"))
        if any(cell not in (None, "") for cell in row):
            last = max(column for column, cell in enumerate(row, start=1) if cell not in (None, ""))
            filled.append((number, [_plain(cell) for cell in row[:last]]))
    width = max((len(row) for _, row in filled[:1]), default=0)  # cells left empty at a row's end are not written
    return [(number, row + [None] * (width - len(row))) for number, row in filled]


def _plain(cell: Any) -> Any:
    return cell.strip() if isinstance(cell, str) else cell
