"""The predictor, which controllers ask for thousands of candidates, against re-solving each in OpenDSS."""

from __future__ import annotations

from typing import Any

import numpy as np

from cosim import Trajectory, feeders, load
from cosim.contract import Float
from cosim.experiments.bench import Row, interleaved
from cosim.experiments.scenario import DEFAULT
from cosim.measures import scoreboard, unbalance_current_a2
from cosim.network import monitored_currents
from cosim.opendss import OpenDssEngine
from cosim.reduced import ReducedNetwork
from cosim.threads import ONE_THREAD

_CANDIDATES = 100
_ROUNDS = 20
_MOST_DAYS = 3


def measure(repeats: int) -> list[Row]:
    """The predictor alone, a whole day of decisions, and the exact method against evolutionary search."""
    return [_predictor(repeats), _day(min(repeats, _MOST_DAYS)), *_methods()]


_JUDGED = ("hypervolume_ratio_mean", "hypervolume_ratio_min", "regret_mean_a", "regret_kwh")
_CLOSED_LOOP = (
    "neutral_current_p95_a",
    "pv_curtailed_kwh",
    "overvoltage_min",
    "losses_kwh",
    "transformer_peak_percent",
)


def _methods() -> list[Row]:
    """The exact method against NSGA-II, with and without exact points among its first candidates."""
    day, found = load(DEFAULT), []
    done: dict[str, Trajectory] = {}

    def a_day(method: str, **options: Any) -> None:
        done[method] = day.run("pareto", engine="reduced", method=method, **options).trajectory

    for name, seeds in (("with", True), ("without", False)):
        row = interleaved(
            f"convex against NSGA-II {name} exact points",
            lambda: a_day("convex"),
            lambda seeds=seeds: a_day("nsga2", certificate_seeds=seeds),  # type: ignore[misc]
            1,
        )
        for label, run in (("product", done["convex"]), ("reference", done["nsga2"])):
            metrics = scoreboard(run)
            unbalance_a2 = float(unbalance_current_a2(run.monitored_current_a).sum(axis=1).mean())
            row.more[f"{label}_unbalance_mean_a2"] = unbalance_a2
            row.more.update({f"{label}_{key}": metrics[key] for key in (*_JUDGED, *_CLOSED_LOOP)})
        found.append(row)
    return found


def _day(repeats: int) -> Row:
    """The default day under ``pareto`` on the reduced engine, certificate included, against the day without control."""
    day = load(DEFAULT)
    runs = {run.controller: run for run in day.scenario.runs}
    done: dict[str, Trajectory] = {}

    def a_day(name: str) -> None:
        done[name] = day.run_spec(runs[name], engine="reduced").trajectory

    row = interleaved("default day, 96 decisions", lambda: a_day("pareto"), lambda: a_day("none"), repeats)
    metrics, decisions = scoreboard(done["pareto"]), done["pareto"].decisions
    fronts = done["pareto"].table("certificates")
    row.more.update(
        decisions=len(decisions),
        searched=0 if fronts is None else len(fronts),
        decision_mean_s=done["pareto"].decide_s / len(decisions),
        **{name: metrics[name] for name in _JUDGED},
    )
    return row


def _predictor(repeats: int) -> Row:
    """Batches of 100 candidates on ``european_lv``: voltages at the customers and currents at the watched branches.

    The reference writes every candidate to OpenDSS, solves it and reads the voltages; it computes no currents.
    """
    with ONE_THREAD:
        feeder = feeders.load("european_lv")
        predictor, engine = ReducedNetwork(feeder), OpenDssEngine(feeder)
        rng = np.random.default_rng(1)
        p_kw = rng.uniform(-4.0, 8.0, (_CANDIDATES, len(feeder.customers)))
        q_kvar: Float = 0.2 * p_kw
        nodes = np.array([node for phases in feeder.customer_nodes for node in phases])
        whole = np.empty((_CANDIDATES, len(feeder.network.node_names)), complex)

        def product() -> None:
            for _ in range(_ROUNDS):
                predictor.predict(p_kw, q_kvar)

        def reference() -> None:
            for _ in range(_ROUNDS):
                for row in range(_CANDIDATES):
                    whole[row] = engine.solve(p_kw[row], q_kvar[row], np.nan)

        row = interleaved("predictor, 100 candidates a batch", product, reference, repeats)
        prediction = predictor.predict(p_kw, q_kvar)
        branches = tuple(feeder.network.branch(name) for name in prediction.branches)
        current_difference = np.abs(prediction.current_a - monitored_currents(branches, whole)).max()
        solves = _ROUNDS * _CANDIDATES
        row.more.update(
            product_us_per_candidate=1e6 * row.product_s / solves,
            reference_us_per_candidate=1e6 * row.reference_s / solves,
            times_faster=1.0 / row.ratio,
            largest_voltage_difference_pu=float(
                np.abs(prediction.voltage_v - whole[:, nodes]).max() / feeder.nominal_voltage_v
            ),
            largest_current_difference_a=float(current_difference),
        )
    return row
