"""The study in words and tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from cosim.experiments.studies.powertrip.data import Place
from cosim.experiments.tables import markdown, write_table
from cosim.record import write_whole

COLUMNS = (
    "f1_mean", "f1_mean_change_percent", "pui_mean_percent", "phase_current_mean_a", "neutral_current_mean_a",
    "neutral_current_mean_change_percent", "i2_mean_a", "vuf_mean_percent", "v0_mean_percent", "pv_use_percent",
    "ev_kwh", "voltage_min_pu", "voltage_max_pu", "pui_praises_percent", "pui_blames_percent",
)  # fmt: skip
BY_LINE = (
    "pui_mean_percent", "pui_max_percent", "pui_own_percent", "neutral_current_mean_a", "neutral_current_own_a",
)  # fmt: skip

PUBLISHED = pd.DataFrame(
    [
        (
            "published 'without control': no roofs at all",
            "99.92 / 194.49 / 193.13", "153.9 / 200 / 200", 86800, 44.00, "",
        ),
        (
            "published 'smart control': 12 roofs, objective with roofs counted four times",
            "39.91 / 11.30 / 10.63", "122.7 / 67.0 / 43.5", 2817, 39.66, "94.8",
        ),
        ("replayed: same roofs, no control", "39.08 / 9.26 / 8.00", "104.9 / 64.0 / 28.6", 2294, 44.00, "100.0"),
        (
            "replayed: control with the objective mended",
            "22.51 / 6.52 / 4.25", "104.3 / 35.5 / 16.6", 966, 42.13, "92.8",
        ),
    ],
    columns=[
        "case on the seed's own feeder", "mean PUI at CP_1 / CP_2 / CP_3 [%]", "max PUI [%]", "f1_mean", "ev_kwh",
        "pv_use_percent",
    ],
)  # fmt: skip
"""Published means over 48 active steps (Power_Trip, result files), and their replay with OpenDSS."""

PUBLISHED_OWN = (
    "With the own charge point busy, the replayed means are 112.8 / 177.9 / 186.3 without and 31.6 / 29.0 / 18.4 with "
    "control."
)


def write_report(
    folder: Path, place: Place, cases: Mapping[str, Mapping[str, float]], differing: pd.DataFrame,
    findings: list[str], figures: Mapping[str, str],
) -> None:  # fmt: skip
    """Write ``report.md``, ``cases.csv`` and ``disagreements.csv``.

    Parameters
    ----------
    folder : Path
        Receives them.
    place : Place
        Feeder and day.
    cases : mapping
        Metrics by case, without those that only stand for another.
    differing : DataFrame
        Steps and lines in which PUI and the neutral current move in opposite directions.
    findings : list of str
        What to say.
    figures : mapping
        Caption by file name.
    """
    by_line = [f"{key}_{row}" for key in BY_LINE for row in range(1, len(place.lines) + 1)]
    table = pd.DataFrame(
        [{"case": name} | {key: case[key] for key in (*COLUMNS, *by_line)} for name, case in cases.items()]
    )
    write_table(table, folder / "cases.csv")
    write_table(differing, folder / "disagreements.csv")
    parts = [
        "# PowerTrip, told again\n",
        f"{len(place.lines)} single-phase charge points of 11 kW and {place.sun_kw.shape[1]} roofs on "
        f"`{place.feeder.name}`; {len(place.active)} active steps of 5 minutes, each decided by itself (NSGA-II on the "
        "reduced network, its front refined by descents where the index is minimised, then one point by weights); "
        "every case solved again by OpenDSS.\n",
        "## What the seed published\n",
        markdown(PUBLISHED),
        "The published gain compares control *with* roofs against charging *without* any. Against the same roofs and "
        "no control the published control is worse (2817 against 2294): its objective counts every roof four times. "
        f"With that mended, the same method cuts the index by 58 %. {PUBLISHED_OWN}\n",
        "## The same question here\n",
        markdown(table[["case", *COLUMNS]]),
        "".join(f"- {said}\n" for said in findings),
        "`f1` is the mean over the active steps of the sum of PUI² over the lines; shares are against `ev_all_pv`, "
        "which has the same vehicles and roofs. `pui_praises_percent`: share of steps and lines in which PUI falls "
        "while the neutral current rises, `pui_blames_percent` the reverse, against `ev_all_pv` (of "
        "`ev_all_pv`: against `ev_no_pv`).\n",
        "## At each charge point's line\n",
        markdown(_per_line(place, cases)),
        "Means and the maximum over the active steps; 'own': only while that line's own charge point is busy.\n",
        *(f"![{caption}](figures/{name})\n\n{caption}\n" for name, caption in figures.items()),
    ]
    write_whole(folder / "report.md", lambda path: path.write_text("\n".join(parts), encoding="utf-8"))


def _per_line(place: Place, cases: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """One column per quantity, the lines side by side in it, as the published table has them."""
    heads = {
        "pui_mean_percent": "mean PUI [%]",
        "pui_max_percent": "max PUI [%]",
        "pui_own_percent": "mean PUI, own [%]",
        "neutral_current_mean_a": "neutral current [A]",
        "neutral_current_own_a": "neutral current, own [A]",
    }
    numbers = range(1, len(place.lines) + 1)
    lines = " / ".join(line.name for line in place.lines)
    return pd.DataFrame(
        [
            {f"case ({lines})": name}
            | {head: " / ".join(f"{case[f'{key}_{row}']:.1f}" for row in numbers) for key, head in heads.items()}
            for name, case in cases.items()
        ]
    )
