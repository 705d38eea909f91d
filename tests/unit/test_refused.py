"""What is wrong is refused quickly (nothing heavy is loaded for it) and with what to write instead."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from pydantic import BaseModel

from cosim import controllers, plugins
from cosim.controllers.texts import written_parameters
from cosim.errors import InputError
from cosim.experiments import scenario as scenarios
from cosim.experiments.studies import STUDIES
from cosim.experiments.world.grid import Transformer
from cosim.feeders.clouds import CLOUDS
from cosim.feeders.find import Cloud

HEAVY = ("numpy", "pandas", "pyarrow", "scipy", "highspy", "pyomo", "pymoo", "opendssdirect", "matplotlib", "pvlib")
GOOD = 'name = "mine"\nfeeder = "two_bus"\nstart = 2026-05-15T12:00:00\n[[runs]]\ncontroller = "none"\n'

FILES = {
    "syntax": "name = [",
    "keys": GOOD.replace("feeder", "step_min = 99\nfeedr") + "label = 'a b'\n[pv]\nkwp = true\n",
    "misfit": f"control_min = 7\nhorizon_h = 0.99\n{GOOD}[ev]\nshare = 0.5\nsessions = 'a.csv'\n",
    "feeder": GOOD.replace("two_bus", "two_buss"),
    "controller": GOOD.replace('"none"', '"nonne"'),
    "target": GOOD.replace('"none"', '"nowhere.py:Mine"'),
    "option": GOOD + "options = { foo = 1 }\n",
    "type": GOOD.replace('"none"', '"bilevel_caps"') + "options = { objective = 'all', margin = 'much' }\n",
    "world": GOOD + "[households]\nprofiles = 'mai'\n[pv]\ncloud = 'fog'\n[ev]\nsessions = 'a.csv'\n",
    "tariff": "tariff = 'flat'\nmetrics = ['a.py:f', 'total']\n" + GOOD,
}
"""Scenarios that are wrong in one way each."""

ARGUMENTS = [
    *(["check", f"{name}.toml"] for name in FILES),
    *([*words, "--foo"] for words in (["run"], ["compare", "x"], ["check"], ["list", "feeders"], ["feeder", "x"])),
    *([*words, "--foo"] for words in (["bench", "step"], ["check-controller", "none"], ["plan"], ["rephase"])),
    *(["reproduce", name, "--foo"] for name, one in STUDIES.items() if one.reproduce),
    *(["reproduce", name, "--seed", "x"] for name, one in STUDIES.items() if one.reproduce),
    ["foo"], ["reproduce", "foo"], ["run", "nosuch"], ["check", "nosuch.toml"], ["check"], ["run", "--jobs", "0"],
    ["run", "--engine", "x"], ["run", "--seed", "-1"], ["run", "two_bus_evening", "--controllers", "foo"],
    ["run", "two_bus_evening", "--controllers", "x.py:K"], ["run", "two_bus_evening", "--controllers", "no.module:K"],
    ["run", "two_bus_evening", "--option", "none.foo=1"], ["run", "two_bus_evening", "--option", "foo"],
    ["feeder", "nosuch"], ["feeder", "keys.toml"], ["list", "x"], ["compare", "nosuch"], ["compare", "a", "b"],
    ["check-controller", "nosuch"], ["check-controller", "x.py:K"], ["check-controller", "none", "--option", "foo=1"],
    ["check-controller", "pareto", "--option", "rule=1"], ["bench", "foo"], ["bench", "step", "--repeats", "0"],
    ["plan"], ["plan", "missing.csv", "--capacity-kw", "9"], ["plan", "keys.toml", "--capacity-kw", "-9"],
    ["plan", "keys.toml", "--capacity-kw", "9", "--gap", "-1"], ["plan", "keys.toml", "--formulation", "x"],
    ["plan", "--generate", "0"], ["plan", "--generate", "5", "--efficiency", "2"], ["rephase", "nosuch"],
    ["rephase", "two_bus_evening", "--controller", "foo"], ["rephase", "--moves", "0"],
    ["reproduce", "powertrip", "--feeder", "x"], ["reproduce", "powertrip", "--pv", "x"],
    ["reproduce", "powertrip", "--population", "3"], ["reproduce", "host_capacity", "--form", "x"],
    ["reproduce", "host_capacity", "--slots", "7"], ["reproduce", "host_capacity", "--data", "x.csv"],
    ["reproduce", "fleet_aggregation", "--vehicles", "0"], ["reproduce", "station_pricing", "--formulation", "x"],
    ["reproduce", "station_pricing", "--gap", "2"], ["reproduce", "station_pricing", "--instance", "x.toml"],
    ["reproduce", "station_pricing", "--feeder", "x"],
]  # fmt: skip

IN_TURN = """
import contextlib, io, json, sys
from cosim.experiments import cli
wrong, heavy = (json.loads(text) for text in sys.argv[1:])
for arguments in wrong:
    sys.argv, before, said, code = ["cosim", *arguments], set(sys.modules), io.StringIO(), 0
    cli._err.file = said
    with contextlib.redirect_stderr(said):
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
    loaded = sorted(set(heavy) & (set(sys.modules) - before))
    print(json.dumps([code, loaded, said.getvalue()]))
"""


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, list[str], str]]:
    """Exit code, heavy modules loaded and what was said, of every command line in turn, in one process."""
    folder = tmp_path_factory.mktemp("refused")
    for name, text in FILES.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", IN_TURN, json.dumps(ARGUMENTS), json.dumps(HEAVY)],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = [json.loads(line) for line in done.stdout.splitlines()]
    return {" ".join(words): tuple(one) for words, one in zip(ARGUMENTS, told, strict=True)}


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=" ".join)
def test_a_refusal_loads_nothing_heavy(refusals: dict[str, tuple[int, list[str], str]], arguments: list[str]) -> None:
    code, loaded, said = refusals[" ".join(arguments)]
    assert (code, loaded) == (2, [])
    assert "Traceback" not in said
    assert "Usage:" in said or all("→" in line for line in said.splitlines() if line.startswith("error:"))
    assert said.strip()


def test_what_may_be_named_is_what_there_is() -> None:
    assert set(get_args(Cloud)) == set(CLOUDS)
    for name, target in controllers.REGISTRY.items():
        written = written_parameters(*plugins.split_target(target))
        hints = get_type_hints(controllers.find(name).__init__)  # type: ignore[misc]
        assert {key: one.annotation for key, one in written.items() if key not in ("predictor", "seed")} == {
            key: hints[key] for key in controllers.options(name)
        }


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "cosim", "check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "SCENARIO: is missing" in done.stderr


def test_what_the_command_line_names_is_wrong_on_the_command_line(cosim, tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("class Mine:\n    pass\n", encoding="utf-8")
    for words, said in (
        (["--controllers", "x.py:K"], "cosim: --controllers: cannot read"),
        (["--controllers", "no.module:K"], "cosim: --controllers: there is no module 'no'"),
        (["--controllers", f"{mine}:Nine"], f"{mine}: controller: has no 'Nine' → did you mean 'Mine'?"),
        (["--controllers", f"{mine}:Mine"], f"{mine}: controller: class 'Mine' has no plan()"),
        (["--controllers", "droup"], "cosim: --controllers: no run or controller 'droup' → did you mean 'droop'?"),
        (["--option", "none.foo=1"], "cosim: --option none.foo: unknown option → leave it out"),
    ):
        code, _, err = cosim("run", "two_bus_evening", *words)
        assert code == 2
        assert said in err


WRONG: tuple[Any, ...] = (
    "nonsense", "0,5", "true", True, -1, 60, 1e9, 2.5, 5.0, [1], {"zzz": 1}, datetime(2026, 1, 1), float("nan"),
)  # fmt: skip


def broken() -> Iterator[dict[str, Any]]:
    """Scenarios with every key in every table wrong, gone, or joined by one that is unknown; then with wrong tables."""
    good = scenarios.load_toml(scenarios.SHIPPED / "example.toml")
    kinds = {name: field.annotation for name, field in scenarios.Scenario.model_fields.items()}
    tables = {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, BaseModel)}
    for value in WRONG:
        wrong = {name: dict.fromkeys(model.model_fields, value) for name, model in tables.items()}
        grid = {"source_pu": value, "transformer": dict.fromkeys(Transformer.model_fields, value)}
        runs = [
            dict.fromkeys(scenarios.Run.model_fields, value),
            {"controller": "none", "forecast": wrong["forecast"], "stubborn_share": value},
            {"controller": "equal_share", "options": {"margin_percent": value, "margin": value, "seed": value}},
        ]
        yield {**dict.fromkeys(scenarios.Scenario.model_fields, value), **wrong, "grid": grid, "runs": runs}
        yield {**dict.fromkeys(scenarios.Scenario.model_fields, value), "metrics": [value], "runs": [value]}
        yield {**good, **{f"{name}_of": value for name in good}, "kwp": value}
        yield {**{name: {"of": value, "kind_of": 1} for name in tables}, "grid": {"transformer": {"of": value}}}
        yield {**good, "runs": [{"label": "a"}, {"controller": "none", "optoins": value, "forecast": {"zzz": value}}]}


def test_every_remedy_says_what_to_write(tmp_path: Path) -> None:
    remedies = []
    for data in broken():
        try:
            scenarios.parse(data, tmp_path / "mine.toml")
        except InputError as error:
            remedies += [fault.remedy for fault in error.faults]
    assert len(remedies) > 500
    verbs = ("write ", "add ", "did you mean ", "leave it out", "keep one ", "give ", "name its class", "use ")
    assert [remedy for remedy in remedies if not remedy.startswith(verbs) or "schema" in remedy] == []


@pytest.mark.parametrize(
    ("key", "value", "remedy"),
    [
        ("step_min", "0.5", "write a whole number from 1 to 60 [min], for example step_min = 5"),
        ("step_min", "5.0", "write it without a point: step_min = 5"),
        ("horizon_h", "'0,5'", "write it without quotes and with a point: horizon_h = 0.5"),
        ("horizon_h", "0,5", "write a decimal point: horizon_h = 0.5"),
        ("horizon_h", "true", "write a number above 0, at most 8784 [h], for example horizon_h = 24"),
        ("horizon_h", "0.99", "write horizon_h = 1.0, or another step_min"),
        ("control_min", "7", "write control_min = 10, or another step_min"),
        ("strict", "1", "write true or false, for example strict = false"),
        ("strict", "True", "write it small: strict = true"),
        ("start", "2026-05-15T12:00", "write the seconds too: start = 2026-05-15T12:00:00"),
        ("start", "2026-05-15T12:00:00Z", "write start = 2026-05-15T12:00:00"),
        ("start", f"1{'0' * 400}", "write a local date and time, for example start = 2026-05-15T12:00:00"),
        ("seed", f"1{'0' * 5000}", 'write each line as key = value, text in "quotes"'),
        ("ev.sessions", f"'./{'a' * 5000}'", "write a shorter name, of printed letters"),
        ("start", "12:00:00", "write a local date and time, for example start = 2026-05-15T12:00:00"),
        ("feeder", "two_bus", 'write text in quotes: feeder = "two_bus"'),
        ("pv.share", "60", "write a number from 0 to 1, for example share = 0.34; for 60 % write 0.6"),
        ("pv.cloud", '"cloudy"', 'did you mean cloud = "partly_cloudy"? (one of clear, overcast, partly_cloudy)'),
        (
            "pv",
            '"clear"',
            "write [pv] and below it its keys: share, kwp, cloud, profiles, profiles_step_min, inverters, from_file",
        ),
        ("kwp", "4", "write it below [pv]"),
        ("pv.feeder", '"two_bus"', "write it above the first [table]"),
        ("grid.transformer", "{}", "add kva = 50"),
    ],
)
def test_remedies(tmp_path: Path, key: str, value: str, remedy: str) -> None:
    lines = {"name": '"mine"', "feeder": '"two_bus"', "start": "2026-05-15T12:00:00"}
    lines["runs"] = '[{ controller = "none" }]'
    path = tmp_path / "mine.toml"
    path.write_text("\n".join(f"{name} = {text}" for name, text in {**lines, key: value}.items()), encoding="utf-8")
    with pytest.raises(InputError) as refused:
        scenarios.read(path)
    assert [fault.remedy for fault in refused.value.faults] == [remedy]
