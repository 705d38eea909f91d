"""Broken words on the command line: options of every command, of studies and of controllers."""

from __future__ import annotations

from collections.abc import Iterator

from tests.border.case import Case, Content
from tests.border.scenarios import BASE
from tests.border.tables import REQUEST

NUMBERS = {
    "nan": "nan",
    "inf": "inf",
    "minus one": "-1",
    "1e300": "1e300",
    "text": "much",
    "empty": "",
    "30 digits": "9" * 30,
}
_ENDS = {"seed": ("30 digits",), "capacity-kw": ("inf",)}
"""What an option takes of these: any whole number is a seed, and a connection may have no limit."""

OPTIONS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("plan", "d.csv", "--capacity-kw", "20", "--out", "out"): (
        "capacity-kw", "min-power-kw", "time-step-s", "tariff-eur-per-kwh", "peak-eur-per-kw", "efficiency", "min-up-steps",
        "max-starts", "n-sols", "gap", "time-limit-s",
    ),
    ("plan", "--out", "made.csv"): ("generate",),
    ("reproduce", "cpo_planner", "--out", "out"): ("capacity-kw",),
    ("reproduce", "fleet_aggregation", "--out", "out"): ("vehicles", "training-weeks", "validation-weeks", "test-weeks"),
    ("reproduce", "host_capacity", "--out", "out"): ("households", "slots", "time-limit", "gap", "margin", "floor-kw"),
    ("reproduce", "powertrip", "--out", "out"): ("source-pu", "population", "generations"),
    ("reproduce", "station_pricing", "--out", "out"): ("lost-sales", "periods", "population", "generations", "gap", "certify"),
    ("rephase", "two_bus_evening", "--out", "out"): ("moves",),
    ("run", "two_bus_evening", "--out", "out"): ("jobs",),
    ("bench", "plan"): ("repeats",),
}  # fmt: skip
DEMAND = f"{','.join(REQUEST)}\n{','.join(REQUEST.values())}\n"


def options() -> Iterator[Case]:
    """Every number of every command."""
    for command, names in OPTIONS.items():
        for name in names:
            for kind, text in NUMBERS.items():
                if kind not in _ENDS.get(name, ()) and (command[0], name, kind) != (
                    "plan",
                    "tariff-eur-per-kwh",
                    "minus one",
                ):
                    yield Case(
                        "options",
                        f"{' '.join(command[:2])} --{name} {kind}",
                        (*command, f"--{name}", text),
                        {"d.csv": DEMAND},
                        words=(f"--{name}",),
                    )
    words: dict[str, tuple[tuple[str, ...], str]] = {
        "no command": (("rnu",), "rnu"), "unknown option": (("run", "--colour", "red"), "--colour"), "no such scenario": (("run", "nowhere"), "nowhere"),
        "no such engine": (("run", "--engine", "magic"), "--engine"), "no such controller": (("run", "two_bus_evening", "--controllers", "magic"), "magic"),
        "no controllers": (("run", "two_bus_evening", "--controllers", ","), "--controllers"), "option of no run": (("run", "two_bus_evening", "--option", "x.y=1"), "x"),
        "option without value": (("run", "two_bus_evening", "--option", "none.y"), "none.y"), "no such feeder": (("feeder", "nowhere"), "nowhere"),
        "no such kind": (("list", "cars"), "cars"), "no such benchmark": (("bench", "magic"), "magic"), "no such study": (("reproduce", "magic"), "magic"),
        "plan without demand": (("plan", "--capacity-kw", "9"), "DEMAND"), "plan without capacity": (("plan", "d.csv"), "--capacity-kw"), "plan of nothing": (("plan", "x.csv", "--capacity-kw", "9", "--out", "o"), "x.csv"),
        "made into no CSV": (("plan", "--generate", "3", "--out", "x.txt"), "--out"), "plan, unknown word": (("plan", "d.csv", "--capacity-kw", "9", "--fairness", "luck"), "--fairness"),
        "starts of an LP": (("plan", "d.csv", "--capacity-kw", "9", "--max-starts", "2"), "--max-starts"), "seed minus one": (("run", "two_bus_evening", "--seed", "-1"), "--seed"),
        "seed of a study": (("reproduce", "fleet_aggregation", "--seed", "-1"), "--seed"), "rephase, no scenario": (("rephase", "nowhere", "--out", "o"), "nowhere"), "rephase, no controller": (("rephase", "two_bus_evening", "--controller", "magic", "--out", "o"), "magic"),
        "pricing, no instance": (("reproduce", "station_pricing", "--instance", "x.toml", "--out", "o"), "x.toml"), "pricing, no TOML": (("reproduce", "station_pricing", "--instance", "d.csv", "--out", "o"), "d.csv"),
        "pricing, no numbers": (("reproduce", "station_pricing", "--generate", "many", "--out", "o"), "--generate"), "pricing, too many": (("reproduce", "station_pricing", "--generate", "9999999,3", "--out", "o"), "--generate"),
        "host, no file": (("reproduce", "host_capacity", "--data", "x.csv", "--out", "o"), "x.csv"), "host, other table": (("reproduce", "host_capacity", "--data", "d.csv", "--out", "o"), "d.csv"), "host, unknown form": (("reproduce", "host_capacity", "--form", "magic", "--out", "o"), "--form"),
        "powertrip, no bus": (("reproduce", "powertrip", "--pv", "9999.1:5", "--out", "o"), "9999"), "powertrip, no point": (("reproduce", "powertrip", "--charge-points", "x", "--out", "o"), "x"), "powertrip, 1e300 kWp": (("reproduce", "powertrip", "--pv", "691.1:1e300", "--out", "o"), "691.1"),
        "powertrip, weights": (("reproduce", "powertrip", "--weights", "nan/nan", "--out", "o"), "nan/nan"), "powertrip, band": (("reproduce", "powertrip", "--voltage-pu", "1.1-0.9", "--out", "o"), "1.1-0.9"),
        "check without scenario": (("check",), "SCENARIO"), "compare without folder": (("compare",), "FOLDER"), "folder below a file": (("run", "two_bus_evening", "--out", "d.csv/x", "--controllers", "none"), "d.csv"),
    }  # fmt: skip
    for name, (arguments, word) in words.items():
        yield Case("options", name, arguments, {"d.csv": DEMAND}, words=(word,))


CONTROLLERS: dict[str, dict[str, tuple[str, ...]]] = {
    "equal_share": {"margin_percent": ()},
    "dimming": {"trigger_percent": (), "release_percent": (), "hold_min": ()},
    "droop": {"standard": (), "pv_volt_watt": ("true",)},
    "bilevel_caps": {"margin": (), "slot_min": (), "floor_kw": (), "gap": (), "node_limit": (), "time_limit_s": (), "levels": (), "rounds": (),
                     "voltage_min_pu": (), "voltage_max_pu": (), "replan_min": (), "replan_time_limit_s": (), "objective": (), "form": ()},
    "pareto": {"population": (), "generations": (), "horizon_steps": (), "certificate_every": (), "control_min": (), "loading_limit_percent": ("inf", "1e300", "30 digits"),
               "weights": (), "objectives": (), "rule": (), "voltage_limits_pu": ()},
    "cpo_planner": {"capacity_kw": (), "margin_percent": (), "plan_step_min": (), "time_limit_s": (), "fairness": ()},
    "aggregator": {"units": (), "block_h": (), "plan_step_min": (), "aggregate": ()},
}  # fmt: skip
"""Numbers and words of controllers, and which of the values below they take."""

VALUES = {
    "nan": "nan",
    "inf": "inf",
    "minus one": "-1",
    "1e300": "1e300",
    "30 digits": "1" + "0" * 30,
    "text": "much",
    "true": "true",
    "[nan]": "[nan, nan]",
}


def controllers() -> Iterator[Case]:
    """Every option of every controller, looked at without running the day."""
    for name, its in CONTROLLERS.items():
        for option, takes in its.items():
            for kind, text in VALUES.items():
                if kind in takes or text in takes:
                    continue
                scenario = BASE.replace(
                    'controller = "none"',
                    f'controller = "{name}"\noptions = {{ {option} = {text if text != "much" else chr(34) + text + chr(34)} }}',
                )
                yield Case(
                    "controllers",
                    f"{name}.{option} is {kind}",
                    ("check", "a.toml"),
                    {"a.toml": scenario},
                    words=(option,),
                )
    for option, text in (("seed", "1"), ("predictor", "1"), ("margin", "0.1")):
        scenario = BASE.replace('controller = "none"', f'controller = "equal_share"\noptions = {{ {option} = {text} }}')
        yield Case(
            "controllers", f"equal_share takes no {option}", ("check", "a.toml"), {"a.toml": scenario}, words=(option,)
        )


GOOD = """import numpy as np
from cosim import BaseController, Setpoints
class Mine(BaseController):
    def __init__(self, feeder):
        self.n = len(feeder.customers)
    def decide(self, observation):
        free = np.full(self.n, np.inf)
        return Setpoints(free, free, free)
"""
CODE: dict[str, tuple[str | bytes | None, str]] = {
    "no file": (None, "mine.py"), "a syntax error": ("class Mine(:\n", "line 1"), "an error on import": ("1 / 0\n", "line 1"), "an exit on import": ("raise SystemExit(0)\n", "line 1"),
    "no such class": ("x = 1\n", "Mine"), "no class": ("Mine = 3\n", "Mine"), "no decide": ("class Mine:\n    def __init__(self, feeder): pass\n", "decide"),
    "no feeder": (GOOD.replace("(self, feeder)", "(self)"), "feeder"), "an error in the constructor": (GOOD.replace("self.n =", "self.n = 1 / 0 #"), "line 5"),
    "no UTF-8": (GOOD.replace("free", "fré").encode("latin-1"), "mine.py"), "NUL bytes": ("x = '\0'\n", "mine.py"), "a missing package": ("import nothing_like_this\n", "nothing_like_this"),
    "an error in check": (GOOD + "    def check(self, feeder, day):\n        raise KeyError('x')\n", "line"), "empty": ("", "Mine"), "an option that must be given": (GOOD.replace("feeder)", "feeder, *, gain: float)"), "gain"),
}  # fmt: skip
ANSWERS: dict[str, tuple[str, str]] = {
    "one number": ("Setpoints(np.array([1.0]), free, free)", "import_cap_kw"), "a scalar": ("Setpoints(1.0, free, free)", "import_cap_kw"), "a column": ("Setpoints(free[:, None], free, free)", "import_cap_kw"),
    "too short": ("Setpoints(free, free[:-1], free)", "ev_limit_kw"), "nan": ("Setpoints(free * np.nan, free, free)", "import_cap_kw"), "negative": ("Setpoints(free, free, -np.ones(self.n))", "pv_limit_kw"),
    "booleans": ("Setpoints(free > 0, free, free)", "import_cap_kw"), "text": ("Setpoints(np.array(['a'] * self.n), free, free)", "import_cap_kw"), "complex": ("Setpoints(np.ones(self.n) * 1j, free, free)", "import_cap_kw"),
    "a list": ("Setpoints([1.0] * self.n, free, free)", "import_cap_kw"), "nothing": ("None", "NoneType"), "a tuple": ("(free, free, free)", "tuple"), "published caps of one step": ("Setpoints(free, free, free, published_cap_kw=free)", "published_cap_kw"),
    "an error": ("1 / 0", "ZeroDivisionError"), "an exit": ("exit(0)", "SystemExit"), "another observation": ("observation.voltage_v.fill(1.0)", "decide"),
}  # fmt: skip
MEASURES: dict[str, tuple[str | None, str]] = {
    "no file": (None, "mine.py"), "no such function": ("x = 1\n", "figure"), "no function": ("figure = 1\n", "figure"), "an error on import": ("1 / 0\n", "line 1"), "a syntax error": ("def figure(\n", "mine.py"),
}  # fmt: skip


def code() -> Iterator[Case]:
    """Controllers, their setpoints and measures from outside."""
    own = BASE.replace('"none"', '"mine.py:Mine"')
    for name, (text, word) in CODE.items():
        files: dict[str, Content] = {"a.toml": own} if text is None else {"a.toml": own, "mine.py": text}
        yield Case("code", name, ("check", "a.toml"), files, words=(word,))
    yield Case("code", "a good one", ("check", "a.toml"), {"a.toml": own, "mine.py": GOOD}, "accepted")
    for target, word in {
        "mine.py": "mine.py", "mine.py:": "mine.py", ":Mine": "Mine", "mine:": "mine", "os:path": "path", "../mine.py:Mine": "mine.py",
        "mine.py:Mine.x": "mine.py", "mine.py:__name__": "__name__",
    }.items():  # fmt: skip
        yield Case("code", f"target {target}", ("check-controller", target), {"mine.py": GOOD}, words=(word,))
    for name, (answer, word) in ANSWERS.items():
        text = GOOD.replace(
            "return Setpoints(free, free, free)",
            f"return {answer} if observation.step else Setpoints(free, free, free)",
        )
        files = {"a.toml": own, "mine.py": text}
        yield Case(
            "setpoints", name, ("run", "a.toml", "--out", "out", "--no-figures", "--quiet"), files, "stopped", (word,)
        )
    for name, (measure, word) in MEASURES.items():
        files = {"a.toml": 'metrics = ["mine.py:figure"]\n' + BASE} | ({} if measure is None else {"mine.py": measure})
        yield Case("measures", name, ("check", "a.toml"), files, words=(word,))


METRICS = '{"controllers": {"none": {"losses_kwh": 1.0}}, "incomplete": []}'
RESULTS: dict[str, tuple[Content, str]] = {
    "not there": ("", "metrics.json"), "cut short": (METRICS[:30], "metrics.json"), "empty": ("", "metrics.json"), "a list": ("[]", "metrics.json"), "of text": (METRICS.replace("1.0", '"much"'), "metrics.json"),
    "of lists": (METRICS.replace("1.0", "[1]"), "metrics.json"), "no runs": ('{"controllers": 3}', "metrics.json"), "in UTF-16": (METRICS.encode("utf-16"), "metrics.json"), "binary": (bytes(range(256)), "metrics.json"),
    "1,000 brackets": ("[" * 100_000, "metrics.json"), "a folder": (None, "metrics.json"),
}  # fmt: skip


def folders() -> Iterator[Case]:
    """Results that are compared again."""
    for name, (content, word) in RESULTS.items():
        files: dict[str, Content] = {"r": None} if name == "not there" else {"r/metrics.json": content}
        yield Case("results", f"metrics {name}", ("compare", "r"), files, words=(word,))
    yield Case("results", "one of two not there", ("compare", "r", "s"), {"r/metrics.json": METRICS}, words=("s",))
    yield Case("results", "a file for a folder", ("compare", "r"), {"r": "x"}, words=("r",))
    for name, manifest in (
        ("empty", "{}"),
        ("cut short", '{"runs": {'),
        ("of text", '{"runs": "x"}'),
        ("binary", bytes(range(256))),
    ):
        yield Case(
            "results",
            f"manifest {name}",
            ("compare", "r"),
            {"r/metrics.json": METRICS, "r/manifest.json": manifest},
            words=("manifest.json",),
        )
    yield Case("results", "metrics alone", ("compare", "r"), {"r/metrics.json": METRICS}, "accepted")
    none = METRICS.replace('"none": {"losses_kwh": 1.0}', "")
    yield Case("results", "of no run", ("compare", "r"), {"r/metrics.json": none}, "accepted")


MASTER = """Clear
New Circuit.c Bus1=s BasekV=0.4 pu=1.0 phases=3
New Line.l Bus1=s Bus2=b Phases=3 R1=0.4 X1=0.1 R0=0.4 X0=0.1 C1=0 C0=0 Length=0.1
New Load.a Phases=1 Bus1=b.1 kV=0.23 kW=2 kvar=0
Set VoltageBases=[0.4]
CalcVoltageBases
"""
TOML_KEYS = {
    "nominal_voltage_v": (), "latitude_deg": ("minus one", "zero"), "longitude_deg": ("minus one", "zero"), "connection_kw_per_phase": (),
    "name": ("a text",), "head_line": (), "monitored": (),
}  # fmt: skip
TOML_VALUES = {
    "nan": "nan",
    "inf": "inf",
    "minus one": "-1",
    "zero": "0",
    "1e300": "1e300",
    "a text": '"much"',
    "true": "true",
    "a list": "[1]",
}


def circuits() -> Iterator[Case]:
    """Circuits and the facts beside them."""
    contents: dict[str, tuple[Content, str]] = {
        "empty": ("", "Master.dss"), "binary": (bytes(range(1, 256)), "Master.dss"), "no load": (MASTER.replace("New Load.a", "! "), "load"), "no circuit": ("New Load.a Bus1=b kW=1\n", "Master.dss"),
        "an unknown command": (MASTER + "Solv Magic\n", "Master.dss"), "an unknown property": (MASTER.replace("Length", "Lengthy"), "Master.dss"), "a file that is not there": (MASTER + "Redirect nowhere.dss\n", "nowhere"),
        "text for a number": (MASTER.replace("kW=2", "kW=much"), "Master.dss"), "HTML": ("<html></html>", "Master.dss"),
    }  # fmt: skip
    for name, (content, word) in contents.items():
        yield Case("circuit", name, ("feeder", "."), {"Master.dss": content}, words=(word,))
    yield Case("circuit", "a folder without a master file", ("feeder", "."), words=("feeder",))
    yield Case("circuit", "another ending", ("feeder", "a.txt"), {"a.txt": MASTER}, words=("a.txt",))
    yield Case("circuit", "a good one", ("feeder", "."), {"Master.dss": MASTER}, "accepted")
    for key, takes in TOML_KEYS.items():
        for kind, text in TOML_VALUES.items():
            files: dict[str, Content] = {"Master.dss": MASTER, "feeder.toml": f"{key} = {text}\n"}
            yield Case(
                "feeder.toml",
                f"{key} is {kind}",
                ("feeder", "."),
                files,
                "accepted" if kind in takes else "refused",
                (key,),
            )
    for name, text in (
        ("an unknown key", "colour = 1\n"),
        ("no TOML", "name: x\n"),
        ("a key twice", 'name = "a"\nname = "b"\n'),
        ("latitude 91", "latitude_deg = 91\n"),
    ):
        yield Case(
            "feeder.toml", name, ("feeder", "."), {"Master.dss": MASTER, "feeder.toml": text}, words=("feeder.toml",)
        )
