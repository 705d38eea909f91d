"""All doors together: classics in full, and of the values at every key of a scenario as many as a minute allows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from tests.border import code, commands, requests, scenarios, tables
from tests.border.case import Case

SEED = 11
OF_KEYS = 200
"""Of more than 600 values at keys of a scenario; another seed takes others."""


def all_cases(seed: int = SEED) -> list[Case]:
    """Every case, in the order of its door."""
    values = list(scenarios.by_key())
    rows = np.sort(np.random.default_rng(seed).choice(len(values), OF_KEYS, replace=False))
    doors = (
        scenarios.by_file, tables.profiles, tables.sessions, requests.plan, requests.workbooks, commands.options,
        commands.controllers, code.code, code.folders, code.circuits,
    )  # fmt: skip
    return [*(values[row] for row in rows), *(case for door in doors for case in door())]


def by_door(cases: Iterable[Case]) -> dict[str, list[Case]]:
    """Cases of each door."""
    found: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        found[case.door].append(case)
    return dict(found)
