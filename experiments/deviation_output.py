"""The deviation test of caps as rows for files and reports: what each kind of behaviour does to the limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cosim.contract import Float
from cosim.controllers.caps import DRAWS, CapsProblem, deviation_test
from cosim.record import write_whole

FILE_NAME = "deviation.csv"
CELLS = 2_000_000
"""Slots x cars of all draws of one kind: with many homes draws are fewer, and hardly differ from each other."""
FEWEST_DRAWS = 10

Rows = list[dict[str, Any]]


def deviation_rows(
    problem: CapsProblem, caps_kw: Float, rng: np.random.Generator, *, plan: str, limit_kw: Float | None = None
) -> Rows:
    """Return one row per kind of deviation, see `deviation_test`.

    Parameters
    ----------
    problem, caps_kw, rng, limit_kw
        As there.
    plan : str
        Whose caps these are, to tell several plans apart.
    """
    draws = int(np.clip(CELLS // max(problem.slots * problem.cars, 1), FEWEST_DRAWS, DRAWS))
    found = deviation_test(problem, caps_kw, rng, draws=draws, limit_kw=limit_kw)
    return [{"plan": plan, **asdict(row)} for row in found]


def write_deviations(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``deviation.csv``, whole or not at all."""
    table = pd.DataFrame(list(rows))
    write_whole(folder / FILE_NAME, lambda temporary: table.to_csv(temporary, index=False, lineterminator="\n"))
