"""Two circuits that should be the same one, both solved, and where they differ."""

from __future__ import annotations

from typing import Any

import numpy as np

from cosim.contract import Feeder
from cosim.network import branch_losses_kw
from cosim.stepper import make_engine


def differences(before: Feeder, after: Feeder) -> dict[str, Any]:
    """Solve two feeders with the loads of their files and compare them by name.

    Parameters
    ----------
    before, after : Feeder
        The original, and what became of it.

    Returns
    -------
    dict
        ``facts`` (name to before and after), names that are ``missing_`` and ``added_`` of nodes, customers, branches,
        other sources and controls, ``nodes`` with both voltages [V] and their difference, as phasors the largest first
        and of magnitudes, with ``largest`` and ``largest_magnitude``: a lost vector group turns phasors by 60 degrees
        and leaves magnitudes. Per unit is of the largest voltage that the bus has without load, so neutral conductors
        are judged by their phases.

    Raises
    ------
    PowerFlowError
        Where one of them does not converge.
    """
    voltages = [_solved(feeder) for feeder in (before, after)]
    highest_v = before.network.highest_no_load_v
    nodes: list[dict[str, Any]] = []
    for node, bus in zip(before.network.node_names, before.network.node_buses, strict=True):
        if node in voltages[1]:
            first, second = voltages[0][node], voltages[1][node]
            base_v = max(highest_v[bus], 1e-9)
            nodes.append({
                "node": node, "before_v": abs(first), "after_v": abs(second),
                "difference_pu": abs(first - second) / base_v,
                "magnitude_difference_pu": (abs(second) - abs(first)) / base_v,
            })  # fmt: skip
    nodes.sort(key=lambda item: -item["difference_pu"])
    before_facts, after_facts = (_facts(feeder, v) for feeder, v in zip((before, after), voltages, strict=True))
    nothing = {"node": "none in common", "difference_pu": np.inf, "magnitude_difference_pu": np.inf}
    one, other = _names(before), _names(after)
    return {
        "facts": {name: [value, after_facts[name]] for name, value in before_facts.items()},
        **{f"missing_{kind}": sorted(one[kind] - other[kind]) for kind in one},
        **{f"added_{kind}": sorted(other[kind] - one[kind]) for kind in one},
        "largest": nodes[0] if nodes else nothing,
        "largest_magnitude": max(nodes, key=lambda item: abs(item["magnitude_difference_pu"]), default=nothing),
        "nodes": nodes,
    }


def _solved(feeder: Feeder) -> dict[str, complex]:
    solved = make_engine("opendss", feeder).solve(feeder.load_kw, feeder.load_kvar, float("nan"))
    return dict(zip(feeder.network.node_names, solved.tolist(), strict=True))


def _names(feeder: Feeder) -> dict[str, set[str]]:
    network = feeder.network
    return {
        "nodes": set(network.node_names),
        "customers": set(feeder.customers),
        "branches": {branch.name for branch in network.branches},
        "sources": {name.upper() for name in network.injectors},
        "controls": {name.upper() for name in network.controls},
    }


def _facts(feeder: Feeder, voltage_v: dict[str, complex]) -> dict[str, float]:
    network = feeder.network
    lines, branches = network.lines, network.branches
    losses_kw = branch_losses_kw(branches, np.array([list(voltage_v.values())])).sum()
    return {
        "nodes": len(network.node_names),
        "neutral nodes": sum(int(node.rpartition(".")[2]) > 3 for node in network.node_names),
        "customers": len(feeder.customers),
        "customers with a neutral conductor": sum(node >= 0 for node in feeder.customer_neutral),
        "load, kW": float(feeder.load_kw.sum()),
        "load, kvar": float(feeder.load_kvar.sum()),
        "load shapes": sum(shape is not None for shape in feeder.load_shapes),
        "lines": len(lines),
        "length of lines, m": round(sum(line.length_m for line in lines), 6),
        "rated lines": sum(bool(np.isfinite(line.rating_a)) for line in lines),
        "sum of their ratings, A": float(np.nansum([line.rating_a for line in lines])),
        "transformers": sum(branch.kind == "transformer" for branch in branches),
        "transformer, kVA": float(np.nan_to_num(feeder.transformer_kva)),
        "voltage of the source, pu": network.source_pu,
        "other sources": len(network.injectors),
        "automatic controls": len(network.controls),
        "buses with coordinates": len(feeder.coordinates),
        "losses, kW": round(float(losses_kw), 9),
    }
