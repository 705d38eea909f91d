"""The fleet study's computation: weeks, baselines, maps, all aggregates, the choice, and what cars can follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cosim.controllers.aggregation import MAPS_H
from cosim.controllers.aggregation import model as aggregates
from cosim.controllers.aggregation.disaggregate import disaggregate
from cosim.controllers.aggregation.fit import FitOptions
from cosim.controllers.aggregation.model import Model, Recipe, Score, Week
from cosim.experiments.studies.base import Cases, StudyResult
from cosim.experiments.studies.fleet_aggregation.checks import Kept
from cosim.experiments.studies.fleet_aggregation.config import FleetConfig
from cosim.experiments.studies.fleet_aggregation.data import draw_cars, draw_prices, draw_week

MAP_REGULARISATION = 0.001
FAMILY_UNITS, FAMILY_MAPS_H, FAMILY_REGULARISATION = (1, 2, 4, 8), (168, 24, 6), (0.01, 0.3)
MAP_FIT, FAMILY_FIT = FitOptions(kicks=30), FitOptions(kicks=2)
CARS_PER_UNIT = 4  # at least, on average: with fewer, units come near the cars themselves, and nothing is aggregated
MORE_ROUNDS = 4  # of search, for a map that is not nested in a coarser one that fits better
ONE_WEEK, HOURLY = "one_week_hourly", "map_1h"
CHOSEN, ONE_UNIT, NO_FACTORS = "chosen", "chosen_one_unit", "chosen_without_factors"


@dataclass(frozen=True, eq=False)
class Judged:
    """A model, and its scores on the three sets of weeks."""

    model: Model
    training: Score
    validation: Score
    test: Score


@dataclass(frozen=True, eq=False)
class Fitted:
    """All aggregates.

    Attributes
    ----------
    training, validation, test : list of Week
        Weeks by use.
    maps : dict of int to Judged
        One unit on the sum's bounds, by hours per factor.
    family : list of Judged
        Every aggregate among which the choice was made.
    judged : dict of str to Judged
        By the names of ``metrics.json``; the baselines are ``simple`` and ``envelope``.
    """

    training: list[Week]
    validation: list[Week]
    test: list[Week]
    maps: dict[int, Judged]
    family: list[Judged]
    judged: dict[str, Judged]

    @property
    def cycled_kwh(self) -> float:
        """Energy that cars take and feed back in the same step, over the test weeks, which would be burnt [kWh]."""
        schedules = ((week.reference, week.fleet.step_h) for week in self.test)
        return float(sum(np.minimum(one.charge_kw, one.discharge_kw).sum() * step_h for one, step_h in schedules))


@dataclass(frozen=True, kw_only=True, eq=False)
class FleetResult(StudyResult):
    """What the study found.

    Attributes
    ----------
    config : FleetConfig
        What was asked.
    fitted : Fitted
        All aggregates.
    kept : mapping of str to Kept
        Promise and delivery on the feeder, by aggregate.
    """

    config: FleetConfig
    fitted: Fitted
    kept: Mapping[str, Kept]


def fit(config: FleetConfig) -> Fitted:
    """Fit and judge all aggregates, and choose."""
    training, validation, test = sets = draw_weeks(config)
    search = np.random.default_rng([config.seed, 1])
    judged = {"simple": score(aggregates.train(training, aggregates.SIMPLE, search), sets)}
    judged["envelope"] = score(aggregates.train(training, aggregates.ENVELOPE, search), sets)
    maps = {block_h: score(model, sets) for block_h, model in fit_maps(training, search).items()}
    more = fit_family(training, search, config.vehicles)
    family = [*judged.values(), *maps.values(), *(score(model, sets) for model in more)]
    judged |= {f"map_{block_h}h": one for block_h, one in maps.items()}
    hourly = aggregates.train(training[:1], Recipe("sum", 1, 1, 0.0), search, MAP_FIT)
    judged[ONE_WEEK] = score(hourly, (training[:1], validation, test))
    judged[CHOSEN] = _best(family)
    judged[ONE_UNIT] = _best([one for one in family if one.model.recipe.units == 1])
    chosen = judged[CHOSEN].model.recipe
    judged[NO_FACTORS] = score(aggregates.train(training, Recipe(chosen.base, chosen.units), search), sets)
    return Fitted(*sets, maps, family, judged)


def draw_weeks(config: FleetConfig) -> tuple[list[Week], list[Week], list[Week]]:
    """Draw cars, and weeks of trips and prices for training, validation and test, in this order from one seed."""
    rng = np.random.default_rng(config.seed)
    cars = draw_cars(config.vehicles, rng)
    sizes = (config.training_weeks, config.validation_weeks, config.test_weeks)
    training, validation, test = (
        [aggregates.make_week(draw_week(cars, rng, discharge=config.discharge), draw_prices(rng)) for _ in range(size)]
        for size in sizes
    )
    return training, validation, test


def fit_maps(weeks: Sequence[Week], search: np.random.Generator) -> dict[int, Model]:
    """Fit one unit on the sum's bounds, the published structure, on every map, each started from all coarser ones."""
    fitted: dict[int, Model] = {}
    for block_h in MAPS_H:
        recipe = Recipe("sum", 1, block_h, MAP_REGULARISATION)
        model = aggregates.train(weeks, recipe, search, MAP_FIT, coarser=list(fitted.values()))
        for _ in range(MORE_ROUNDS):
            if model.objective <= min((other.objective for other in fitted.values()), default=np.inf):
                break
            model = aggregates.train(weeks, recipe, search, MAP_FIT, coarser=[model])
        fitted[block_h] = model
    return fitted


def fit_family(weeks: Sequence[Week], search: np.random.Generator, vehicles: int) -> list[Model]:
    """Fit both bases, several numbers of units, maps and regularisations, without and with factors."""
    made: list[Model] = []
    most = max(vehicles // CARS_PER_UNIT, 1)
    for units in (count for count in FAMILY_UNITS if count <= most):
        for base in ("sum", "envelope"):
            made.append(aggregates.train(weeks, Recipe(base, units), search))
            for regularisation in FAMILY_REGULARISATION:
                nested: list[Model] = []
                for block_h in FAMILY_MAPS_H:
                    recipe = Recipe(base, units, block_h, regularisation)
                    nested.append(aggregates.train(weeks, recipe, search, FAMILY_FIT, coarser=nested))
                made += nested
    return made


def score(model: Model, sets: tuple[list[Week], list[Week], list[Week]]) -> Judged:
    """Score a model on training, validation and test weeks."""
    return Judged(model, *(aggregates.judge(model, weeks) for weeks in sets))


def unfollowed_percent(model: Model, weeks: Sequence[Week]) -> float:
    """Share of the charged energy that the cars cannot take when the aggregate wants it [%].

    With feeding back, what a car would have to take and feed back at once counts as well.
    """
    missed_kwh = wanted_kwh = 0.0
    for week in weeks:
        mine = model.schedule(week.fleet, week.price_eur_per_kwh, week.first_h)
        shares = disaggregate(week.fleet, mine.charge_kw - mine.discharge_kw)
        missed_kwh += shares.short_kwh(week.fleet.step_h) + float(shares.cycled_kw.sum()) * week.fleet.step_h
        wanted_kwh += float(mine.charge_kw.sum()) * week.fleet.step_h
    return 100.0 * missed_kwh / wanted_kwh


def metrics(fitted: Fitted) -> Cases:
    """Numbers of every case; errors without a suffix are out of sample."""
    simple, envelope = fitted.judged["simple"], fitted.judged["envelope"]
    weights = len(fitted.validation), len(fitted.test)
    others = ("rmse_level_kwh", "cost_gap_percent", "peak_error_kw", "missing_kwh")
    cases: Cases = {}

    def less_percent(mine: Sequence[Score], plain: Sequence[Score], weeks: Sequence[int] = (1,)) -> float:
        """Error below the simple sum's, over weeks that are so many of each kind."""
        pooled = [np.average([one.rmse_charge_kw**2 for one in scores], weights=weeks) for scores in (mine, plain)]
        return 100.0 * (1.0 - float(np.sqrt(pooled[0] / pooled[1])))

    for name, one in fitted.judged.items():
        base = aggregates.judge(simple.model, fitted.training[:1]) if name == ONE_WEEK else simple.training
        recipe = one.model.recipe
        cases[name] = {
            "units": recipe.units,
            "factors_per_family": recipe.factors,
            "block_h": recipe.block_h,
            "envelope_base": int(recipe.base == "envelope"),
            "rmse_simple_kw": simple.test.rmse_charge_kw,
            "rmse_envelope_kw": envelope.test.rmse_charge_kw,
            "rmse_bilevel_kw": one.test.rmse_charge_kw,
            "rmse_simple_in_sample_kw": base.rmse_charge_kw,
            "rmse_bilevel_in_sample_kw": one.training.rmse_charge_kw,
            "rmse_bilevel_validation_kw": one.validation.rmse_charge_kw,
            "reduction_in_sample_percent": less_percent([one.training], [base]),
            "reduction_out_of_sample_percent": less_percent([one.test], [simple.test]),
            "reduction_validation_and_test_percent": less_percent(
                [one.validation, one.test], [simple.validation, simple.test], weights
            ),
            **{f"{key}_in_sample": getattr(one.training, key) for key in others},
            **{key: getattr(one.test, key) for key in others},
        }
        if name in ("simple", "envelope", ONE_UNIT, CHOSEN):
            cases[name]["unfollowed_percent"] = unfollowed_percent(one.model, fitted.test)
    return cases


def _best(family: list[Judged]) -> Judged:
    """Least charging error on the validation weeks, among those whose own balance is kept there."""
    kept = [one for one in family if one.validation.missing_kwh < aggregates.MISSING_KWH]
    return min(kept, key=lambda one: one.validation.rmse_charge_kw)
