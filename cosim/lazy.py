"""Names of a package that are imported when they are first used, from what the type checker is told of them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def exports(package: str, file: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package: each name comes from where ``from ... import`` in its file has it.

    The package writes those imports under ``if TYPE_CHECKING``, once, and imports nothing. No name of its own may be
    that of one of its modules, which Python would hand over instead once it is loaded.
    """
    imports = (node for node in ast.walk(ast.parse(Path(file).read_bytes())) if isinstance(node, ast.ImportFrom))
    homes = {alias.asname or alias.name: (str(node.module), alias.name) for node in imports for alias in node.names}

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        module, name_there = homes[name]
        value = getattr(import_module(module), name_there)
        setattr(sys.modules[package], name, value)
        return value

    return find
