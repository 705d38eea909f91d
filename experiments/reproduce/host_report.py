"""The study in words: what the seed set out to do, what went wrong, what mends it, and the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from cosim.controllers.caps import CapsProblem
from cosim.experiments.reproduce.host_released import Comparison
from cosim.experiments.reproduce.host_story import Cases
from cosim.record import write_whole


def write_report(
    path: Path,
    cases: Cases,
    figures: Mapping[str, str],
    proof: Mapping[str, Any] | None,
    problem: CapsProblem,
    compared: Comparison,
) -> None:
    """Write ``report.md``.

    Parameters
    ----------
    path : Path
        The file.
    cases : mapping
        Numbers of every case.
    figures : mapping of str to str
        Caption by file name.
    proof : mapping or None
        ``proof.json`` of a run at a size of one's own.
    problem, compared : CapsProblem, Comparison
        What plans were compared for, and what came out.
    """
    environment = Environment(  # noqa: S701 - plain text, not HTML
        loader=PackageLoader("cosim.experiments", "reproduce"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    text = environment.get_template("host_capacity.md.j2").render(
        one=cases["single_house"],
        thirty=cases["thirty_houses"],
        split=cases["thirty_houses_another_split"],
        published=cases["published"],
        alone=cases["first_formulation_single_house"],
        first=cases["first_formulation_thirty_houses"],
        proof=proof,
        compared_for=problem,
        plans={name: cases[f"plan_{name}"] for name in compared.plans},
        endings={name: plan.result.status for name, plan in compared.plans.items()},
        released=cases.get("released"),
        why_alone=compared.why_alone,
        skipped=compared.skipped,
        deviations=compared.deviations,
        figures=figures,
    )
    write_whole(path, lambda temporary: temporary.write_text(text.lstrip(), encoding="utf-8"))
