"""The linear programme of a battery on prices, in HiGHS, solved again and again from the last basis.

Columns are kilowatt-hours on the battery's side: charged c, taken out d, level s, missing m, surplus r; for each step t

    s[t] = keep s[t-1] + c[t] - d[t] - driving[t] + m[t] - r[t],   s[-1] = s[steps-1]

with the cost price/eta_c on c and -price*eta_d on d (-price/eta_c where the price is negative: then charging and
feeding back at once gains nothing, and no binary is needed to forbid it). So the matrix is the same for every battery
of one horizon. Ties are broken: earliest first, and the lowest level that will do.
Missing and surplus energy cost more than any energy can be worth (``penalty_eur_per_kwh``): they are zero wherever the
bounds can be kept at all, they make every problem with uncrossed bounds solvable, and they bound the dual of the
balance, which is what makes the bounds of ``exact`` proven. Formulation: P. Härtel and M. von Bonin,
arXiv:2506.04843 (2025), as far as its nomenclature is public.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from cosim.contract import Float
from cosim.controllers.aggregation.fleet import Fleet
from cosim.controllers.aggregation.store import Schedule, Store, checked_price
from cosim.controllers.solver import Basis, Model, Solver
from cosim.errors import Fault, InputError

TIE_EUR_PER_KWH = 2e-6
"""Added to the price per step of delay, so that equal prices leave one answer: the earliest. It is far above what a
mixed-integer solver tolerates (``exact``), and over a week below half a EUR/MWh."""
LEVEL_TIE_EUR_PER_KWH = TIE_EUR_PER_KWH / 4.0
"""Cost of holding a kWh for a step, below the cost of delay: without it, a battery that loses nothing could be
scheduled at any offset of its level."""
PENALTY_FACTOR = 1.5
SCALE = 1000.0
"""Costs and multipliers are in EUR/MWh inside solvers, so that their tolerances are far below the tie-break."""
_TOLERANCE = 1e-9
_ROUNDING_KWH = 1e-5  # bounds crossed by less, as a mixed-integer solver's tolerance may leave them, are equal
_MET_KWH = 1e-6
CHARGE, DISCHARGE, LEVEL, MISSING, SURPLUS = range(5)


def penalty_eur_per_kwh(store: Store, price_eur_per_kwh: Float) -> float:
    """Cost of a kWh missing or in surplus: above all that a kWh in the battery can be worth within the horizon.

    Energy in the battery is worth at most the dearest price, divided by what charging and storing leave of it.
    """
    dearest = float(np.abs(price_eur_per_kwh).max()) + 2.0 * TIE_EUR_PER_KWH * (1 + store.steps) + 0.01
    return PENALTY_FACTOR * dearest / (store.charge_efficiency * store.keep**store.steps)


def costs(store: Store, price_eur_per_kwh: Float) -> Float:
    """Cost of every column per kWh on the battery's side, shape (5 * step,) [EUR/kWh]."""
    late = TIE_EUR_PER_KWH * (1.0 + np.arange(store.steps))
    penalty = np.full(store.steps, penalty_eur_per_kwh(store, price_eur_per_kwh))
    charge = (price_eur_per_kwh + late) / store.charge_efficiency
    # feeding back at a negative price costs what charging there earns: else both at once, burning energy, would pay
    worth = np.where(
        price_eur_per_kwh < 0.0,
        price_eur_per_kwh / store.charge_efficiency,
        price_eur_per_kwh * store.discharge_efficiency,
    )
    discharge = late * store.discharge_efficiency - worth
    return np.concatenate([charge, discharge, np.full(store.steps, LEVEL_TIE_EUR_PER_KWH), penalty, penalty])


def limits(store: Store) -> tuple[Float, Float]:
    """Bounds of every column [kWh], shape (5 * step,) each."""
    nothing, free = np.zeros(store.steps), np.full(store.steps, np.inf)
    low = [store.into * store.charge_low_kw, store.out * store.discharge_low_kw, store.level_low_kwh]
    high = [store.into * store.charge_high_kw, store.out * store.discharge_high_kw, store.level_high_kwh]
    return np.concatenate([*low, nothing, nothing]), np.concatenate([*high, free, free])


class StoreLp:
    """Schedules batteries of one horizon, one after the other.

    Parameters
    ----------
    steps : int
        Length of the horizon.
    keep : float
        Share of the content that a step leaves.
    """

    def __init__(self, steps: int, keep: float) -> None:
        self.steps, self.keep = steps, keep
        one = sparse.eye_array(steps, format="csc")
        before = sparse.csc_array((np.ones(steps), (np.arange(steps), np.arange(-1, steps - 1) % steps)))
        self.matrix = sparse.csc_array(sparse.hstack([-one, one, one - keep * before, -one, one], format="csc"))
        zero = np.zeros(5 * steps)  # numbers come with a store
        self._solver = Solver(
            Model(zero, self.matrix, 0.0, 0.0, 0.0, 0.0), solver="simplex", presolve="off",
            primal_feasibility_tolerance=_TOLERANCE, dual_feasibility_tolerance=_TOLERANCE,
        )  # fmt: skip

    def solve(self, store: Store, price_eur_per_kwh: Float) -> Schedule:
        """Schedule a battery at least cost.

        Parameters
        ----------
        store : Store
            Of this horizon; low bounds at most at the high ones.
        price_eur_per_kwh : ndarray, shape (step,)
            Finite [EUR/kWh].

        Raises
        ------
        SolverError
            Where HiGHS does not end at an optimum; ValueError where the store is of another horizon.
        """
        if store.steps != self.steps or abs(store.keep - self.keep) > 1e-15:
            raise ValueError("a store of another horizon or self-discharge")
        low, high = limits(store)
        high = np.where(high >= low - _ROUNDING_KWH, np.maximum(high, low), high)
        self._solver.set_cost(SCALE * costs(store, price_eur_per_kwh))
        self._solver.set_columns(np.arange(len(low)), low, high)
        self._solver.set_rows(np.arange(self.steps), -store.driving_kwh, -store.driving_kwh)
        found = self._solver.solve().proven("the schedule of a battery")
        part = np.clip(found.x, low, high).reshape(5, self.steps)
        return Schedule(
            part[CHARGE] / store.into,
            part[DISCHARGE] * store.discharge_efficiency / store.step_h,
            part[LEVEL],
            part[MISSING] - part[SURPLUS],
        )

    def basis(self) -> Basis:
        """Read the basis of the last solve."""
        return self._solver.basis()


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
