"""The planner: sessions in, a plan out, and how it changes when cars do not come as they said."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, to_thread
from dash import Dash, dcc, html
from dash.development.base_component import Component

from cosim.experiments.web.dashboard import (
    planner_earlier,
    planner_plan,
    planner_reading,
    planner_replan,
    planner_table,
)
from cosim.experiments.web.dashboard.controls import card
from cosim.experiments.web.dashboard.planner_words import ACCEPTED

if TYPE_CHECKING:
    from cosim.experiments.web.jobs import Jobs
    from cosim.experiments.web.planning import Planning
    from cosim.experiments.web.records import PlanRecord

PLANS_AT_ONCE = 4
"""Threads that plans may take: others wait without one, so that the pages answer meanwhile."""
PATH, NAME, TITLE = "/planner", "Planner", "Plan a day of charging"


def layout() -> Component:
    """Steps of the page; what sessions and plan are is in its address, and their content comes by callback."""
    return html.Div(
        [
            planner_table.sources(ACCEPTED),
            html.Div(id="planner-sessions-part"),
            html.Div(planner_plan.form(), id="planner-plan-part", hidden=True),
            html.Div(id="planner-stale", role="status"),
            html.Div(id="planner-result"),
            html.Div(id="planner-replan-part"),
            card("Earlier plans", html.Div(id="planner-earlier"), "planner-earlier-card"),
            card("Earlier sessions", html.Div(id="planner-tables"), "planner-tables-card"),
            dcc.Location(id="planner-url", refresh="callback-nav"),
            dcc.Store(id="planner-sessions"),
            dcc.Store(id="planner-plan"),
        ]
    )


def register(app: Dash, planning: Planning, jobs: Jobs) -> None:  # noqa: ARG001 - plans are no jobs
    """Add the callbacks of all steps."""
    at_once = CapacityLimiter(PLANS_AT_ONCE)

    async def in_turn(work: Callable[[], PlanRecord]) -> PlanRecord:
        return await to_thread.run_sync(work, limiter=at_once)

    planner_table.register(app, planning)
    planner_reading.register(app, planning)
    planner_plan.register(app, planning, in_turn)
    planner_replan.register(app, planning, in_turn)
    planner_earlier.register(app, planning)
