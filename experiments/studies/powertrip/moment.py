"""One operating point, outside any loop: chosen charge points and roofs, objectives, weights, a front and a choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cosim.contract import Float, Int
from cosim.controllers.pareto.certificate import Decided
from cosim.controllers.pareto.choice import default_weights
from cosim.controllers.pareto.decide import Manner, Method, decide, method_for
from cosim.controllers.pareto.faults import WHERE, objective_faults, option_faults
from cosim.controllers.pareto.scene import Scene
from cosim.controllers.pareto.surroundings import Surroundings
from cosim.errors import Fault, refuse


@dataclass(frozen=True, eq=False)
class Units:
    """Charge points and roofs that can be set, one row each.

    Attributes
    ----------
    customer : ndarray of int, shape (unit,)
        Column of the customer at whose bus and phase the unit is; a customer may have one of each kind.
    roof : ndarray of bool, shape (unit,)
        True for generation, False for charging.
    low_kw, high_kw : ndarray, shape (unit,)
        Bounds; of a roof the upper one is what the sun gives.
    """

    customer: Int
    roof: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
    low_kw: Float
    high_kw: Float


class MomentSpace:
    """Powers between bounds, all of them attainable; a ``Space`` of one period."""

    def __init__(self, units: Units, customers: int) -> None:
        self._units, self._customers = units, customers
        self.n_var = len(units.customer)
        self.roof, self.period, self.customer = units.roof, np.zeros(self.n_var, dtype=np.int64), units.customer
        self.least_kw = np.zeros(self.n_var)
        self.low_kw, self.high_kw, self.even_kw = units.low_kw, units.high_kw, units.high_kw
        self.rows, self.row_low, self.row_high = np.empty((0, self.n_var)), np.empty(0), np.empty(0)

    def decode(self, x: Float) -> Float:
        """Powers, shape (candidate, unit) [kW]."""
        return np.asarray(self.low_kw + x * (self.high_kw - self.low_kw))

    def encode(self, kw: Float) -> Float:
        """Variables of powers, shape (candidate, unit)."""
        width_kw = self.high_kw - self.low_kw
        share = np.divide(kw - self.low_kw, width_kw, out=np.ones_like(kw), where=width_kw > 0.0)
        return np.asarray(share.clip(0.0, 1.0))

    def powers(self, kw: Float) -> tuple[Float, Float]:
        """Charging and generation, each of shape (candidate, 1, customer) [kW]."""
        ev_kw, pv_kw = np.zeros((len(kw), 1, self._customers)), np.zeros((len(kw), 1, self._customers))
        for power_kw, mine in ((ev_kw, ~self.roof), (pv_kw, self.roof)):
            # several units of one customer add up; plain indexing would keep the last
            np.add.at(power_kw[:, 0].T, self._units.customer[mine], kw[:, mine].T)
        return ev_kw, pv_kw


def moment_scene(
    units: Units,
    net_kw: Float,
    net_kvar: Float,
    *,
    hours: float = 1.0,
    tariff_eur_per_kwh: float = 0.0,
) -> Scene:
    """The scene of one operating point; parameters as of `decide_moment`."""
    wanted_kw, sun_kw = MomentSpace(units, len(net_kw)).powers(units.high_kw[None, :])
    nothing = np.zeros(len(net_kw))
    return Scene(
        hours=np.array([hours]),
        period=np.zeros(1, dtype=np.int64),
        net_kw=net_kw[None, :],
        net_kvar=net_kvar[None, :],
        sun_kw=sun_kw[0],
        wanted_kw=wanted_kw[0],
        tariff_eur_per_kwh=np.array([tariff_eur_per_kwh]),
        source_pu=np.array([np.nan]),
        before_kw=float("nan"),
        charging=nothing > 0.0,
        offered_kwh=nothing,
        curtailed_kwh=nothing,
    )


def decide_moment(
    surroundings: Surroundings,
    units: Units,
    net_kw: Float,
    net_kvar: Float,
    *,
    rng: np.random.Generator,
    weights: Sequence[float] | None = None,
    rule: str = "asf",
    method: Method = "auto",
    then_peak: bool = False,
    population: int = 100,
    generations: int = 200,
    certificate: bool = False,
    certificate_seeds: bool = True,
    hours: float = 1.0,
    tariff_eur_per_kwh: float = 0.0,
) -> Decided:
    """Search the front of one operating point and choose from it.

    Parameters
    ----------
    surroundings : Surroundings
        From ``Surroundings.of(feeder, predictor, objectives, lines=..., voltage_limits_pu=...)``; serves any
        number of moments.
    units : Units
        What can be set.
    net_kw, net_kvar : ndarray, shape (customer,)
        Everything else.
    rng : numpy.random.Generator
        Every draw.
    weights : sequence of float, optional
        Importance of the objectives; they sum to 1.
    rule, method, population, generations, certificate, certificate_seeds
        As of the controller.
    hours : float
        Length of the period, for energies and cost [h].
    tariff_eur_per_kwh : float
        Price of import, for cost.

    Raises
    ------
    InputError
        With everything that is wrong with units and options, and where an objective needs roofs or cars and there are
        none.
    """
    names = surroundings.objectives
    given = default_weights(names) if weights is None else tuple(weights)
    faults = option_faults(
        {
            "objectives": names, "weights": given, "population": population,
            "generations": generations, "rule": rule, "method": method,
        }
    )  # fmt: skip
    there = {"roofs": bool(units.roof.any()), "cars": bool((~units.roof).any())}
    faults += [*_unit_faults(units, len(net_kw)), *objective_faults(names, there)]
    refuse(faults)

    space = MomentSpace(units, len(net_kw))
    scene = moment_scene(units, net_kw, net_kvar, hours=hours, tariff_eur_per_kwh=tariff_eur_per_kwh)
    manner = Manner(
        method_for(method, names),
        tuple(given),
        rule,
        population,
        generations,
        then_peak,
        certificate_seeds,
        certificate,
    )
    return decide(surroundings, scene, space, manner, rng)


def _unit_faults(units: Units, customers: int) -> list[Fault]:
    found = []
    if not len(units.customer):
        found.append(Fault(WHERE, "units", "there are none", "give at least one charge point or roof"))
    for row, customer in enumerate(units.customer.tolist()):
        if not 0 <= customer < customers:
            found.append(Fault(WHERE, f"units.{row}", f"there is no customer {customer}", f"use 0 to {customers - 1}"))
        low_kw, high_kw = float(units.low_kw[row]), float(units.high_kw[row])
        if not 0.0 <= low_kw <= high_kw < np.inf:
            found.append(Fault(WHERE, f"units.{row}", f"bounds {low_kw}..{high_kw} kW", "give 0 <= low <= high"))
    return found
