"""What a schedule of charge points and PV units does to the feeder, by OpenDSS, and how every index sees it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cosim import measures
from cosim.contract import Complex, Float
from cosim.experiments.studies.powertrip.data import STEP_MIN, Place
from cosim.network import monitored_currents
from cosim.opendss import OpenDssEngine

LEAST_CHANGE = 1e-6  # [%], [A]: less is rounding of two power flows
LOW_VOLTAGE_BAND = (0.5, 1.5)  # of nominal: nodes behind the transformer


@dataclass(frozen=True, eq=False)
class Schedule:
    """What charge points draw and PV units feed in, shape (step, unit) [kW]; a day or a part of it."""

    ev_kw: Float
    pv_kw: Float


@dataclass(frozen=True, eq=False)
class Delivered:
    """A schedule, and what the power flow makes of it; arrays by active step.

    Attributes
    ----------
    schedule : Schedule
        The whole day.
    pui_percent, mean_a, neutral_a, i2_a, unbalance_a2 : ndarray, shape (step, line)
        At the lines that feed the charge points; ``mean_a`` is the mean over the phases, which PUI divides by.
    vuf_percent, v0_percent : ndarray, shape (step, charge point)
        At their buses.
    lowest_pu : ndarray, shape (step,)
        Lowest phase-to-earth voltage of any low-voltage node.
    highest_pu : ndarray, shape (step,)
        Highest at any customer, charge point or PV unit.
    node_lowest_pu : ndarray, shape (node,)
        Lowest voltage of every low-voltage node over the active steps; nan of the others.
    """

    schedule: Schedule
    pui_percent: Float
    mean_a: Float
    neutral_a: Float
    i2_a: Float
    unbalance_a2: Float
    vuf_percent: Float
    v0_percent: Float
    lowest_pu: Float
    highest_pu: Float
    node_lowest_pu: Float


def deliver(place: Place, schedule: Schedule) -> Delivered:
    """Solve the active steps of a schedule by OpenDSS and measure them."""
    engine = OpenDssEngine(place.feeder)
    active = place.active
    voltage = np.array([
        engine.solve(
            place.net_kw(k, schedule.ev_kw[[k]], schedule.pv_kw[[k]])[0], place.demand_kvar[k], np.nan
        ).copy()
        for k in active
    ])  # fmt: skip
    current = monitored_currents(place.lines, voltage)
    row = {name: index for index, name in enumerate(place.feeder.network.node_names)}
    buses = [place.feeder.customer_bus[column] for column in place.chargers]
    at_bus: Complex = voltage[:, [[row[f"{bus}.{phase}"] for phase in (1, 2, 3)] for bus in buses]]
    magnitude = np.abs(voltage) / place.feeder.nominal_voltage_v
    low, high = LOW_VOLTAGE_BAND
    behind = (magnitude[0] > low) & (magnitude[0] < high)
    terminals = [node for nodes in place.feeder.customer_nodes for node in nodes]
    lowest = np.where(behind, magnitude.min(axis=0), np.nan)

    return Delivered(
        schedule=schedule,
        # the study's index has no least current: a line without load would be undefined, never 0
        pui_percent=measures.pui_percent(np.abs(current), 1.0, least_share=0.0),
        mean_a=np.abs(current).mean(axis=2),
        neutral_a=measures.neutral_current_a(current),
        i2_a=measures.negative_sequence_current_a(current),
        unbalance_a2=measures.unbalance_current_a2(current),
        vuf_percent=measures.vuf_percent(at_bus),
        v0_percent=measures.v0_percent(at_bus),
        lowest_pu=magnitude[:, behind].min(axis=1),
        highest_pu=magnitude[:, terminals].max(axis=1),
        node_lowest_pu=lowest,
    )


def metrics(place: Place, case: Delivered) -> dict[str, float]:
    """Sum a schedule up over the active steps, names as in ``metrics.json``.

    A number at the end of a name is that of a charge point, in the order of the command line, for the line that feeds
    its bus; ``pui_own_percent_1`` is the mean over the steps in which that charge point itself is busy.
    """
    active, hours = place.active, STEP_MIN / 60.0
    pui, neutral = case.pui_percent, case.neutral_a
    available, pv, ev = place.pv_available_kw[active], case.schedule.pv_kw[active], case.schedule.ev_kw[active]
    found = {
        "f1_mean": (pui**2).sum(axis=1).mean(),
        "f2_mean_kw2": ((available - pv) ** 2).sum(axis=1).mean(),
        "pui_mean_percent": pui.mean(),
        "pui_max_percent": pui.max(),
        "phase_current_mean_a": case.mean_a.mean(),
        "neutral_current_mean_a": neutral.mean(),
        "neutral_current_max_a": neutral.max(),
        "i2_mean_a": case.i2_a.mean(),
        "unbalance_current_mean_a2": case.unbalance_a2.sum(axis=1).mean(),
        "vuf_mean_percent": case.vuf_percent.mean(),
        "vuf_max_percent": case.vuf_percent.max(),
        "v0_mean_percent": case.v0_percent.mean(),
        "pv_use_percent": 100.0 * pv.sum() / available.sum(),
        "pv_curtailed_kwh": (available.sum() - pv.sum()) * hours,
        "ev_kwh": ev.sum() * hours,
        "voltage_min_pu": case.lowest_pu.min(),
        "voltage_max_pu": case.highest_pu.max(),
    }
    for column in range(len(place.lines)):
        own = place.ev_kw[active, column] > 0.0
        found |= {
            f"pui_mean_percent_{column + 1}": pui[:, column].mean(),
            f"pui_max_percent_{column + 1}": pui[:, column].max(),
            f"pui_own_percent_{column + 1}": pui[own, column].mean(),
            f"neutral_current_mean_a_{column + 1}": neutral[:, column].mean(),
            f"neutral_current_own_a_{column + 1}": neutral[own, column].mean(),
        }
    return {name: float(value) for name, value in found.items()}


def compare(first: Delivered, second: Delivered, place: Place) -> pd.DataFrame:
    """Where PUI and the neutral current tell opposite stories of two schedules, and where they agree.

    Returns
    -------
    DataFrame
        A row per active step and line: time, line, both quantities before and after, and ``verdict``: ``praised`` where
        PUI falls while the neutral current rises, ``blamed`` for the reverse, empty where they agree.
    """
    active = place.active
    table = pd.DataFrame({
        "time": np.repeat([f"{k * STEP_MIN // 60:02d}:{k * STEP_MIN % 60:02d}" for k in active], len(place.lines)),
        "line": [line.name for line in place.lines] * len(active),
        "pui_before_percent": first.pui_percent.ravel(),
        "pui_after_percent": second.pui_percent.ravel(),
        "neutral_before_a": first.neutral_a.ravel(),
        "neutral_after_a": second.neutral_a.ravel(),
    })  # fmt: skip
    pui, neutral = table["pui_after_percent"] - table["pui_before_percent"], _rise(table)
    praised, blamed = (pui < -LEAST_CHANGE) & (neutral > LEAST_CHANGE), (pui > LEAST_CHANGE) & (neutral < -LEAST_CHANGE)
    table["verdict"] = np.select([praised, blamed], ["praised", "blamed"], "")
    return table


def disagreement(table: pd.DataFrame) -> dict[str, float]:
    """Shares of steps and lines that PUI praises or blames against the neutral current, and the worst such rise."""
    praised = table["verdict"] == "praised"
    return {
        "pui_praises_percent": 100.0 * float(praised.mean()),
        "pui_blames_percent": 100.0 * float((table["verdict"] == "blamed").mean()),
        "neutral_rise_where_praised_max_a": float(_rise(table)[praised].max()) if praised.any() else 0.0,
    }


def _rise(table: pd.DataFrame) -> pd.Series:
    return table["neutral_after_a"] - table["neutral_before_a"]
