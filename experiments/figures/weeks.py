"""A long run week by week: loading, voltage and energy."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

from cosim.contract import Float
from cosim.experiments.figures import style
from cosim.experiments.scenario import WEEK_MIN
from cosim.standards import Standard

_ASSETS = {"transformer_peak_percent": ("transformer", "-"), "line_peak_percent": ("worst line", ":")}
_ENERGIES = {
    "import_kwh": "import",
    "export_kwh": "export",
    "pv_available_kwh": "sun on roofs",
    "ev_delivered_kwh": "cars",
    "heat_pump_kwh": "heat pumps",
}


def draw(parts: pd.DataFrame, step_min: float, standard: Standard) -> style.Drawing:
    """Draw the weeks of all runs.

    Parameters
    ----------
    parts : pandas.DataFrame
        Rows of ``parts.csv``.
    step_min : float
        Length of a step [min].
    standard : Standard
        By which voltages are judged.
    """
    figure, blocks = style.sheet(*[style.Block(1, 1, 1.9)] * 3)
    loading, voltage, energy = (panels[0] for panels in blocks)
    runs = {str(label): rows.reset_index(drop=True) for label, rows in parts.groupby("controller", sort=False)}
    colours = dict(zip(runs, style.RUN_COLOURS * len(runs), strict=False))
    named = len(runs) > 1
    for label, rows in runs.items():
        borders, said = _borders(rows, step_min), f"{label}, " if named else ""
        for name, (asset, dash) in _ASSETS.items():
            colour = colours[label] if named else style.RUN_COLOURS[list(_ASSETS).index(name)]
            style.steps(loading, borders, rows[name].to_numpy(), colour, linestyle=dash, label=f"{said}{asset}")
        style.between(voltage, borders, rows["voltage_min_pu"].to_numpy(), rows["voltage_max_pu"].to_numpy(),
                      colours[label] if named else style.USED, alpha=0.35, label=label)  # fmt: skip
    _energy(energy, next(iter(runs.values())), step_min)
    style.limit_line(loading, 100.0, "rating")
    for limit in standard.low[0].lower_pu, standard.low[0].upper_pu:
        style.limit_line(voltage, limit, f"{limit:.2f} pu")
    for axes, unit in ((loading, "highest loading [%]"), (voltage, "voltage [pu]"), (energy, "energy [kWh a week]")):
        axes.set_ylabel(unit)
        locator = AutoDateLocator()  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        axes.set_xlim(*_borders(next(iter(runs.values())), step_min)[[0, -1]])
    loading.set_ylim(bottom=0.0)
    style.legend_above(loading)
    style.legend_above(energy, next(iter(runs)) if named else "")
    caption = style.CAPTIONS["weeks"].format(rule=standard.rule())
    return style.finish(figure, _title(runs), caption)


def _energy(axes: Axes, rows: pd.DataFrame, step_min: float) -> None:
    """Energies of one run; what it does not have is left out."""
    per_week = WEEK_MIN / (rows["steps"].to_numpy() * step_min)
    there = [name for name in _ENERGIES if name in rows and rows[name].sum() > 0.0]
    for name, colour in zip(there, style.RUN_COLOURS, strict=False):
        style.steps(axes, _borders(rows, step_min), rows[name].to_numpy() * per_week, colour, label=_ENERGIES[name])
    axes.set_ylim(bottom=0.0)


def _borders(rows: pd.DataFrame, step_min: float) -> Float:
    """First moment of every week and the last of all, in days as on the time axis."""
    starts = pd.to_datetime(rows["start"])
    end = starts.iloc[-1] + timedelta(minutes=float(rows["steps"].iloc[-1]) * step_min)
    moments = pd.DatetimeIndex([*starts, end])
    return np.asarray((moments - pd.Timestamp(0)) / pd.Timedelta(days=1), np.float64)


def _title(runs: dict[str, pd.DataFrame]) -> str:
    peaks = [
        (float(rows[name].max()), label, asset, rows["start"][int(rows[name].argmax())])
        for label, rows in runs.items()
        for name, (asset, _) in _ASSETS.items()
        if rows[name].notna().any()
    ]
    lowest, of_run = min((float(rows["voltage_min_pu"].min()), label) for label, rows in runs.items())
    several = len(runs) > 1
    low = f"lowest voltage {lowest:.3f} pu{f' ({of_run})' if several else ''}"
    if not peaks:
        return low.capitalize()
    percent, label, asset, start = max(peaks)
    when = f"{f'{label}, ' if several else ''}week of {pd.Timestamp(start):%d %B}"
    return f"{asset.capitalize()} up to {percent:.0f} % ({when}); {low}"
