"""The PowerTrip study as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cosim.experiments.figures.style import Drawing
from cosim.experiments.studies.base import Cases, Progress, Study, StudyResult, from_template
from cosim.experiments.studies.powertrip import data, figures, report
from cosim.experiments.studies.powertrip.data import Place, TripConfig, Weights
from cosim.experiments.studies.powertrip.measures import Delivered, Schedule, compare, deliver, disagreement, metrics
from cosim.experiments.studies.powertrip.model import CONTROLS, Controlled, control

BARE, BASELINE = "ev_no_pv", "ev_all_pv"
STATUTORY_V = 253.0


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
    config = TripConfig
    packages = ("lv-feeder-cosim", "opendssdirect.py", "pymoo", "numpy", "pandas", "pvlib", "matplotlib")
    source = "github.com/imenhbibi/Power_Trip at 0a50910; its data have no licence and are not shipped"

    def run(self, config: TripConfig, progress: Progress) -> TripResult:
        """Run both days without control, then every control with every pair of weights."""
        place, pairs = data.make_place(config), data.parse_weights(config.weights)
        progress("Both days without control")
        delivered = {
            BARE: deliver(place, Schedule(place.ev_kw, np.zeros_like(place.pv_available_kw))),
            BASELINE: deliver(place, Schedule(place.ev_kw, place.pv_available_kw)),
        }
        limited = replace(CONTROLS["voltage_control"], voltage_pu=data.parse_band(config.voltage_pu))
        decided: dict[str, Controlled] = {}
        for name, rules in (CONTROLS | {"voltage_control": limited}).items():
            progress(f"Searching fronts of {name}")
            decided[name] = control(place, rules, pairs, config)
            for pair, schedule in decided[name].schedules.items():
                delivered[case_name(name, pair)] = deliver(place, schedule)
        cases = {name: metrics(place, one) for name, one in delivered.items()}
        differing: dict[str, pd.DataFrame] = {}
        for name, one in delivered.items():
            # PV is compared with no PV, every control with PV and no control
            table = compare(delivered[BARE if name in (BARE, BASELINE) else BASELINE], one, place)
            differing[name] = table[table["verdict"] != ""]
            cases[name] |= disagreement(table) | {
                f"{key}_change_percent": report.change_percent(key + unit, cases[BASELINE], cases[name])
                for key, unit in (("f1_mean", ""), ("neutral_current_mean", "_a"), ("ev", "_kwh"))
            }
        tables = {
            "cases.csv": report.case_table(cases, len(place.lines)),
            "disagreements.csv": pd.concat(differing, names=["case"]).reset_index("case"),
        }
        for name, found in decided.items():
            cases[case_name(name, pairs[-1])] |= found.certificate
        of_last = {name: cases[case_name(name, pairs[-1])] for name in decided}  # the plain name: the last weights
        return TripResult(
            cases=cases | of_last, lines=_lines(cases, decided), tables=tables,
            facts={
                "evaluations": {name: found.evaluations for name, found in decided.items()},
                "infeasible_steps": {name: found.infeasible_steps for name, found in decided.items()},
            },
            inputs=sorted(place.feeder.master.parent.glob("*.dss")),
            config=config, place=place, delivered=delivered, decided=decided,
        )  # fmt: skip

    def figures(self, result: TripResult) -> dict[str, Drawing]:
        """Draw both cases without control, and every control with the last weights."""
        last = data.parse_weights(result.config.weights)[-1]
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
            weights=data.parse_weights(result.config.weights)[-1],
            limit_pu=data.parse_band(result.config.voltage_pu)[1],
            headroom_pu=STATUTORY_V / feeder.nominal_voltage_v - no_load_pu,
            table=result.tables["cases.csv"][["case", *report.COLUMNS]],
            by_line=report.line_table(listed, [line.name for line in place.lines]), captions=captions,
            change=report.change_percent, moves=report.moves, direction=report.direction, of_control=report.of_control,
        )  # fmt: skip


def case_name(control_name: str, pair: Weights) -> str:
    """Return the name of a case: control and weights in percent."""
    return f"{control_name}_{data.weights_name(pair)}"


def _lines(cases: Cases, decided: Mapping[str, Controlled]) -> list[str]:
    lines = [
        f"{name}: f1 {case['f1_mean']:.0f} ({case['f1_mean_change_percent']:+.0f} %), neutral current "
        f"{case['neutral_current_mean_a']:.1f} A ({case['neutral_current_mean_change_percent']:+.0f} %), PV used "
        f"{case['pv_use_percent']:.0f} %, charged {case['ev_kwh']:.1f} kWh, highest voltage "
        f"{case['voltage_max_pu']:.3f} pu"
        for name, case in cases.items()
    ]
    return lines + [
        f"{name}: in {found.infeasible_steps} steps no setpoint keeps the voltage limits"
        for name, found in decided.items()
        if found.infeasible_steps
    ]
