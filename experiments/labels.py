"""Labels: names of runs and scenarios, and so of folders, on every system."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

LABEL = r"^[A-Za-z0-9_]([A-Za-z0-9_.\-]*[A-Za-z0-9_\-])?$"
"""What names a run or a scenario, and so its folder, on every system: no hidden one, none that reads as an option."""
_LONGEST_LABEL = 80
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
REMEDY = f"use at most {_LONGEST_LABEL} of A-Z a-z 0-9 _ . and -; the first no . or -, the last no ."


def label_problem(label: str) -> str:
    """Say why a text cannot be the name of a folder everywhere; empty where it can."""
    if not re.fullmatch(LABEL, label) or len(label) > _LONGEST_LABEL:
        return f"{label[:_LONGEST_LABEL]!r} is no label: {REMEDY}"
    return f"'{label}' is a device on Windows, not a label" if label.split(".")[0].lower() in _DEVICES else ""


def labels_problem(labels: Sequence[str]) -> str:
    """Say why texts cannot be the names of folders beside each other; empty where they can."""
    alike = [label.lower() for label in labels]  # as a disk of Windows or macOS sees them
    twice = ", ".join(sorted({label for label in labels if alike.count(label.lower()) > 1}))
    if twice:
        return f"label {twice} is used twice (case does not count); give each run its own label"
    return next(filter(None, map(label_problem, labels)), "")


def _no_device(label: str) -> str:
    if problem := label_problem(label):
        raise PydanticCustomError("label", "{problem}", {"problem": problem})
    return label


Label = Annotated[str, Field(pattern=LABEL, max_length=_LONGEST_LABEL), AfterValidator(_no_device)]
