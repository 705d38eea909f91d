"""Limits of the network beyond the transformer: other rated cables and customers' voltages, and their verification."""

from cosim.controllers.caps.network.answers import Answers, Row
from cosim.controllers.caps.network.elements import Elements
from cosim.controllers.caps.network.verify import Round
from cosim.controllers.caps.network.whatever import WhateverHomesDo, certain

__all__ = ["Answers", "Elements", "Round", "Row", "WhateverHomesDo", "certain"]
