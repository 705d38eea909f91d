"""The fleet study's computation: weeks, baselines, maps, all aggregates, the choice, and what cars can follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cosim.controllers.aggregation import MAPS_H
from cosim.controllers.aggregation.disaggregate import disaggregate
from cosim.controllers.aggregation.fit import Wishes
from cosim.controllers.aggregation.model import (
    ENVELOPE,
    MISSING_KWH,
    SIMPLE,
    Model,
    Recipe,
    Score,
    Week,
    judge,
    make_week,
    train,
)
from cosim.errors import Fault, InputError
from cosim.experiments.studies.fleet_aggregation.data import draw_cars, draw_prices, draw_week

MAP_REGULARISATION = 0.001
FAMILY_UNITS, FAMILY_MAPS_H, FAMILY_REGULARISATION = (1, 2, 4, 8), (168, 24, 6), (0.01, 0.3)
MAP_WISHES, FAMILY_WISHES = Wishes(kicks=30), Wishes(kicks=2)
CARS_PER_UNIT = 4  # at least, on average: with fewer, units come near the cars themselves, and nothing is aggregated
MORE_ROUNDS = 4  # of search, for a map that is not nested in a coarser one that fits better
LEAST_VEHICLES, MOST_VEHICLES, MOST_WEEKS = 8, 1000, 12
ONE_WEEK = "one_week_hourly"
CHOSEN, ONE_UNIT, NO_FACTORS = "chosen", "chosen_one_unit", "chosen_without_factors"


@dataclass(frozen=True)
class Order:
    """Size of the study; ``checked`` refuses what makes no sense."""

    vehicles: int = 100
    training_weeks: int = 4
    validation_weeks: int = 2
    test_weeks: int = 2
    seed: int = 1
    discharge: bool = False

    def checked(self) -> Order:
        """Return the order.

        Raises
        ------
        InputError
            Sizes out of range, all at once.
        """
        ranges = {
            "vehicles": (LEAST_VEHICLES, MOST_VEHICLES), "training_weeks": (1, MOST_WEEKS),
            "validation_weeks": (1, MOST_WEEKS), "test_weeks": (1, MOST_WEEKS), "seed": (0, 2**32 - 1),
        }  # fmt: skip
        faults = [
            Fault(
                "fleet_aggregation", f"--{key.replace('_', '-')}", f"is {getattr(self, key)}", f"give {low} to {high}"
            )
            for key, (low, high) in ranges.items()
            if not low <= getattr(self, key) <= high
        ]
        if faults:
            raise InputError(faults)
        return self


@dataclass(frozen=True, eq=False)
class Judged:
    """A model, and its scores on the three sets of weeks."""

    model: Model
    training: Score
    validation: Score
    test: Score


@dataclass(frozen=True, eq=False)
class Story:
    """Everything the report tells.

    Attributes
    ----------
    training, validation, test : list of Week
        Weeks by use.
    simple, envelope : Judged
        Baselines.
    maps : dict of int to Judged
        One unit on the sum's bounds, by hours per factor.
    family : list of Judged
        Every aggregate among which the choice was made.
    cases : dict of str to Judged
        By the names of ``metrics.json``.
    unfollowed_percent : dict of str to float
        Share of the charged energy, over the test weeks, that the cars cannot take when the aggregate wants it.
    """

    training: list[Week]
    validation: list[Week]
    test: list[Week]
    simple: Judged
    envelope: Judged
    maps: dict[int, Judged]
    family: list[Judged]
    cases: dict[str, Judged]
    unfollowed_percent: dict[str, float] = field(default_factory=dict)

    @property
    def cycled_kwh(self) -> float:
        """Energy that cars take and feed back in the same step, over the test weeks, which would be burnt [kWh]."""
        both_kw = [np.minimum(week.reference.charge_kw, week.reference.discharge_kw) for week in self.test]
        return float(sum(kw.sum() * week.fleet.step_h for kw, week in zip(both_kw, self.test, strict=True)))


def tell(order: Order) -> Story:
    """Compute the study.

    Parameters
    ----------
    order : Order
        Its size.
    """
    training, validation, test = draw_weeks(order)
    search = np.random.default_rng([order.seed, 1])
    sets = (training, validation, test)
    simple, envelope = (judged(train(training, recipe, search), sets) for recipe in (SIMPLE, ENVELOPE))
    maps = {block_h: judged(model, sets) for block_h, model in fit_maps(training, search).items()}
    family = [simple, envelope, *maps.values(), *(judged(model, sets) for model in fit_family(training, search, order))]
    single = Recipe("sum", 1, 1, 0.0)
    cases = {f"map_{block_h}h": one for block_h, one in maps.items()}
    cases[ONE_WEEK] = judged(train(training[:1], single, search, MAP_WISHES), (training[:1], validation, test))
    cases[CHOSEN] = _best(family)
    cases[ONE_UNIT] = _best([one for one in family if one.model.recipe.units == 1])
    chosen = cases[CHOSEN].model.recipe
    cases[NO_FACTORS] = judged(train(training, Recipe(chosen.base, chosen.units), search), sets)
    asked = {"simple": simple, "envelope": envelope, ONE_UNIT: cases[ONE_UNIT], CHOSEN: cases[CHOSEN]}
    unfollowed = {name: unfollowed_percent(one.model, test) for name, one in asked.items()}
    return Story(training, validation, test, simple, envelope, maps, family, cases, unfollowed)


def draw_weeks(order: Order) -> tuple[list[Week], list[Week], list[Week]]:
    """Draw cars, and weeks of trips and prices for training, validation and test, in this order from one seed."""
    rng = np.random.default_rng(order.seed)
    cars = draw_cars(order.vehicles, rng)
    sizes = (order.training_weeks, order.validation_weeks, order.test_weeks)
    training, validation, test = (
        [make_week(draw_week(cars, rng, discharge=order.discharge), draw_prices(rng)) for _ in range(size)]
        for size in sizes
    )
    return training, validation, test


def fit_maps(weeks: Sequence[Week], search: np.random.Generator) -> dict[int, Model]:
    """Fit one unit on the sum's bounds, the published structure, on every map, each started from all coarser ones."""
    fitted: dict[int, Model] = {}
    for block_h in MAPS_H:
        recipe = Recipe("sum", 1, block_h, MAP_REGULARISATION)
        model = train(weeks, recipe, search, MAP_WISHES, coarser=list(fitted.values()))
        for _ in range(MORE_ROUNDS):
            if model.objective <= min((other.objective for other in fitted.values()), default=np.inf):
                break
            model = train(weeks, recipe, search, MAP_WISHES, coarser=[model])
        fitted[block_h] = model
    return fitted


def fit_family(weeks: Sequence[Week], search: np.random.Generator, order: Order) -> list[Model]:
    """Fit both bases, several numbers of units, maps and regularisations, without and with factors."""
    made: list[Model] = []
    most = max(order.vehicles // CARS_PER_UNIT, 1)
    for units in (count for count in FAMILY_UNITS if count <= most):
        for base in ("sum", "envelope"):
            made.append(train(weeks, Recipe(base, units), search))
            for regularisation in FAMILY_REGULARISATION:
                nested: list[Model] = []
                for block_h in FAMILY_MAPS_H:
                    recipe = Recipe(base, units, block_h, regularisation)
                    nested.append(train(weeks, recipe, search, FAMILY_WISHES, coarser=nested))
                made += nested
    return made


def judged(model: Model, sets: tuple[list[Week], list[Week], list[Week]]) -> Judged:
    """Score a model on training, validation and test weeks."""
    return Judged(model, *(judge(model, weeks) for weeks in sets))


def unfollowed_percent(model: Model, weeks: Sequence[Week]) -> float:
    """Share of the charged energy that the cars cannot take when the aggregate wants it [%].

    With feeding back, what a car would have to take and feed back at once counts as well.
    """
    missed_kwh = wanted_kwh = 0.0
    for week in weeks:
        mine = model.schedule(week.fleet, week.price_eur_per_kwh, week.first_h)
        power_kw = mine.charge_kw - mine.discharge_kw
        shares = disaggregate(week.fleet, power_kw)
        missed_kwh += shares.short_kwh(week.fleet.step_h) + float(shares.cycled_kw.sum()) * week.fleet.step_h
        wanted_kwh += float(mine.charge_kw.sum()) * week.fleet.step_h
    return 100.0 * missed_kwh / wanted_kwh


def metrics(story: Story) -> dict[str, dict[str, Any]]:
    """Numbers of every case; errors without a suffix are out of sample."""
    told: dict[str, dict[str, Any]] = {}
    for name, one in {"simple": story.simple, "envelope": story.envelope, **story.cases}.items():
        simple = judge(story.simple.model, story.training[:1]) if name == ONE_WEEK else story.simple.training
        recipe = one.model.recipe
        told[name] = {
            "units": recipe.units,
            "factors_per_family": recipe.factors,
            "block_h": recipe.block_h,
            "envelope_base": int(recipe.base == "envelope"),
            "rmse_simple_kw": story.simple.test.rmse_charge_kw,
            "rmse_envelope_kw": story.envelope.test.rmse_charge_kw,
            "rmse_bilevel_kw": one.test.rmse_charge_kw,
            "rmse_simple_in_sample_kw": simple.rmse_charge_kw,
            "rmse_bilevel_in_sample_kw": one.training.rmse_charge_kw,
            "rmse_bilevel_validation_kw": one.validation.rmse_charge_kw,
            "reduction_in_sample_percent": _less_percent(one.training, simple),
            "reduction_out_of_sample_percent": _less_percent(one.test, story.simple.test),
            "reduction_validation_and_test_percent": _pooled_percent(one, story),
            **{f"{key}_in_sample": getattr(one.training, key) for key in _OTHERS},
            **{key: getattr(one.test, key) for key in _OTHERS},
        }
        if name in story.unfollowed_percent:
            told[name]["unfollowed_percent"] = story.unfollowed_percent[name]
    return told


_OTHERS = ("rmse_level_kwh", "cost_gap_percent", "peak_error_kw", "missing_kwh")


def _less_percent(one: Score, simple: Score) -> float:
    return 100.0 * (1.0 - one.rmse_charge_kw / simple.rmse_charge_kw)


def _pooled_percent(one: Judged, story: Story) -> float:
    """Reduction over all weeks that a model was not fitted to."""
    weeks = len(story.validation), len(story.test)

    def square(judged: Judged) -> float:
        return weeks[0] * judged.validation.rmse_charge_kw**2 + weeks[1] * judged.test.rmse_charge_kw**2

    return 100.0 * (1.0 - float(np.sqrt(square(one) / square(story.simple))))


def _best(family: list[Judged]) -> Judged:
    """Least charging error on the validation weeks, among those whose own balance is kept there."""
    kept = [one for one in family if one.validation.missing_kwh < MISSING_KWH]
    return min(kept, key=lambda one: one.validation.rmse_charge_kw)
