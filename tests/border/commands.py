"""Broken words on the command line: options of every command, of studies and of controllers."""

from __future__ import annotations

from collections.abc import Iterator

from tests.border.case import Case
from tests.border.requests import REQUEST
from tests.border.scenarios import BASE

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
        "capacity-kw",
        "min-power-kw",
        "time-step-s",
        "tariff-eur-per-kwh",
        "peak-eur-per-kw",
        "efficiency",
        "charger-kw",
        "stay-h",
        "min-up-steps",
        "max-starts",
        "n-sols",
        "gap",
        "time-limit-s",
    ),
    ("plan", "--out", "made.csv"): ("generate",),
    ("reproduce", "cpo_planner", "--out", "out"): ("capacity-kw",),
    ("reproduce", "fleet_aggregation", "--out", "out"): (
        "vehicles",
        "training-weeks",
        "validation-weeks",
        "test-weeks",
    ),
    ("reproduce", "host_capacity", "--out", "out"): ("households", "slots", "time-limit", "gap", "margin", "floor-kw"),
    ("reproduce", "powertrip", "--out", "out"): ("source-pu", "population", "generations"),
    ("reproduce", "station_pricing", "--out", "out"): (
        "lost-sales",
        "periods",
        "population",
        "generations",
        "gap",
        "certify",
    ),
    ("rephase", "two_bus_evening", "--out", "out"): ("moves",),
    ("run", "two_bus_evening", "--out", "out"): ("jobs",),
    ("bench", "plan"): ("repeats",),
}
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
        "no command": (("rnu",), "rnu"),
        "unknown option": (("run", "--colour", "red"), "--colour"),
        "no such scenario": (("run", "nowhere"), "nowhere"),
        "no such engine": (("run", "--engine", "magic"), "--engine"),
        "no such controller": (("run", "two_bus_evening", "--controllers", "magic"), "magic"),
        "no controllers": (("run", "two_bus_evening", "--controllers", ","), "--controllers"),
        "option of no run": (("run", "two_bus_evening", "--option", "x.y=1"), "x"),
        "option without value": (("run", "two_bus_evening", "--option", "none.y"), "none.y"),
        "no such feeder": (("feeder", "nowhere"), "nowhere"),
        "map of no feeder": (("feeder", "convert", "nowhere", "--to", "geojson", "--out", "o"), "nowhere"),
        "map without file": (("feeder", "convert", "two_bus", "--to", "geojson"), "--out"),
        "map, no such format": (("feeder", "convert", "two_bus", "--to", "magic", "--out", "o"), "--to"),
        "map, no results": (("feeder", "convert", "two_bus", "--to", "geojson", "--results", "x", "--out", "o"), "x"),
        "no such kind": (("list", "cars"), "cars"),
        "no such benchmark": (("bench", "magic"), "magic"),
        "no such study": (("reproduce", "magic"), "magic"),
        "plan without demand": (("plan", "--capacity-kw", "9"), "DEMAND"),
        "plan without capacity": (("plan", "d.csv"), "--capacity-kw"),
        "plan of nothing": (("plan", "x.csv", "--capacity-kw", "9", "--out", "o"), "x.csv"),
        "made into no CSV": (("plan", "--generate", "3", "--out", "x.txt"), "--out"),
        "plan, unknown word": (("plan", "d.csv", "--capacity-kw", "9", "--fairness", "luck"), "--fairness"),
        "plan, no such profile": (("plan", "d.csv", "--capacity-kw", "9", "--profile", "magic"), "--profile"),
        "plan, no profile there": (("plan", "d.csv", "--capacity-kw", "9", "--profile", "x.toml"), "x.toml"),
        "plan, columns without names": (("plan", "d.csv", "--capacity-kw", "9", "--columns", "vehicle"), "--columns"),
        "plan, unknown quantity": (("plan", "d.csv", "--capacity-kw", "9", "--columns", "colour=a"), "--columns"),
        "plan, no such zone": (("plan", "d.csv", "--capacity-kw", "9", "--timezone", "Mars"), "--timezone"),
        "plan, a path as a zone": (("plan", "d.csv", "--capacity-kw", "9", "--timezone", "../x"), "--timezone"),
        "plan, no day": (("plan", "d.csv", "--capacity-kw", "9", "--day", "soon"), "--day"),
        "plan, an empty day": (("plan", "d.csv", "--capacity-kw", "9", "--day", "2020-01-01"), "nobody arrives"),
        "plan, no such protocol": (("plan", "d.csv", "--capacity-kw", "9", "--ocpp", "3"), "--ocpp"),
        "plan, messages without a zone": (("plan", "d.csv", "--capacity-kw", "9", "--ocpp", "1.6"), "--timezone"),
        "messages of nothing": (("ocpp", "nowhere"), "nowhere"),
        "starts of an LP": (("plan", "d.csv", "--capacity-kw", "9", "--max-starts", "2"), "--max-starts"),
        "seed minus one": (("run", "two_bus_evening", "--seed", "-1"), "--seed"),
        "seed of a study": (("reproduce", "fleet_aggregation", "--seed", "-1"), "--seed"),
        "rephase, no scenario": (("rephase", "nowhere", "--out", "o"), "nowhere"),
        "rephase, no controller": (("rephase", "two_bus_evening", "--controller", "magic", "--out", "o"), "magic"),
        "pricing, no instance": (("reproduce", "station_pricing", "--instance", "x.toml", "--out", "o"), "x.toml"),
        "pricing, no TOML": (("reproduce", "station_pricing", "--instance", "d.csv", "--out", "o"), "d.csv"),
        "pricing, no numbers": (("reproduce", "station_pricing", "--generate", "many", "--out", "o"), "--generate"),
        "pricing, too many": (("reproduce", "station_pricing", "--generate", "9999999,3", "--out", "o"), "--generate"),
        "host, no file": (("reproduce", "host_capacity", "--data", "x.csv", "--out", "o"), "x.csv"),
        "host, other table": (("reproduce", "host_capacity", "--data", "d.csv", "--out", "o"), "d.csv"),
        "host, unknown form": (("reproduce", "host_capacity", "--form", "magic", "--out", "o"), "--form"),
        "powertrip, no bus": (("reproduce", "powertrip", "--pv", "9999.1:5", "--out", "o"), "9999"),
        "powertrip, no point": (("reproduce", "powertrip", "--charge-points", "x", "--out", "o"), "x"),
        "powertrip, 1e300 kWp": (("reproduce", "powertrip", "--pv", "691.1:1e300", "--out", "o"), "691.1"),
        "powertrip, weights": (("reproduce", "powertrip", "--weights", "nan/nan", "--out", "o"), "nan/nan"),
        "powertrip, band": (("reproduce", "powertrip", "--voltage-pu", "1.1-0.9", "--out", "o"), "1.1-0.9"),
        "check without scenario": (("check",), "SCENARIO"),
        "compare without folder": (("compare",), "FOLDER"),
        "folder below a file": (("run", "two_bus_evening", "--out", "d.csv/x", "--controllers", "none"), "d.csv"),
    }
    for name, (arguments, word) in words.items():
        yield Case("options", name, arguments, {"d.csv": DEMAND}, words=(word,))


CONTROLLERS: dict[str, dict[str, tuple[str, ...]]] = {
    "equal_share": {"margin_percent": ()},
    "dimming": {"trigger_percent": (), "release_percent": (), "hold_min": ()},
    "droop": {"standard": (), "pv_volt_watt": ("true",)},
    "bilevel_caps": {
        "margin": (),
        "slot_min": (),
        "floor_kw": (),
        "gap": (),
        "node_limit": (),
        "time_limit_s": (),
        "levels": (),
        "rounds": (),
        "voltage_min_pu": (),
        "voltage_max_pu": (),
        "replan_min": (),
        "replan_time_limit_s": (),
        "objective": (),
        "form": (),
    },
    "pareto": {
        "population": (),
        "generations": (),
        "horizon_steps": (),
        "max_curtailment_percent": (),
        "max_total_curtailment_percent": (),
        "max_starts": (),
        "max_ramp_kw": ("inf", "1e300", "30 digits"),
        "control_min": (),
        "loading_limit_percent": ("inf", "1e300", "30 digits"),
        "weights": (),
        "objectives": (),
        "rule": (),
        "voltage_limits_pu": (),
    },
    "cpo_planner": {"capacity_kw": (), "margin_percent": (), "plan_step_min": (), "time_limit_s": (), "fairness": ()},
    "aggregator": {"units": (), "block_h": (), "plan_step_min": (), "aggregate": ()},
}
"""Numbers and words of controllers, and which of the values below they take."""

VALUES = {
    "nan": "nan",
    "inf": "inf",
    "minus one": "-1",
    "1e300": "1e300",
    "30 digits": "1" + "0" * 30,
    "text": '"much"',
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
                    f'controller = "{name}"\noptions = {{ {option} = {text} }}',
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
