"""What stands on which phase, and what changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cosim import Trajectory
from cosim.experiments.scenario import Run, Scenario
from cosim.experiments.tables import markdown

SHOWN = (
    "unbalance_current_mean_a2", "neutral_current_p95_a", "i2_p95_a", "vuf_p95_percent", "vuf_max_percent",
    "v0_p95_percent", "pui_mean_percent", "pvur_max_percent", "voltage_min_pu", "voltage_max_pu", "overvoltage_min",
    "transformer_peak_percent", "transformer_overload_min", "line_peak_percent", "losses_kwh",
)  # fmt: skip


def phase_loads(days: Mapping[str, Trajectory]) -> pd.DataFrame:
    """Return customers, energy and peaks of each phase, a row per day and phase."""
    rows = []
    for label, run in days.items():
        share = run.feeder.phase_matrix
        phase_kw = run.net_kw @ share
        for phase in range(3):
            mine = phase_kw[:, phase]
            rows.append({
                "day": label,
                "phase": phase + 1,
                "customers": int((share[:, phase] > 0).sum()),
                "import_kwh": float(np.maximum(mine, 0.0).sum() * run.step_h),
                "export_kwh": float(np.maximum(-mine, 0.0).sum() * run.step_h),
                "peak_import_kw": float(mine.max()),
                "peak_export_kw": float(max(-mine.min(), 0.0)),
                "mean_current_a": float(np.abs(run.transformer_current_a[:, phase]).mean()),
                "peak_current_a": float(np.abs(run.transformer_current_a[:, phase]).max()),
            })  # fmt: skip
    return pd.DataFrame(rows)


def metric_table(metrics: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Return what the moves change, a row per metric."""
    before, after = metrics["before"], metrics["after"]
    return pd.DataFrame(
        [(name, before[name], after[name], after[name] - before[name]) for name in SHOWN if name in before],
        columns=["metric", "before", "after", "change"],
    )


def report(
    scenario: Scenario, item: Run, lines: Sequence[str], moves: pd.DataFrame, loads: pd.DataFrame,
    changed: pd.DataFrame, worst: Mapping[str, Sequence[str]],
) -> str:  # fmt: skip
    """Return the story as Markdown."""
    parts = [
        f"# Re-phasing of {scenario.name}\n",
        f"Seed {scenario.seed}, controller `{item.name}`; both days solved by OpenDSS. Minimised is the mean over the "
        "day of |I2|² + |I0|² in the watched branches: squared, so that large currents weigh more.\n",
        "\n".join(f"- {line}" for line in lines) + "\n",
        "## Moves\n",
        markdown(moves),
        "## What changes\n",
        markdown(changed),
        "![Currents before and after](rephase.png)\n",
        "## Load of each phase\n",
        markdown(loads),
        "## Where the worst is, and who causes it\n",
        "\n".join(f"- {label}: {line}" for label, found in worst.items() for line in found) + "\n",
        "`before/` and `after/` hold every index at every bus and line, and what each customer adds at the worst of "
        "them. How the indices differ, and when each misleads, is in docs/unbalance.md of the project.\n",
    ]
    return "\n".join(parts)
