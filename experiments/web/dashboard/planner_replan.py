"""Last step of the planner: what has become of the cars by now, the rest of the day planned anew, and what changes."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pandas as pd
from dash import Dash, Input, Output, State, html, no_update
from dash.development.base_component import Component

from cosim.errors import Fault
from cosim.experiments.web.catalogue import NotFoundError
from cosim.experiments.web.dashboard.controls import card, grid, lines, text, worker
from cosim.experiments.web.dashboard.planner_figures import Planned
from cosim.experiments.web.dashboard.planner_words import (
    REFUSED,
    InTurn,
    address,
    faults_of,
    in_words,
    number,
    tell_faults,
)
from cosim.experiments.web.schemas import LiveStateRequest

if TYPE_CHECKING:
    from cosim.experiments.web.planning import Planning

_NEW_CAR = "name, energy [kWh], power [kW], when it leaves"
_LEAST = _NEW_CAR.count(",") + 1
_STATES = {"as planned": None, "plugged in": "plugged", "still to come": "expected", "gone": "gone"}


def register(app: Dash, planning: Planning, in_turn: InTurn) -> None:
    """Add the callbacks of this step."""

    @app.callback(Output("planner-replan-part", "children"), Input("planner-plan", "data"))
    async def offered(plan_id: str | None) -> Any:
        if plan_id is None:
            return []
        try:
            found = await asyncio.to_thread(planning.get_plan, plan_id)
        except NotFoundError:
            return []
        return _form(await asyncio.to_thread(Planned.read, found.folder)) if found.status == "done" else []

    @app.callback(
        Output("planner-plan", "data", allow_duplicate=True), Output("planner-url", "search", allow_duplicate=True),
        Output("shell-live", "children", allow_duplicate=True), Input("planner-replan", "n_clicks"),
        State("planner-plan", "data"), State("planner-now", "value"), State("planner-further-stay-h", "value"),
        State("planner-live", "rowData"), State("planner-new", "value"),
        prevent_initial_call=True,
    )  # fmt: skip
    async def replanned(
        clicks: int | None, plan_id: str, moment: str, stay: str, rows: list[dict[str, Any]], new: str
    ) -> Any:  # fmt: skip
        if not clicks:
            return (no_update,) * 3
        faults: list[Fault] = []
        made = None
        try:
            state = _state(moment, stay, rows, new, faults)
            made = await in_turn(lambda: planning.replan(plan_id, state)) if state else None
        except REFUSED as error:
            faults += faults_of(error)
        beside = [Fault(one.where, "now", one.problem, one.remedy) if one.key == "time" else one for one in faults]
        tell_faults(beside, ("now", "further-stay-h", "new"), "planner-replan-problems")
        if made is None:
            return no_update, no_update, "There is no new plan: see what is wrong."
        return made.id, address(sessions=made.sessions_id, plan=made.id), f"Planned anew. {in_words(made)}"


def _state(
    moment: str, stay: str, rows: list[dict[str, Any]], new: str, faults: list[Fault]
) -> LiveStateRequest | None:
    """Live state from what the form holds; vehicles of which nothing is said are as planned."""
    vehicles = []
    for row in rows:
        said: dict[str, Any] = {"status": _STATES.get(row.get("status") or "as planned")}
        said |= {key: _moment(row[key]) for key in ("arrival", "departure") if row.get(key)}
        said["delivered_kwh"] = number(str(row.get("delivered_kwh") or ""), f"vehicle {row['vehicle']}", faults)
        given = {key: value for key, value in said.items() if value is not None}
        if given:
            vehicles.append({"vehicle": row["vehicle"], **given})
    if not (moment or "").strip():
        faults.append(Fault("request", "now", "is missing", "write the moment from which on to plan"))
    cars = _new(new, faults)
    further_h = number(stay, "further-stay-h", faults)
    if faults:
        return None
    known = {} if further_h is None else {"further_stay_h": further_h}
    return LiveStateRequest.model_validate({"time": _moment(moment), "vehicles": vehicles, "new": cars, **known})


def _new(typed: str | None, faults: list[Fault]) -> list[dict[str, Any]]:
    """Cars that were not planned, one a line."""
    cars = []
    for row, words in enumerate((typed or "").splitlines(), start=1):
        parts = [part.strip() for part in re.split("[,;]", words)]
        if not any(parts):
            continue
        if not _LEAST <= len(parts) <= _LEAST + 1 or "" in parts[:_LEAST]:
            faults.append(Fault("request", "new", f"line {row} is not understood: {words!r:.60}", f"write {_NEW_CAR}"))
            continue
        name, energy, power, leaves, comes = (*parts, "")[: _LEAST + 1]
        car = {"vehicle": name, "energy_kwh": number(energy, "new", faults), "power_kw": number(power, "new", faults),
               "departure": _moment(leaves), "arrival": _moment(comes) if comes else None}  # fmt: skip
        cars.append(car)
    return cars


def _moment(typed: object) -> str | float:
    """A step where it is a number, else a time."""
    words = str(typed).strip()
    return float(words) if words.replace(".", "", 1).isdigit() else words


def _form(planned: Planned) -> Component:
    vehicles = planned.vehicles
    dated = "time" in planned.station
    middle = (vehicles["arrival_step"].min() + vehicles["departure_step"].max()) / 2
    start = pd.Timestamp(planned.station["time"].iloc[0]).tz_localize(None) if dated else None
    moment = start + round(middle) * pd.Timedelta(seconds=planned.told["time_step_s"]) if start is not None else None
    empty = {"status": "as planned", "arrival": "", "departure": "", "delivered_kwh": ""}
    comes, leaves = (
        vehicles[f"{what}_step"].astype(float).map(planned.clock).tolist() for what in ("arrival", "departure")
    )
    names = vehicles["vehicle"].astype(str).tolist()
    rows = [{"vehicle": name, "comes": came, "leaves": left, **empty}
            for name, came, left in zip(names, comes, leaves, strict=True)]  # fmt: skip
    fixed = {"editable": False}
    columns: list[dict[str, Any]] = [
        {"field": "vehicle", "headerName": "vehicle", **fixed},
        {"field": "comes", "headerName": "planned: comes", **fixed},
        {"field": "leaves", "headerName": "planned: leaves", **fixed},
        {
            "field": "status",
            "headerName": "now",
            "cellEditor": "agSelectCellEditor",
            "cellEditorParams": {"values": list(_STATES)},
        },
        {"field": "arrival", "headerName": "comes now"},
        {"field": "departure", "headerName": "leaves now"},
        {"field": "delivered_kwh", "headerName": "delivered [kWh]"},
    ]
    sheet = grid("planner-live", rows, columns, "params.data.vehicle", height_px=380)
    example = f"Such as {moment:%Y-%m-%d %H:%M}." if moment is not None else "A step from the start."
    hint = "Only what differs from the plan: who is gone, comes or leaves at another time, and what was delivered."
    return card("6 · As the day goes", [
        html.Div([
            text("planner-now", "Now", f"{moment:%Y-%m-%d %H:%M}" if moment is not None else round(middle), example),
            text("planner-further-stay-h", "Further stay [h]", 1.0, "Of cars beyond their departure.", kind="decimal"),
        ], className="shell-form"),
        html.P(hint, className="shell-hint"), sheet,
        lines("planner-new", "Cars that were not planned", "", f"One a line: {_NEW_CAR}, and when it comes if later."),
        worker("Plan the rest", "planner-replan", "Planning …"),
        html.Div(id="planner-replan-problems", role="alert"),
    ], "planner-replan-card")  # fmt: skip
