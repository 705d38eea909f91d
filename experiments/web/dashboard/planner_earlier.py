"""Foot of the planner's page: plans and sessions that were there before."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pandas as pd
from dash import Dash, Input, Output, html
from dash.development.base_component import Component

from cosim.experiments.web.dashboard.controls import table
from cosim.experiments.web.dashboard.planner_words import STATUS, address

if TYPE_CHECKING:
    from cosim.experiments.web.catalogue import SessionsRow
    from cosim.experiments.web.planning import Planning
    from cosim.experiments.web.records import PlanRecord

MOST = 50
"""Of those that are listed."""


def register(app: Dash, planning: Planning) -> None:
    """Add the callback of both lists."""

    @app.callback(
        Output("planner-earlier", "children"), Output("planner-tables", "children"), Input("planner-plan", "data"),
        Input("planner-sessions", "data"),
    )  # fmt: skip
    async def earlier(current: str | None, sessions_id: str | None) -> Any:
        return await asyncio.to_thread(lambda: (_earlier(planning, current), _tables(planning, sessions_id)))


def _earlier(planning: Planning, current: str | None) -> Component:
    found = [planning.get_plan(row.id) for row in planning.plan_rows()[: MOST + 1] if row.id != current]
    if not found:
        return html.P("There are none.")
    names = {row.id: row.name for row in planning.all_sessions()}
    rows, links = [], []
    for one in found:
        figures = dict.fromkeys(("ended", "served [%]", "peak [kW]", "cost [EUR]"))
        figures["ended"] = one.status
        if one.status == "done":
            held = one.metrics
            cost_eur = held["energy_cost_eur"] + held["peak_cost_eur"]
            values = (STATUS.get(held["status"], held["status"]), held["served_percent"], held["peak_kw"], cost_eur)
            figures = dict(zip(figures, values, strict=True))
        rows.append(
            {"made (UTC)": f"{_made(one)}{', re-plan' if one.parent else ''}",
             "sessions": names.get(one.sessions_id, ""), **figures}
        )  # fmt: skip
        links.append(f"/planner{address(sessions=one.sessions_id, plan=one.id)}")
    return table(pd.DataFrame(rows), "Plans that were made before", links=links)


def _tables(planning: Planning, current: str | None) -> Component:
    """Sessions that were there before; of those that were edited or read anew the last."""
    every = planning.all_sessions()
    parents = {row.parent for row in every}
    found = [row for row in every if row.id not in parents and row.id != current][:MOST]
    if not found:
        return html.P("There are none.")
    links = [f"/planner{address(sessions=row.id)}" for row in found]
    rows = [{"made (UTC)": _made(row), "sessions": row.name} for row in found]
    return table(pd.DataFrame(rows), "Sessions that were there before", links=links)


def _made(one: PlanRecord | SessionsRow) -> str:
    return one.created[:19].replace("T", " ")
