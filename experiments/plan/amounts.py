"""Energy, power and batteries of a session file, in kW and kWh, with what is assumed where it says nothing."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from cosim.contract import Float
from cosim.controllers.planner.requests import EFFICIENCY, ROUNDING_KWH
from cosim.experiments.plan.columns import Layout
from cosim.experiments.plan.options import ReadOptions
from cosim.experiments.plan.rows import LEFT_OUT, Finding, Rows
from cosim.experiments.plan.stays import Stays
from cosim.experiments.plan.table import Table

CHARGER_KW = 7.4
MOST_CHARGER_KW = 400.0  # CCS at 500 A and 800 V
IF_EMPTY = {"power_kw": "its power is assumed", "battery_kwh": "taken as not known"}
_LETTERS = str.maketrans("ABC", "123")
USUAL_KW, USUAL_KWH = 1_000.0, 2_000.0  # beyond these a table is likely in W and Wh


def read_amounts(rows: Rows, layout: Layout, options: ReadOptions, stays: Stays) -> dict[str, Float]:
    """Columns of `make_requests`, and ``phases``, one line per row; nan where a row has none and is left out."""
    count = len(rows.table)
    energy_kwh, power_kw = (_in_kilo(rows, layout, name) for name in ("energy_kwh", "power_kw"))
    efficiency = _optional(rows, layout, "efficiency", np.nan)
    battery_kwh = _in_kilo(rows, layout, "battery_kwh")
    battery_kwh = (
        np.full(count, np.inf) if battery_kwh is None else np.where(np.isnan(battery_kwh), np.inf, battery_kwh)
    )
    soe_kwh = _arrival_kwh(rows, layout, battery_kwh)
    at = options.energy or layout.profile.energy
    if energy_kwh is None:  # of contents of the battery, whatever is metered
        at = "battery"
        energy_kwh = _missing_kwh(rows, layout, battery_kwh, soe_kwh)
    usual = options.efficiency or (1.0 if at == "plug" else EFFICIENCY)
    efficiency = np.where(np.isnan(efficiency), usual, efficiency)
    if power_kw is None or np.isnan(power_kw).any():
        stay_h = (stays.departure_s - stays.arrival_s) / 3600.0
        drawn_kwh = energy_kwh if at == "plug" else energy_kwh / efficiency
        drawn_kwh = energy_kwh if at == "plug" else energy_kwh / efficiency
        mean_kw = np.divide(drawn_kwh, stay_h, out=np.zeros(count), where=stay_h > 0)
        power_kw = _assumed_kw(rows, layout, options, power_kw, np.nan_to_num(mean_kw))
    need_kwh = energy_kwh * efficiency if at == "plug" else energy_kwh
    room_kwh = battery_kwh - soe_kwh
    above = (need_kwh > room_kwh + ROUNDING_KWH) & (room_kwh >= 0)
    name = layout.name("energy_kwh") if "energy_kwh" in layout.columns else layout.name("energy_wh")
    problem, action = "{0[0]:.6g} kWh wanted, {0[1]:.6g} kWh of room in the battery", "clipped to {0[1]:.6g} kWh"
    both, remedy = np.column_stack([need_kwh, room_kwh]), "ask for what the battery can take"
    clipped = rows.note(Finding(above, both, name, problem, remedy, action))
    least_kw = _optional(rows, layout, "power_min_kw", options.min_power_kw)
    both, remedy = np.column_stack([least_kw, power_kw]), "lower it"
    problem, action = "{0[0]:.6g} kW is above the largest power", "clipped to {0[1]:.6g} kW"
    name = layout.name("power_min_kw") if "power_min_kw" in layout.columns else "--min-power-kw"
    rows.note(Finding((least_kw > power_kw) & (power_kw > 0), both, name, problem, remedy, action))
    phases = _optional(rows, layout, "phases", np.nan)
    phase_share, listed = _phase_share(rows, layout, phases)
    return {
        "power_max_kw": power_kw,
        "power_min_kw": np.where(power_kw > 0, np.minimum(least_kw, power_kw), least_kw),
        "energy_need_kwh": np.where(clipped, room_kwh, need_kwh),
        "battery_kwh": battery_kwh,
        "soe_arrival_kwh": soe_kwh,
        "efficiency": efficiency,
        "phases": np.where(listed > 0, listed, phases),
        "phase_share": phase_share,
    }


def _phase_share(rows: Rows, layout: Layout, phases: Float) -> tuple[Float, Float]:
    """Part of each power on L1, L2 and L3, shape (row, 3), and of how many phases a row says which, shape (row,).

    A third on each where nothing is said, which is true of three phases and the mean of all cases otherwise.
    """
    cells = words(rows.table, layout, "phase")
    letters = [re.sub(r"[L\s,;+/&-]", "", cell.upper()).translate(_LETTERS) for cell in cells]
    said = np.array([cell != "" for cell in cells])
    # a bare 1, 2 or 3 may as well be their number
    right = np.array(
        [set(text) <= set("123") and len(set(text)) == len(text) and cell not in ("1", "2", "3")
         for text, cell in zip(letters, cells, strict=True)]
    )  # fmt: skip
    name, remedy = layout.name("phase"), "name phases as L1, L2, L3, or several as L1+L2+L3; their number is `phases`"
    spread = "taken as even on all three"
    rows.note(Finding(said & ~right, cells, name, "{!r} is no phase", remedy, spread))
    on = np.array([[right and digit in text for digit in "123"] for right, text in zip(right, letters, strict=True)])
    listed = on.sum(axis=1).astype(float).reshape(len(cells))
    problem, remedy = f"names {{0[0]:g}} phases where '{layout.name('phases')}' says {{0[1]:g}}", "mend one of them"
    both = np.column_stack([listed, phases])
    rows.note(Finding((listed > 0) & (phases > 0) & (listed != phases), both, name, problem, remedy, "the names count"))
    unsure = rows.kept & (listed == 0) & (phases != 3)
    if listed.any() and unsure.any():
        told = f"{unsure.sum()} rows do not say which phase: {spread}"
        rows.notes.append(f"{told} → a column phase (L1, L2, L3)")
    return np.where(listed[:, None] > 0, on / np.maximum(listed, 1.0)[:, None], 1.0 / 3.0), listed


def _in_kilo(rows: Rows, layout: Layout, name: str) -> Float | None:
    """Energy, power or capacity, from a column in k(ilo) or in its thousandth; None where there is none."""
    small = name.replace("_k", "_")
    if name in layout.columns:
        values = rows.numbers(layout.name(name), otherwise=IF_EMPTY.get(name, LEFT_OUT))
        usual, unit = (USUAL_KW, "W") if name == "power_kw" else (USUAL_KWH, "Wh")
        if (values[rows.kept] > usual).any():
            most, column = np.nanmax(values[rows.kept]), layout.name(name)
            remedy = f"if so, --columns {small}={column}"
            rows.notes.append(f"'{column}' holds up to {most:g} k{unit}: is it in {unit}? → {remedy}")
        return values
    if small not in layout.columns:
        return None
    return rows.numbers(layout.name(small), otherwise=IF_EMPTY.get(name, LEFT_OUT)) / 1000.0


def _optional(rows: Rows, layout: Layout, quantity: str, otherwise: float) -> Float:
    """Column that may be missing, and whose cells may be empty."""
    if quantity not in layout.columns:
        return np.full(len(rows.table), otherwise)
    said = "taken as not known" if not np.isfinite(otherwise) else f"taken as {otherwise:g}"
    values = rows.numbers(layout.name(quantity), otherwise=said)
    return np.where(np.isnan(values), otherwise, values)


def _arrival_kwh(rows: Rows, layout: Layout, battery_kwh: Float) -> Float:
    if "soe_arrival_kwh" in layout.columns or "soc_arrival_percent" not in layout.columns:
        return _optional(rows, layout, "soe_arrival_kwh", 0.0)
    return _share(rows, layout, "soc_arrival_percent") * np.where(np.isfinite(battery_kwh), battery_kwh, 0.0)


def _share(rows: Rows, layout: Layout, quantity: str) -> Float:
    """State of charge as a share of the battery."""
    name = layout.name(quantity)
    percent = _optional(rows, layout, quantity, 0.0)
    if (percent <= 1).all() and ((percent > 0) & (percent < 1)).any():
        rows.notes.append(f"'{name}' holds shares from 0 to 1, no percent, and is read as such")
        percent = 100.0 * percent
    wrong = ~((percent >= 0) & (percent <= 100))
    rows.note(Finding(wrong, percent, name, "is {:.6g} %", "give a state of charge from 0 to 100 %"))
    return percent / 100.0


def _missing_kwh(rows: Rows, layout: Layout, battery_kwh: Float, soe_kwh: Float) -> Float:
    """Energy wanted in the battery, where the file says none: up to the target, or until it is full."""
    rows.note(Finding(np.isinf(battery_kwh), battery_kwh, layout.name("battery_kwh"), "is empty", "give its capacity"))
    full_kwh = np.where(np.isinf(battery_kwh), np.nan, battery_kwh)
    if "soc_target_percent" in layout.columns:
        return np.maximum(_share(rows, layout, "soc_target_percent") * full_kwh - soe_kwh, 0.0)
    rows.notes.append("no column says how much energy is wanted: batteries are filled")
    return full_kwh - soe_kwh


def _assumed_kw(rows: Rows, layout: Layout, options: ReadOptions, given_kw: Float | None, mean_kw: Float) -> Float:
    """Largest powers with those that the file does not say: usual of such a charger, and never below what was drawn."""
    known = layout.profile.charger_kw if options.charger_kw is None else {}
    usual_kw = known.get("", options.charger_kw or CHARGER_KW)
    types = words(rows.table, layout, "charger_type")
    problem, remedy = (
        "{:.6g} kW were drawn on the mean of the stay, more than any charger gives",
        "mend energy or times",
    )
    name = layout.name("energy_kwh") if "energy_kwh" in layout.columns else layout.name("energy_wh")
    rows.note(Finding(mean_kw > MOST_CHARGER_KW, mean_kw, name, problem, remedy))
    assumed_kw = np.maximum([known.get(one, usual_kw) for one in types], mean_kw)
    missing = np.ones(len(types), bool) if given_kw is None else np.isnan(given_kw)
    missing &= rows.kept
    if missing.any():
        ends = np.unique(np.round([assumed_kw[missing].min(), assumed_kw[missing].max()], 2))
        told = " to ".join(f"{end:g}" for end in ends)
        remedy = "--charger-kw, or a column power_kw"
        rows.notes.append(f"{told} kW are assumed where no charger's power is said (rows: {missing.sum()}) → {remedy}")
    return assumed_kw if given_kw is None else np.where(np.isnan(given_kw), assumed_kw, given_kw)


def words(table: Table, layout: Layout, quantity: str) -> list[str]:
    """Cells as names, joined where several columns hold them."""
    names = layout.columns.get(quantity, ())
    cells = [[_name(cell) for cell in table.column(name)] for name in names] or [[""] * len(table)]
    return ["/".join(parts) if all(parts) else "" for parts in zip(*cells, strict=True)]


def _name(cell: Any) -> str:
    return (
        str(int(cell)) if isinstance(cell, float) and cell.is_integer() else "" if cell is None else str(cell).strip()
    )
