"""Nothing broken comes in, nothing harmless is kept out: a sample of every door; all in ``make test-all``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.border.case import Case, examine
from tests.border.doors import all_cases, by_door

pytest.importorskip("openpyxl")
CASES = all_cases()
_RNG = np.random.default_rng(3)
SAMPLE = {
    str(cases[row]): cases[row]
    for cases in by_door(CASES).values()
    for row in _RNG.choice(len(cases), 1, replace=False)
}


def look(case: Case, folder: Path) -> None:
    seen = examine(case, folder)
    assert not seen.wrong, f"{case}: {seen.wrong}\n{seen.said[:2000]}"


@pytest.mark.parametrize("case", SAMPLE.values(), ids=str)
def test_a_sample_of_every_door(case: Case, tmp_path: Path) -> None:
    look(case, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if str(case) not in SAMPLE], ids=str)
def test_every_door(case: Case, tmp_path: Path) -> None:
    look(case, tmp_path)


def test_cases_are_many_of_every_kind_and_named_apart() -> None:
    assert len(CASES) >= 300
    assert len({str(case) for case in CASES}) == len(CASES)
    assert {case.verdict for case in CASES} == {"refused", "stopped", "accepted"}


def test_the_look_can_fail(tmp_path: Path) -> None:
    harmless = next(case for case in CASES if case.verdict == "accepted" and case.door == "scenario")
    expected = Case("scenario", "none", harmless.arguments, harmless.files, "refused")
    assert examine(expected, tmp_path).wrong == "accepted, not refused"
