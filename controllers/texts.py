"""What classes say of their options, read from their docstrings: each option is described once, where it is defined."""

from __future__ import annotations

import re
import sys
from inspect import getdoc

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
