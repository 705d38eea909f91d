"""Promise against delivery, run by run, and what one coordination releases over the other.

A controller that plans promises an apparent power at the transformer. What the power flow delivers differs where the
forecast was wrong or where households did not do what was expected of them; how much that costs is measured here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cosim import controllers
from cosim.contract import Float
from cosim.errors import InputError
from cosim.experiments.metric_table import METRICS
from cosim.experiments.tables import write_csv
from cosim.measures.derived import line_percent
from cosim.measures.transformer import overload_min
from cosim.trajectory import Trajectory

FILE_NAME = "promise.csv"
ABOVE_KVA = 1.0
"""More than this above the promise counts as above it; less is what predicted losses and voltages are off by."""
ANTICIPATED, SAFE = "anticipated", "sum_of_caps"


@dataclass(frozen=True)
class PromiseRow:
    """What one run promised, and what was delivered.

    Attributes
    ----------
    label, controller, coordination, forecast : str
        The run; coordination is empty where the controller knows none.
    noncompliant_share : float
        Share of homes that ignore import caps.
    promised_peak_kva, delivered_peak_kva : float
        Largest apparent power at the transformer, over the day; the promise is nan where none was made.
    excess_max_kva : float
        Largest delivery above the promise of its step while the feeder imports (caps have no say in what roofs export),
        0 where it never was above.
    above_promise_min : float
        Time with more than 1 kVA above the promise while the feeder imports.
    transformer_peak_percent, transformer_overload_min, line_peak_percent, line_overload_min : float
        As in the scoreboard: worst phase.
    overload_min : float
        Time with the transformer or any rated line above its rating.
    withheld_kwh, ev_unserved_kwh, cost_eur, degraded_steps : float
        As in the scoreboard.
    complete : bool
        False where the run stopped early, so that all of this is of a part of the day.
    options : str
        What else sets the run apart, as text that is equal where it is the same.
    """

    label: str
    controller: str
    coordination: str
    forecast: str
    noncompliant_share: float
    promised_peak_kva: float
    delivered_peak_kva: float
    excess_max_kva: float
    above_promise_min: float
    transformer_peak_percent: float
    transformer_overload_min: float
    line_peak_percent: float
    line_overload_min: float
    overload_min: float
    withheld_kwh: float
    ev_unserved_kwh: float
    cost_eur: float
    degraded_steps: float
    complete: bool
    options: str

    @property
    def promised(self) -> bool:
        """Whether there was a promise at all."""
        return bool(np.isfinite(self.promised_peak_kva))


@dataclass(frozen=True)
class Release:
    """What ``anticipated`` releases over ``sum_of_caps`` in the same world, and what it risks.

    Attributes
    ----------
    anticipated, safe : PromiseRow
        Two runs that differ in coordination only.
    as_modelled : PromiseRow or None
        The anticipating run under the same forecast whose households all comply; None where there is none.
    """

    anticipated: PromiseRow
    safe: PromiseRow
    as_modelled: PromiseRow | None

    @property
    def released_kwh(self) -> float:
        """Headroom that is not withheld [kWh]."""
        return self.safe.withheld_kwh - self.anticipated.withheld_kwh

    @property
    def released_percent(self) -> float:
        """The same as a share of what ``sum_of_caps`` withholds [%]; nan where that is nothing."""
        return 100.0 * self.released_kwh / self.safe.withheld_kwh if self.safe.withheld_kwh > 0 else float("nan")

    @property
    def saved_eur(self) -> float:
        """What all homes pay less [EUR]."""
        return self.safe.cost_eur - self.anticipated.cost_eur

    @property
    def served_more_kwh(self) -> float:
        """What cars miss less at departure [kWh]."""
        return self.safe.ev_unserved_kwh - self.anticipated.ev_unserved_kwh

    @property
    def overload_by_behaviour_min(self) -> float:
        """What overload the homes that do not comply add to the anticipating run [min]; nan without the comparison."""
        if self.as_modelled is None:
            return float("nan")
        return self.anticipated.overload_min - self.as_modelled.overload_min


def promise_rows(
    trajectories: Mapping[str, Trajectory],
    metrics: Mapping[str, Mapping[str, float]],
    facts: Mapping[str, Mapping[str, Any]],
) -> list[PromiseRow]:
    """Return one row per run.

    Parameters
    ----------
    trajectories : mapping of label to Trajectory
        What happened.
    metrics : mapping of label to mapping of name to float
        Scoreboards.
    facts : mapping of label to mapping
        ``runs`` of the manifest: controller, options, forecast, share of noncompliant homes.
    """
    return [_row(label, run, metrics[label], facts[label]) for label, run in trajectories.items()]


def releases(rows: Sequence[PromiseRow]) -> list[Release]:
    """Return pairs of runs that differ in nothing but coordination, in the order of the anticipating ones."""
    found = {(row.coordination, _world(row)): row for row in rows if row.coordination}
    obedient = {_told(row): row for row in rows if row.coordination == ANTICIPATED and row.noncompliant_share == 0.0}
    return [
        Release(row, found[SAFE, _world(row)], obedient.get(_told(row)))
        for row in rows
        if row.coordination == ANTICIPATED and (SAFE, _world(row)) in found
    ]


def write_promises(path: Path, rows: Sequence[PromiseRow]) -> None:
    """Write the rows as CSV, whole or not at all; nothing where nobody promised anything."""
    if any(row.promised for row in rows):
        write_csv(pd.DataFrame([asdict(row) for row in rows]), path)


def excess_kva(run: Trajectory) -> Float:
    """Delivered above promised apparent power while the feeder imports, shape (step,) [kVA].

    Negative below the promise; nan without one, and while the feeder exports.
    """
    delivered = run.transformer_kva.sum(axis=1)
    return np.where(delivered.real > 0.0, np.abs(delivered) - run.planned_kva, np.nan)


def _row(label: str, run: Trajectory, metrics: Mapping[str, float], fact: Mapping[str, Any]) -> PromiseRow:
    excess = excess_kva(run)
    has_promise = bool(np.isfinite(run.planned_kva).any())
    options = dict(fact["options"])
    coordination = options.pop("coordination", None) or _default_coordination(fact["controller"])

    return PromiseRow(
        label=label,
        controller=str(fact["controller"]),
        coordination=str(coordination),
        forecast=str(fact["forecast"]["kind"]),
        noncompliant_share=float(fact["noncompliant_share"]),
        promised_peak_kva=float(np.nanmax(run.planned_kva)) if has_promise else float("nan"),
        delivered_peak_kva=float(metrics["transformer_peak_kva"]),
        excess_max_kva=float(np.fmax.reduce(excess, initial=0.0)) if has_promise else float("nan"),
        above_promise_min=float((excess > ABOVE_KVA).sum() * run.step_min) if has_promise else float("nan"),
        overload_min=_overload_min(run),
        complete=run.complete,
        options="; ".join(_apart(options, fact["forecast"])),
        **{own.name: float(metrics[own.name]) for own in fields(PromiseRow) if own.name in METRICS},
    )


def _default_coordination(controller: str) -> object:
    try:
        return controllers.options(controller).get("coordination", "")
    except InputError:
        return ""  # a class that was typed in cannot be found by its name


def _overload_min(run: Trajectory) -> float:
    """Time with anything rated above its rating [min]; nan where nothing is rated."""
    lines = np.fmax.reduce(line_percent(run), axis=1, initial=np.nan)
    return overload_min(np.fmax(run.area_percent(), lines), run.step_min)


def _apart(options: Mapping[str, Any], forecast: Mapping[str, Any]) -> Iterator[str]:
    """What else sets a run apart: its other options, and how wrong its forecast is."""
    yield from (f"{key} = {value}" for key, value in sorted(options.items()))
    if forecast["kind"] == "noisy":
        yield from (f"{key} = {value}" for key, value in forecast.items() if key != "kind")


def _told(row: PromiseRow) -> tuple[str, ...]:
    return row.controller, row.forecast, row.options


def _world(row: PromiseRow) -> tuple[Any, ...]:
    return (*_told(row), row.noncompliant_share)
