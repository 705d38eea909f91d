"""Promise against delivery: a setpoint is a promise, the power flow is what was delivered."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def setpoint_error_max_kw(net_import_kw: ArrayLike, cap_kw: ArrayLike) -> float:
    """Largest excess of net import over its cap.

    Parameters
    ----------
    net_import_kw : array_like, shape (step, customer)
        Net power at the meters, + is import. [kW]
    cap_kw : array_like, shape (step, customer)
        Import caps; nan and inf are no cap. [kW]

    Returns
    -------
    float
        [kW], not negative: 0 where every cap was kept, or none was set.
    """
    cap = np.asarray(cap_kw, dtype=float)
    capped_kw = np.where(np.isfinite(cap), cap, np.inf)
    return float(np.max(np.asarray(net_import_kw, dtype=float) - capped_kw, initial=0.0))


def promise_error_max_kva(planned_kva: ArrayLike, delivered_kva: ArrayLike) -> float:
    """Largest deviation, either way, of the transformer's apparent power from what the controller expected.

    Parameters
    ----------
    planned_kva : array_like, shape (step,)
        Expected by the controller; nan where it promised nothing. [kVA]
    delivered_kva : array_like, shape (step,)
        From the power flow. [kVA]

    Returns
    -------
    float
        [kVA]; nan where nothing was promised: who promises nothing has not kept a promise either.
    """
    error = np.abs(np.asarray(planned_kva, dtype=float) - np.asarray(delivered_kva, dtype=float))
    return float(np.fmax.reduce(error, axis=None, initial=np.nan))
