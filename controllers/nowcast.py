"""The rest of the day as it is believed now: what meters and drivers say of the present, the forecast for the rest.

Every controller that plans asks here, so that controllers are compared under the same belief.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from math import ceil
from typing import Any

import numpy as np

from cosim.contract import EvSessions, Exogenous, Observation

LATE_MINUTES = 120.0
"""A car is waited for this long after its forecast arrival; then it is taken as absent."""

OVERSTAY_MINUTES = 15.0
"""A car that is there beyond its announced departure may leave at any moment; it is believed to stay this long."""

WORTH_KWH = 0.01
"""A smaller need is met."""

_SAME_MINUTES = 1e-6


def rest_of_day(forecast: Exogenous, observation: Observation, late_minutes: float = LATE_MINUTES) -> Exogenous:
    """Return what is believed of the rest of a day; its step 0 is the one that begins now.

    A car that is there is known: its need and its departure are announced. It stands for every forecast session of its
    customer that begins before it leaves, and so does a car that has left for those that began before. A car that is
    late is expected at any moment, its departure and need as forecast, so that room is kept for it. Demand, PV, tariff
    and voltage of the source are as forecast.

    Parameters
    ----------
    forecast : Exogenous
        The whole day, on the steps of the run.
    observation : Observation
        Of this moment; after the end of the day its last step is returned.
    late_minutes : float
        How long a late car is waited for, at most until its forecast departure; 0 drops it at once [min].

    Returns
    -------
    Exogenous
        Sessions in minutes from now, ordered by customer and arrival: cars that are there arrive at 0 and need what is
        left. Needs below ``WORTH_KWH`` and sessions that begin after the end of the day are left out.
    """
    step, now = min(observation.step, forecast.steps - 1), observation.minute
    cars, plugged = forecast.sessions, observation.plugged
    announced = observation.departure_min - now
    stay = np.where(announced > 0.0, announced, OVERSTAY_MINUTES)
    here = np.flatnonzero(plugged & (observation.energy_left_kwh > WORTH_KWH))
    battery_kwh = observation.soc_kwh + observation.energy_left_kwh  # nobody announces a capacity
    np.maximum.at(battery_kwh, cars.customer, cars.battery_kwh)
    present = EvSessions(
        customer=here,
        arrival_min=np.zeros(len(here)),
        departure_min=stay[here],
        energy_need_kwh=observation.energy_left_kwh[here],
        charger_kw=observation.charger_kw[here],
        efficiency=observation.efficiency[here],
        battery_kwh=battery_kwh[here],
        soc_arrival_kwh=observation.soc_kwh[here],
    )
    known_until = np.fmax(np.where(plugged, now + stay, -np.inf), observation.last_left_minutes)
    late = now - cars.arrival_min
    # who would leave within the step that begins cannot be planned for any more
    awaited = (late < late_minutes) & (cars.departure_min > now + observation.step_min)
    awaited |= late <= _SAME_MINUTES
    awaited &= cars.arrival_min >= known_until[cars.customer] - _SAME_MINUTES
    awaited &= (cars.energy_need_kwh > WORTH_KWH) & (cars.arrival_min < forecast.steps * forecast.step_min)
    coming = cars[awaited]
    coming = replace(
        coming,
        arrival_min=np.maximum(coming.arrival_min - now, 0.0),
        departure_min=coming.departure_min - now,
    )
    cut: dict[str, Any] = {name: values[step:] for name, values in forecast.per_step().items()}
    start = forecast.start + timedelta(minutes=step * forecast.step_min)
    return replace(forecast, start=start, sessions=_joined(present, coming), **cut)


def longer_steps(day: Exogenous, step_min: float) -> list[slice]:
    """Return the steps of a day that lie in each step of a coarser plan.

    Parameters
    ----------
    day : Exogenous
        Its own steps.
    step_min : float
        Step of the plan [min]; the last one ends with the day, and steps that lie in two belong to both.
    """
    count = max(1, ceil(day.steps * day.step_min / step_min - 1e-9))
    firsts = [int(k * step_min / day.step_min + 1e-9) for k in range(count)]
    lasts = [min(ceil((k + 1) * step_min / day.step_min - 1e-9), day.steps) for k in range(count)]
    return [slice(first, last) for first, last in zip(firsts, lasts, strict=True)]


def _joined(one: EvSessions, other: EvSessions) -> EvSessions:
    columns = {key: np.concatenate([getattr(one, key), getattr(other, key)]) for key in EvSessions.__dataclass_fields__}
    return EvSessions(**columns)[np.lexsort((columns["arrival_min"], columns["customer"]))]
