"""What a phase may carry, and the refusal to control towards a limit that nobody knows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cosim.contract import Feeder
from cosim.errors import Fault, InputError


def known_phase_limit_a(feeder: Feeder, controller: str) -> float:
    """Return the smaller of the transformer's and the head line's rated current of a phase [A].

    Where only one of the two has a rating, that one is the limit.

    Parameters
    ----------
    feeder : Feeder
        The place.
    controller : str
        Who asks, for the message.

    Raises
    ------
    InputError
        Where neither has a rating; every missing rating is named.
    """
    limit_a = feeder.phase_limit_a
    if not np.isfinite(limit_a):
        raise InputError(_missing_ratings(feeder, controller))
    return limit_a


def _missing_ratings(feeder: Feeder, controller: str) -> Iterator[Fault]:
    problem = f"is needed by the controller '{controller}', which keeps every phase below it"
    where = str(feeder.master)
    if feeder.transformer is None:
        yield Fault(where, "transformer", f"there is none, and its rating {problem}", "define a Transformer with kVAs")
    else:
        yield Fault(where, f"Transformer.{feeder.transformer} kVAs", f"the rating {problem}", "set kVAs")
    if feeder.head_line is None:
        remedy = "name the line that carries all customers as head_line in feeder.toml"
        yield Fault(where, "head_line", f"there is none, and its rating {problem}", remedy)
    else:
        yield Fault(where, f"Line.{feeder.head_line} NormAmps", f"the rating {problem}", "set NormAmps and EmergAmps")
