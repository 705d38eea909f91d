"""The fleet-aggregation study: how well one battery stands for many cars, on weeks it has not seen and on a feeder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from cosim.experiments.files import origin, write_json
from cosim.experiments.studies.fleet_aggregation import day as fleet_loop
from cosim.experiments.studies.fleet_aggregation import exact as fleet_exact
from cosim.experiments.studies.fleet_aggregation.figures import write_figures
from cosim.experiments.studies.fleet_aggregation.model import CHOSEN, ONE_UNIT, ONE_WEEK, Order, Story, metrics, tell
from cosim.measures import json_safe
from cosim.record import write_whole

PACKAGES = ("lv-feeder-cosim", "highspy", "pyomo", "scipy", "numpy", "pandas", "matplotlib", "opendssdirect.py")


HOURLY = "map_1h"


@dataclass(frozen=True)
class Told:
    """What the study says on the screen, and its numbers."""

    cases: dict[str, dict[str, Any]]
    lines: list[str]


def reproduce(folder: Path, order: Order | None = None, *, loop: bool = True) -> Told:
    """Tell the study and write its folder.

    Parameters
    ----------
    folder : Path
        Receives ``metrics.json``, ``family.csv``, ``factors.csv``, ``figures/*.png``, ``report.md``,
        ``manifest.json`` and ``timing.json``.
    order : Order, optional
        Cars, weeks and seed.
    loop : bool
        Also run the default day under aggregates, on the feeder.

    Returns
    -------
    Told

    Raises
    ------
    InputError
        Sizes out of range.
    SolverError
        Where a programme ends without an answer that can be trusted.
    """
    order = (order or Order()).checked()
    timing, clock = {}, time.process_time()
    story = tell(order)
    timing["fit_cpu_s"], clock = time.process_time() - clock, time.process_time()
    checks = fleet_exact.check()
    timing["exact_cpu_s"], clock = time.process_time() - clock, time.process_time()
    kept = fleet_loop.run_loop(order.seed) if loop else {}
    timing["loop_cpu_s"] = time.process_time() - clock
    cases = {name: json_safe(numbers) for name, numbers in metrics(story).items()}
    figures = write_figures(story, kept, folder / "figures")
    write_json(folder / "metrics.json", {
        "cases": cases,
        "exact": [json_safe_row(asdict(check)) for check in checks],
        "cycled_kwh": story.cycled_kwh,
        "loop": {name: one.metrics for name, one in kept.items()},
    })  # fmt: skip
    _write_table(folder / "family.csv", family_table(story))
    _write_table(folder / "factors.csv", factor_table(story))
    write_json(folder / "timing.json", timing)
    write_json(folder / "manifest.json", _manifest(order, story))
    report = _report(order, story, cases, checks, kept, figures)
    write_whole(folder / "report.md", lambda temporary: temporary.write_text(report, encoding="utf-8"))
    return Told(cases, _lines(cases, kept))


def json_safe_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers that JSON can hold; words stay."""
    numbers = json_safe({key: value for key, value in row.items() if not isinstance(value, str)})
    return {key: numbers.get(key, value) for key, value in row.items()}


def family_table(story: Story) -> pd.DataFrame:
    """Every aggregate among which the choice was made: recipe and errors."""
    return pd.DataFrame([
        {**asdict(one.model.recipe), "factors_per_family": one.model.recipe.factors,
         **{f"rmse_charge_{name}_kw": getattr(one, name).rmse_charge_kw for name in ("training", "validation", "test")},
         "missing_test_kwh": one.test.missing_kwh}
        for one in story.family
    ])  # fmt: skip


def factor_table(story: Story) -> pd.DataFrame:
    """Factors of the chosen aggregate: a row for each unit and block."""
    model, rows = story.cases[CHOSEN].model, []
    names = ("charge_low", "charge_high", "discharge_low", "discharge_high", "level_low", "level_high")
    for unit, (cars, factors) in enumerate(zip(model.members, model.factors, strict=True)):
        for block, values in enumerate(factors.value.T):
            rows.append({"unit": unit, "cars": len(cars), "first_hour": block * factors.block_h,
                         **dict(zip(names, values, strict=True))})  # fmt: skip
    return pd.DataFrame(rows)


def _write_table(path: Path, table: pd.DataFrame) -> None:
    write_whole(path, lambda temporary: table.to_csv(temporary, index=False, float_format="%.6g"))


def _manifest(order: Order, story: Story) -> dict[str, Any]:
    return {
        "study": "fleet_aggregation",
        **asdict(order),
        "reproducible": True,
        "chosen": asdict(story.cases[CHOSEN].model.recipe),
        **origin(PACKAGES),
        "source": "model: arXiv:2506.04843 (nomenclature, abstract); cars, trips and prices drawn: fleet_data.py",
    }


def _report(
    order: Order,
    story: Story,
    cases: Mapping[str, Any],
    checks: list[fleet_exact.Check],
    kept: Mapping[str, fleet_loop.Kept],
    figures: Mapping[str, str],
) -> str:
    environment = Environment(  # noqa: S701 - plain text, not HTML
        loader=PackageLoader("cosim.experiments", "studies/fleet_aggregation"), trim_blocks=True, lstrip_blocks=True,
        undefined=StrictUndefined, keep_trailing_newline=True,
    )  # fmt: skip
    template = environment.get_template("report.md.j2")
    maps = {f"map_{block_h}h": cases[f"map_{block_h}h"] for block_h in story.maps}
    return template.render(
        order=order, cases=cases, maps=maps, one_week=cases[ONE_WEEK],
        hourly=cases[HOURLY], chosen=cases[CHOSEN], single=cases[ONE_UNIT],
        best_map=min(maps.values(), key=lambda case: case["rmse_bilevel_kw"]), checks=checks, figures=figures,
        loop={name: one.metrics for name, one in kept.items()}, tried=len(story.family),
        recipe=story.cases[CHOSEN].model.recipe, cycled_kwh=story.cycled_kwh,
    ).lstrip()  # fmt: skip


def _lines(cases: Mapping[str, Mapping[str, Any]], kept: Mapping[str, fleet_loop.Kept]) -> list[str]:
    lines = ["Charging RMSE, test weeks [kW]; reduction against the simple sum in sample, out of sample [%]"]
    lines += [
        f"  {name}: {case['rmse_bilevel_kw']:.1f} kW; {case['reduction_in_sample_percent']:.0f} %, "
        f"{case['reduction_out_of_sample_percent']:.0f} %"
        for name, case in cases.items()
    ]
    lines += [
        f"  on the feeder, {name}: {one.metrics['missed_kwh']:.0f} of {one.metrics['promised_kwh']:.0f} kWh "
        f"not delivered as promised, unserved {one.metrics['unserved_kwh']:.1f} kWh"
        for name, one in kept.items()
    ]
    return lines
