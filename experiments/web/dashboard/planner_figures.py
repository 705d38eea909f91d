"""Figures of a plan from the tables of its folder, as plotly draws them in the browser.

Each is a title that says what binds, the figure, a summary in words and the numbers behind it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from dash.development.base_component import Component

from cosim.experiments.web.dashboard.controls import picture

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
"""Of Okabe and Ito's palette: told apart with every common colour blindness."""
LIGHT = {"ink": "#16202a", "faint": "#d5dbe1", "paper": "#ffffff", "plugged": "#e3e7ea", "limit": "#a8001d"}
DARK = {"ink": "#e9eef3", "faint": "#333e49", "paper": "#11161c", "plugged": "#333e49", "limit": "#ff9a9a"}
MOST_NAMED = 60
"""Up to so many vehicles are stacked one by one; more by the hour of their arrival."""
BINDS_KW = 1e-3
_LONGEST = 24
"""Letters of a name beside an axis: more would leave no room for the figure on a narrow screen."""
HEAT = [[0.0, "#e3e7ea"], [0.001, "#cfe1ec"], [0.5, "#3a86b8"], [1.0, "#002b5c"]]
HEAT_DARK = [[0.0, "#333e49"], [0.001, "#1f4f73"], [0.5, "#3f97d0"], [1.0, "#dcefff"]]


@dataclass(frozen=True, eq=False)
class Planned:
    """Tables of a plan's folder.

    Attributes
    ----------
    plan, station, vehicles : DataFrame
        As ``cosim plan`` writes them.
    told : dict
        ``plan.json``.
    """

    plan: pd.DataFrame
    station: pd.DataFrame
    vehicles: pd.DataFrame
    told: dict[str, Any]

    @staticmethod
    def read(folder: Path) -> Planned:
        """Read a folder."""
        plan, station, vehicles = (
            pd.read_parquet(folder / f"{name}.parquet") for name in ("plan", "station", "vehicles")
        )
        return Planned(plan, station, vehicles, json.loads((folder / "plan.json").read_text(encoding="utf-8")))

    @property
    def edges(self) -> list[Any]:
        """Begin of every step by the station's clock at the start, else its number, and the end of the last."""
        count = len(self.station) + 1
        if "time" not in self.station:
            return list(range(count))
        start = pd.Timestamp(self.station["time"].iloc[0]).tz_localize(None)
        every = pd.Timedelta(seconds=float(self.told["time_step_s"]))
        return [(start + k * every).isoformat() for k in range(count)]

    @property
    def times(self) -> list[Any]:
        """Begin of every step."""
        return self.edges[:-1]

    @property
    def has_zone(self) -> bool:
        """Whether the station's clock is known."""
        return "time" in self.station and isinstance(self.station["time"].dtype, pd.DatetimeTZDtype)

    def clock(self, step: float) -> str:
        """A step in words."""
        if "time" not in self.station:
            return f"step {step:g}"
        start = pd.Timestamp(self.station["time"].iloc[0]).tz_localize(None)
        moment = start + step * pd.Timedelta(seconds=float(self.told["time_step_s"]))
        days = (moment.normalize() - start.normalize()).days
        return f"{moment:%H:%M}" if not days else f"{moment:%H:%M} on {moment:%d %b}"

    @property
    def powers(self) -> pd.DataFrame:
        """Power of each vehicle [kW], step × vehicle, nan where it is not there, the first arrival first."""
        order = self.vehicles.sort_values(["arrival_step", "departure_step"], kind="stable")["vehicle"]
        wide = self.plan.pivot_table(index="step", columns="vehicle", values="power_kw", aggfunc="sum")
        return wide.reindex(index=self.station["step"], columns=list(order))


def pictures(planned: Planned, theme: str) -> list[Component]:
    """All figures of a plan."""
    look = DARK if theme == "dark" else LIGHT
    return [draw(planned, look) for draw in (_station, _heatmap, _stack, _departures)]


def frame_of(
    planned: Planned, look: dict[str, str], y: str, *, height: int = 340, dated: bool = True
) -> dict[str, Any]:
    """Layout of a figure: axes with their names, over the part of the horizon in which vehicles are there."""
    grid = {"gridcolor": look["faint"], "zerolinecolor": look["faint"], "linecolor": look["ink"], "automargin": True}
    layout: dict[str, Any] = {
        "height": height, "margin": {"l": 55, "r": 12, "t": 10, "b": 45}, "autosize": True,
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": look["ink"], "size": 13, "family": "system-ui, sans-serif"},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "title": {"text": ""},
                   "traceorder": "normal"},
        "hovermode": "x unified", "xaxis": dict(grid), "yaxis": {**grid, "title": {"text": y}, "rangemode": "tozero"},
        "hoverlabel": {"bgcolor": look["paper"], "font": {"color": look["ink"]}},
    }  # fmt: skip
    if dated:
        first, last = planned.vehicles["arrival_step"].min() - 2, planned.vehicles["departure_step"].max() + 2
        times = planned.times
        span = [times[max(int(first), 0)], times[min(int(np.ceil(last)), len(times) - 1)]]
        name = "time of day" if "time" in planned.station else f"step of {planned.told['time_step_s']:g} s"
        layout["xaxis"] |= {"title": {"text": name}, "range": span, "nticks": 7, "tickangle": 0}
    return layout


def _steps(planned: Planned, values: Any, name: str, colour: str, **line: Any) -> dict[str, Any]:
    shown = [None if np.isnan(value) else round(float(value), 4) for value in values]
    return {"type": "scatter", "mode": "lines", "x": planned.times, "y": shown, "name": name,
            "line": {"color": colour, "shape": "hv", "width": 2, **line}, "hovertemplate": "%{y:.2f}"}  # fmt: skip


def _capacity(planned: Planned, look: dict[str, str]) -> list[dict[str, Any]]:
    capacity_kw = planned.station["capacity_kw"]
    return [] if capacity_kw.isna().all() else [_steps(planned, capacity_kw, "capacity", look["limit"], dash="dash")]


def _binding(planned: Planned) -> tuple[str, str]:
    """What the capacity does to the plan, as a title and as a sentence."""
    station, peak_kw = planned.station, float(planned.station["power_kw"].max())
    at = planned.clock(float(station["step"].iloc[int(station["power_kw"].argmax())]))
    if station["capacity_kw"].isna().all():
        return "Nothing limits the connection", f"Charging peaks at {peak_kw:.1f} kW, at {at}."
    is_used = station["step"].isin(planned.plan["step"])  # somebody is there
    full = station[(station["power_kw"] >= station["capacity_kw"] - BINDS_KW) & is_used]
    if full.empty:
        room_kw = float((station["capacity_kw"] - station["power_kw"]).min())
        return "The capacity never binds", (
            f"Charging peaks at {peak_kw:.1f} kW, at {at}; at least {room_kw:.1f} kW of the capacity stay free."
        )
    first, last = planned.clock(float(full["step"].iloc[0])), planned.clock(float(full["step"].iloc[-1]) + 1)
    return f"The capacity binds in {len(full)} of {len(station)} steps", (
        f"All of the capacity is used in {len(full)} steps between {first} and {last}; the peak is {peak_kw:.1f} kW."
    )


def _station(planned: Planned, look: dict[str, str]) -> Component:
    station = planned.station
    title, summary = _binding(planned)
    traces = [{**_steps(planned, station["power_kw"], "charging", BLUE), "fill": "tozeroy"}]
    traces += _capacity(planned, look)
    if station["site_kw"].abs().max() > 0:
        traces.append(_steps(planned, station["site_kw"], "site load less PV", RED, dash="dot"))
    layout = frame_of(planned, look, "power [kW]")
    if np.ptp(station["tariff_eur_per_kwh"]) > 0:
        price = _steps(planned, station["tariff_eur_per_kwh"], "price", GREEN)
        traces.append({**price, "yaxis": "y2", "hovertemplate": "%{y:.4f} EUR/kWh"})
        layout["yaxis"]["domain"], layout["height"] = [0.36, 1.0], 430
        layout["yaxis2"] = {
            **layout["yaxis"],
            "domain": [0.0, 0.26],
            "title": {"text": "EUR/kWh"},
            "rangemode": "normal",
        }
        layout["xaxis"]["anchor"] = "y2"
        low, high = station["tariff_eur_per_kwh"].min(), station["tariff_eur_per_kwh"].max()
        summary += f" The price goes from {low:.3f} to {high:.3f} EUR/kWh."
    return picture(title, {"data": traces, "layout": layout}, summary, without_zone(station), "planner-station")


def _heatmap(planned: Planned, look: dict[str, str]) -> Component:
    powers, vehicles = planned.powers, planned.vehicles
    short = vehicles[vehicles["unserved_kwh"] > 0.005].sort_values("served_percent", kind="stable")
    title = f"All {len(vehicles)} vehicles get what they need"
    summary = f"Charging power of {len(vehicles)} vehicles in {len(planned.station)} steps, the first arrival on top."
    if len(short):
        title = f"{len(short)} of {len(vehicles)} vehicles leave with less than they need"
        named = [f"{row.vehicle} ({row.served_percent:.0f} %)" for row in short.head(3).itertuples()]
        summary += f" Least served: {', '.join(named)}."
    names = as_labels(powers)
    layout = frame_of(planned, look, "vehicle", height=int(np.clip(120 + 15 * len(names), 260, 900)))
    layout["yaxis"] |= {"autorange": "reversed", "type": "category", "showgrid": False}
    layout["yaxis"].pop("rangemode")
    layout |= {"hovermode": "closest", "xaxis": {**layout["xaxis"], "showgrid": False}}
    heat = {
        "type": "heatmap", "x": planned.edges, "y": names, "z": plain_numbers(powers.to_numpy().T), "zmin": 0.0,
        "colorscale": HEAT_DARK if look is DARK else HEAT, "hoverongaps": False, "xgap": 0, "ygap": 1,
        "colorbar": {"title": {"text": "kW"}, "thickness": 12, "outlinewidth": 0},
        "hovertemplate": "%{y}, %{x}: %{z:.2f} kW<extra></extra>",
    }  # fmt: skip
    summary += " Pale: plugged in, not charging; empty: not there."
    wide = powers.copy().reset_index()
    if "time" in planned.station:
        wide.insert(1, "time", planned.station["time"].to_numpy())
    return picture(title, {"data": [heat], "layout": layout}, summary, without_zone(wide), "planner-heatmap")


def _stack(planned: Planned, look: dict[str, str]) -> Component:
    powers = planned.powers.fillna(0.0)
    one, what = "one colour per vehicle, the earliest at the bottom", "vehicle"
    if powers.shape[1] > MOST_NAMED:
        arrival = planned.vehicles.set_index("vehicle")["arrival_step"].reindex(powers.columns)
        hour = np.floor(arrival * float(planned.told["time_step_s"]) / 3600.0).astype(int)
        powers = powers.T.groupby(hour.to_numpy()).sum().T
        powers.columns = [f"arrived in hour {hour}" for hour in powers.columns]
        one, what = "one colour per hour of arrival, the earliest at the bottom", "hour of arrival"
    shades = _shades(powers.shape[1])
    traces: list[dict[str, Any]] = [
        {**_steps(planned, powers[name], str(name), colour, width=0.5), "stackgroup": "all", "fillcolor": colour,
         "showlegend": False, "hoverinfo": "skip", "hovertemplate": None}
        for name, colour in zip(powers, shades, strict=True)
    ]  # fmt: skip
    traces += [_steps(planned, planned.station["power_kw"], "all together", look["ink"], width=1.5)]
    traces += _capacity(planned, look)
    most = powers.sum().idxmax()
    energy_kwh = float(planned.plan["energy_kwh"].sum())
    summary = f"Power by {what}, stacked: {one}. Together {energy_kwh:.1f} kWh; most of all {most}."
    title = f"Who shares the {float(planned.station['power_kw'].max()):.1f} kW of the peak"
    layout = frame_of(planned, look, "power [kW]", height=380)
    data = without_zone(powers.round(2).reset_index())
    return picture(title, {"data": traces, "layout": layout}, summary, data, "planner-stack")


def _departures(planned: Planned, look: dict[str, str]) -> Component:
    vehicles = planned.vehicles.sort_values(["departure_step", "vehicle"], kind="stable")
    names, labels = [str(vehicle) for vehicle in vehicles["vehicle"]], as_labels(vehicles["vehicle"])
    when = [planned.clock(step) for step in vehicles["departure_step"]]
    missing = vehicles["unserved_kwh"].clip(lower=0.0)
    traces = [
        {"type": "bar", "x": labels, "y": plain_numbers(vehicles["energy_delivered_kwh"]), "name": "delivered",
         "marker": {"color": BLUE}, "customdata": when, "hovertemplate": "%{y:.2f} kWh, leaves at %{customdata}"},
        {"type": "bar", "x": labels, "y": plain_numbers(missing), "name": "missing",
         "marker": {"color": ORANGE, "pattern": {"shape": "/", "fgcolor": look["ink"], "size": 6}},
         "hovertemplate": "%{y:.2f} kWh"},
    ]  # fmt: skip
    layout = frame_of(planned, look, "energy [kWh]", dated=False)
    layout |= {"barmode": "stack", "bargap": 0.15}
    layout["xaxis"] |= {"title": {"text": "vehicle, in the order of departure"}, "type": "category", "showgrid": False}
    total_kwh, need_kwh = float(missing.sum()), float(vehicles["energy_need_kwh"].sum())
    title = (
        "Nobody leaves short"
        if total_kwh < 0.005
        else f"{total_kwh:.1f} of {need_kwh:.1f} kWh are missing at departure"
    )
    first, last = when[0], when[-1]
    summary = f"Energy by departure, from {names[0]} at {first} to {names[-1]} at {last}; striped: what is missing."
    columns = ["vehicle", "energy_need_kwh", "energy_delivered_kwh", "unserved_kwh", "served_percent", "power_peak_kw"]
    data = vehicles[columns].assign(leaves=when)
    return picture(title, {"data": traces, "layout": layout}, summary, data, "planner-departures")


def without_zone(frame: pd.DataFrame) -> pd.DataFrame:
    """Times without their zone: the clock of the station."""
    is_dated = isinstance(frame.get("time", frame.iloc[:, 0]).dtype, pd.DatetimeTZDtype)
    return frame.assign(time=frame["time"].dt.tz_localize(None)) if is_dated else frame


def as_labels(names: Iterable[object]) -> list[str]:
    """Names as a figure shows them: short, all different, and as text, for plotly reads tags as HTML."""
    labels: dict[str, None] = {}
    for name in map(str, names):
        short = name if len(name) <= _LONGEST else f"{name[: _LONGEST // 2]}…{name[1 - _LONGEST // 2 :]}"
        others = (f"{short} ({again})" for again in count(2))
        plain = (escape(one, quote=False) for one in chain([short], others))
        labels[next(one for one in plain if one not in labels)] = None
    return list(labels)


def plain_numbers(values: Any) -> list[Any]:
    """Numbers that JSON can hold: nothing instead of nan."""
    held = np.round(np.asarray(values, dtype=np.float64), 4)
    return np.where(np.isnan(held), None, held.astype(object)).tolist()  # type: ignore[no-any-return,call-overload]


def _shades(count: int) -> list[str]:
    """Colours of viridis at even distances."""
    import matplotlib as mpl
    from matplotlib.colors import to_hex

    return [to_hex(mpl.colormaps["viridis"](at)) for at in np.linspace(0.08, 0.95, max(count, 2))[:count]]
