"""What the cars would really do on prices: every car its own linear programme."""

from __future__ import annotations

import numpy as np

from cosim.contract import Float
from cosim.controllers.aggregation.fleet import Fleet
from cosim.controllers.aggregation.programme import StoreLp
from cosim.controllers.aggregation.store import Schedule, checked_price
from cosim.errors import Fault, InputError

_MET_KWH = 1e-6


def reference(fleet: Fleet, price_eur_per_kwh: Float) -> Schedule:
    """Cheapest schedule of every car by itself, arrays (step, car).

    Parameters
    ----------
    fleet : Fleet
        The cars (see ``checked_fleet``).
    price_eur_per_kwh : ndarray, shape (step,)
        Prices [EUR/kWh].

    Raises
    ------
    InputError
        Where prices are not finite or of another length, or a car cannot drive as it should.
    """
    price = checked_price(price_eur_per_kwh, fleet.steps)
    lp = StoreLp(fleet.steps, fleet.keep)
    each = [lp.solve(fleet.store(car), price) for car in range(fleet.cars)]
    short = [car for car, one in enumerate(each) if np.abs(one.missing_kwh).max() > _MET_KWH]
    if short:
        remedy = "plug it in for longer, charge faster, or drive less"
        raise InputError([Fault("fleet", f"car {car}", "cannot meet its driving", remedy) for car in short[:20]])
    return Schedule(*(np.stack([getattr(one, name) for one in each], axis=1) for name in Schedule.__dataclass_fields__))


def fleet_total(schedule: Schedule) -> Schedule:
    """Sum over cars, arrays (step,)."""
    return Schedule(*(getattr(schedule, name).sum(axis=1) for name in Schedule.__dataclass_fields__))
