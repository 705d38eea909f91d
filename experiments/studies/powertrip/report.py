"""Tables of ``powertrip``, and sentences that depend on the signs and sizes of its numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

COLUMNS = (
    "f1_mean", "f1_mean_change_percent", "pui_mean_percent", "phase_current_mean_a", "neutral_current_mean_a",
    "neutral_current_mean_change_percent", "i2_mean_a", "vuf_mean_percent", "v0_mean_percent", "pv_use_percent",
    "ev_kwh", "voltage_min_pu", "voltage_max_pu", "pui_praises_percent", "pui_blames_percent",
)  # fmt: skip
BY_LINE = {
    "pui_mean_percent": "mean PUI [%]",
    "pui_max_percent": "max PUI [%]",
    "pui_own_percent": "mean PUI, own [%]",
    "neutral_current_mean_a": "neutral current [A]",
    "neutral_current_own_a": "neutral current, own [A]",
}
HARDLY_PERCENT = 1.0  # smaller changes are called none
Case = Mapping[str, float]


def case_table(cases: Mapping[str, Case], lines: int) -> pd.DataFrame:
    """``cases.csv``: a row for each case, quantities at each line last."""
    keys = [*COLUMNS, *(f"{key}_{row + 1}" for key in BY_LINE for row in range(lines))]
    return pd.DataFrame([{"case": name} | {key: case[key] for key in keys} for name, case in cases.items()])


def line_table(cases: Mapping[str, Case], lines: list[str]) -> pd.DataFrame:
    """One column per quantity, the lines side by side in it, as the published table has them."""
    return pd.DataFrame([
        {f"case ({' / '.join(lines)})": name}
        | {head: " / ".join(f"{case[f'{key}_{row + 1}']:.1f}" for row in range(len(lines)))
           for key, head in BY_LINE.items()}
        for name, case in cases.items()
    ])  # fmt: skip


def change_percent(key: str, before: Case, after: Case) -> float:
    """Return the change of a quantity in percent of what was before; nan where there was nothing."""
    return 100.0 * (after[key] / before[key] - 1.0) if before[key] > 0.0 else float("nan")


def moves(percent: float) -> str:
    """Say how a quantity moves: falls by, rises by, hardly changes."""
    if not np.isfinite(percent):
        return "had nothing to change from"
    if not direction(percent):
        return f"hardly changes ({percent:+.1f} %)"
    return f"{'falls' if percent < 0 else 'rises'} by {abs(percent):.0f} %"


def direction(percent: float) -> int:
    """-1, 0 or 1: whether a quantity falls, hardly changes or rises."""
    return 0 if not np.isfinite(percent) or abs(percent) < HARDLY_PERCENT else int(np.sign(percent))


def of_control(who: str, base: Case, case: Case) -> str:
    """Say what a control does to the index and to the neutral current."""
    f1, neutral = (change_percent(key, base, case) for key in ("f1_mean", "neutral_current_mean_a"))
    ends = (
        (direction(f1) == 0 > direction(neutral), ": the index does not see what is gained."),
        (direction(f1) < 0 < direction(neutral), ": the index praises what loads the neutral more."),
        (direction(f1) < 0 and neutral > 0.5 * f1, ": much less is gained in the neutral than the index says."),
        (direction(f1) > 0, ": its bounds and weights leave it worse than no control, by its own index."),
    )
    end = next((text for holds, text in ends if holds), ".")
    used = f"{case['pv_use_percent']:.0f} % of the PV used"
    return f"{who}: f1 {moves(f1)}, the neutral current {moves(neutral)}, {used}{end}"
