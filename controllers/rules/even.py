"""Each charger alone: slow and cheap, without knowing of any grid."""

from __future__ import annotations

import numpy as np

from cosim.contract import Exogenous, Feeder, Forecast, Observation, Setpoints
from cosim.errors import Fault, InputError

_SAME_PRICE = 1e-9
_WORTH_KWH = 1e-6


class Even:
    """Spread what each car still needs evenly over the cheap hours left before it leaves.

    A charger knows its own car's need and announced departure, and the tariff; nothing of the grid or of other cars.
    What does not fit into the cheapest hours at full power is spread over those of the next price, and so on; in hours
    that are not needed it pauses, whatever the household would do. It never runs below 6 A, but rather ends earlier.
    It is asked anew at every step, so what was not drawn is made up for; a car that comes within a step starts at 6 A.
    Heat pumps and batteries run at most at the even pace that they report: what keeps a home warm now, what fills a
    battery over a sunny day.

    Parameters
    ----------
    feeder : Feeder
        For the 6 A of every charger.
    """

    every_step = True
    sees = "homes"

    def __init__(self, feeder: Feeder) -> None:
        self._least_kw = feeder.charger_min_kw
        self._unlimited = np.full(len(self._least_kw), np.inf)
        self._day: Exogenous | None = None

    def plan(self, forecast: Forecast) -> None:
        """Take note of the tariff."""
        self._day = forecast.expected

    def decide(self, observation: Observation) -> Setpoints:
        """Pace every car that is there."""
        if self._day is None:
            raise InputError(Fault("controller 'even'", "plan", "was not called", "call plan(forecast) first"))
        tariff = self._day.import_eur_per_kwh[min(observation.step, self._day.steps - 1) :]
        starts_min = np.arange(len(tariff))[:, None] * observation.step_min
        stay_min = np.nan_to_num(observation.departure_min - observation.minute)
        there_h = (stay_min - starts_min).clip(0.0, observation.step_min) / 60.0  # (step, customer)
        cheaper_h = np.where(tariff < tariff[0] - _SAME_PRICE, there_h, 0.0).sum(axis=0)
        same_h = np.where(np.abs(tariff - tariff[0]) <= _SAME_PRICE, there_h, 0.0).sum(axis=0)
        charger_kw = observation.charger_kw
        due_kwh = observation.energy_left_kwh / observation.efficiency - charger_kw * cheaper_h
        # who should have left by now has no hours to spread over, and gets full power
        pace_kw = np.clip(due_kwh / np.maximum(same_h, 1e-9), observation.charger_min_kw, charger_kw)
        limit_kw = np.where(due_kwh > _WORTH_KWH, pace_kw, 0.0)
        limit_kw = np.where(observation.plugged, limit_kw, self._least_kw)
        paced = {f"{kind}_limit_kw": kw for kind, kw in observation.of_devices("pace_kw").items()}
        return Setpoints(self._unlimited, limit_kw, self._unlimited, channels=paced)
