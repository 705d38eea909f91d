"""Last step of the planner: what became of the cars, and how the plan changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dash import Dash, html
from dash.development.base_component import Component

if TYPE_CHECKING:
    from cosim.experiments.web.planning import Planning


def form() -> Component:
    """Empty until there is a plan."""
    return html.Div(id="planner-replan")


def register(app: Dash, planning: Planning) -> None:
    """Add the callbacks of this step."""
