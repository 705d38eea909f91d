"""A user's table as it stands in the file: a header and rows of cells, with the row numbers that an editor shows.

Nothing that a file claims or unpacks to takes more memory or time than a station's table could: the limits are below.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from cosim.contract.signals import Bool
from cosim.errors import Fault, InputError

MOST_BYTES, MOST_UNPACKED, MOST_PARTS = 200_000_000, 500_000_000, 2_000
MOST_COLUMNS, MOST_CELLS = 500, 20_000_000

_FORMATS = "give a CSV file in UTF-8 with a header, an .xlsx workbook, JSON or Parquet"
_ZIP, _OLE, _PARQUET = b"PK\x03\x04", bytes.fromhex("d0cf11e0a1b11ae1"), b"PAR1"


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
    """

    where: str
    header: list[str]
    rows: list[list[Any]]
    line: list[int]
    uneven: Bool | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def place(self, row: int) -> str:
        """File and row, for a fault."""
        return f"{self.where}, row {self.line[row]}"

    def column(self, name: str) -> list[Any]:
        """Cells of a column."""
        index = self.header.index(name)
        return [row[index] for row in self.rows]


def read_table(path: Path) -> Table:
    """Read CSV, the first sheet of a workbook, JSON or Parquet; InputError with what is wrong with the file as such."""
    if not os.path.isfile(path):  # false, not an error, where the name is too long for a file
        raise InputError(Fault(str(path), "DEMAND", "no such file", _FORMATS))
    if path.stat().st_size > MOST_BYTES:
        raise InputError(Fault(str(path), "", f"has more than {MOST_BYTES} bytes", "give the table in parts"))
    with path.open("rb") as file:
        begin = file.read(len(_OLE))
    if begin == _OLE:  # old .xls, or an encrypted .xlsx
        remedy = "save it without a password as .xlsx, or as CSV"
        raise InputError(Fault(str(path), "", "is an encrypted or an old Excel file", remedy))
    if path.suffix.lower() == ".parquet" or begin.startswith(_PARQUET):
        return _parquet(path)
    if path.suffix.lower() == ".json":
        return _json(path)
    is_workbook = path.suffix.lower() in (".xlsx", ".xlsm") or begin.startswith(_ZIP)
    numbered = _workbook(path) if is_workbook else _csv(path)
    filled = [(line, row) for line, row in numbered if any(cell not in (None, "") for cell in row)]
    if not filled:
        raise InputError(Fault(str(path), "", "is empty", "write a header and one row per session"))
    header = ["" if cell is None else str(cell).strip() for cell in filled[0][1]]
    if len(header) > MOST_COLUMNS:
        problem = f"has {len(header)} columns"
        raise InputError(Fault(f"{path}, row {filled[0][0]}", "", problem, "keep those that cosim plan knows"))
    if len(filled) == 1:
        raise InputError(Fault(str(path), "", "has a header but no rows", "write one row per session"))
    width, below = len(header), filled[1:]
    rows = [[*row[:width], *[None] * (width - len(row))] for _, row in below]
    uneven = np.array([len(row) < width or any(cell not in (None, "") for cell in row[width:]) for _, row in below])
    return Table(str(path), header, rows, [line for line, _ in below], uneven)


def _parquet(path: Path) -> Table:
    try:
        metadata = pq.read_metadata(path)
        if metadata.num_rows * metadata.num_columns > MOST_CELLS or metadata.num_columns > MOST_COLUMNS:
            problem = f"holds {metadata.num_rows} rows of {metadata.num_columns} columns"
            raise InputError(Fault(str(path), "", problem, f"keep {MOST_CELLS} cells and {MOST_COLUMNS} columns"))
        frame = pd.read_parquet(path)
    except (ValueError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(Fault(str(path), "", f"cannot be read as Parquet ({reason})", _FORMATS)) from None
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    if not len(frame):
        raise InputError(Fault(str(path), "", "has no rows", "write one row per session"))
    cells = frame.astype(object).where(frame.notna(), None)
    return Table(str(path), [str(name).strip() for name in frame.columns], cells.to_numpy().tolist(), _count(frame))


def _json(path: Path) -> Table:
    """Records of a JSON document: a list of objects, or the only list of objects in an object around it."""
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # no UTF-8 either
        raise InputError(Fault(str(path), "", f"is no JSON ({error})", _FORMATS)) from None
    lists = [document] if isinstance(document, list) else []
    if isinstance(document, dict):
        lists = [held for held in document.values() if isinstance(held, list) and held and isinstance(held[0], dict)]
        lists = lists if len(lists) == 1 and "start_date_time" not in document else [[document]]
    records = [dict(_flat(record)) for record in lists[0] if isinstance(record, dict)] if lists else []
    if not records:
        raise InputError(Fault(str(path), "", "holds no list of sessions", "give a list of objects, one per session"))
    header = list(dict.fromkeys(name for record in records for name in record))
    if len(header) > MOST_COLUMNS or len(header) * len(records) > MOST_CELLS:
        problem = f"holds {len(records)} records of {len(header)} names"
        raise InputError(Fault(str(path), "", problem, f"keep {MOST_CELLS} values and {MOST_COLUMNS} names"))
    return Table(str(path), header, [[record.get(name) for name in header] for record in records], _count(records))


def _flat(record: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Values by name, those of objects inside by both names with a point; a list inside is a text, for messages."""
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, str(value)[:80] if isinstance(value, list) else value


def _count(records: Sized) -> list[int]:
    return list(range(1, len(records) + 1))


def _csv(path: Path) -> list[tuple[int, list[Any]]]:
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
    first = text.partition("\n")[0]
    separator = next((mark for mark in ",;\t" if mark in first), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
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


def _workbook(path: Path) -> list[tuple[int, list[Any]]]:
    try:
        from openpyxl import load_workbook
    except ImportError:
        remedy = "install it (pip install 'lv-feeder-cosim[plan]'), or save the sheet as CSV"
        raise InputError(Fault(str(path), "", "reading .xlsx needs the package openpyxl", remedy)) from None
    try:
        _refuse_bomb(path)
        book = load_workbook(path, read_only=True, data_only=True)
        try:
            if not book.worksheets:
                raise InputError(Fault(str(path), "", "has no sheet of cells", "put the table on the first sheet"))
            return _filled(book.worksheets[0], path)
        finally:
            book.close()
    except InputError:
        raise
    except Exception as error:  # whatever a broken zip, broken XML or a missing part makes the reader raise
        problem = f"cannot be read as a workbook ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        raise InputError(Fault(str(path), "", problem, "save it anew as .xlsx, or as CSV")) from None


def _refuse_bomb(path: Path) -> None:
    """Refuse a small file that unpacks to a large one, or that defines entities; sizes in the directory bound both."""
    with ZipFile(path) as parts:
        infos = parts.infolist()
        if len(infos) > MOST_PARTS or sum(info.file_size for info in infos) > MOST_UNPACKED:
            problem = f"unpacks to more than {MOST_UNPACKED // 1_000_000} MB or {MOST_PARTS} parts"
            raise InputError(Fault(str(path), "", problem, "save the first sheet alone, or as CSV"))
        for info in infos:
            with parts.open(info) as part:
                if b"<!DOCTYPE" in part.read(4096).replace(b"\0", b"").upper():  # in UTF-16, too
                    problem = f"its part {info.filename} defines entities, which no spreadsheet writes"
                    raise InputError(Fault(str(path), "", problem, "save it anew as .xlsx, or as CSV"))


def _filled(sheet: Any, path: Path) -> list[tuple[int, list[Any]]]:
    """Rows that hold anything; a sheet may say that it is larger than it is, or be large and empty."""
    sheet.reset_dimensions()
    filled, cells = [], 0
    for number, row in enumerate(sheet.values, start=1):
        cells += len(row)
        if cells > MOST_CELLS:
            raise InputError(Fault(str(path), "", f"has more than {MOST_CELLS} cells", "save it as CSV, or in parts"))
        if any(cell not in (None, "") for cell in row):
            last = max(column for column, cell in enumerate(row, start=1) if cell not in (None, ""))
            filled.append((number, [_plain(cell) for cell in row[:last]]))
    width = max((len(row) for _, row in filled[:1]), default=0)  # cells left empty at a row's end are not written
    return [(number, row + [None] * (width - len(row))) for number, row in filled]


def _plain(cell: Any) -> Any:
    return cell.strip() if isinstance(cell, str) else cell
