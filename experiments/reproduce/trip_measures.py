"""What a schedule of charge points and roofs does to the feeder, by OpenDSS, and how every index sees it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.contract import Complex, Float
from cosim.measures import (
    negative_sequence_current_a,
    neutral_current_a,
    pui_percent,
    unbalance_current_a2,
    v0_percent,
    vuf_percent,
)
from cosim.network import monitored_currents
from cosim.opendss import OpenDssEngine
from experiments.reproduce.trip_place import STEP_MIN, Place

LOW_VOLTAGE_BAND = (0.5, 1.5)  # of nominal: nodes behind the transformer


@dataclass(frozen=True, eq=False)
class Schedule:
    """What charge points draw and roofs feed in, shape (step, unit) [kW]; a day or a part of it."""

    ev_kw: Float
    pv_kw: Float


@dataclass(frozen=True, eq=False)
class Delivered:
    """A schedule, and what the power flow makes of it; arrays by step of the day.

    Attributes
    ----------
    schedule : Schedule
        The whole day.
    pui_percent, neutral_a, i2_a, unbalance_a2 : ndarray, shape (step, line)
        At the lines that feed the charge points.
    vuf_percent, v0_percent : ndarray, shape (step, charge point)
        At their buses.
    lowest_pu : ndarray, shape (step,)
        Lowest phase-to-earth voltage of any low-voltage node.
    highest_pu : ndarray, shape (step,)
        Highest at any customer, charge point or roof.
    node_lowest_pu : ndarray, shape (node,)
        Lowest voltage of every low-voltage node over the active steps; nan of the others.
    """

    schedule: Schedule
    pui_percent: Float
    neutral_a: Float
    i2_a: Float
    unbalance_a2: Float
    vuf_percent: Float
    v0_percent: Float
    lowest_pu: Float
    highest_pu: Float
    node_lowest_pu: Float


def deliver(place: Place, schedule: Schedule) -> Delivered:
    """Solve every step of a schedule by OpenDSS and measure it."""
    engine = OpenDssEngine(place.feeder)
    voltage = np.array([
        engine.solve(
            place.net_kw(k, schedule.ev_kw[[k]], schedule.pv_kw[[k]])[0], place.demand_kvar[k], np.nan
        ).copy()
        for k in range(len(schedule.ev_kw))
    ])  # fmt: skip
    current = monitored_currents(place.lines, voltage)
    row = {name: index for index, name in enumerate(place.feeder.network.node_names)}
    buses = [place.feeder.customer_bus[column] for column in place.chargers]
    at_bus: Complex = voltage[:, [[row[f"{bus}.{phase}"] for phase in (1, 2, 3)] for bus in buses]]
    magnitude = np.abs(voltage) / place.feeder.nominal_voltage_v
    low, high = LOW_VOLTAGE_BAND
    behind = (magnitude[0] > low) & (magnitude[0] < high)
    terminals = [node for nodes in place.feeder.customer_nodes for node in nodes]
    lowest = np.where(behind, magnitude[place.active].min(axis=0), np.nan)
    return Delivered(
        schedule=schedule,
        # the study's index has no least current: a line without load would be undefined, never 0
        pui_percent=pui_percent(np.abs(current), 1.0, least_share=0.0),
        neutral_a=neutral_current_a(current),
        i2_a=negative_sequence_current_a(current),
        unbalance_a2=unbalance_current_a2(current),
        vuf_percent=vuf_percent(at_bus),
        v0_percent=v0_percent(at_bus),
        lowest_pu=magnitude[:, behind].min(axis=1),
        highest_pu=magnitude[:, terminals].max(axis=1),
        node_lowest_pu=lowest,
    )


def metrics(place: Place, told: Delivered) -> dict[str, float]:
    """Sum a schedule up over the active steps, names as in ``metrics.json``."""
    active = place.active
    hours = STEP_MIN / 60.0
    sun_kwh = float(place.sun_kw[active].sum()) * hours
    pv_kwh = float(told.schedule.pv_kw[active].sum()) * hours
    return {
        "f1_mean": float((told.pui_percent[active] ** 2).sum(axis=1).mean()),
        "f2_mean_kw2": float(((place.sun_kw - told.schedule.pv_kw)[active] ** 2).sum(axis=1).mean()),
        "pui_mean_percent": float(told.pui_percent[active].mean()),
        "pui_max_percent": float(told.pui_percent[active].max()),
        "neutral_current_mean_a": float(told.neutral_a[active].mean()),
        "neutral_current_max_a": float(told.neutral_a[active].max()),
        "i2_mean_a": float(told.i2_a[active].mean()),
        "unbalance_current_mean_a2": float(told.unbalance_a2[active].sum(axis=1).mean()),
        "vuf_mean_percent": float(told.vuf_percent[active].mean()),
        "vuf_max_percent": float(told.vuf_percent[active].max()),
        "v0_mean_percent": float(told.v0_percent[active].mean()),
        "pv_use_percent": 100.0 * pv_kwh / sun_kwh if sun_kwh > 0 else float("nan"),
        "pv_curtailed_kwh": sun_kwh - pv_kwh,
        "ev_kwh": float(told.schedule.ev_kw[active].sum()) * hours,
        "voltage_min_pu": float(told.lowest_pu[active].min()),
        "voltage_max_pu": float(told.highest_pu[active].max()),
    }


def disagreements(first: Delivered, second: Delivered, place: Place) -> dict[str, float]:
    """Count where PUI and the neutral current tell opposite stories of two schedules.

    Returns
    -------
    dict
        Share of active steps and lines in which the second schedule has the lower PUI but the higher neutral current
        (``pui_praises_percent``), the reverse (``pui_blames_percent``), and the largest such rise of neutral current.
    """
    active = place.active
    pui = (second.pui_percent - first.pui_percent)[active]
    neutral = (second.neutral_a - first.neutral_a)[active]
    praised, blamed = (pui < 0) & (neutral > 0), (pui > 0) & (neutral < 0)
    return {
        "pui_praises_percent": 100.0 * float(praised.mean()),
        "pui_blames_percent": 100.0 * float(blamed.mean()),
        "neutral_rise_where_praised_max_a": float(neutral[praised].max(initial=0.0)),
    }
