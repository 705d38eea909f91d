"""Speed, as ratios against a reference measured in the same run: interleaved, repeated, best of all repeats."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Group

from cosim.experiments.files import json_ready, write_json


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes
    ----------
    name : str
        What was measured.
    product_s, reference_s : float
        Best time of each [s].
    ratio : float
        Product over reference.
    repeats : int
        Interleaved repetitions.
    product_median_s, reference_median_s : float
        Medians, to see the noise [s].
    more : dict
        What else the row needs, with units in the names.
    """

    name: str
    product_s: float
    reference_s: float
    ratio: float
    repeats: int
    product_median_s: float
    reference_median_s: float
    more: dict[str, Any] = field(default_factory=dict)


def interleaved(
    name: str, product: Callable[[], object], reference: Callable[[], object], repeats: int, **more: Any
) -> Row:
    """Time two callables in turns, so that a noisy machine disturbs both alike.

    Parameters
    ----------
    name : str
        Of the row.
    product, reference : callable
        What to time.
    repeats : int
        How often each.
    **more
        Further entries of the row.
    """
    times: dict[str, list[float]] = {"product": [], "reference": []}
    for _ in range(repeats):
        for who, call in (("reference", reference), ("product", product)):
            began = time.perf_counter()
            call()
            times[who].append(time.perf_counter() - began)
    ours, theirs = min(times["product"]), min(times["reference"])
    return Row(name, ours, theirs, ours / theirs, repeats, median(times["product"]), median(times["reference"]), more)


def table(rows: Sequence[Row]) -> Group:
    """Rows for the terminal: the ratio first, then whatever else a row says, a line each."""
    lines: list[str] = []
    for row in rows:
        lines.append(
            f"[bold]{row.name}[/bold]: ratio {row.ratio:.3f} "
            f"({row.product_s:.4g} s against {row.reference_s:.4g} s, best of {row.repeats})"
        )
        lines += [
            f"    {key} = {value:.4g}" if isinstance(value, float) else f"    {key} = {value}"
            for key, value in row.more.items()
        ]
    return Group(*lines)


def write(rows: Sequence[Row], path: Path) -> None:
    """Write rows as JSON, with the machine they were measured on."""
    flat = [asdict(row) for row in rows]
    for one in flat:
        one.update(one.pop("more"))
    # JSON has no nan: a row without a reference has no ratio
    write_json(path, json_ready({"rows": flat, "python": platform.python_version(), "machine": platform.platform()}))
