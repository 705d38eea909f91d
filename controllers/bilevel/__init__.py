"""Linear bilevel problems: a leader decides, a follower answers with an optimum of its own linear programme."""

from controllers.bilevel.problem import BilevelLP
from controllers.bilevel.result import BilevelResult
from controllers.bilevel.solve import solve_bilevel

__all__ = ["BilevelLP", "BilevelResult", "solve_bilevel"]
