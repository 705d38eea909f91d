"""The catalogue of mutants cannot rot: every line that it would change is still there, once, and matters."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from tests.mutants.catalogue import ROOT, catalogue


def test_every_mutant_still_changes_one_line_and_names_tests_that_are_there() -> None:
    assert [fault for mutant in catalogue() for fault in mutant.faults()] == []


def test_the_catalogue_is_as_long_as_promised_and_says_why() -> None:
    mutants = catalogue()
    assert len(mutants) >= 60
    assert [name for name, count in Counter(mutant.name for mutant in mutants).items() if count > 1] == []
    assert [mutant.name for mutant in mutants if not (mutant.why and mutant.tests)] == []


UNSEEN = """
from tests.mutants.__main__ import report
from tests.mutants.catalogue import Mutant

line = "return min(index, 1.0)  # rounding must not make anybody more than equal"
tests = ("tests/unit/test_measures_energy.py",)
raise SystemExit(report([Mutant("unseen", "cosim/measures/fairness.py", line, "return 0.5", "nobody looks", tests)], 1))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "code", "said"),
    [(["-m", "tests.mutants", "jain_unsquared"], 0, "1 of 1 killed"), (["-c", UNSEEN], 1, "0 of 1 killed")],
    ids=["killed", "survived"],
)
def test_the_runner_tells_who_is_killed_and_changes_nothing(command: list[str], code: int, said: str) -> None:
    before = (ROOT / "cosim" / "measures" / "fairness.py").read_bytes()
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, said in done.stdout) == (code, True), done.stdout + done.stderr
    assert (ROOT / "cosim" / "measures" / "fairness.py").read_bytes() == before
