"""What is pinned: every shipped scenario, and every controller with every option that changes what it does."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from cosim import Behaviour, Trajectory, controllers, run
from cosim.errors import InputError
from cosim.experiments import compose, scenario
from cosim.reduced import ReducedNetwork
from tests.golden import places


@dataclass(frozen=True)
class Case(ABC):
    """One run whose outcome is pinned.

    Attributes
    ----------
    name : str
        Unique; its part before the first space names the file of values.
    slow : bool
        Only in ``make test-all``.
    tied : bool
        Several plans are as good, and another way to the optimum may return another of them: only the objective, its
        bound and totals are pinned, within a gap.
    """

    name: str
    slow: bool = False
    tied: bool = False

    @abstractmethod
    def run(self, shake: float = 0.0) -> Trajectory:
        """Run it, the day changed by less than ``shake`` (see ``places.shaken``)."""


@dataclass(frozen=True)
class ControllerCase(Case):
    """A controller with options, on the street's afternoon.

    ``world``: ``oracle``; ``phase_a``: only the cars of phase a, which keeps hard programmes small;
    ``wrong_forecast``, ``high_voltage`` and ``low_voltage``, see ``places``; ``noncompliant``: two
    homes ignore their caps.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    world: str = "oracle"
    control_min: float = 15.0
    engine: str = "opendss"

    @property
    def controller(self) -> str:
        """Its registered name."""
        return self.name.split()[0]

    def run(self, shake: float = 0.0) -> Trajectory:
        """Run it, with a predictor where the controller takes one."""
        feeder, day = places.street(), places.shaken(places.day(self.world), shake)
        predictor = _predictor() if controllers.needs_predictor(self.controller) else None
        controller = controllers.make(self.controller, feeder, predictor=predictor, seed=3, **self.options)
        homes = np.arange(places.HOMES)
        return run(
            feeder, day, controller, engine=self.engine, step_min=places.STEP_MIN, control_min=self.control_min,
            forecast=places.wrong_forecast() if self.world == "wrong_forecast" else None,
            behaviour=Behaviour(noncompliant=(homes == 2) | (homes == 6)) if self.world == "noncompliant" else None,
            label=self.name,
        )  # fmt: skip


@dataclass(frozen=True)
class ScenarioCase(Case):
    """A run of a shipped scenario, its horizon cut where a whole day is too dear (``hours``; 0: all of it)."""

    hours: int = 0

    def run(self, shake: float = 0.0) -> Trajectory:
        """Run it as ``cosim run`` would; ``shake`` is of what happens, not of what was told."""
        shipped, label = self.name.split()[1:3]
        made = _composed(shipped, self.hours)
        made = replace(made, exogenous=places.shaken(made.exogenous, shake)) if shake else made
        (item,) = (item for item in made.scenario.runs if item.name == label)
        return made.run_spec(item).trajectory


@cache
def _predictor() -> ReducedNetwork:
    return ReducedNetwork(places.street())


@cache
def _composed(name: str, hours: int) -> compose.Day:
    whole = scenario.read(name)
    return compose.compose(whole.model_copy(update={"horizon_h": hours}) if hours else whole)


def _named(name: str, options: Mapping[str, Any], extra: Mapping[str, Any]) -> str:
    """Name of a case: what sets it apart from the controller as it is."""
    parts = [f"{key}={value}" for key, value in options.items()]
    parts += [str(extra[key]) for key in ("world", "engine") if key in extra]
    return " ".join([name, *parts]).replace("'", "")


def _of(name: str, *variants: Mapping[str, Any], base: Mapping[str, Any] | None = None, **extra: Any) -> Iterator[Case]:
    for options in variants:
        yield ControllerCase(_named(name, options, extra), options={**(base or {}), **options}, **extra)


def _scenarios() -> Iterator[Case]:
    for label in ("none", "equal_share", "dimming"):
        yield ScenarioCase(f"scenarios two_bus_evening {label}")
    for label in ("none", "equal_share_80", "equal_share_defied"):
        yield ScenarioCase(f"scenarios example {label}")
    shortened = {
        "european_lv_may_day": {
            3: ("none", "equal_share", "droop", "bilevel_caps"),
            1: ("pareto",),
        },
        "european_lv_winter_day": {6: ("dimming", "bilevel_caps")},
        "european_lv_cold_week": {8: ("none", "even", "dimming")},
        "european_lv_year": {3: ("none",)},
        "european_lv_promise": {4: ("anticipated_noisy_20", "sum_of_caps_noisy_20")},
    }
    for shipped, by_hours in shortened.items():
        for hours, labels in by_hours.items():
            for label in labels:
                yield ScenarioCase(f"scenarios {shipped} {label} {hours}h", hours=hours)
        for item in scenario.read(shipped).runs:
            hours = 24 if shipped in ("european_lv_cold_week", "european_lv_year") else 0
            yield ScenarioCase(f"scenarios {shipped} {item.name} 24h", hours=hours, slow=True)


def _rules() -> Iterator[Case]:
    yield from _of("none", {})
    yield from _of("none", {}, engine="reduced")
    for paced in ("on_arrival", "even"):
        yield from _of(paced, {})
        yield from _of(paced, {}, world="noncompliant")
    yield from _of("equal_share", {}, {"margin_percent": 10.0})
    yield from _of("equal_share", {}, world="noncompliant")
    often = {"trigger_percent": 150.0, "release_percent": 145.0, "hold_min": 5.0}  # dimmed and released again
    yield from _of("dimming", {})
    yield from _of("dimming", often, often | {"release_percent": 60.0}, often | {"hold_min": 15.0})
    yield from _of(
        "droop",
        {},
        *({"standard": name} for name in choices("droop", "standard")[1:]),
        {"pv_volt_watt": False},
        {"pv_volt_var": False},
        world="high_voltage",
    )
    yield from _of("droop", {}, {"ev_volt_watt": False}, world="low_voltage")


def _planner() -> Iterator[Case]:
    yield from _of("cpo_planner", {}, {"formulation": "lp"}, {"fairness": "maxmin"}, control_min=30.0)
    yield from _of("cpo_planner", {"formulation": "lp", "fairness": "maxmin"}, control_min=30.0)
    yield from _of("cpo_planner", {"capacity_kw": 18.0}, {"margin_percent": 20.0}, control_min=30.0)
    yield from _of("cpo_planner", {"plan_step_min": 30.0}, control_min=30.0)
    yield from _of("cpo_planner", {}, world="wrong_forecast", control_min=30.0)


def _aggregator() -> Iterator[Case]:
    yield from _of("aggregator", {}, {"aggregate": "sum"}, {"aggregate": "envelope"}, control_min=30.0)
    yield from _of("aggregator", {"units": 2}, {"block_h": 2}, {"plan_step_min": 30.0}, control_min=30.0, slow=True)
    yield from _of("aggregator", {"aggregate": "sum"}, world="wrong_forecast", control_min=30.0)


def _pareto() -> Iterator[Case]:
    quick = {"population": 8, "generations": 3}
    pairs = (
        ("neutral_current", "squared_curtailment"),
        ("curtailment_fairness", "peak_current"),
        ("ramp", "ev_shortfall"),
        ("voltage_deviation", "losses"),
        ("unbalance_current", "pv_curtailment", "cost"),
    )
    yield from _of(
        "pareto",
        {},
        *({"objectives": list(pair)} for pair in pairs),
        *({"rule": rule} for rule in choices("pareto", "rule")[1:]),
        {"weights": [0.7, 0.3]},
        {"horizon_steps": 2},
        {"then_peak": False},
        {"certificate": False},
        {"voltage_limits_pu": [0.95, 1.06]},
        {"loading_limit_percent": 60.0},
        {"voltage_limits_pu": [0.95, 1.06], "max_curtailment_percent": 20.0},
        {"voltage_limits_pu": [0.95, 1.06], "max_total_curtailment_percent": 10.0},
        {"max_ramp_kw": 5.0},
        {"max_starts": 1},
        control_min=60.0,
    )
    yield from _of("pareto", {}, world="wrong_forecast", control_min=60.0)
    yield from _of(
        "pareto",
        {"method": "nsga2"},
        {"method": "nsga2", "certificate_seeds": False},
        {"objectives": ["pui", "switchings"]},
        {"objectives": ["vuf", "pv_curtailment"]},
        base=quick, control_min=60.0,
    )  # fmt: skip
    yield from _of("pareto", {"method": "convex"}, {"control_min": 30.0}, control_min=30.0)


def _caps() -> Iterator[Case]:
    name = "bilevel_caps"
    exact = {"gap": 1e-6, "slot_min": 60.0, "replan_min": 0.0}  # so that objectives are those of the optimum
    hard = ("max_min", "proportional", "min_cost")
    yield from _of(name, {})
    for objective in choices(name, "objective"):
        anticipated, summed = {"objective": objective}, {"coordination": "sum_of_caps", "objective": objective}
        if objective in hard:
            yield from _of(name, anticipated, base=exact | {"gap": 1e-3}, world="phase_a")
            yield from _of(name, anticipated, base=exact | {"gap": 0.01}, slow=True)
        else:
            yield from _of(name, anticipated, base=exact)
        yield from _of(name, summed, base=exact)
    yield from _of(name, {"form": "kkt", "limit_on": "mean"}, base=exact, world="phase_a")
    yield from _of(name, {"form": "kkt", "limit_on": "peak"}, base=exact, world="phase_a", slow=True)
    yield from _of(name, {"limit_on": "mean"}, base=exact)
    yield from _of(name, {"node_limit": 100}, base=exact | {"gap": 0.01}, world="phase_a")
    for ties in choices(name, "ties")[1:]:
        yield from _of(name, {"ties": ties}, base=exact | {"gap": 0.01}, world="phase_a")
    for aim in choices(name, "export_objective"):
        both = {"export": True, "export_objective": aim, "voltage_max_pu": 1.06}
        yield from _of(name, both, base=exact, world="phase_a")
        yield from _of(name, both | {"network": "transformer"}, base=exact, slow=True)
    yield from _of(name, {"coordination": "sum_of_caps", "export": True}, base=exact)
    yield from _of(name, {"network": "transformer"}, {"margin": 0.2}, base=exact)
    yield from _of(name, {"floor_kw": 2.5}, {"voltage_min_pu": 0.99}, {"rounds": 1}, base=exact, world="phase_a")
    yield from _of(name, {"export": True}, base=exact, world="phase_a")
    yield from _of(name, {"objective": "max_min", "levels": 1}, base=exact, world="phase_a", slow=True)
    yield from _of(name, {"slot_min": 30.0}, base=exact)
    running = exact | {"replan_min": 60.0}
    yield from _of(name, {"replan_min": 60.0}, base=running, world="wrong_forecast")
    yield from _of(name, {"replan_min": 60.0, "export": True}, base=running, world="wrong_forecast", slow=True)
    yield from _of(name, {"replan_min": 0.0}, base=running, world="wrong_forecast")
    yield from _of(name, {"coordination": "sum_of_caps"}, base=running, world="noncompliant")


def _envelopes() -> Iterator[Case]:
    name, quick = "envelopes", {"slot_min": 60.0}
    yield from _of(name, *({"allocation": one} for one in choices(name, "allocation")), base=quick)
    yield from _of(
        name,
        {"promise": "separate"},
        {"slot_min": 30.0},
        {"margin": 0.2},
        {"voltage_min_pu": 0.97},
        {"voltage_max_pu": 1.04},
        {"kvar_percent": 50.0},
        {"source_percent": 2.0},
        base=quick,
    )


TIED = frozenset(
    {
        "optimum objective=losses",
        "optimum objective=unbalance",
        "pareto rule=asf",
        "pareto rule=knee",
        "pareto objectives=[pui, switchings]",
        "pareto method=nsga2 certificate_seeds=False",
        "pareto objectives=[neutral_current, squared_curtailment]",
        "cpo_planner",
        "cpo_planner fairness=maxmin",
        "cpo_planner capacity_kw=18.0",
        "cpo_planner margin_percent=20.0",
        "cpo_planner wrong_forecast",
        "bilevel_caps objective=floor_then_least",
        "bilevel_caps objective=least_restriction",
        "bilevel_caps objective=max_min",
        "bilevel_caps objective=max_min phase_a",
        "bilevel_caps objective=min_cost phase_a",
        "bilevel_caps objective=proportional phase_a",
        "bilevel_caps replan_min=60.0 wrong_forecast",
        "bilevel_caps replan_min=60.0 export=True wrong_forecast",
        "bilevel_caps export=True export_objective=least voltage_max_pu=1.06 network=transformer",
        "bilevel_caps network=transformer",
        "bilevel_caps floor_kw=2.5 phase_a",
        "bilevel_caps coordination=sum_of_caps noncompliant",
        "bilevel_caps coordination=sum_of_caps objective=least_restriction",
        "bilevel_caps coordination=sum_of_caps objective=max_min",
        "bilevel_caps coordination=sum_of_caps objective=min_cost",
        "bilevel_caps coordination=sum_of_caps objective=proportional",
    }
)
"""Cases whose plan changes when every load changes by a billionth: ``python -m tests.golden --shake`` finds them."""

UNPINNED = {
    ("bilevel_caps", "time_limit_s"): "a wall clock: no golden may depend on it",
    ("bilevel_caps", "replan_time_limit_s"): "a wall clock: no golden may depend on it",
    ("cpo_planner", "time_limit_s"): "a wall clock: no golden may depend on it",
}
"""Options without a golden of their own, and why."""


@cache
def choices(controller: str, option: str) -> tuple[str, ...]:
    """Values that an option takes, its default first; none where it is no choice among names.

    They are read from what the controller answers to an unknown one, so that a new value is seen here by itself.
    """
    default = controllers.options(controller)[option]
    if not isinstance(default, str) and option != "objectives":
        return ()
    try:
        controllers.make(
            controller, places.street(), predictor=_predictor(), **{option: "?" if default else ["?", "??"]}
        )
    except InputError as error:
        told = next(fault.remedy for fault in error.faults if fault.key == option)
        known = re.search(r"(?:one|some) of (.*)", told)
        assert known, f"{controller}.{option}: '{told}' names no values"
        found = known.group(1).split(", ")
        return tuple(sorted(found, key=lambda value: value != default))
    raise AssertionError(f"{controller}.{option} takes any text")


def _optimum() -> Iterator[Case]:
    name, budgets = "optimum", {"curtailment_kwh": 1.0, "bill_eur": 20.0}
    exact, dear = ("curtailment", "cost"), ("unbalance", "losses", "peak")
    yield from _of(name, *({"objective": one} for one in exact))
    yield from _of(name, *({"cars": one} for one in choices(name, "cars") if one != "free"))
    yield from _of(name, {"bound": True})
    yield from _of(name, *({"objective": one} for one in dear), base=budgets, slow=True)
    yield from _of(name, {"bill_eur": 18.0}, {"curtailment_kwh": 2.0}, base=budgets | {"objective": "peak"}, slow=True)


@cache
def all_cases() -> dict[str, Case]:
    """Every case by its name."""
    makers = (_scenarios, _rules, _planner, _aggregator, _pareto, _caps, _envelopes, _optimum)
    found = [case for maker in makers for case in maker()]
    names = {case.name for case in found}
    assert len(names) == len(found), "two cases have the same name"
    assert names >= TIED, sorted(TIED - names)
    return {case.name: replace(case, tied=case.name in TIED) for case in found}


def lacking() -> list[str]:
    """What has no golden: controllers, options, and values of options that are a choice."""
    found = []
    of_controllers = [case for case in all_cases().values() if isinstance(case, ControllerCase)]
    for name in controllers.names():
        cases = [case for case in of_controllers if case.controller == name]
        if not cases:
            found.append(f"controller '{name}'")
            continue
        for key, default in controllers.options(name).items():
            used = [case.options.get(key, default) for case in cases]
            wanted = [True, False] if isinstance(default, bool) else list(choices(name, key))
            if key == "objectives":
                used = [aim for value in used for aim in value or ()]
            if wanted:
                found += [f"{name}.{key} = {value!r}" for value in wanted if value not in used]
            elif (name, key) not in UNPINNED and all(value == default for value in used):
                found.append(f"{name}.{key}, other than {default!r}")
    shipped = {case.name.split()[1] for case in all_cases().values() if isinstance(case, ScenarioCase)}
    return found + [f"scenario '{name}'" for name in scenario.shipped() if name not in shipped]
