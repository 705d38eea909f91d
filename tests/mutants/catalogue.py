"""The catalogue of mutants: one-line changes of the product that the tests must notice."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(Path(__file__).parent.glob("*.toml"))


@dataclass(frozen=True)
class Mutant:
    """A change of one line that would be wrong silently.

    Attributes
    ----------
    name : str
        To run it alone by.
    file : str
        Which file of the product, from the project's root.
    line : str
        What stands there now, exactly once in the file; several lines where one alone is not unique.
    becomes : str
        What stands there instead.
    why : str
        What a user would get wrong.
    tests : tuple of str
        Files or node ids of the tests that must notice.
    """

    name: str
    file: str
    line: str
    becomes: str
    why: str
    tests: tuple[str, ...]

    def faults(self, root: Path = ROOT) -> Iterator[str]:
        """Say why this is no mutant any more: its line is gone or not alone, nothing changes, or a test is gone."""
        path = root / self.file
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        found = text.count(self.line)
        if found != 1:
            yield f"{self.name}: the line is {found} times in {self.file}, not once: {self.line!r}"
            return
        changed = [old != new for old, new in zip(self.line.split("\n"), self.becomes.split("\n"), strict=False)]
        if sum(changed) != 1 or self.line.count("\n") != self.becomes.count("\n"):
            yield f"{self.name}: changes {sum(changed)} lines, not one"
        if _tree(text) == ast.dump(ast.parse(self.applied(text))):
            yield f"{self.name}: changes nothing that Python would notice"
        for test in self.tests:
            place, _, function = test.partition("::")
            code = (root / place).read_text(encoding="utf-8") if (root / place).is_file() else ""
            if f"def {function.partition('[')[0]}" not in code:
                yield f"{self.name}: there is no test {test}"

    def applied(self, text: str) -> str:
        """Return the file's text with the change in it."""
        return text.replace(self.line, self.becomes)


@cache
def _tree(code: str) -> str:
    return ast.dump(ast.parse(code))


def catalogue() -> list[Mutant]:
    """Return all mutants, in the order of the files."""
    return [
        Mutant(name, **{**entry, "tests": tuple(entry["tests"])})
        for path in FILES
        for name, entry in tomllib.loads(path.read_text(encoding="utf-8")).items()
    ]
