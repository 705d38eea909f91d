"""What figures over time and of studies share: their look in both themes, limits, and numbers as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from dash.development.base_component import Component

from cosim.experiments.web.dashboard.controls import picture
from cosim.experiments.web.dashboard.planner_figures import DARK, LIGHT


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure, its title that says what binds, what is to be seen in words, and its numbers."""

    figure: dict[str, Any]
    title: str
    summary: str
    data: pd.DataFrame

    def shown(self, name: str) -> Component:
        """As a part of the page, under that id."""
        return picture(self.title, self.figure, self.summary, self.data, name)


def look_of(theme: str) -> Mapping[str, str]:
    """Colours of ink, paper, faint lines and limits in the light or the dark theme."""
    return DARK if theme == "dark" else LIGHT


def layout_of(theme: str, y: str, *, height: int = 320) -> dict[str, Any]:
    """Layout that all figures begin with; ``y`` names the upright axis."""
    look = look_of(theme)
    axis = {"gridcolor": look["faint"], "zerolinecolor": look["faint"], "linecolor": look["ink"], "automargin": True}
    return {
        "height": height, "margin": {"l": 50, "r": 12, "t": 10, "b": 40}, "autosize": True,
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": look["ink"], "size": 13, "family": "system-ui, sans-serif"},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}, "hovermode": "x unified",
        "xaxis": dict(axis), "yaxis": {**axis, "title": {"text": y}}, "shapes": [], "annotations": [],
        "hoverlabel": {"bgcolor": look["paper"], "font": {"color": look["ink"]}},
    }  # fmt: skip


def draw_limit(layout: dict[str, Any], value: float | None, axis: str, theme: str, words: str) -> None:
    """Add a dashed line at a limit, with its words at the right; nothing where there is none."""
    if value is None:
        return
    colour = look_of(theme)["limit"]
    line = {"color": colour, "dash": "dash", "width": 1.5}
    layout["shapes"].append(
        {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": axis, "y0": value, "y1": value, "line": line}
    )
    layout["annotations"].append({
        "text": words, "xref": "paper", "x": 1, "xanchor": "right", "yref": axis, "y": value, "yanchor": "bottom",
        "showarrow": False, "font": {"color": colour},
    })  # fmt: skip


def as_json(values: Any) -> list[Any]:
    """Numbers that JSON can hold: nothing instead of nan."""
    held = np.round(np.asarray(values, dtype=np.float64), 4)
    return np.where(np.isfinite(held), held.astype(object), None).tolist()  # type: ignore[no-any-return,call-overload]
