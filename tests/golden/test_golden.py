"""Every golden is what the code does now, and everything that can be chosen has one; to renew: see ``__main__``."""

from __future__ import annotations

from types import ModuleType

import pytest

from cosim import controllers
from tests.golden.cases import all_cases, lacking
from tests.golden.values import RENEW, differences, read, taken

GOLDENS, CASES = read(), all_cases()


def _marked(name: str) -> object:
    return pytest.param(name, marks=pytest.mark.slow) if CASES[name].slow else name


@pytest.mark.parametrize("name", [_marked(name) for name in CASES])
def test_it_does_what_it_did(name: str) -> None:
    assert name in GOLDENS, f"no golden for '{name}' yet: {RENEW}"
    found = [str(one) for one in differences(name, GOLDENS[name], taken(CASES[name].run(), CASES[name].tied))]
    assert not found, "\n".join([f"{len(found)} differences; if they are meant: {RENEW}", *found])


def test_everything_that_can_be_chosen_has_a_golden() -> None:
    assert not lacking(), f"add cases to tests/golden/cases.py, then: {RENEW}; without a golden: {', '.join(lacking())}"


def test_no_golden_is_left_without_its_case() -> None:
    assert sorted(GOLDENS.keys() - CASES.keys()) == [], f"to drop them: {RENEW}"


def test_no_golden_rests_on_a_wall_clock() -> None:
    assert [name for name, values in GOLDENS.items() if not values["reproducible"] or not values["complete"]] == []


def test_a_new_controller_without_a_golden_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(controllers.REGISTRY, "newcomer", controllers.REGISTRY["none"])
    assert lacking() == ["controller 'newcomer'"]


def test_a_new_option_and_a_new_value_without_a_golden_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    known = controllers.options
    more = {"equal_share": {"rounding_kw": 0.5, "strictly": False}}
    monkeypatch.setattr(controllers, "options", lambda name: known(name) | more.get(name, {}))
    assert lacking() == ["equal_share.rounding_kw, other than 0.5", "equal_share.strictly = True"]


@pytest.mark.parametrize(
    ("quantity", "old", "new", "differs"),
    [
        ("metrics.cost_eur", 10.0, 10.001, False),
        ("metrics.cost_eur", 10.0, 10.01, True),
        ("step 6.net_kw", [1.0, "inf"], [1.0, 40.0], True),
        ("step 6.node_v", [230.0], [230.05], True),
        ("statuses", "3 optimal", "2 optimal", True),
        ("metrics.solve_gap_max", "nan", "nan", False),
        ("metrics.solve_gap_max", 0.0, "nan", True),
        ("metrics.losses_kwh", 1.0, None, True),
    ],
)
def test_what_counts_as_a_difference(quantity: str, old: object, new: object, differs: bool) -> None:
    assert bool(list(differences("case", {quantity: old}, {quantity: new} if new is not None else {}))) == differs


@pytest.fixture
def one_percent(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The controllers as they are when a margin is 1 % larger than it was."""
    make = controllers.make

    def changed(name, feeder, /, **given):
        if "margin_percent" in given:
            given["margin_percent"] *= 1.01
        return make(name, feeder, **given)

    monkeypatch.setattr(controllers, "make", changed)
    return controllers


def test_one_percent_of_a_parameter_is_seen(one_percent: ModuleType) -> None:
    name = "equal_share margin_percent=10.0"
    found = list(differences(name, GOLDENS[name], taken(CASES[name].run())))
    assert {one.quantity for one in found} >= {f"step {step}.import_cap_kw[0]" for step in (6, 24, 42)}
