"""The bilevel problem where slots of one price are alike to a household: the optimistic and the pessimistic view.

At its own optimum a household uses every slot below some price to its limit, none above it, and at that price any split
of what it still needs. So ``used`` falls once along the *bands* of a car's prices; the first band that is not used is
the marginal one, and there the two views differ:

``optimistic``   the upper level picks the split: any power up to what the car can draw.
``pessimistic``  the limit of *each slot on its own* must hold for the worst split. With energy e left for the marginal
                 band and limits l of its slots, a slot sees at most ``min(l, e)``: a free slot counts with all the car
                 can draw or, in state ``rest``, with e; a capped one with its cap.

The worst draw of a slot, ``min(l_k, max(need - Σ l of cheaper slots, 0))``, is continuous in the caps, and the caps
that a charger can use form a closed set, so the pessimistic optimum is attained: what is reported is a maximum over the
household's answers, not a supremum that no caps reach. Any schedule is enforced in both views by caps at inflexible
load + schedule, since that leaves the household no choice.

Where a price is zero or below it, what a household draws lies between its need and a full battery: below it is full,
at zero the optimistic upper level chooses, and the pessimistic one reckons with a full battery.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyomo.environ as pyo

from cosim.contract import Int
from cosim.controllers.caps.merit_order import band_levels
from cosim.controllers.caps.order_form import slots_of
from cosim.controllers.caps.part import NEARLY_KW, Part, Plan, freed, respond
from cosim.controllers.caps.upper_level import add_objective, limit_rows

VIEWS = ("optimistic", "pessimistic")


@dataclass(frozen=True, eq=False)
class _Band:
    """Slots of one price, of one car."""

    car: int
    number: int
    level: int
    rows: list[int]

    @property
    def key(self) -> tuple[int, int]:
        return self.car, self.number


def build(part: Part, view: str) -> pyo.ConcreteModel:
    """Return the mixed-integer model: least withheld energy under the limits [kWh].

    Parameters
    ----------
    part : Part
        One piece of the problem; its needs must be servable, and the means of its slots what counts.
    view : str
        ``optimistic`` or ``pessimistic``.
    """
    m = pyo.ConcreteModel()
    m.pairs = pyo.Set(initialize=part.pairs(), dimen=2, ordered=True)
    bands = _bands(part)
    m.used = pyo.Var([band.key for band in bands], within=pyo.Binary)
    m.full = pyo.Var(m.pairs, within=pyo.Binary)
    m.throttled = pyo.Var(m.pairs, within=pyo.Binary)
    m.shut = pyo.Var([pair for pair in m.pairs if part.may_shut(*pair)], within=pyo.Binary)
    m.throttled_kw = pyo.Var(m.pairs, within=pyo.NonNegativeReals)
    m.rest_kw = pyo.Var(m.pairs, within=pyo.NonNegativeReals)
    _cap_rows(m, part)
    (_optimistic_rows if view == "optimistic" else _pessimistic_rows)(m, part, bands)

    def counted_kw(c: int, k: int) -> pyo.Expression:
        return float(part.usable_kw[k, c]) * m.full[c, k] + m.throttled_kw[c, k] + m.rest_kw[c, k]

    def withheld_kw(c: int, k: int) -> pyo.Expression:
        return float(part.room_kw[k, c]) * (m.throttled[c, k] + _shut(m, c, k)) - m.throttled_kw[c, k]

    limit_rows(m, part, counted_kw)
    first = {(band.car, band.rows[0]): band.key for band in bands}  # what a band draws costs the same in all its slots

    def band_kw(c: int, k: int) -> pyo.Expression:
        return m.band_kw[first[c, k]] if (c, k) in first else 0.0

    add_objective(m, part, withheld_kw, counted_kw if view == "optimistic" else band_kw)
    return m


def read(part: Part, m: pyo.ConcreteModel) -> Plan:
    """Return the plan that the model's variables hold; pessimistic: with the draw of the strict order."""
    room, charge = part.room_kw.copy(), np.zeros_like(part.room_kw)
    for c, k in m.pairs:
        if m.throttled[c, k].value > 0.5:
            room[k, c] = max(m.throttled_kw[c, k].value, part.least_room_kw(c, k))
        elif (c, k) in m.shut and m.shut[c, k].value > 0.5:
            room[k, c] = 0.0
        limit = min(float(room[k, c]), float(part.usable_kw[k, c]))
        settled = m.full[c, k].value > 0.5 or room[k, c] < part.room_kw[k, c]
        charge[k, c] = limit if settled else max(m.rest_kw[c, k].value, 0.0)
    if m.find_component("rest") is not None:
        return freed(part, Plan(room, respond(part, room)))
    return freed(part, Plan(room, charge))


def write_start(part: Part, m: pyo.ConcreteModel, plan: Plan) -> None:
    """Set the model's variables to a plan, as a start for the solver."""
    pessimistic = m.find_component("rest") is not None
    of_slots = [m.full, m.throttled, m.shut, m.throttled_kw, m.rest_kw, *([m.rest] if pessimistic else [])]
    for variable in [*of_slots, m.used, *([m.band_kw] if pessimistic else [])]:
        for index in variable:
            variable[index].value = 0.0
    reached, cheaper_kw = dict.fromkeys(m.cars_with_bands, True), dict.fromkeys(m.cars_with_bands, 0.0)
    drawn_kw = plan.charge_kw.sum(axis=0)
    for band in _bands(part):
        c = band.car
        if not reached[c]:
            continue
        limits = {k: min(float(plan.room_kw[k, c]), float(part.usable_kw[k, c])) for k in band.rows}
        target = _target_kw(part, band, float(drawn_kw[c]), pessimistic=pessimistic)
        left = max(target - cheaper_kw[c], 0.0)
        used = sum(limits.values()) <= left + NEARLY_KW
        reached[c], m.used[band.key].value = used, int(used)
        cheaper_kw[c] += sum(limits.values())
        for k, limit in limits.items():
            _start_slot(m, part, (c, k), limit, left, float(plan.charge_kw[k, c]), used, pessimistic)
        if pessimistic:
            m.band_kw[band.key].value = min(sum(limits.values()), left)
    for c in m.beyond:
        m.beyond[c].value = int(drawn_kw[c] > part.draw_kw[c] + NEARLY_KW)


def _start_slot(
    m: pyo.ConcreteModel, part: Part, pair: tuple[int, int], limit: float, left: float, charge: float,
    used: bool, pessimistic: bool,
) -> None:  # fmt: skip
    c, k = pair
    usable = float(part.usable_kw[k, c])
    free = limit >= usable - NEARLY_KW
    if not used and not pessimistic:
        m.rest_kw[pair].value = charge
    elif not used and left <= limit and pair in m.rest:
        m.rest[pair].value, m.rest_kw[pair].value = 1, left
    elif free:
        m.full[pair].value = 1
    elif limit > NEARLY_KW or pair not in m.shut:
        m.throttled[pair].value, m.throttled_kw[pair].value = 1, limit
    else:
        m.shut[pair].value = 1


def _target_kw(part: Part, band: _Band, drawn_kw: float, *, pessimistic: bool) -> float:
    """Energy up to which a car charges at a band, as if drawn in one slot."""
    need, most = float(part.draw_kw[band.car]), float(part.most_kw[band.car])
    if band.level == 0 and not pessimistic:
        return max(drawn_kw, need)
    return most if band.level <= 0 else need


def _bands(part: Part) -> list[_Band]:
    levels: Int = band_levels(part.tariff_eur_per_kwh)
    bands = []
    for car, rows in slots_of(part).items():
        for number, level in enumerate(sorted({int(levels[k, car]) for k in rows})):
            bands.append(_Band(car, number, level, [k for k in rows if levels[k, car] == level]))
    return bands


def _shut(m: pyo.ConcreteModel, c: int, k: int) -> pyo.Expression:
    pair = (c, k)
    return m.shut[pair] if pair in m.shut else 0  # noqa: SIM401 - an indexed variable has no get


def _cap_rows(m: pyo.ConcreteModel, part: Part) -> None:
    """Bounds of what a throttled slot leaves."""
    m.rooms = pyo.ConstraintList()
    for c, k in m.pairs:
        usable, least = float(part.usable_kw[k, c]), part.least_room_kw(c, k)
        if least > usable:
            m.throttled[c, k].fix(0)  # no room that the car could use lies between nothing and all it can draw
        m.rooms.add(m.throttled_kw[c, k] <= usable * m.throttled[c, k])
        m.rooms.add(m.throttled_kw[c, k] >= least * m.throttled[c, k])


def _optimistic_rows(m: pyo.ConcreteModel, part: Part, bands: list[_Band]) -> None:
    m.bands = pyo.ConstraintList()
    for band in bands:
        reached, used = _reached(m, band), m.used[band.key]
        m.bands.add(used <= reached)
        for k in band.rows:
            c = band.car
            m.bands.add(m.full[c, k] + m.throttled[c, k] + _shut(m, c, k) == used)
            # a rest only in the marginal band: all cheaper ones used up, this one not
            m.bands.add(m.rest_kw[c, k] <= float(part.usable_kw[k, c]) * (reached - used))
    drawn = {
        band.key: sum(
            float(part.usable_kw[k, c]) * m.full[c, k] + m.throttled_kw[c, k] + m.rest_kw[c, k]
            for c, k in ((band.car, k) for k in band.rows)
        )
        for band in bands
    }
    _energy_rows(m, part, bands, drawn, full_up_to=-1)


def _pessimistic_rows(m: pyo.ConcreteModel, part: Part, bands: list[_Band]) -> None:
    m.rest = pyo.Var(m.pairs, within=pyo.Binary)
    keys = [band.key for band in bands]
    m.band_kw = pyo.Var(keys, within=pyo.NonNegativeReals)
    m.bands = pyo.ConstraintList()
    for band in bands:
        c, reached, used, drawn = band.car, _reached(m, band), m.used[band.key], m.band_kw[band.key]
        usable = {k: float(part.usable_kw[k, c]) for k in band.rows}
        most = min(sum(usable.values()), float(part.most_kw[c]))
        limits = sum(usable[k] * (m.full[c, k] + m.rest[c, k]) + m.throttled_kw[c, k] for k in band.rows)
        m.bands.add(used <= reached)
        m.bands.add(drawn <= limits)
        # a band that is used up draws all its limits; big-M is what the car could draw in it
        m.bands.add(drawn >= limits - sum(usable.values()) * (1 - used))
        for k in band.rows:
            m.bands.add(m.full[c, k] + m.throttled[c, k] + _shut(m, c, k) + m.rest[c, k] == reached)
            m.bands.add(m.rest[c, k] <= reached - used)
            # the worst split: one free slot, any of them, takes all that the band still draws, so each must have room
            # for it
            m.bands.add(m.rest_kw[c, k] >= drawn - most * (1 - m.rest[c, k]))
    _energy_rows(m, part, bands, {key: m.band_kw[key] for key in keys}, full_up_to=0)


def _energy_rows(
    m: pyo.ConcreteModel,
    part: Part,
    bands: list[_Band],
    drawn: dict[tuple[int, int], pyo.Expression],
    full_up_to: int,
) -> None:
    """Let every need be met exactly, or charging end between need and battery where a price is zero or below."""
    of_car: dict[int, list[_Band]] = {}
    for band in bands:
        of_car.setdefault(band.car, []).append(band)
    m.cars_with_bands = list(of_car)
    m.beyond = pyo.Var([c for c in of_car if part.most_kw[c] > part.draw_kw[c]], within=pyo.Binary)
    m.energy = pyo.ConstraintList()
    for c, its in of_car.items():
        need, more = float(part.draw_kw[c]), float(part.most_kw[c] - part.draw_kw[c])
        total = sum(drawn[band.key] for band in its)
        if c not in m.beyond:
            m.energy.add(total == need)
            continue
        full = sum(_reached(m, band) - m.used[band.key] for band in its if band.level <= full_up_to)
        costing = sum(drawn[band.key] for band in its if band.level > 0)
        m.energy.add(total <= need + more * m.beyond[c])
        m.energy.add(total >= need + more * full)
        if any(band.level > 0 for band in its):
            m.energy.add(costing <= need * (1 - m.beyond[c]))


def _reached(m: pyo.ConcreteModel, band: _Band) -> pyo.Expression:
    """Whether all cheaper bands are used."""
    return m.used[band.car, band.number - 1] if band.number else 1
