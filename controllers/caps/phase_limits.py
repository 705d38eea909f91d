"""What a phase may draw in kW: rated current, less reactive power, losses and margin, slot by slot."""

from __future__ import annotations

import numpy as np

from cosim.contract import Complex, Feeder, Float, Predictor
from cosim.contract.signals import Bool
from cosim.controllers.caps.day import Background

PHASES = 3
PEAK_SHARE = 0.98  # of a rating that the highest forecast step of a slot may reach
ASSUMED_LOSS_SHARE = 0.04  # of the load, where no predictor tells
ITERATIONS = 20
NEAR_A = 0.01
SOLVED_A = 1.0


def phase_limits_kw(
    feeder: Feeder, predictor: Predictor | None, background: Background, limit_a: float, has_car: Bool
) -> Float:
    """Return the load of each phase at which its current at the transformer reaches a limit.

    Cars are raised together on all phases, evenly over the single-phase homes that have one, until each phase's
    predicted current meets the limit: voltage drop, reactive power and losses of that very state are inside. Without a
    predictor, and on phases without a single-phase home, the voltage is nominal and losses are a share of the load.

    Parameters
    ----------
    feeder : Feeder
        The place.
    predictor : Predictor or None
        The power flow.
    background : Background
        Load without cars.
    limit_a : float
        Largest current of a phase, margin already taken off [A].
    has_car : ndarray of bool, shape (customer,)
        Homes that the extra load is laid on; all single-phase homes of a phase where none of them has a car.

    Returns
    -------
    ndarray, shape (slot, phase)
        Sum of the customers' loads [kW].
    """
    share = feeder.phase_matrix
    base_kw, base_kvar = background.p_kw @ share, background.q_kvar @ share
    apparent_kva = limit_a * feeder.nominal_voltage_v / 1e3
    # P = sqrt(S² - Q²), less what is lost between transformer and meters
    flat: Float = np.sqrt(np.maximum(apparent_kva**2 - base_kvar**2, 0.0)) / (1.0 + ASSUMED_LOSS_SHARE)
    rows = [] if predictor is None else _supply_rows(feeder, predictor, background)
    if predictor is None or not rows:
        return flat
    spread = _spread(feeder.charger_phase_matrix, has_car)
    extra_kw = flat - base_kw
    for _ in range(ITERATIONS):
        current_a = np.abs(_currents(feeder, predictor, background, extra_kw @ spread.T)[:, rows].sum(axis=1))
        missing_a = np.where(spread.any(axis=0), limit_a - current_a, 0.0)  # nan where there is no power flow
        # kW per ampere at nominal voltage as the slope: near enough to the true one for a few fixed-point steps
        extra_kw = extra_kw + np.nan_to_num(missing_a) * feeder.nominal_voltage_v / 1e3
        if np.abs(np.nan_to_num(missing_a)).max() < NEAR_A:
            break
    solved = np.abs(missing_a) < SOLVED_A
    # where it did not settle, the smaller of the two estimates
    return np.where(solved, base_kw + extra_kw, np.minimum(flat, base_kw + extra_kw))


def expected_kva(feeder: Feeder, predictor: Predictor | None, background: Background, ev_kw: Float) -> Float:
    """Return the apparent power that a plan leads to at the transformer's low-voltage terminals, shape (slot,) [kVA].

    Parameters
    ----------
    feeder, predictor, background
        As in `phase_limits_kw`.
    ev_kw : ndarray, shape (slot, customer)
        What cars draw [kW].
    """
    rows = [] if predictor is None else _supply_rows(feeder, predictor, background)
    p_kw = (background.p_kw + ev_kw).sum(axis=1) * (1.0 + ASSUMED_LOSS_SHARE)
    flat: Float = np.hypot(p_kw, background.q_kvar.sum(axis=1))
    if predictor is None or len(rows) != 1 or feeder.transformer is None:
        return flat
    current_a = _currents(feeder, predictor, background, ev_kw)[:, rows[0]]
    machine = feeder.network.branch(feeder.transformer)
    terminal = [machine.phases.index(phase) for phase in (1, 2, 3) if phase in machine.phases]
    ends = np.arange(len(machine.nodes))[machine.monitored][terminal]
    if len(terminal) != PHASES or (machine.nodes[ends] < 0).any():
        return flat
    # pseudo-inverse: the block may be singular, as of a delta winding
    own_ohm = np.linalg.pinv(machine.admittance_s[np.ix_(ends, ends)])
    scale = np.where(np.isnan(background.source_pu), 1.0, background.source_pu / feeder.network.source_pu)
    no_load_v = feeder.network.no_load_v[machine.nodes[ends]] * scale[:, None]
    terminal_v = no_load_v - current_a @ own_ohm.T
    kva = np.abs((terminal_v * np.conj(current_a)).sum(axis=1)) / 1e3
    return np.where(np.isfinite(kva), kva, flat)


def _supply_rows(feeder: Feeder, predictor: Predictor, background: Background) -> list[int]:
    """Which of the watched branches carry all customers: the transformers in parallel, else the head line."""
    names = predictor.predict(background.p_kw[:1], background.q_kvar[:1]).branches
    for together in (feeder.supplies, (feeder.head_line,)):
        if together and all(name in names for name in together):
            return [names.index(str(name)) for name in together]
    return []


def _currents(feeder: Feeder, predictor: Predictor, background: Background, ev_kw: Float) -> Complex:
    """Currents of the watched branches, shape (slot, branch, 3); nan where there is no solution."""
    loads = feeder.loads(background.p_kw + ev_kw, background.q_kvar, ev_kw)
    return predictor.predict(*loads, background.source_pu, background.others_kva).current_a


def _spread(share: Float, has_car: Bool) -> Float:
    """Part of a phase's extra load that each customer takes, shape (customer, phase).

    Only homes that charge on one phase take part: what one on several takes would load the others of its phases too,
    and their limits would be found with load that is not theirs. Nothing is raised where a phase has no such home.
    """
    single = (share > 0) & ((share > 0).sum(axis=1) == 1)[:, None]
    with_car = single & has_car[:, None]
    chosen = np.where(with_car.any(axis=0), with_car, single)
    count = chosen.sum(axis=0)
    even: Float = np.divide(chosen, count, out=np.zeros_like(share), where=count > 0)
    return even
