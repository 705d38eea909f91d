"""The report: one HTML file that opens anywhere, without a network, and says what it rests on."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from cosim.experiments.figures import FigureFile
from cosim.experiments.figures.runs import Runs, clock
from cosim.experiments.figures.scoreboard import rows
from cosim.experiments.figures.summary import paragraph
from cosim.experiments.metric_table import metric_of
from cosim.experiments.promise_table import ABOVE_KVA, PromiseRow, releases
from cosim.experiments.words import span_words
from cosim.record import write_whole
from cosim.trajectory import Trajectory

FILE_NAME = "report.html"

_METERING = (
    "Every home is metered: controllers see each customer's mean power and voltage of the last completed step, never "
    "the step to come."
)


@dataclass(frozen=True)
class Degradation:
    """One reason of degraded steps or warnings of a run."""

    label: str
    reason: str
    steps: int
    first_step: int
    first_time: str


def write_report(
    folder: Path,
    trajectories: Mapping[str, Trajectory],
    metrics: Mapping[str, Mapping[str, float]],
    manifest: Mapping[str, Any],
    figures: Sequence[FigureFile],
    assumptions: Sequence[str],
    promises: Sequence[PromiseRow] = (),
    unbalance: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Write ``report.html``, whole or not at all.

    Parameters
    ----------
    folder : Path
        Receives the file.
    trajectories : mapping of label to Trajectory
        What happened; runs without a single step are named as stopped.
    metrics : mapping of label to mapping of name to float
        What it measured.
    manifest : mapping
        Versions, seed, hashes; of free shape, shown as it is.
    figures : sequence of FigureFile
        From ``write_figures``; embedded, the missing ones listed with their reason.
    assumptions : sequence of str
        What the results rest on; those that begin with ``Warning:`` are set apart.
    promises : sequence of PromiseRow
        Promise against delivery of every run; shown where any run promised something.
    unbalance : mapping of label to sequence of str, optional
        Where unbalance is worst in each run, and who causes it.

    Returns
    -------
    Path
        Of the file.
    """
    shown = {label: run for label, run in trajectories.items() if run.steps}
    runs = Runs(shown, metrics)
    warnings = [line.removeprefix("Warning: ") for line in assumptions if line.startswith("Warning: ")]
    warnings += [text for run in shown.values() for text in run.feeder.warnings]
    stated = [line for line in assumptions if not line.startswith("Warning: ")]
    if not any("metered" in line for line in stated):
        stated.insert(0, _METERING)
    groups = rows(shown, metrics)
    environment = Environment(
        loader=PackageLoader("cosim.experiments"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=StrictUndefined,
    )  # fmt: skip
    environment.globals["violated"] = lambda name, value: metric_of(name).violated(value)
    environment.filters.update(number=_number, embedded=_embedded)
    text = environment.get_template("report.html.j2").render(
        title=_title(manifest, shown),
        facts=list(_facts(shown, manifest)),
        summary=paragraph(runs),
        labels=list(shown),
        stopped={label: runs.stopped(label) for label in shown if runs.stopped(label)},
        unstarted=[label for label, run in trajectories.items() if not run.steps],
        why_stopped=manifest.get("stopped") or "",
        groups=groups,
        promises=promises if any(row.promised for row in promises) else (),
        releases=releases(promises),
        above_kva=ABOVE_KVA,
        unbalance=unbalance or {},
        headlines=[row for _, found in groups for row in found if row.metric.headline],
        pictures=[figure for figure in figures if figure.path is not None],
        missing=[figure for figure in figures if figure.path is None],
        assumptions=stated,
        warnings=list(dict.fromkeys(warnings)),
        runs=[_run_facts(label, run) for label, run in trajectories.items()],
        degradations=[item for label, run in trajectories.items() for item in degradations(label, run)],
        manifest=list(_flat(manifest)),
    )
    path = folder / FILE_NAME
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return path


def degradations(label: str, run: Trajectory) -> list[Degradation]:
    """Reasons of a run's notes, the most frequent first; reasons that differ only in a number count as one."""
    counts: Counter[str] = Counter()
    first: dict[str, tuple[int, str]] = {}
    for step, reason in run.notes:
        kind = re.sub(r"\d+(\.\d+)?", "#", reason)
        counts[kind] += 1
        first.setdefault(kind, (step, reason))
    return [
        Degradation(label, first[kind][1], count, first[kind][0], clock(run, first[kind][0]))
        for kind, count in counts.most_common()
    ]


def _run_facts(label: str, run: Trajectory) -> dict[str, Any]:
    """How a run was obtained."""
    statuses = Counter(decision.status for _, decision in run.decisions)
    return {
        "label": label,
        "trajectory": run,
        "until": clock(run, run.steps),
        "decisions": ", ".join(f"{count} × {status}" for status, count in statuses.most_common()) or "none",
        "fallbacks": sum(bool(decision.fallback) for _, decision in run.decisions),
        "degraded": int(np.sum(run.degraded)),
    }


def _title(manifest: Mapping[str, Any], shown: Mapping[str, Trajectory]) -> str:
    scenario = manifest.get("scenario")
    name = scenario.get("name") if isinstance(scenario, Mapping) else scenario
    if name:
        return str(name)
    return next((run.feeder.name for run in shown.values()), "no run")


def _facts(shown: Mapping[str, Trajectory], manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a reader wants to know before any figure."""
    if shown:
        run = max(shown.values(), key=lambda one: one.steps)
        yield "feeder", run.feeder.name
        yield "day", span_words(run.exogenous.start, run.step_min, run.steps)
        yield "step", f"{run.step_min:g} min, decisions every {run.control_min:g} min"
        yield "engine", ", ".join(dict.fromkeys(one.engine for one in shown.values()))
    of_runs = [fact for fact in manifest.get("runs", {}).values() if "forecast" in fact]
    kinds = dict.fromkeys(fact["forecast"]["kind"] for fact in of_runs)
    if kinds:
        yield "forecast", ", ".join(kinds)
    shares = dict.fromkeys(fact["stubborn_share"] for fact in of_runs)
    if any(shares):
        yield "homes that ignore caps", ", ".join(f"{100 * share:.0f} %" for share in shares)
    for name, keys in (
        ("households", ("scenario", "households", "response")),
        ("seed", ("seed",)),
        ("reproducible", ("reproducible",)),
    ):
        value: Any = manifest
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            yield name, {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _number(value: float, digits: int = 1, sign: bool = False) -> str:
    """Number in a table; a dash where there is none."""
    if not np.isfinite(value):
        return "–"
    rounded = round(value, digits) + 0.0  # no minus before a zero
    return f"{rounded:{'+' if sign and rounded else ''}.{digits}f}".replace("-", "−")


def _embedded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Rows of a nested manifest: dotted key and value."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value):
        for number, inner in enumerate(value, start=1):
            yield from _flat(inner, f"{prefix}.{number}")
    elif isinstance(value, (list, tuple)):
        yield prefix, ", ".join(map(str, value)) or "none"
    else:
        yield prefix, "none" if value in (None, {}) else str(value)
