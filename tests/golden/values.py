"""What is kept of a run, how it is written, and when two of them differ."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cosim import Trajectory
from cosim.measures import scoreboard

FOLDER = Path(__file__).with_name("values")
RENEW = "python -m tests.golden --write"

TOLERANCES = {
    "metrics": (5e-4, 5e-4),
    "decisions": (2e-4, 2e-4),
    "about": (0.05, 0.5),
    "within_gap": (0.01, 1e-3),
    "kw": (2e-4, 1e-3),
    "v": (2e-5, 2e-3),
}
"""Relative and absolute tolerance by kind of quantity, both allowed together. Texts and counts must be the same."""

TOTALS = ("cost_eur", "losses_kwh", "import_kwh", "ev_delivered_kwh", "withheld_kwh", "voltage_min_pu")
"""Metrics that are much the same whichever of several equally good plans is taken."""

PLACES, NODES = 7, 12  # customers and nodes that are sampled, evenly
Values = dict[str, Any]


class Difference(NamedTuple):
    """One quantity that is not what it was."""

    case: str
    quantity: str
    old: Any
    new: Any

    @property
    def relative(self) -> float:
        """Change over the old value; nan where that says nothing."""
        numbers = all(isinstance(value, (int, float)) for value in (self.old, self.new))
        return (self.new - self.old) / abs(self.old) if numbers and self.old else math.nan

    def __str__(self) -> str:
        change = "" if math.isnan(self.relative) else f"  ({100.0 * self.relative:+.3g} %)"
        return f"{self.case}: {self.quantity}: {self.old} -> {self.new}{change}"


def taken(run: Trajectory, tied: bool = False) -> Values:
    """Keep metrics, decisions and samples of a run, flat: quantity to number or text."""
    decisions = [decision for _, decision in run.decisions]
    with_value = [decision for decision in decisions if np.isfinite(decision.objective)]
    statuses = Counter(decision.status for decision in decisions)
    kept: Values = {
        "complete": run.complete,
        "reproducible": run.reproducible,
        "statuses": ", ".join(f"{count} {status}" for status, count in sorted(statuses.items())),
        "fallbacks": sum(bool(decision.fallback) for decision in decisions),
    }
    metrics = scoreboard(run)
    if tied:
        kept = {key: kept[key] for key in ("complete", "reproducible")}
        kept |= {f"about.{name}": metrics[name] for name in TOTALS}
        kept |= {f"within_gap.{end}": getattr(decisions[0], end) for end in ("objective", "bound")}
    else:
        kept |= {f"metrics.{name}": value for name, value in metrics.items()}
        kept |= dict(_samples(run))
        if with_value:
            kept |= {f"decisions.{end}_first": getattr(with_value[0], end) for end in ("objective", "bound")}
            kept["decisions.objective_sum"] = sum(decision.objective for decision in with_value)
    plain = {key: _plain(value) for key, value in kept.items()}
    return {key: value for key, value in plain.items() if value != "nan"}  # no such figure: as if it were not there


def _samples(run: Trajectory) -> Iterator[tuple[str, Any]]:
    """Powers, setpoints and voltages at an early, a middle and a late step; totals over all customers."""
    customers, nodes = _evenly(run.net_kw.shape[1], PLACES), _evenly(run.node_v.shape[1], NODES)
    for step in (run.steps // 8, run.steps // 2, 7 * run.steps // 8):
        for key in ("net_kw", "ev_kw", "pv_kw", "import_cap_kw", "ev_limit_kw", "pv_limit_kw"):
            power_kw = getattr(run, key)[step]
            if np.isinf(power_kw).all() or (np.abs(power_kw) < 1e-6).all():
                continue  # no limit, no car, no sun: what is left out must be left out again
            yield f"step {step}.{key}", power_kw[customers]
            if np.isfinite(power_kw).all():
                yield f"step {step}.sum_{key}", power_kw.sum()
        yield f"step {step}.node_v", np.abs(run.node_v[step, nodes])


def _evenly(count: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))


def _plain(value: Any) -> Any:
    """What JSON holds, to six digits; nan and infinities as texts."""
    if isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, np.ndarray):
        return [_plain(float(part)) for part in value]
    if not np.isfinite(value):
        return str(float(value))
    return float(f"{value:.6g}") if abs(value) > 1e-9 else 0.0


def differences(case: str, old: Values, new: Values) -> Iterator[Difference]:
    """Yield what differs beyond tolerance, quantity by quantity; a missing one is None."""
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if not isinstance(before, list) or not isinstance(after, list) or len(before) != len(after):
            if not _same(key, before, after):
                yield Difference(case, key, before, after)
            continue
        for place, (one, other) in enumerate(zip(before, after, strict=True)):
            if not _same(key, one, other):
                yield Difference(case, f"{key}[{place}]", one, other)


def _same(key: str, old: Any, new: Any) -> bool:
    if not isinstance(old, float) or not isinstance(new, float):
        return bool(old == new)
    kind = key.partition(".")[0]
    relative, absolute = TOLERANCES[kind if kind in TOLERANCES else key.rpartition("_")[2]]
    return abs(new - old) <= absolute + relative * abs(old)


def read() -> dict[str, Values]:
    """Read all goldens, by case."""
    found: dict[str, Values] = {}
    for path in sorted(FOLDER.glob("*.json")):
        found |= json.loads(path.read_text(encoding="utf-8"))
    return found


def write(goldens: Mapping[str, Values]) -> None:
    """Write all goldens: a file for each first word of the cases' names, a quantity a line."""
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.json"):
        path.unlink()
    for first in dict.fromkeys(name.split()[0] for name in goldens):
        part = {name: values for name, values in goldens.items() if name.split()[0] == first}
        text = json.dumps(part, indent=1)
        text = re.sub(r"\[\s+([^\]]*?)\s+\]", lambda found: f"[{' '.join(found.group(1).split())}]", text)
        (FOLDER / f"{first}.json").write_text(f"{text}\n", encoding="utf-8", newline="\n")
