"""What may flow, and the refusal to control towards a limit that nobody knows, or without one that is known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cosim.contract import Feeder, Float, Limit
from cosim.errors import Fault, InputError

_NEARLY = 1.0 - 1e-6


def known_limits(feeder: Feeder, controller: str) -> tuple[Limit, ...]:
    """Return every limit of a feeder; InputError names all missing ratings where there is none.

    Parameters
    ----------
    feeder : Feeder
        The place.
    controller : str
        Who asks, for the message.
    """
    if not feeder.limits:
        raise InputError(_missing_ratings(feeder, controller))
    return feeder.limits


def room_per_customer_kw(feeder: Feeder, margin: float) -> Float:
    """Import at which no limit is exceeded where every customer behind it draws as much, shape (customer,) [kW].

    At nominal voltage and unity power factor. A neutral conductor carries at most what the fullest of its phases does
    as long as none of them exports, so it is held phase by phase.

    Parameters
    ----------
    feeder : Feeder
        The place.
    margin : float
        Part of every limit that is not given away.
    """
    # a home whose charger is on one of its phases may draw all that it is allowed there
    shares, phases = np.maximum(feeder.limit_share, feeder.charger_limit_share), feeder.phase_matrix > 0
    room_kw = np.full(len(feeder.customers), np.inf)
    for limit, share in zip(feeder.limits, shares, strict=True):
        limit_kw = limit.rating_a * limit.nominal_v / 1e3 * (1.0 - margin)
        for of_phase in phases.T if limit.phase == "n" else [np.ones(len(share), dtype=bool)]:
            behind = of_phase & (share > 0)
            if behind.any():
                room_kw[behind] = np.minimum(room_kw[behind], limit_kw / share[behind].sum())
    return room_kw


def known_phase_limit_a(feeder: Feeder, controller: str, *, lines: bool = False) -> float:
    """Return what a phase may carry, for a controller that holds one limit: of the area with most customers [A].

    The smaller of its transformers' and its head line's rated current; where only one has a rating, that one.

    Parameters
    ----------
    feeder : Feeder
        The place.
    controller : str
        Who asks, for the message.
    lines : bool
        Whether the controller holds the ratings of lines inside the area by other means.

    Raises
    ------
    InputError
        Where neither has a rating, with every missing rating; where the feeder has limits that one number does not
        hold, with their names.
    """
    limit_a = feeder.phase_limit_a
    if not np.isfinite(limit_a):
        raise InputError(_missing_ratings(feeder, controller))
    beyond = dict.fromkeys(f"{limit.kind.capitalize()}.{limit.asset}" for limit in _beyond(feeder, limit_a, lines))
    if beyond:
        named = f"{', '.join(list(beyond)[:5])}{', …' * (len(beyond) > 5)}"
        problem = f"has limits that the controller '{controller}' cannot hold: {named}"
        remedy = "use equal_share or dimming, which hold all of them, or a feeder of one transformer"
        raise InputError(Fault(str(feeder.master), "", problem, remedy))
    return limit_a


def _beyond(feeder: Feeder, limit_a: float, lines: bool) -> Iterator[Limit]:
    """Limits that may be exceeded although every phase of the main area keeps its own."""
    held = {*feeder.supplies, *([feeder.head_line] if feeder.head_line else [])}
    main = {customer for area in feeder.areas if feeder.transformer in area.transformers for customer in area.customers}
    if not feeder.supplies:  # the area at the source
        main = set(range(len(feeder.customers)))
    if {name for limit in feeder.limits for name in limit.asset.split("+")} <= held:
        return
    for limit, share in zip(feeder.limits, feeder.limit_share, strict=True):
        behind = set(np.flatnonzero(share).tolist())
        is_held = set(limit.asset.split("+")) <= held and limit.phase != "n"
        if not behind or is_held or (lines and limit.kind == "line"):
            continue
        carries_kva = limit.rating_a * limit.nominal_v
        if not (behind <= main and carries_kva >= _NEARLY * limit_a * feeder.nominal_voltage_v):
            yield limit


def _missing_ratings(feeder: Feeder, controller: str) -> Iterator[Fault]:
    problem = f"is needed by the controller '{controller}', which keeps every phase below it"
    where = str(feeder.master)
    if feeder.transformer is None:
        yield Fault(where, "transformer", f"there is none, and its rating {problem}", "define a Transformer with kVAs")
    else:
        yield Fault(where, f"Transformer.{feeder.transformer} kVAs", f"the rating {problem}", "set kVAs")
    if feeder.head_line is None:
        remedy = "name the line that carries all customers as head_line in feeder.toml"
        yield Fault(where, "head_line", f"there is none, and its rating {problem}", remedy)
    else:
        yield Fault(
            where,
            f"Line.{feeder.head_line} NormAmps",
            f"the rating {problem}",
            "set NormAmps, or [ratings_a] in feeder.toml",
        )
