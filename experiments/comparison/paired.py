"""Means over placements with their intervals, and differences between controllers on the same worlds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
"""What worlds differ in, beside their placement; in the order in which they are shown."""

PLACEMENT, CONTROLLER, WEIGHT = "placement", "controller", "weight"
CONFIDENCE = 0.95
ALL = "all"
_FACTS = {*FACTORS, PLACEMENT, CONTROLLER, WEIGHT, "hash", "status", "reason", "run_s", "version", "world"}


_ENDED = ("ok", "limited")
"""Statuses of runs with measures; ``limited``: a wall-clock limit struck, so they may not repeat."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a study says of its controllers.

    Attributes
    ----------
    table : pandas.DataFrame
        A row per ``factor`` (``all`` first), its ``level``, ``metric`` and ``controller``: numbers of ``worlds`` and
        ``placements``, ``mean`` with ``low`` and ``high``, the ``worst`` world, ``difference`` to the baseline with
        ``difference_low`` and ``difference_high``, and how many worlds it wins and ties, in percent of their weight:
        there a collapse is worse than any figure, and two are alike.
    ended : pandas.DataFrame
        Worlds by controller (index) and status (column).
    worlds : mapping of (factor, level) to (int, int)
        Worlds that every controller ended, of which means are made, and all: a mean over what each controller ended
        would be kindest to the controller that fails where it is hardest.
    baseline : str
        Controller that the others are set against.
    """

    table: pd.DataFrame
    ended: pd.DataFrame
    worlds: Mapping[tuple[str, str], tuple[int, int]]
    baseline: str

    @property
    def controllers(self) -> list[str]:
        """The baseline first, the others as they come in the study."""
        return [self.baseline, *(name for name in self.ended.index if name != self.baseline)]

    @property
    def compared(self) -> int:
        """Number of worlds that every controller ended."""
        return self.worlds[ALL, ""][0]

    @property
    def left_out(self) -> int:
        """Number of the other worlds."""
        return self.worlds[ALL, ""][1] - self.compared

    @property
    def factors(self) -> list[str]:
        """Factors with several levels."""
        return list(dict.fromkeys(factor for factor, _ in self.worlds if factor != ALL))

    def levels(self, factor: str) -> list[str]:
        """Levels of a factor in order, those too of which nothing is left."""
        return [level for name, level in self.worlds if name == factor]

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
        A row per world (``hash``) and controller, as in ``results.parquet``.
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
    rows = rows.assign(world=rows.groupby("hash", sort=False).ngroup())
    counts = pd.crosstab(rows[CONTROLLER], rows["status"]).reindex(names)
    has = rows["status"].isin(_ENDED).groupby(rows["world"]).sum() == len(names)
    rows = rows.assign(whole=has[rows["world"]].to_numpy())
    if not rows["whole"].any():
        remedy = 'see the column reason: cosim study query "select controller, reason from results"'
        raise InputError(Fault(where, "status", "no world was ended by every controller", remedy))
    metrics = [name for name in METRICS if name in rows]
    numbers = map(str, rows.select_dtypes("number"))
    metrics += [name for name in numbers if name not in METRICS and name not in _FACTS]
    found, worlds = [], {}
    for factor, level, part in _levels(rows):
        worlds[factor, level] = part.loc[part["whole"], "world"].nunique(), part["world"].nunique()
        found += [
            {"factor": factor, "level": level, **row} for row in _of_level(part, metrics, names, names.index(baseline))
        ]
    return Comparison(pd.DataFrame(found), counts, worlds, baseline)


def _levels(rows: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """All worlds, then those of every level of every factor in which worlds differ.

    What differs within a world belongs to its runs. Dates stand for themselves only where no seasons do.
    """
    yield ALL, "", rows
    seasons = "season" in rows and rows["season"].notna().any()
    for factor in FACTORS:
        if factor not in rows or (factor == "date" and seasons):
            continue
        if len(rows.drop_duplicates(["world", factor])) > len(rows.drop_duplicates("world")):
            continue
        in_order = rows.sort_values("date" if factor == "season" else factor, kind="stable")
        levels = list(in_order.groupby(factor, sort=False))
        if len(levels) > 1:
            yield from ((factor, str(level), part) for level, part in levels)


def _of_level(
    rows: pd.DataFrame, metrics: Sequence[str], names: Sequence[str], base: int
) -> Iterator[dict[str, object]]:
    """Every measure of every controller on some of the worlds."""
    worlds, row = np.unique(rows["world"], return_inverse=True)
    column = rows[CONTROLLER].map({name: at for at, name in enumerate(names)}).to_numpy()
    weight, placement, whole = np.ones(len(worlds)), np.zeros(len(worlds), dtype=np.int64), np.zeros(len(worlds), bool)
    weight[row], whole[row] = rows[WEIGHT].fillna(1.0), rows["whole"]
    placement[row] = pd.factorize(rows[PLACEMENT])[0]
    collapsed = np.zeros((len(worlds), len(names)), dtype=bool)
    collapsed[row, column] = rows["status"] == "collapsed"
    values = np.full((len(worlds), len(names), len(metrics)), np.nan)
    values[row, column] = rows[list(metrics)].where(rows["status"].isin(_ENDED)).to_numpy(dtype=float)
    for at, metric in enumerate(metrics):
        here = values[:, :, at]
        has = np.isfinite(here).any(axis=0)
        known = whole & np.isfinite(here[:, has]).all(axis=1)
        if not known.any():
            continue
        told = metric_of(metric)
        sign = {"low": 1.0, "high": -1.0}.get(told.better, np.nan)
        for one in np.flatnonzero(has).tolist():
            mean, low, high, count = over_placements(here[known, one], weight[known], placement[known])
            entry = dict.fromkeys(("difference", "difference_low", "difference_high", "wins_percent", "ties_percent"))
            if has[base] and one != base:
                more = here[:, one] - here[:, base]
                apart = over_placements(more[known], weight[known], placement[known])[:3]
                entry |= dict(zip(("difference", "difference_low", "difference_high"), apart, strict=True))
                if told.better:
                    worse = more * sign
                    worse[collapsed[:, one]], worse[collapsed[:, base]] = np.inf, -np.inf
                    worse[collapsed[:, one] & collapsed[:, base]] = 0.0
                    judged, days = worse[~np.isnan(worse)], weight[~np.isnan(worse)]
                    alike = np.abs(judged) < 0.5 * 10.0**-told.digits  # what is printed alike is a tie
                    entry["wins_percent"] = 100.0 * float(np.average(~alike & (judged < 0.0), weights=days))
                    entry["ties_percent"] = 100.0 * float(np.average(alike, weights=days))
            yield {
                "metric": metric, "unit": told.unit, "controller": names[one], "worlds": int(known.sum()),
                "placements": count, "mean": mean, "low": low, "high": high,
                "worst": (here[known, one] * sign).max() * sign,
                **{key: np.nan if value is None else value for key, value in entry.items()},
            }  # fmt: skip


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
