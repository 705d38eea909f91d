"""What the steps of the planner share: faults in words, numbers and series as they are typed, its address."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode

from dash import html, set_props
from dash.development.base_component import Component
from pydantic import ValidationError

from cosim.errors import CosimError, Fault, InputError
from cosim.experiments.web.dashboard.controls import shown
from cosim.experiments.web.problems import fault_answer

if TYPE_CHECKING:
    from cosim.experiments.web.records import PlanRecord

ACCEPTED = ".csv,.tsv,.txt,.xlsx,.xlsm,.json,.parquet"
MOST_FAULTS = 50
_LABELS = {
    "columns": "Which column holds what", "profile": "Kind of file", "timezone": "The station's clock",
    "day": "Only this day", "dates": "Order of dates", "energy": "Energy is measured", "charger-kw": "Charger [kW]",
    "stay-h": "Stay [h]", "efficiency": "Efficiency", "capacity-kw": "Capacity [kW]", "capacity": "Capacity [kW]",
    "tariff": "Price [EUR/kWh]", "tariff-eur-per-kwh": "Price [EUR/kWh]", "site-load": "Load of the site [kW]",
    "pv": "PV of the site [kW]", "formulation": "Formulation", "objective": "What comes first", "fairness": "Fairness",
    "margin-min": "Margin [min]", "min-power-kw": "Least power [kW]", "peak-eur-per-kw": "Peak price [EUR/kW]",
    "shortfall-eur-per-kwh": "Price of what is missing [EUR/kWh]", "time-limit-s": "Time limit [s]",
}  # fmt: skip
"""Fields of the page by the option of ``cosim plan`` that a message names."""
_SERIES_FILE = re.compile(r"\b(capacity|tariff|site_load|pv)\.csv")
_OPTION = re.compile(r"--([a-z][a-z-]*)")
WHOLE_DAYS = {24: 60, 48: 30, 96: 15, 144: 10, 288: 5, 1440: 1}
"""Values that make a day, to the minutes of each."""

STATUS = {
    "optimal": "Proven best",
    "gap_limit": "Proven within the gap asked for",
    "time_limit": "Stopped by the time limit",
    "fallback": "No plan by the solver: who leaves first is charged first",
    "feasible": "A plan, nothing proven about it",
    "first_plan": "As good as was asked for",
}


def plain(text: str) -> str:
    """Message with the page's fields instead of options of the command line."""
    return _OPTION.sub(
        lambda found: f"“{_LABELS[found[1]]}”" if found[1] in _LABELS else found[1].replace("-", "_"), text
    )


def listed(faults: Iterable[Fault]) -> list[Component]:
    """Each fault as an item of a list, with row and column."""
    items: list[Component] = []
    for fault in faults:
        told = fault_answer(fault)
        place = f"row {told.row}, " if told.row is not None else ""
        items.append(html.Li(f"{place}{told.key or told.where}: {plain(f'{fault.problem} → {fault.remedy}')}"))
    return items


def address(**ids: str | None) -> str:
    """Search part of the page's address."""
    given = {name: value for name, value in ids.items() if value}
    return f"?{urlencode(given)}" if given else ""


def asked(search: str | None, name: str) -> str | None:
    """Id in the page's address."""
    return parse_qs((search or "").lstrip("?")).get(name, [None])[0]


def faults_of(error: Exception) -> list[Fault]:
    """Everything that is wrong, of whatever refuses an input."""
    if isinstance(error, InputError):
        return list(error.faults)
    if isinstance(error, ValidationError):
        items = error.errors(include_url=False)
        numbers = {item["loc"][0] for item in items if item["type"] != "literal_error" and item["loc"]}
        told = (item for item in items if item["type"] != "literal_error" or item["loc"][0] not in numbers)
        return [_of_item(item) for item in told]
    return [Fault("server", "", str(error), "mend it, or ask for something else")]


def _of_item(item: Any) -> Fault:
    """What a request's schema refuses, as a fault."""
    key, of = ".".join(map(str, item["loc"])) or "form", item.get("ctx", {})
    if item["type"] in _BOUNDS:
        name, remedy = _BOUNDS[item["type"]]
        return Fault("request", key, f"is {item['input']:g}", f"give {remedy} {of[name]:g}")
    problem, _, remedy = item["msg"].removeprefix("Value error, ").partition("; ")
    return Fault("request", key, problem, remedy or "give what the field says")


_BOUNDS = {
    "greater_than_equal": ("ge", "no less than"), "less_than_equal": ("le", "no more than"),
    "greater_than": ("gt", "more than"), "less_than": ("lt", "less than"),
}  # fmt: skip
InTurn = Callable[[Callable[[], "PlanRecord"]], Awaitable["PlanRecord"]]
"""Calls what plans in a thread, when others are done."""
REFUSED = (CosimError, ValidationError)
"""What the callbacks of the planner tell in words; all else is a fault of the program."""


def tell_faults(faults: Iterable[Fault], fields: Sequence[str], rest: str) -> None:
    """Write each fault beside its field, ``planner-FIELD-fault``, and the others into the element ``rest``."""
    beside: dict[str, list[str]] = {field: [] for field in fields}
    others = []
    for fault in faults:
        told, of_series = fault_answer(fault), _SERIES_FILE.search(fault.where)
        if of_series and of_series[1].replace("_", "-") in beside:  # a row of what was typed there
            words = plain(f"{told.key}: {fault.problem} → {fault.remedy}")
            beside[of_series[1].replace("_", "-")].append(f"row {told.row}, {words}" if told.row else words)
            continue
        name = told.key.partition(".")[0].replace("_", "-")
        key = {"capacity-kw": "capacity", "tariff-eur-per-kwh": "tariff"}.get(name, name)
        if key in beside and told.row is None:
            beside[key].append(plain(f"{fault.problem} → {fault.remedy}"))
        else:
            others.append(fault)
    for field, texts in beside.items():
        set_props(f"planner-{field}-fault", {"children": "; ".join(texts)})
    set_props(rest, {"children": problem_list(listed(others))})


def problem_list(items: Sequence[Component]) -> list[Component]:
    """A box with what is wrong; nothing where nothing is."""
    more = [html.P(f"and {len(items) - MOST_FAULTS} more")] if len(items) > MOST_FAULTS else []
    return [html.Div([html.Ul(items[:MOST_FAULTS]), *more], className="shell-problem")] if items else []


def number(typed: str | None, key: str, faults: list[Fault]) -> float | None:
    """A number as it is typed, None where nothing is; what is none is added to the faults."""
    words = (typed or "").strip()
    if not words:
        return None
    try:
        value = float(words)
    except ValueError:
        value = math.nan
    if math.isfinite(value):
        return value
    faults.append(Fault("request", key, f"{words!r:.40} is no number", "write one with a decimal point, no unit"))
    return None


def whole(typed: str | None, key: str, faults: list[Fault]) -> int | None:
    """A whole number as it is typed."""
    value = number(typed, key, faults)
    if value is not None and value != int(value):
        faults.append(Fault("request", key, f"{value:g} is no whole number", "write a whole number"))
        return None
    return None if value is None else int(value)


def series(typed: str | None, key: str, faults: list[Fault]) -> float | dict[str, Any] | None:
    """One number, or a series: a value a line for a day, or the text of a CSV file with a header."""
    rows = [row.strip() for row in (typed or "").strip().splitlines() if row.strip()]
    if len(rows) <= 1 and not (rows and rows[0].count(",") > 1):
        return number(typed, key, faults)
    values: list[float] = []
    if len(rows) == 1:
        rows = rows[0].split(",")
    try:
        values = [float(row) for row in rows]
    except ValueError:
        return {"csv": "\n".join(rows) + "\n"}
    if not all(map(math.isfinite, values)):
        faults.append(Fault("request", key, "holds what is no number", "write numbers with decimal points"))
        return None
    if len(values) not in WHOLE_DAYS:
        remedy = f"give {', '.join(map(str, WHOLE_DAYS))} values from midnight, or a CSV with a header and “time”"
        faults.append(Fault("request", key, f"has {len(values)} values, which are no day", remedy))
        return None
    return {"values": values, "step_min": WHOLE_DAYS[len(values)]}


def in_words(found: PlanRecord) -> str:
    """How a plan ended and what it serves, in a sentence."""
    if found.status != "done":
        return f"The plan is {found.status}."
    metrics = found.metrics
    told = STATUS.get(metrics["status"], metrics["status"])
    return (
        f"{told}. {shown(metrics['served_percent'], 1)} % of the need is served, the worst vehicle "
        f"{shown(metrics['served_min_percent'], 1)} %; peak {metrics['peak_kw']:.1f} kW."
    )
