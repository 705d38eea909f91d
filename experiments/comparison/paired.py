"""Means over placements with their intervals, and differences between controllers on the same worlds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from cosim.contract import Float
from cosim.errors import Fault, InputError
from cosim.experiments.metric_table import METRICS, metric_of

FACTORS = (
    "feeder", "network", "season", "date", "ev_share", "pv_share", "heat_pump_share", "battery_share", "forecast",
    "noncompliant_share",
)  # fmt: skip
"""What makes a world, beside its placement; in the order in which they are shown."""

PLACEMENT, CONTROLLER, WEIGHT = "placement", "controller", "weight"
CONFIDENCE = 0.95
ALL = "all"
_FACTS = {*FACTORS, PLACEMENT, CONTROLLER, WEIGHT, "hash", "status", "reason", "run_s", "version"}


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a study says of its controllers.

    Attributes
    ----------
    table : pandas.DataFrame
        A row per ``factor`` (``all`` first), its ``level``, ``metric`` and ``controller``: numbers of ``worlds`` and
        ``placements``, ``mean`` with ``low`` and ``high``, the ``worst`` world, ``difference`` to the baseline with
        ``difference_low`` and ``difference_high``, and how many worlds it wins and ties, in percent.
    ended : pandas.DataFrame
        Worlds by controller (index) and status (column).
    baseline : str
        Controller that the others are set against.
    compared, left_out : int
        Worlds that every controller ended, and others: a mean over what each controller ended would be kindest to the
        controller that fails where it is hardest.
    """

    table: pd.DataFrame
    ended: pd.DataFrame
    baseline: str
    compared: int
    left_out: int

    @property
    def controllers(self) -> list[str]:
        """The baseline first, the others as they come in the study."""
        return [self.baseline, *(name for name in self.ended.index if name != self.baseline)]

    @property
    def factors(self) -> list[str]:
        """Factors with several levels."""
        return [name for name in self.table["factor"].unique() if name != ALL]

    def of(self, metric: str, factor: str = ALL) -> pd.DataFrame:
        """Rows of a metric, of all worlds or of every level of a factor."""
        return self.table[(self.table["metric"] == metric) & (self.table["factor"] == factor)]

    def told(self, metric: str, factor: str = ALL, level: str = "") -> dict[str, dict[str, Any]]:
        """Row of a metric at one level, by controller."""
        rows = self.of(metric, factor)
        rows = rows[rows["level"] == level].set_index(CONTROLLER)
        return {str(name): dict(row) for name, row in rows.iterrows()}


def compare(rows: pd.DataFrame, baseline: str = "none", where: str = "") -> Comparison:
    """Compare the controllers of a study on the worlds that all of them ended.

    A placement is what is drawn anew: days, penetrations and feeders of one placement are averaged first (days by their
    weight), and an interval is Student's t over placements, so that a study of two placements and a hundred days is one
    of two. Intervals are of one measure each, 95 %, and not of all measures at once.

    Parameters
    ----------
    rows : pandas.DataFrame
        A row per world and controller, as in ``results.parquet``.
    baseline : str
        Controller that the others are set against.
    where : str
        The study, for messages.

    Raises
    ------
    InputError
        Where there is no such controller, or no world that all have ended.
    """
    names = list(dict.fromkeys(rows[CONTROLLER]))
    if baseline not in names:
        remedy = f"give --baseline {names[0]}, or another of {', '.join(names)}" if names else "run the study first"
        raise InputError(Fault(where, "baseline", f"'{baseline}' is no controller of the study", remedy))
    rows = rows.assign(**{name: rows[name].fillna("").astype(str) for name in ("season", "forecast") if name in rows})
    world = [name for name in (*FACTORS, PLACEMENT) if name in rows]
    number = rows.groupby(world, dropna=False, sort=False).ngroup().to_numpy()
    ended = (
        rows.groupby([CONTROLLER, "status"], sort=False).size().unstack(fill_value=0).reindex(names)  # noqa: PD010
    )
    ok = rows["status"].to_numpy() == "ok"
    whole = np.bincount(number[ok], minlength=number.max(initial=-1) + 1) == len(names)
    kept = rows[whole[number] & ok].assign(world=number[whole[number] & ok])
    if kept.empty:
        remedy = 'see the column reason: cosim study query "select controller, reason from results"'
        raise InputError(Fault(where, "status", "no world was ended by every controller", remedy))
    metrics = [name for name in METRICS if name in kept]
    metrics += [
        name for name in kept.select_dtypes("number") if name not in METRICS and name not in _FACTS and name != "world"
    ]
    found = _of_level(kept, metrics, names, baseline, ALL, "")
    for factor in _varied(kept):
        in_order = kept.sort_values("date" if factor == "season" else factor, kind="stable")
        for level, part in in_order.groupby(factor, sort=False):
            found += _of_level(part, metrics, names, baseline, factor, str(level))
    return Comparison(pd.DataFrame(found), ended, baseline, int(whole.sum()), int((~whole).sum()))


def _varied(rows: pd.DataFrame) -> list[str]:
    """Factors with several levels; dates stand for themselves only where no seasons do."""
    several = [name for name in FACTORS if name in rows and len(rows[name].unique()) > 1]
    return [name for name in several if name != "date" or not rows.get("season", pd.Series([""])).astype(bool).any()]


def _of_level(
    rows: pd.DataFrame, metrics: Sequence[str], names: Sequence[str], baseline: str, factor: str, level: str
) -> list[dict[str, object]]:
    """Every measure of every controller on some of the worlds."""
    worlds, row = np.unique(rows["world"], return_inverse=True)
    column = rows[CONTROLLER].map({name: at for at, name in enumerate(names)}).to_numpy()
    weight, placement = np.ones(len(worlds)), np.zeros(len(worlds), dtype=np.int64)
    weight[row], placement[row] = rows[WEIGHT].fillna(1.0), pd.factorize(rows[PLACEMENT])[0]
    values = np.full((len(worlds), len(names), len(metrics)), np.nan)
    values[row, column] = rows[list(metrics)].to_numpy(dtype=float)
    found: list[dict[str, object]] = []
    for at, metric in enumerate(metrics):
        here = values[:, :, at]
        has = np.isfinite(here).any(axis=0)
        known = np.isfinite(here[:, has]).all(axis=1) if has.any() else np.zeros(len(worlds), dtype=bool)
        if not known.any():
            continue
        told, base = metric_of(metric), names.index(baseline)
        sign = {"low": 1.0, "high": -1.0}.get(told.better, np.nan)
        for one in np.flatnonzero(has).tolist():
            of_world = here[known, one]
            mean, low, high, count = over_placements(of_world, weight[known], placement[known])
            entry: dict[str, object] = {
                "factor": factor, "level": level, "metric": metric, "unit": told.unit, "controller": names[one],
                "worlds": int(known.sum()), "placements": count, "mean": mean, "low": low, "high": high,
                "worst": (of_world * sign).max() * sign if told.better else np.nan,
            }  # fmt: skip
            if has[base] and one != base:
                more = of_world - here[known, base]
                mean, low, high, _ = over_placements(more, weight[known], placement[known])
                entry |= {"difference": mean, "difference_low": low, "difference_high": high}
                if told.better:  # what is printed alike is a tie
                    alike = np.abs(more) < 0.5 * 10.0**-told.digits
                    entry["wins_percent"] = 100.0 * float((~alike & (more * sign < 0.0)).mean())
                    entry["ties_percent"] = 100.0 * float(alike.mean())
            found.append(entry)
    return found


def over_placements(values: Float, weight: Float, placement: np.ndarray) -> tuple[float, float, float, int]:
    """Weighted mean within placements, then the mean over them with Student's interval.

    Parameters
    ----------
    values, weight : array, shape (world,)
    placement : array of int, shape (world,)

    Returns
    -------
    mean, low, high : float
        Bounds are nan where there is one placement only: nothing is known of their spread.
    count : int
        Number of placements.
    """
    _, row = np.unique(placement, return_inverse=True)
    of_each = np.bincount(row, values * weight) / np.bincount(row, weight)
    count, mean = len(of_each), float(of_each.mean())
    if count < 2:
        return mean, np.nan, np.nan, count
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2.0, count - 1) * of_each.std(ddof=1) / np.sqrt(count))
    return mean, mean - half, mean + half, count
