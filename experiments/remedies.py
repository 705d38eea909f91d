"""What to write instead of what is wrong in a scenario: from its schema, and from the example that shows every key."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from cosim.errors import Fault, InputError, meant

Location = tuple[int | str, ...]
_PLAIN = {"number": "a number", "integer": "a whole number", "boolean": "true or false", "string": "text in quotes"}
_SAID = {"model_type": "should be a table", "dict_type": "should be a table", "tuple_type": "should be a list"}


def refused(*faults: Fault) -> PydanticCustomError:
    """Return what a validator raises for faults of its own; their keys are of the table that the value is in."""
    return PydanticCustomError("refused", "is refused", {"faults": faults})


def load_toml(path: Path) -> dict[str, Any]:
    """Content of a TOML file; InputError where it is none."""
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise InputError(Fault(str(path), "", f"is not TOML: {error}", "save it as text in UTF-8")) from None
    except (ValueError, RecursionError) as error:  # numbers too long, tables too deep: no TOMLDecodeError
        raise InputError(Fault(str(path), "", f"is not TOML: {error}", _syntax_remedy(text, str(error)))) from None


def _syntax_remedy(text: str, message: str) -> str:
    found = re.search(r"line (\d+)", message)
    line = text.splitlines()[int(found[1]) - 1 if found else -1].partition("#")[0].strip() if text.strip() else ""
    key, _, value = (part.strip() for part in line.partition("="))
    if re.fullmatch(r"-?\d+,\d+", value):
        return f"write a decimal point: {key} = {value.replace(',', '.')}"
    if re.fullmatch(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d", value):
        return f"write the seconds too: {key} = {value}:00"
    if value.lower() in ("true", "false"):
        return f"write it small: {key} = {value.lower()}"
    if re.fullmatch(r"[A-Za-z_.][\w ./:\\-]*", value):
        return f"write text in quotes: {key} = {_toml(value)}"
    if "overwrite" in message or "twice" in message:
        return f"keep one of the two: {line}"
    return 'write each line as key = value, text in "quotes"'


def scenario_faults(
    error: ValidationError, model: type[BaseModel], example: Path, where: Path, former: Mapping[str, str]
) -> Iterator[Fault]:
    """Tell every error of a file, and what to write instead.

    Parameters
    ----------
    error : ValidationError
        Of the content.
    model : type
        Whose content it is.
    example : Path
        A file that shows every key.
    where : Path
        The file.
    former : mapping of str to str
        Keys of earlier versions, and what they are called now.
    """
    schema, shown = model.model_json_schema(), load_toml(example)
    for item in _items(error, schema):
        location = item["loc"]
        if item["type"] == "refused":
            for fault in item["ctx"]["faults"]:
                yield Fault(str(where), dotted((*_table(location), fault.key)), fault.problem, fault.remedy)
            continue
        value = item["input"]
        known: Location = tuple(former.get(str(part), part) for part in location)
        if item["type"] == "extra_forbidden":
            yield Fault(str(where), dotted(location), "unknown key", _unknown_remedy(location, schema))
        elif item["type"] == "missing":
            yield Fault(str(where), dotted(location), "is missing", _missing_remedy(location, _shown(shown, location)))
        else:
            shown_value = _toml(value)
            given = "" if isinstance(value, dict) else f" ({shown_value[:60]}{'…' * (len(shown_value) > 60)} given)"
            message = _SAID.get(item["type"], item["msg"])
            problem = message[0].lower() + message[1:] + given
            remedy = _value_remedy(known, value, _node(schema, known), _shown(shown, known), schema)
            yield Fault(str(where), dotted(location), problem, remedy)


def dotted(location: Location) -> str:
    """Key as a reader counts: the first run is runs.1."""
    return ".".join(str(part + 1) if isinstance(part, int) else part for part in location)


def _items(error: ValidationError, schema: Mapping[str, Any]) -> list[ErrorDetails]:
    """Errors one by one; a list is not also too short for the faults of its items.

    Of a key that may be one of several kinds, pydantic tells every kind's error, each under the kind's own name: what
    is told is that of the kind that was written.
    """
    found = error.errors(include_url=False)
    inside = {item["loc"][:1] for item in found if len(item["loc"]) > 1}
    items: dict[Location, list[ErrorDetails]] = {}
    for item in found:
        if not (item["type"] == "too_short" and item["loc"] in inside):
            item["loc"] = _without_kind(item["loc"], schema) if item["type"] != "extra_forbidden" else item["loc"]
            items.setdefault(item["loc"], []).append(item)
    told = []
    for same in items.values():
        of_kind = [item for item in same if not item["type"].endswith("_type")]
        told += of_kind or same[:1]
    return told


def _without_kind(location: Location, schema: Mapping[str, Any]) -> Location:
    """Leave out the name of a kind where it is the end of a location."""
    inside = len(location) > 1 and not _node(schema, location) and _node(schema, location[:-1])
    return location[:-1] if inside else location


def _table(location: Location) -> Location:
    """Table that a value is in; an item of a list is told by the list's own key."""
    return location[:-1] if isinstance(location[-1], str) else location[:-2]


def _node(schema: Mapping[str, Any], location: Location) -> dict[str, Any]:
    """Part of the schema that describes a key."""
    node: Any = schema
    for part in location:
        key = "items" if isinstance(part, int) else "properties"
        choices = _choices(node, schema)
        inside: Any = next((one[key] for one in choices if key in one), {})
        # keys of a table such as [violation.NAME] are anybody's
        named: Any = next((one["additionalProperties"] for one in choices if one.get("additionalProperties")), {})
        node = inside if key == "items" else inside.get(part, {} if named is True else named)
    return dict(node)


def _choices(node: Mapping[str, Any], schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a value may be, each alone, without references."""
    if "$ref" in node:
        return [schema["$defs"][node["$ref"].rpartition("/")[2]]]
    return [one for part in node["anyOf"] for one in _choices(part, schema)] if "anyOf" in node else [dict(node)]


def _words(node: Mapping[str, Any], description: str) -> str:
    kind = str(node.get("type"))
    if "enum" in node or "const" in node:
        words = [_toml(word) for word in node.get("enum", [node.get("const")])]
        return words[0] if len(words) == 1 else f"one of {', '.join(words)}"
    if kind == "array":
        return f"a list, each {_words(node['items'], '')}"
    if kind == "object":
        return f"a table with {', '.join(node['properties'])}" if "properties" in node else "a table"
    if "pattern" in node:
        return f"{_PLAIN[kind]} ({description[0].lower() + description[1:]})"
    if node.get("format") == "date-time":
        return "a local date and time"
    unit = re.search(r" \[[^\]]+\]", description)
    return (
        _PLAIN.get(kind, "another value") + _range(node) + (unit[0] if unit and kind in ("number", "integer") else "")
    )


def _range(node: Mapping[str, Any]) -> str:
    low, high = node.get("minimum", node.get("exclusiveMinimum")), node.get("maximum", node.get("exclusiveMaximum"))
    above = "above " if "exclusiveMinimum" in node else ""
    if low is None or high is None:
        return "" if low is None else f" above {low:g}" if above else f", {low:g} or more"
    return f" above {low:g}, at most {high:g}" if above else f" from {low:g} to {high:g}"


def _value_remedy(
    location: Location, value: Any, node: Mapping[str, Any], example: Any, schema: Mapping[str, Any]
) -> str:
    key = str(location[-1] if isinstance(location[-1], str) else location[-2])
    choices = [one for one in _choices(node, schema) if one.get("type") != "null"]
    kinds, words = {one.get("type") for one in choices}, {str(word) for one in choices for word in one.get("enum", ())}
    if isinstance(value, str) and not kinds.isdisjoint({"number", "integer", "boolean"}):
        bare = value.strip().replace(",", ".")
        if bare in ("true", "false") if "boolean" in kinds else re.fullmatch(r"-?\d+(\.\d+)?", bare):
            return f"write it without quotes{' and with a point' * (',' in value)}: {key} = {bare}"
    if isinstance(value, str) and (near := get_close_matches(value, words, 1)):
        return f"did you mean {key} = {_toml(near[0])}? (one of {', '.join(sorted(words))})"
    if isinstance(value, float) and value.is_integer() and kinds == {"integer"}:
        return f"write it without a point: {key} = {value:.0f}"
    if len(choices) == 1:
        item = _choices(choices[0].get("items", choices[0]), schema)[0]
        if "properties" in item:
            name = dotted(tuple(part for part in location if isinstance(part, str)))
            heading = f"[[{name}]]" if kinds == {"array"} or isinstance(location[-1], int) else f"[{name}]"
            return f"write {heading} and below it its keys: {', '.join(item['properties'])}"
    said = " or ".join(_words(one, str(node.get("description", ""))) for one in choices)
    shown = example if example not in (None, []) else (node.get("examples") or [node.get("default")])[0]
    shown = "" if shown is None else f", for example {key} = {_toml(shown)}"
    high = next((one["maximum"] for one in choices if one.get("maximum", 9) <= 2), None)
    percent = high is not None and isinstance(value, (int, float)) and 2 <= value <= 100 * high
    return f"write {said}{shown}" + (f"; for {value:g} % write {value / 100:g}" if percent else "")


def _missing_remedy(location: Location, example: Any) -> str:
    if location == ("runs",):
        return 'add [[runs]] and below it controller = "none"'
    at_top = " above the first [table]" if len(location) == 1 else ""
    return f"add {location[-1]} = {_toml(example)}{at_top}"


def _unknown_remedy(location: Location, schema: Mapping[str, Any]) -> str:
    """Say what was meant: a key that is like it, or where one of its name belongs, else all that there are."""
    key = str(location[-1])
    known = list(next(iter(_choices(_node(schema, location[:-1]) or schema, schema))).get("properties", ()))
    tables = {"": schema, **{name: _node(schema, (name,)) for name in schema["properties"]}}
    for name, table in tables.items():
        if any(key in one.get("properties", ()) for one in _choices(table, schema)):
            return meant(key, known, f"write it {f'below [{name}]' if name else 'above the first [table]'}")
    return meant(key, known, f"leave it out, or use one of {', '.join(known)}")


def _shown(example: Any, location: Location) -> Any:
    """Value of a key in the example; of runs that of the first that has it."""
    for depth, part in enumerate(location):
        if isinstance(part, int):
            found = (_shown(one, location[depth + 1 :]) for one in example) if isinstance(example, list) else ()
            return next((one for one in found if one is not None), None)
        example = example.get(part) if isinstance(example, dict) else None
    return example


def _toml(value: Any) -> str:
    """Return a value as it is written in a file."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, datetime):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False, default=str)
