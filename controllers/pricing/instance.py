"""Users, stations and what is known of both; checked all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cosim.contract import Float, Int
from cosim.contract.survey import FrozenArrays
from cosim.errors import Fault, InputError, refuse

WHERE = "station pricing"
SAME_EUR_PER_KWH = 1e-9  # a price up to here above a budget is within it


@dataclass(frozen=True, eq=False)
class Instance(FrozenArrays):
    """Who may charge where; make one with `make_instance`, which checks it.

    Attributes
    ----------
    budgets : ndarray, shape (user,)
        Largest price each user pays [EUR/kWh]; their distinct values are the possible prices.
    demands_kwh : ndarray, shape (user,)
        Energy each user charges [kWh].
    travel_h : ndarray, shape (user, station)
        Time to get there [h].
    power_kw : ndarray, shape (station,)
        Power at which a car charges [kW].
    capacity_kwh : ndarray, shape (station,)
        Energy that a station can give over the whole period [kWh].
    beta_h : ndarray, shape (station,)
        Waiting time per user and user at the station: f users wait beta f each, beta f² together [h].
    period : ndarray of int, shape (station,)
        Period in which the station offers this price; all 0 where there is one.
    """

    budgets: Float
    demands_kwh: Float
    travel_h: Float
    power_kw: Float
    capacity_kwh: Float
    beta_h: Float
    period: Int

    @property
    def users(self) -> int:
        """Number of users."""
        return len(self.budgets)

    @property
    def stations(self) -> int:
        """Number of stations, counted once per period."""
        return len(self.power_kw)

    @property
    def levels(self) -> Float:
        """Possible prices, ascending [EUR/kWh]."""
        return np.unique(self.budgets)

    @property
    def fixed_h(self) -> Float:
        """Travelling and charging at full power, shape (user, station) [h]."""
        return np.asarray(self.travel_h + self.demands_kwh[:, None] / self.power_kw)

    def affordable(self, prices: Float) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Whether a user can pay a station's price, shape (user, station)."""
        return np.asarray(prices[None, :] <= self.budgets[:, None] + SAME_EUR_PER_KWH)


def make_instance(
    budgets: ArrayLike,
    demands_kwh: ArrayLike,
    travel_h: ArrayLike,
    power_kw: ArrayLike,
    capacity_kwh: ArrayLike,
    beta_h: ArrayLike,
    *,
    where: str = WHERE,
    refuse_unservable: bool = True,
) -> Instance:
    """Check and freeze an instance of one period.

    Parameters
    ----------
    budgets, demands_kwh : array-like, shape (user,)
        Largest price [EUR/kWh] and energy [kWh] of each user.
    travel_h : array-like, shape (user, station)
        Travel time [h].
    power_kw, capacity_kwh, beta_h : array-like, shape (station,)
        Power [kW], energy over the period [kWh], waiting time per user and user [h].
    where : str
        File, for messages.
    refuse_unservable : bool
        Whether it is a fault that every price vector leaves somebody without room; with lost sales it is none.

    Returns
    -------
    Instance

    Raises
    ------
    InputError
        With every fault: ragged or misfitting arrays, numbers that are none or out of range, and capacities that no
        price vector can serve, with the prices.
    """
    faults: list[Fault] = []
    given = {
        "budgets": (budgets, 1, 0.0), "demands_kwh": (demands_kwh, 1, 0.0), "travel_h": (travel_h, 2, 0.0),
        "power_kw": (power_kw, 1, np.nextafter(0.0, 1.0)), "capacity_kwh": (capacity_kwh, 1, 0.0),
        "beta_h": (beta_h, 1, 0.0),
    }  # fmt: skip
    arrays = {key: _read(where, key, values, axes, low, faults) for key, (values, axes, low) in given.items()}
    faults += _misfits(where, arrays)
    refuse(faults)
    instance = Instance(**arrays, period=np.zeros(len(arrays["power_kw"]), dtype=np.int64))
    if refuse_unservable and not servable_levels(instance).any():
        raise InputError(unservable_faults(instance, where))
    return instance


def servable_levels(instance: Instance) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """For each level as the lowest price: whether those who must be served could fit, shape (level,).

    Necessary, and not sufficient: all who can pay the lowest price must be served (``sum_j x_ij = y_i``), so their
    energy must fit into all stations, and the largest need among them into one.
    """
    all_kwh, largest_kwh = instance.capacity_kwh.sum(), instance.capacity_kwh.max(initial=0.0)
    must = _must_kwh(instance)
    return np.array([
        bool(kwh.sum() <= all_kwh * (1 + 1e-9) and kwh.max() <= largest_kwh * (1 + 1e-9)) for kwh in must
    ])  # fmt: skip


def _must_kwh(instance: Instance) -> list[Float]:
    """Energy of those who must be served, for each level as the lowest price."""
    return [instance.demands_kwh[instance.budgets >= level - SAME_EUR_PER_KWH] for level in instance.levels]


def unservable_faults(instance: Instance, where: str = WHERE) -> list[Fault]:
    """Name the lowest prices at which those who must be served cannot be, and their energy."""
    levels = zip(instance.levels, _must_kwh(instance), servable_levels(instance), strict=True)
    told = [
        f"{level:.2f} EUR/kWh ({kwh.sum():g} kWh, the largest need {kwh.max():g})"
        for level, kwh, fits in levels
        if not fits
    ]
    problem = (
        f"stations of {', '.join(f'{kwh:g}' for kwh in instance.capacity_kwh)} kWh cannot serve those who must be "
        f"served where the lowest price is {'; '.join(told)}"
    )
    return [Fault(where, "capacity_kwh", problem, "raise capacities, or allow lost sales at a penalty")] if told else []


def with_periods(
    instance: Instance, preferred: Sequence[int] | Int, delay_h: float, capacity_share: Sequence[float]
) -> Instance:
    """Let users choose when to charge as well: every station becomes one station per period.

    The slides name periods as further work. Here a station sets a price in each period, its energy is divided among
    them, and users of different periods do not wait for each other; charging in another period than the preferred one
    costs ``delay_h`` of time for each period between. All of the theory holds as it stands, for m × T stations, which
    are ordered by period and then by station.

    Parameters
    ----------
    instance : Instance
        Of one period.
    preferred : sequence of int, shape (user,)
        Each user's own period, from 0.
    delay_h : float
        Time that a shift by one period costs [h].
    capacity_share : sequence of float, shape (period,)
        How a station's energy is divided; its length is the number of periods.

    Raises
    ------
    InputError
        Where a period does not exist, or a number is out of range.
    """
    share, own = np.asarray(capacity_share, float), np.asarray(preferred)
    periods, faults = len(share), []
    if periods < 1 or not (np.isfinite(share).all() and (share >= 0.0).all()):
        faults.append(Fault(WHERE, "capacity_share", f"is {share.tolist()}", "give one share of 0 or more per period"))
    if own.shape != (instance.users,) or ((own < 0) | (own >= max(periods, 1))).any():
        problem = f"does not name one of {periods} periods for each of {instance.users} users"
        faults.append(Fault(WHERE, "preferred_period", problem, f"give numbers from 0 to {periods - 1}"))
    if not 0.0 <= delay_h < np.inf:
        faults.append(Fault(WHERE, "delay_h", f"is {delay_h}", "give hours, 0 or more"))
    refuse(faults)
    late_h = delay_h * np.abs(own[:, None] - np.arange(periods))
    return replace(
        instance,
        travel_h=np.concatenate([instance.travel_h + late_h[:, [t]] for t in range(periods)], axis=1),
        power_kw=np.tile(instance.power_kw, periods),
        capacity_kwh=np.concatenate([instance.capacity_kwh * part for part in share]),
        beta_h=np.tile(instance.beta_h, periods),
        period=np.repeat(np.arange(periods), instance.stations),
    )


def _read(where: str, key: str, values: Any, axes: int, low: float, faults: list[Fault]) -> Float:
    nothing: Float = np.zeros((0,) * axes)
    try:
        read = np.array(values, dtype=np.float64)
        if any(isinstance(value, (str, bool)) for value in np.array(values, dtype=object).flat):
            raise TypeError
    except (TypeError, ValueError):
        remedy = "give numbers, with one travel time per station in every row" if axes == 2 else "give numbers only"
        faults.append(Fault(where, key, f"{_why_unreadable(values)}", remedy))
        return nothing
    if read.ndim != axes or not read.size:
        wanted = "rows of users with one number per station" if axes == 2 else "a list of numbers"
        faults.append(Fault(where, key, f"has the shape {read.shape}", f"give {wanted}"))
        return nothing
    for place in np.argwhere(~(np.isfinite(read) & (read >= low)))[:20]:
        number = read[tuple(place)]
        named = f"{key}[{', '.join(str(k + 1) for k in place)}]"
        problem = "is not a finite number" if not np.isfinite(number) else f"is {number:g}"
        faults.append(Fault(where, named, problem, f"give a number {'above 0' if low > 0.0 else 'of 0 or more'}"))
    return read


def _why_unreadable(values: Any) -> str:
    if isinstance(values, Sequence) and not isinstance(values, str):
        lengths = {len(row) for row in values if isinstance(row, Sequence) and not isinstance(row, str)}
        if len(lengths) > 1:
            return f"is ragged: rows of {' and '.join(map(str, sorted(lengths)))} numbers"
    return "holds something that is no number"


def _misfits(where: str, arrays: dict[str, Float]) -> list[Fault]:
    """Shapes that do not fit each other; arrays that could not be read are left out."""
    travel, faults = arrays["travel_h"], []
    users = len(arrays["budgets"]) or len(arrays["demands_kwh"])
    stations = travel.shape[1] or len(arrays["power_kw"])
    wanted = {"budgets": users, "demands_kwh": users, "power_kw": stations, "capacity_kwh": stations,
              "beta_h": stations}  # fmt: skip
    for key, count in wanted.items():
        if arrays[key].size and len(arrays[key]) != count:
            what = "user" if key in ("budgets", "demands_kwh") else "station"
            faults.append(Fault(where, key, f"has {len(arrays[key])} entries", f"give one per {what} ({count})"))
    if travel.size and len(travel) != users:
        faults.append(Fault(where, "travel_h", f"has {len(travel)} rows", f"give one row per user ({users})"))
    return faults
