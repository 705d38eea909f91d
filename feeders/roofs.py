"""Roof plants of the user's own, from files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from cosim.errors import Fault, refuse
from cosim.feeders.join import Told, by_customer, read_customer_table
from cosim.feeders.profiles import PvFleet
from cosim.feeders.series import Quantity, Series

PV = Quantity(
    "generation", "kW", 0.0, 100.0,
    "give generation as positive kW",
    "give kW, not W: divide by 1000 (a plant above 100 kW is refused)",
    usual=(0.05, 30.0),
)  # fmt: skip


def read_pv(
    profiles: Series,
    customers: Sequence[str],
    start: datetime,
    minutes: int,
    told: Told,
    *,
    day: int = 0,
    inverters: str | Path | None = None,
) -> PvFleet:
    """Roofs of the user's own, by the names of the customers.

    Parameters
    ----------
    profiles : Series
        What each plant could feed in [kW]; a customer without a column has none.
    customers : sequence of str
        Of the feeder.
    start : datetime
        Local clock of the first minute.
    minutes : int
        Length of the horizon [min].
    told : callable
        Takes warnings.
    day : int
        Which day against the horizon's own.
    inverters : str or Path, optional
        Table ``customer, inverter_kva``, and ``kwp`` where it is known. Without it an inverter is rated at the highest
        value of its column in the file, and the modules at as many kWp.

    Raises
    ------
    InputError
        Where names do not match, the horizon is not covered, or a plant gives more than its inverter can.
    """
    available_kw, column = by_customer(profiles, customers, start, minutes, told, day=day, missing="has no roof plant")
    with_roof = column >= 0
    highest_kw = np.where(with_roof, profiles.means.max(axis=0)[column], 0.0)
    inverter_kva, kwp = highest_kw, highest_kw
    if inverters is not None:
        ranges = {"inverter_kva": (0.0, 1000.0, "kVA"), "kwp": (0.0, 1000.0, "kWp")}
        table = read_customer_table(
            inverters,
            "inverters",
            customers,
            ranges,
            told,
            missing="is as without the table",
            optional=("kwp",),
            expected=with_roof,
        )
        inverter_kva = np.where(with_roof & np.isfinite(table["inverter_kva"]), table["inverter_kva"], highest_kw)
        rated_kwp = table.get("kwp", np.full(len(customers), np.nan))
        kwp = np.where(with_roof & np.isfinite(rated_kwp), rated_kwp, highest_kw)
        above = np.flatnonzero(highest_kw > inverter_kva * (1.0 + 1e-6))
        refuse(
            Fault(
                profiles.source, profiles.names[column[row]],
                f"gives up to {highest_kw[row]:.3g} kW, its inverter {inverter_kva[row]:.3g} kVA",
                f"give AC power, or mend {inverters}",
            )
            for row in above[:1]
        )  # fmt: skip
    return PvFleet(available_kw, kwp, inverter_kva)
