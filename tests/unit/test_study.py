"""A study: its worlds and their addresses, what is refused, and that results are those of single runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import ClassVar

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import cosim
from cosim.errors import InputError
from cosim.experiments import scenario as scenarios
from cosim.experiments.cli import app
from cosim.experiments.study import config, dataset, runner
from cosim.experiments.study.conduct import Tasks, check, conduct, show
from cosim.experiments.study.config import SHIPPED, Study, read
from cosim.experiments.study.tasks import Answer, Pool, Task, perform
from cosim.experiments.study.world import run_world
from cosim.experiments.study.worlds import Worlds

HEAD = 'name = "mine"\nscenario = "two_bus_evening"\n'
Make = Callable[..., Worlds]


@pytest.fixture
def study(tmp_path: Path) -> Make:
    def make(text: str, head: str = HEAD) -> Worlds:
        path = tmp_path / "mine.toml"
        path.write_text(head + text, encoding="utf-8")
        return Worlds(*read(path))

    return make


class InProcess(Pool):
    """Worked on by the test itself: beginning a process takes longer than all that it does."""

    waiting: ClassVar[list[Task]] = []

    @property
    def is_full(self) -> bool:
        return bool(self.waiting)

    def give(self, task: Task) -> None:
        self.waiting.append(task)

    def take(self, _timeout_s: float | None) -> Iterator[tuple[Task, Answer]]:
        task = self.waiting.pop()
        try:
            yield task, perform(task.target, task.payload)
        except KeyboardInterrupt:  # in place of a process that is gone
            yield task, Answer(failed="its process ended", killed=True)


def rows_of(worlds: Worlds) -> list[dict[str, object]]:
    return [dict(row) for point in worlds for row in run_world(Tasks(worlds).of(point).payload)]


def test_the_example_shows_every_key_and_every_shipped_study_is_valid() -> None:
    text = (SHIPPED / "example.toml").read_text(encoding="utf-8")
    schema = Study.model_json_schema()
    own = {name: table for name, table in schema["$defs"].items() if name not in ("ForecastTable",)}
    keys = {key for table in (schema, *own.values()) for key in table["properties"]}
    assert len(keys) > 25
    assert [k for k in keys if f"{k} =" not in text and f"[{k}]" not in text and f"[[{k}]]" not in text] == []
    for name in config.shipped():
        worlds = Worlds(*read(name))
        assert worlds.study.name == name
        assert config.about(name)
        worlds.check()


def test_worlds_are_the_product_of_what_is_given(study: Make) -> None:
    worlds = study("""
[days]
seasons = [{ name = "winter", dates = [2026-01-15, 2026-02-12], weight = 300 },
           { name = "summer", dates = [2026-07-15], weight = 65, change = { pv = { share = 1.0 } } }]
[factors]
ev_share = [0.4, 1.0]
placement = 3
forecast = { told = "oracle", guessed = { kind = "noisy", pv_error_percent = 40.0 } }
""")
    points = list(worlds)
    assert len(worlds) == len(points) == len(set(points)) == 3 * 3 * 2 * 2
    assert {point.placement for point in points} == {1, 2, 3}
    assert sum(point.weight for point in points) == 365 * 12
    summer = next(point for point in points if point.season == "summer" and point.forecast == "guessed")
    assert (summer.pv_share, summer.noncompliant_share, summer.feeder, summer.network) == (
        1.0,
        0.0,
        "two_bus",
        "as_built",
    )
    scenario = worlds.scenario(summer)
    assert (scenario.forecast.kind, scenario.forecast.pv_error_percent, scenario.draws) == ("noisy", 40.0, "keyed")
    assert scenario.start.isoformat() == "2026-07-15T16:00:00"


def test_an_explicit_list_takes_the_factors_that_it_leaves_out(study: Make) -> None:
    worlds = study("""
[factors]
placement = [7, 9]
ev_share = [0.1]
[[worlds]]
date = 2026-01-15
weight = 3.0
ev_share = 0.4
[[worlds]]
pv_share = 0.6
placement = 1
""")
    told = [(p.placement, p.date, p.weight, p.ev_share, p.pv_share) for p in worlds]
    day = date(2026, 1, 15)
    assert told == [(7, day, 3.0, 0.4, 0.0), (9, day, 3.0, 0.4, 0.0), (1, day, 1.0, 0.1, 0.6)]
    assert len(worlds) == 3


def test_days_of_a_year_stand_for_all_of_it(study: Make) -> None:
    points = list(study("[days]\nyear = 2024\nevery = 7\n"))
    assert (len(points), points[0].date, points[-1].date) == (53, date(2024, 1, 1), date(2024, 12, 30))
    assert sum(point.weight for point in points) == pytest.approx(366.0)


def test_a_world_is_the_scenario_that_a_file_would_say(study: Make, tmp_path: Path) -> None:
    worlds = study("""
[change]
pv = { cloud = "clear" }
[factors]
ev_share = [0.4]
pv_share = [0.7]
heat_pump_share = [0.3]
battery_share = [0.2]
placement = [9]
noncompliant_share = [0.5]
forecast = { noisy = { kind = "noisy", demand_error_percent = 5.0 } }
[days]
dates = [2026-07-15]
[[runs]]
controller = "equal_share"
options = { margin_percent = 3.0 }
""")
    by_hand = tmp_path / "by_hand.toml"
    by_hand.write_text("""
name = "two_bus_evening"
feeder = "two_bus"
draws = "keyed"
seed = 9
start = 2026-07-15T16:00:00
horizon_h = 16
step_min = 5
control_min = 15
grid = { transformer = { kva = 15, uk_percent = 4.0, load_loss_percent = 1.5 } }
households = { profiles = "january_weekday", noncompliant_share = 0.5 }
ev = { share = 0.4 }
pv = { share = 0.7, cloud = "clear" }
heat_pump = { share = 0.3 }
battery = { share = 0.2 }
forecast = { kind = "noisy", demand_error_percent = 5.0 }
runs = [{ controller = "equal_share", options = { margin_percent = 3.0 } }]
""")
    (point,) = worlds
    assert worlds.scenario(point).model_dump() == scenarios.read(by_hand).model_dump()


def test_the_address_is_that_of_the_content(study: Make, tmp_path: Path) -> None:
    def address(text: str, head: str = HEAD) -> str:
        worlds = study(text, head)
        return worlds.hash(next(iter(worlds)))

    plain = address("")
    own = tmp_path / "own.py"
    own.write_text("class Own: ...\n")
    named = '[[runs]]\ncontroller = "own.py:Own"\n'
    before = address(named)
    assert plain == address("keep = 'all'\n[factors]\nplacement = [4]\n")  # what is not of the world, and a default
    assert len({plain, before, address("engine = 'opendss'\n"), address("[factors]\nplacement = [5]\n")}) == 4
    own.write_text("class Own: ...  # other\n")
    after = address(named)
    assert after != before
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    own.rename(elsewhere / "own.py")
    assert address(named.replace("own.py", "elsewhere/own.py")) == after  # where a file lies is nobody's business


def test_feeders_of_paths_are_told_apart(study: Make, tmp_path: Path) -> None:
    source = Path(cosim.feeders.__file__).parent / "two_bus"
    for name in ("north/street", "south/street", "lane"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        for file in source.glob("*.dss"):
            (folder / file.name).write_bytes(file.read_bytes())
    names = 'feeder = ["north/street", "south/street/Master.dss", "./lane", "two_bus"]'
    worlds = study(f"[factors]\n{names}\n")
    assert list(worlds.feeders) == ["north/street", "south/street", "lane", "two_bus"]
    assert len({worlds.hash(point) for point in worlds}) == 4
    assert [point.feeder for point in worlds.of_each_feeder()] == list(worlds.feeders)


REFUSED = {
    "[factors]\nev_share = [60]\n": r"factors\.ev_share\.1: .*write 0\.6",
    "[factors]\nev_shar = [0.6]\n": r"factors\.ev_shar: unknown key → did you mean 'ev_share'",
    "[factors]\nplacement = 0\n": "factors.placement: is 0, out of range",
    "[factors]\nplacement = [3, 3]\n": "factors.placement: holds a value twice",
    "[days]\nyear = 2026\ndates = [2026-01-15]\n": "days.seasons: dates and year are given together → keep one of them",
    "[days]\ndates = [2026-01-15, 2026-01-15]\n": "days.dates: holds a value twice → give each once",
    "[days]\nseasons = [{ name = 'winter', dates = [2026-01-15, 2026-01-15], weight = 100 }]\n":
        r"days\.seasons\.1\.dates: holds a value twice",
    "[days]\nseasons = [{ name = 'winter', dates = [2026-01-15], weight = 9 },"
    " { name = 'cold', dates = [2026-01-16, 2026-01-15], weight = 9 }]\n":
        "days.seasons: 2026-01-15 is in winter and in cold, which change the same keys",
    "[factors]\nplacement = [1, 2]\n[[worlds]]\nev_share = 0.4\n[[worlds]]\nplacement = 2\nev_share = 0.4\n":
        "worlds.2: holds a world of worlds.1 again, the one of 2026-01-15 → give each once",
    "[days]\nevery = 7\n": "days.every: is given without a year",
    "worst_by = 'voltage_min'\n": "worst_by: .*did you mean 'voltage_min_pu'",
    "[change.ev]\nshare = 7\n": r"mine\.toml: change\.ev\.share: .*7 given",
    "[days]\nseasons = [{ name = 'hot', dates = [2026-07-15], weight = 9, change = { pv = { clouds = 'clear' } } }]\n":
        r"mine\.toml: days\.seasons\.1\.change\.pv\.clouds: unknown key → did you mean 'cloud'",
    "[change]\npv = { profiles = 'mine.toml' }\n[factors]\npv_share = [0.2, 0.4]\n": r"mine\.toml: factors\.pv_share: ",
    "[[worlds]]\nforecast = 'told'\n": "worlds.1.forecast: there is no forecast 'told' → define it in",
    "most_worlds = 5\n[factors]\nplacement = 3\nev_share = [0.1, 0.2]\n":
        r"has 6 worlds \(3 × placement, 2 × ev_share\)",
    "[change]\nhorizon_h = 1000\n": "scenario.horizon_h: is 1000 h, and a world of a study is 31 days at most",
    "[factors]\nforecast = { told = 'oracle' }\n[[runs]]\ncontroller = 'none'\nforecast = 'oracle'\n":
        "runs.1.forecast: is given beside factors.forecast → keep one of the two",
    "[change.grid]\naccept = []\n[factors]\nfeeder = ['nowhere']\n": "factors.feeder: no such feeder or file",
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_wrong_is_refused_before_anything_starts(text: str, study: Make) -> None:
    with pytest.raises(InputError) as caught:
        study(text).check()
    assert re.search(REFUSED[text], str(caught.value)), str(caught.value)


def test_a_fault_of_the_scenario_itself_stays_in_its_file(study: Make, tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text('name = "base"\nfeeder = "two_bus"\nev = { share = 7 }\n')
    with pytest.raises(InputError) as caught:
        study("[change]\nseed = -1\n", 'name = "mine"\nscenario = "base.toml"\n').check()
    found = {fault.key: Path(fault.where).name for fault in caught.value.faults}
    assert found == {"change.seed": "mine.toml"} | dict.fromkeys(("start", "ev.share", "runs"), "base.toml")


def test_all_faults_of_a_file_come_at_once(study: Make) -> None:
    with pytest.raises(InputError) as caught:
        study("engin = 'reduced'\n[factors]\nev_share = [2.0]\n[[runs]]\ncontroller = 'equal_shar'\n")
    assert {fault.key for fault in caught.value.faults} == {"engin", "factors.ev_share.1", "runs.1.controller"}


BARE = """
Clear
New Circuit.bare Bus1=1 BasekV=0.4 pu=1.0 phases=3 R1=0 X1=1e-3 R0=0 X0=1e-3
New LineCode.code nphases=3 R1=0.4 X1=0.1 R0=0.4 X0=0.1 C1=0 C0=0 Units=km
New Line.LINE1 Bus1=1 Bus2=2 Phases=3 LineCode=code Length=200 Units=m
New Load.LOAD1 Phases=1 Bus1=2.1 kV=0.23 kW=1 kvar=0
Set VoltageBases=[0.4]
CalcVoltageBases
"""


def test_a_feeder_without_a_rating_is_refused_for_a_controller_that_needs_one(study: Make, tmp_path: Path) -> None:
    (tmp_path / "bare.dss").write_text(BARE)
    (tmp_path / "plain.toml").write_text(
        'name = "plain"\nfeeder = "two_bus"\nstart = 2026-01-15T16:00:00\n[[runs]]\ncontroller = "dimming"\n'
    )
    head = 'name = "mine"\nscenario = "plain.toml"\n'
    assert check(study("", head)) == []
    with pytest.raises(InputError, match=r"Line.LINE1 NormAmps: the rating is needed by the controller 'dimming'"):
        check(study("[factors]\nfeeder = ['two_bus', 'bare.dss']\n", head))


def test_results_are_those_of_single_runs_and_a_second_start_repeats_none(
    study: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_pool", lambda *_: nullcontext(InProcess()))
    text = "keep = 'worst'\n[factors]\nplacement = {}\n[[runs]]\ncontroller = 'none'\n[[runs]]\ncontroller = 'even'\n"
    worlds, out = study(text.format("[4]")), tmp_path / "out"
    check(worlds)
    first = conduct(worlds, out)
    assert (first.done, first.before, first.failed) == (1, 0, 0)
    more = study(text.format("[4, 5]"))
    with pytest.raises(InputError, match="holds a study of which 1 worlds are finished → go on with it by --resume"):
        conduct(more, out)
    second = conduct(more, out, resume=True)
    assert (second.done, second.before) == (1, 1)
    found = dataset.read(out)
    assert list(zip(found.placement, found.controller, strict=True)).count((4, "none")) == 1
    day = cosim.load("two_bus_evening", seed=5)
    day = cosim.experiments.compose.compose(day.scenario.model_copy(update={"draws": "keyed"}), day.path)
    for controller in ("none", "even"):
        metrics = day.run(controller, engine="reduced").metrics
        row = found[(found.placement == 5) & (found.controller == controller)].iloc[0]
        assert (row.status, row.date, row.ev_share) == ("ok", date(2026, 1, 15), 1.0)
        told = {name: value for name, value in metrics.items() if value == value}
        assert {name: row[name] for name in told} == told
    worst = found.loc[found.groupby("controller").voltage_min_pu.idxmin()]
    kept = {(path.parent.name, path.name) for path in (out / "trajectories").glob("*/*")}
    assert kept >= set(zip(worst.hash, worst.controller, strict=True))  # beside those that were the worst at first
    told = json.loads((out / "study.json").read_text())
    assert (told["complete"], told["recorded"]) == (True, {"ok": 4})
    assert told["engine_crosscheck"]["two_bus"]["voltage_max_pu"] < 1e-7
    with pytest.raises(InputError, match="holds 1 worlds that the study does not have"):
        conduct(study(text.format("[5]")), out, resume=True)


def test_a_controller_that_kills_its_process_is_alone_with_that(
    study: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_pool", lambda *_: nullcontext(InProcess()))
    (tmp_path / "own.py").write_text(OWN)
    runs = "".join(f"[[runs]]\ncontroller = '{name}'\n" for name in ("none", "own.py:Kills", "even"))
    worlds = study(f"[change]\nhorizon_h = 1\n{runs}")
    counts = conduct(worlds, tmp_path / "out")
    assert (counts.done, counts.failed) == (1, 1)
    found = dataset.read(tmp_path / "out")
    assert list(found.controller) == ["none", "Kills", "even"]
    assert list(found.reason) == ["", "its process ended", ""]
    assert set(found.hash) == {worlds.hash(point) for point in worlds}
    assert found[found.controller == "even"].voltage_min_pu.notna().all()
    again = conduct(worlds, tmp_path / "out", resume=True)
    assert (again.before, again.done) == (1, 0)


@pytest.mark.parametrize("keep", ["worst", "all"])
def test_a_run_that_collapsed_is_the_worst_and_kept_up_to_there(
    keep: str, study: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_pool", lambda *_: nullcontext(InProcess()))
    weak = "change = { grid = { transformer = { kva = 11, uk_percent = 20.0, load_loss_percent = 1.5 } } }"
    worlds = study(f"""
keep = "{keep}"
[change]
horizon_h = 8
[days]
seasons = [{{ name = "strong", dates = [2026-01-15], weight = 1 }},
           {{ name = "weak", dates = [2026-01-15], weight = 1, {weak} }}]
[[runs]]
controller = "none"
""")
    conduct(worlds, tmp_path / "out")
    found = dataset.read(tmp_path / "out").set_index("season")
    assert found.status.to_dict() == {"strong": "ok", "weak": "collapsed"}
    kept = {path.parent.parent.name: pq.read_table(path).num_rows for path in (tmp_path / "out").rglob("steps.parquet")}
    whole = {found.hash["strong"]: 96} if keep == "all" else {}
    assert kept == whole | {found.hash["weak"]: 84}  # it collapsed at step 84


@pytest.mark.slow
def test_a_world_that_is_shown_is_the_one_that_was_recorded(study: Make, tmp_path: Path) -> None:
    worlds, out = study("[factors]\nplacement = [4, 5]\nev_share = [0.4, 1.0]\n"), tmp_path / "out"
    conduct(worlds, out)
    row = dataset.read(out).iloc[5]
    shown = show(worlds, out, row.hash[:9], tmp_path / "shown").metrics[row.controller]
    assert {name: row[name] for name in shown if shown[name] == shown[name]} == {
        name: value for name, value in shown.items() if value == value
    }
    assert (tmp_path / "shown" / "report.html").is_file()
    with pytest.raises(InputError, match="'zz' is the beginning of 0 hashes"):
        show(worlds, out, "zz", tmp_path / "none")


OWN = """
from cosim import BaseController, Setpoints

class Raises(BaseController):
    def __init__(self, feeder): ...
    def decide(self, observation): raise ValueError("no answer")

class Kills(BaseController):
    def __init__(self, feeder): ...
    def decide(self, observation): raise KeyboardInterrupt

class Refuses(BaseController):
    def __init__(self, feeder): raise ValueError("not here")
    def decide(self, observation): return Setpoints.free(3)
"""


def test_what_stops_a_run_is_its_result_and_no_others(study: Make, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    runs = "".join(f"[[runs]]\ncontroller = '{name}'\n" for name in ("none", "own.py:Raises", "own.py:Refuses"))
    short = "[change]\nhorizon_h = 4\n"
    none, raises, refuses = rows_of(study(short + runs))
    assert none["voltage_min_pu"] > 0.9
    assert (raises["status"], refuses["status"]) == ("failed", "failed")
    assert "voltage_min_pu" not in raises
    assert re.search("step 0 of 48: .*no answer", raises["reason"])
    assert "not here" in refuses["reason"]
    (late,) = rows_of(study(f"{short}decide_limit_s = 1e-9\n[[runs]]\ncontroller = 'even'\n"))
    assert late["status"] == "limited"
    assert late["reason"].startswith("a wall-clock limit struck in 48 of 48 decisions: ")
    assert late["voltage_min_pu"] > 0.9
    weak = short + "[change.grid]\ntransformer = { kva = 1, uk_percent = 20.0, load_loss_percent = 1.5 }\n"
    for more, measured in (("", False), ("on_collapse = 'shed'\n", True)):
        (fallen,) = rows_of(study(f"{weak}{more}[[runs]]\ncontroller = 'none'\n"))
        assert fallen["status"] == "collapsed"
        assert "step" in fallen["reason"]
        assert ("voltage_min_pu" in fallen) is measured


def test_the_commands_say_what_it_takes_and_what_was_recorded(
    study: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = study("[[runs]]\ncontroller = 'none'\n").path
    told = CliRunner().invoke(app, ["study", str(path), "--dry-run"])
    assert "1 worlds × 1 controllers (none) = 1 scenarios" in told.output
    assert "processor hours" in told.output
    refused = CliRunner().invoke(app, ["study", str(path), "--resume"])
    assert "--resume: goes with --out" in str(refused.exception)
    both = CliRunner().invoke(app, ["study", str(path), "--jobs", "2", "--scheduler", "tcp://127.0.0.1:1"])
    assert "--jobs: is given beside --scheduler" in str(both.exception)
    assert "example" in CliRunner().invoke(app, ["list", "studies"]).output
    monkeypatch.setattr(runner, "_pool", lambda *_: nullcontext(InProcess()))
    done = CliRunner().invoke(app, ["study", str(path), "--out", str(tmp_path / "out")])
    assert "1 of 1 scenarios recorded: 1 ok." in " ".join(done.output.split())
