"""Linear bilevel problems: a leader decides, a follower answers with an optimum of its own linear programme."""

from cosim.controllers.bilevel.problem import BilevelLP
from cosim.controllers.bilevel.solve import BilevelResult, solve_bilevel

__all__ = ["BilevelLP", "BilevelResult", "solve_bilevel"]
