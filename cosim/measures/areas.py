"""What each area of a feeder goes through: its transformers' loading, its customers' voltage and energy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cosim.contract import Area, Feeder, OilTransformer
from cosim.contract.thermal import ThermalState
from cosim.measures import energy, transformer
from cosim.measures._arrays import Float
from cosim.trajectory import Trajectory


def loading(run: Trajectory, area: str | None) -> dict[str, float]:
    """Loading of the transformers that feed an area, and of the regulators in it.

    Parameters
    ----------
    run : Trajectory
        What happened.
    area : str or None
        Its name; None for a feeder without transformer and regulator.

    Returns
    -------
    dict of str to float
        The metrics of the scoreboard that begin with ``transformer``; nan where there is no rating.
    """
    worst = run.area_percent(area)
    hot_spot = hot_spot_c(run, area)
    power_kva = run.area_kva.get(area or "")
    if power_kva is None:  # of an area that the source feeds what the feeder's own regulator or head line carries
        fed = any(run.feeder.transformer in one.transformers for one in run.feeder.areas)
        power_kva = np.full((run.steps, 1), np.nan) if fed else run.transformer_kva
    return {
        "transformer_peak_kva": float(np.abs(power_kva.sum(axis=1)).max()),
        "transformer_peak_percent": float(worst.max()),
        "transformer_overload_min": transformer.overload_min(worst, run.step_min),
        "transformer_hot_spot_max_c": float(hot_spot.max()),
        "transformer_ageing_h": transformer.ageing_h(hot_spot, run.step_min),
    }


def worst_loading(run: Trajectory) -> dict[str, float]:
    """Loading of the worst area, figure by figure; minutes in which any area is overloaded."""
    found = [loading(run, name) for name in _with_machines(run.feeder)]
    # a station with a cooler hot spot may still be the one of most kVA, so every figure has its own worst area
    worst = {name: float(np.fmax.reduce([of_area[name] for of_area in found])) for name in found[0]}
    worst["transformer_overload_min"] = transformer.overload_min(run.area_percent(), run.step_min)
    return worst


def hot_spot_c(run: Trajectory, area: str | None) -> Float:
    """Hot spot of the most loaded machine of an area, shape (step,) [°C]; nan where there is no rating."""
    machine, start = _machine(run.feeder, area), run.exogenous.thermal_start.get(area or "")
    load = run.area_percent(area) / 100
    return transformer.hot_spot_c(load, run.exogenous.ambient_c, run.step_min, machine, initial=start)[1]


def thermal_end(run: Trajectory) -> dict[str, ThermalState]:
    """State of the most loaded machine of every area after the last step, for a run that goes on from there."""
    found = {}
    for area in _with_machines(run.feeder):
        load, machine = run.area_percent(area) / 100, _machine(run.feeder, area)
        start = run.exogenous.thermal_start.get(area or "")
        states = transformer.heat_states(load, run.exogenous.ambient_c, run.step_min, machine, initial=start)
        found[area or ""] = ThermalState(*(float(values[-1]) for values in states))
    return found


def worst_hot_spot_c(run: Trajectory) -> Float:
    """Hot spot of the area that is hottest in each step, shape (step,) [°C]; nan where nothing is rated."""
    if not run.steps:
        return np.empty(0)
    return np.asarray(np.fmax.reduce([hot_spot_c(run, name) for name in _with_machines(run.feeder)]))


def _machine(feeder: Feeder, area: str | None) -> OilTransformer:
    return replace(feeder.thermal, loss_ratio=loss_ratio(feeder, area))


def loss_ratio(feeder: Feeder, area: str | None) -> float:
    """Load loss over no-load loss, R, of an area's transformers.

    As given with the thermal constants, else that of the machines (of several in parallel their sum's), else
    `transformer.LOSS_RATIO`, where a machine lacks one of the two.
    """
    if feeder.thermal.loss_ratio is not None:
        return feeder.thermal.loss_ratio
    names = [name for one in feeder.areas if one.name == area for name in one.transformers]
    branches = [feeder.network.branch(name) for name in names]
    rated = np.array([(*branch.loss_percent, branch.rating_a) for branch in branches]).reshape(-1, 3)
    if not rated.size or not (np.isfinite(rated) & (rated > 0)).all():
        return transformer.LOSS_RATIO
    return float((rated[:, 0] * rated[:, 2]).sum() / (rated[:, 1] * rated[:, 2]).sum())


def by_area(run: Trajectory) -> list[dict[str, object]]:
    """Every area of a feeder with its own figures, the most loaded first.

    Parameters
    ----------
    run : Trajectory
        What happened.

    Returns
    -------
    list of dict
        What the area is (``area``, ``parent``, ``transformers``, ``rating_kva``, ``nominal_voltage_v``, ``customers``),
        which of its transformers and regulators is loaded most (``worst_element``), the figures of `loading`, lowest
        and highest voltage of its customers and their energy; nan where there is none.
    """
    rows: list[dict[str, object]] = []
    customer = run.feeder.terminals[0]
    voltage_pu, area_of = (
        run.terminal_v / run.feeder.customer_nominal_v[customer],
        run.feeder.area_of_customer[customer],
    )
    nothing = float("nan")
    for row, area in enumerate(run.feeder.areas):
        own = list(area.customers)
        figures = loading(run, area.name) if _has_machines(run.feeder, area) else {}
        rows.append(
            {
                "area": area.name,
                "parent": area.parent or "",
                "transformers": " ".join(area.transformers),
                "rating_kva": area.rating_kva,
                "nominal_voltage_v": area.nominal_voltage_v,
                "customers": len(own),
                "worst_element": _worst_element(run, area.name),
                **{name: figures.get(name, nothing) for name in _LOADING},
                "voltage_min_pu": float(voltage_pu[:, area_of == row].min()) if own else nothing,
                "voltage_max_pu": float(voltage_pu[:, area_of == row].max()) if own else nothing,
                "import_kwh": float(energy.import_kwh(run.net_kw[:, own], run.step_min).sum()),
                "export_kwh": float(energy.export_kwh(run.net_kw[:, own], run.step_min).sum()),
            }
        )
    return sorted(rows, key=lambda row: -np.nan_to_num(float(str(row["transformer_peak_percent"])), nan=-1.0))


def _worst_element(run: Trajectory, area: str) -> str:
    peaks = {
        limit.name: float(run.limit_percent[:, column].max())
        for column, limit in enumerate(run.feeder.limits)
        if limit.kind != "line" and limit.area == area
    }
    return max(peaks, key=lambda name: peaks[name], default="")


def _with_machines(feeder: Feeder) -> list[str | None]:
    """Areas that have transformers or regulators; None for a feeder without any."""
    return [area.name for area in feeder.areas if _has_machines(feeder, area)] or [None]


def _has_machines(feeder: Feeder, area: Area) -> bool:
    """Whether transformers feed the area, or regulators lie in it."""
    of_regulators = (limit.area for limit in feeder.limits if limit.kind == "regulator")
    return bool(area.transformers) or area.name in of_regulators


_LOADING = (
    "transformer_peak_kva", "transformer_peak_percent", "transformer_overload_min", "transformer_hot_spot_max_c",
    "transformer_ageing_h",
)  # fmt: skip
