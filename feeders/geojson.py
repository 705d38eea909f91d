"""A feeder as GeoJSON (RFC 7946), which every geographic information system opens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import cos, hypot, isfinite, log, radians
from typing import Any

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from cosim.contract import Area, Feeder
from cosim.errors import Fault, InputError
from cosim.feeders.faults import node_numbers

METRES_PER_DEGREE = 6_371_008.8 * np.pi / 180.0
"""Of latitude, on a sphere of the earth's mean radius."""

Positions = Mapping[str, tuple[float, float]]
Facts = Mapping[tuple[str, str], Mapping[str, Any]]


def feature_collection(feeder: Feeder, facts: Facts | None = None) -> dict[str, Any]:
    """Return buses, customers, lines, transformers and areas as one collection in WGS 84 (longitude, latitude).

    Parameters
    ----------
    feeder : Feeder
        With coordinates.
    facts : mapping of (kind, name) to mapping, optional
        More properties of features, such as results.

    Returns
    -------
    dict
        A ``FeatureCollection``. What has no coordinates is there with geometry null. ``cosim`` holds the feeder's name
        and how positions were found; every feature says whether its own is ``approximate`` or ``as given``.

    Raises
    ------
    InputError
        Where the feeder has no coordinates, or none that fit on the earth.
    """
    positions, approximate, placement = _placed(feeder)
    features = [
        {
            "type": "Feature",
            "id": f"{kind}:{name}",
            "geometry": geometry,
            "properties": {
                "kind": kind, "name": name, "position": "approximate" if approximate else "as given",
                **_known(properties), **_known((facts or {}).get((kind, name), {})),
            },
        }
        for kind, name, geometry, properties in _features(feeder, positions)
    ]  # fmt: skip
    return {
        "type": "FeatureCollection",
        "cosim": {"feeder": feeder.name, "placement": placement},
        "features": features,
    }


def _known(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is not known: nan is no JSON, and null would read as a value."""
    return {key: value for key, value in properties.items() if not isinstance(value, float) or isfinite(value)}


def _features(feeder: Feeder, at: Positions) -> Iterator[tuple[str, str, dict[str, Any] | None, dict[str, Any]]]:
    """Yield kind, name, geometry and properties of everything; areas first, so that they are drawn below."""
    area_of = feeder.area_of_bus
    for area in feeder.areas:
        yield "area", area.name, _around([at[bus] for bus in area.buses if bus in at]), {
            "parent": area.parent or "", "transformers": "+".join(area.transformers), "rating_kva": area.rating_kva,
            "nominal_voltage_v": area.nominal_voltage_v, "customers": len(area.customers), "buses": len(area.buses),
            "head_line": area.head_line or "",
        }  # fmt: skip
    for bus, numbers in node_numbers(feeder.network).items():
        yield "bus", bus, _point(at.get(bus)), {
            "nodes": ".".join(map(str, numbers)), "distance_m": feeder.distance_m.get(bus, np.nan),
            **_inside(area_of.get(bus)), **dict(zip(("x", "y"), feeder.coordinates.get(bus, ()), strict=False)),
        }  # fmt: skip
    fed = {name: area for area in feeder.areas for name in area.transformers}
    for branch in feeder.network.branches:
        ends = [at[bus] for bus in branch.buses if bus in at]
        common = {
            "from_bus": branch.buses[0], "to_bus": branch.buses[-1], "rating_a": branch.rating_a,
            "phases": _letters(branch.phases),
        }  # fmt: skip
        if branch.kind == "line":
            geometry = _geometry("LineString", ends) if len(ends) == len(branch.buses) else None
            inside = _inside(area_of.get(branch.buses[-1]))
            yield "line", branch.name, geometry, {**common, "length_m": branch.length_m, **inside}
        else:  # one of several in parallel has no rating of its own here, the area has theirs
            behind = fed.get(branch.name)
            kva = behind.rating_kva if behind and behind.transformers == (branch.name,) else np.nan
            inside = _inside(behind or area_of.get(branch.buses[-1]))
            yield branch.kind, branch.name, _point(ends[-1] if ends else None), {**common, "rating_kva": kva, **inside}
    for row, name in enumerate(feeder.customers):
        bus = feeder.customer_bus[row]
        yield "customer", name, _point(at.get(bus)), {
            "bus": bus, "phases": _letters(feeder.customer_phases[row]), **_inside(area_of.get(bus)),
            "nominal_voltage_v": float(feeder.customer_nominal_v[row]),
            "distance_m": feeder.distance_m.get(bus, np.nan), "load_kw": float(feeder.load_kw[row]),
            "load_kvar": float(feeder.load_kvar[row]), "connection_kw": float(feeder.connection_kw[row]),
        }  # fmt: skip


def _inside(area: Area | None) -> dict[str, Any]:
    return {"area": area.name, "nominal_voltage_v": area.nominal_voltage_v} if area else {}


def _letters(phases: Sequence[int]) -> str:
    return "".join(" abcn"[phase] for phase in phases if 1 <= phase <= 4)


def _geometry(kind: str, coordinates: Any) -> dict[str, Any]:
    return {"type": kind, "coordinates": coordinates}


def _point(position: tuple[float, float] | None) -> dict[str, Any] | None:
    return None if position is None else _geometry("Point", position)


def _around(positions: Sequence[tuple[float, float]]) -> dict[str, Any] | None:
    """Convex hull, anticlockwise as RFC 7946 asks; of places that span none, the places themselves."""
    places = list(dict.fromkeys(positions))
    try:
        corners = [places[corner] for corner in ConvexHull(places).vertices]
        return _geometry("Polygon", [[*corners, corners[0]]])
    except (QhullError, ValueError):  # fewer than three places, or all on one line
        return _geometry("MultiPoint", places) if places else None


def _placed(feeder: Feeder) -> tuple[dict[str, tuple[float, float]], bool, str]:
    """Longitude and latitude of every bus that has coordinates, whether they are approximate, and how they came."""
    given = {bus: xy for bus, xy in feeder.coordinates.items() if all(map(isfinite, xy))}
    where = str(feeder.master)
    if not given:
        raise InputError(Fault(where, "", "has no coordinates, so no map can be made", "give it a Buscoords file"))
    xy = np.array(list(given.values()))
    centre, start = (xy.min(axis=0) + xy.max(axis=0)) / 2.0, (feeder.longitude_deg, feeder.latitude_deg)

    def placed(x: float, y: float) -> tuple[float, float]:
        east, north = np.array([x, y]) - centre
        narrowing = max(cos(radians(start[1])), 1e-9)
        places = start[0] + east / METRES_PER_DEGREE / narrowing, start[1] + north / METRES_PER_DEGREE
        return round(places[0], 8), round(places[1], 8)  # a millimetre

    def in_metres(one: tuple[float, float], other: tuple[float, float]) -> float:
        east, north = other[0] - one[0], other[1] - one[1]
        return METRES_PER_DEGREE * hypot(east * cos(radians((one[1] + other[1]) / 2.0)), north)

    degrees_off, metres_off = (_scale(feeder, given, metre) for metre in (in_metres, _straight))
    is_degrees = (np.abs(xy) <= (180.0, 90.0)).all() and abs(log(degrees_off)) < abs(log(metres_off))
    positions = {bus: (float(x), float(y)) if is_degrees else placed(x, y) for bus, (x, y) in given.items()}
    if any(abs(longitude) > 180 or abs(latitude) > 90 for longitude, latitude in positions.values()):
        spread = np.ptp(xy, axis=0).max()
        problem = f"has coordinates {spread:,.0f} apart, which are neither degrees nor metres around its place"
        raise InputError(Fault(where, "", problem, "give Buscoords in degrees (longitude, latitude) or in metres"))
    if is_degrees:
        return positions, False, "the file's own coordinates, taken as degrees of longitude and latitude"
    told = (
        f"approximate: the file's coordinates taken as metres, their middle at latitude {start[1]:g}, longitude "
        f"{start[0]:g} of the feeder (feeder.toml), north up; straight lines are {metres_off:.2g} of the lengths given"
    )
    return positions, True, told


def _straight(one: tuple[float, float], other: tuple[float, float]) -> float:
    return hypot(other[0] - one[0], other[1] - one[1])


def _scale(feeder: Feeder, at: Positions, metres: Callable[[tuple[float, float], tuple[float, float]], float]) -> float:
    """How long the lines are as drawn, of the lengths that the file gives them; nothing known counts as far off."""
    lines = [line for line in feeder.network.lines if at.keys() >= set(line.buses)]
    drawn = sum(metres(at[line.buses[0]], at[line.buses[-1]]) for line in lines)
    length_m = sum(line.length_m for line in lines)
    return drawn / length_m if drawn and length_m else 1e-9
