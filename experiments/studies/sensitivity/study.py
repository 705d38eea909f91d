"""What the answer depends on: each input of a day moved alone, and what that does to five measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cosim.experiments import scenario as scenarios
from cosim.experiments.choose import only
from cosim.experiments.compose import compose
from cosim.experiments.figures import style
from cosim.experiments.remedies import load_toml
from cosim.experiments.scenario import Scenario
from cosim.experiments.studies.base import Cases, Progress, Study, StudyResult, from_template
from cosim.experiments.studies.sensitivity.config import SensitivityConfig

AS_IT_IS = "as it is"
_TABLES: dict[str, Any] = load_toml(Path(__file__).with_name("inputs.toml"))
MEASURES: dict[str, tuple[str, str]] = _TABLES["measures"]
"""What is looked at: a title, and the unit."""
INPUTS: dict[str, dict[str, Any]] = _TABLES["inputs"]
"""Inputs by name, each as the keys of a scenario that it changes."""
_BAR = "#9ecae1"


@dataclass(frozen=True, kw_only=True, eq=False)
class SensitivityResult(StudyResult):
    """Adds every run's measures: a row per input, controller and seed."""

    runs: pd.DataFrame


def changed(scenario: Scenario, keys: Mapping[str, Any]) -> Scenario:
    """Return a scenario with some keys set, all others as they are; InputError where they do not go together."""
    data = scenario.model_dump(exclude_unset=True)
    for key, value in keys.items():
        data[key] = {**data.get(key, {}), **value} if isinstance(value, dict) else value
    return Scenario.model_validate(data)


def effects(runs: pd.DataFrame) -> pd.DataFrame:
    """Difference of every run to the day as it is, of the same seed and controller."""
    keys = ["controller", "seed"]
    base = runs.loc[runs["input"] == AS_IT_IS, [*keys, *MEASURES]]
    both = runs[runs["input"] != AS_IT_IS].merge(base, on=keys, suffixes=("", "_before"))
    for measure in MEASURES:
        both[measure] -= both[f"{measure}_before"]
    return both[["input", *keys, *MEASURES]]


class Sensitivity(Study[SensitivityConfig, SensitivityResult]):
    """Writes ``runs.csv`` and ``effects.csv``, a figure of each controller, and the usual."""

    name = "sensitivity"
    packages = ("lv-feeder-cosim", "opendssdirect.py", "numpy", "pandas")
    source = "the scenario, each input changed alone"

    def run(self, config: SensitivityConfig, progress: Progress) -> SensitivityResult:
        """Run the day as it is, and with each input moved; InputError where one does not fit the scenario."""
        scenario = scenarios.read(config.scenario)
        items = [only(scenario, name, "--controllers").runs[0] for name in config.names]
        scenario = scenario.model_copy(update={"runs": tuple(items)})
        rows: list[dict[str, Any]] = []
        for seed in range(scenario.seed, scenario.seed + config.seeds):
            for name, keys in {AS_IT_IS: {}, **INPUTS}.items():
                progress(f"Seed {seed}: {name}")
                day = compose(changed(scenario, {**keys, "seed": seed}), scenarios.find(config.scenario))
                for item in items:
                    board = day.run_spec(item, engine=config.engine).metrics
                    rows.append(
                        {"input": name, "controller": item.name, "seed": seed} | {m: board[m] for m in MEASURES}
                    )
        runs = pd.DataFrame(rows)
        found = effects(runs)
        cases: Cases = {}
        for named, group in runs.groupby(["controller", "input"], sort=False):
            cases[": ".join(map(str, named))] = {measure: float(group[measure].mean()) for measure in MEASURES}
        return SensitivityResult(
            cases=cases, lines=_lines(found), runs=runs,
            tables={"runs.csv": runs, "effects.csv": found},
            facts={"scenario": scenario.name, "seeds": config.seeds, "engine": config.engine},
            inputs=[scenarios.find(config.scenario)],
        )  # fmt: skip

    def figures(self, result: SensitivityResult) -> dict[str, style.Drawing]:
        """Draw what each input moves, a figure per controller."""
        return {
            f"depends_{controller}.png": draw_effects(result.runs[result.runs["controller"] == controller])
            for controller in dict.fromkeys(result.runs["controller"])
        }

    def report(self, result: SensitivityResult, captions: Mapping[str, str]) -> str:
        """Set means over the draws side by side, a table per controller."""
        means = result.runs.groupby(["controller", "input"], sort=False)[list(MEASURES)].mean()
        tables = {
            str(controller): table.droplevel("controller").reset_index()
            for controller, table in means.groupby(level="controller", sort=False)
        }
        return from_template(self.name, result=result, tables=tables, figures=captions)


def _lines(found: pd.DataFrame) -> list[str]:
    """The input that moves each measure most, under each controller."""
    means = found.groupby(["controller", "input"], sort=False)[list(MEASURES)].mean()
    lines = []
    for controller in dict.fromkeys(found["controller"]):
        own = means.loc[controller]
        told = [_most(own[measure], measure) for measure in MEASURES if own[measure].abs().max() > 0.0]
        lines.append(f"{controller}: moved most: {'; '.join(told)}")
    return lines


def _most(of_inputs: pd.Series, measure: str) -> str:
    values = of_inputs.to_numpy(float)
    row = int(np.abs(values).argmax())
    return f"{measure} {values[row]:+.3g} ({of_inputs.index[row]})"


def draw_effects(runs: pd.DataFrame) -> style.Drawing:
    """Draw the measures of every input, a point per draw and a bar from the day as it is to the mean."""
    names = [name for name in dict.fromkeys(runs["input"]) if name != AS_IT_IS]
    figure, (panels,) = style.sheet(
        style.Block(len(MEASURES), len(MEASURES), 0.24 * len(names), share_x=False), left_in=2.9, gap_in=0.25
    )
    found, places = effects(runs), np.arange(len(names))[::-1]
    base = runs[runs["input"] == AS_IT_IS]
    for axes, (measure, (label, unit)) in zip(panels, MEASURES.items(), strict=True):
        of_inputs = [found.loc[found["input"] == name, measure].to_numpy(float) for name in names]
        axes.barh(places, [values.mean() for values in of_inputs], color=_BAR, height=0.6)
        for place, values in zip(places, of_inputs, strict=True):
            axes.plot(values, np.full(len(values), place), ".", color="black", markersize=4)
        axes.axvline(0.0, color=style.REFERENCE, linewidth=0.8)
        axes.margins(x=0.12)
        if not found[measure].any():
            axes.set_xlim(-1.0, 1.0)
        axes.set_xlabel(f"change [{unit}]")
        style.panel_title(axes, label, f"{base[measure].mean():.3g} {unit}")
    panels[0].set_yticks(places, names)
    controller, seeds = str(runs["controller"].iloc[0]), runs["seed"].nunique()
    title = f"What the answer depends on, under {controller}: each input moved alone"
    drawn = f"{seeds} draws" if seeds > 1 else "one draw"
    caption = f"Bars: mean change over {drawn} of the day; points: each draw. Beside the titles: the mean as it is."
    return style.finish(figure, title, caption)
