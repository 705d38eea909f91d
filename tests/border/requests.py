"""Broken requests of a plan, as CSV and as workbook."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from tests.border.case import Case, Content, Verdict
from tests.border.tables import CELLS, in_bytes, zipped

REQUEST = {
    "vehicle": "a",
    "powerNom": "11",
    "energyRequired": "10",
    "energyMax": "60",
    "arrivalTime": "2026-03-10 06:30",
    "departureTime": "2026-03-10 08:30",
}


def _plan(name: str, content: Content, verdict: Verdict = "refused", word: str = "", file: str = "d.csv") -> Case:
    arguments = ("plan", file, "--capacity-kw", "20", "--strict", "--out", "out")
    return Case("plan" if file != "d.xlsx" else "workbook", name, arguments, {file: content}, verdict, (word or file,))


def plan() -> Iterator[Case]:
    """Requests as CSV."""

    def text(**changed: str) -> str:
        return f"{','.join(REQUEST)}\n{','.join((REQUEST | changed).values())}\n"

    for key in ("powerNom", "energyRequired", "energyMax"):
        for kind, (cell, fine) in CELLS.items():
            if not fine:
                yield _plan(f"{key} is {kind}", text(**{key: cell}), "refused", key)
    for key in ("arrivalTime", "departureTime"):
        for cell in ("", "noon", "nan", "inf", "-3", "1e300", "45000", "2026-03-10 07:00Z", "2026-02-30 07:00", "True"):
            yield _plan(f"{key} is {cell or 'empty'}", text(**{key: cell}), "refused", "Time")
    contents: dict[str, tuple[Content, str]] = {
        "empty": ("", "empty"),
        "no rows": (",".join(REQUEST), "no rows"),
        "a folder": (None, "d.csv"),
        "UTF-16": (text().encode("utf-16"), "UTF-16"),
        "Latin-1": (text(vehicle="Büro").encode("latin-1"), "UTF-8"),
        "NUL bytes": (text(vehicle="\0"), "text"),
        "binary": (bytes(range(256)), "d.csv"),
        "an unnamed column": ("," + text().replace("\na", "\nx,a"), "has no name"),
        "a column twice": (text().replace("energyMax", "powerNom"), "powerNom"),
        "unknown column": (text().replace("energyMax", "colour"), "colour"),
        "old Excel": (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(99), "Excel"),
        "vehicle twice": (text() + ",".join(REQUEST.values()), "vehicle"),
        "departs before": (text(departureTime="2026-03-10 05:00"), "departureTime"),
        "forty days": (text(departureTime="2026-04-19 08:30"), "departureTime"),
        "more than the battery": (text(energyRequired="61"), "energyRequired"),
        "10,000 columns": (",".join(["vehicle"] + [f"c{k}" for k in range(9_999)]) + "\na" + ",1" * 9_999, "columns"),
        "a field of 1 MB": (text(vehicle="x" * 10**6), "d.csv"),
        "half a row": (text() + "b,11", "row 3"),
        "a row too long": (text() + ",".join([*REQUEST.values(), "1"]).replace("a", "b", 1), "row 3"),
    }
    for name, (content, word) in contents.items():
        yield _plan(name, content, word=word)
    records = {"no JSON": "{", "numbers": "[1, 2]", "nothing": "{}", "deep": "[" * 10**5, "no list": '{"a": 1}'}
    for name, document in records.items():
        yield _plan(f"a document: {name}", document, file="d.json")
    one = dict(REQUEST)
    yield _plan("a document: a list for a number", json.dumps([one | {"powerNom": [11]}]), file="d.json")
    yield _plan("a document: true for a number", json.dumps([one | {"powerNom": True}]), word="powerNom", file="d.json")
    yield _plan("a document: a good one", json.dumps({"data": [one]}), "accepted", file="d.json")
    yield _plan("no Parquet", b"PAR1 and no more", file="d.parquet")
    yield _plan("vehicles named as formulas", text(vehicle="=1+1"), "accepted")
    yield _plan("an index column as pandas writes it", "," + text().replace("\na", "\n0,a"), "accepted")
    yield _plan("chargers in W", text(powerNom="11000", energyRequired="30000", energyMax="60000"), "accepted")


def workbooks() -> Iterator[Case]:
    """Requests as workbooks, broken and hostile."""
    from openpyxl import Workbook

    def book(change: Callable[[Any], object] = lambda _: None) -> bytes:
        made = Workbook()
        sheet = made.active
        sheet.append(list(REQUEST))
        sheet.append(
            [
                "a",
                11,
                10,
                60,
                pd.Timestamp("2026-03-10 06:30").to_pydatetime(),
                pd.Timestamp("2026-03-10 08:30").to_pydatetime(),
            ]
        )
        change(sheet)
        return in_bytes(made.save)

    def cell(place: str, value: Any) -> bytes:
        return book(lambda sheet: sheet.__setitem__(place, value))

    whole = book()
    parts = {
        info: zipfile.ZipFile(io.BytesIO(whole)).read(info) for info in zipfile.ZipFile(io.BytesIO(whole)).namelist()
    }
    sheet = "xl/worksheets/sheet1.xml"
    entity = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    laughs = (
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "' + b"ha" * 999 + b'"><!ENTITY b "' + b"&a;" * 999 + b'">]>'
    )
    body = parts[sheet][parts[sheet].index(b"<worksheet") :]
    far = body.replace(b"</sheetData>", b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>')

    def undated(sheet: Any) -> None:
        for place, serial in (("E2", 46091.27), ("F2", 46091.35)):
            sheet[place] = serial
            sheet[place].number_format = "General"

    def chart_first(path: Path) -> None:
        made = Workbook()
        made.create_chartsheet("c", 0)
        del made["Sheet"]
        made.save(path)

    contents: dict[str, tuple[Content, str]] = {
        "text": (b"no workbook", "d.xlsx"),
        "empty": (b"", "d.xlsx"),
        "cut short": (whole[: len(whole) // 2], "d.xlsx"),
        "an empty zip": (zipped({}), "d.xlsx"),
        "another zip": (zipped({"a.txt": b"b"}), "d.xlsx"),
        "encrypted": (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(999), "Excel"),
        "no sheet part": (zipped({k: v for k, v in parts.items() if k != sheet}), "d.xlsx"),
        "no list of parts": (zipped({k: v for k, v in parts.items() if k != "[Content_Types].xml"}), "d.xlsx"),
        "broken XML": (zipped(parts | {sheet: body[:300]}), "d.xlsx"),
        "an outside entity": (zipped(parts | {sheet: entity + body}), "entities"),
        "a billion laughs": (zipped(parts | {"xl/workbook.xml": laughs + parts["xl/workbook.xml"]}), "entities"),
        "a bomb of 600 MB": (lambda path: _bomb(path, parts, sheet), "unpacks"),
        "5,000 parts": (
            lambda path: path.write_bytes(zipped(parts | {f"xl/x{k}.xml": b"" for k in range(5000)})),
            "parts",
        ),
        "a cell in the last corner": (zipped(parts | {sheet: far}), "row 1048576"),
        "only a chart": (chart_first, "d.xlsx"),
        "an empty sheet": (in_bytes(Workbook().save), "empty"),
        "a formula never computed": (cell("B2", "=10+1"), "formula"),
        "#N/A": (cell("B2", "#N/A"), "powerNom"),
        "true": (cell("B2", True), "powerNom"),
        "text for a number": (cell("C2", "much"), "energyRequired"),
        "a date for a number": (cell("C2", pd.Timestamp("2026-03-10").to_pydatetime()), "energyRequired"),
        "dates without a format": (book(undated), "dates"),
        "a merged header": (book(lambda s: s.merge_cells("D1:E1")), "arrivalTime"),
        "a title above": (book(lambda s: (s.insert_rows(1), s.__setitem__("A1", "My table"))), "My table"),
        "no header": (book(lambda s: s.delete_rows(1)), "d.xlsx"),
        "a damaged byte": (whole[:400] + bytes(40) + whole[440:], "d.xlsx"),
        "a folder": (None, "d.xlsx"),
    }
    for name, (content, word) in contents.items():
        yield _plan(name, content, word=word, file="d.xlsx")
    yield _plan("a good one", whole, "accepted", file="d.xlsx")
    rows = b"".join(b'<row r="%d"></row>' % number for number in range(3, 100_000))
    long = body.replace(b"</sheetData>", rows + b"</sheetData>").replace(b"A1:F2", b"A1:XFD1048576")
    yield _plan(
        "empty rows and a false size",
        lambda path: path.write_bytes(zipped(parts | {sheet: long})),
        "accepted",
        file="d.xlsx",
    )


def _bomb(path: Path, parts: dict[str, bytes], sheet: str) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in parts.items():
            if name != sheet:
                archive.writestr(name, content)
        with archive.open(sheet, "w") as part:
            for _ in range(60):
                part.write(b" " * 10_000_000)
