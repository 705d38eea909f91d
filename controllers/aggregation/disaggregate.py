"""From one power for the fleet back to cars: can they do it, and what is missing where they cannot.

A linear programme over all cars at once, hence exact: the shortfall is zero if and only if some schedule of the cars
adds up to the wanted power.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from cosim.contract import Float
from cosim.contract.survey import FrozenArrays
from cosim.controllers.aggregation.fleet import Fleet
from cosim.controllers.aggregation.store import PAIRS
from cosim.controllers.solver import Model, solve
from cosim.errors import Fault, InputError

LATE = 1e-4  # of a missing kWh: what a wanted kWh costs more per horizon of delay, so that equals are decided


@dataclass(frozen=True, eq=False)
class Shares(FrozenArrays):
    """What every car does.

    Attributes
    ----------
    charge_kw : ndarray, shape (step, car)
        On the grid side; net of feeding back [kW].
    level_kwh : ndarray, shape (step, car)
        At the end of each step [kWh].
    short_kw, excess_kw : ndarray, shape (step,)
        Wanted power that the cars cannot take, and power that they must take beyond it [kW].
    cycled_kw : ndarray, shape (step, car)
        Power that a car takes and feeds back at once, which burns energy in its losses. The programme does not forbid
        it: where it is not zero, the wanted power was followed on paper only [kW].
    """

    charge_kw: Float
    level_kwh: Float
    short_kw: Float
    excess_kw: Float
    cycled_kw: Float

    def short_kwh(self, step_h: float = 1.0) -> float:
        """Wanted energy that the cars do not take when it is wanted: ``missed_kwh`` of this sharing [kWh]."""
        return float(self.short_kw.sum() * step_h)

    def apart_kwh(self, step_h: float = 1.0) -> float:
        """Energy by which the cars are off the wanted power, both ways [kWh]."""
        return float((self.short_kw + self.excess_kw).sum() * step_h)


def missed_kwh(promised_kw: Float, delivered_kw: Float, step_h: float) -> float:
    """Energy that was promised and not delivered when it was [kWh].

    The one definition of the missed part of a promise, whether in a plan or on the feeder: more than promised, at
    another time, does not make up for it.

    Parameters
    ----------
    promised_kw, delivered_kw : ndarray, shape (step,)
        Means over the steps of the promise [kW].
    step_h : float
        Length of a step [h].
    """
    return float(np.maximum(promised_kw - delivered_kw, 0.0).sum() * step_h)


def disaggregate(fleet: Fleet, wanted_kw: Float) -> Shares:
    """Follow a power as closely as the cars can, all their driving met.

    Parameters
    ----------
    fleet : Fleet
        Feasible cars (see ``checked_fleet``).
    wanted_kw : ndarray, shape (step,)
        Charging less feeding back of all cars [kW].

    Raises
    ------
    InputError
        Where the wanted power is not a finite number for every step.
    SolverError
        Where there is no schedule: a car cannot drive as it should.
    """
    wanted = np.asarray(wanted_kw, dtype=np.float64)
    if wanted.shape != (fleet.steps,) or not np.isfinite(wanted).all():
        raise InputError(Fault("disaggregation", "wanted_kw", "is not a finite number for every step", "give one"))
    steps, cars = fleet.steps, fleet.cars
    model = _model(fleet, wanted)
    point = np.clip(solve(model).proven("sharing a fleet's power").x, model.low, model.high)
    charge, discharge, level = point[: 3 * steps * cars].reshape(3, steps, cars)
    short, excess = point[3 * steps * cars :].reshape(2, steps)
    return Shares(charge - discharge, level, short, excess, np.minimum(charge, discharge))


def _model(fleet: Fleet, wanted: Float) -> Model:
    """Columns: charge, discharge, level by (step, car), short, excess."""
    steps, cars = fleet.steps, fleet.cars
    count = steps * cars
    each, per_step = sparse.eye_array(count, format="csc"), sparse.eye_array(steps, format="csc")
    before = sparse.csc_array((np.ones(count), (np.arange(count), (np.arange(count) - cars) % count)), (count, count))
    into, out = np.tile(fleet.into, steps), np.tile(fleet.out, steps)
    adding = sparse.csc_array(sparse.kron(per_step, np.ones((1, cars))))
    nothing = sparse.csc_array((count, steps))
    level = each - fleet.keep * before
    balance = sparse.hstack([-each * into, each * out, level, nothing, nothing])
    sums = sparse.hstack([adding, -adding, sparse.csc_array((steps, count)), per_step, -per_step])
    rows = sparse.csc_array(sparse.vstack([balance, sums], format="csc"))
    low, high = ([getattr(fleet, pair[side]).ravel() for pair in PAIRS] for side in (0, 1))
    late = LATE * np.repeat(np.arange(steps) / steps, cars) * fleet.step_h
    cost = np.concatenate([late, late, np.zeros(count), np.full(2 * steps, fleet.step_h)])
    right = np.concatenate([-fleet.driving_kwh.ravel(), wanted])
    low, high = [*low, np.zeros(2 * steps)], [*high, np.full(2 * steps, np.inf)]
    return Model(cost, rows, right, right, np.concatenate(low), np.concatenate(high))
