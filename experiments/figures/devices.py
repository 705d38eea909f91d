"""Who draws and who feeds in: household, cars, roofs and all other devices, summed over the homes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from cosim.contract import Float
from cosim.experiments.figures import style
from cosim.experiments.figures.runs import NothingToDrawError, Runs, clock, edges_of
from cosim.trajectory import Trajectory

HOUSEHOLD, CARS, SUN = "household", "cars", "sun"
_COLOURS = {
    HOUSEHOLD: "#7F7F7F", CARS: "#0072B2", SUN: "#E69F00", "heat pump": "#D55E00", "battery": "#009E73",
}  # fmt: skip
_OTHERS = ("#CC79A7", "#56B4E9", "#000000")


def draw(runs: Runs) -> style.Drawing:
    """Powers over time, stacked: what draws above zero, what feeds in below it; one panel per run."""
    powers = {label: powers_kw(run) for label, run in runs}
    names = list(dict.fromkeys(name for of_run in powers.values() for name in of_run))
    if not names:
        raise NothingToDrawError("nobody draws or feeds in")
    colours = {name: _COLOURS.get(name) or _OTHERS[row % len(_OTHERS)] for row, name in enumerate(names)}
    figure, (panels,) = runs.grid(runs.labels, 1.35, "all homes [kW]")
    for axes, (label, run) in zip(panels, runs, strict=True):
        _stack(axes, run, powers[label], colours)
        net = run.net_kw.sum(axis=1)
        style.steps(axes, edges_of(run), net, "black", linewidth=0.9)
        summary = f"net {net.min():.0f} to {net.max():.0f} kW, most at {clock(run, int(net.argmax()))}"
        style.panel_title(axes, label, summary.replace("-", "−"), runs.stopped(label))
    keys: list[Artist] = [style.area_key(colours[name], name, alpha=0.75) for name in names]
    keys.append(style.line_key("black", "net at the meters"))
    return style.finish(figure, _title(runs, powers), style.CAPTIONS["devices"], keys)


def powers_kw(run: Trajectory) -> dict[str, Float]:
    """Sum over the homes by kind of device, + is consumption, shape (step,) [kW]; without those that do nothing.

    Beside household, cars and sun these are the devices of the day.
    """
    found = {HOUSEHOLD: run.demand_kw, CARS: run.ev_kw, SUN: -run.pv_kw}
    found |= {name.replace("_", " "): power for name, power in run.devices_kw.items()}
    return {name: np.asarray(power.sum(axis=1)) for name, power in found.items() if np.any(power)}


def _stack(axes: Axes, run: Trajectory, powers: Mapping[str, Float], colours: Mapping[str, str]) -> None:
    drawn, fed = np.zeros(run.steps), np.zeros(run.steps)
    for name, power in powers.items():
        above, below = drawn + power.clip(min=0), fed + power.clip(max=0)
        if (above > drawn).any():
            style.between(axes, edges_of(run), drawn, above, colours[name], alpha=0.75)
        if (below < fed).any():
            style.between(axes, edges_of(run), below, fed, colours[name], alpha=0.75)
        drawn, fed = above, below
    axes.axhline(0.0, color="#888888", linewidth=0.6)


def _title(runs: Runs, powers: Mapping[str, Mapping[str, Float]]) -> str:
    """Say what makes the highest draw of the reference run."""
    label = runs.reference_label
    step = int(runs.reference.net_kw.sum(axis=1).argmax())
    parts = {name: float(power[step]) for name, power in powers[label].items() if power[step] > 0.05}
    said = ", ".join(f"{name} {kw:.0f} kW" for name, kw in sorted(parts.items(), key=lambda part: -part[1]))
    return f"The highest draw under {label}, at {clock(runs.reference, step)}: {said or 'nothing'}"
