"""Figure and report of a horizon that was run week by week."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cosim.experiments.figures import FigureFile, style, weeks
from cosim.experiments.metric_table import ABSENT, METRICS, cells, metric_of
from cosim.experiments.on_disk import FILE_NAME, PartsResult
from cosim.experiments.report import Row, facts, render, run_facts
from cosim.experiments.words import span_words

if TYPE_CHECKING:
    from cosim.experiments.results import Results


def write_year(results: Results, manifest: Mapping[str, Any], *, figures: bool) -> None:
    """Write ``figures/weeks.png`` and ``report.html``.

    Parameters
    ----------
    results : Results
        Of the runs.
    manifest : mapping
        See `make_manifest`.
    figures : bool
        False leaves the figure out, of the report too.
    """
    runs = {label: run for label, run in results.runs.items() if isinstance(run, PartsResult) and run.metrics}
    day = results.day
    scenario, standard = day.scenario, day.feeder.standard
    drawn = []
    if figures:
        with style.house_style():
            rows = pd.DataFrame([row for run in runs.values() for row in run.parts])
            drawing = weeks.draw(rows, scenario.step_min, standard)
            path = results.folder / "figures" / "weeks.png"
            style.save(drawing.figure, path)
        drawn.append(FigureFile("weeks", drawing.title, drawing.caption, path))
    longest = max(run.trajectory.steps for run in runs.values())
    span = span_words(scenario.start, scenario.step_min, longest)
    title = [f"{drawing.title}." for drawing in drawn]
    left_out = "; ".join(f"{name} ({why})" for name, why in manifest["left_out"].items())
    render(
        results,
        manifest,
        drawn,
        _groups(results),
        facts=list(facts(day.feeder, span, scenario.step_min, scenario.control_min, manifest)),
        summary=[
            *title,
            f"It was run week by week: every measure of every week is in {FILE_NAME}.",
            f"Left out of so long a run are {left_out}.",
        ],
        stopped={label: f"in week {len(run.parts)}" for label, run in runs.items() if not run.is_whole},
        promises=(),
        releases=(),
        prices=[],
        unbalance={},
        degradations=[],
        runs=[
            run_facts(label, run.trajectory, f"step {run.trajectory.steps}", round(run.metrics["degraded_steps"]))
            for label, run in runs.items()
        ],
    )


def _groups(results: Results) -> list[tuple[str, list[Row]]]:
    """Measures of all runs in groups; those that weeks do not add up to are dashes that say so."""
    standard, metrics = results.day.feeder.standard, results.metrics
    outside = [*results.incomplete, *results.invalid]
    names = dict.fromkeys(name for of_run in metrics.values() for name in of_run)
    groups: dict[str, list[Row]] = {}
    for name in [*(name for name in METRICS if name in names), *(name for name in names if name not in METRICS)]:
        metric = metric_of(name, standard)
        values = {label: of_run.get(name, np.nan) for label, of_run in metrics.items()}
        made = cells(name, values, metrics if metric.check else outside, dict.fromkeys(values, standard))
        why = "undefined, or no figure of a whole is made of those of weeks"
        limit = f"limit {metric.limit:g} {metric.unit}" if metric.limit is not None else ""
        told = [(cell, why if cell.text == ABSENT else limit if cell.violated else "") for cell in made.values()]
        groups.setdefault(metric.group, []).append(Row(name, metric, told, [""] * len(told)))
    return list(groups.items())
