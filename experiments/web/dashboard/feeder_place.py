"""Where everything of a run's feeder lies on the map: from its coordinates, else a tree by electrical distance."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock

import numpy as np

from cosim.contract import Feeder, Float
from cosim.experiments.compose import read_feeder
from cosim.experiments.scenario import Scenario
from cosim.feeders.geojson import Positions

_READING = Lock()
"""Circuits are compiled one at a time."""


@dataclass(frozen=True, eq=False)
class Place:
    """What a map needs of a feeder, without the feeder.

    Attributes
    ----------
    name : str
        Of the feeder.
    told : str
        How positions came about.
    nominal_v, limits_pu : float, (float, float)
        Declared voltage of most customers, and its lower and upper limit; nan where its standard has none.
    lines : tuple of str
        Those with a position at both ends.
    line_buses : tuple of (str, str), shape (line,)
        Their ends.
    ends : ndarray, shape (line, 4)
        Positions of both: x, y, x, y.
    bus_v : mapping of str to float
        Nominal voltage to earth or neutral of every bus that belongs to an area [V].
    customers : tuple of str
        All of them, in the feeder's order.
    at : ndarray, shape (customer, 2)
        Positions; nan where there is none.
    customer_v : ndarray, shape (customer,)
        Nominal voltages [V].
    customer_limits_pu : ndarray, shape (customer, 2)
        Lower and upper limits; nan where none applies.
    customer_words : tuple of str
        Bus and phases.
    transformers : mapping of str to (float, float)
        Those with a position.
    supplies : tuple of str
        The transformers of most customers, whose loading is kept phase by phase.
    rating_a, rating_kva : float
        Of a phase of these, and of all together; nan where unknown.
    ratings_a : mapping of str to float
        Of the lines.
    to_earth : bool
        Whether voltages of buses are to earth, where a neutral conductor is another thing.
    vuf_percent, standard : float, str
        Limit of the unbalance factor, nan where there is none, and who sets the limits.
    """

    name: str
    told: str
    nominal_v: float
    limits_pu: tuple[float, float]
    lines: tuple[str, ...]
    line_buses: tuple[tuple[str, str], ...]
    ends: Float
    bus_v: Mapping[str, float]
    customers: tuple[str, ...]
    at: Float
    customer_v: Float
    customer_limits_pu: Float
    customer_words: tuple[str, ...]
    transformers: Mapping[str, tuple[float, float]]
    supplies: tuple[str, ...]
    rating_a: float
    rating_kva: float
    ratings_a: Mapping[str, float]
    to_earth: bool
    vuf_percent: float
    standard: str


def place_of(folder: Path) -> Place:
    """Return the place of a run's folder; kept, as many runs are of one.

    Raises
    ------
    InputError
        Where its feeder cannot be read any more.
    """
    scenario = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["scenario"]
    with _READING:
        own = {key: scenario[key] for key in ("feeder", "grid", "thermal")}
        own["households"] = {"load_model": scenario["households"]["load_model"]}
        own["pv"] = {"from_file": scenario["pv"]["from_file"]}  # what else is drawn on it changes no place
        return _read(json.dumps(own, sort_keys=True))


@lru_cache(maxsize=8)
def _read(scenario: str) -> Place:
    day = {"name": "place", "start": "2026-01-01T00:00", "horizon_h": 24, "runs": [{"controller": "none"}]}
    return placed(read_feeder(Scenario.model_validate_json(json.dumps(json.loads(scenario) | day))))


def placed(feeder: Feeder) -> Place:
    """Take from a feeder what maps need."""
    at, told = _positions(feeder)
    shown = feeder.area_of_bus or dict.fromkeys(at)
    lines = [line for line in feeder.network.lines if all(bus in at and bus in shown for bus in line.buses)]
    nowhere = (np.nan, np.nan)
    lower, upper = feeder.standard.limits_pu(feeder.customer_nominal_v)
    low, high = (float(limit) for limit in feeder.standard.limits_pu(feeder.nominal_voltage_v))
    transformers = {}
    for name in [name for area in feeder.areas for name in area.transformers]:
        for bus in [bus for bus in feeder.network.branch(name).buses if bus in at][-1:]:
            transformers[name] = at[bus]
    missing = sum(bus not in at for bus in shown)
    return Place(
        name=feeder.name,
        told=told + (f" {missing} buses have none, and are not drawn." if missing else ""),
        nominal_v=feeder.nominal_voltage_v,
        limits_pu=(low, high),
        lines=tuple(line.name for line in lines),
        line_buses=tuple((line.buses[0], line.buses[-1]) for line in lines),
        ends=np.array([[*at[line.buses[0]], *at[line.buses[-1]]] for line in lines]).reshape(-1, 4),
        bus_v={bus: area.nominal_voltage_v for bus, area in feeder.area_of_bus.items()},
        customers=feeder.customers,
        at=np.array([at.get(bus, nowhere) for bus in feeder.customer_bus]).reshape(-1, 2),
        customer_v=feeder.customer_nominal_v,
        customer_limits_pu=np.column_stack([lower, upper]),
        customer_words=tuple(
            f"bus {bus}, phase {''.join(' abcn'[phase] for phase in phases if 1 <= phase <= 4)}"
            for bus, phases in zip(feeder.customer_bus, feeder.customer_phases, strict=True)
        ),
        transformers=transformers,
        supplies=feeder.supplies,
        rating_a=feeder.transformer_rating_a,
        rating_kva=feeder.transformer_kva,
        ratings_a={line.name: line.rating_a for line in lines},
        to_earth=bool(feeder.neutral_nodes.size),
        vuf_percent=feeder.standard.vuf_percent,
        standard=feeder.standard.title,
    )


def _positions(feeder: Feeder) -> tuple[Positions, str]:
    """Position of every bus that has one, and how they came about."""
    given = {bus: xy for bus, xy in feeder.coordinates.items() if np.isfinite(xy).all()}
    if len(set(given.values())) > 1:
        return given, "Positions are the feeder's own coordinates."
    told = "The feeder has no coordinates: it is drawn as a tree, to the right by electrical distance from the source."
    return _tree(feeder), told


def _tree(feeder: Feeder) -> Positions:
    """Lay buses out as a tree: across by electrical distance, down by branch; a mesh is cut open.

    The distance of a branch is 1 / (|y| · |V1| · |V2|) of its first conductor, which both sides of a transformer share.
    """
    level_v, beside = np.abs(feeder.network.no_load_v), defaultdict[str, list[tuple[str, float]]](list)
    for branch in feeder.network.branches:
        width = branch.terminals.shape[1]
        for terminal in range(1, len(branch.buses)):
            one, other = branch.nodes[0], branch.nodes[terminal * width]
            if one >= 0 and other >= 0 and branch.buses[0] != branch.buses[terminal]:
                power = abs(branch.admittance_s[0, terminal * width]) * level_v[one] * level_v[other]
                apart = 1.0 / power if power > 0.0 else 0.0
                beside[branch.buses[0]].append((branch.buses[terminal], apart))
                beside[branch.buses[terminal]].append((branch.buses[0], apart))
    x, y, row = dict[str, float](), dict[str, float](), 0
    for root in [*feeder.network.source_buses[:1], *beside]:
        if root in x:
            continue
        x[root], order, children = 0.0, [root], defaultdict[str, list[str]](list)
        for bus in order:
            for other, apart in sorted(beside[bus]):
                if other not in x:
                    x[other] = x[bus] + apart
                    children[bus].append(other)
                    order.append(other)
        stack = [root]
        while stack:  # leaves from top to bottom, each on a row of its own
            bus = stack.pop()
            stack += reversed(children[bus])
            if not children[bus]:
                y[bus], row = -float(row), row + 1
        for bus in reversed(order):
            y.setdefault(bus, float(np.mean([y[child] for child in children[bus]] or [0.0])))
    scale = max(row, 2) / (max(x.values(), default=0.0) or 1.0)  # as wide as high
    return {bus: (x[bus] * scale, y[bus]) for bus in x}
