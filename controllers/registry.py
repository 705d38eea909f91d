"""Controllers by name or target: found, described, their options checked, made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from inspect import Parameter, getdoc, signature
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from cosim import plugins
from cosim.controllers.texts import ROOM, parameter_texts, written_parameters
from cosim.errors import CosimError, Fault, InputError, meant, refuse

if TYPE_CHECKING:
    from cosim.contract import Controller, Exogenous, Feeder, Predictor

REGISTRY: dict[str, str] = {
    "none": "cosim.controllers.rules.none:NoControl",
    "on_arrival": "cosim.controllers.rules.on_arrival:OnArrival",
    "even": "cosim.controllers.rules.even:Even",
    "equal_share": "cosim.controllers.rules.equal_share:EqualShare",
    "dimming": "cosim.controllers.rules.dimming:Dimming",
    "droop": "cosim.controllers.rules.droop:Droop",
    "bilevel_caps": "cosim.controllers.caps.controller:BilevelCaps",
    "pareto": "cosim.controllers.pareto.controller:Pareto",
    "cpo_planner": "cosim.controllers.planner.controller:CpoPlanner",
    "aggregator": "cosim.controllers.aggregation.controller:Aggregator",
    "envelopes": "cosim.controllers.caps.envelopes:Envelopes",
    "optimum": "cosim.controllers.optimum.controller:Optimum",
}
"""Name in scenarios to ``module:Class``."""

GROUP = "cosim.controllers"
"""Entry points by which installed packages offer controllers."""

_GIVEN = ("predictor", "seed")  # what the caller hands over; never an option
_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_VARIABLE = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
_ASKED = ("plan(self, forecast)", "decide(self, observation)")


def names() -> tuple[str, ...]:
    """Names of all controllers, baselines first, those of installed packages last; shipped names win."""
    return (*REGISTRY, *[name for name in plugins.offered(GROUP) if name not in REGISTRY])


def describe(name: str | type) -> str:
    """First line of the class's docstring; InputError where there is no such controller."""
    return (getdoc(find(name)) or "").partition("\n")[0]


def needs_predictor(name: str | type, *, strictly: bool = False) -> bool:
    """Whether the controller's constructor takes a predictor (``strictly``: and cannot do without one).

    InputError where there is no such controller.
    """
    taken = _taken(find(name)).get("predictor")
    return taken is not None and not (strictly and taken.default is not Parameter.empty)


def simplifies(name: str | type, what: str, options: Mapping[str, Any]) -> bool:
    """Whether the controller's class says that it plans with a simpler world than there is, at all or with options.

    Parameters
    ----------
    name : str or type
        Which controller.
    what : {"one_tariff", "even_charging", "without_sources"}
        One price for all homes; chargers evenly on all phases of their homes; nothing fed in or drawn by sources of the
        circuit's own file.
    options : mapping of str to Any
        Of the run.

    Raises
    ------
    InputError
        Where there is no such controller.
    """
    said = getattr(find(name), what, False)
    return bool(said(options) if callable(said) else said)


def options(name: str | type) -> dict[str, Any]:
    """Options of a controller with their defaults; InputError where there is no such controller."""
    return {key: value.default for key, value in _taken(find(name)).items() if key not in _GIVEN}


def option_texts(name: str | type) -> dict[str, str]:
    """What the class's docstring says of each option; InputError where there is no such controller."""
    kind = find(name)
    texts = parameter_texts(kind)
    hints = _hints(kind)
    for key in options(kind):
        choices = get_args(hints.get(key)) if get_origin(hints.get(key)) is Literal else ()
        if any(str(choice) not in texts.get(key, "") for choice in choices):
            texts[key] = f"{texts.get(key, '')} One of {', '.join(map(str, choices))}.".strip()
    return {key: texts.get(key, "") for key in options(kind)}


def refuse_unknown(name: str) -> None:
    """Raise the InputError of a controller that is not there, without importing one that is."""
    if name in REGISTRY:
        return
    plugins.target_for(GROUP, name, "controller", names())


def declared_faults(name: str, options: Mapping[str, Any]) -> list[Fault]:
    """Faults of options against what a shipped controller declares, which is read without importing it.

    Unknown ones and those of a wrong type or value; ranges are known to the controller alone. Of controllers of others
    nothing is told here.
    """
    place, kind = plugins.split_target(REGISTRY.get(name, ":"))
    if not options or not place.startswith(ROOM):
        return []
    taken = written_parameters(place, kind)
    return list(_option_faults(name, taken, {key: one.annotation for key, one in taken.items()}, options))


def option_faults(name: str | type, options: Mapping[str, Any]) -> list[Fault]:
    """Faults of options that can be told without making the controller: unknown, missing, of the wrong type or value.

    Raises
    ------
    InputError
        Where there is no such controller.
    """
    kind = find(name)
    faults = list(_option_faults(_label(name), _taken(kind), _hints(kind), options))
    # a controller may know more than the types of its options
    return faults or list(kind.option_faults(options) if hasattr(kind, "option_faults") else ())


def make(
    name: str | type, feeder: Feeder, /, *, predictor: Predictor | None = None, seed: int = 0, **options: Any
) -> Controller:
    """Make a controller.

    Parameters
    ----------
    name : str or type
        One of ``names()``, a target (``my_file.py:MyClass``), or the class itself.
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
        whatever the constructor refuses. An error in a constructor from outside is one too, with its line.
    """
    kind = find(name)
    taken = _taken(kind)
    faults = list(_option_faults(_label(name), taken, _hints(kind), options))
    if "predictor" in taken and taken["predictor"].default is Parameter.empty and predictor is None:
        remedy = "hand one over, such as cosim.reduced.ReducedNetwork(feeder)"
        faults.append(Fault(f"controller '{_label(name)}'", "predictor", "is missing", remedy))
    refuse(faults)
    handed = {key: value for key, value in (("predictor", predictor), ("seed", seed)) if key in taken}
    try:
        return cast("Controller", kind(feeder, **handed, **options))
    except Exception as error:
        raise _told(error, kind, "cannot be made") from error


def check(controller: Controller, feeder: Feeder, day: Exogenous, kind: str = "oracle") -> list[Fault]:
    """What a controller finds wrong with a place and the day that it will be told; InputError where it fails itself.

    ``kind`` of forecast: a controller with ``knows_the_day`` is told the truth, or refused.
    """
    if getattr(controller, "knows_the_day", False) and kind != "oracle":
        remedy = 'set forecast = "oracle" in this run'
        return [
            Fault(f"controller '{_label(type(controller))}'", "forecast", f"'{kind}': it plans with the truth", remedy)
        ]
    own = getattr(controller, "check", None)
    if own is None:
        return []
    try:
        return list(own(feeder, day))
    except Exception as error:
        raise _told(error, type(controller), "check() failed") from error


def find(name: str | type) -> type:
    """Find the class of a controller by name, target or itself; InputError where it is none."""
    if isinstance(name, str) and name in REGISTRY:
        return cast(type, plugins.shipped(REGISTRY[name]))
    kind: Any = name
    if isinstance(name, str):
        kind = plugins.load(plugins.target_for(GROUP, name, "controller", names()), "controller")
    _refuse_unusable(kind, _label(name))
    return cast(type, kind)


def _refuse_unusable(kind: Any, label: str) -> None:
    if not isinstance(kind, type):
        raise InputError(Fault("controllers", "controller", f"'{label}' is no class", "name a class"))
    where, faults = plugins.source_of(kind) or "controllers", []
    for wanted in _ASKED:
        method = wanted.partition("(")[0]
        if not callable(getattr(kind, method, None)):
            remedy = (
                f"write def {wanted}, or inherit from cosim.BaseController" if method == "plan" else f"write {wanted}"
            )
            faults.append(Fault(where, "controller", f"class '{kind.__name__}' has no {method}()", remedy))
    if not faults and not any(value.kind in _POSITIONAL for value in signature(kind).parameters.values()):
        faults.append(
            Fault(where, "controller", f"{kind.__name__}() takes no feeder", "write def __init__(self, feeder)")
        )
    refuse(faults)


def _told(error: Exception, kind: type, doing: str) -> Exception:
    """An error in code from outside as a fault of the input; ours stays what it is."""
    if isinstance(error, CosimError) or kind.__module__.startswith("cosim."):
        return error
    return InputError(plugins.fault_inside(error, plugins.source_of(kind), "controller", f"{kind.__name__} {doing}"))


def _label(name: str | type) -> str:
    return plugins.safe_label(name) if isinstance(name, str) else name.__name__


def _taken(kind: type) -> dict[str, Parameter]:
    """What a constructor takes beside the feeder, which comes first whatever its name."""
    taken = [(key, value) for key, value in signature(kind).parameters.items() if value.kind not in _VARIABLE]
    return dict(taken[1:])


def _hints(kind: type) -> dict[str, Any]:
    try:
        return get_type_hints(kind.__init__)  # type: ignore[misc]
    except NameError:  # names that are there for type checkers only
        return {}


def _option_faults(
    name: str, taken: Mapping[str, Parameter], hints: Mapping[str, Any], options: Mapping[str, Any]
) -> Iterator[Fault]:
    where, known = f"controller '{name}'", [key for key in taken if key not in _GIVEN]
    for key, value in options.items():
        if key in _GIVEN:
            remedy = "leave it out: the scenario's seed and feeder decide"
            yield Fault(where, key, "is not for a scenario to set", remedy)
        elif key not in known:
            remedy = meant(key, known, f"use one of {', '.join(known)}" if known else "leave it out")
            yield Fault(where, key, "unknown option", remedy)
        elif not _fits(value, hints.get(key, Any)):
            wrong = "an unknown value" if get_origin(hints[key]) is Literal else "of the wrong type"
            yield Fault(where, key, f"is {value!r}, {wrong}", f"give {_named(hints[key])}")
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
        return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value  # nan is none
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint) if hint in (bool, str, NoneType) else True


def _named(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    if get_origin(hint) is Sequence:
        return f"a list, each {_named(get_args(hint)[0])}"
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_named(part) for part in get_args(hint) if part is not NoneType)
    plain = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}
    return plain.get(hint, "another value")
