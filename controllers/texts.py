"""What classes say of their options, read from docstrings and sources: each is described once, where it is defined."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Sequence
from functools import cache
from inspect import Parameter, getdoc
from pathlib import Path
from typing import Any, Literal

ROOM = "cosim.controllers."
_PLAIN = {"Literal": Literal, "Sequence": Sequence, "bool": bool, "float": float, "int": int, "str": str}

_REFERENCE = re.compile(r"See `(\w+)`[.;,]? ?")


def parameter_texts(kind: type) -> dict[str, str]:
    """Return what a class's docstring says of each parameter, on one line.

    Of a parameter that is described as ``See `Other```, this is what that class, seen from the same module, says of its
    attribute of the same name; what follows the reference is added.
    """
    texts = _entries(kind, "Parameters")
    for key, text in texts.items():
        found = _REFERENCE.match(text)
        if found:
            other = getattr(sys.modules[kind.__module__], found[1])
            texts[key] = f"{_entries(other, 'Attributes')[key]} {text[found.end() :]}".strip()
    return texts


def _entries(kind: type, section: str) -> dict[str, str]:
    """Text of every entry of one section of a numpydoc docstring."""
    lines = (getdoc(kind) or "").splitlines()
    texts: dict[str, str] = {}
    heading, keys = "", [""]
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if following.startswith("---"):
            heading = line
        elif heading == section and line.startswith(" "):
            texts.update({key: f"{texts.get(key, '')} {line.strip()}".strip() for key in keys})
        elif line:
            keys = [key.strip() for key in line.partition(" : ")[0].split(",")]
    return texts


def written_parameters(module: str, name: str) -> dict[str, Parameter]:
    """What a class's constructor takes by keyword, as its source has it: its module, and a solver, are not imported.

    Annotations are evaluated; of defaults only whether there is one is told (``...``).
    """
    kind = next(node for node in _tree(module).body if isinstance(node, ast.ClassDef) and node.name == name)
    made = next(node for node in kind.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    return {
        one.arg: Parameter(
            one.arg, Parameter.KEYWORD_ONLY, default=Parameter.empty if default is None else ...,
            annotation=_value(one.annotation, module),
        )
        for one, default in zip(made.args.kwonlyargs, made.args.kw_defaults, strict=True)
    }  # fmt: skip


@cache
def _tree(module: str) -> ast.Module:
    path = Path(__file__).parent.joinpath(*module.removeprefix(ROOM).split("."))
    return ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_bytes())


def _value(node: ast.expr | None, module: str) -> Any:
    """Evaluate an annotation; names are sought where its module has them from."""
    if node is None:
        return Any
    scope = {part.id: _named(part.id, module) for part in ast.walk(node) if isinstance(part, ast.Name)}
    return eval(compile(ast.Expression(node), module, "eval"), scope)  # noqa: S307 - our own source


def _named(name: str, module: str) -> Any:
    if name in _PLAIN:
        return _PLAIN[name]
    for node in _tree(module).body if module.startswith(ROOM) else ():
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return _value(node.value, module)
        if isinstance(node, ast.ImportFrom) and name in (found := {one.asname or one.name: one for one in node.names}):
            return _named(found[name].name, str(node.module))
    return Any  # a class, which no scenario can name
