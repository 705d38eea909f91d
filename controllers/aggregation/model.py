"""An aggregate model of a fleet: units of cars, each one battery with factors; trained on weeks, judged on others.

The published model has one aggregated unit for a set of cars, and several units u with sets V_u. The sets matter: cars
with the same need per charging power want the same hours, so units are quantiles of the hours at full power that a
week's driving takes. One unit, the base ``sum`` and factors of 1 are the simple aggregation; the base ``envelope`` and
factors of 1 are the virtual storage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cosim.contract import Float, Int
from cosim.controllers.aggregation.aggregate import Base, Factors, aggregate, applied, block_of_step
from cosim.controllers.aggregation.deviation import Case
from cosim.controllers.aggregation.fit import FitOptions, fit_factors
from cosim.controllers.aggregation.fleet import Fleet, checked_fleet
from cosim.controllers.aggregation.programme import StoreLp, fleet_total, reference
from cosim.controllers.aggregation.store import Schedule, checked_price, total
from cosim.errors import Fault, InputError


@dataclass(frozen=True, eq=False)
class Week:
    """A fleet, prices, and what the cars do on them.

    Attributes
    ----------
    fleet : Fleet
        The cars.
    price_eur_per_kwh : ndarray, shape (step,)
        Prices.
    reference : Schedule
        Of the cars, arrays (step, car).
    first_h : float
        Hours from Monday 00:00 to the first step [h].
    """

    fleet: Fleet
    price_eur_per_kwh: Float
    reference: Schedule
    first_h: float = 0.0


def make_week(fleet: Fleet, price_eur_per_kwh: Float, first_h: float = 0.0) -> Week:
    """Check a week and schedule its cars.

    Raises
    ------
    InputError
        Where the fleet or the prices are at fault (see ``checked_fleet``, ``checked_price``).
    """
    price = checked_price(price_eur_per_kwh, fleet.steps)
    return Week(fleet, price, reference(checked_fleet(fleet), price), first_h)


@dataclass(frozen=True)
class Recipe:
    """How a model is made.

    Attributes
    ----------
    base : {"sum", "envelope"}
        Bounds that factors scale.
    units : int
        Number of units.
    block_h : int
        Hours that share a factor.
    regularisation : float or None
        Of the factors towards 1; None: no factors at all.
    """

    base: Base = "sum"
    units: int = 1
    block_h: int = 168
    regularisation: float | None = None

    @property
    def factors(self) -> int:
        """Number of factors of one family, all units together; 0 without."""
        return 0 if self.regularisation is None else self.units * (168 // self.block_h)


MISSING_KWH = 1e-3
SIMPLE = Recipe("sum")
ENVELOPE = Recipe("envelope")


@dataclass(frozen=True, eq=False)
class Model:
    """A trained aggregate.

    Attributes
    ----------
    recipe : Recipe
        How it was made.
    members : tuple of ndarray of int
        Cars of each unit.
    factors : tuple of Factors
        Of each unit.
    objective : float
        Of the fit, summed over units; nan without factors.
    """

    recipe: Recipe
    members: tuple[Int, ...]
    factors: tuple[Factors, ...]
    objective: float = float("nan")

    def schedule(self, fleet: Fleet, price_eur_per_kwh: Float, first_h: float = 0.0) -> Schedule:
        """Schedule a fleet by its aggregate, arrays (step,).

        Raises
        ------
        InputError
            Where prices are not finite or of another length.
        """
        price = checked_price(price_eur_per_kwh, fleet.steps)
        lp = StoreLp(fleet.steps, fleet.keep)
        parts = []
        for cars, factors in zip(self.members, self.factors, strict=True):
            tau = block_of_step(fleet.steps, fleet.step_h, factors.block_h, first_h)
            store = aggregate(fleet.only(cars), self.recipe.base)
            parts.append(lp.solve(applied(store, factors, tau), price))
        return total(parts)


def units_of(fleets: Sequence[Fleet], count: int) -> tuple[Int, ...]:
    """Cars of each unit: quantiles of the hours at full power that their driving takes.

    Raises
    ------
    InputError
        Where there are more units than cars.
    """
    cars = fleets[0].cars
    if not 1 <= count <= cars:
        raise InputError(Fault("aggregate", "units", f"{count} for {cars} cars", f"give 1 to {cars}"))
    hours = np.mean([
        fleet.driving_kwh.sum(axis=0) / fleet.charge_efficiency / np.maximum(fleet.charge_high_kw.max(axis=0), 1e-9)
        for fleet in fleets
    ], axis=0)  # fmt: skip
    order = np.argsort(hours, kind="stable")
    return tuple(np.sort(part) for part in np.array_split(order, count))


def train(
    weeks: Sequence[Week],
    recipe: Recipe,
    rng: np.random.Generator,
    options: FitOptions | None = None,
    *,
    coarser: Sequence[Model] = (),
) -> Model:
    """Fit a model to weeks.

    Parameters
    ----------
    weeks : sequence of Week
        To learn from.
    recipe : Recipe
        Base, units, map and regularisation.
    rng : numpy.random.Generator
        Of the search.
    options : FitOptions, optional
        Weights and length of the search; its regularisation is the recipe's.
    coarser : sequence of Model
        Same base and units, on coarser maps: starts of the search.

    Raises
    ------
    InputError
        Where there is no week, or more units than cars.
    """
    if not weeks:
        raise InputError(Fault("aggregate", "weeks", "there is none to learn from", "give at least one"))
    members = units_of([week.fleet for week in weeks], recipe.units)
    if recipe.regularisation is None:
        return Model(recipe, members, (Factors.ones(168),) * recipe.units)
    options = replace(options or FitOptions(), regularisation=recipe.regularisation)
    fits = [
        fit_factors(cases_of(weeks, cars, recipe.base), recipe.block_h, rng, options,
                    starts=[model.factors[unit] for model in coarser])
        for unit, cars in enumerate(members)
    ]  # fmt: skip
    return Model(recipe, members, tuple(fit.factors for fit in fits), float(sum(fit.objective for fit in fits)))


def cases_of(weeks: Sequence[Week], cars: Int, base: Base) -> list[Case]:
    """One unit's aggregate and reference in every week."""
    return [
        Case(aggregate(week.fleet.only(cars), base), week.price_eur_per_kwh, fleet_total(_only(week.reference, cars)),
             week.first_h)
        for week in weeks
    ]  # fmt: skip


@dataclass(frozen=True)
class Score:
    """A model against the cars, over some weeks.

    Attributes
    ----------
    rmse_charge_kw, rmse_level_kwh : float
        Root of the mean squared deviation over all steps.
    cost_gap_percent : float
        What the aggregate pays beside what the cars pay, relative to what they would pay at the mean price.
    peak_error_kw : float
        Highest charging of the aggregate less that of the cars, mean over weeks.
    missing_kwh : float
        What the aggregate's own balance lacks.
    """

    rmse_charge_kw: float
    rmse_level_kwh: float
    cost_gap_percent: float
    peak_error_kw: float
    missing_kwh: float


def judge(model: Model, weeks: Sequence[Week]) -> Score:
    """Compare a model's schedules with the cars' on weeks."""
    mine = [model.schedule(week.fleet, week.price_eur_per_kwh, week.first_h) for week in weeks]
    cars = [fleet_total(week.reference) for week in weeks]
    prices = [week.price_eur_per_kwh for week in weeks]
    paid, due = (sum(map(Schedule.cost_eur, schedules, prices)) for schedules in (mine, cars))
    flat = sum(one.charge_kw.sum() * price.mean() for one, price in zip(cars, prices, strict=True))

    def rmse(name: str) -> float:
        one, other = (np.concatenate([getattr(schedule, name) for schedule in kind]) for kind in (mine, cars))
        return float(np.sqrt(np.mean((one - other) ** 2)))

    peaks = [one.charge_kw.max() - other.charge_kw.max() for one, other in zip(mine, cars, strict=True)]
    missing_kwh = float(sum(np.abs(one.missing_kwh).sum() for one in mine))
    off = rmse("charge_kw"), rmse("level_kwh")
    return Score(*off, 100.0 * (paid - due) / abs(float(flat)), float(np.mean(peaks)), missing_kwh)


def _only(schedule: Schedule, cars: Int) -> Schedule:
    return Schedule(*(getattr(schedule, name)[:, cars] for name in Schedule.__dataclass_fields__))
