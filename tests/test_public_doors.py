"""Tests and witnesses come to the caps by their public door, so that their insides can be rewritten without them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosim.controllers import caps

TESTS = Path(__file__).parent
CAPS = "cosim.controllers.caps"


def reached(source: str) -> Iterator[str]:
    """Yield what of the caps a module imports or names in a string, as to patch it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith(CAPS))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(CAPS):
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "cosim.controllers":
            yield from (CAPS for name in node.names if name.name == "caps")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(rf"^{re.escape(CAPS)}(?:\.\w+)+$", node.value)


def private(source: str) -> set[str]:
    public = {CAPS, *(f"{CAPS}.{name}" for name in caps.__all__)}
    return set(reached(source)) - public


def test_tests_import_only_what_the_caps_export() -> None:
    files = {path.relative_to(TESTS).as_posix(): path for path in TESTS.rglob("*.py")}
    texts = {name: path.read_text("utf-8") for name, path in files.items()}
    assert sum(CAPS in text for text in texts.values()) > 15  # or it looks in the wrong place
    found = {(name, one) for name, text in texts.items() if "caps" in text for one in private(text)}
    assert found == set()


@pytest.mark.parametrize(
    "line",
    [
        f"from {CAPS}.follower import best_response",
        f"from {CAPS} import programme",
        f"import {CAPS}.solve",
        f"monkeypatch.setattr('{CAPS}.solve.AFTER_S', 0.0)",
    ],
)
def test_a_private_door_is_seen(line: str) -> None:
    assert private(line)


def test_everything_exported_exists() -> None:
    assert [name for name in caps.__all__ if not hasattr(caps, name)] == []
    assert len(set(caps.__all__)) == len(caps.__all__)
