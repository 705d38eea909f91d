"""The report: one HTML file that opens anywhere, without a network, and says what it rests on."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from cosim.contract.areas import joined
from cosim.experiments import input_words
from cosim.experiments.devices import rated_kw
from cosim.experiments.figures import FigureFile
from cosim.experiments.figures.runs import UNCONTROLLED, Runs, clock
from cosim.experiments.figures.summary import paragraph
from cosim.experiments.metric_table import ABSENT, METRICS, Cell, Metric, cells, metric_of
from cosim.experiments.promise_table import ABOVE_KVA, PromiseRow, releases
from cosim.experiments.scenario import Run, Scenario
from cosim.experiments.words import span_words
from cosim.folder import write_whole
from cosim.measures.areas import loss_ratio
from cosim.standards import EN_50160
from cosim.trajectory import Trajectory

if TYPE_CHECKING:
    from cosim import Feeder
    from cosim.experiments.day import Day
    from cosim.experiments.on_disk import TrajectoryOnDisk
    from cosim.experiments.results import Results

FILE_NAME = "report.html"
LEAST_WON_A = 0.5  # of neutral current: less is not worth a price
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Row:
    """One measure of all runs.

    Attributes
    ----------
    name : str
        Its fixed name.
    metric : Metric
        How to read it.
    cells : list of (Cell, str)
        One per run, with the reason why there is no value, or which limit is passed; empty otherwise.
    places : list of str
        Where it is worst in each run: element, customer or bus, phase and time; empty of a measure without a place.
    """

    name: str
    metric: Metric
    cells: list[tuple[Cell, str]]
    places: list[str]


@dataclass(frozen=True)
class Degradation:
    """One reason of degraded steps or warnings of a run."""

    label: str
    reason: str
    steps: int
    first_step: int
    first_time: str


def write_report(
    results: Results,
    runs: Runs,
    manifest: Mapping[str, Any],
    figures: Sequence[FigureFile],
    promises: Sequence[PromiseRow],
) -> Path:
    """Write ``report.html``, whole or not at all.

    Parameters
    ----------
    results : Results
        Of the runs; its folder receives the file.
    runs : Runs
        What happened, and what it measured.
    manifest : mapping
        Versions, seed, hashes: see `make_manifest`.
    figures : sequence of FigureFile
        From ``write_figures``; embedded, the missing ones listed with their reason.
    promises : sequence of PromiseRow
        Promise against delivery of every run; shown where any run promised something.

    Returns
    -------
    Path
        Of the file.
    """
    run = max(runs.trajectories.values(), key=lambda one: one.steps)
    return render(
        results,
        manifest,
        figures,
        rows(runs),
        facts=list(
            facts(
                run.feeder,
                span_words(run.exogenous.start, run.step_min, run.steps),
                run.step_min,
                run.control_min,
                manifest,
            )
        ),
        summary=paragraph(runs),
        stopped={label: runs.stopped(label) for label in runs.labels if runs.stopped(label)},
        promises=promises if any(row.promised for row in promises) else (),
        releases=releases(promises),
        prices=neutral_prices(runs),
        unbalance={label: results.runs[label].unbalance for label in runs.labels},
        runs=[run_facts(label, run, clock(run, run.steps), int(np.sum(run.degraded))) for label, run in runs],
        degradations=[item for label, run in runs for item in degradations(label, run)],
    )


def neutral_prices(runs: Runs) -> list[dict[str, Any]]:
    """What every run pays for less neutral current than without control, in sun and in bills; none without that run."""
    base = runs.metrics.get(UNCONTROLLED, {})
    found = []
    for label in runs.labels if base else ():
        mine = runs.metrics[label]
        won_a = base["neutral_current_p95_a"] - mine["neutral_current_p95_a"]
        if label == UNCONTROLLED or not won_a > LEAST_WON_A:
            continue
        cut_kwh, paid_eur = (mine[name] - base[name] for name in ("pv_curtailed_kwh", "cost_eur"))
        found.append({
            "label": label, "won_a": won_a, "cut_kwh": cut_kwh, "paid_eur": paid_eur, "kwh_per_a": cut_kwh / won_a,
            "eur_per_a": paid_eur / won_a,
        })  # fmt: skip
    return found


def render(
    results: Results,
    manifest: Mapping[str, Any],
    figures: Sequence[FigureFile],
    groups: Sequence[tuple[str, Sequence[Row]]],
    **own: Any,
) -> Path:
    """Write the report of measured runs: what all reports have, and what is a report's own, see the template."""
    day, metrics = results.day, results.metrics
    text = template("report.html.j2").render(
        title=manifest["scenario"]["name"],
        labels=list(metrics),
        why_stopped=manifest["stopped"] or "",
        invalid=results.invalid,
        groups=groups,
        above_kva=ABOVE_KVA,
        areas={label: results.runs[label].areas for label in metrics} if len(day.feeder.areas) > 1 else {},
        headlines=[
            row
            for _, found in groups
            for row in found
            if row.metric.shown(of_run.get(row.name, np.nan) for of_run in metrics.values())
        ],
        pictures=[figure for figure in figures if figure.path is not None],
        missing=[figure for figure in figures if figure.path is None],
        assumptions=assumptions(day, manifest["engine"]),
        warnings=list(dict.fromkeys([*day.warnings, *day.feeder.warnings])),
        manifest=list(_flat(manifest)),
        **own,
    )
    path = results.folder / FILE_NAME
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return path


def assumptions(day: Day, engine: str) -> list[str]:
    """State in words what the results rest on."""
    scenario = day.scenario
    shares = _grouped(scenario, scenario.noncompliant_share_of)
    text = template("assumptions.txt.j2").render(
        engine=engine,
        scenario=scenario,
        told=_grouped(scenario, scenario.forecast_of),
        inputs=list(input_words.inputs(scenario)),
        answers=input_words.answers(scenario),
        profiles=scenario.households.profiles,
        ev=scenario.ev,
        shares=shares,
        ignoring={share: int(day.behaviour_of(runs[0]).noncompliant.sum()) for share, runs in shares.items()},
        homes=len(day.feeder.customers),
        step_min=scenario.step_min,
        minutes=day.exogenous.step_min < scenario.step_min,
        standard=day.feeder.standard,
        machines=list(_machines(day.feeder)),
        thermal=day.feeder.thermal,
        devices={name: int((of_kind > 0.0).sum()) for name, of_kind in rated_kw(day.exogenous).items()},
        outdoor_c=day.exogenous.ambient_c,
        weather=scenario.weather.outdoor_c,
    )
    return text.splitlines()


def _machines(feeder: Feeder) -> Iterator[str]:
    """What is known of the losses of the transformers, area by area in words, alike ones together."""
    alike: dict[str, list[str]] = {}
    for area in feeder.areas:
        for name in area.transformers:
            load, no_load = feeder.network.branch(name).loss_percent
            iron = (
                f"no-load loss {no_load:.3g} %" if no_load > 0 else "no-load loss: none given, so losses lack the iron"
            )
            said = f"load loss {load:.3g} % of rating, {iron}, R = {loss_ratio(feeder, area.name):.3g}"
            alike.setdefault(said, []).append(name)
    for said, names in alike.items():
        yield f"{joined(list(dict.fromkeys(names)))}: {said}"


def template(name: str) -> Template:
    """Return a template of this house, with its filters."""
    environment = Environment(
        loader=PackageLoader("cosim.experiments"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=StrictUndefined,
    )  # fmt: skip
    environment.globals["violated"] = lambda name, value: metric_of(name).violated(value)
    environment.filters.update(number=_number, embedded=_embedded)
    return environment.get_template(name)


def _grouped(scenario: Scenario, key: Callable[[Run], Key]) -> dict[Key, list[Run]]:
    """Runs by what they have in common, in order."""
    groups: dict[Key, list[Run]] = {}
    for run in scenario.runs:
        groups.setdefault(key(run), []).append(run)
    return groups


def rows(runs: Runs) -> list[tuple[str, list[Row]]]:
    """Return the scoreboard in groups: title, and rows; measures that nobody has are left out."""
    present = dict.fromkeys(name for label in runs.labels for name in runs.metrics[label])
    groups: dict[str, list[Row]] = {}
    for name in [*METRICS, *(name for name in present if name not in METRICS)]:
        if name in present:
            groups.setdefault(metric_of(name).group, []).append(_row(name, runs))
    return list(groups.items())


def _row(name: str, runs: Runs) -> Row:
    """Return a row; a run that stopped early or is invalid is shown but cannot be the best of it."""
    standard = runs.reference.feeder.standard
    metric, why = metric_of(name, standard), {label: _inapplicable(name, run) for label, run in runs}
    values = {label: np.nan if why[label] else runs.metric(label, name) for label in runs.labels}
    outside = [label for label, run in runs if metric.check or run.invalid or not run.complete]
    made = cells(name, values, outside, dict.fromkeys(values, standard))
    for label, cell in made.items():
        if cell.violated:
            why[label] = f"limit {metric.limit:g} {metric.unit}"
        elif cell.text == ABSENT:
            why[label] = why[label] or "undefined on this feeder or for this run"
    places = [
        f"{runs.place(label, name)}, {clock(run, runs.worst[label][name]['step'])}" if runs.place(label, name) else ""
        for label, run in runs
    ]
    return Row(name, metric, [(cell, why[label]) for label, cell in made.items()], places)


def _inapplicable(name: str, run: Trajectory) -> str:
    """Why a measure says nothing about a run: a promise that was never made cannot be kept best of all."""
    if name == "setpoint_error_max_kw" and not np.isfinite(run.import_cap_kw).any():
        return "sets no import cap"
    if name == "en50160_compliant_customers_percent" and run.feeder.standard != EN_50160:
        return f"voltages are judged by {run.feeder.standard.title}"
    if name == "neutral_voltage_max_v" and not run.feeder.neutral_nodes.size:
        return "no neutral conductor but earth"
    if name == "promise_error_max_kva" and not np.isfinite(run.planned_kva).any():
        return "promises nothing"
    if name == "solve_gap_max" and all(decision.status == "rule" for _, decision in run.decisions):
        return "no solver took part"
    if name in ("ev_served_min_percent", "jain_ev_served", "withheld_kwh", *_FELT) and not len(run.exogenous.sessions):
        return "no car"
    return ""


_FELT = ("withheld_max_home_kwh", "withheld_gini", "hours_below_floor_mean_h", "hours_below_floor_max_h")


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


def run_facts(label: str, run: Trajectory | TrajectoryOnDisk, until: str, degraded: int) -> dict[str, Any]:
    """How a run was obtained."""
    statuses = Counter(decision.status for _, decision in run.decisions)
    return {
        "label": label,
        "trajectory": run,
        "until": until,
        "decisions": ", ".join(f"{count} × {status}" for status, count in statuses.most_common()) or "none",
        "fallbacks": sum(bool(decision.fallback) for _, decision in run.decisions),
        "degraded": degraded,
    }


def facts(
    feeder: Feeder, span: str, step_min: float, control_min: float, manifest: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """What a reader wants to know before any figure."""
    yield "feeder", feeder.name
    yield "day", span
    yield "step", f"{step_min:g} min, decisions every {control_min:g} min"
    yield (
        "engine",
        ", ".join(dict.fromkeys(str(fact["engine"]) for fact in manifest["runs"].values() if fact["engine"])),
    )
    yield "forecast", ", ".join(dict.fromkeys(fact["forecast"]["kind"] for fact in manifest["runs"].values()))
    shares = dict.fromkeys(fact["noncompliant_share"] for fact in manifest["runs"].values())
    if any(shares):
        yield "homes that ignore caps", ", ".join(f"{100 * share:.0f} %" for share in shares)
    homes = manifest["scenario"]["households"]
    answers = {name: share for name, share in (homes["responses"] or {}).items() if share}
    yield "households", ", ".join(f"{100 * share:g} % {name}" for name, share in answers.items()) or homes["response"]
    yield "seed", str(manifest["seed"])
    yield "reproducible", "yes" if manifest["reproducible"] else "no"


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
