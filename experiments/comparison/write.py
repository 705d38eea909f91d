"""A comparison on screen and on disk: tables, figures, one HTML file, one workbook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from cosim.errors import Fault, refuse
from cosim.experiments.comparison.figures import draw
from cosim.experiments.comparison.paired import ALL, Comparison
from cosim.experiments.figures import FigureFile, style
from cosim.experiments.metric_table import ABSENT, metric_of
from cosim.experiments.report import template
from cosim.experiments.show import print_table
from cosim.experiments.tables import markdown, without_formulas, write_csv
from cosim.folder import write_whole

WORST_CUSTOMER = (
    "voltage_min_pu", "voltage_max_pu", "ev_served_min_percent", "withheld_max_home_kwh", "hours_below_floor_max_h",
    "pv_curtailed_max_home_percent", "comfort_short_max_kh",
)  # fmt: skip
MEASURES = (
    "transformer_peak_percent", "line_peak_percent", "overvoltage_min", "undervoltage_min", "vuf_p95_percent",
    "neutral_current_p95_a", "losses_kwh", "pv_curtailed_kwh", "ev_unserved_kwh", "cost_with_penalty_eur",
)  # fmt: skip
"""Shown where nothing else is asked for."""

WORKBOOK_REMEDY = "pip install 'lv-feeder-cosim[plan]' for a workbook too"


def chosen(comparison: Comparison, asked: str = "", where: str = "") -> list[str]:
    """Return the measures to show: those asked for, by commas, or the usual ones in which controllers differ."""
    present = list(dict.fromkeys(comparison.table["metric"]))
    if asked:
        names = [name.strip() for name in asked.split(",") if name.strip()]
        refuse([
            Fault(where, "measures", f"'{name}' is no measure of the study", f"choose from {', '.join(present)}")
            for name in names
            if name not in present
        ])  # fmt: skip
        return names
    return [name for name in MEASURES if name in present and np.ptp(comparison.of(name)["mean"]) > 0.0] or present[:6]


def board(comparison: Comparison, measures: Sequence[str], factor: str = ALL, level: str = "") -> pd.DataFrame:
    """Measures × controllers as printed: mean ± half of the interval, ``*`` better and ``!`` worse than the baseline.

    A mark is set where the interval of the paired difference leaves out zero.
    """
    table = {"measure": [f"{metric_of(name).meaning} [{metric_of(name).unit or '1'}]" for name in measures]}
    rows = [comparison.told(name, factor, level) for name in measures]
    for controller in comparison.controllers:
        table[controller] = [_cell(row.get(controller, {}), name) for row, name in zip(rows, measures, strict=True)]
    return pd.DataFrame(table)


def _cell(row: Mapping[str, Any], metric: str) -> str:
    if not row:
        return ABSENT
    told = metric_of(metric)
    text = f"{row['mean']:.{told.digits}f}"
    if np.isfinite(row["low"]):
        text += f" ± {row['mean'] - row['low']:.{told.digits}f}"
    low, high = row["difference_low"], row["difference_high"]
    if not told.better or told.check or not (low > 0.0 or high < 0.0):
        return text
    return f"{text} {'*' if (high < 0.0) == (told.better == 'low') else '!'}"


def lines(comparison: Comparison) -> list[str]:
    """Say what was compared, and what was not."""
    count = int(comparison.table["placements"].max())
    said = [
        f"{comparison.compared} worlds, {count} placement{'' if count == 1 else 's'}: mean ± half of its 95 % interval "
        f"over placements; * better, ! worse than {comparison.baseline} on the same worlds, beyond chance."
    ]
    if count < 2:
        said.append("One placement has no spread: no interval, no mark. Ask for placements = 20 or more.")
    if many := int(comparison.ended.get("limited", pd.Series(dtype=int)).sum()):
        said.append(f"In {many} runs a wall-clock limit struck: they count, and may not repeat.")
    if comparison.left_out:
        bad = comparison.ended.drop(columns=["ok", "limited"], errors="ignore")
        told = [
            f"{name}: {', '.join(f'{many} {status}' for status, many in bad.loc[name].items() if many)}"
            for name in bad.index
            if bad.loc[name].sum()
        ]
        why = "; ".join(told) or "rows are missing"
        said.append(f"{comparison.left_out} worlds are left out, which not every controller ended ({why}).")
        short = [
            f"{factor.replace('_', ' ')} {level}: {left} of {of}"
            for (factor, level), (left, of) in comparison.worlds.items()
            if factor != ALL and left < of
        ]
        if short:
            said.append(f"Levels are not to be compared where worlds are missing: {'; '.join(short)} are left.")
    return said


def show(comparison: Comparison, measures: Sequence[str], console: Console) -> None:
    """Print the comparison of all worlds."""
    for line in lines(comparison):
        console.print(line, highlight=False, soft_wrap=True)
    told = board(comparison, measures)
    print_table(console, "measure", measures, {name: told[name].tolist() for name in comparison.controllers})


def write(comparison: Comparison, measures: Sequence[str], folder: Path, name: str) -> list[str]:
    """Write ``comparison.csv``, ``.md``, ``.html``, ``.xlsx`` and figures into a folder.

    Returns
    -------
    list of str
        What is left out, with its remedy.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(comparison.table, folder / "comparison.csv")
    of_all = board(comparison, measures)
    table = markdown(of_all)
    write_whole(folder / "comparison.md", lambda temporary: temporary.write_text(table, encoding="utf-8"))
    pictures = []
    with style.house_style():
        for key, drawing in draw(comparison, measures).items():
            style.save(drawing.figure, folder / f"{key}.png")
            pictures.append(FigureFile(key, drawing.title, drawing.caption, folder / f"{key}.png"))
    worst = [metric for metric in WORST_CUSTOMER if not comparison.of(metric).empty]
    levels = [
        (f"{factor.replace('_', ' ')} {level} ({left} worlds of {of})", board(comparison, measures, factor, level))
        for (factor, level), (left, of) in comparison.worlds.items()
        if factor != ALL
    ]
    text = template("comparison.html.j2").render(
        title=name, lines=lines(comparison), pictures=pictures, ended=comparison.ended, comparison=comparison,
        boards=[("All worlds", of_all), ("The worst customer", board(comparison, worst))],
        levels=levels, wins=_wins(comparison, measures),
        definitions=[(key, metric_of(key)) for key in dict.fromkeys(comparison.table["metric"])],
    )  # fmt: skip
    write_whole(folder / "comparison.html", lambda temporary: temporary.write_text(text, encoding="utf-8"))
    if find_spec("openpyxl") is None:
        return [f"comparison.xlsx is left out: {WORKBOOK_REMEDY}"]

    def workbook(temporary: Path) -> None:
        with pd.ExcelWriter(temporary, engine="openpyxl") as book:
            without_formulas(comparison.table).to_excel(book, sheet_name="comparison", index=False)
            without_formulas(comparison.ended.reset_index()).to_excel(book, sheet_name="ended", index=False)

    write_whole(folder / "comparison.xlsx", workbook)
    return []


def _wins(comparison: Comparison, measures: Sequence[str]) -> pd.DataFrame:
    """Measures × controllers: how many worlds each wins against the baseline, and in how many it is alike."""
    measures = [name for name in measures if metric_of(name).better]
    table, rows = {"measure": [metric_of(name).meaning for name in measures]}, list(map(comparison.told, measures))
    for controller in comparison.controllers[1:]:
        cells = []
        for row in (of_all.get(controller, {}) for of_all in rows):
            wins, alike = row.get("wins_percent", np.nan), row.get("ties_percent", np.nan)
            cells.append(f"{wins:.0f} % ({alike:.0f} % alike)" if np.isfinite(wins) else ABSENT)
        table[controller] = cells
    return pd.DataFrame(table)
