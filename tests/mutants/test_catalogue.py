"""The catalogue of mutants cannot rot: every line that it would change is still there, once, and matters."""

from __future__ import annotations

from collections import Counter

from tests.mutants.catalogue import catalogue


def test_every_mutant_still_changes_one_line_and_names_tests_that_are_there() -> None:
    assert [fault for mutant in catalogue() for fault in mutant.faults()] == []


def test_the_catalogue_is_as_long_as_promised_and_says_why() -> None:
    mutants = catalogue()
    assert len(mutants) >= 60
    assert [name for name, count in Counter(mutant.name for mutant in mutants).items() if count > 1] == []
    assert [mutant.name for mutant in mutants if not (mutant.why and mutant.tests)] == []
