"""The order in which a household fills its slots: cheapest first, the earlier of two that cost the same.

One definition, shared by the follower, both mixed-integer forms and the search, so that they cannot disagree on ties.
"""

from __future__ import annotations

import numpy as np

from cosim.contract import Float, Int

PRICE_RESOLUTION_EUR_PER_KWH = 1e-9  # prices closer than this are one price, so that rounding cannot reorder slots
FLAT_STEP_EUR_PER_KWH = 1e-3  # step of the tie-break where a tariff has one price only


def tie_break_eur_per_kwh(tariff_eur_per_kwh: Float) -> float:
    """Return the price step per slot that makes the order strict without reordering different prices.

    Parameters
    ----------
    tariff_eur_per_kwh : ndarray, shape (slot,)
        Price of import [EUR/kWh].

    Returns
    -------
    float
        Half the smallest difference of two prices, divided by the number of slots [EUR/kWh].
    """
    prices = np.unique(np.round(tariff_eur_per_kwh / PRICE_RESOLUTION_EUR_PER_KWH))
    if len(prices) < 2:
        return FLAT_STEP_EUR_PER_KWH
    smallest_gap = float(np.diff(prices).min()) * PRICE_RESOLUTION_EUR_PER_KWH
    return smallest_gap / (2 * len(tariff_eur_per_kwh))


def order_cost(tariff_eur_per_kwh: Float) -> Float:
    """Return the strict cost by which households rank their slots: tariff + step · position [EUR/kWh].

    With it the cheapest way to charge is unique, so the optimistic and the pessimistic view of the bilevel problem
    coincide. Only the *order* matters to a household, so the size of the step changes no decision.

    Parameters
    ----------
    tariff_eur_per_kwh : ndarray, shape (slot,)
        Price of import [EUR/kWh].
    """
    position = np.arange(len(tariff_eur_per_kwh))
    cost: Float = tariff_eur_per_kwh + tie_break_eur_per_kwh(tariff_eur_per_kwh) * position
    return cost


def merit_order(tariff_eur_per_kwh: Float) -> Int:
    """Return the slots from the cheapest to the dearest, shape (slot,)."""
    return np.argsort(order_cost(tariff_eur_per_kwh), kind="stable").astype(np.int64)
