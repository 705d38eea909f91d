"""Draw measured against drawn cars as one figure.

    python feeders/data/show_apartment.py sessions.csv FIGURE.png

Needs matplotlib; `sessions.csv` as in `make_apartment.py`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from cosim.feeders.apartment import fitted
from cosim.feeders.data.make_apartment import FIT_USERS, FIT_WEEKS, LEAST_WEEKS, drawn_table, read

GROUPS = (1, 5, 10, 20, 30, 50, 100)
QUARTERS = 7 * 96
STYLES = (("measured", "black", "-"), ("drawn", "tab:orange", "--"))


def peaks_kw(table: pd.DataFrame, weeks: int) -> list[float]:
    """Mean peak per car of groups of user-weeks that charge at 7.2 kW from plug-in, in 15-minute means."""
    curves = np.zeros((weeks, QUARTERS))
    for row, start, quarters in zip(
        table["row"], table["day"] * 96 + table["hour"] * 4, table["energy_kwh"] / 1.8, strict=True
    ):
        edges = np.arange(int(start), int(start + quarters) + 2)
        here = np.minimum(edges[1:], start + quarters) - np.maximum(edges[:-1], start)
        np.add.at(curves[row], edges[:-1] % QUARTERS, 7.2 * here)
    rng = np.random.default_rng(0)
    return [
        float(np.mean([curves[rng.integers(weeks, size=n)].sum(axis=0).max() / n for _ in range(200)])) for n in GROUPS
    ]


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sessions", type=Path)
    parser.add_argument("figure", type=Path)
    options = parser.parse_args()
    tables = (read(options.sessions), drawn_table(fitted()))
    figure, axes = plt.subplots(2, 4, figsize=(15, 7), layout="constrained")
    for table, (name, color, style) in zip(tables, STYLES, strict=True):
        users, some = table.groupby("user"), table.sample(3000, random_state=0)
        first = users["week"].min()
        if name == "measured":
            weeks = users["week"].max() - first + 1
        else:
            weeks = pd.Series(FIT_WEEKS, index=range(FIT_USERS))
            first = first * 0.0
        often = weeks >= (LEAST_WEEKS if name == "measured" else 0)
        rate, weekly = (users.size() / weeks)[often], (users["energy_kwh"].sum() / weeks)[often]
        row = table["week"] - table["user"].map(first) + table["user"].map(weeks.cumsum() - weeks)
        curves = {
            "sessions of a user a week": rate, "kWh a session, at the meter": table["energy_kwh"],
            "stay [h]": table["stay"], "kWh of a user a week": weekly,
        }  # fmt: skip
        for axis, (title, values) in zip(axes.flat, curves.items(), strict=False):
            axis.plot(np.sort(values), np.linspace(0, 100, len(values)), style, color=color, label=name)
            axis.set(xlabel=title, ylabel="below this [%]", ylim=(0, 100))
            axis.set_xlim(0, np.quantile(values, 0.98))
        for axis, part, title in (
            (axes[1, 0], table["day"] < 5, "weekdays"),
            (axes[1, 1], table["day"] >= 5, "weekends"),
        ):
            clock = np.bincount((table["hour"][part].astype(int) + 4) % 24, minlength=24)
            axis.stairs(100 * clock / clock.sum(), range(25), color=color, linestyle=style, label=name)
            axis.set(xlabel=f"hour of plug-in, {title}", ylabel="share of sessions [%]", xlim=(0, 24), ylim=(0, None))
        axes[1, 2].plot(some["stay"], some["energy_kwh"], ".", color=color, alpha=0.25, ms=3, label=name)
        axes[1, 2].set(xlabel="stay [h]", ylabel="kWh a session", xlim=(0, 40), ylim=(0, 60))
        axes[1, 3].plot(
            GROUPS,
            peaks_kw(table.assign(row=row.astype(int)), int(weeks.sum())),
            style,
            color=color,
            marker="o",
            label=name,
        )
        axes[1, 3].set(xlabel="cars in a group", ylabel="peak per car at 7.2 kW [kW]", xscale="log")
    axes[1, 3].set_ylim(0, None)
    for axis in axes.flat:
        axis.legend(frameon=False)
    figure.savefig(options.figure, dpi=110)


if __name__ == "__main__":
    main()
