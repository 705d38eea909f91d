"""The study's controls: for every active step a front of setpoints, and from it one point per pair of weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from controllers.pareto.choice import by_asf
from controllers.pareto.snapshot import front_of
from cosim.contract import Float
from cosim.measures import pui_percent, unbalance_current_a2
from cosim.reduced import ReducedNetwork
from experiments.reproduce.trip_measures import Schedule
from experiments.reproduce.trip_place import Place

Weights = tuple[float, float]
SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)  # of the sun, in the setpoints that the search begins with


@dataclass(frozen=True)
class Control:
    """What a control may do, and what it is after.

    Attributes
    ----------
    least, most : float
        Charging power, of what the vehicle asks for.
    objective : str
        First objective: ``pui_squared`` (the seed's) or ``unbalance_current``; the second is the squared curtailment.
    voltage_pu : tuple of float or None
        Limits at all customers, charge points and roofs, of nominal voltage.
    """

    least: float
    most: float
    objective: str = "pui_squared"
    voltage_pu: tuple[float, float] | None = None


CONTROLS = {
    "seed_control": Control(0.9, 1.1),
    "rated_control": Control(0.95, 1.0),
    "voltage_control": Control(0.95, 1.0, voltage_pu=(0.94, 1.10)),
    "unbalance_current": Control(0.95, 1.0, objective="unbalance_current"),
}
"""The study's controls; the last is the third one's with a better objective."""


@dataclass(frozen=True, eq=False)
class Controlled:
    """What a control decided.

    Attributes
    ----------
    schedules : dict of weights to Schedule
        The whole day; nothing is controlled outside the active steps.
    infeasible_steps : int
        Active steps in which no setpoint keeps the voltage limits; those that violate them least are then taken.
    evaluations : int
        Candidates solved by power flow.
    """

    schedules: dict[Weights, Schedule]
    infeasible_steps: int
    evaluations: int


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
    network = ReducedNetwork(place.feeder, watched=[line.name for line in place.lines])
    chosen = {pair: Schedule(place.ev_kw.copy(), place.sun_kw.copy()) for pair in weights}
    infeasible = evaluations = 0
    for step in place.active:
        on = np.flatnonzero(place.ev_kw[step])
        asked, sun = place.ev_kw[step, on], place.sun_kw[step]
        lower = np.concatenate([rules.least * asked, np.zeros_like(sun)])
        upper = np.concatenate([rules.most * asked, sun])
        full = np.clip(asked, rules.least * asked, rules.most * asked)
        start = np.array(
            [np.concatenate([charged, share * sun]) for share in SHARES for charged in (full, lower[: len(on)])]
        )
        found = front_of(
            _Moment(place, network, rules, int(step), on), lower, upper,
            start=start, population=population, generations=generations, seed=seed + int(step),
        )  # fmt: skip
        infeasible += not found.feasible
        evaluations += found.evaluations
        for pair, schedule in chosen.items():
            x = found.x[by_asf(found.values, np.array(pair))]
            schedule.ev_kw[step, on], schedule.pv_kw[step] = x[: len(on)], x[len(on) :]
        progress()
    return Controlled(chosen, infeasible, evaluations)


class _Moment:
    """Objectives and voltage limits of one step, for a batch of candidates."""

    def __init__(self, place: Place, network: ReducedNetwork, rules: Control, step: int, on: np.ndarray) -> None:
        self.place, self.network, self.rules, self.step, self.on = place, network, rules, step, on

    def __call__(self, x: Float) -> tuple[Float, Float]:
        place, step, count = self.place, self.step, len(self.on)
        ev_kw = np.zeros((len(x), place.ev_kw.shape[1]))
        ev_kw[:, self.on] = x[:, :count]
        pv_kw = x[:, count:]
        net_kw = place.net_kw(step, ev_kw, pv_kw)
        found = self.network.predict(net_kw, np.repeat(place.demand_kvar[[step]], len(x), axis=0))
        if self.rules.objective == "pui_squared":
            first = (pui_percent(np.abs(found.current_a), 1.0, least_share=0.0) ** 2).sum(axis=1)
        else:
            first = unbalance_current_a2(found.current_a).sum(axis=1)
        values = np.column_stack([first, ((place.sun_kw[step] - pv_kw) ** 2).sum(axis=1)])
        if self.rules.voltage_pu is None:
            return values, np.zeros((len(x), 0))
        low, high = self.rules.voltage_pu
        voltage = np.abs(found.voltage_v) / place.feeder.nominal_voltage_v
        return values, np.column_stack([low - voltage.min(axis=1), voltage.max(axis=1) - high])
