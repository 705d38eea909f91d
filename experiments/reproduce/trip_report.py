"""The study in words and one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from cosim.record import write_whole
from experiments.rephase.tables import markdown
from experiments.reproduce.trip_control import Controlled, Weights
from experiments.reproduce.trip_place import Place

COLUMNS = (
    "f1_mean", "f1_mean_change_percent", "pui_mean_percent", "neutral_current_mean_a",
    "neutral_current_mean_change_percent", "i2_mean_a", "vuf_mean_percent", "v0_mean_percent", "pv_use_percent",
    "ev_kwh", "voltage_min_pu", "voltage_max_pu", "pui_praises_percent",
)  # fmt: skip

PUBLISHED = pd.DataFrame(
    [
        ("published 'without control': no roofs at all", 86800.0, 44.00, float("nan")),
        ("published 'smart control': 12 roofs, objective with roofs counted four times", 2817.0, 39.66, 94.8),
        ("replayed: same roofs, no control", 2294.0, 44.00, 100.0),
        ("replayed: control with the objective mended", 966.0, 42.13, 92.8),
    ],
    columns=["case on the seed's own feeder", "f1_mean", "ev_kwh", "pv_use_percent"],
)
"""Published means over 48 active steps (Power_Trip, result files), and their replay with OpenDSS."""


def write_report(
    folder: Path, place: Place, cases: Mapping[str, Mapping[str, float]], decided: Mapping[str, Controlled],
    figures: Mapping[str, str], weights: Sequence[Weights],
) -> None:  # fmt: skip
    """Write ``report.md`` and ``cases.csv``."""
    named = {name: case for name, case in cases.items() if name not in decided}
    table = pd.DataFrame([{"case": name} | {key: case[key] for key in COLUMNS} for name, case in named.items()])
    write_whole(folder / "cases.csv", lambda path: table.round(6).to_csv(path, index=False, lineterminator="\n"))
    base, bare = cases["ev_all_pv"], cases["ev_no_pv"]
    last = [cases[name] for name in ("rated_control", "unbalance_current")]
    rated, unbalance = last
    limits = [f"{name}: {found.infeasible_steps} steps" for name, found in decided.items() if found.infeasible_steps]
    parts = [
        "# PowerTrip, told again\n",
        f"{len(place.lines)} single-phase charge points of 11 kW and {place.sun_kw.shape[1]} roofs on "
        f"`{place.feeder.name}`; {len(place.active)} active steps of 5 minutes, each decided by itself (NSGA-II on the "
        "reduced network, then one point of its front by weights); every case solved again by OpenDSS.\n",
        "## What the seed published\n",
        markdown(PUBLISHED),
        "The published gain compares control *with* roofs against charging *without* any. Against the same roofs and "
        "no control the published control is worse (2817 against 2294): its objective counts every roof four times. "
        "With that mended, the same method cuts the index by 58 %.\n",
        "## The same question here\n",
        markdown(table),
        f"- Adding the roofs cuts f1 by {_cut_percent(bare, base, 'f1_mean'):.0f} % and the neutral current by "
        f"{_cut_percent(bare, base, 'neutral_current_mean_a'):.0f} %: the index falls because its "
        "denominator, the mean current, grows.\n"
        f"- Control within the ratings, weights {weights[-1]}: f1 {rated['f1_mean_change_percent']:+.0f} %, neutral "
        f"current {rated['neutral_current_mean_change_percent']:+.0f} %, sun used {rated['pv_use_percent']:.0f} %.\n"
        f"- The same control after `unbalance_current` (|I2|² + |I0|²): neutral current "
        f"{unbalance['neutral_current_mean_change_percent']:+.0f} %, but f1 "
        f"{unbalance['f1_mean_change_percent']:+.0f} %: what the index calls worse is better for cable and homes.\n"
        f"- Steps and lines in which control lowers PUI while the neutral current *rises*: "
        f"{rated['pui_praises_percent']:.0f} % (`rated_control`), by up to "
        f"{rated['neutral_rise_where_praised_max_a']:.1f} A.\n"
        + (
            f"- No setpoint keeps the voltage limits in: {'; '.join(limits)}; those that violate least were taken.\n"
            if limits
            else ""
        ),
        "`f1` is the mean over the active steps of the sum of PUI² over the lines; shares are against `ev_all_pv`, "
        "which has the same vehicles and roofs. A control without numbers in its name stands for the last pair of "
        "weights.\n",
        *(f"![{caption}](figures/{name})\n\n{caption}\n" for name, caption in figures.items()),
    ]
    write_whole(folder / "report.md", lambda path: path.write_text("\n".join(parts), encoding="utf-8"))


def _cut_percent(before: Mapping[str, float], after: Mapping[str, float], key: str) -> float:
    return 100.0 * (1.0 - after[key] / before[key])
