"""The rules of the loop as others can check them: every rule can be broken, and is then named."""

from __future__ import annotations

import gc
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from cosim import BaseController, Setpoints
from cosim.contract import Decision
from cosim.errors import InputError
from cosim.experiments import cli
from cosim.plant import Plant
from cosim.testing import STEPS, check_controller, examine


class Good:
    """Lets cars charge at half power, and keeps every rule."""

    def __init__(self, feeder, *, seed=0, share=0.5, shape=None):
        self.homes, self.seed, self.share = len(feeder.customers) if shape is None else shape, seed, share

    def plan(self, forecast):  # noqa: ARG002 - the protocol
        self.rng = np.random.default_rng(self.seed)

    def decide(self, observation):  # noqa: ARG002 - the protocol
        free = np.full(self.homes, np.inf)
        return Setpoints(free, np.full(self.homes, 7.4 * self.share * self.rng.uniform(0.9, 1.0)), free)


class Wrong(Good):
    answer: object = None

    def decide(self, observation):
        return self.answer(super().decide(observation), observation)


def wrong(change):
    """A controller whose good answers are changed."""
    return type("Changed", (Wrong,), {"answer": staticmethod(change)})


def limits(value):
    return wrong(lambda good, _: Setpoints(good.import_cap_kw, value, good.pv_limit_kw))


class Sly(Good):
    """Makes what it is shown writable first."""

    def decide(self, observation):
        observation.ev_kw.setflags(write=True)
        observation.ev_kw[0] += 1.0
        return super().decide(observation)


class Touches(Good):
    def decide(self, observation):
        observation.ev_kw[0] = 1.0
        return super().decide(observation)


class Learns(Good):
    """Keeps something between two of its kind."""

    asked = 0

    def decide(self, observation):  # noqa: ARG002 - the protocol
        Learns.asked += 1
        return Setpoints(*[np.full(3, float(Learns.asked))] * 3)


class Peeks(Good):
    """Finds the plant behind the loop, and reads tomorrow's paper."""

    def __init__(self, feeder):
        super().__init__(feeder)
        self.feeder = feeder

    def decide(self, observation):
        if not hasattr(self, "plant"):
            plants = [found for found in gc.get_objects() if isinstance(found, Plant)]
            self.plant = next(plant for plant in plants if plant.feeder is self.feeder and plant.completed < STEPS)
        return Setpoints(self.plant.day.demand_kw[min(observation.step + 6, STEPS - 1)], *[np.full(3, np.inf)] * 2)


class Fails(Good):
    def decide(self, observation):
        return [][observation.step - 6] if observation.step >= 6 else super().decide(observation)


class Unready(Good):
    def plan(self, forecast):
        super().plan(forecast)
        forecast.nothing  # noqa: B018 - there is no such thing


class Untidy(Good):
    def artifacts(self):
        return {"steps": {}}


class Looks(Good):
    """Follows voltages, and says that it does not."""

    sees = "homes"

    def decide(self, observation):
        good = super().decide(observation)
        return Setpoints(
            good.import_cap_kw, np.where(observation.voltage_v > 230.0, good.ev_limit_kw, 2.0), *[np.full(3, np.inf)]
        )


class Refuses(BaseController, Good):
    def check(self, feeder, day):  # noqa: ARG002 - the protocol
        raise RuntimeError("not here")


BREAKS = {
    "setpoints: the answer is NoneType": wrong(lambda *_: None),
    r"setpoints: ev_limit_kw has shape \(2,\), not \(3,\)": limits(np.zeros(2)),
    "setpoints: ev_limit_kw is nan": limits(np.full(3, np.nan)),
    "setpoints: ev_limit_kw is -1 at 0": limits(np.full(3, -1.0)),
    "setpoints: ev_limit_kw is an array of bool": limits(np.zeros(3, bool)),
    r"setpoints: published_cap_kw has shape \(3,\), not \(48, 3\)": wrong(
        lambda good, _: Setpoints(*[good.ev_limit_kw] * 3, published_cap_kw=np.zeros(3))
    ),
    "setpoints: planned_kva is -1": wrong(lambda good, _: Setpoints(*[good.ev_limit_kw] * 3, planned_kva=-1.0)),
    "decision: is Decision": wrong(lambda good, _: Setpoints(*[good.ev_limit_kw] * 3, decision=Decision(""))),
    "decision: is not reproducible": wrong(
        lambda good, _: Setpoints(*[good.ev_limit_kw] * 3, decision=Decision("time_limit", reproducible=False))
    ),
    "unchanged: changes the observation at step 0": Sly,
    "unchanged: wants to change what it is shown": Touches,
    "repeatable: answers otherwise at step 0": Learns,
    "future: answers otherwise at step 18 on a day that differs from step 24 on": Peeks,
    r"test_testing.py, line \d+: decide: raised at step 6: IndexError": Fails,
    r"test_testing.py, line \d+: plan: raised: AttributeError": Unready,
    "artifacts: Untidy": Untidy,
    r"sees: answers otherwise at step \d+ where it sees no more than it says": Looks,
    r"Refuses check\(\) failed: RuntimeError: not here": Refuses,
}


@pytest.mark.parametrize("said", BREAKS)
def test_a_broken_rule_is_named_and_no_other(said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        check_controller(BREAKS[said])
    assert len(caught.value.faults) == 1, str(caught.value)


def test_all_broken_rules_are_named_at_once() -> None:
    class Worst(Untidy):
        def decide(self, observation):
            observation.ev_kw.setflags(write=True)
            observation.ev_kw[0] += 1.0
            return Setpoints(np.full(3, np.nan), np.zeros(2), np.full(3, -1.0))

    with pytest.raises(InputError) as caught:
        check_controller(Worst)
    assert [fault.key for fault in caught.value.faults] == ["unchanged", *["setpoints"] * 3, "artifacts"]


def test_a_good_one_passes_with_its_options() -> None:
    check_controller(Good, share=0.25)
    seen = examine(Good, share=0.25)
    assert max(setpoints.ev_limit_kw.max() for setpoints in seen.answered) <= 1.85
    assert len(seen.answered) == STEPS // 3
    assert 0.0 < seen.decide_mean_s <= seen.decide_max_s
    with pytest.raises(InputError, match="shore: unknown option → did you mean 'share'"):
        check_controller(Good, shore=1)


FILE = """
import numpy as np
from cosim import Setpoints

class Kept:
    def __init__(self, feeder, *, value: float = 1.0): self.limit_kw = np.full(len(feeder.customers), value)
    def plan(self, forecast): pass
    def decide(self, observation): return Setpoints(self.limit_kw, self.limit_kw, self.limit_kw)
"""


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file.py").write_text(FILE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for arguments, code, said in (
        (["file.py:Kept"], 0, r"keeps every rule; a decision takes [\d.e-]+ ms on the mean.*16 decisions"),
        (["file.py:Kept", "--option", "value=-1.0"], 2, "setpoints: import_cap_kw is -1 at 0"),
        (["file.py:Kept", "--option", "value"], 2, "is no OPTION=VALUE"),
        (["equal_share", "--option", "margin_percent=5.0"], 0, "keeps every rule"),
        (["file.py:Gone"], 2, "has no 'Gone'"),
    ):
        monkeypatch.setattr(sys, "argv", ["cosim", "check-controller", *arguments])
        found = 0
        try:
            cli.main()
        except SystemExit as stop:
            found = int(stop.code or 0)
        out = capsys.readouterr()
        assert found == code, out.err
        assert re.search(said, out.out + out.err)
