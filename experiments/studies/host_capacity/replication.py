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
        return np.asarray(self.result.charge_kw.sum(axis=1))

    @property
    def cost(self) -> float:
        """What it costs [$]."""
        return self.houses.cost(self.result.charge_kw)

    def numbers(self, cost_name: str) -> dict[str, float]:
        """Cost, energies, what the right conditions admit inside the caps, and the load under the limit."""
        charge_kw = self.result.charge_kw
        return {
            cost_name: self.cost,
            **self.houses.charged_kwh(np.where(charge_kw > CHARGING_KW, charge_kw, 0.0)),
            "conditions_least_cost": self.least.cost,
            "conditions_most_cost": self.most.cost,
            "load_peak_kw": float((self.houses.inflexible_kw.sum(axis=1) + self.charge_kw).max()),
            "limit_kw": self.houses.limit_kw,
        }


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
    one, thirty = found.single.houses, found.thirty.houses
    published_cost, thirty_cost = thirty.cost(PUBLISHED_EV_KW), found.thirty.cost
    return {
        "single_house": found.single.numbers("single_house_cost") | {
            "single_house_bill": found.single.cost + one.cost(one.inflexible_kw),
            "marginal_price": float(found.single.least.marginal_price[0]),
            "off_peak_headroom_kwh": one.headroom_kwh(OFF_PEAK_PRICE),
            "need_kwh": float(one.need_kwh.sum()),
        },
        "thirty_houses": found.thirty.numbers("thirty_house_cost") | {
            "published_cost": published_cost,
            "saving_percent": 100.0 * (1.0 - thirty_cost / published_cost),
            "off_peak_headroom_kwh": thirty.headroom_kwh(OFF_PEAK_PRICE),
            "shoulder_headroom_kwh": thirty.headroom_kwh(SHOULDER_PRICE),
            "need_kwh": float(thirty.need_kwh.sum()),
        },
        "thirty_houses_another_split": found.resplit.numbers("thirty_house_cost"),
        "published": {
            "published_cost": published_cost,
            "published_charging_kwh": float(PUBLISHED_EV_KW.sum()),
            **{f"published_{key}": value for key, value in thirty.charged_kwh(PUBLISHED_EV_KW).items()},
        },
        "first_formulation_single_house": {
            "feasible": float(found.single.first.feasible),
            "feasible_with_flat_tariff": float(found.flat.feasible),
            "forced_charging_kwh": one.headroom_kwh(OFF_PEAK_PRICE) + one.headroom_kwh(SHOULDER_PRICE),
            "need_kwh": float(one.need_kwh.sum()),
        },
        "first_formulation_thirty_houses": {
            "first_formulation_least_cost": found.first_least.cost,
            "first_formulation_most_cost": found.first_most.cost,
            **{f"first_formulation_{end}_peak_charging_kwh": thirty.charged_kwh(point.charge_kw)["peak_charging_kwh"]
               for end, point in (("least", found.first_least), ("most", found.first_most))},
            "feasible_with_the_right_caps": float(found.thirty.first.feasible),
        },
    }  # fmt: skip
