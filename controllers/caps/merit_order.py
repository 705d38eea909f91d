"""The order in which a household fills its slots: cheapest first, the earlier of two that cost the same.

One definition, shared by the follower, both mixed-integer forms and the search, so that they cannot disagree on ties.
To a household only the *order* of its slots and the *sign* of their prices matter, so levels (whole numbers in the
order of prices, negative where the tariff is) stand for prices wherever its choice is modelled.
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
    prices = np.unique(price_in_steps(tariff_eur_per_kwh))
    if len(prices) < 2:
        return FLAT_STEP_EUR_PER_KWH
    smallest_gap = float(np.diff(prices).min()) * PRICE_RESOLUTION_EUR_PER_KWH
    return smallest_gap / (2 * len(tariff_eur_per_kwh))


def order_cost(tariff_eur_per_kwh: Float) -> Float:
    """Return the strict cost by which households rank their slots: tariff + step · position [EUR/kWh], shape as given.

    With it the cheapest way to charge is unique, so the optimistic and the pessimistic view of the bilevel problem
    coincide. Only the *order* matters to a household, so the size of the step changes no decision.

    Parameters
    ----------
    tariff_eur_per_kwh : ndarray, shape (slot,) or (slot, column)
        Price of import; columns are ranked one by one [EUR/kWh].
    """
    if tariff_eur_per_kwh.ndim == 2:
        different, column = np.unique(tariff_eur_per_kwh, axis=1, return_inverse=True)
        ranked = [order_cost(different[:, one]) for one in range(different.shape[1])]
        return np.stack(ranked, axis=1)[:, column.ravel()]
    position = np.arange(len(tariff_eur_per_kwh))
    return tariff_eur_per_kwh + tie_break_eur_per_kwh(tariff_eur_per_kwh) * position


def merit_order(tariff_eur_per_kwh: Float) -> Int:
    """Return the slots from the cheapest to the dearest, shape as the tariff's."""
    return np.argsort(order_cost(tariff_eur_per_kwh), axis=0, kind="stable").astype(np.int64)


def price_in_steps(tariff_eur_per_kwh: Float) -> Float:
    """Return prices as whole numbers of the smallest difference that counts."""
    return np.round(tariff_eur_per_kwh / PRICE_RESOLUTION_EUR_PER_KWH)


def strict_levels(sorted_eur_per_kwh: Float) -> Int:
    """Return levels under the strict order: ..., -2, -1 where the tariff is negative, then 1, 2, ...

    Parameters
    ----------
    sorted_eur_per_kwh : ndarray, shape (row, car)
        Tariff of each car's slots in its merit order [EUR/kWh].
    """
    row = np.arange(len(sorted_eur_per_kwh))[:, None]
    negative = (price_in_steps(sorted_eur_per_kwh) < 0).sum(axis=0)
    levels: Int = np.where(row < negative, row - negative, row - negative + 1)
    return levels


def band_levels(sorted_eur_per_kwh: Float) -> Int:
    """Return levels that slots of one price share: negative, 0 where the price is zero, positive.

    Parameters
    ----------
    sorted_eur_per_kwh : ndarray, shape (row, car)
        Tariff of each car's slots in its merit order [EUR/kWh].
    """
    price = price_in_steps(sorted_eur_per_kwh)
    rises = np.diff(price, axis=0, prepend=price[:1]) > 0
    band = np.cumsum(rises, axis=0)
    below = np.where(price < 0, band + 1, 0).max(axis=0, initial=0)  # bands of negative prices
    has_nil = (price == 0).any(axis=0)
    levels: Int = np.where(price < 0, band - below, band - below + np.where(has_nil, 0, 1))
    return levels
