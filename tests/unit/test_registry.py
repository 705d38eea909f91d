"""Controllers by name: found, described, and refused with a remedy."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Literal

import pytest

from cosim import controllers
from cosim.contract import Feeder
from cosim.errors import InputError


def test_the_baselines_and_both_flagships_are_there() -> None:
    rules = ("none", "on_arrival", "even", "equal_share", "dimming", "droop")
    optimising = ("bilevel_caps", "pareto", "cpo_planner", "aggregator", "envelopes", "optimum")
    assert controllers.names() == rules + optimising
    assert controllers.describe("none") == "Set no limit: the uncontrolled baseline."


@pytest.mark.parametrize("name", controllers.names())
def test_every_option_is_explained_itself(name: str) -> None:
    texts = controllers.option_texts(name)
    assert list(texts) == list(controllers.options(name))
    for key, text in texts.items():
        assert len(text) > len("[kW]."), key
        assert not text.startswith("See"), key
        assert not re.search(r"see ``|(?<!`)`\w+`(?!`)|``[A-Z]", text), f"{key} sends the reader elsewhere: {text}"
    for key, value in texts.items():  # a text that two options share explains neither
        assert list(texts.values()).count(value) == 1, key


def test_an_option_is_described_where_it_is_defined() -> None:
    texts = controllers.option_texts("bilevel_caps")
    assert "smallest rooms" in texts["levels"]
    assert "the beginning of a slot" in texts["limit_on"]
    assert texts["limit_on"].endswith("where ties are not unique.")


def test_who_needs_a_predictor() -> None:
    needing = {name for name in controllers.names() if controllers.needs_predictor(name)}
    assert "pareto" in needing
    assert not needing & {"none", "on_arrival", "even", "equal_share", "dimming", "droop"}


@pytest.mark.parametrize(("typo", "meant"), [("paretto", "pareto"), ("equal-share", "equal_share"), ("Droop", "droop")])
def test_an_unknown_name_gets_a_suggestion(two_bus: Feeder, typo: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"no controller '{typo}' → did you mean '{meant}'"):
        controllers.make(typo, two_bus)
    with pytest.raises(InputError, match="known: none, on_arrival, even, equal_share"):
        controllers.describe("zzz")


class Choosy:
    """Takes options of every type."""

    every_step = False

    def __init__(
        self,
        feeder: Feeder,  # noqa: ARG002 - the protocol's signature
        predictor: object,
        *,
        needed: float,
        seed: int = 0,
        share: float | None = None,
        count: int = 1,
        loud: bool = False,
        mode: Literal["fast", "slow"] = "fast",
        parts: Sequence[str] = (),
    ) -> None:
        self.given = (predictor, seed, needed, share, count, loud, mode, tuple(parts))


@pytest.fixture
def choosy(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("a_controller_of_a_user")
    module.Choosy = Choosy  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(controllers.REGISTRY, "choosy", "a_controller_of_a_user:Choosy")


@pytest.mark.usefixtures("choosy")
def test_what_fits_is_handed_over(two_bus: Feeder) -> None:
    predictor: object = object()
    made = controllers.make(
        "choosy",
        two_bus,
        predictor=predictor,
        seed=7,
        needed=1,
        share=None,
        count=2,
        loud=True,
        mode="slow",
        parts=["a"],
    )  # type: ignore[arg-type]
    assert made.given == (predictor, 7, 1, None, 2, True, "slow", ("a",))  # type: ignore[attr-defined]


@pytest.mark.usefixtures("choosy")
def test_all_wrong_options_are_named_at_once(two_bus: Feeder) -> None:
    wrong = {"share": "half", "count": 1.5, "loud": "yes", "mode": "medium", "parts": "ab", "cuont": 3, "zzz": 1}
    with pytest.raises(InputError) as refused:
        controllers.make("choosy", two_bus, **wrong)
    faults = {fault.key: fault for fault in refused.value.faults}
    assert faults.keys() == wrong.keys() | {"needed", "predictor"}
    assert all(fault.where == "controller 'choosy'" for fault in faults.values())
    assert faults["cuont"].remedy == "did you mean 'count'?"
    assert faults["zzz"].remedy == "use one of needed, share, count, loud, mode, parts"
    assert faults["mode"].remedy == "give one of fast, slow"
    assert faults["parts"].remedy == "give a list, each a text"
    assert "wrong type" in faults["count"].problem
    assert faults["needed"].problem == "is missing"


def test_a_truth_value_is_no_number_and_no_option_is_none_at_all(two_bus: Feeder) -> None:
    with pytest.raises(InputError, match="margin_percent: is True, of the wrong type → give a number"):
        controllers.make("equal_share", two_bus, margin_percent=True)
    with pytest.raises(InputError, match="margin: unknown option → did you mean 'margin_percent'"):
        controllers.make("equal_share", two_bus, margin=5.0)
    with pytest.raises(InputError, match="caps: unknown option → leave it out"):
        controllers.make("none", two_bus, caps=1)
    with pytest.raises(InputError, match="feeder: unknown option"):
        controllers.make("none", two_bus, feeder=1)
