"""Broken tables: profiles, sessions, requests of a plan as CSV and as workbook, own homes of a study."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tests.border.case import Case, Content, Verdict
from tests.border.scenarios import BASE

ROWS = 1440
_KW = np.round(np.random.default_rng(7).uniform(0.1, 2.0, ROWS), 3)

CELLS: dict[str, tuple[str, bool]] = {
    "empty": ("", False),
    "nan": ("nan", False),
    "inf": ("inf", False),
    "-inf": ("-inf", False),
    "minus one": ("-1", False),
    "1e300": ("1e300", False),
    "text": ("much", False),
    "percent": ("5%", False),
    "a unit": ("5 kW", False),
    "thousands": ('"1,000"', False),
    "underscore": ("1_0", False),
    "hexadecimal": ("0x10", False),
    "true": ("True", False),
    "#N/A": ("#N/A", False),
    "#DIV/0!": ("#DIV/0!", False),
    "a date": ("2026-05-15", False),
    "a formula": ("=1+1", False),
    "other digits": ("٣", False),
    "a fraction": ("1/2", False),
    "10,000 digits": ("9" * 10_000, False),
    "a plus sign": ("+1.5", True),
    "an exponent": ("15e-1", True),
    "spaces": ("  1.5  ", True),
}
"""A cell that should hold a number near 1.5, and whether it does."""


def _table(cells: dict[str, Any]) -> str:
    return pd.DataFrame({"h": _KW, **cells}).to_csv(index=False)


def _profiles(name: str, content: Content, verdict: Verdict = "refused", *words: str, file: str = "p.csv") -> Case:
    scenario = BASE.replace("[[runs]]", f'[households]\nprofiles = "{file}"\njoin = "draw"\n[[runs]]')
    return Case("profiles", name, ("check", "a.toml"), {"a.toml": scenario, file: content}, verdict, words or (file,))


def profiles() -> Iterator[Case]:
    """Household profiles as CSV and Parquet."""
    for kind, (cell, good) in CELLS.items():
        rows = ["h,b", *[f"{kw},1.5" for kw in _KW[:-1]], f"0.5,{cell}"]
        yield _profiles(f"a cell is {kind}", "\n".join(rows) + "\n", "accepted" if good else "refused", "b:")
    good = _table({})
    texts: dict[str, tuple[Content, str]] = {
        "an index column": (pd.DataFrame({"h": _KW}).to_csv(), "has no name"),
        "a dated index column": (_dated(4).to_csv(), "has no name"),
        "a named row number": (_table({"id": np.arange(ROWS)}), "counts rows"),
        "booleans": (_table({"b": _KW > 1}), "b:"),
        "a name twice": (good.replace("h\n", "h,h\n", 1), "p.csv"),
        "two columns of one name": ("a,a\n" + "1,1\n" * ROWS, "several columns"),
        "energy": ("h_kWh\n" + "1\n" * ROWS, "kWh"),
        "watts": ("h\n" + "450\n" * ROWS, "watts"),
        "all empty": (_table({"b": np.nan}), "b:"),
        "no rows": ("h\n", "rows"),
        "23 hours": ("h\n" + "1\n" * 1380, "rows"),
        "NUL bytes": (good.replace("0.", "\0.", 3), "NUL"),
        "empty": ("", "empty"),
        "blank": ("\n\n", "p.csv"),
        "semicolons": ("a;b\n" + "0,5;0,5\n" * ROWS, "semicolons"),
        "tabs": (good.replace("h", "h\tb"), "tabs"),
        "Latin-1": ("Käse\n".encode("latin-1") + b"1\n" * ROWS, "UTF-8"),
        "UTF-16": (good.encode("utf-16"), "UTF-8"),
        "ragged": ("a,b\n1,2\n1,2,3\n", "p.csv"),
        "a trailing comma": ("a,b\n" + "1,2,\n" * ROWS, "p.csv"),
        "a folder": (None, "p.csv"),
        "binary": (bytes(range(256)) * 9, "p.csv"),
        "100,000 columns": (",".join(f"h{k}" for k in range(100_000)) + "\n", "columns"),
        "a line of 20 MB": (lambda path: path.write_text("a,b\n" + "1," * 10_000_000), "bytes"),
        "an open quote": ('a,b\n1,"' + "9\n" * 9999, "p.csv"),
        "a zip archive": (zipped({"a": b"b"}), "p.csv"),
        "HTML": ("<html><body>404</body></html>", "p.csv"),
    }
    for name, (content, word) in texts.items():
        yield _profiles(name, content, "refused", word)
    for name, times in {
        "unsorted": ["14:00", "14:30", "14:15"],
        "uneven": ["14:00", "14:15", "14:45"],
        "twice": ["14:00", "14:00", "14:15"],
        "with offset": ["14:00Z", "14:15Z", "14:30Z"],
        "no time": ["14:00", "noon", "14:30"],
        "30 s": ["14:00:00", "14:00:30", "14:01:00"],
        "elsewhere": ["01:00", "01:15", "01:30"],
        "backwards": ["14:30", "14:15", "14:00"],
    }.items():
        rows = "".join(f"2026-01-15T{time},0.5\n" for time in times)
        yield _profiles(f"times {name}", f"time,h\n{rows}", "refused", "time")
    yield from _joined()
    yield _profiles("times are years", "time,h\n2025,1\n2026,1\n2027,1\n", "refused", "time")
    frames: dict[str, tuple[dict[str, Any], bool]] = {
        "booleans": ({"b": _KW > 1}, False),
        "time spans": ({"b": pd.to_timedelta(_KW, unit="s")}, False),
        "dates": ({"b": pd.Timestamp("2026-01-15")}, False),
        "lists": ({"b": [[1, 2]] * ROWS}, False),
        "bytes": ({"b": [b"1"] * ROWS}, False),
        "structures": ({"b": [{"a": 1}] * ROWS}, False),
        "gaps": ({"b": pd.array([1, None] * (ROWS // 2), "Int64")}, False),
        "a row number": ({"k": np.arange(ROWS)}, False),
        "whole numbers": ({"b": (3 * _KW).astype("u1")}, True),
        "half precision": ({"b": _KW.astype("f2")}, True),
    }
    for name, (columns, fine) in frames.items():
        frame = pd.DataFrame({"h": _KW, **columns})
        content = in_bytes(frame.to_parquet, index=False)
        yield _profiles(f"Parquet: {name}", content, "accepted" if fine else "refused", "p.parquet", file="p.parquet")
    whole = in_bytes(pd.DataFrame({"h": _KW}).to_parquet, index=False)
    damaged: dict[str, Content] = {
        "cut short": whole[: len(whole) // 2],
        "only the mark": b"PAR1",
        "a hole": whole[:200] + bytes(400) + whole[600:],
        "CSV inside": good.encode(),
        "an index": in_bytes(pd.DataFrame({"h": _KW}, index=_KW).to_parquet),
        "one name twice": in_bytes(lambda to: pq.write_table(pa.table([_KW, _KW], names=["a", "a"]), to)),
        "a claim of 10^9 rows": _claim,
        "footer of another": whole[:-8] + b"\xff\xff\xff\x7fPAR1",
    }
    for name, content in damaged.items():
        yield _profiles(
            f"Parquet: {name}",
            content,
            "refused",
            "p.parquet" if name != "one name twice" else "several",
            file="p.parquet",
        )
    yield _profiles("a good file with a byte order mark", good.encode("utf-8-sig"), "accepted")
    yield _profiles("a good file with CRLF", good.replace("\n", "\r\n").encode(), "accepted")
    yield _profiles("a good file with blank lines", good + "\n\n", "accepted")


def _joined() -> Iterator[Case]:
    """Own homes and roofs by the names of the three customers."""

    def case(name: str, table: str, key: str, content: Content, verdict: Verdict = "refused", *words: str) -> Case:
        scenario = BASE.replace("[[runs]]", f"zone = 'Europe/London'\n[{table}]\n{key} = 'p.csv'\n[[runs]]")
        return Case(
            "profiles", name, ("check", "a.toml"), {"a.toml": scenario, "p.csv": content}, verdict, words or ("p.csv",)
        )

    def day(*names: str, begin: str = "2026-01-15T14:00Z", minutes: int = 15, rows: int = 16) -> str:
        times = pd.date_range(begin, periods=rows, freq=f"{minutes}min").map(lambda time: time.isoformat())
        return pd.DataFrame({"time": times, **dict.fromkeys(names, 0.5)}).to_csv(index=False)

    homes = ("LOAD1", "load2", " Load3 ")
    for table, names in (("households", homes), ("pv", homes[1:2])):
        good: dict[str, str] = {
            "by name": day(*names),
            "numbered": day("h0", "h1", "h2"),
            "a surplus": day(*names, "spare"),
            "30 s": day(*names, minutes=1, rows=240).replace(":30+", ":30+"),
            "an hour": day(*names, minutes=60, rows=5),
            "local times": day(*names, begin="2026-01-15T14:00"),
            "times of another zone": day(*names, begin="2026-01-15T16:00+03:00", rows=24),
        }
        for name, content in good.items():
            yield case(f"{table} {name}", table, "profiles", content, "accepted")
        bad: dict[str, tuple[Content, str]] = {
            "names of nobody": (day("Smith", "Jones", "Lee"), "Smith"),
            "one twice in other letters": (day(*names, names[0].swapcase()), "several columns"),
            "numbered, two": (day("h0", "h2"), "h2"),
            "another day": (day(*names, begin="2026-01-16T14:00Z"), "covers"),
            "watts": (day(*names).replace(",0.5", ",450"), "watts"),
            "semicolons": (day(*names).replace(",", ";"), "semicolons"),
            "decimal commas": (day(*names).replace(",0.5", ',"0,5"'), "not a number"),
            "days of a spreadsheet": (day(*names).replace("2026-01-15T14:00", "46037.5833"), "time"),
            "a gap": (day(*names).replace("2026-01-15T15:00", "2026-01-15T15:05"), "time"),
        }
        for name, (content, word) in bad.items():
            yield case(f"{table} {name}", table, "profiles", content, "refused", word)


def _dated(hours: int) -> pd.DataFrame:
    times = pd.date_range("2026-01-15T14:00", periods=4 * hours, freq="15min").strftime("%Y-%m-%dT%H:%M")
    return pd.DataFrame({"time": times, "h": _KW[: 4 * hours]})


def in_bytes(write: Callable[..., object], **more: Any) -> bytes:
    sink = io.BytesIO()
    write(sink, **more)
    return sink.getvalue()


def _claim(path: Path) -> None:
    with pq.ParquetWriter(path, pa.schema([("h", pa.null())])) as writer:
        for _ in range(10):
            writer.write_table(pa.table({"h": pa.nulls(10**8)}), row_group_size=10**8)


SESSION = {
    "customer": "LOAD1",
    "arrival": "2026-01-15T16:00",
    "departure": "2026-01-15T17:30",
    "energy_kwh": "4",
    "charger_kw": "7.4",
    "battery_kwh": "60",
    "soc_arrival_kwh": "20",
    "efficiency": "0.9",
}
_RANGES = {"energy_kwh": 200, "charger_kw": 50, "battery_kwh": 1000, "soc_arrival_kwh": 1000, "efficiency": 1}


def sessions() -> Iterator[Case]:
    """Own sessions."""

    def case(name: str, content: Content, verdict: Verdict = "refused", word: str = "s.csv") -> Case:
        scenario = BASE.replace("[[runs]]", '[ev]\nsessions = "s.csv"\n[[runs]]')
        return Case("sessions", name, ("check", "a.toml"), {"a.toml": scenario, "s.csv": content}, verdict, (word,))

    def text(**changed: str) -> str:
        return f"{','.join(SESSION)}\n{','.join((SESSION | changed).values())}\n"

    for key in _RANGES:
        for kind, (cell, fine) in CELLS.items():
            accepted = fine and key not in ("efficiency", "battery_kwh")
            yield case(
                f"{key} is {kind}",
                text(**{key: cell}),
                "accepted" if accepted else "refused",
                key if cell != "1e300" else "kwh" if "kwh" in key else key,
            )
    for key in ("arrival", "departure"):
        for cell in (
            "",
            "tomorrow",
            "17:00",
            "2026-13-01T00:00",
            "2026-01-15T17:00Z",
            "45000",
            "nan",
            "15.01.2026 17:00",
            "1926-01-15T16:30",
        ):
            yield case(
                f"{key} is {cell or 'empty'}",
                text(**{key: cell}),
                "refused",
                key if cell[:4] != "1926" else "departure",
            )
    for key in list(SESSION)[:5]:
        yield case(
            f"without {key}",
            "\n".join(",".join(row.split(",")[: list(SESSION).index(key)]) for row in text().splitlines()),
            word=key if key != "customer" else "s.csv",
        )
    contents: dict[str, tuple[Content, str]] = {
        "no such customer": (text(customer="LOAD9"), "customer"),
        "customer empty": (text(customer=""), "customer"),
        "departs before": (text(departure="2026-01-15T15:00"), "departure"),
        "two at once": (text() + ",".join(SESSION.values()), "arrival"),
        "an index column": ("," + text().replace("\nLOAD1", "\n0,LOAD1"), "has no name"),
        "a name twice": (text().replace("efficiency", "arrival"), "arrival"),
        "unknown column": (text().replace("efficiency", "colour"), "colour"),
        "no rows": (",".join(SESSION) + "\n", "s.csv"),
        "outside": (text(arrival="2020-01-15T16:00", departure="2020-01-15T17:00"), "arrival"),
        "watts": (text(charger_kw="7400"), "charger_kw"),
        "watt-hours": (text(energy_kwh="4000"), "energy_kwh"),
        "percent": (text(efficiency="90"), "efficiency"),
    }
    for name, (content, word) in contents.items():
        yield case(name, content, word=word)
    yield case(
        "columns in another order",
        "\n".join(",".join(reversed(row.split(","))) for row in text().splitlines()),
        "accepted",
    )


def zipped(parts: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return sink.getvalue()
