"""The PowerTrip study as a whole: its cases, tables, and sentences that depend on the signs and sizes of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cosim.experiments.figures.style import Drawing
from cosim.experiments.studies.base import Progress, Study, StudyResult, from_template, lines_of
from cosim.experiments.studies.powertrip import data, figures
from cosim.experiments.studies.powertrip.config import TripConfig, Weights, parse_band, parse_weights, weights_name
from cosim.experiments.studies.powertrip.data import Place
from cosim.experiments.studies.powertrip.measures import Delivered, Schedule, compare, deliver, disagreement, metrics
from cosim.experiments.studies.powertrip.model import CONTROLS, Controlled, control

BARE, BASELINE = "ev_no_pv", "ev_all_pv"
STATUTORY_V = 253.0
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


@dataclass(frozen=True, kw_only=True, eq=False)
class TripResult(StudyResult):
    """What the study found.

    Attributes
    ----------
    config : TripConfig
        What was asked.
    place : Place
        Feeder and day.
    delivered : dict of str to Delivered
        Power flow of each case.
    decided : dict of str to Controlled
        What each control chose.
    """

    config: TripConfig
    place: Place
    delivered: dict[str, Delivered]
    decided: dict[str, Controlled]


class PowerTrip(Study[TripConfig, TripResult]):
    """Besides what every study writes: ``cases.csv`` and ``disagreements.csv``."""

    name = "powertrip"
    packages = ("lv-feeder-cosim", "opendssdirect.py", "pymoo", "numpy", "pandas", "pvlib", "matplotlib")
    source = "github.com/imenhbibi/Power_Trip at 0a50910; its data have no licence and are not shipped"

    def run(self, config: TripConfig, progress: Progress) -> TripResult:
        """Run both days without control, then every control with every pair of weights."""
        place, pairs = data.make_place(config), parse_weights(config.weights)
        progress("Both days without control")
        delivered = {
            BARE: deliver(place, Schedule(place.ev_kw, np.zeros_like(place.pv_available_kw))),
            BASELINE: deliver(place, Schedule(place.ev_kw, place.pv_available_kw)),
        }
        limited = replace(CONTROLS["voltage_control"], voltage_pu=parse_band(config.voltage_pu))
        decided: dict[str, Controlled] = {}
        for number, (name, rules) in enumerate((CONTROLS | {"voltage_control": limited}).items(), 1):

            def said(step: str, title: str = f"Control {number} of {len(CONTROLS)}, {name}") -> None:
                progress(f"{title}: {step}")

            unlimited = decided["rated_control"] if name == "voltage_control" else None
            decided[name] = control(place, rules, pairs, config, said, unlimited)
            for pair, schedule in decided[name].schedules.items():
                delivered[case_name(name, pair)] = deliver(place, schedule)
        cases = {name: metrics(place, one) for name, one in delivered.items()}
        differing: dict[str, pd.DataFrame] = {}
        for name, one in delivered.items():
            # PV is compared with no PV, every control with PV and no control
            table = compare(delivered[BARE if name in (BARE, BASELINE) else BASELINE], one, place)
            differing[name] = table[table["verdict"] != ""]
            cases[name] |= disagreement(table) | {
                f"{key}_change_percent": change_percent(key + unit, cases[BASELINE], cases[name])
                for key, unit in (("f1_mean", ""), ("neutral_current_mean", "_a"), ("ev", "_kwh"))
            }
        tables = {
            "cases.csv": case_table(cases, len(place.lines)),
            "disagreements.csv": pd.concat(differing, names=["case"]).reset_index("case"),
        }
        for name, found in decided.items():
            cases[case_name(name, pairs[-1])] |= found.certificate
        of_last = {name: cases[case_name(name, pairs[-1])] for name in decided}  # the plain name: the last weights
        return TripResult(
            cases=cases | of_last, lines=lines_of(self.name, cases=cases, decided=decided), tables=tables,
            facts={
                "evaluations": {name: found.evaluations for name, found in decided.items()},
                "infeasible_steps": {name: found.infeasible_steps for name, found in decided.items()},
            },
            inputs=sorted(place.feeder.master.parent.glob("*.dss")),
            config=config, place=place, delivered=delivered, decided=decided,
        )  # fmt: skip

    def figures(self, result: TripResult) -> dict[str, Drawing]:
        """Draw both cases without control, and every control with the last weights."""
        last = parse_weights(result.config.weights)[-1]
        names = (BARE, BASELINE, *(case_name(name, last) for name in result.decided))
        drawn = figures.draw(result.place, {name: result.delivered[name] for name in names})
        return {f"figures/{name}.png": drawing for name, drawing in drawn.items()}

    def report(self, result: TripResult, captions: Mapping[str, str]) -> str:
        """Tell the study; every sentence depends on signs and sizes."""
        place, feeder = result.place, result.place.feeder
        nodes = [node for nodes in feeder.customer_nodes for node in nodes]
        no_load_pu = float(np.abs(feeder.network.no_load_v[nodes]).max() / feeder.nominal_voltage_v)
        listed = {name: result.cases[name] for name in result.delivered}
        return from_template(
            self.name, cases=result.cases, decided=result.decided, feeder=feeder, lines=len(place.lines),
            pv_units=len(place.pv_columns), steps=len(place.active), no_load_pu=no_load_pu,
            weights=parse_weights(result.config.weights)[-1],
            limit_pu=parse_band(result.config.voltage_pu)[1],
            headroom_pu=STATUTORY_V / feeder.nominal_voltage_v - no_load_pu,
            table=result.tables["cases.csv"][["case", *COLUMNS]],
            by_line=line_table(listed, [line.name for line in place.lines]), captions=captions,
            change=change_percent, moves=moves, direction=direction, of_control=of_control,
        )  # fmt: skip


def case_name(control_name: str, pair: Weights) -> str:
    """Return the name of a case: control and weights in percent."""
    return f"{control_name}_{weights_name(pair)}"


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
