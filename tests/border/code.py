"""Code from outside, results to compare, circuits and the facts beside them, all of them broken."""

from __future__ import annotations

from collections.abc import Iterator

from tests.border.case import Case, Content
from tests.border.scenarios import BASE

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
    "no file": (None, "mine.py"),
    "a syntax error": ("class Mine(:\n", "line 1"),
    "an error on import": ("1 / 0\n", "line 1"),
    "an exit on import": ("raise SystemExit(0)\n", "line 1"),
    "no such class": ("x = 1\n", "Mine"),
    "no class": ("Mine = 3\n", "Mine"),
    "no decide": ("class Mine:\n    def __init__(self, feeder): pass\n", "decide"),
    "no feeder": (GOOD.replace("(self, feeder)", "(self)"), "feeder"),
    "an error in the constructor": (GOOD.replace("self.n =", "self.n = 1 / 0 #"), "line 5"),
    "no UTF-8": (GOOD.replace("free", "fré").encode("latin-1"), "mine.py"),
    "NUL bytes": ("x = '\0'\n", "mine.py"),
    "a missing package": ("import nothing_like_this\n", "nothing_like_this"),
    "an error in check": (GOOD + "    def check(self, feeder, day):\n        raise KeyError('x')\n", "line"),
    "empty": ("", "Mine"),
    "an option that must be given": (GOOD.replace("feeder)", "feeder, *, gain: float)"), "gain"),
}
ANSWERS: dict[str, tuple[str, str]] = {
    "one number": ("Setpoints(np.array([1.0]), free, free)", "import_cap_kw"),
    "a scalar": ("Setpoints(1.0, free, free)", "import_cap_kw"),
    "a column": ("Setpoints(free[:, None], free, free)", "import_cap_kw"),
    "too short": ("Setpoints(free, free[:-1], free)", "ev_limit_kw"),
    "nan": ("Setpoints(free * np.nan, free, free)", "import_cap_kw"),
    "negative": ("Setpoints(free, free, -np.ones(self.n))", "pv_limit_kw"),
    "booleans": ("Setpoints(free > 0, free, free)", "import_cap_kw"),
    "text": ("Setpoints(np.array(['a'] * self.n), free, free)", "import_cap_kw"),
    "complex": ("Setpoints(np.ones(self.n) * 1j, free, free)", "import_cap_kw"),
    "a list": ("Setpoints([1.0] * self.n, free, free)", "import_cap_kw"),
    "nothing": ("None", "NoneType"),
    "a tuple": ("(free, free, free)", "tuple"),
    "published caps of one step": ("Setpoints(free, free, free, published_cap_kw=free)", "published_cap_kw"),
    "an error": ("1 / 0", "ZeroDivisionError"),
    "an exit": ("exit(0)", "SystemExit"),
    "another observation": ("observation.voltage_v.fill(1.0)", "decide"),
}
MEASURES: dict[str, tuple[str | None, str]] = {
    "no file": (None, "mine.py"),
    "no such function": ("x = 1\n", "figure"),
    "no function": ("figure = 1\n", "figure"),
    "an error on import": ("1 / 0\n", "line 1"),
    "a syntax error": ("def figure(\n", "mine.py"),
}


def code() -> Iterator[Case]:
    """Controllers, their setpoints and measures from outside."""
    own = BASE.replace('"none"', '"mine.py:Mine"')
    for name, (text, word) in CODE.items():
        files: dict[str, Content] = {"a.toml": own} if text is None else {"a.toml": own, "mine.py": text}
        yield Case("code", name, ("check", "a.toml"), files, words=(word,))
    yield Case("code", "a good one", ("check", "a.toml"), {"a.toml": own, "mine.py": GOOD}, "accepted")
    for target, word in {
        "mine.py": "mine.py",
        "mine.py:": "mine.py",
        ":Mine": "Mine",
        "mine:": "mine",
        "os:path": "path",
        "../mine.py:Mine": "mine.py",
        "mine.py:Mine.x": "mine.py",
        "mine.py:__name__": "__name__",
    }.items():
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
    "not there": ("", "metrics.json"),
    "cut short": (METRICS[:30], "metrics.json"),
    "empty": ("", "metrics.json"),
    "a list": ("[]", "metrics.json"),
    "of text": (METRICS.replace("1.0", '"much"'), "metrics.json"),
    "of lists": (METRICS.replace("1.0", "[1]"), "metrics.json"),
    "no runs": ('{"controllers": 3}', "metrics.json"),
    "in UTF-16": (METRICS.encode("utf-16"), "metrics.json"),
    "binary": (bytes(range(256)), "metrics.json"),
    "1,000 brackets": ("[" * 100_000, "metrics.json"),
    "a folder": (None, "metrics.json"),
}


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
    "nominal_voltage_v": (),
    "latitude_deg": ("minus one", "zero"),
    "longitude_deg": ("minus one", "zero"),
    "connection_kw_per_phase": (),
    "name": ("a text",),
    "head_line": (),
    "monitored": (),
    "standard": (),
    "coordinates": (),
    "ratings_from": (),
    "nominal_voltage_v.source": (),
    "ratings_a.l": (),
    "transformer_kva.t": (),
    "cables.l": (),
    "customer_names.a": ("a text",),
    "customer_types.a": ("a text",),
}
TOML_FILES = {
    "an unknown key": ("colour = 1\n", "colour"),
    "no TOML": ("name: x\n", "feeder.toml"),
    "a key twice": ('name = "a"\nname = "b"\n', "feeder.toml"),
    "latitude 91": ("latitude_deg = 91\n", "latitude_deg"),
    "a rating of no line": ("[ratings_a]\nx = 100\n", "ratings_a.x"),
    "a rating of a load": ("[ratings_a]\na = 100\n", "ratings_a.a"),
    "a rating twice": ("[ratings_a]\nl = 100\nL = 200\n", "ratings_a.l"),
    "a rating of a name with a dot": ("[ratings_a]\n4c_.06 = 100\n", "in quotes"),
    "ratings that are no table": ("ratings_a = 100\n", "[ratings_a]"),
    "a transformer that is not there": ("[transformer_kva]\nt = 100\n", "transformer_kva.t"),
    "an area that is not there": ("[nominal_voltage_v]\nlv = 230\n", "lv"),
    "a cable of no catalogue": ('[cables]\nl = "NAYY 4x155"\n', "NAYY 4x150"),
    "a customer that is not there": ('[customer_names]\nb = "x"\n', "customer_names.b"),
    "another catalogue": ('ratings_from = "mine"\n', "ratings_from"),
    "coordinates of other buses": ('coordinates = "feeder.toml"\n', "coordinates"),
    "coordinates that are a folder": ('coordinates = "."\n', "coordinates"),
}
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
        "empty": ("", "Master.dss"),
        "binary": (bytes(range(1, 256)), "Master.dss"),
        "no load": (MASTER.replace("New Load.a", "! "), "load"),
        "no circuit": ("New Load.a Bus1=b kW=1\n", "Master.dss"),
        "an unknown command": (MASTER + "Solv Magic\n", "Master.dss"),
        "an unknown property": (MASTER.replace("Length", "Lengthy"), "Master.dss"),
        "a file that is not there": (MASTER + "Redirect nowhere.dss\n", "nowhere"),
        "text for a number": (MASTER.replace("kW=2", "kW=much"), "Master.dss"),
        "HTML": ("<html></html>", "Master.dss"),
    }
    for name, (content, word) in contents.items():
        yield Case("circuit", name, ("feeder", "."), {"Master.dss": content}, words=(word,))
    yield Case("circuit", "a folder without a master file", ("feeder", "."), words=("feeder",))
    yield Case("circuit", "another ending", ("feeder", "a.pdf"), {"a.pdf": MASTER}, words=("a.pdf",))
    yield Case("circuit", "a text file", ("feeder", "a.txt"), {"a.txt": MASTER}, "accepted")
    yield Case("circuit", "a folder with Master.txt", ("feeder", "."), {"Master.txt": MASTER}, "accepted")
    yield Case("circuit", "a good one", ("feeder", "."), {"Master.dss": MASTER}, "accepted")
    for key, takes in TOML_KEYS.items():
        for kind, text in TOML_VALUES.items():
            table, _, last = key.rpartition(".")
            toml = f"[{table}]\n{last} = {text}\n" if table else f"{key} = {text}\n"
            files: dict[str, Content] = {"Master.dss": MASTER, "feeder.toml": toml}
            yield Case(
                "feeder.toml",
                f"{key} is {kind}",
                ("feeder", "."),
                files,
                "accepted" if kind in takes else "refused",
                (key,),
            )
    for name, (text, word) in TOML_FILES.items():
        files = {"Master.dss": MASTER, "feeder.toml": text}
        yield Case("feeder.toml", name, ("feeder", "."), files, words=(word,))
    good = '[ratings_a]\nl = 100\n[cables]\nL = "NAYY 4x150"\n[customer_types]\nA = "shop"\n'
    yield Case("feeder.toml", "a good one", ("feeder", "."), {"Master.dss": MASTER, "feeder.toml": good}, "accepted")
