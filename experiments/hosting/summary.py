"""From worlds that were run to capacities: of each placement, and of all of them with an interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cosim.experiments.hosting.config import HostingConfig
from cosim.experiments.hosting.quantile import quantile
from cosim.experiments.hosting.search import Search

if TYPE_CHECKING:
    from cosim.experiments.hosting.networks import Reinforced

NO_LIMIT = "none up to all homes"
_KEYS = ["feeder", "technology", "network", "controller"]


def placements_of(worlds: pd.DataFrame, homes: Mapping[str, int]) -> pd.DataFrame:
    """Tell of each placement how much it bears, and what binds first and where.

    Parameters
    ----------
    worlds : DataFrame
        Rows of all worlds of the searches; those that failed are left out.
    homes : mapping of str to int
        Homes of each feeder.

    Returns
    -------
    DataFrame
        A row for each feeder, technology, network, controller and placement: ``hash`` of its search,
        ``capacity_homes``, ``capacity_percent``, ``installed_kw`` there, ``limit_binding`` (criteria that the first
        violated penetration breaks, by comma), ``where``, ``monotone`` and ``worlds``.
    """
    rows = []
    done = worlds[(worlds["status"] != "failed") & worlds["decides"].fillna(value=False).astype(bool)]
    for key, own in done.groupby([*_KEYS, "placement", "hash"], sort=False):
        *named, placement, digest = key if isinstance(key, tuple) else (key,)
        count = homes[str(named[0])]
        tested = own.groupby("homes")["hosted"].all()
        found = Search(count, {int(many): bool(hosted) for many, hosted in tested.items()})  # type: ignore[call-overload]
        bad = own[(own["homes"] == found.first) & ~own["hosted"].astype(bool)]
        there = own.loc[own["homes"] == found.capacity, "installed_kw"]
        rows.append({
            **dict(zip(_KEYS, named, strict=True)),
            "placement": placement,
            "hash": digest,
            "capacity_homes": found.capacity,
            "capacity_percent": 100.0 * found.capacity / count,
            "installed_kw": float(there.iloc[0]),
            "limit_binding": NO_LIMIT if bad.empty else str(bad["broken"].iloc[0]),
            "where": "" if bad.empty else str(bad["where"].iloc[0]),
            "monotone": found.monotone,
            "worlds": len(own),
        })  # fmt: skip
    return pd.DataFrame(rows)


def capacities(
    placements: pd.DataFrame,
    failed: pd.DataFrame,
    weeks: pd.DataFrame,
    config: HostingConfig,
    reinforced: Mapping[str, Mapping[str, Reinforced]],
) -> pd.DataFrame:
    """Tell how much each feeder hosts under each controller and with each reinforcement.

    Parameters
    ----------
    placements : DataFrame
        As `placements_of`.
    failed : DataFrame
        Rows of the searches that failed: quantiles are without these placements, which need not be like the others.
    weeks : DataFrame
        Rows of the whole weeks that were run at the placements' capacities.
    config : HostingConfig
        Quantile and confidence.
    reinforced : mapping
        By feeder and name.

    Returns
    -------
    DataFrame
        A row for each feeder, network and controller: ``capacity_percent``, ``low`` and ``high``, its interval (nan
        where there are too few placements for that end), ``capacity_kw``, ``median_percent``, ``limit_binding``, the
        criterion that the placement at the quantile breaks first, the share of all that do and where most of them do,
        ``limits``, the same of all criteria, ``placements`` that were searched, ``placements_failed``, whose search
        was not finished, ``non_monotone``, ``weeks_run`` and ``weeks_violated``, ``of_possible_percent`` (see the
        method ``optimum``); of reinforcements
        ``cost_eur_low`` and ``cost_eur_high``, and by kilowatt hosted beyond the network as built; of controllers
        ``avoided``, the cheapest reinforcement that hosts as much.
    """
    rows: list[dict[str, Any]] = []
    for key, own in placements.groupby(_KEYS, sort=False):
        named = dict(zip(_KEYS, key if isinstance(key, tuple) else (key,), strict=True))
        found = quantile(
            own["capacity_percent"].tolist(), config.method.quantile_percent, config.method.confidence_percent
        )
        binding = own["limit_binding"].str.split(",").str[0]
        first = binding[own["capacity_percent"].sort_values(kind="stable").index[found.rank - 1]]
        place = _most(own.loc[binding == first, "where"].str.split(";").str[0])
        again = _of(weeks, named)
        alike = placements[placements["feeder"] == named["feeder"]]
        kw_per_percent = alike["installed_kw"].sum() / max(alike["capacity_percent"].sum(), 1e-9)
        rows.append({
            **named,
            "limit_binding": first,
            "limit_binding_percent": 100.0 * float((binding == first).mean()),
            "limits": ", ".join(f"{name} {100.0 * many / len(own):.0f} %" for name, many in Counter(binding).items()),
            "where": place,
            "capacity_percent": found.value,
            "low": found.low,
            "high": found.high,
            "confidence_percent": found.confidence_percent,
            "median_percent": float(own["capacity_percent"].median()),
            "capacity_kw": found.value * kw_per_percent,
            "placements": len(own),
            "placements_failed": _of(failed, named)["placement"].nunique(),
            "at_all_homes_percent": 100.0 * float((own["capacity_percent"] == 100.0).mean()),
            "non_monotone": int((~own["monotone"]).sum()),
            "weeks_run": again["placement"].nunique(),
            "weeks_violated": again.loc[~again["hosted"].astype(bool), "placement"].nunique(),
            "of_possible_percent": _of_possible(own, placements),
        })  # fmt: skip
    return _with_costs(pd.DataFrame(rows), reinforced)


def _of_possible(own: pd.DataFrame, placements: pd.DataFrame) -> float:
    """Homes hosted in all placements together that perfect knowledge was asked of, of what it hosts there [%].

    nan where it was not asked. It keeps limits at every step, which is more than is asked of controllers.
    """
    is_best = (placements["controller"] == "optimum") & (placements["feeder"] == own["feeder"].iloc[0])
    best = placements[is_best].set_index("placement")["capacity_homes"]
    there = own[own["placement"].isin(best.index)].set_index("placement")["capacity_homes"]
    possible = best.reindex(there.index).sum()
    return 100.0 * float(there.sum() / possible) if possible else float("nan")


def _most(texts: pd.Series[str]) -> str:
    """Text that is there most often."""
    return Counter(texts.tolist()).most_common(1)[0][0]


def _of(table: pd.DataFrame, named: Mapping[str, Any]) -> pd.DataFrame:
    return table[(table[list(named)] == pd.Series(named)).all(axis=1)] if len(table) else table


def _with_costs(table: pd.DataFrame, reinforced: Mapping[str, Mapping[str, Reinforced]]) -> pd.DataFrame:
    columns = ["cost_eur_low", "cost_eur_high", "eur_per_added_kw_low", "eur_per_added_kw_high"]
    table[columns], table["avoided"], table["avoided_eur_low"], table["avoided_eur_high"] = np.nan, "", np.nan, np.nan
    for feeder, own in table.groupby("feeder", sort=False):
        plain = own[(own["network"] == "as_built") & (own["controller"] == "none")]
        as_built_kw = float(plain["capacity_kw"].iloc[0]) if len(plain) else float("nan")
        offers = []
        for row, line in own[own["network"] != "as_built"].iterrows():
            low, high = reinforced[str(feeder)][line["network"]].cost_eur
            added_kw = line["capacity_kw"] - as_built_kw
            per_kw = (low / added_kw, high / added_kw) if added_kw > 0.0 else (np.nan, np.nan)
            table.loc[row, columns] = [low, high, *per_kw]
            offers.append((low, high, line["network"], line["capacity_percent"]))
        base = float(plain["capacity_percent"].iloc[0]) if len(plain) else float("nan")
        for row, line in own[(own["network"] == "as_built") & (own["controller"] != "none")].iterrows():
            # what would have to be built to host as much; where nothing on the list does, the one that comes nearest
            enough = [offer for offer in offers if offer[3] >= line["capacity_percent"]]
            if line["capacity_percent"] > base and enough:
                low, high, name, _ = min(enough)
                table.loc[row, ["avoided", "avoided_eur_low", "avoided_eur_high"]] = [name, low, high]
            elif line["capacity_percent"] > base and offers:
                table.loc[row, "avoided"] = "more than any reinforcement here"
    return table
