"""Which column or row of a user's file is of which customer: by name, and by position only where there are no names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cosim.errors import Fault, InputError, collecting, meant, refuse
from cosim.feeders.find import Join
from cosim.feeders.series import Series
from cosim.feeders.tables import find_faults, listed, numbers, read_table, told_once

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Bool = NDArray[np.bool_]
Told = Callable[[str], None]
"""Takes a warning."""

CUSTOMER = "customer"


def unheard(_: str) -> None:
    """Take a warning that nobody wants."""


def rows_of(names: Sequence[str], customers: Sequence[str]) -> Int:
    """Row of the customer of each name, -1 where there is none: as it is written, else in other capital letters."""
    exact = {name: row for row, name in enumerate(customers)}
    folded = {name.casefold(): row for row, name in enumerate(customers)}  # to OpenDSS LOAD1 is load1
    stripped = [str(name).strip() for name in names]
    return np.array([exact.get(name, folded.get(name.casefold(), -1)) for name in stripped], np.int64)


def by_customer(
    series: Series,
    customers: Sequence[str],
    start: datetime,
    minutes: int,
    told: Told,
    *,
    day: int = 0,
    how: Join | None = None,
    missing: str = "",
    draws: Callable[[], Int] | None = None,
    expected: Bool | None = None,
) -> tuple[Float, Int]:
    """Values of own series for every customer and minute, 0 where one has none, and each customer's column or -1.

    ``start``, ``minutes`` and ``day`` are those of `Series.over`, all else those of `join_columns`; faults of both are
    raised together, and the warnings of the series are told.
    """
    for warning in series.warnings:
        told(warning)
    faults: list[Fault] = []
    column: Int = np.zeros(len(customers), np.int64)
    values: Float = np.zeros((minutes, len(series.names)))
    with collecting(faults):
        column = join_columns(
            series.names, customers, series.source, told, how=how, missing=missing, draws=draws, expected=expected
        )
    with collecting(faults):
        values = series.over(start, minutes, day=day)
    refuse(faults)
    return np.where(column >= 0, np.take(values, column, axis=1), 0.0), column


def join_columns(
    names: Sequence[str],
    customers: Sequence[str],
    where: str,
    told: Told,
    *,
    how: Join | None = None,
    missing: str = "",
    draws: Callable[[], Int] | None = None,
    expected: Bool | None = None,
) -> Int:
    """Column of every customer.

    Parameters
    ----------
    names : sequence of str
        Of the columns.
    customers : sequence of str
        Of the feeder.
    where : str
        File, for messages.
    told : callable
        Takes warnings: surplus columns, and that columns are not joined by name.
    how : {"name", "order", "draw"}, optional
        As the user says. Else by name where any column has a customer's; columns that are merely numbered (``h0, h1``)
        in their order, or drawn where there are more or fewer and ``draws`` allows it; and both is told.
    missing : str
        What becomes of a customer without a column, where that is no fault ("has no roof plant").
    draws : callable, optional
        Draws a column for every customer, where that may be.
    expected : ndarray of bool, shape (customer,), optional
        Customers that should have a column; else all. Nothing is told of the others.

    Returns
    -------
    ndarray of int, shape (customer,)
        -1 for a customer without a column.

    Raises
    ------
    InputError
        Where customers have no column, a column is of a customer who has one, or names are of no customer.
    """
    rows = rows_of(names, customers)
    known = rows >= 0
    if how is None and not known.any() and _numbered(names):
        if len(names) == len(customers) or draws is None:
            how = "order"
            told(
                f"{where}: columns have no names, so they are taken in their order ({names[0]} is {customers[0]}, ...)"
            )
        else:
            told(f"{where}: {len(names)} columns without names for {len(customers)} homes, so homes draw them")
            how = "draw"
    if how == "draw" and draws is not None:
        return draws()
    if how == "order":
        if len(names) != len(customers):
            problem = f"has {len(names)} columns for {len(customers)} customers, and no names to join them by"
            raise InputError(Fault(where, "columns", problem, "give one per customer, in the order of `cosim feeder`"))
        return np.arange(len(customers))
    return _by_name(names, rows, customers, where, told, missing, draws is not None, expected)


def _by_name(
    names: Sequence[str], rows: Int, customers: Sequence[str], where: str, told: Told, missing: str, draws: bool,
    expected: Bool | None,
) -> Int:  # fmt: skip
    twice = [row for row, count in Counter(rows[rows >= 0].tolist()).items() if count > 1]
    faults = [
        Fault(where, customers[row], "has several columns, in other capital letters", "keep one of them")
        for row in twice
    ]
    others = ', or write join = "order" (as `cosim feeder` lists customers) or join = "draw" (any home any column)'
    remedy = f"name columns as `cosim feeder` lists customers{others if draws else ''}"
    faults += _strangers(names, rows, customers, where, "columns", "column", told, missing, remedy, expected)
    refuse(faults)
    column = np.full(len(customers), -1, np.int64)
    column[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
    return column


def _strangers(
    names: Sequence[str], rows: Int, customers: Sequence[str], where: str, key: str, part: str, told: Told,
    missing: str, remedy: str, expected: Bool | None = None,
) -> list[Fault]:  # fmt: skip
    """Tell what is of no customer; return the fault of customers that have nothing, where that may not be."""
    surplus = [name for name, row in zip(names, rows, strict=True) if row < 0]
    awaited = np.arange(len(customers)) if expected is None else np.flatnonzero(expected)
    absent = [customers[row] for row in np.setdiff1d(awaited, rows)]
    without = f"{len(absent)} of {awaited.size} customers have no {part} ({listed(absent)})"
    strangers = f"{len(surplus)} {part}{'s' * (len(surplus) != 1)} of no customer ({listed(surplus)})"
    if absent and (not missing or len(absent) == awaited.size):
        near = meant(surplus[0], absent, "") if surplus else ""
        doubt = f"for '{surplus[0]}' {near} Else " if near else ""
        return [Fault(where, key, f"{without}{f'; {strangers}' if surplus else ''}", doubt + remedy)]
    if surplus:
        told(f"{where}: left out: {strangers}")
    if absent:
        told(f"{where}: {without}: each {missing}")
    return []


def _numbered(names: Sequence[str]) -> bool:
    """Whether names say no more than the place of their column: 0, 1, 2 or home_1, home_2."""
    found = [re.fullmatch(r"(\D*)(\d+)", name.strip()) for name in names]
    parts = [(one[1], int(one[2])) for one in found if one]
    first = parts[0] if parts else ("", 0)
    return len(parts) == len(names) and parts == [(first[0], first[1] + place) for place in range(len(names))]


def read_customer_table(
    path: str | Path,
    key: str,
    customers: Sequence[str],
    columns: Mapping[str, tuple[float, float, str]],
    told: Told,
    *,
    missing: str = "",
    optional: Sequence[str] = (),
    expected: Bool | None = None,
) -> dict[str, Float]:
    """Read a table of one row a customer, such as ``customer, capacity_kwh, power_kw``.

    Parameters
    ----------
    path : str or Path
        CSV or Parquet file with the column ``customer`` and those wanted.
    key : str
        Key of the scenario that names it, for messages.
    customers : sequence of str
        Of the feeder.
    columns : mapping of str to (low, high, what)
        Range of each column, both ends allowed, and what to give, with its unit.
    told : callable
        Takes warnings: customers without a row, rows of no customer.
    missing : str
        What becomes of a customer without a row, where that is no fault ("has no battery").
    optional : sequence of str
        Columns that may be left out.
    expected : ndarray of bool, shape (customer,), optional
        Customers that should have a row; else all. Nothing is told of the others.

    Returns
    -------
    dict of str to ndarray, shape (customer,)
        Every column that the file has, nan for customers without a row.

    Raises
    ------
    InputError
        With every fault found: columns missing or unknown, values out of range, a customer twice, and, where
        ``missing`` is empty, customers without a row.
    """
    table, where = read_table(path, key, "give the path of a CSV or Parquet file"), str(path)
    wanted = (CUSTOMER, *columns)
    lacking = [name for name in wanted if name not in table.columns and name not in optional]
    faults = [Fault(where, name, "column is missing", "add it") for name in lacking]
    faults += [
        Fault(where, str(name), "unknown column", meant(str(name), wanted, f"use {', '.join(wanted)}"))
        for name in table.columns
        if name not in wanted
    ]
    if CUSTOMER in lacking:
        raise InputError(faults)
    names = table[CUSTOMER].astype(str).str.strip()
    rows = rows_of(list(names), customers)
    repeated = (names.str.casefold().duplicated()).to_numpy(bool)
    faults += find_faults(repeated, names, where, CUSTOMER, "has a row before: {!r}", "keep one row a customer")
    values = {name: numbers(table[name], where, faults) for name in columns if name in table.columns}
    for name, column in values.items():
        low, high, what = columns[name]
        bad = (column < low) | (column > high)
        remedy = f"give {what}, {low:g} to {high:g}"
        faults += find_faults(bad, column, where, name, "out of range: {:g}", remedy)
    remedy = "use the names that `cosim feeder` lists"
    faults += _strangers(list(names), rows, customers, where, CUSTOMER, "row", told, missing, remedy, expected)
    refuse(told_once(faults))
    of_customers = {name: np.full(len(customers), np.nan) for name in values}
    for name, column in values.items():
        of_customers[name][rows[rows >= 0]] = column[rows >= 0]
    return of_customers
