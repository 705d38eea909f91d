"""What would have to give where a piece has no caps at all: the smallest rise of its limits that leaves some.

A charger has a least power, so a need can fit under the limits as energy and yet not in pieces that chargers can run
at. The order form with one more variable, kW added to all limits alike, says how little would do, and in which slots.
"""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo

from cosim.contract import Float
from cosim.controllers.caps.options import CapsOptions
from cosim.controllers.caps.part import NEARLY_KW, Part
from cosim.controllers.caps.programme import built
from cosim.controllers.caps.result import Relaxation, spans
from cosim.controllers.solver.pyomo_model import solve


def smallest_rise(part: Part, options: CapsOptions) -> Relaxation | None:
    """Return the smallest uniform rise of a piece's limits that makes it feasible.

    Parameters
    ----------
    part : Part
        A piece proven to be infeasible; its floors are given up.
    options : CapsOptions
        Tie rule and limits of the solver.

    Returns
    -------
    Relaxation or None
        None where the solver's limits ended it before any rise was found; where they ended it later, the rise found is
        enough, but perhaps not the smallest, and it says so.
    """
    m = built(part.with_floor(np.zeros_like(part.floor_kw)), options.ties, "order")
    m.more_kw.unfix()
    m.withheld_kwh.deactivate()
    m.rise = pyo.Objective(expr=m.more_kw)
    ending = solve(m, options.stop)
    if not ending.has_point:
        return None
    rise_kw = float(m.more_kw.value)
    over = _loads(part, m) > part.headroom_kw + NEARLY_KW
    rows = np.flatnonzero(over.any(axis=1))
    slots = sorted({int(part.when[row, 0]) if part.one_order else int(row) for row in rows})
    homes = np.unique(part.home).tolist()
    sure = "" if ending.is_proven else f", or less: at least {max(ending.bound, 0.0):.3g} kW"
    where = f"chargers of homes {spans(homes, 3)} cannot run at less; above the limit in slots {spans(slots)}{sure}"
    return Relaxation("limit", where, rise_kw, "kW")


def _loads(part: Part, m: pyo.ConcreteModel) -> Float:
    """Anticipated load of each limit in the solution, shape as the limits [kW]."""
    power = np.zeros_like(part.usable_kw)
    for c, k in m.pairs:
        power[k, c] = max(float(pyo.value(m.counted_load_kw[c, k])), 0.0)
    return part.load_kw(power)
