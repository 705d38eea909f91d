"""The fleet-aggregation study as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import pandas as pd

from cosim.experiments.figures.style import Drawing
from cosim.experiments.studies.base import Progress, Study, from_template, lines_of, timed
from cosim.experiments.studies.fleet_aggregation import checks, figures, model
from cosim.experiments.studies.fleet_aggregation.config import FleetConfig
from cosim.experiments.studies.fleet_aggregation.model import CHOSEN, ONE_UNIT, ONE_WEEK, Fitted, FleetResult


class FleetAggregation(Study[FleetConfig, FleetResult]):
    """Besides what every study writes: ``family.csv`` and ``factors.csv``."""

    name = "fleet_aggregation"
    packages = ("lv-feeder-cosim", "highspy", "pyomo", "scipy", "numpy", "pandas", "matplotlib", "opendssdirect.py")
    source = "model: arXiv:2506.04843 (nomenclature, abstract); cars, trips and prices drawn: data.py"

    def run(self, config: FleetConfig, progress: Progress) -> FleetResult:
        """Fit, choose and judge; check against the exact method; run the day on the feeder."""
        timing: dict[str, float] = {}
        progress("Fitting aggregates")
        with timed(timing, "fit_cpu_s"):
            fitted = model.fit(config)
            cases = model.metrics(fitted)
        progress("Checking with the exact method")
        with timed(timing, "exact_cpu_s"):
            exact = checks.check_exactly()
        progress("Running the day on the feeder")
        with timed(timing, "loop_cpu_s"):
            kept = checks.run_day(config.seed)
        loop = {name: one.metrics for name, one in kept.items()}
        return FleetResult(
            cases=cases, lines=lines_of(self.name, cases=cases, on_feeder=loop), timing=timing,
            metrics={"exact": exact, "cycled_kwh": fitted.cycled_kwh, "loop": loop},
            tables={"family.csv": family_table(fitted), "factors.csv": factor_table(fitted)},
            facts={"chosen": asdict(fitted.judged[CHOSEN].model.recipe)},
            config=config, fitted=fitted, kept=kept,
        )  # fmt: skip

    def figures(self, result: FleetResult) -> dict[str, Drawing]:
        """Draw aggregates, the choice, a week, and the day on the feeder."""
        fitted = result.fitted
        return {
            "figures/factors.png": figures.draw_factors(fitted),
            "figures/family.png": figures.draw_family(fitted),
            "figures/week.png": figures.draw_week(fitted),
            "figures/promise.png": figures.draw_promise(result.kept),
        }

    def report(self, result: FleetResult, captions: Mapping[str, str]) -> str:
        """Tell the study."""
        fitted, cases = result.fitted, result.cases
        maps = [cases[f"map_{block_h}h"] for block_h in fitted.maps]
        return from_template(
            self.name, config=result.config, cases=cases, one_week=cases[ONE_WEEK], hourly=cases[model.HOURLY],
            chosen=cases[CHOSEN], single=cases[ONE_UNIT], best_map=min(maps, key=lambda one: one["rmse_bilevel_kw"]),
            captions=captions, tried=len(fitted.family),
            recipe=fitted.judged[CHOSEN].model.recipe, **result.metrics,
        )  # fmt: skip


def family_table(fitted: Fitted) -> pd.DataFrame:
    """Every aggregate among which the choice was made: recipe and errors."""
    return pd.DataFrame([
        {**asdict(one.model.recipe), "factors_per_family": one.model.recipe.factors,
         **{f"rmse_charge_{name}_kw": getattr(one, name).rmse_charge_kw for name in ("training", "validation", "test")},
         "missing_test_kwh": one.test.missing_kwh}
        for one in fitted.family
    ])  # fmt: skip


def factor_table(fitted: Fitted) -> pd.DataFrame:
    """Factors of the chosen aggregate: a row for each unit and block."""
    chosen = fitted.judged[CHOSEN].model
    names = ("charge_low", "charge_high", "discharge_low", "discharge_high", "level_low", "level_high")
    return pd.DataFrame([
        {"unit": unit, "cars": len(cars), "first_hour": block * factors.block_h,
         **dict(zip(names, values, strict=True))}
        for unit, (cars, factors) in enumerate(zip(chosen.members, chosen.factors, strict=True))
        for block, values in enumerate(factors.value.T)
    ])  # fmt: skip
