"""What the steps of a run hide: its extreme voltages had household demand and sun been followed minute by minute."""

from __future__ import annotations

import numpy as np

from cosim.contract import Exogenous, Int, Predictor
from cosim.measures._arrays import Float, ratio
from cosim.threads import ONE_THREAD
from cosim.trajectory import Trajectory

_AT_ONCE = 80_000  # minutes of a customer: a few tens of megabytes for each of their arrays
_MOST_STEPS = 7 * 288
_NO_DETAIL = 1e-9


@ONE_THREAD
def minute_extremes(run: Trajectory, minutes: Exogenous, network: Predictor) -> dict[str, float]:
    """Lowest and highest voltage at a customer in a replay of a run at the resolution of its profiles.

    Household demand, available sun and source voltage follow the profiles; a roof gives the same share of its sun, and
    all else (cars, other devices, reactive power of inverters) keeps the mean of its step, so energies are those of the
    run. Of a run of more than 2016 steps those with the lowest and the highest voltages are replayed; steps without a
    power flow are left out.

    Parameters
    ----------
    run : Trajectory
        What happened, in steps that are a multiple of those of the profiles.
    minutes : Exogenous
        The same day before it was averaged to the steps of the run, or a longer one.
    network : Predictor
        Of the same feeder, whose loads take constant power.

    Returns
    -------
    dict of str to float
        ``voltage_min_1min_pu`` and ``voltage_max_1min_pu``, of the customer's nominal; nan where some minute has no
        power flow. Empty where the profiles hold no more than the steps do: of one length, or constant within them.
    """
    parts = round(run.step_min / minutes.step_min)
    replayed = _steps_to_replay(run)
    if parts <= 1 or minutes.steps < parts * run.steps or not len(replayed):
        return {}
    of_minute = {
        name: getattr(minutes, name)[: parts * run.steps].reshape(run.steps, parts, -1)
        for name in ("demand_kw", "demand_kvar", "pv_available_kw", "source_pu")
    }
    port_nominal_v = run.feeder.port_nominal_v
    lowest, highest, is_finer = np.inf, -np.inf, False
    for some in np.array_split(replayed, -(-len(replayed) * parts * len(run.feeder.customers) // _AT_ONCE)):
        source_pu = of_minute["source_pu"][some]
        finer = [_deviation(values[some]) for values in of_minute.values()]
        is_finer |= any((np.abs(part) > _NO_DETAIL).any() for part in finer)
        demand_kw, demand_kvar, sun_kw, _ = finer
        cars_kw = run.ev_kw[some, None]
        used = ratio(run.pv_kw[some], run.exogenous.pv_available_kw[some])[:, None]  # nan where there is no sun
        net_kw = run.net_kw[some, None] + demand_kw - np.where(np.isfinite(used), sun_kw * used, 0.0)
        net_kvar = run.net_kvar[some, None] + demand_kvar
        loads = run.feeder.loads(net_kw, net_kvar, cars_kw)
        p_kw, q_kvar = (of.reshape(-1, of.shape[-1]) for of in loads)
        pu = np.abs(network.predict(p_kw, q_kvar, source_pu.reshape(-1)).voltage_v)
        pu /= port_nominal_v
        lowest, highest = np.minimum(lowest, pu.min()), np.maximum(highest, pu.max())
    if not is_finer:
        return {}
    return {"voltage_min_1min_pu": float(lowest), "voltage_max_1min_pu": float(highest)}


def _deviation(by_step: Float) -> Float:
    """How far a quantity is from the mean of its step, shape (step, part, customer)."""
    return np.asarray(by_step - by_step.mean(axis=1, keepdims=True))


def _steps_to_replay(run: Trajectory) -> Int:
    solved = np.setdiff1d(np.arange(run.steps), [one.step for one in run.collapses])
    if len(solved) <= _MOST_STEPS:
        return solved
    half = _MOST_STEPS // 2
    pu = run.voltage_v[solved] / run.feeder.customer_nominal_v
    extreme: Int = np.union1d(pu.min(axis=1).argsort()[:half], pu.max(axis=1).argsort()[-half:])
    return np.asarray(solved[extreme])
