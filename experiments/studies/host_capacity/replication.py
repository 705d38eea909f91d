"""The seed's own cases, computed again: one house and thirty, the first formulation and the right one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cosim.contract import Float
from cosim.controllers.caps import CapsOptions, CapsProblem, CapsResult, solve_caps
from cosim.experiments.studies.base import Cases
from cosim.experiments.studies.host_capacity.data import (
    HOURS,
    OFF_PEAK_PRICE,
    PUBLISHED_EV_KW,
    SHOULDER_PRICE,
    Houses,
    single_house,
    thirty_houses,
)
from cosim.experiments.studies.host_capacity.kkt import KktPoint, extreme_cost

SPLIT_SEED = 7
CHARGING_KW = 1e-6  # less is the solver's tolerance, not charging


@dataclass(frozen=True, eq=False)
class Corrected:
    """The right model of some houses: caps chosen by the product, and what households do inside them.

    Attributes
    ----------
    houses : Houses
        The data.
    problem, result : CapsProblem, CapsResult
        As the product solves it: caps whose sum respects the limit, as large as possible.
    least, most : KktPoint
        Ends of the range of costs that the right conditions admit inside these caps: one and the same.
    first : KktPoint
        What the first formulation admits inside the same caps.
    """

    houses: Houses
    problem: CapsProblem
    result: CapsResult
    least: KktPoint
    most: KktPoint
    first: KktPoint

    @property
    def charge_kw(self) -> Float:
        """Charging of all houses together, shape (hour,) [kW]."""
        total: Float = self.result.charge_kw.sum(axis=1)
        return total

    @property
    def cost(self) -> float:
        """What it costs [$]."""
        return self.houses.cost(self.result.charge_kw)


@dataclass(frozen=True, eq=False)
class Replication:
    """Everything that the study computes at the seed's own size.

    Attributes
    ----------
    single, thirty, resplit : Corrected
        One house; thirty in equal shares of the published total; thirty in another split of the same total.
    flat : KktPoint
        The first formulation of the single house under a flat tariff.
    first_least, first_most : KktPoint
        Cheapest and dearest charging that the first formulation admits for the thirty houses.
    """

    single: Corrected
    thirty: Corrected
    resplit: Corrected
    flat: KktPoint
    first_least: KktPoint
    first_most: KktPoint


def as_problem(houses: Houses) -> CapsProblem:
    """Return houses as the product sees them: no charger or connection below the limit, cars there all day."""
    count = len(houses.need_kwh)
    return CapsProblem(
        slot_h=1.0,
        tariff_eur_per_kwh=houses.price,
        inflexible_kw=houses.inflexible_kw,
        connection_kw=np.full(count, houses.limit_kw),
        phase_share=np.ones((count, 1)),
        limit_kw=np.full((HOURS, 1), houses.limit_kw),
        home=np.arange(count),
        plugged=np.ones((HOURS, count)),
        charger_kw=np.full(count, houses.limit_kw),
        charger_min_kw=np.zeros(count),
        energy_need_kwh=houses.need_kwh,
        efficiency=np.ones(count),
    )


def correct(houses: Houses) -> Corrected:
    """Solve the right model: the seed's own upper level (largest sum of caps under the limit) over real households."""
    problem = as_problem(houses)
    result = solve_caps(problem, CapsOptions("least_restriction", "sum_of_caps"))
    least, most = (
        extreme_cost(houses, aim, bound_multiplier=True, caps_kw=result.caps_kw) for aim in ("least", "most")
    )
    first = extreme_cost(houses, "least", bound_multiplier=False, caps_kw=result.caps_kw)
    return Corrected(houses, problem, result, least, most, first)


def replicate() -> Replication:
    """Solve all of it."""
    one, thirty = single_house(), thirty_houses()
    flat = replace(one, price=np.full(HOURS, one.price.mean()))
    return Replication(
        single=correct(one),
        thirty=correct(thirty),
        resplit=correct(thirty_houses(np.random.default_rng(SPLIT_SEED))),
        flat=extreme_cost(flat, "least", bound_multiplier=False, caps_kw=np.full((HOURS, 1), one.limit_kw)),
        first_least=extreme_cost(thirty, "least", bound_multiplier=False),
        first_most=extreme_cost(thirty, "most", bound_multiplier=False),
    )


def cases(found: Replication) -> Cases:
    """Return the numbers of every case.

    ``peak_charging_kwh`` is that of the right model; what is published and what the first formulation admits go by
    names of their own.
    """
    single, thirty = found.single, found.thirty
    published_cost = thirty.houses.cost(PUBLISHED_EV_KW)
    published = thirty.houses.charged_kwh(PUBLISHED_EV_KW)
    return {
        "single_house": {
            "single_house_cost": single.cost,
            **_bands(single),
            "single_house_bill": single.cost + single.houses.cost(single.houses.inflexible_kw),
            "marginal_price": float(single.least.marginal_price[0]),
            "off_peak_headroom_kwh": _headroom_kwh(single.houses, OFF_PEAK_PRICE),
            "need_kwh": float(single.houses.need_kwh.sum()),
            **_conditions(single),
        },
        "thirty_houses": {
            "thirty_house_cost": thirty.cost,
            "published_cost": published_cost,
            **_bands(thirty),
            "saving_percent": 100.0 * (1.0 - thirty.cost / published_cost),
            "off_peak_headroom_kwh": _headroom_kwh(thirty.houses, OFF_PEAK_PRICE),
            "shoulder_headroom_kwh": _headroom_kwh(thirty.houses, SHOULDER_PRICE),
            "need_kwh": float(thirty.houses.need_kwh.sum()),
            **_conditions(thirty),
        },
        "thirty_houses_another_split": {
            "thirty_house_cost": found.resplit.cost,
            **_bands(found.resplit),
            **_conditions(found.resplit),
        },
        "published": {
            "published_cost": published_cost,
            "published_charging_kwh": float(PUBLISHED_EV_KW.sum()),
            **{f"published_{key}": value for key, value in published.items()},
        },
        "first_formulation_single_house": {
            "feasible": float(single.first.feasible),
            "feasible_with_flat_tariff": float(found.flat.feasible),
            "forced_charging_kwh": sum(_headroom_kwh(single.houses, p) for p in (OFF_PEAK_PRICE, SHOULDER_PRICE)),
            "need_kwh": float(single.houses.need_kwh.sum()),
        },
        "first_formulation_thirty_houses": {
            "first_formulation_least_cost": found.first_least.cost,
            "first_formulation_most_cost": found.first_most.cost,
            "first_formulation_least_peak_charging_kwh": _peak_kwh(thirty.houses, found.first_least.charge_kw),
            "first_formulation_most_peak_charging_kwh": _peak_kwh(thirty.houses, found.first_most.charge_kw),
            "feasible_with_the_right_caps": float(thirty.first.feasible),
        },
    }  # fmt: skip


def _bands(corrected: Corrected) -> dict[str, float]:
    charge = corrected.result.charge_kw
    return corrected.houses.charged_kwh(np.where(charge > CHARGING_KW, charge, 0.0))


def _peak_kwh(houses: Houses, charge_kw: Float) -> float:
    return houses.charged_kwh(charge_kw)["peak_charging_kwh"]


def _headroom_kwh(houses: Houses, price: float) -> float:
    return float(houses.headroom_kw[houses.price == price].sum())


def _conditions(corrected: Corrected) -> dict[str, float]:
    """What the right conditions admit inside the caps, and how far the households' own optimum is from the plan."""
    load = corrected.houses.inflexible_kw.sum(axis=1) + corrected.charge_kw
    return {
        "conditions_least_cost": corrected.least.cost,
        "conditions_most_cost": corrected.most.cost,
        "load_peak_kw": float(load.max()),
        "limit_kw": corrected.houses.limit_kw,
    }
