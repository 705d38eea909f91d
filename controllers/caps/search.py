"""A plan to start from: caps found by trying many orders of precedence at once.

Given an order of precedence among the cars of a piece, a plan follows slot by slot from the cheapest: floors first,
then cars in their order up to what they can take, the rest held back. Thousands of orders (random keys, the best kept
and perturbed) are evaluated together; a slot costs a few vector operations. It proves nothing: the bound comes from
the mixed-integer model, which starts from the plan found here.
"""

from __future__ import annotations

import numpy as np

from controllers.caps.part import Part, Plan, respond
from controllers.caps.sharing import useful
from cosim.contract import Float, Int
from cosim.contract.signals import Bool

CANDIDATES = 1500
ROUNDS = 20
KEPT = 40
FAILED = 1e4  # per kW and slot of need left over, and per slot over the limit: such a plan loses against any other
SERVED_KW = 1e-6


def search(part: Part, rng: np.random.Generator) -> Plan | None:
    """Return a plan with little withheld, or None where no order of precedence tried serves every need.

    Parameters
    ----------
    part : Part
        The piece, with its floors.
    rng : numpy.random.Generator
        Source of every draw.
    """
    cars = len(part.cars)
    quickest = part.draw_kw / np.maximum(part.usable_kw.max(axis=0), SERVED_KW)
    stay = part.plugged.sum(axis=0)
    keys = np.concatenate([np.stack([part.draw_kw, quickest, stay]), rng.random((CANDIDATES, cars))])
    best_key, best_cost = keys[0], np.inf
    for _ in range(ROUNDS):
        cost = _costs(part, np.argsort(keys, axis=1, kind="stable"))
        leaders = keys[np.argsort(cost, kind="stable")[:KEPT]]
        if cost.min() < best_cost:
            best_key, best_cost = leaders[0], float(cost.min())
        if best_cost <= 0.0:
            break
        parents = leaders[rng.integers(len(leaders), size=CANDIDATES)]
        nudge = rng.normal(size=parents.shape) * 0.3 * parents.std(axis=0) * (rng.random(parents.shape) < 0.25)
        keys = np.concatenate([leaders, parents + nudge])
    return plan_of(part, np.argsort(best_key, kind="stable"))


def plan_of(part: Part, precedence: Int) -> Plan | None:
    """Return the plan of one order of precedence, shape (car,); None where it leaves need unserved."""
    room, left = part.room_kw.copy(), part.draw_kw[None].copy()
    for slot in range(part.slots):
        asked = part.asked_kw(slot, left)
        given, broken = _given(part, slot, asked, precedence[None])
        if broken.any():
            return None
        held = (given < asked)[0]
        room[slot, held] = given[0, held]
        left = left - np.minimum(np.minimum(given, part.usable_kw[slot]), left)
    if left.max(initial=0.0) > SERVED_KW:
        return None
    return Plan(room, respond(part, room))


def _costs(part: Part, precedence: Int) -> Float:
    """Withheld kW summed over slots, penalised where a plan fails, for orders of shape (candidate, car)."""
    left = np.broadcast_to(part.draw_kw, precedence.shape)
    cost = np.zeros(len(precedence))
    for slot in range(part.slots):
        asked = part.asked_kw(slot, left)
        if not asked.any():
            continue
        given, broken = _given(part, slot, asked, precedence)
        cost += FAILED * broken
        cost += np.where(given < asked, part.room_kw[slot] - given, 0.0).sum(axis=1)
        left = left - np.minimum(np.minimum(given, part.usable_kw[slot]), left)
    unserved: Float = np.where(left > SERVED_KW, left, 0.0).sum(axis=1)
    return cost + FAILED * unserved


def _given(part: Part, slot: int, asked: Float, precedence: Int) -> tuple[Float, Bool]:
    """Share the slot: floors first, then by precedence.

    Returns
    -------
    given : ndarray, shape (candidate, car)
        Part of the headroom that each car gets [kW].
    broken : ndarray of bool, shape (candidate,)
        Whether the floors alone exceed what there is.
    """
    given = np.minimum(part.promised_kw(slot), asked)
    available = part.headroom_kw[slot] - given @ part.share  # (candidate, phase)
    broken = (available < 0).any(axis=1)
    rows = np.arange(len(precedence))
    for rank in range(precedence.shape[1]):
        car = precedence[:, rank]
        share = part.share[car]
        with np.errstate(divide="ignore", invalid="ignore"):
            fits = np.where(share > 0, available / share, np.inf).min(axis=1)
        have, want = given[rows, car], asked[rows, car]
        take = have + np.clip(fits, 0.0, want - have)
        take = useful(take, want, part.usable_kw[slot, car], part.charger_min_kw[car], have)
        given[rows, car] = take
        available = available - (take - have)[:, None] * share
    return given, broken
