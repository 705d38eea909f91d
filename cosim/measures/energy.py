"""Energy, curtailment, bills and the balance that must close.

Powers are means over a step, (step, customer) unless said otherwise; + is consumption and import (load convention).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from cosim.contract import EXPORT_EUR_PER_KWH
from cosim.measures._arrays import Float, ratio

UNSERVED_EUR_PER_KWH = 0.50


def energy_kwh(power_kw: ArrayLike, step_min: float) -> Float:
    """Energy of each column, ``sum over steps of power times step``.

    Parameters
    ----------
    power_kw : array_like, shape (step, ...)
        Mean power of each step. [kW]
    step_min : float
        Length of a step. [min]

    Returns
    -------
    ndarray, shape (...)
        [kWh]
    """
    return np.asarray(np.asarray(power_kw, dtype=float).sum(axis=0) * step_min / 60)


def import_kwh(net_kw: ArrayLike, step_min: float) -> Float:
    """Energy drawn at each meter: the positive part of its net power.

    Consumption and generation behind one meter cancel within a step (its net power is a mean), so longer steps show
    less import and less export; their difference does not change.

    Parameters
    ----------
    net_kw : array_like, shape (step, customer)
        Net power at the meters. [kW]
    step_min : float
        Length of a step. [min]

    Returns
    -------
    ndarray, shape (customer,)
        [kWh]
    """
    return energy_kwh(np.maximum(net_kw, 0), step_min)


def export_kwh(net_kw: ArrayLike, step_min: float) -> Float:
    """Energy fed in at each meter, as a positive number: the negative part of its net power.

    Parameters
    ----------
    net_kw : array_like, shape (step, customer)
        Net power at the meters. [kW]
    step_min : float
        Length of a step. [min]

    Returns
    -------
    ndarray, shape (customer,)
        [kWh]
    """
    return energy_kwh(-np.minimum(net_kw, 0), step_min)


def curtailed_kwh(pv_available_kw: ArrayLike, pv_kw: ArrayLike, step_min: float) -> Float:
    """Solar energy that was available and not fed in, per home.

    Parameters
    ----------
    pv_available_kw, pv_kw : array_like, shape (step, customer)
        What the roof could give, and what it gave. [kW]
    step_min : float
        Length of a step. [min]

    Returns
    -------
    ndarray, shape (customer,)
        [kWh]
    """
    return energy_kwh(np.asarray(pv_available_kw, dtype=float) - np.asarray(pv_kw, dtype=float), step_min)


def curtailed_max_home_percent(pv_available_kw: ArrayLike, pv_kw: ArrayLike) -> float:
    """Curtailment of the home that loses the largest share of its own available energy.

    Parameters
    ----------
    pv_available_kw, pv_kw : array_like, shape (step, customer)
        What the roof could give, and what it gave; steps of equal length. [kW]

    Returns
    -------
    float
        [%] of that home's available energy; 0 where no home has any (nothing was taken from anybody).
    """
    available = np.asarray(pv_available_kw, dtype=float).sum(axis=0)
    lost = available - np.asarray(pv_kw, dtype=float).sum(axis=0)
    return float(np.fmax.reduce(100 * ratio(lost, available), axis=None, initial=0.0))


def bills_eur(
    net_kw: ArrayLike,
    tariff_eur_per_kwh: ArrayLike,
    step_min: float,
    export_eur_per_kwh: float = EXPORT_EUR_PER_KWH,
) -> Float:
    """Bill of every home: import × tariff − export × feed-in price.

    Parameters
    ----------
    net_kw : array_like, shape (step, customer)
        Net power at the meters. [kW]
    tariff_eur_per_kwh : array_like, shape (step,) or (step, customer)
        Price of import. [EUR/kWh]
    step_min : float
        Length of a step. [min]
    export_eur_per_kwh : float
        Price of export. [EUR/kWh]

    Returns
    -------
    ndarray, shape (customer,)
        [EUR], negative where a home earns more than it pays.
    """
    tariff = np.asarray(tariff_eur_per_kwh, dtype=float)
    tariff = tariff[:, None] if tariff.ndim == 1 else tariff
    import_eur = energy_kwh(np.maximum(net_kw, 0) * tariff, step_min)
    return np.asarray(import_eur - export_eur_per_kwh * export_kwh(net_kw, step_min))


def cost_eur(
    net_kw: ArrayLike,
    tariff_eur_per_kwh: ArrayLike,
    step_min: float,
    export_eur_per_kwh: float = EXPORT_EUR_PER_KWH,
) -> float:
    """Return what all homes pay together [EUR], the sum of `bills_eur`, whose parameters it takes."""
    return float(bills_eur(net_kw, tariff_eur_per_kwh, step_min, export_eur_per_kwh).sum())


def unserved_penalty_eur(unserved_kwh: float) -> float:
    """Return what a score takes for energy that cars wanted, could have had, and did not get [EUR].

    Nobody pays it: it keeps a controller that simply does not charge the cars from looking cheap.
    """
    return UNSERVED_EUR_PER_KWH * unserved_kwh


def withheld_kwh(connection_kw: ArrayLike, cap_kw: ArrayLike, plugged: ArrayLike, step_min: float) -> float:
    """Headroom that caps withhold: sum over plugged-in slots of connection − cap.

    Slots without a car are left out, because a cap that nobody feels only dilutes the figure.

    Parameters
    ----------
    connection_kw : array_like, broadcast against (step, customer)
        Largest import that the home's connection allows. [kW]
    cap_kw : array_like, shape (step, customer)
        Import caps; inf and nan are no cap, and a cap above the connection withholds nothing. [kW]
    plugged : array_like, shape (step, customer)
        A car is there: True, or the share of the step for which it is. [unitless]
    step_min : float
        Length of a step. [min]

    Returns
    -------
    float
        [kWh]
    """
    cap = np.asarray(cap_kw, dtype=float)
    taken_kw = np.maximum(np.asarray(connection_kw, dtype=float) - np.where(np.isfinite(cap), cap, np.inf), 0)
    return float(energy_kwh(taken_kw * np.asarray(plugged, dtype=float), step_min).sum())


def balance_error_percent(import_kwh: float, generation_kwh: float, consumption_kwh: float, losses_kwh: float) -> float:
    """How well energy closes: ``100 |import + generation − consumption − losses| / losses``.

    Relative to the losses, because they are the small difference of large numbers that an error would hide in.

    Parameters
    ----------
    import_kwh : float
        Net import where the network is fed, export negative. [kWh]
    generation_kwh, consumption_kwh : float
        Of all customers, as the power flow served them. [kWh]
    losses_kwh : float
        From the elements' own currents. [kWh]

    Returns
    -------
    float
        [% of losses]; nan where there are no losses.
    """
    closing_kwh = abs(import_kwh + generation_kwh - consumption_kwh - losses_kwh)
    return float(100 * ratio(closing_kwh, losses_kwh))


BALANCE_FLOOR_KW = 0.1
"""Less than this is consumed and generated in no step that the balance is judged by."""


def balance_error_of_steps_percent(
    import_kw: ArrayLike, generation_kw: ArrayLike, consumption_kw: ArrayLike, losses_kw: ArrayLike
) -> Float:
    """How well power closes: ``100 |import + generation − consumption − losses| / max(consumption, generation)``.

    Parameters
    ----------
    import_kw : array_like, shape (step,)
        Net import where the network is fed, export negative. [kW]
    generation_kw, consumption_kw : array_like, shape (step,)
        Gross: discharge of batteries is generation, charging is consumption; at least `BALANCE_FLOOR_KW` is divided
        by. [kW]
    losses_kw : array_like, shape (step,)
        From the elements' own currents. [kW]

    Returns
    -------
    ndarray, shape (step,)
        [%]
    """
    given, used = np.asarray(generation_kw, dtype=float), np.asarray(consumption_kw, dtype=float)
    closing_kw = np.abs(np.asarray(import_kw, dtype=float) + given - used - np.asarray(losses_kw, dtype=float))
    return np.asarray(100.0 * closing_kw / np.maximum(np.maximum(given, used), BALANCE_FLOOR_KW))
