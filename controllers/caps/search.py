"""A plan to start from: caps found by trying many orders of precedence at once.

Given an order of precedence among the cars of a piece, a plan follows slot by slot from the cheapest: floors first,
then cars in their order up to what they can take, the rest held back. Thousands of orders (random keys, the best kept
and perturbed) are evaluated together; a slot costs a few vector operations. Cars with merit orders of their own do not
meet slot by slot: there each car in its turn takes what those before it left. It proves nothing: the bound comes from
the mixed-integer model, which starts from the plan found here.
"""

from __future__ import annotations

import numpy as np

from cosim.contract import Float, Int
from cosim.contract.signals import Bool
from cosim.controllers.caps.merit_order import band_levels, strict_levels
from cosim.controllers.caps.part import Part, Plan, respond
from cosim.controllers.caps.sharing import useful

CANDIDATES = 1500
ENTRIES = 15_000_000  # candidates by slots by cars, at most, where cars are treated one after the other
ROUNDS = 20
NEAR_CANDIDATES, NEAR_ROUNDS = 160, 6
NUDGES = (0.1, 0.3, 1.0)  # of the spread of keys
KEPT = 40
FAILED = 1e4  # per kW and slot of need left over, and per slot over the limit: such a plan loses against any other
SERVED_KW = 1e-6


def search(part: Part, rng: np.random.Generator, ties: str = "unique", near: Float | None = None) -> Plan | None:
    """Return a plan with little withheld, or None where no order of precedence tried serves every need.

    Parameters
    ----------
    part : Part
        The piece, with its floors.
    rng : numpy.random.Generator
        Source of every draw.
    ties : str
        Which of its cheapest ways to charge a household is reckoned to choose, as in ``CapsOptions``.
    near : ndarray, shape (car,), optional
        Key of an order of precedence known to be nearly right, the smallest first: then far fewer are tried, near it.
    """
    cars = len(part.cars)
    quickest = part.draw_kw / np.maximum(part.usable_kw.max(axis=0), SERVED_KW)
    stay = part.plugged.sum(axis=0)
    count = CANDIDATES
    if _one_by_one(part, ties):
        count = min(max(ENTRIES // part.usable_kw.size, 2 * KEPT), CANDIDATES)
    rounds = ROUNDS
    if near is None:
        others = rng.random((count, cars))
    else:
        count, rounds = min(count, NEAR_CANDIDATES), NEAR_ROUNDS
        others = near + rng.normal(size=(count, cars)) * rng.choice(NUDGES, size=(count, 1)) * max(
            near.std(), NUDGES[0]
        )
        others[0] = near
    # three rules of thumb among the random orders: smallest need, least charging time, shortest stay first
    keys = np.concatenate([np.stack([part.draw_kw, quickest, stay]), others])
    best_key, best_cost = keys[0], np.inf
    for _ in range(rounds):
        cost = _costs(part, np.argsort(keys, axis=1, kind="stable"), ties)
        leaders = keys[np.argsort(cost, kind="stable")[:KEPT]]
        if cost.min() < best_cost:
            best_key, best_cost = leaders[0], float(cost.min())
        if best_cost <= 0.0:
            break
        parents = leaders[rng.integers(len(leaders), size=count)]
        nudge = rng.normal(size=parents.shape) * 0.3 * parents.std(axis=0) * (rng.random(parents.shape) < 0.25)
        keys = np.concatenate([leaders, parents + nudge])
    return plan_of(part, np.argsort(best_key, kind="stable"), ties)


def plan_of(part: Part, precedence: Int, ties: str = "unique") -> Plan | None:
    """Return the plan of one order of precedence, shape (car,); None where it leaves need unserved."""
    if _one_by_one(part, ties):
        room, charge, _, failed = _in_turn(part, precedence[None], ties)
        return None if failed[0] > 0 else Plan(room[0], charge[0] if ties == "optimistic" else respond(part, room[0]))
    room, taken = part.room_kw.copy(), np.zeros((1, len(precedence)))
    for slot in range(part.slots):
        left = np.maximum(part.wanted_kw[slot] - taken, 0.0)
        asked = part.asked_kw(slot, left)
        given, broken = _given(part, slot, asked, precedence[None])
        if broken.any():
            return None
        held = (given < asked)[0]
        room[slot, held] = given[0, held]
        taken = taken + np.minimum(np.minimum(given, part.usable_kw[slot]), left)
    if (part.draw_kw - taken).max(initial=0.0) > SERVED_KW:
        return None
    return Plan(room, respond(part, room))


def _costs(part: Part, precedence: Int, ties: str) -> Float:
    """Withheld kW summed over slots, penalised where a plan fails, for orders of shape (candidate, car)."""
    if _one_by_one(part, ties):
        _, _, withheld, failed = _in_turn(part, precedence, ties, keep=False)
        return withheld + FAILED * failed
    taken = np.zeros(precedence.shape)
    cost = np.zeros(len(precedence))
    for slot in range(part.slots):
        left = np.maximum(part.wanted_kw[slot] - taken, 0.0)
        asked = part.asked_kw(slot, left)
        if not asked.any():
            continue
        given, broken = _given(part, slot, asked, precedence)
        cost += FAILED * broken
        # a cap that holds back withholds the room up to the connection; one that does not is lifted and withholds
        # nothing
        cost += np.where(given < asked, part.room_kw[slot] - given, 0.0).sum(axis=1)
        taken = taken + np.minimum(np.minimum(given, part.usable_kw[slot]), left)
    left = part.draw_kw - taken
    unserved: Float = np.where(left > SERVED_KW, left, 0.0).sum(axis=1)
    return cost + FAILED * unserved


def _one_by_one(part: Part, ties: str) -> bool:
    """Whether cars cannot be treated together, slot by slot."""
    return ties != "unique" or not part.one_order


def _in_turn(part: Part, precedence: Int, ties: str, *, keep: bool = True) -> tuple[Float, Float, Float, Float]:
    """Let one car after the other fill its own order; floors of all are set aside from the beginning.

    The optimistic view caps only slots of prices that the car uses up: at the last one it takes what fits.

    Returns
    -------
    room, charge : ndarray, shape (candidate, slot, car)
        That caps leave, and what cars draw, pessimistic: at worst; of no candidate unless they are to be kept [kW].
    withheld : ndarray, shape (candidate,)
        Summed over slots [kW].
    failed : ndarray, shape (candidate,)
        Need left over, and slots whose floors do not fit together [kW].
    """
    promised = np.stack([part.promised_kw(slot) for slot in range(part.slots)])
    promised = np.minimum(promised, part.peak_kw)
    # floors first, for cars late in the order would else find them spent
    available = np.broadcast_to(
        part.headroom_kw - part.load_kw(promised), (len(precedence), *part.headroom_kw.shape)
    ).copy()
    every_row = np.broadcast_to(np.arange(part.slots)[:, None], part.when.shape)
    limit_row = every_row if part.one_order else part.when
    levels = (strict_levels if ties == "unique" else band_levels)(part.tariff_eur_per_kwh)
    opens = np.diff(levels, axis=0, prepend=levels[:1] - 1) > 0
    closes = np.diff(levels, axis=0, append=levels[-1:] + 1) > 0
    wanted = np.where(levels <= (-1 if ties == "optimistic" else 0), part.most_kw, part.draw_kw)
    failed = np.full(len(precedence), float((available[0] < 0).any(axis=-1).sum()))
    room = np.broadcast_to(part.room_kw, (len(precedence) if keep else 0, *part.room_kw.shape)).copy()
    charge = np.zeros_like(room)
    withheld, rows = np.zeros(len(precedence)), np.arange(len(precedence))[:, None]
    for rank in range(precedence.shape[1]):
        car = precedence[:, rank]
        when, share = limit_row[:, car].T, part.share[car][:, None]  # (candidate, slot), (candidate, 1, phase)
        usable, peak, have = part.usable_kw[:, car].T, part.peak_kw[:, car].T, promised[:, car].T
        with np.errstate(divide="ignore", invalid="ignore"):
            fits = np.where(share > 0, available[rows, when] / share, np.inf).min(axis=2)
        most = have + np.clip(fits, 0.0, peak - have)
        limit = useful(most, peak, usable, part.charger_min_kw[car][:, None], have)
        within = np.minimum(limit, usable)
        before = np.cumsum(within, axis=1) - within
        if ties == "optimistic":
            through = np.where(closes[:, car].T, before + within, np.inf)
            # what is drawn up to the end of a slot's price band: the next band's end, read backwards
            through = np.minimum.accumulate(through[:, ::-1], axis=1)[:, ::-1]
            held = (limit < usable) & (through < wanted[:, car].T - SERVED_KW)
            taken = np.clip(wanted[:, car].T - before, 0.0, within)
        else:
            # pessimistic: inside a band every slot may be the first to be used, so only cheaper bands are sure to
            # come before it
            cheaper = np.maximum.accumulate(np.where(opens[:, car].T, before, 0.0), axis=1)
            left = np.maximum(wanted[:, car].T - cheaper, 0.0)
            asked = np.where(left > SERVED_KW, peak, 0.0) if part.counts_peaks else np.minimum(usable, left)
            held = limit < asked
            taken = np.where(held, limit, asked)
        if keep:
            room[rows, np.arange(part.slots), car[:, None]] = np.where(held, limit, part.room_kw[:, car].T)
            charge[rows, np.arange(part.slots), car[:, None]] = taken
        withheld += np.where(held, part.room_kw[:, car].T - limit, 0.0).sum(axis=1)
        # its floor was set aside with all others, so only what is taken beyond it comes off
        available[rows, when] -= (taken - have)[:, :, None] * share
        unserved = part.draw_kw[car] - within.sum(axis=1)
        failed += np.where(unserved > SERVED_KW, unserved, 0.0)
    return room, charge, withheld, failed


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
