"""Limits of the network beyond the transformer: other rated cables and customers' voltages, and their verification."""

from controllers.caps.network.answers import Answers
from controllers.caps.network.elements import Elements
from controllers.caps.network.rows import Row
from controllers.caps.network.verify import Round

__all__ = ["Answers", "Elements", "Round", "Row"]
