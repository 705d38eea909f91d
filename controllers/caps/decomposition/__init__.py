"""Caps for many homes: columns per household, priced in closed form, a bound by Lagrangian duality and a proven gap."""

from cosim.controllers.caps.decomposition.max_min import at_floor, largest_floor, smallest_room_kw
from cosim.controllers.caps.decomposition.pricing import supports
from cosim.controllers.caps.decomposition.serve import served_in_full
from cosim.controllers.caps.decomposition.solve import Decomposed, decompose
from cosim.controllers.solver import Clock

__all__ = [
    "Clock", "Decomposed", "at_floor", "decompose", "largest_floor", "served_in_full", "smallest_room_kw", "supports",
]  # fmt: skip
