"""The door to the solver: models, limits, and results that say what was proven.

A result is called ``optimal`` only for what is proven about the very point that it holds. A call of HiGHS that says
nothing (a numerical failure, a point outside its rows) is tried again with other settings before it is an error, and
the result says so. Aims in order of importance are solved by `solve_in_turn`, which never gives up a plan that it has.
Only ``highs`` imports HiGHS. Models written in Pyomo come in by ``pyomo_model``, which is imported where they are.
"""

from cosim.controllers.solver.highs import Basis, Solver, minimise_in_turn, solve
from cosim.controllers.solver.model import Model, Rows
from cosim.controllers.solver.result import (
    OPTIMAL_GAP,
    SLACK,
    UNLIMITED,
    WIDER,
    Clock,
    InTurn,
    Limits,
    OutOfTimeError,
    SolveResult,
    Termination,
    judged,
    relative_gap,
    solve_in_turn,
    worst,
)  # fmt: skip

__all__ = [
    "OPTIMAL_GAP", "SLACK", "UNLIMITED", "WIDER", "Basis", "Clock", "InTurn", "Limits", "Model", "OutOfTimeError",
    "Rows", "SolveResult", "Solver", "Termination", "judged", "minimise_in_turn", "relative_gap", "solve",
    "solve_in_turn", "worst",
]  # fmt: skip
