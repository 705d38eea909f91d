"""Decisions: observation in, setpoints out.

A new controller is one file and one line in ``REGISTRY``. Importing this package imports none of them, so a solver is
loaded only by the controller that needs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from inspect import Parameter, getdoc, signature
from types import NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from cosim.contract import Controller, Feeder, Predictor
from cosim.controllers.texts import parameter_texts
from cosim.errors import Fault, InputError

if not __name__.startswith("cosim."):  # from the project's root a second copy of every class would load
    raise ImportError("import cosim.controllers, not controllers")

__all__ = ["REGISTRY", "describe", "make", "names", "needs_predictor", "option_faults", "option_texts", "options"]

REGISTRY: dict[str, str] = {
    "none": "cosim.controllers.none:NoControl",
    "equal_share": "cosim.controllers.equal_share:EqualShare",
    "dimming": "cosim.controllers.dimming:Dimming",
    "droop": "cosim.controllers.droop:Droop",
    "bilevel_caps": "cosim.controllers.caps.controller:BilevelCaps",
    "pareto": "cosim.controllers.pareto.controller:Pareto",
    "cpo_planner": "cosim.controllers.planner.controller:CpoPlanner",
    "aggregator": "cosim.controllers.aggregation.controller:Aggregator",
}
"""Name in scenarios to ``module:Class``."""

_GIVEN = ("feeder", "predictor", "seed")  # what the caller hands over; never an option


def names() -> tuple[str, ...]:
    """Names of all controllers, baselines first."""
    return tuple(REGISTRY)


def describe(name: str) -> str:
    """First line of the class's docstring; InputError where there is no such controller."""
    return (getdoc(_class(name)) or "").partition("\n")[0]


def needs_predictor(name: str, *, strictly: bool = False) -> bool:
    """Whether the controller's constructor takes a predictor (``strictly``: and cannot do without one).

    InputError where there is no such controller.
    """
    taken = signature(_class(name)).parameters.get("predictor")
    return taken is not None and not (strictly and taken.default is not Parameter.empty)


def options(name: str) -> dict[str, Any]:
    """Options of a controller with their defaults; InputError where there is no such controller."""
    return {key: value.default for key, value in _taken(_class(name)).items() if key not in _GIVEN}


def option_texts(name: str) -> dict[str, str]:
    """What the class's docstring says of each option; InputError where there is no such controller."""
    texts = parameter_texts(_class(name))
    hints = get_type_hints(_class(name).__init__)  # type: ignore[misc]
    for key in options(name):
        choices = get_args(hints.get(key)) if get_origin(hints.get(key)) is Literal else ()
        if any(str(choice) not in texts.get(key, "") for choice in choices):
            texts[key] = f"{texts.get(key, '')} One of {', '.join(map(str, choices))}.".strip()
    return {key: texts.get(key, "") for key in options(name)}


def option_faults(name: str, options: Mapping[str, Any], feeder: Feeder | None = None) -> list[Fault]:
    """Faults of options that can be told without making the controller: unknown, missing, of the wrong type or value.

    With a feeder, also what options name and the feeder does not have, where the controller can tell.

    Raises
    ------
    InputError
        Where there is no such controller.
    """
    kind = _class(name)
    found = _option_faults(name, kind, _taken(kind), None, options)
    faults = [fault for fault in found if fault.key in options or fault.key not in _GIVEN]
    if faults:
        return faults
    # a controller may know more than the types of its options
    of_values, of_places = getattr(kind, "option_faults", None), getattr(kind, "place_faults", None)
    if of_values is not None:
        faults += of_values(options)
    if of_places is not None and feeder is not None:
        faults += of_places(feeder, options)
    return faults


def make(
    name: str, feeder: Feeder, /, *, predictor: Predictor | None = None, seed: int = 0, **options: Any
) -> Controller:
    """Make a controller by its name.

    Parameters
    ----------
    name : str
        One of ``names()``.
    feeder : Feeder
        The place.
    predictor : Predictor, optional
        Handed to controllers whose constructor takes one.
    seed : int
        Handed to controllers whose constructor takes one.
    **options
        Of the controller itself, by keyword.

    Returns
    -------
    Controller

    Raises
    ------
    InputError
        Where there is no such controller; where options are unknown, missing or of the wrong type (all at once); and
        whatever the constructor refuses.
    """
    kind = _class(name)
    taken = _taken(kind)
    faults = list(_option_faults(name, kind, taken, predictor, options))
    if faults:
        raise InputError(faults)
    handed = {key: value for key, value in (("predictor", predictor), ("seed", seed)) if key in taken}
    return cast(Controller, kind(feeder, **handed, **options))


def _taken(kind: type) -> dict[str, Parameter]:
    return {key: value for key, value in signature(kind).parameters.items() if value.kind is not Parameter.VAR_KEYWORD}


def _class(name: str) -> type:
    if name not in REGISTRY:
        near = get_close_matches(name, REGISTRY, n=1)
        remedy = f"did you mean '{near[0]}'?" if near else "use another"
        problem = f"there is no controller {name!r}"
        raise InputError(Fault("controllers", "controller", problem, f"{remedy} (known: {', '.join(REGISTRY)})"))
    module, attribute = REGISTRY[name].split(":")
    return cast(type, getattr(import_module(module), attribute))


def _option_faults(
    name: str,
    kind: type,
    taken: Mapping[str, Parameter],
    predictor: Predictor | None,
    options: Mapping[str, Any],
) -> Iterator[Fault]:
    where = f"controller '{name}'"
    known = [key for key in taken if key not in _GIVEN]
    hints = get_type_hints(kind.__init__)  # type: ignore[misc]
    for key, value in options.items():
        if key not in known:
            near = get_close_matches(key, known, n=1)
            remedy = (
                f"did you mean '{near[0]}'?" if near else f"use one of {', '.join(known)}" if known else "leave it out"
            )
            yield Fault(where, key, "unknown option", remedy)
        elif not _fits(value, hints.get(key, Any)):
            wrong = "an unknown value" if get_origin(hints[key]) is Literal else "of the wrong type"
            yield Fault(where, key, f"is {value!r}, {wrong}", f"give {_named(hints[key])}")
    if "predictor" in taken and taken["predictor"].default is Parameter.empty and predictor is None:
        yield Fault(where, "predictor", "is missing", "hand one over, such as cosim.reduced.ReducedNetwork(feeder)")
    for key in known:
        if taken[key].default is Parameter.empty and key not in options:
            yield Fault(where, key, "is missing", f"give {_named(hints.get(key, Any))}")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from a scenario file fits a constructor's annotation; generous where that is not a plain type."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if origin is Sequence:
        return isinstance(value, (list, tuple)) and all(_fits(part, get_args(hint)[0]) for part in value)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint) if hint in (bool, str, NoneType) else True


def _named(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    if get_origin(hint) is Sequence:
        return f"a list, each {_named(get_args(hint)[0])}"
    plain = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}
    parts = [plain[part] for part in (get_args(hint) or (hint,)) if part in plain]
    return " or ".join(parts) or "another value"
