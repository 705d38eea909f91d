"""What is left of a scenario's content when the wrong keys are taken out, so that the right ones can be looked at."""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Model = TypeVar("Model", bound=BaseModel)


def mended(model: type[Model], data: dict[str, Any], error: ValidationError) -> tuple[Model, set[str]]:
    """Scenario of the right keys with defaults or stand-ins for the wrong ones, and the names of these."""
    data, wrong = deepcopy(data), set()
    if isinstance(data.get("runs"), tuple):
        data["runs"] = list(data["runs"])
    while True:
        for item in items(error):
            location = item["loc"]
            if len(location) > 1 and (item["type"] == "missing" or location[-1] == "controller"):
                location = location[:-1]  # what is around it means nothing without it
            wrong.add(dotted(location))
            _put_stand_in(data, location)
        try:
            return model.model_validate(data), wrong
        except ValidationError as still:
            error = still


def _put_stand_in(data: dict[str, Any], location: tuple[int | str, ...]) -> None:
    stand_ins: dict[Any, Any] = {
        ("name",): "unnamed", ("feeder",): "two_bus", ("start",): datetime(2000, 1, 1),
        ("runs",): [{"controller": "none"}],
    }  # fmt: skip
    if location[0] == "runs" and len(location) > 1:
        label = f"stand-in-{location[1]}"
        stand_ins = {location[:2]: {"controller": "none", "label": label}, (*location[:2], "label"): label}
    table: Any = data
    try:
        for depth, part in enumerate(location[:-1], start=1):
            if not isinstance(table[part], (dict, list)):  # a word that stands for a table
                location = location[:depth]
                break
            table = table[part]
        if location in stand_ins:
            table[location[-1]] = stand_ins[location]
        else:
            del table[location[-1]]
    except (KeyError, IndexError):
        pass  # in a table that is already out


def dotted(location: tuple[int | str, ...]) -> str:
    """Key as a reader counts: the first run is runs.1."""
    return ".".join(str(part + 1) if isinstance(part, int) else part for part in location)


def items(error: ValidationError) -> list[ErrorDetails]:
    """Errors one by one; a list is not also too short for the faults of its items."""
    found = error.errors(include_url=False)
    inside = {item["loc"][:1] for item in found if len(item["loc"]) > 1}
    return [item for item in found if not (item["type"] == "too_short" and item["loc"] in inside)]
