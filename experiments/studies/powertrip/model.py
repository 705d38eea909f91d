"""The study's controls: for every active step a front of setpoints, and from it one point per pair of weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cosim.contract import Float
from cosim.controllers.pareto.choice import RULES
from cosim.controllers.pareto.moment import Moment, Units, decide_moment
from cosim.controllers.pareto.objectives import CONVEX_PAIR
from cosim.controllers.pareto.surroundings import Surroundings
from cosim.experiments.studies.powertrip.data import STEP_MIN, Place
from cosim.experiments.studies.powertrip.descent import Local, best_achievement, polished
from cosim.experiments.studies.powertrip.measures import Schedule
from cosim.reduced import ReducedNetwork

Weights = tuple[float, float]


@dataclass(frozen=True)
class Control:
    """What a control may do, and what it is after.

    Attributes
    ----------
    least, most : float
        Charging power, of what the vehicle asks for.
    objective : str
        First objective of the search: ``pui`` (the seed's, squared) or ``unbalance_current``; the second is the squared
        curtailment.
    voltage_pu : tuple of float or None
        Limits at all customers, charge points and roofs, of nominal voltage.
    """

    least: float
    most: float
    objective: str = "pui"
    voltage_pu: tuple[float, float] | None = None


CONTROLS = {
    "seed_control": Control(0.9, 1.1),
    "rated_control": Control(0.95, 1.0),
    "voltage_control": Control(0.95, 1.0, voltage_pu=(0.94, 1.10)),
    "unbalance_current": Control(0.95, 1.0, objective="unbalance_current"),
}
"""The study's controls; the last is the second one's with a better objective."""


@dataclass(frozen=True, eq=False)
class Controlled:
    """What a control decided.

    Attributes
    ----------
    schedules : dict of weights to Schedule
        The whole day; nothing is controlled outside the active steps.
    infeasible_steps : int
        Active steps in which no setpoint that keeps the voltage limits was found; those that violate them least are
        then taken.
    evaluations : int
        Candidates that the search solved by power flow, without those of the descents.
    hypervolume_ratio : ndarray, shape (step,) or (0,)
        The front's hypervolume over that of the exact front, where there is one: the convex pair.
    regret_a, regret_kwh : ndarray, shape (step,) or (0,)
        What the choice with the last weights gives away against that front.
    """

    schedules: dict[Weights, Schedule]
    infeasible_steps: int
    evaluations: int
    hypervolume_ratio: Float
    regret_a: Float
    regret_kwh: Float

    @property
    def certificate(self) -> dict[str, float]:
        """Metrics of the certificate; none where there is none."""
        if not len(self.hypervolume_ratio):
            return {}
        return {
            "hypervolume_ratio_mean": float(self.hypervolume_ratio.mean()),
            "hypervolume_ratio_min": float(self.hypervolume_ratio.min()),
            "regret_mean_a": float(self.regret_a.mean()),
            "regret_kwh": float(self.regret_kwh.sum()),
        }


def control(
    place: Place, rules: Control, weights: Sequence[Weights], *, population: int, generations: int, seed: int,
    progress: Callable[[], object] = lambda: None,
) -> Controlled:  # fmt: skip
    """Decide every active step by itself, as the seed does.

    Parameters
    ----------
    place : Place
        Feeder and day.
    rules : Control
        Bounds, first objective, limits.
    weights : sequence of (float, float)
        Of the first and the second objective, for the achievement scalarising function.
    population, generations : int
        Of NSGA-II.
    seed : int
        Every draw; each step has its own stream.
    progress : callable
        Called after each step.
    """
    lines = [line.name for line in place.lines]
    network = ReducedNetwork(place.feeder, watched=lines)
    around = Surroundings.of(
        place.feeder, network, (rules.objective, CONVEX_PAIR[1]), lines=lines,
        voltage_limits_pu=rules.voltage_pu, loading_limit_percent=None,
    )  # fmt: skip
    chosen = {pair: Schedule(place.ev_kw.copy(), place.sun_kw.copy()) for pair in weights}
    certificate = "qp" if rules.objective == CONVEX_PAIR[0] else "off"
    moments: list[Moment] = []
    infeasible = 0
    for step in place.active.tolist():
        on = np.flatnonzero(place.ev_kw[step])
        moment = decide_moment(
            around, _units(place, rules, step, on), place.demand_kw[step], place.demand_kvar[step],
            rng=np.random.default_rng([seed, step]), weights=weights[-1], population=population,
            generations=generations, hours=STEP_MIN / 60.0, certificate=certificate,
        )  # fmt: skip
        moments.append(moment)
        local = _local(place, network, rules, step, on)
        found, kept = _choices(moment, local, rules, weights)
        infeasible += not kept
        for schedule, kw in zip(chosen.values(), found, strict=True):
            schedule.ev_kw[step, on], schedule.pv_kw[step] = kw[: len(on)], kw[len(on) :]
        progress()
    certified = [(m.front.hypervolume, m.certificate) for m in moments if m.certificate is not None]
    return Controlled(
        schedules=chosen,
        infeasible_steps=infeasible,
        evaluations=sum(moment.front.evaluations for moment in moments),
        hypervolume_ratio=np.array([reached / exact.hypervolume for reached, exact in certified]),
        regret_a=np.array([exact.regret_a for _, exact in certified]),
        regret_kwh=np.array([exact.regret_kwh for _, exact in certified]),
    )


def _choices(moment: Moment, local: Local, rules: Control, weights: Sequence[Weights]) -> tuple[list[Float], bool]:
    """Powers per pair of weights, and whether they keep the limits."""
    pairs = [np.array(pair) for pair in weights]
    if rules.objective != "pui":
        return [moment.kw[RULES["asf"](moment.front.values, pair)] for pair in pairs], moment.front.feasible
    kw = polished(local, moment.kw)
    if not len(kw):
        return [moment.kw[RULES["asf"](moment.front.values, pair)] for pair in pairs], False
    return [best_achievement(local, kw, pair) for pair in pairs], True


def _units(place: Place, rules: Control, step: int, on: np.ndarray) -> Units:
    asked, sun_kw = place.ev_kw[step, on], place.sun_kw[step]
    return Units(
        customer=np.concatenate([place.chargers[on], place.roofs]),
        roof=np.arange(len(on) + len(sun_kw)) >= len(on),
        low_kw=np.concatenate([rules.least * asked, np.zeros_like(sun_kw)]),
        high_kw=np.concatenate([rules.most * asked, sun_kw]),
    )


def _local(place: Place, network: ReducedNetwork, rules: Control, step: int, on: np.ndarray) -> Local:
    def flow(kw: Float) -> tuple[Float, Float]:
        ev_kw = np.zeros((len(kw), place.ev_kw.shape[1]))
        ev_kw[:, on] = kw[:, : len(on)]
        net_kw = place.net_kw(step, ev_kw, kw[:, len(on) :])
        found = network.predict(net_kw, np.repeat(place.demand_kvar[[step]], len(kw), axis=0))
        return np.abs(found.current_a), np.abs(found.voltage_v) / place.feeder.nominal_voltage_v

    units = _units(place, rules, step, on)
    return Local(flow, units.low_kw, units.high_kw, units.roof, rules.voltage_pu)
