"""Planning a day, or what is left of it: caps from the first step of a horizon to its last."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import cached_property

import numpy as np

from cosim.contract import Exogenous, Feeder, Float, Predictor
from cosim.controllers.caps.network import Elements
from cosim.controllers.caps.study import HorizonPlan, Manner, Study

BY_WITHHELD = ("floor_then_least", "least_restriction")  # objectives that tell a kept plan from a better one
AGAIN_NODES = 100  # the wall clock must not be what ends a look
AGAIN_GAP = 0.05  # a plan that is soon made anew need not be proven as closely as that of the day ahead


class Planner:
    """Plans horizons of one feeder.

    Parameters
    ----------
    feeder : Feeder
        The place.
    predictor : Predictor or None
        The power flow.
    manner : Manner
        How.
    seed : int
        Of every search.
    """

    def __init__(self, feeder: Feeder, predictor: Predictor | None, manner: Manner, seed: int) -> None:
        self.feeder, self.predictor, self.manner, self.seed = feeder, predictor, manner, seed

    @cached_property
    def elements(self) -> Elements | None:
        """Everything that has a limit; None where only the transformer's limits are planned with."""
        if self.predictor is None or not self.manner.whole_network:
            return None
        return Elements(self.feeder, self.predictor, self.manner.voltage_min_pu)

    def plan(self, day: Exogenous, steps: int) -> HorizonPlan:
        """Choose caps for a horizon.

        Parameters
        ----------
        day : Exogenous
            What is expected, step by step.
        steps : int
            Steps of a slot.
        """
        study = Study(self.feeder, self.predictor, self.elements, self.manner, self.seed, day, steps)
        if self.elements is None or self.manner.holds_whatever:
            return study.solved(())
        return study.within_the_network(self.elements, [], None)

    def again(
        self, day: Exogenous, steps: int, before: HorizonPlan, caps_kw: Float, freed: Collection[int]
    ) -> HorizonPlan:
        """Choose caps for what is left of a horizon.

        The caps published before stand on phases where they keep every limit and serve every need that can be served.
        Where less is needed than was expected, other caps take their place if less is withheld then. Either way they
        are what the solver starts from, and one clock counts for all that it does.

        Parameters
        ----------
        day : Exogenous
            What is expected from now on.
        steps : int
            Steps of a slot.
        before : HorizonPlan
            Whose extra limits are known to be needed.
        caps_kw : ndarray, shape (step, home)
            Published before, from now on [kW].
        freed : collection of int
            Homes that need less than was expected, where a better plan is worth looking for.
        """
        options = self.manner.options
        quick = replace(
            options,
            gap=max(options.gap, AGAIN_GAP),
            node_limit=min(options.node_limit, AGAIN_NODES),
            time_limit_s=min(options.time_limit_s, self.manner.again_s),
        )
        manner = replace(self.manner, options=quick)
        study = Study(self.feeder, self.predictor, self.elements, manner, self.seed, day, steps)
        study.standing_kw, study.start_kw = caps_kw, caps_kw[::steps]
        broken, kept = study.judged(before.rows, caps_kw)
        homes = np.flatnonzero(broken)
        study.cars = study.phase_mates(np.union1d(homes, np.array(sorted(freed), np.int64)))
        if not study.cars.any():
            return kept
        if self.elements is None or self.manner.holds_whatever:
            new = study.solved(())
        else:
            new = study.within_the_network(self.elements, list(before.rows), study.response(caps_kw))
        as_good = options.objective in BY_WITHHELD and kept.withheld_kwh <= new.withheld_kwh
        return replace(kept, struck=not new.reproducible) if not len(homes) and as_good else new
