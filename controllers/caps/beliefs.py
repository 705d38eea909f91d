"""Which cars are there, which are still to come, and which will not: the forecast, corrected by what is observed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cosim.contract import EvSessions, Float, Observation
from cosim.contract.signals import Bool

FREED_KWH = 2.0  # a need that is smaller by less than this is as forecast
LATE_MIN = 120.0  # a car is waited for this long after its forecast arrival, then taken as absent
_WORTH_KWH = 0.01


class Beliefs:
    """Sessions as forecast, and what has become of them.

    A car that is plugged in is known: its need and its departure are announced. It stands for every forecast session
    of its home that begins before it leaves. A car that is late is expected at any moment, so that room is kept for
    it, until it has been late for `LATE_MIN` or its stay as forecast is over: then it is taken as absent.

    Parameters
    ----------
    forecast : EvSessions
        Minutes from the start of the horizon.
    homes : int
        Number of customers.
    """

    def __init__(self, forecast: EvSessions, homes: int) -> None:
        self._forecast = forecast
        self._open = np.ones(len(forecast), bool)
        self._departure_min = np.full(homes, np.nan)  # of the car that was there when last looked; nan without one
        self.came = False
        self.freed: set[int] = set()

    def learn(self, seen: Observation) -> None:
        """Take note of who has come and gone: ``came`` of any arrival, ``freed`` of homes that will need less."""
        there = seen.plugged
        announced = np.where(there, seen.departure_min, np.nan)
        known = np.isclose(announced, self._departure_min)
        for home in np.flatnonzero(there & ~known):
            self.came = True
            if self._frees_room(seen, int(home)):
                self.freed.add(int(home))
            same = (self._forecast.customer == home) & (self._forecast.arrival_min < announced[home])
            self._open[same] = False
        gone_early = ~there & (self._departure_min > seen.minute + 1e-6)
        self.freed.update(np.flatnonzero(gone_early).tolist())
        self._departure_min = announced
        absent = self._open & ~self._awaited(seen)
        self.freed.update(self._forecast.customer[absent].tolist())
        self._open[absent] = False

    def sessions(self, seen: Observation) -> EvSessions:
        """Return stays from now on, in minutes from now, ordered by customer and arrival."""
        here = np.flatnonzero(seen.plugged & (seen.energy_left_kwh > _WORTH_KWH))
        present = EvSessions(
            customer=here,
            arrival_min=np.zeros(len(here)),
            departure_min=seen.departure_min[here] - seen.minute,
            energy_need_kwh=seen.energy_left_kwh[here],
            charger_kw=seen.charger_kw[here],
            efficiency=seen.efficiency[here],
            battery_kwh=np.maximum(seen.soc_kwh + seen.energy_left_kwh, self._battery_kwh(len(seen.plugged)))[here],
            soc_arrival_kwh=seen.soc_kwh[here],
        )
        await_rows = np.flatnonzero(self._open)
        f = self._forecast
        free_min = np.where(seen.plugged, np.nan_to_num(seen.departure_min) - seen.minute, 0.0)
        arrival = np.maximum(f.arrival_min[await_rows] - seen.minute, free_min[f.customer[await_rows]])
        coming = replace(
            f,
            **{
                key: getattr(f, key)[await_rows]
                for key in ("customer", "energy_need_kwh", "charger_kw", "efficiency", "battery_kwh", "soc_arrival_kwh")
            },
            arrival_min=arrival,
            departure_min=f.departure_min[await_rows] - seen.minute,
        )
        return _joined(present, coming)

    def _awaited(self, seen: Observation) -> Bool:
        late = seen.minute - self._forecast.arrival_min
        awaited: Bool = self._open & (late < LATE_MIN) & (self._forecast.departure_min > seen.minute + seen.step_min)
        return awaited

    def _frees_room(self, seen: Observation, home: int) -> bool:
        """Whether a car that has just been seen needs less than was expected of its home by now."""
        rows = self._open & (self._forecast.customer == home) & (self._forecast.arrival_min < seen.departure_min[home])
        expected_kwh = float(self._forecast.energy_need_kwh[rows].sum())
        return expected_kwh - float(seen.energy_left_kwh[home]) > FREED_KWH

    def _battery_kwh(self, homes: int) -> Float:
        """Capacity of each home's car as forecast, 0 where none is."""
        battery = np.zeros(homes)
        np.maximum.at(battery, self._forecast.customer, self._forecast.battery_kwh)
        return battery


def _joined(one: EvSessions, other: EvSessions) -> EvSessions:
    columns = {key: np.concatenate([getattr(one, key), getattr(other, key)]) for key in EvSessions.__dataclass_fields__}
    order = np.lexsort((columns["arrival_min"], columns["customer"]))
    order = order[columns["departure_min"][order] > columns["arrival_min"][order]]
    return EvSessions(**{key: values[order] for key, values in columns.items()})
