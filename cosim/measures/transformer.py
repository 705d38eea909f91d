"""Loading, hot-spot temperature and ageing of an oil-immersed distribution transformer."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from cosim.contract.thermal import OilTransformer as OilTransformer
from cosim.contract.thermal import ThermalState
from cosim.errors import Fault, refuse
from cosim.measures._arrays import Float, positive, ratio

LOSS_RATIO = 5.0
"""Load loss over no-load loss, R, of a distribution transformer of which one of the two is not known (IEC 60076-7)."""


def hot_spot_c(
    load_factor: ArrayLike,
    ambient_c: ArrayLike,
    step_min: float,
    parameters: OilTransformer | None = None,
    *,
    initial_load_factor: float | None = None,
    initial: ThermalState | None = None,
) -> tuple[Float, Float]:
    r"""Top-oil and hot-spot temperature at the end of each step, IEC 60076-7 in exponential form.

    .. math::
        \theta_o &\mathrel{+}= (1 - e^{-\Delta/(k_{11}\tau_o)})
            \left[\theta_a + \Delta\theta_{or} \left(\frac{1 + R K^2}{1 + R}\right)^x - \theta_o\right] \\
        h_1 &\mathrel{+}= (1 - e^{-\Delta/(k_{22}\tau_w)}) \left[k_{21} \Delta\theta_{hr} K^y - h_1\right] \\
        h_2 &\mathrel{+}= (1 - e^{-\Delta k_{22}/\tau_o}) \left[(k_{21} - 1) \Delta\theta_{hr} K^y - h_2\right] \\
        \theta_h &= \theta_o + h_1 - h_2

    Exact for load and ambient constant within a step, hence usable at 15 minutes, where the difference form of the
    standard (stable only well below 8 minutes) is not.

    Parameters
    ----------
    load_factor : array_like, shape (step,)
        Current over rated current, K; the worst phase where phases differ. [pu]
    ambient_c : array_like, shape (step,), or scalar
        Temperature outdoors; the surcharge of the room is among the parameters. [°C]
    step_min : float
        Length of a step. [min]
    parameters : OilTransformer, optional
        Thermal constants; the defaults of the class when omitted.
    initial_load_factor : float, optional
        The transformer starts in the steady state of this load and of the ambient of the first step. Default: the
        mean load of the horizon, so that a day is neither favoured nor punished by what came before it. [pu]
    initial : ThermalState, optional
        Instead of a steady state.

    Returns
    -------
    top_oil_c, hot_spot_c : ndarray, shape (step,)
        [°C]

    Raises
    ------
    InputError
        No steps, lengths that differ, a negative load factor or a step that is not positive.

    References
    ----------
    .. [1] IEC 60076-7:2018, Loading guide for mineral-oil-immersed power transformers, clause 8.2 and annex E.
    """
    machine = parameters or OilTransformer()
    top_oil, fast, slow = heat_states(load_factor, ambient_c, step_min, machine, initial_load_factor, initial)
    return top_oil, top_oil + machine.k21 * fast - (machine.k21 - 1) * slow


def heat_states(
    load_factor: ArrayLike,
    ambient_c: ArrayLike,
    step_min: float,
    machine: OilTransformer,
    initial_load_factor: float | None = None,
    initial: ThermalState | None = None,
) -> tuple[Float, Float, Float]:
    """Top oil [°C] and both parts of the hot spot's rise [K] at the end of each step; see `hot_spot_c`."""
    positive(step_min, "hot_spot_c", "step_min")
    load, ambient = _checked(load_factor, ambient_c)
    start = float(load.mean()) if initial_load_factor is None else initial_load_factor

    loss_ratio = LOSS_RATIO if machine.loss_ratio is None else machine.loss_ratio
    ambient = ambient + machine.ambient_surcharge_k

    def oil_rise_k(k: ArrayLike) -> Float:
        share = (1 + loss_ratio * np.square(k)) / (1 + loss_ratio)
        return machine.top_oil_rise_k * np.asarray(share**machine.oil_exponent)

    def winding_rise_k(k: ArrayLike) -> Float:
        return machine.hot_spot_rise_k * np.asarray(np.power(k, machine.winding_exponent))

    oil_min, winding_min = machine.oil_time_constant_min, machine.winding_time_constant_min
    rise_k = float(winding_rise_k(start))
    begin = initial or ThermalState(float(ambient[0]) + float(oil_rise_k(start)), rise_k, rise_k)
    return (
        _lag(ambient + oil_rise_k(load), begin.top_oil_c, step_min / (machine.k11 * oil_min)),
        _lag(winding_rise_k(load), begin.fast_k, step_min / (machine.k22 * winding_min)),
        _lag(winding_rise_k(load), begin.slow_k, step_min * machine.k22 / oil_min),
    )


def ageing_rate(hot_spot_c: ArrayLike) -> Float:
    r"""Relative ageing rate of winding insulation of normal paper (IEC 60076-7, clause 6.3).

    :math:`V = 2^{(\theta_h - 98)/6}`, 1 at 98 °C.

    Parameters
    ----------
    hot_spot_c : array_like
        Hot-spot temperature. [°C]

    Returns
    -------
    ndarray
        [unitless], 1 is ageing in real time.
    """
    return np.asarray(np.exp2((np.asarray(hot_spot_c, dtype=float) - 98) / 6))


def ageing_h(hot_spot_c: ArrayLike, step_min: float) -> float:
    """Insulation life used up, the sum of the ageing rate times the step.

    Parameters
    ----------
    hot_spot_c : array_like, shape (step,)
        Hot-spot temperature. [°C]
    step_min : float
        Length of a step. [min]

    Returns
    -------
    float
        Hours of life at the rated hot spot; less than the hours that passed means ageing slower than rated. [h]
    """
    return float(ageing_rate(hot_spot_c).sum() * step_min / 60)


def worst_phase_percent(i_abs: ArrayLike, rating_a: float | Float) -> Float:
    """Loading by the worst phase, ``100 max |I| / rating``.

    A conductor or a winding is heated by its own current: the mean over phases hides the one that is overloaded.

    Parameters
    ----------
    i_abs : array_like, shape (..., phase)
        Magnitudes of the phase currents; any number of phases, nan for a phase that is not there. [A]
    rating_a : array_like, broadcast against (...)
        Rated current. [A]

    Returns
    -------
    ndarray, shape (...)
        [%]; nan where the rating is unknown (nan).
    """
    if np.ndim(rating_a) == 0:
        positive(float(rating_a), "worst_phase_percent", "rating_a")
    worst_a = np.fmax.reduce(np.asarray(i_abs, dtype=float), axis=-1)
    return 100 * ratio(worst_a, rating_a)


def overload_min(loading_percent: ArrayLike, step_min: float, limit_percent: float = 100.0) -> float:
    """Minutes in which the loading of at least one element is above a limit.

    Parameters
    ----------
    loading_percent : array_like, shape (step,) or (step, element)
        Worst-phase current over rated current; nan (no rating) is never above. [%]
    step_min : float
        Length of a step. [min]
    limit_percent : float
        Loading equal to it is no overload. [%]

    Returns
    -------
    float
        [min]; nan when nothing is rated.
    """
    loading = np.asarray(loading_percent, dtype=float)
    if np.isnan(loading).all():
        return float("nan")
    above = (loading > limit_percent).reshape(len(loading), -1).any(axis=1)
    return float(above.sum() * step_min)


def _lag(target: Float, start: float, dt_over_tau: float) -> Float:
    """First-order lag towards a target that is constant within each step, in closed form."""
    closes, value = -float(np.expm1(-dt_over_tau)), start
    values = np.empty(len(target))
    for step, wanted in enumerate(target.tolist()):  # scipy.signal would do the same and takes a second to import
        value += closes * (wanted - value)
        values[step] = value
    return values


def _checked(load_factor: ArrayLike, ambient_c: ArrayLike) -> tuple[Float, Float]:
    load, ambient = np.asarray(load_factor, dtype=float), np.asarray(ambient_c, dtype=float)
    faults = []
    if load.ndim != 1 or load.size == 0:
        faults.append(
            Fault("hot_spot_c", "load_factor", f"shape {load.shape}", "pass one value per step, at least one")
        )
    if ambient.ndim and ambient.shape != load.shape:
        problem = f"shape {ambient.shape} beside {load.shape} of load_factor"
        faults.append(Fault("hot_spot_c", "ambient_c", problem, "pass one value per step, or one for all"))
    if (load < 0).any():
        problem = f"{load.min()} is negative"
        faults.append(Fault("hot_spot_c", "load_factor", problem, "pass magnitudes of current over rated current"))
    refuse(faults)
    return load, np.broadcast_to(ambient, load.shape)
