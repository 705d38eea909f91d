"""Prices at charging stations when drivers choose by cost and time: a bilevel problem with two objectives below.

``Leader(make_instance(...))`` is the operator; ``best_prices(leader, "optimistic")`` is exact, ``evolve`` the slides'
evolutionary algorithm; ``Follower`` answers prices as the users do.
"""

from cosim.controllers.pricing.answer import Answer, better_moves, evaluate
from cosim.controllers.pricing.evolution import Evolved, evolve
from cosim.controllers.pricing.follower import OPTIMISTIC_WEIGHTS, PESSIMISTIC_WEIGHTS, Follower, Rules
from cosim.controllers.pricing.generate import generate
from cosim.controllers.pricing.instance import Instance, make_instance, unservable_faults, with_periods
from cosim.controllers.pricing.leader import MODERATE, READINGS, Best, Leader, best_prices
from cosim.controllers.pricing.model import FORMULATIONS, Model, build
from cosim.controllers.pricing.solvers import minimise, scip_missing

__all__ = [
    "FORMULATIONS", "MODERATE", "OPTIMISTIC_WEIGHTS", "PESSIMISTIC_WEIGHTS", "READINGS", "Answer", "Best",
    "Evolved", "Follower", "Instance", "Leader", "Model", "Rules", "best_prices", "better_moves", "build",
    "evaluate", "evolve", "generate", "make_instance", "minimise", "scip_missing", "unservable_faults",
    "with_periods",
]  # fmt: skip
