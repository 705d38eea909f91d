"""Caps for many homes: columns per household, priced in closed form, a bound by Lagrangian duality and a proven gap."""

from controllers.caps.decomposition.pricing import supports
from controllers.caps.decomposition.serve import served_in_full
from controllers.caps.decomposition.solve import Decomposed, decompose

__all__ = ["Decomposed", "decompose", "served_in_full", "supports"]
