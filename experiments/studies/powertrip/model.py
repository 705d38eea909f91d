"""The study's controls: for every active step a front of setpoints, and from it one point per pair of weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cosim.contract import Float, Int
from cosim.controllers.pareto.certificate import Decided
from cosim.controllers.pareto.choice import RULES
from cosim.controllers.pareto.surroundings import Surroundings
from cosim.experiments.studies.powertrip.config import TripConfig, Weights
from cosim.experiments.studies.powertrip.data import STEP_MIN, Place
from cosim.experiments.studies.powertrip.descent import Local, best_achievement, polished
from cosim.experiments.studies.powertrip.measures import Schedule
from cosim.experiments.studies.powertrip.moment import Units, decide_moment
from cosim.reduced import ReducedNetwork


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
        Limits at all customers, charge points and PV units, of nominal voltage.
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
    certificate : dict
        Metrics of fronts against the exact ones, where there are such: of the convex pair. The front's hypervolume over
        that of the exact one, and what the choice with the last weights gives away.
    steps : dict of int to (Decided, list of ndarray)
        Front and choice, by active step.
    """

    schedules: dict[Weights, Schedule]
    infeasible_steps: int
    evaluations: int
    certificate: dict[str, float]
    steps: dict[int, tuple[Decided, list[Float]]]


def control(
    place: Place, rules: Control, weights: Sequence[Weights], config: TripConfig,
    progress: Callable[[str], object] = lambda _: None, unlimited: Controlled | None = None,
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
    config : TripConfig
        Effort of the search, and its seed; each step has its own stream.
    progress : callable, optional
        Told of every step.
    unlimited : Controlled, optional
        What the same rules without voltage limits decided: where its whole front keeps them, they change nothing.
    """
    lines = [line.name for line in place.lines]
    network = ReducedNetwork(place.feeder, watched=lines)
    around = Surroundings.of(
        place.feeder, network, (rules.objective, "squared_curtailment"), lines=lines,
        voltage_limits_pu=rules.voltage_pu or (0.0, np.inf),
    )  # fmt: skip
    chosen = {pair: Schedule(place.ev_kw.copy(), place.pv_available_kw.copy()) for pair in weights}
    steps: dict[int, tuple[Decided, list[Float]]] = {}
    infeasible = 0
    for number, step in enumerate(place.active.tolist(), 1):
        progress(f"step {number} of {len(place.active)}")
        on = np.flatnonzero(place.ev_kw[step])
        units = _units(place, rules, step, on)
        local = _local(place, network, rules, units, step, on)
        known = unlimited.steps[step] if unlimited else None
        if known and all(local.keeps(kw) for kw in (*known[0].front.kw, *known[1])):
            (moment, found), kept = known, True
        else:
            moment = decide_moment(
                around, units, place.demand_kw[step], place.demand_kvar[step],
                rng=np.random.default_rng([config.seed, step]), weights=weights[-1], population=config.population,
                generations=config.generations, hours=STEP_MIN / 60.0,
                certificate=rules.objective != "pui",
            )  # fmt: skip
            found, kept = _choices(moment, local, rules, weights)
        steps[step] = moment, found
        infeasible += not kept
        for schedule, kw in zip(chosen.values(), found, strict=True):
            schedule.ev_kw[step, on], schedule.pv_kw[step] = kw[: len(on)], kw[len(on) :]
    moments = [moment for moment, _ in steps.values()]
    evaluations = sum(moment.front.evaluations for moment in moments)
    return Controlled(chosen, infeasible, evaluations, _certificate(moments), steps)


def _certificate(moments: Sequence[Decided]) -> dict[str, float]:
    certified = [(m.front.hypervolume, m.verdict) for m in moments if m.verdict is not None]
    if not certified:
        return {}
    ratio = [reached / exact.hypervolume for reached, exact in certified]
    return {
        "hypervolume_ratio_mean": float(np.mean(ratio)),
        "hypervolume_ratio_min": float(min(ratio)),
        "regret_mean_a": float(np.mean([exact.regret_a for _, exact in certified])),
    }


def _choices(moment: Decided, local: Local, rules: Control, weights: Sequence[Weights]) -> tuple[list[Float], bool]:
    """Powers per pair of weights, and whether they keep the limits."""
    pairs = [np.array(pair) for pair in weights]
    refined = polished(local, moment.front.kw) if rules.objective == "pui" else moment.front.kw[:0]
    if len(refined):
        return [best_achievement(local, refined, pair) for pair in pairs], True
    # the convex objective needs no descent; of the index, none was found that keeps the limits
    kept = moment.front.feasible and rules.objective != "pui"
    return [moment.front.kw[RULES["asf"](moment.front.values, pair)] for pair in pairs], kept


def _units(place: Place, rules: Control, step: int, on: Int) -> Units:
    asked, pv_available_kw = place.ev_kw[step, on], place.pv_available_kw[step]
    return Units(
        customer=np.concatenate([place.chargers[on], place.pv_columns]),
        roof=np.arange(len(on) + len(pv_available_kw)) >= len(on),
        low_kw=np.concatenate([rules.least * asked, np.zeros_like(pv_available_kw)]),
        high_kw=np.concatenate([rules.most * asked, pv_available_kw]),
    )


def _local(place: Place, network: ReducedNetwork, rules: Control, units: Units, step: int, on: Int) -> Local:
    def flow(kw: Float) -> tuple[Float, Float]:
        ev_kw = np.zeros((len(kw), place.ev_kw.shape[1]))
        ev_kw[:, on] = kw[:, : len(on)]
        net_kw = place.net_kw(step, ev_kw, kw[:, len(on) :])
        found = network.predict(net_kw, np.repeat(place.demand_kvar[[step]], len(kw), axis=0))
        return np.abs(found.current_a), np.abs(found.voltage_v) / place.feeder.nominal_voltage_v

    return Local(flow, units.low_kw, units.high_kw, units.roof, rules.voltage_pu)
