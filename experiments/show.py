"""Tables in the terminal."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from cosim.errors import Fault, InputError, collecting, refuse
from cosim.experiments.metric_table import METRICS, Cell, cells, metric_of
from cosim.experiments.words import place_words
from cosim.standards import EN_50160, STANDARDS, Standard

if TYPE_CHECKING:
    from cosim import Feeder
    from cosim.feeders.intake import Intake

Metrics = Mapping[str, Mapping[str, float]]
Worst = Mapping[str, Mapping[str, Mapping[str, Any]]]
_NOBODY: Mapping[str, str] = {}
_INVALID = "invalid"
_NOWHERE: Worst = {}


def print_scoreboard(
    metrics: Metrics,
    console: Console,
    *,
    everything: bool = False,
    stopped: Mapping[str, str] = _NOBODY,
    standard: Standard = EN_50160,
    worst: Worst = _NOWHERE,
) -> None:
    """Controllers × measures: the best of a row in green with a star, a violated limit in red with an exclamation mark.

    Parameters
    ----------
    metrics : mapping of label to metrics
        As in ``metrics.json``.
    console : Console
        Where controllers do not fit side by side, they follow in further tables.
    everything : bool
        All metrics, not only the headlines.
    stopped : mapping of label to str
        Runs that cannot be the best, and why in words; see `read_stopped`.
    standard : Standard
        By which voltages were judged; see `read_standard`.
    worst : mapping of label to mapping of name to dict
        Where each extreme is worst; see `read_worst`. Told below the table, runs with one place together.
    """
    names = _shown(metrics, everything)
    board = _cells(metrics, names, stopped, dict.fromkeys(metrics, standard))
    console.print("[bold]Scoreboard[/bold]   * best   ! limit violated")
    columns = {_named(label, stopped): [board[label, name] for name in names] for label in metrics}
    print_table(console, "measure", names, columns)
    for name in names:
        places: dict[str, list[str]] = {}
        for label in metrics:
            if place := worst.get(label, {}).get(name):
                places.setdefault(place_words(place), []).append(label)
        said = [f"{place} ({', '.join(found)})" if len(places) > 1 else place for place, found in places.items()]
        if said:
            console.print(f"  {name}: {escape('; '.join(said))}", highlight=False, soft_wrap=True)
    _print_missing(console, stopped, metrics)


def print_comparison(folders: Sequence[Path], console: Console, *, everything: bool = False) -> None:
    """Runs of several folders × measures, runs of one name below each other, with the change from the first of them.

    A run whose name comes once is compared with the first of all.

    Parameters
    ----------
    folders : sequence of Path
        Folders that ``cosim run`` wrote.
    console : Console
        Where measures do not fit side by side, they follow in further tables.
    everything : bool
        All metrics, not only the headlines.

    Raises
    ------
    InputError
        With the faults of all folders.
    """
    read: list[dict[str, dict[str, float]]] = []
    faults: list[Fault] = []
    for folder in folders:
        with collecting(faults):
            read.append(read_metrics(folder))
    refuse(faults)
    alike = len({folder.resolve().name for folder in folders}) < len(folders)
    names = [str(folder) if alike else folder.resolve().name for folder in folders]
    labels = dict.fromkeys(label for found in read for label in found)
    runs = {
        f"{label}@{name}": (label, found[label])
        for label in labels
        for name, found in zip(names, read, strict=True)
        if label in found
    }
    metrics = {key: values for key, (_, values) in runs.items()}
    stopped = {
        f"{label}@{name}": why
        for name, folder in zip(names, folders, strict=True)
        for label, why in read_stopped(folder).items()
    }
    standards = {
        f"{label}@{name}": read_standard(folder)
        for name, folder, found in zip(names, folders, read, strict=True)
        for label in found
    }
    keys = {label: [key for key, (own, _) in runs.items() if own == label] for label in labels}
    base = {key: keys[label][0] if len(keys[label]) > 1 else next(iter(runs)) for key, (label, _) in runs.items()}
    shown = _shown(metrics, everything)
    board = _cells(metrics, shown, stopped, standards)

    def cell(key: str, name: str) -> str:
        change = metrics[key].get(name, math.nan) - metrics[base[key]].get(name, math.nan)
        digits = metric_of(name).digits
        said = f" ({change:+.{digits}f})" if round(change, digits) and math.isfinite(change) else ""
        return board[key, name] + said

    console.print(
        "[bold]Comparison[/bold]   * best   ! limit violated   (change from the first run of the name, "
        "or from the first of all)"
    )
    rows = [_named(key, stopped) for key in metrics]
    print_table(console, "run", rows, {_folded(name): [cell(key, name) for key in metrics] for name in shown})
    _print_missing(console, stopped, metrics)


def _print_missing(console: Console, stopped: Mapping[str, str], metrics: Metrics) -> None:
    for label, why in stopped.items():
        if why.startswith(_INVALID):
            console.print(
                f"[red]invalid:[/red] {escape(label + why.removeprefix(_INVALID))}", highlight=False, soft_wrap=True
            )
        elif label not in metrics:
            console.print(f"[red]missing:[/red] {escape(_named(label, stopped))}", highlight=False, soft_wrap=True)


def _shown(metrics: Metrics, everything: bool) -> list[str]:
    present = dict.fromkeys(name for values in metrics.values() for name in values)
    return [
        name
        for name in [*METRICS, *(name for name in present if name not in METRICS)]
        if name in present
        and (everything or metric_of(name).shown(values.get(name, math.nan) for values in metrics.values()))
    ]


def _named(label: str, stopped: Mapping[str, str]) -> str:
    return f"{label} ({stopped[label].partition(':')[0]})" if label in stopped else label


def _cells(
    metrics: Metrics, names: Sequence[str], stopped: Mapping[str, str], standards: Mapping[str, Standard]
) -> dict[tuple[str, str], str]:
    """Value of every run and measure as it is printed, in colour."""
    return {
        (label, name): _marked(cell)
        for name in names
        for label, cell in cells(
            name, {run: values.get(name, math.nan) for run, values in metrics.items()}, stopped, standards
        ).items()
    }


def _marked(cell: Cell) -> str:
    if cell.violated:
        return f"[red]{cell.text} ![/red]" + ("[green]*[/green]" if cell.best else "")
    return f"[green]{cell.text} *[/green]" if cell.best else cell.text


def _folded(name: str, most: int = 14) -> str:
    """Break the name of a measure at its underscores, so that a column need not be as wide as its title."""
    lines = [""]
    for part in name.split("_"):
        if lines[-1] and len(lines[-1]) + len(part) >= most:
            lines.append("")
        lines[-1] += f"{part}_"
    return "\n".join(lines).removesuffix("_")


def print_table(console: Console, corner: str, rows: Sequence[str], columns: Mapping[str, Sequence[str]]) -> None:
    """Print columns of cells beside the names of the rows, in as many tables as the width asks for."""
    room = console.width - max(map(len, [corner, *rows])) - 3
    tables: list[list[str]] = []
    left = 0
    for title, column in columns.items():
        width = max(*map(len, title.split("\n")), *[Text.from_markup(cell).cell_len for cell in column]) + 3
        if not tables or left < width:
            tables.append([])
            left = room
        tables[-1].append(title)
        left -= width
    for titles in tables:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column(corner, no_wrap=True)
        for title in titles:
            table.add_column(title, justify="right", no_wrap=True)
        for number, row in enumerate(rows):
            table.add_row(row, *[columns[title][number] for title in titles])
        console.print(table)


def read_metrics(folder: Path) -> dict[str, dict[str, float]]:
    """Scoreboard of a folder of results; InputError where it holds none."""
    path = folder / "metrics.json"
    if not os.path.isfile(path):
        raise InputError(Fault(str(path), "", "no such file", "give the folder that 'cosim run' wrote"))
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))["controllers"]
        return {
            str(label): {name: float("nan") if value is None else float(value) for name, value in values.items()}
            for label, values in content.items()
        }
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise InputError(
            Fault(str(path), "controllers", f"cannot be read ({error})", "run the scenario again")
        ) from None


def read_stopped(folder: Path) -> dict[str, str]:
    """Runs of a folder that are missing, not whole or invalid, and why; from its metrics and manifest."""
    path = folder / "manifest.json"
    if not os.path.isfile(path):  # metrics may be kept alone
        return {}

    try:
        told = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        incomplete = told["incomplete"]
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        steps = round(60 * content["scenario"]["horizon_h"] / content["scenario"]["step_min"])
        ended = {label: content["runs"][label]["steps"] for label in incomplete if label in content["runs"]}
        return {
            label: f"stopped at step {ended[label]}/{steps}" if label in ended else "did not end"
            for label in incomplete
        } | {label: f"{_INVALID}: {why}" for label, why in told.get("invalid", {}).items()}
    except (ValueError, KeyError, AttributeError, TypeError, ZeroDivisionError) as error:
        raise InputError(Fault(str(path), "runs", f"cannot be read ({error!r})", "run the scenario again")) from None


def read_standard(folder: Path) -> Standard:
    """By which the voltages of a folder of results were judged; EN 50160 where it does not say."""
    try:
        content: Any = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        return STANDARDS[content["voltage_standard"]]
    except (OSError, ValueError, KeyError, TypeError):  # metrics may be kept alone, or be of an earlier version
        return EN_50160


def read_worst(folder: Path) -> Worst:
    """Where each extreme of a folder of results is worst, by label and metric; nowhere where it does not say."""
    try:
        content: Any = json.loads((folder / "worst.json").read_text(encoding="utf-8"))
        return {str(label): dict(places) for label, places in content["controllers"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # metrics may be kept alone
        return _NOWHERE


def feeder_facts(feeder: Feeder, console: Console) -> None:
    """Print what is known of a feeder."""
    table = Table(title=f"Feeder {feeder.name}", show_header=False, title_justify="left")
    lines = feeder.network.lines
    rated = [line for line in lines if math.isfinite(line.rating_a)]
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
        "voltages judged by": feeder.standard.rule(),
        "nodes": f"{len(feeder.network.node_names)} at {len(buses)} buses",
        "customers": f"{len(feeder.customers)}: {', '.join(phases)}, {several} with several phases",
        "load in the file": f"{feeder.load_kw.sum():.1f} kW, {feeder.load_kvar.sum():.1f} kvar",
        "transformer": "none"
        if feeder.transformer is None
        else f"{feeder.transformer}, {feeder.transformer_kva:.0f} kVA, {feeder.transformer_rating_a:.1f} A a phase",
        "lines": f"{len(lines)}, {length_km:.3f} km, {len(rated)} rated",
        "head line": "none" if feeder.head_line is None else _rated(feeder, feeder.head_line),
        "watched": _first(feeder.monitored) or "nothing",
        "farthest customer": f"{max((feeder.distance_m.get(b, 0.0) for b in feeder.customer_bus), default=0.0):.0f} m",
        "coordinates": f"{len(feeder.coordinates)} buses",
        "customers at": _first(
            [
                f"{name}{_called(feeder, row)} {bus}.{'.'.join(map(str, at))}"
                for row, (name, bus, at) in enumerate(
                    zip(feeder.customers, feeder.customer_bus, feeder.customer_phases, strict=True)
                )
            ]
        ),
    }
    for key, value in rows.items():
        table.add_row(key, value)
    console.print(table)


def _first(names: Sequence[str]) -> str:
    """The first of many names: what fills the screen hides the findings below it."""
    left = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {left} more (all: --json)" if left > 0 else "")


def _called(feeder: Feeder, row: int) -> str:
    texts = [table[row] for table in (feeder.customer_names, feeder.customer_types) if table and table[row]]
    return escape(f" ({', '.join(texts)})") if texts else ""


_SHOWN = 60
_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


def area_tree(feeder: Feeder) -> Tree:
    """Draw the areas of a feeder, each below the one that feeds it."""
    root = Tree(f"areas of {escape(feeder.name)}")
    nodes: dict[str | None, Tree] = {None: root}
    for area in feeder.areas[:_SHOWN]:
        rating = f"{area.rating_kva:g} kVA, " if math.isfinite(area.rating_kva) else ""
        text = f"{area.name}: {rating}{float(f'{area.nominal_voltage_v:.4g}'):g} V, {len(area.customers)} customers"
        nodes[area.name] = nodes.get(area.parent, root).add(escape(f"{text}, {len(area.buses)} buses"))
    if len(feeder.areas) > _SHOWN:
        root.add(f"and {len(feeder.areas) - _SHOWN} more (all: --json)")
    return root


def intake_facts(intake: Intake, console: Console) -> None:
    """Print what is known of a feeder, how far runs are from its own solution, and the findings, the worst first."""
    feeder_facts(intake.feeder, console)
    console.print(area_tree(intake.feeder))
    volts, node = intake.largest_difference
    own = intake.as_is
    state = "converged" if own.converged else "not converged"
    runs = f"runs are at most {volts:.2g} V off (at {node}), losses {intake.losses_kw:.4g} kW"
    console.print(
        f"As it is, OpenDSS solves it in {own.iterations} iterations ({state}), {len(own.taps)} taps move, losses "
        f"{own.losses_kw:.4g} kW. At the file's own loads {runs if node else 'runs find no solution'}.",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    for one in sorted(intake.findings, key=lambda finding: list(_COLOURS).index(finding.severity)):
        colour = _COLOURS[one.severity]
        text = f"[{colour}]{one.severity}:[/{colour}] {escape(one.message)} [dim]({one.code})[/dim]"
        console.print(text, highlight=False, soft_wrap=True)
    if not intake.findings:
        console.print("Nothing to remark.")


def _rated(feeder: Feeder, line: str) -> str:
    rating_a = feeder.network.branch(line).rating_a
    return f"{line}, {rating_a:.0f} A" if math.isfinite(rating_a) else f"{line}, no rating"
