"""Pricing against enumeration, the bound, and plans of many homes."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from cosim.controllers.caps import CapsOptions, CapsProblem, order_form, share_of_phase, solve_caps
from cosim.controllers.caps.decomposition import served_in_full, supports
from cosim.controllers.caps.decomposition.bound import relax
from cosim.controllers.caps.decomposition.branch import Tree, close
from cosim.controllers.caps.decomposition.counts import rounding_cuts
from cosim.controllers.caps.decomposition.family import family
from cosim.controllers.caps.decomposition.plans import CAPPED, FULL, LAST, Surcharge
from cosim.controllers.caps.decomposition.pricing import Pricing
from cosim.controllers.caps.follower import best_response
from cosim.controllers.caps.part import Part, respond, split
from cosim.controllers.caps.service import servable
from cosim.controllers.solver import Clock, Limits
from cosim.controllers.solver.pyomo_model import solve
from cosim.errors import InputError


def street(homes: int, slots: int = 24, seed: int = 1, phases: int = 1, tight: float = 0.3) -> CapsProblem:
    rng = np.random.default_rng(seed)
    start, stay = rng.integers(0, slots // 3, homes), rng.integers(slots // 3, slots, homes)
    slot = np.arange(slots)[:, None]
    plugged = ((slot >= start) & (slot < start + stay)).astype(float)
    charger = rng.choice([3.7, 7.4], homes)
    inflexible = rng.uniform(0.2, 1.5, (slots, homes))
    need = rng.uniform(0.1, 0.5, homes) * 0.9 * 0.5 * (plugged * charger).sum(axis=0)
    share = share_of_phase(rng.integers(0, phases, homes), phases)
    return CapsProblem(
        slot_h=0.5,
        tariff_eur_per_kwh=np.where(np.arange(slots) % 24 < 8, 0.3, 0.1),
        inflexible_kw=inflexible,
        connection_kw=np.full(homes, 14.0),
        phase_share=share,
        limit_kw=(inflexible @ share).max(axis=0) + tight * np.tile(charger @ share, (slots, 1)),
        home=np.arange(homes),
        plugged=plugged,
        charger_kw=charger,
        charger_min_kw=np.zeros(homes),
        energy_need_kwh=need,
        efficiency=np.full(homes, 0.9),
    )


def piece(problem: CapsProblem) -> Part:
    service = servable(problem)
    planned = np.flatnonzero(~service.settled & (service.draw_kwh > 0))
    (part,) = split(problem, service.draw_kwh, problem.headroom_kw, planned, counts_peaks=False)
    return part


def cheapest_by_enumeration(part: Part, car: int, price: np.ndarray, extra: Surcharge | None = None) -> float:
    """Try every state of every slot before every last one, the power of one throttled slot at its extremes."""
    slots = np.flatnonzero(part.usable_kw[:, car] > 0)
    usable, room = part.usable_kw[slots, car], part.room_kw[slots, car]
    nothing = np.zeros(len(slots))
    states = (nothing,) * 3 if extra is None else (one[slots, car] for one in (extra.full, extra.capped, extra.last))
    if_full, if_capped, if_last = states
    best = np.inf
    for last in range(len(slots)):
        for choice in product((True, False), repeat=last):
            full = np.array(choice, bool)
            drawn = np.where(full, usable[:last], 0.0)
            paid = price[slots[:last]] @ drawn + part.slot_h * room[:last][~full].sum()
            paid += if_full[:last][full].sum() + if_capped[:last][~full].sum() + if_last[last]
            left = part.draw_kw[car] - drawn.sum()
            if -1e-9 <= left <= usable[last] + 1e-9:
                best = min(best, paid + price[slots[last]] * left)
            for throttled in np.flatnonzero(~full):
                for kw in (left, left - usable[last], usable[throttled]):
                    if 0.0 <= kw <= usable[throttled] and -1e-9 <= left - kw <= usable[last] + 1e-9:
                        cost = (price[slots[throttled]] - part.slot_h) * kw + price[slots[last]] * (left - kw)
                        best = min(best, paid + cost)
    return float(best)


@pytest.mark.parametrize("seed", range(6))
def test_pricing_finds_the_best_plan_of_every_household(seed: int) -> None:
    problem = street(4, slots=9, seed=seed)
    plugged = problem.plugged.copy()
    plugged[plugged.argmax(axis=0), np.arange(4)] = 0.4  # they arrive within a slot
    part = piece(replace(problem, plugged=plugged, limit_kw=np.full((9, 1), 1e3)))
    assert supports(part)
    price = np.random.default_rng(seed).choice([0.0, 0.3, 0.8, 1.5], (9, 1))
    value, plans = Pricing(part).best(price)
    for car in range(len(part.cars)):
        assert value[car] == pytest.approx(cheapest_by_enumeration(part, car, price[:, 0]), abs=1e-9)
    assert plans.charge_kw.sum(axis=0) == pytest.approx(part.draw_kw)
    assert value == pytest.approx(plans.withheld_kwh + (price * plans.charge_kw).sum(axis=0))
    room = np.where(plans.state == CAPPED, plans.charge_kw, part.room_kw)
    assert respond(part, room) == pytest.approx(plans.charge_kw, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_pricing_with_surcharges_finds_the_best_plan_of_every_household(seed: int) -> None:
    problem = street(4, slots=8, seed=seed)
    plugged = problem.plugged.copy()
    plugged[plugged.argmax(axis=0), np.arange(4)] = 0.4
    part = piece(replace(problem, plugged=plugged, limit_kw=np.full((8, 1), 1e3)))
    rng = np.random.default_rng(seed)
    price = rng.choice([0.0, 0.3, 0.8, 1.5], (8, 1))
    extra = Surcharge(*rng.choice([-2.0, 0.0, 0.0, 1.0, 8.0], (3, *part.usable_kw.shape)))
    value, plans = Pricing(part).best(price, extra)
    for car in range(len(part.cars)):
        assert value[car] == pytest.approx(cheapest_by_enumeration(part, car, price[:, 0], extra), abs=1e-9)
    assert plans.charge_kw.sum(axis=0) == pytest.approx(part.draw_kw)
    assert value == pytest.approx(plans.withheld_kwh + (price * plans.charge_kw).sum(axis=0) + extra.of(plans))


def test_full_slots_are_cut_to_what_a_limit_holds_whole() -> None:
    part = piece(street(20))
    for count, most in rounding_cuts(part, np.arange(part.slots)):
        weight, power = count.weight, part.usable_kw[count.slot]
        for first in range(len(weight)):  # fill the limit car by car, from each of them on
            order = np.roll(np.argsort(-weight / power.clip(1e-9), kind="stable"), -first)
            fits = np.cumsum(power[order]) <= part.headroom_kw[count.slot, 0]
            assert weight[order][fits].sum() <= most + 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_branching_proves_the_optimum_of_the_order_form(seed: int) -> None:
    part = piece(street(5, slots=9, seed=seed, tight=0.22))
    exact = solve(order_form.build(part), Limits(1e-7))
    assert exact.termination == "optimal"
    relaxed = relax(part, 1e-6, Clock(60.0), np.random.default_rng(0))
    first = Tree(part, relaxed, 1e-4, Clock(60.0))
    node, mixture = first.solve(first.root, np.inf, 100)
    assert relaxed.bound_kwh - 1e-6 <= node.bound_kwh <= exact.value + 1e-6
    for child in first.divide(node, mixture, np.inf):
        assert child.bound_kwh >= node.bound_kwh
    closed = close(part, relaxed, None, 3e-3, Clock(60.0))
    assert closed.incumbent is not None
    assert closed.bound_kwh <= exact.value + 1e-6 <= closed.incumbent.value_kwh + 1e-4
    assert closed.bound_kwh >= (1 - 3e-3) * closed.incumbent.value_kwh
    load = closed.incumbent.plans.charge_kw @ part.share
    assert (load <= part.headroom_kw + 1e-6).all()


def test_branching_halves_the_gap_of_few_homes_and_repeats_itself() -> None:
    part = piece(street(8, slots=10, seed=3, tight=0.2))
    relaxed = relax(part, 1e-6, Clock(60.0), np.random.default_rng(0))
    closed, again = (close(part, relaxed, None, 0.03, Clock(60.0)) for _ in range(2))
    assert closed.incumbent is not None
    assert closed.nodes > 1
    assert closed.incumbent.value_kwh - closed.bound_kwh < (closed.incumbent.value_kwh - relaxed.bound_kwh) / 2
    assert again.bound_kwh == closed.bound_kwh
    assert again.incumbent is not None
    assert (again.incumbent.plans.charge_kw == closed.incumbent.plans.charge_kw).all()


def test_further_structures_are_what_a_household_would_do() -> None:
    part = piece(street(3))
    price = np.random.default_rng(0).uniform(0.0, 1.0, part.slots)
    value, _ = Pricing(part).best(price[:, None])
    for car in range(3):
        plans = family(part, car, price, 20)
        assert len(plans.cars) > 3
        assert ((plans.state == LAST).sum(axis=0) == 1).all()
        assert plans.charge_kw[plans.state == FULL] == pytest.approx(
            np.repeat(part.usable_kw[:, [car]], len(plans.cars), axis=1)[plans.state == FULL]
        )
        cost = plans.withheld_kwh + price @ plans.charge_kw
        assert cost.min() >= value[car] - 1e-9
        alike = replace(part, usable_kw=part.usable_kw[:, plans.cars], draw_kw=part.draw_kw[plans.cars])
        room = np.where(plans.state == CAPPED, plans.charge_kw, part.room_kw[:, plans.cars])
        assert respond(alike, room) == pytest.approx(plans.charge_kw, abs=1e-6)


def test_the_bound_is_the_value_of_the_convexified_problem() -> None:
    part = piece(street(40))
    relaxed = relax(part, 1e-6, Clock(60.0), np.random.default_rng(0))
    assert not relaxed.struck
    assert relaxed.bound_kwh == pytest.approx(relaxed.master_kwh, rel=1e-5)
    load = (relaxed.plans.charge_kw * relaxed.weight) @ part.share[relaxed.plans.cars]
    assert (load <= part.headroom_kw + 1e-6).all()
    assert np.bincount(relaxed.plans.cars, relaxed.weight) == pytest.approx(np.ones(len(part.cars)), abs=1e-6)
    assert relaxed.plans.withheld_kwh @ relaxed.weight == pytest.approx(relaxed.master_kwh, abs=1e-6)


@pytest.mark.parametrize(("phases", "gap"), [(1, 0.04), (3, 0.1)])
def test_many_homes_come_close_to_the_bound_and_do_what_was_planned(phases: int, gap: float) -> None:
    problem = street(100, phases=phases)
    # three pieces of a third of the homes are near the size at which "auto" turns to the order form
    form = "auto" if phases == 1 else "decomposition"
    result = solve_caps(problem, CapsOptions("least_restriction", gap=gap, form=form))
    assert result.form == "decomposition"
    assert result.status in ("optimal", "gap_limit")
    assert 0.0 < result.withheld_bound_kwh <= result.withheld_kwh
    assert result.gap <= gap
    assert result.max_response_error_kw < 1e-6
    assert result.over_limit_kw <= 1e-6
    assert best_response(problem, result.caps_kw) == pytest.approx(result.charge_kw)
    assert result.unserved_kwh.sum() == 0.0
    again = solve_caps(problem, CapsOptions("least_restriction", gap=gap, form=form))
    assert (again.caps_kw == result.caps_kw).all()


@pytest.mark.parametrize(("homes", "seed", "tight"), [(60, 2, 0.3), (100, 1, 0.2)])
def test_a_first_plan_a_little_above_a_limit_is_repaired(homes: int, seed: int, tight: float) -> None:
    # a few watts above a limit are priced below another structure, and below the gap asked for; the first of these
    # homes end one tolerance of the solver above the limit
    problem = street(homes, seed=seed, tight=tight)
    result = solve_caps(problem, CapsOptions("least_restriction", gap=0.1, form="decomposition"))
    assert result.fallback == ""
    assert result.form == "decomposition"
    assert result.status in ("optimal", "gap_limit")
    assert result.gap <= 0.1
    assert result.over_limit_kw <= 1e-6
    assert result.unserved_kwh.sum() == 0.0


def test_a_clock_that_strikes_is_said_and_the_bound_still_holds() -> None:
    problem = street(60)
    result = solve_caps(problem, CapsOptions("least_restriction", gap=1e-6, time_limit_s=0.0))
    assert "time_limit" in (result.status, *result.fallback.split())
    assert not result.reproducible
    assert result.withheld_bound_kwh <= result.withheld_kwh


def test_what_decomposition_cannot_do_is_left_to_the_order_form_or_refused() -> None:
    part = piece(street(4, slots=9))
    assert supports(part)
    assert not supports(replace(part, counts_peaks=True))
    with pytest.raises(InputError, match="decomposition"):
        CapsOptions(form="decomposition", limit_on="peak")


def test_service_by_urgency_agrees_with_the_linear_programme() -> None:
    problem = street(30)
    quick, exact = served_in_full(problem), servable(problem)
    assert quick is not None
    assert quick.draw_kwh == pytest.approx(exact.draw_kwh, abs=1e-4)
    assert (quick.settled == exact.settled).all()
    short = replace(problem, limit_kw=problem.limit_kw * 0.2)
    assert served_in_full(short) is None
