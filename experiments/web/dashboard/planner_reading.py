"""Second step of the planner: how a file of sessions is read, by a known kind of file or by columns that are chosen."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

from dash import ALL, Dash, Input, Output, State, html, no_update
from dash.development.base_component import Component

from cosim.errors import Fault, InputError
from cosim.experiments.plan.columns import JOIN, QUANTITIES, lay_out, profiles
from cosim.experiments.plan.table import Table
from cosim.experiments.web.dashboard.controls import card, choice, text
from cosim.experiments.web.dashboard.planner_words import (
    REFUSED,
    address,
    asked,
    faults_of,
    listed,
    number,
    problem_list,
    tell_faults,
)
from cosim.experiments.web.schemas import SessionReading

if TYPE_CHECKING:
    from cosim.experiments.web.planning import Planning
    from cosim.experiments.web.records import Sessions

_READING = ("timezone", "day", "charger-kw", "stay-h", "efficiency")
_CHOICES = ("profile", "dates", "energy")
_DATES = {"": "as the file shows", "dmy": "day first: 3/12 is in December", "mdy": "month first: 3/12 is in March"}
_ENERGY = {"": "as the profile says", "plug": "at the plug (metered)", "battery": "in the battery"}
_WORDS = {
    "vehicle": "Vehicle or session", "arrival": "Arrival", "departure": "Departure", "stay_h": "Stay [h]",
    "energy_kwh": "Energy [kWh]", "energy_wh": "Energy [Wh]", "power_kw": "Largest power [kW]",
    "power_w": "Largest power [W]", "power_min_kw": "Least power [kW]", "battery_kwh": "Battery [kWh]",
    "battery_wh": "Battery [Wh]", "soe_arrival_kwh": "Content at arrival [kWh]",
    "soc_arrival_percent": "Content at arrival [%]", "soc_target_percent": "Target at departure [%]",
    "efficiency": "Efficiency", "phases": "How many phases", "phase": "Which phase", "plug": "Plug",
    "connector": "Connector", "charger_type": "Kind of charger", "timezone": "Time zone",
    "arrival_zone": "Zone of arrival", "departure_zone": "Zone of departure",
}  # fmt: skip
_NAMED = re.compile(r"--columns ([a-z_]+)=NAME")
_SECOND = {"arrival": "Arrival, time of day if apart", "departure": "Departure, time of day if apart"}


def register(app: Dash, planning: Planning) -> None:
    """Add the callback of this step."""
    here = Output("planner-url", "search", allow_duplicate=True)
    of_columns = {"type": "planner-column", "quantity": ALL}

    @app.callback(
        output=here,
        inputs={
            "clicks": Input("planner-read", "n_clicks"), "sessions_id": State("planner-sessions", "data"),
            "search": State("planner-url", "search"), "typed": [State(f"planner-{name}", "value") for name in _READING],
            "picked": [State(f"planner-{name}", "data") for name in _CHOICES],
            "columns": State(of_columns, "data"), "ids": State(of_columns, "id"),
        },
        prevent_initial_call=True,
    )  # fmt: skip
    async def read_again(
        clicks: int | None, sessions_id: str, search: str, typed: list[str], picked: list[str], columns: list[str],
        ids: list[dict[str, str]],
    ) -> Any:  # fmt: skip
        if not clicks:
            return no_update
        faults: list[Fault] = []
        numbers = {key.replace("-", "_"): number(value, key, faults)
                   for key, value in zip(_READING[2:], typed[2:], strict=True)}  # fmt: skip
        words = dict(
            zip((*_READING[:2], *_CHOICES), ((value or "").strip() for value in [*typed[:2], *picked]), strict=True)
        )
        by_quantity = {one["quantity"]: column for one, column in zip(ids, columns, strict=True) if column}
        for quantity in _SECOND:
            if (second := by_quantity.pop(f"{quantity}-second", None)) and quantity in by_quantity:
                by_quantity[quantity] += f"{JOIN}{second}"
        found = None
        try:
            given = {key: value for key, value in {**numbers, **words}.items() if value not in (None, "")}
            reading = None if faults else SessionReading.model_validate({**given, "columns": by_quantity})
            found = await asyncio.to_thread(planning.remap, sessions_id, reading) if reading else None
        except REFUSED as error:
            faults += faults_of(error)
        tell_faults(faults, (*_READING, *_CHOICES), "planner-reading-problems")
        return address(sessions=found.id, plan=asked(search, "plan")) if found else no_update


def reading_card(found: Sessions) -> Component:
    """How the file is read, and what may be chosen instead."""
    reading, header = found.reading, [str(name) for name in found.table.columns]
    laid = _laid_out(found)
    known = {name: one.title or name for name, one in profiles().items()}
    profile = profiles().get(found.profile)
    told = f"Understood as: {profile.title or profile.name}." if profile else "It is not understood yet."
    zones = sorted(
        zone for zone in available_timezones() if "/" in zone and not zone.startswith(("Etc/", "posix", "right"))
    )
    form = html.Div([
        choice("planner-profile", "Kind of file", {"": "found by its header", **known}, reading.profile or ""),
        text("planner-timezone", "The station's clock", reading.timezone, "Days begin at its midnight.",
             placeholder="Europe/Berlin", offered=zones),
        text("planner-day", "Only this day", reading.day, placeholder="2025-03-18"),
        choice("planner-dates", "Order of dates", _DATES, reading.dates or ""),
        choice("planner-energy", "Energy is measured", _ENERGY, reading.energy or ""),
        text("planner-charger-kw", "Charger [kW]", reading.charger_kw, "Where no column says it.", kind="decimal"),
        text("planner-stay-h", "Stay [h]", reading.stay_h, "Where there is no departure.", kind="decimal"),
        text("planner-efficiency", "Efficiency", reading.efficiency, "Of what is drawn.", kind="decimal"),
    ], className="shell-form")  # fmt: skip
    missing, others = missing_columns(found)
    named: dict[str, Any] = {"aria-label": "Which column holds what"}
    own = html.Details(
        [
            html.Summary("Which column holds what"),
            html.Div(_column_choices(found, header, laid, missing), className="shell-form", role="group", **named),
        ],
        open=bool(found.faults or reading.columns),
        id="planner-columns",
    )
    return card("2 · How it is read", [
        html.P([html.Strong(found.name), f": {told}"], id="planner-understood"),
        html.Div(problem_list(listed(others)), id="planner-reading-problems", role="alert"), form, own,
        html.Div(html.Button("Read it again", id="planner-read", type="button"), className="shell-row"),
    ], "planner-reading")  # fmt: skip


def missing_columns(found: Sessions) -> tuple[dict[str, str], list[Fault]]:
    """What is to be chosen, by quantity, and the other faults of the table; unknown columns are what is chosen from."""
    missing, others = {}, []
    for fault in found.faults:
        told = _NAMED.search(fault.remedy)
        if told:
            missing[told[1]] = f"{fault.problem.replace('column', 'the column')} → choose it here"
        elif "unknown column" not in fault.problem:
            others.append(fault)
    return missing, others


def _column_choices(
    found: Sessions, header: list[str], laid: dict[str, tuple[str, ...]], missing: dict[str, str]
) -> list[Component]:
    """A select for each quantity, with the file's headers."""
    made = []
    for quantity in QUANTITIES:
        own = found.reading.columns.get(quantity, "").split(JOIN)
        by_profile = JOIN.join(laid.get(quantity, ()))
        nothing = (
            f"as found: {by_profile}" if by_profile and not own[0] else "as found" if own[0] else "not in the file"
        )
        options = {"": nothing, **{name: name for name in header if name}}
        made.append(choice({"type": "planner-column", "quantity": quantity}, _WORDS[quantity], options, own[0],
                           fault=missing.get(quantity, "")))  # fmt: skip
        if quantity in _SECOND:
            options = {"": "in the same column", **{name: name for name in header if name}}
            second = {"type": "planner-column", "quantity": f"{quantity}-second"}
            made.append(choice(second, _SECOND[quantity], options, own[1] if len(own) > 1 else ""))
    return made


def _laid_out(found: Sessions) -> dict[str, tuple[str, ...]]:
    frame = found.table
    held = Table(found.name, [str(name) for name in frame.columns], frame.to_numpy().tolist(), list(frame.index))
    try:
        return lay_out(held, found.reading.profile, found.reading.columns).columns
    except InputError:
        return {}
