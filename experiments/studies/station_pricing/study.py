"""The study of prices at charging stations, in its parts and as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cosim.controllers.pricing import evolve, unservable_faults
from cosim.experiments.figures.style import Drawing
from cosim.experiments.studies.base import Cases, Progress, Study, from_template, lines_of, timed
from cosim.experiments.studies.station_pricing import benchmarks, day, figures, model
from cosim.experiments.studies.station_pricing.config import PricingConfig
from cosim.experiments.studies.station_pricing.data import read_data, stream
from cosim.experiments.studies.station_pricing.model import PricingResult


class StationPricing(Study[PricingConfig, PricingResult]):
    """Besides what every study writes: ``certify.json`` and, of measured times, ``scaling.json`` where asked for."""

    name = "station_pricing"
    packages = ("lv-feeder-cosim", "highspy", "pymoo", "pyomo", "pyscipopt", "numpy", "scipy", "matplotlib")
    source = "seed 004: model, weights and algorithm of the slides; instances of this project"

    def run(self, config: PricingConfig, progress: Progress) -> PricingResult:
        """Price, evolve, and measure what was asked for; InputError where no price vector can be served, proven."""
        data = read_data(config)
        leader = data.leader(config)
        timing: dict[str, float] = {}
        documents: dict[str, dict[str, Any]] = {}
        cases: Cases = {}
        chosen: model.Prices = {}
        answer: list[str] = []
        on_feeder: list[str] = []
        warnings = [] if leader.rules.lost_sales else [str(f) for f in unservable_faults(data.instance, data.name)]
        if model.provable(leader):
            progress("Pricing")
            with timed(timing, "exact_s"):
                cases, chosen = model.exact_cases(leader)
        progress("Evolving prices")
        searcher = data.leader(config)  # one of its own, so that its time and its evaluations are its own
        with timed(timing, "evolution_s"):
            evolved = evolve(searcher, stream(config.seed, "search"),
                             population=config.population, generations=config.generations)  # fmt: skip
        if len(evolved.optimistic):
            cases["evolutionary"] = model.evolved_case(evolved, searcher, cases.get("best"))
        elif not chosen:
            warnings.append(
                "no price vector that can be served was met in a search that proves nothing "
                f"({searcher.known_vectors} of {searcher.count} tried): raise capacities, allow lost sales, or "
                "search longer"
            )
        best = chosen
        chosen = chosen or model.evolved_prices(evolved)
        if config.certify:
            progress(f"Certifying {config.certify} instances")
            with timed(timing, "certify_s"):
                rows = benchmarks.certify(config.certify, config.seed)
            cases["certify"] = benchmarks.summary(rows)
            documents["certify.json"] = {"rows": rows}
        if config.scaling:
            progress("Measuring formulations")
            with timed(timing, "scaling_s"):
                rows = benchmarks.measure(stream(config.seed, "scaling"))
            answer = benchmarks.answer(rows)
            documents["scaling.json"] = {"rows": rows, "answer": answer}
        if config.feeder is not None:
            progress(f"Charging on {config.feeder}")
            with timed(timing, "loop_s"):
                loops, on_feeder, refused = day.charge(config, data, leader, chosen)
            cases, warnings = cases | loops, warnings + refused
        facts = {"instance": {"name": data.name, **vars(data.instance)}, "rules": vars(data.rules)}
        lines = lines_of(
            self.name, cases=cases, chosen=best, prices_text=model.prices_text, answer=answer, on_feeder=on_feeder
        )
        return PricingResult(
            cases=cases, lines=lines, warnings=warnings, documents=documents, timing={"processor_s": timing},
            facts=facts, config=config, leader=leader, evolved=evolved,
        )  # fmt: skip

    def figures(self, result: PricingResult) -> dict[str, Drawing]:
        """Draw what there is to show."""
        drawn, best, history_eur = {}, result.cases.get("best", {}), result.evolved.history_eur
        if result.listed:
            drawn["figures/incomes.png"] = figures.draw_incomes(result.listed)
        if any("efficient_answers" in case for case in result.listed.values()):
            drawn["figures/efficient.png"] = figures.draw_efficient(result.listed, result.leader)
        if np.isfinite(history_eur).any():
            drawn["figures/evolution.png"] = figures.draw_evolution(history_eur, best)
        if "scaling.json" in result.documents:
            drawn["figures/scaling.png"] = figures.draw_scaling(result.documents["scaling.json"]["rows"])
        if result.loops:
            drawn["figures/loop.png"] = figures.draw_loop(result.loops)
        return drawn

    def report(self, result: PricingResult, captions: Mapping[str, str]) -> str:
        """Tell the study; sections only of what was asked for."""
        return from_template(
            self.name, name=result.facts["instance"]["name"], config=result.config, leader=result.leader,
            cases=result.cases, listed=result.listed, loops=list(result.loops.values()), loop_metrics=day.REPORTED,
            scaling=result.documents.get("scaling.json"), captions=captions,
        )  # fmt: skip
