"""Day-ahead import caps for every household and slot: the bilevel problem of capacity limits under a tariff."""

from cosim.controllers.caps.options import CapsOptions
from cosim.controllers.caps.problem import CapsProblem, share_of_phase
from cosim.controllers.caps.result import CapsResult, Relaxation
from cosim.controllers.caps.solve import solve_caps

__all__ = ["CapsOptions", "CapsProblem", "CapsResult", "Relaxation", "share_of_phase", "solve_caps"]
