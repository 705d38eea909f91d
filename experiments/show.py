"""Tables in the terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cosim import Feeder
from cosim.errors import Fault, InputError
from cosim.experiments.metric_table import METRICS, Metric, best


def print_scoreboard(metrics: Mapping[str, Mapping[str, float]], console: Console, *, everything: bool = False) -> None:
    """Controllers × measures: the best of a row in green with a star, a violated limit in red with an exclamation mark.

    Parameters
    ----------
    metrics : mapping of label to metrics
        As in ``metrics.json``.
    console : Console
        Where controllers do not fit side by side, they follow in further tables.
    everything : bool
        All metrics, not only the headlines.
    """
    present = dict.fromkeys(name for values in metrics.values() for name in values)
    names = [name for name in present if everything or METRICS.get(name, Metric(name, "")).headline]
    cells = {label: [_cell_of(name, label, metrics) for name in names] for label in metrics}
    room = console.width - max((len(name) for name in names), default=0) - 3
    console.print("[bold]Scoreboard[/bold]   * best   ! limit violated")
    for labels in _side_by_side(cells, room):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("measure", no_wrap=True)
        for label in labels:
            table.add_column(label, justify="right", no_wrap=True)
        for row, name in enumerate(names):
            table.add_row(name, *[cells[label][row] for label in labels])
        console.print(table)


def _side_by_side(cells: Mapping[str, list[str]], room: int) -> Iterator[list[str]]:
    """Split labels into groups whose columns fit the width."""
    group: list[str] = []
    used = 0
    for label, column in cells.items():
        width = max([len(label), *[Text.from_markup(cell).cell_len for cell in column]]) + 2
        if group and used + width > room:
            yield group
            group, used = [], 0
        group.append(label)
        used += width
    if group:
        yield group


def _cell_of(name: str, label: str, metrics: Mapping[str, Mapping[str, float]]) -> str:
    row = {other: values.get(name, float("nan")) for other, values in metrics.items()}
    return _cell(row[label], METRICS.get(name, Metric(name, "")), label in best(name, row))


def _cell(value: float, metric: Metric, is_best: bool) -> str:
    if not math.isfinite(value):
        return "–"
    text = f"{value:.{metric.digits}f}"
    if metric.violated(value):
        return f"[red]{text} ![/red]" + ("[green]*[/green]" if is_best else "")
    return f"[green]{text} *[/green]" if is_best else text


def read_metrics(folder: Path) -> dict[str, dict[str, float]]:
    """Scoreboard of a folder of results; InputError where it holds none."""
    path = folder / "metrics.json"
    if not path.is_file():
        raise InputError(Fault(str(path), "", "no such file", "give the folder that 'cosim run' wrote"))
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))["controllers"]
        return {
            str(label): {name: float("nan") if value is None else float(value) for name, value in values.items()}
            for label, values in content.items()
        }
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(
            Fault(str(path), "controllers", f"cannot be read ({error})", "run the scenario again")
        ) from None


def feeder_facts(feeder: Feeder, console: Console) -> None:
    """Print what is known of a feeder, and its warnings."""
    table = Table(title=f"Feeder {feeder.name}", show_header=False, title_justify="left")
    lines = feeder.network.lines
    rated = [line for line in lines if np.isfinite(line.rating_a)]
    phases = [
        f"{sum(p == (k,) for p in feeder.customer_phases)} on phase {letter}"
        for k, letter in ((1, "a"), (2, "b"), (3, "c"))
    ]
    buses = {node.split(".")[0] for node in feeder.network.node_names}
    several = sum(len(p) > 1 for p in feeder.customer_phases)
    length_km = sum(line.length_m for line in lines) / 1e3
    rows = {
        "circuit": str(feeder.master),
        "nominal voltage": f"{feeder.nominal_voltage_v:.1f} V phase to neutral",
        "nodes": f"{len(feeder.network.node_names)} at {len(buses)} buses",
        "customers": f"{len(feeder.customers)}: {', '.join(phases)}, {several} with several phases",
        "load in the file": f"{feeder.load_kw.sum():.1f} kW, {feeder.load_kvar.sum():.1f} kvar",
        "transformer": "none"
        if feeder.transformer is None
        else f"{feeder.transformer}, {feeder.transformer_kva:.0f} kVA, {feeder.transformer_rating_a:.1f} A a phase",
        "lines": f"{len(lines)}, {length_km:.3f} km, {len(rated)} rated",
        "head line": "none" if feeder.head_line is None else _rated(feeder, feeder.head_line),
        "watched": ", ".join(feeder.monitored) or "nothing",
        "farthest customer": f"{max((feeder.distance_m.get(b, 0.0) for b in feeder.customer_bus), default=0.0):.0f} m",
        "coordinates": f"{len(feeder.coordinates)} buses",
        "customers at": ", ".join(
            f"{name} {bus}.{'.'.join(map(str, at))}"
            for name, bus, at in zip(feeder.customers, feeder.customer_bus, feeder.customer_phases, strict=True)
        ),
    }
    for key, value in rows.items():
        table.add_row(key, value)
    console.print(table)
    for warning in feeder.warnings:
        console.print(f"[yellow]warning:[/yellow] {warning}", highlight=False)


def _rated(feeder: Feeder, line: str) -> str:
    rating_a = feeder.network.branch(line).rating_a
    return f"{line}, {rating_a:.0f} A" if np.isfinite(rating_a) else f"{line}, no rating"
