"""Data of the host-capacity study: tariff, load formula, one house, and what is published of thirty.

Source: the public repository TeraNYI/Thesis (Yi Ni, 2025). Tariff, formula, battery and target are in its text. Of the
thirty houses only figures are published; hourly totals and states of charge were read from them by pixel, to about
±0.2 kW and ±0.1 kWh. How the total splits over houses is not published.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cosim.contract import Float
from cosim.contract.survey import FrozenArrays
from cosim.experiments.remedies import load_toml

HOURS = 24
TARGET_KWH = 40.0
PEAK_PRICE, SHOULDER_PRICE, OFF_PEAK_PRICE = 0.50, 0.20, 0.10  # $/kWh
SINGLE_LIMIT_KW, SINGLE_NEED_KWH = 2.4, 20.0
SINGLE_DRAWS = (-0.6490, 1.1812, -0.7585)  # r1, r2, r3 of the published generator's seed 1
LIMIT_MARGIN_KW = 0.01  # the transformer's limit is the peak of inflexible load plus this

_READ = {name: np.array(values) for name, values in load_toml(Path(__file__).with_name("published.toml")).items()}
TOTAL_INFLEXIBLE_KW, INITIAL_KWH = _READ["total_inflexible_kw"], _READ["initial_kwh"]
PUBLISHED_EV_KW = _READ["published_ev_kw"]


@dataclass(frozen=True, eq=False)
class Houses(FrozenArrays):
    """Houses under one limit, in steps of one hour, charging without loss: the seed's model.

    Attributes
    ----------
    price : ndarray, shape (hour,)
        Tariff [$/kWh].
    inflexible_kw : ndarray, shape (hour, house)
        Load that nobody moves [kW].
    need_kwh : ndarray, shape (house,)
        Energy that the car wants [kWh].
    limit_kw : float
        What all houses may draw together [kW].
    """

    price: Float
    inflexible_kw: Float
    need_kwh: Float
    limit_kw: float

    @property
    def headroom_kw(self) -> Float:
        """What the limit leaves for all cars together, shape (hour,) [kW]."""
        return np.asarray(self.limit_kw - self.inflexible_kw.sum(axis=1))

    def headroom_kwh(self, price: float) -> float:
        """What the limit leaves for all cars in the hours of one price [kWh]."""
        return float(self.headroom_kw[self.price == price].sum())

    def cost(self, charge_kw: Float) -> float:
        """What charging of shape (hour,) or (hour, house) costs [$]."""
        return float((self.price @ charge_kw).sum())

    def charged_kwh(self, charge_kw: Float) -> dict[str, float]:
        """Energy drawn in each tariff band [kWh]."""
        total = charge_kw.reshape(HOURS, -1).sum(axis=1)
        bands = {"peak": PEAK_PRICE, "shoulder": SHOULDER_PRICE, "off_peak": OFF_PEAK_PRICE}
        return {f"{name}_charging_kwh": float(total[self.price == price].sum()) for name, price in bands.items()}


def tariff() -> Float:
    """Price of each hour 1 to 24, shape (hour,) [$/kWh]."""
    price = np.full(HOURS, OFF_PEAK_PRICE)
    price[10:16] = SHOULDER_PRICE  # hours 11 to 16
    price[6:10] = price[16:20] = PEAK_PRICE  # hours 7 to 10 and 17 to 20
    return price


def load_formula_kw(draws: Float) -> Float:
    """Load of houses by the published formula: a base of 0.5 kW and two bells around 7 and 19 h.

    Parameters
    ----------
    draws : ndarray, shape (3, house)
        The random numbers r1, r2, r3 of each house.

    Returns
    -------
    ndarray, shape (hour, house)
        Inflexible load [kW].
    """
    r1, r2, r3 = draws
    hour = np.arange(1, HOURS + 1)[:, None]
    width_h = 2.8 + 0.3 * r3
    morning = (1.0 + 0.4 * r1) * np.exp(-(((hour - 7) / width_h) ** 2))
    evening = (1.3 + 0.5 * r2) * np.exp(-(((hour - 19) / width_h) ** 2))
    return np.asarray(0.5 + morning + evening)


def single_house() -> Houses:
    """Return the one house of the seed's test: 20 kWh under 2.4 kW."""
    inflexible = load_formula_kw(np.array(SINGLE_DRAWS)[:, None])
    return Houses(tariff(), inflexible, np.array([SINGLE_NEED_KWH]), SINGLE_LIMIT_KW)


def thirty_houses(rng: np.random.Generator | None = None) -> Houses:
    """Return the thirty houses, whose hourly total and single needs are published, but not how the total splits.

    Parameters
    ----------
    rng : numpy.random.Generator, optional
        Without one, the total is split in equal shares. With one, each house follows the load formula with draws of
        its own, scaled hour by hour to the published total: another guess, to show that the split does not matter.

    Returns
    -------
    Houses
    """
    count = len(INITIAL_KWH)
    pattern = np.ones((HOURS, count))
    if rng is not None:  # kept within what leaves every bell positive
        pattern = load_formula_kw(np.clip(rng.standard_normal((3, count)), -2.0, 2.0))
    inflexible = TOTAL_INFLEXIBLE_KW[:, None] * pattern / pattern.sum(axis=1, keepdims=True)
    limit = float(TOTAL_INFLEXIBLE_KW.max()) + LIMIT_MARGIN_KW
    return Houses(tariff(), inflexible, TARGET_KWH - INITIAL_KWH, limit)
