"""The predictor, which controllers ask for thousands of candidates, against re-solving each in OpenDSS."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

import feeders
from cosim.contract import Float
from cosim.network import monitored_currents
from cosim.opendss import OpenDssEngine
from cosim.reduced import ReducedNetwork
from experiments.bench import Row, interleaved

_CANDIDATES = 100
_ROUNDS = 20


def measure(repeats: int) -> list[Row]:
    """Batches of 100 candidates on ``european_lv``: voltages at the customers and currents at the watched branches.

    The reference writes every candidate to OpenDSS, solves it and reads the same voltages; it computes no currents.
    """
    with threadpool_limits(limits=1):
        feeder = feeders.load("european_lv")
        predictor, engine = ReducedNetwork(feeder), OpenDssEngine(feeder)
        rng = np.random.default_rng(1)
        p_kw = rng.uniform(-4.0, 8.0, (_CANDIDATES, len(feeder.customers)))
        q_kvar: Float = 0.2 * p_kw
        nodes = np.array([node for phases in feeder.customer_nodes for node in phases])
        voltages = np.empty((_CANDIDATES, len(nodes)), complex)
        whole = np.empty((_CANDIDATES, len(feeder.network.node_names)), complex)

        def product() -> None:
            for _ in range(_ROUNDS):
                predictor.predict(p_kw, q_kvar)

        def reference() -> None:
            for _ in range(_ROUNDS):
                for row in range(_CANDIDATES):
                    voltages[row] = engine.solve(p_kw[row], q_kvar[row], np.nan)[nodes]

        row = interleaved("predictor, 100 candidates a batch", product, reference, repeats)
        prediction = predictor.predict(p_kw, q_kvar)
        for index in range(_CANDIDATES):
            whole[index] = engine.solve(p_kw[index], q_kvar[index], np.nan)
        branches = tuple(feeder.network.branch(name) for name in prediction.branches)
        current_difference = np.abs(prediction.current_a - monitored_currents(branches, whole)).max()
        solves = _ROUNDS * _CANDIDATES
        row.more.update(
            product_us_per_candidate=1e6 * row.product_s / solves,
            reference_us_per_candidate=1e6 * row.reference_s / solves,
            times_faster=1.0 / row.ratio,
            largest_voltage_difference_pu=float(
                np.abs(prediction.voltage_v - voltages).max() / feeder.nominal_voltage_v
            ),
            largest_current_difference_a=float(current_difference),
        )
    return [row]
