"""The planner: sessions in, a plan out, and how it changes when cars do not come as they said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dash import Dash, dcc, html
from dash.development.base_component import Component

from cosim.experiments.web.dashboard import planner_plan, planner_replan, planner_table
from cosim.experiments.web.dashboard.planner_words import ACCEPTED, card

if TYPE_CHECKING:
    from cosim.experiments.web.jobs import Jobs
    from cosim.experiments.web.planning import Planning

PATH, NAME, TITLE = "/planner", "Planner", "Plan a day of charging"


def layout() -> Component:
    """Steps of the page; what sessions and plan are is in its address, and their content comes by callback."""
    return html.Div(
        [
            planner_table.sources(ACCEPTED),
            html.Div(id="planner-sessions-part"),
            html.Div(planner_plan.form(), id="planner-plan-part", hidden=True),
            html.Div(id="planner-result"),
            html.Div(id="planner-replan-part"),
            card("Earlier plans", html.Div(id="planner-earlier"), "planner-earlier-card"),
            dcc.Location(id="planner-url", refresh="callback-nav"),
            dcc.Store(id="planner-sessions"),
            dcc.Store(id="planner-plan"),
        ]
    )


def register(app: Dash, planning: Planning, jobs: Jobs) -> None:  # noqa: ARG001 - plans are no jobs
    """Add the callbacks of all steps."""
    for step in (planner_table, planner_plan, planner_replan):
        step.register(app, planning)
