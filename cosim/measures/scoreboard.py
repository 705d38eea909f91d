"""Every metric of a run, by its fixed name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cosim.contract import EN_50160
from cosim.measures import areas, balance, derived, energy, fairness, promise, transformer, unbalance, voltage_quality
from cosim.measures._arrays import Float
from cosim.threads import ONE_THREAD
from cosim.trajectory import DEEP_UNDERVOLTAGE_PU, Trajectory

FLOOR_KW = 4.2
"""Power that is left to a charger that is dimmed: section 14a EnWG, BNetzA decision BK6-22-300."""
_FELT = ("withheld_max_home_kwh", "withheld_gini", "hours_below_floor_mean_h", "hours_below_floor_max_h")
_ROUNDING_KWH = 1e-9
_LEAST_HYPERVOLUME = 1e-4  # of the box: below it there is nothing to gain, and a share of it says nothing
_ROUNDING = 1e-6  # of a ratio of hypervolumes: less above 1 is no better


@ONE_THREAD
def scoreboard(trajectory: Trajectory) -> dict[str, float]:
    """Measure a run.

    Parameters
    ----------
    trajectory : Trajectory
        What happened.

    Returns
    -------
    dict of str to float
        Metric by name, the unit at the end of the name. nan where a figure is undefined on this feeder or for this
        controller (no rating, no bus with three phases, no solver bound, no promise, other sources that feed in
        unmeasured); ``metrics.json`` has null for those.

    Notes
    -----
    Percentiles are over everything at once (steps or windows × buses or lines); ``vuf_p95_worst_bus_percent`` is that
    of the bus that is worst off. A quantity of a three-phase customer counts phase by phase. ``ev_unserved_kwh`` leaves
    out ``ev_unservable_kwh``, and shares of service are of what could have been served: they judge the controller.
    """
    return {
        **_voltage_metrics(trajectory),
        **_unbalance_metrics(trajectory),
        **_loading_metrics(trajectory),
        **_energy_metrics(trajectory),
        **_service_metrics(trajectory),
        **_promise_metrics(trajectory),
        **_front_metrics(trajectory),
        **{name: value for measure in trajectory.device_measures for name, value in measure(trajectory).items()},
    }


def _voltage_metrics(run: Trajectory) -> dict[str, float]:
    standard, step_min = run.feeder.standard, run.step_min
    customer, _, _ = run.feeder.terminals
    terminal_v, terminal_nominal_v = run.terminal_v, run.feeder.customer_nominal_v[customer]
    lower_pu, upper_pu = standard.limits_pu(terminal_nominal_v)
    lowest_pu, highest_pu = voltage_quality.voltage_extremes_pu(terminal_v, terminal_nominal_v)
    is_deep = (terminal_v < DEEP_UNDERVOLTAGE_PU * terminal_nominal_v).any(axis=1)
    percent = 100.0 * _mean(compliant_customers(run))
    return {
        "voltage_min_pu": lowest_pu,
        "voltage_max_pu": highest_pu,
        "overvoltage_min": voltage_quality.overvoltage_min(terminal_v, terminal_nominal_v, step_min, upper_pu),
        "undervoltage_min": voltage_quality.undervoltage_min(terminal_v, terminal_nominal_v, step_min, lower_pu),
        "deep_undervoltage_minutes": step_min * float(is_deep.sum()),
        "voltage_compliant_customers_percent": percent,
        "en50160_compliant_customers_percent": percent if standard == EN_50160 else float("nan"),
    }


def compliant_customers(run: Trajectory) -> Float:
    """Whether each customer's voltages keep the standard, shape (customer,): 1 or 0; nan where it judges none."""
    standard, customer = run.feeder.standard, run.feeder.terminals[0]
    nominal_v, first = run.feeder.customer_nominal_v[customer], np.unique(customer, return_index=True)[1]
    at_terminals = voltage_quality.voltage_compliant(run.terminal_v, nominal_v, run.step_min, standard)
    judged = np.isfinite(standard.limits_pu(nominal_v)[0][first])
    return np.where(judged, np.logical_and.reduceat(at_terminals, first), np.nan)


def served_by_customer_kwh(run: Trajectory) -> tuple[Float, Float]:
    """What of the cars' needs could be served, and was, shape (customer,) each [kWh].

    What one stay got beyond its need does not make up for another stay of the same home.
    """
    sessions = run.exogenous.sessions
    servable_kwh = np.maximum(sessions.energy_need_kwh - run.unservable_kwh, 0)
    served_kwh = servable_kwh - _short_kwh(run)
    homes = len(run.feeder.customers)
    wanted, served = (
        np.bincount(sessions.customer, weights=of_session, minlength=homes).astype(float)
        for of_session in (servable_kwh, served_kwh)
    )
    return wanted, served


def shares_of_service(wanted_kwh: Float, served_kwh: Float) -> dict[str, float]:
    """How evenly cars were served, of energies by customer."""
    return {
        "ev_served_min_percent": fairness.ev_served_min_percent(served_kwh, wanted_kwh),
        "jain_ev_served": fairness.jain(fairness.served_share(served_kwh, wanted_kwh)),
    }


def _short_kwh(run: Trajectory) -> Float:
    sessions = run.exogenous.sessions
    short_kwh = np.maximum(sessions.energy_need_kwh - run.unservable_kwh, 0) - run.delivered_kwh
    return np.where(short_kwh < _ROUNDING_KWH, 0.0, short_kwh)  # of each session


def _unbalance_metrics(run: Trajectory) -> dict[str, float]:
    bus_v, feeder = run.three_phase_customer_v, run.feeder
    vuf = derived.vuf_windows_percent(run)
    v0 = voltage_quality.ten_minute_rms(unbalance.v0_percent(bus_v), run.step_min)
    line_v = np.abs(unbalance.line_to_line(bus_v))

    watched = feeder.monitored_branches
    three_phase = [column for column, branch in enumerate(watched) if {1, 2, 3} <= set(branch.phases)]
    current_a = run.monitored_current_a[:, three_phase]
    rating_a = np.array([watched[column].rating_a for column in three_phase])
    neutral_a = unbalance.branch_neutral_a([watched[column] for column in three_phase], run.node_v)
    return {
        "vuf_max_percent": _highest(vuf),
        "vuf_p95_percent": _p95(vuf),
        "vuf_p95_worst_bus_percent": _highest(_p95_of_each(vuf)),
        "v0_p95_percent": _p95(v0),
        "pvur_max_percent": _highest(unbalance.pvur_percent(np.abs(bus_v))),
        "lvur_max_percent": _highest(unbalance.lvur_percent(line_v)),
        "pui_mean_percent": _mean(unbalance.pui_percent(np.abs(current_a), rating_a)),
        "neutral_current_p95_a": _p95(neutral_a),
        "neutral_current_max_a": _highest(derived.neutral_a(run)),
        "neutral_voltage_max_v": _highest(np.abs(run.node_v[:, feeder.neutral_nodes])),
        "i2_p95_a": _p95(unbalance.negative_sequence_current_a(current_a)),
    }


def _loading_metrics(run: Trajectory) -> dict[str, float]:
    lines = derived.line_percent(run)
    return {
        **areas.worst_loading(run),
        "line_peak_percent": _highest(lines),
        "line_overload_min": transformer.overload_min(lines, run.step_min),
    }


def _energy_metrics(run: Trajectory) -> dict[str, float]:
    step_min, available_kw = run.step_min, run.exogenous.pv_available_kw

    def total_kwh(power_kw: Float) -> float:
        return float(energy.energy_kwh(power_kw, step_min).sum())

    lost_kwh = total_kwh(run.losses_kw)
    consumed_kwh = total_kwh(run.consumption_kw)
    fed_in_kwh = total_kwh(run.source_kw)
    generated_kwh = total_kwh(run.generation_kw) + total_kwh(run.other_sources_kw)
    # where other sources were not measured, the balance cannot close and says nothing
    balance_percent = (
        float("nan")
        if run.feeder.network.injectors and not run.others_kw.size
        else energy.balance_error_percent(fed_in_kwh, generated_kwh, consumed_kwh, lost_kwh)
    )
    return {
        # a step that ended the run is no part of it
        "energy_not_served_kwh": float(sum(c.not_served_kwh.sum() for c in run.collapses if c.step < run.steps)),
        "losses_kwh": lost_kwh,
        "losses_lines_kwh": total_kwh(run.losses.lines),
        "losses_transformers_kwh": total_kwh(run.losses.transformers),
        "losses_no_load_kwh": total_kwh(run.losses.no_load),
        "balance_error_percent": balance_percent,
        "balance_error_max_percent": float(np.max(balance.balance_error_percent(run), initial=0.0)),
        "import_kwh": float(energy.import_kwh(run.net_kw, step_min).sum()),
        "export_kwh": float(energy.export_kwh(run.net_kw, step_min).sum()),
        "pv_available_kwh": total_kwh(available_kw),
        "pv_curtailed_kwh": float(energy.curtailed_kwh(available_kw, run.pv_kw, step_min).sum()),
        "pv_curtailed_max_home_percent": energy.curtailed_max_home_percent(available_kw, run.pv_kw),
    }


def _service_metrics(run: Trajectory) -> dict[str, float]:
    unserved_kwh = float(_short_kwh(run).sum())
    cost_eur = float(derived.home_bills_eur(run).sum())
    penalty_eur = energy.unserved_penalty_eur(unserved_kwh)
    return {
        "ev_delivered_kwh": float(run.delivered_kwh.sum()),
        "ev_unserved_kwh": unserved_kwh,
        "ev_unservable_kwh": float(run.unservable_kwh.sum()),
        **shares_of_service(*served_by_customer_kwh(run)),
        "cost_eur": cost_eur,
        "unserved_penalty_eur": penalty_eur,
        "cost_with_penalty_eur": cost_eur + penalty_eur,
        "withheld_kwh": energy.withheld_kwh(run.feeder.connection_kw, run.import_cap_kw, run.plugged, run.step_min),
        **_felt(run),
    }


def _felt(run: Trajectory) -> dict[str, float]:
    """How limits are felt by the homes that have a car."""
    sessions, connection_kw = run.exogenous.sessions, run.feeder.connection_kw
    if not len(sessions):
        return dict.fromkeys(_FELT, 0.0)
    with_car = np.unique(sessions.customer)
    charger_kw = np.zeros(len(connection_kw))
    np.maximum.at(charger_kw, sessions.customer, sessions.charger_kw)
    taken_kw = np.maximum(connection_kw - run.import_cap_kw, 0.0) * run.plugged
    withheld_kwh = energy.energy_kwh(taken_kw, run.step_min)[with_car]
    # what the home draws beside its car counts under its cap
    allowed_kw = np.minimum(run.import_cap_kw - (run.net_kw - run.ev_kw), run.ev_limit_kw)
    below_h = fairness.hours_below(allowed_kw, np.minimum(FLOOR_KW, charger_kw), run.plugged, run.step_min)[with_car]
    felt = withheld_kwh.max(), fairness.gini(withheld_kwh), below_h.mean(), below_h.max()
    return {name: float(value) for name, value in zip(_FELT, felt, strict=True)}


def _promise_metrics(run: Trajectory) -> dict[str, float]:
    delivered_kva = np.abs(run.transformer_kva.sum(axis=1))
    solved = [decision for _, decision in run.decisions if decision.status != "rule"]
    gaps = np.array([decision.gap for decision in solved])
    return {
        "setpoint_error_max_kw": promise.setpoint_error_max_kw(run.net_kw, run.import_cap_kw),
        "promise_error_max_kva": promise.promise_error_max_kva(run.planned_kva, delivered_kva),
        # rules have nothing to close; a solver that proved no bound must not look as if it had
        "solve_gap_max": _highest(gaps) if solved else 0.0,
        "degraded_steps": float(run.degraded.sum()),
        "tap_changes": float(len(run.switchings)) if run.feeder.taps == "controlled" else float("nan"),
    }


def _front_metrics(run: Trajectory) -> dict[str, float]:
    """How good the fronts of decisions are, against references on a fixed scale; nan where none was judged."""
    table = run.table("certificates")
    reached, known, regret_a, regret_kwh = (
        np.array([]) if table is None else table[name].to_numpy(float)
        for name in ("hypervolume", "hypervolume_reference", "regret_a", "regret_kwh")
    )
    judged = np.isfinite(known)
    there = known > _LEAST_HYPERVOLUME  # where the reference gains nothing there is nothing to reach
    ratios = reached[there] / known[there]
    shares = np.minimum(ratios, 1.0)  # beyond it a front has reached all there is, and the reference is in doubt
    return {
        "hypervolume_ratio_mean": _mean(shares),
        "hypervolume_ratio_min": float(shares.min()) if shares.size else float("nan"),
        "hypervolume_ratio_above_one": float((ratios > 1.0 + _ROUNDING).sum()) if ratios.size else float("nan"),
        "regret_mean_a": _mean(regret_a[judged]),
        "regret_kwh": _of_known(regret_kwh[judged], lambda known: sum(known.tolist())),
    }


def _highest(values: Float) -> float:
    return float(np.fmax.reduce(values, axis=None, initial=np.nan))


def _mean(values: Float) -> float:
    return _of_known(values, np.mean)


def _p95(values: Float) -> float:
    return _of_known(values, lambda known: np.percentile(known, 95))


def _p95_of_each(values: Float) -> Float:
    """Of every column; of all at once where all is known."""
    if values.size and np.isfinite(values).all():
        return np.asarray(np.percentile(values, 95, axis=0))
    return np.array([_p95(column) for column in values.T])


def _of_known(values: Float, figure: Callable[[Float], Any]) -> float:
    known = values[np.isfinite(values)]
    return float(figure(known)) if known.size else float("nan")
