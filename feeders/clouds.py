"""Clouds over a feeder: the clear-sky index of a day, minute by minute. Its figures are assumptions of this project."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

DAY_MIN = 1440


def clear_sky_index(cloud: str, start: datetime, minutes: int, root: int, day: int = 0) -> Float:
    """Irradiance on the horizontal under cloud over that under clear sky, common to the feeder.

    Every calendar day has its own seed, so that a day stays the same whatever horizon it is seen from.

    Parameters
    ----------
    cloud : str
        One of `CLOUDS`.
    start : datetime
        Local clock of the first minute.
    minutes : int
        Length of the horizon [min].
    root : int
        Seed.
    day : int
        Days by which the horizon is moved against the one that ``root`` was drawn for.

    Returns
    -------
    ndarray, shape (minute,)
        Index, 1 under clear sky.
    """
    first_min = start.hour * 60 + start.minute
    days = -(-(first_min + minutes) // DAY_MIN)
    draws = [CLOUDS[cloud](np.random.default_rng([root, k + day + 100_000])) for k in range(days)]
    return np.concatenate(draws)[first_min : first_min + minutes]


def clear_day(_rng: np.random.Generator) -> Float:
    """No cloud."""
    return np.ones(DAY_MIN)


def overcast_day(rng: np.random.Generator) -> Float:
    """A closed deck: index about 0.2 to 0.4 of the day, wandering slowly."""
    return np.clip(rng.uniform(0.2, 0.4) * np.exp(0.25 * _wander(rng, 30.0)), 0.05, 0.7)


def partly_cloudy_day(rng: np.random.Generator) -> Float:
    """Gaps and clouds in turn: index about 1 in gaps and 0.25-0.55 under clouds, both lasting minutes.

    That one-minute indices have two modes is known since Suehrcke and McCormick 1988 (Solar Energy 40(5)). An edge
    takes about two minutes to pass over the feeder.
    """
    parts: list[Float] = []
    made_min = 0
    while made_min < DAY_MIN:
        gap_min = 1 + round(rng.lognormal(np.log(9.0), 0.9))
        cloud_min = 1 + round(rng.lognormal(np.log(5.0), 0.8))
        made_min += gap_min + cloud_min
        parts += [np.full(gap_min, rng.uniform(0.97, 1.04)), np.full(cloud_min, rng.uniform(0.25, 0.55))]
    index = np.concatenate(parts)[:DAY_MIN] * (1.0 + 0.02 * _wander(rng, 5.0))
    soft: Float = np.convolve(np.pad(index, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    return np.clip(soft, 0.05, 1.08)


def _wander(rng: np.random.Generator, minutes: float) -> Float:
    """Noise of unit deviation that forgets itself over some minutes, shape (minute of the day,)."""
    keeps = float(np.exp(-1.0 / minutes))
    adds = float(np.sqrt(1.0 - keeps**2))
    noise = rng.normal(size=DAY_MIN).tolist()
    return np.array(list(accumulate(noise, lambda walk, new: keeps * walk + adds * new)))


CLOUDS: dict[str, Callable[[np.random.Generator], Float]] = {
    "clear": clear_day,
    "partly_cloudy": partly_cloudy_day,
    "overcast": overcast_day,
}
"""Kinds of sky."""
