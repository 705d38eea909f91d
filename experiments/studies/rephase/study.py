"""The day before, the moves that help most, and the day after them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from cosim import Trajectory, load
from cosim.contract import Float
from cosim.experiments import scenario as scenarios
from cosim.experiments.choose import only
from cosim.experiments.figures import style
from cosim.experiments.studies.base import Cases, Progress, Study, StudyResult, from_template, lines_of
from cosim.experiments.studies.rephase.config import RephaseConfig
from cosim.experiments.studies.rephase.moves import PHASES, Rephasing, with_connections
from cosim.experiments.studies.rephase.search import Quadratic, best_moves
from cosim.experiments.unbalance_tables import Unbalance, analyse, describe, write_unbalance
from cosim.measures import neutral_current_a, scoreboard, unbalance_current_a2
from cosim.measures.balance import valid

SHOWN = (
    "unbalance_current_mean_a2", "neutral_current_p95_a", "i2_p95_a", "vuf_p95_percent", "vuf_max_percent",
    "v0_p95_percent", "pui_mean_percent", "pvur_max_percent", "voltage_min_pu", "voltage_max_pu", "overvoltage_min",
    "transformer_peak_percent", "transformer_overload_min", "line_peak_percent", "losses_kwh",
)  # fmt: skip
CONTROL = (
    "neutral_current_p95_a", "unbalance_current_mean_a2", "vuf_p95_percent", "overvoltage_min", "losses_kwh",
    "pv_curtailed_kwh", "cost_eur",
)  # fmt: skip
LEAST_WON_A = 0.5
AFTER = style.RUN_COLOURS[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class RephaseResult(StudyResult):
    """Adds both trajectories by OpenDSS, and the unbalance in them, ``before`` and ``after``; ``beside`` them more."""

    days: Mapping[str, Trajectory]
    unbalance: Mapping[str, Unbalance]
    beside: Mapping[str, Trajectory]


class Rephase(Study[RephaseConfig, RephaseResult]):
    """Writes ``rephase.json``, ``moves.csv``, ``phase_loads.csv`` and unbalance before and after, besides the usual."""

    name = "rephase"
    packages = ("lv-feeder-cosim", "opendssdirect.py", "numpy", "pandas", "scipy")
    source = "the scenario; what is minimised is in docs/unbalance.md"

    def folder_name(self, config: RephaseConfig) -> str:
        """Name the folder after the scenario."""
        return f"rephase-{scenarios.read(config.scenario).name}"

    def run(self, config: RephaseConfig, progress: Progress) -> RephaseResult:
        """Run the day, compare moves, and run it again with the best of them; InputError where nobody can be moved."""
        day = load(config.scenario, seed=config.seed)
        item = only(day.scenario, config.controller, "--controller").runs[0]
        progress("Running the day")
        before = valid(day.run_spec(item).trajectory)
        progress("Comparing moves")
        loads = Rephasing(before, [name.strip() for name in config.candidates.split(",") if name.strip()])
        quadratic = Quadratic(*loads.linear())
        choice = best_moves(quadratic, loads.customer, config.moves, loads.value_a2, day.scenario.stream("rephase"))
        moves = [loads.moves[row] for row in choice.moves]
        moved = replace(day, feeder=with_connections(day.feeder, [move.connection for move in moves]))
        progress("Running the day with the moves")
        days = {"before": before, "after": valid(moved.run_spec(item).trajectory)}
        beside = {f"{item.name}": before, f"{item.name}, moved": days["after"]}
        for name in config.controllers_beside:
            progress(f"Running the day under {name}")
            spec = only(day.scenario, name, "--beside").runs[0]
            beside |= {name: valid(day.run_spec(spec).trajectory)}
            beside |= {f"{name}, moved": valid(moved.run_spec(spec).trajectory)}
        cases: Cases = {label: _metrics(run) for label, run in (days | beside).items()}
        control = compared({label: cases[label] for label in beside}, config.move_eur * len(moves))
        listed = pd.DataFrame(
            [(move.customer, move.connection.bus, move.from_phase, move.to_phase) for move in moves],
            columns=["customer", "bus", "from_phase", "to_phase"],
        )
        how = {"scenario": day.scenario.name, "seed": day.scenario.seed, "controller": item.name}
        return RephaseResult(
            cases=cases, lines=lines_of(self.name, moves=moves, choice=choice, cases=cases, control=control), days=days,
            tables={"phase_loads.csv": phase_loads(days), "moves.csv": listed, "control.csv": control}, beside=beside,
            documents={"rephase.json": {**how, **asdict(choice), "moves": listed.to_dict(orient="records")}},
            facts=how, inputs=[day.path], reproducible=all(run.reproducible for run in days.values()),
            unbalance={label: analyse(run) for label, run in days.items()},
        )  # fmt: skip

    def figures(self, result: RephaseResult) -> dict[str, style.Drawing]:
        """Draw the transformer's currents before and after, and what is left in the neutral under control."""
        currents = draw_currents(result.days["before"], result.days["after"])
        return {"rephase.png": currents, "control.png": draw_neutral(result.beside)}

    def write(self, result: RephaseResult, folder: Path) -> None:
        """Write every index at every bus and line, and what customers add to the worst, of both days."""
        for label, found in result.unbalance.items():
            write_unbalance(found, folder / label)

    def report(self, result: RephaseResult, captions: Mapping[str, str]) -> str:
        """Tell what is moved, and what that changes."""
        table = pd.DataFrame({label: result.cases[label] for label in result.days}).reindex(
            [name for name in SHOWN if name in result.cases["before"]]
        )
        changed = table.assign(change=table["after"] - table["before"]).rename_axis("metric").reset_index()
        return from_template(
            self.name, result=result, changed=changed, figures=captions,
            worst={label: describe(found) for label, found in result.unbalance.items()},
        )  # fmt: skip


def compared(cases: Cases, moves_eur: float) -> pd.DataFrame:
    """Return what moves, control and both do, against the first: a row per case.

    ``moves_eur`` is paid once; energy, bill and neutral current are of this day. What one ampere less costs is nan
    where there is none less.
    """
    rows, first = [], next(iter(cases.values()))
    for label, case in cases.items():
        won_a = first["neutral_current_p95_a"] - case["neutral_current_p95_a"]
        per_a = 1.0 / won_a if won_a > LEAST_WON_A else np.nan
        rows.append({
            "case": label,
            **{name: case[name] for name in CONTROL},
            "moves_eur": moves_eur if label.endswith(", moved") else 0.0,
            "neutral_won_a": won_a,
            "curtailed_kwh_per_a": (case["pv_curtailed_kwh"] - first["pv_curtailed_kwh"]) * per_a,
            "bill_eur_per_a": (case["cost_eur"] - first["cost_eur"]) * per_a,
        })  # fmt: skip
    return pd.DataFrame(rows)


def draw_neutral(runs: Mapping[str, Trajectory]) -> style.Drawing:
    """Draw for how long the neutral current exceeds what, in every case."""
    figure, ((axes,),) = style.sheet(style.Block(1, 1, 3.0, share_x=False, share_y=False))
    keys = []
    for number, (label, run) in enumerate(runs.items()):
        colour = style.RUN_COLOURS[number % len(style.RUN_COLOURS)]
        values = np.sort(neutral_current_a(run.transformer_current_a))[::-1]
        axes.plot(np.arange(1, len(values) + 1) * run.step_h, values, color=colour)
        keys.append(style.line_key(colour, f"{label}: 95 % {np.percentile(values, 95):.0f} A"))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("exceeded for [h]")
    axes.set_ylabel("neutral current [A]")
    caption = "What is left in the transformer's neutral: as it is, with homes moved, under control, and with both."
    return style.finish(figure, "Re-phase or control?", caption, keys)


def phase_loads(days: Mapping[str, Trajectory]) -> pd.DataFrame:
    """Return customers, energy and peaks of each phase, a row per day and phase."""
    tables = []
    for label, run in days.items():
        share, of_cars = run.feeder.phase_matrix, run.feeder.charger_phase_matrix
        phase_kw = (run.net_kw - run.ev_kw) @ share + run.ev_kw @ of_cars
        current_a = np.abs(run.transformer_current_a[:, :3])
        tables.append(pd.DataFrame({
            "day": label,
            "phase": PHASES,
            "customers": (share > 0).sum(axis=0),
            "import_kwh": np.maximum(phase_kw, 0.0).sum(axis=0) * run.step_h,
            "export_kwh": np.maximum(-phase_kw, 0.0).sum(axis=0) * run.step_h,
            "peak_import_kw": phase_kw.max(axis=0),
            "peak_export_kw": np.maximum(-phase_kw.min(axis=0), 0.0),
            "mean_current_a": current_a.mean(axis=0),
            "peak_current_a": current_a.max(axis=0),
        }))  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def _metrics(run: Trajectory) -> dict[str, float]:
    unbalance_a2 = unbalance_current_a2(run.monitored_current_a).sum(axis=1)
    return {**scoreboard(run), "unbalance_current_mean_a2": float(unbalance_a2.mean())}


def draw_currents(before: Trajectory, after: Trajectory) -> style.Drawing:
    """Draw phases and neutral of both days."""
    figure, (phases, neutral) = style.sheet(
        style.Block(2, 2, 2.0), style.Block(2, 2, 2.0, share_x=False, share_y=False)
    )
    edges = style.edges(before.exogenous.start, before.step_min, before.steps)
    for axes, run, label in zip(phases, (before, after), ("before", "after"), strict=True):
        _phases(axes, edges, run)
        peak_a = float(np.abs(run.transformer_current_a).max())
        style.panel_title(axes, f"Phases {label}", f"peak {peak_a:.0f} A")
        style.clock_axis(axes, (edges[0], edges[-1]))
    phases[0].set_ylabel("current [A]")
    before_a, after_a = (neutral_current_a(run.transformer_current_a) for run in (before, after))
    for values, colour in ((before_a, style.REFERENCE), (after_a, AFTER)):
        style.steps(neutral[0], edges, values, colour)
        neutral[1].plot(np.arange(1, len(values) + 1) * before.step_h, np.sort(values)[::-1], color=colour)
    style.clock_axis(neutral[0], (edges[0], edges[-1]))
    neutral[1].set_xlabel("exceeded for [h]")
    for axes, name in zip(neutral, ("Neutral current at the transformer |Ia+Ib+Ic|", "Duration curve"), strict=True):
        axes.set_ylim(bottom=0)
        axes.set_ylabel("neutral current [A]")
        style.panel_title(axes, name)
    keys = [style.line_key(c, f"phase {p}") for p, c in enumerate(style.PHASE_COLOURS, 1)]
    keys += [style.line_key(style.REFERENCE, "neutral before"), style.line_key(AFTER, "neutral after")]
    usual_a, better_a = (float(np.percentile(values, 95)) for values in (before_a, after_a))
    title = f"Re-phasing: 95 % of the neutral current {usual_a:.0f} A before, {better_a:.0f} A after"
    caption = (
        "Above: currents of the transformer's phases. Below: what is left of them in the neutral, over time and sorted."
    )
    return style.finish(figure, title, caption, keys)


def _phases(axes: Axes, edges: Float, run: Trajectory) -> None:
    for current_a, colour in zip(np.abs(run.transformer_current_a).T, style.PHASE_COLOURS, strict=False):
        style.steps(axes, edges, current_a, colour)
    rating_a = run.feeder.transformer_rating_a
    if np.isfinite(rating_a):
        style.limit_line(axes, rating_a, f"rated\n{rating_a:.0f} A")
    axes.set_ylim(bottom=0)
