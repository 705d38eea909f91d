"""What names a run or a scenario, and so a folder: nothing that any system reads as something else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo

from cosim.errors import Fault
from cosim.experiments.remedies import refused

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_.\-]*[A-Za-z0-9_\-])?"
_LONGEST_LABEL = 80
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
LABEL_REMEDY = f"use at most {_LONGEST_LABEL} of A-Z a-z 0-9 _ . and -; the first no . or -, the last no ."


def label_problem(label: str) -> str:
    """Say why a text cannot name a run or a scenario, and so a folder on every system; empty where it can."""
    if not re.fullmatch(_LABEL, label) or len(label) > _LONGEST_LABEL:
        return f"{label[:_LONGEST_LABEL]!r} is no label"
    return f"'{label}' is a device on Windows, not a label" if label.split(".")[0].lower() in _DEVICES else ""


def labels_fault(labels: Sequence[str]) -> Fault | None:
    """Say why texts cannot be the names of folders beside each other; None where they can."""
    alike = [label.lower() for label in labels]  # as a disk of Windows or macOS sees them
    twice = sorted({label for label in labels if alike.count(label.lower()) > 1})
    if twice:
        remedy = f'write a label of its own into each, such as label = "{twice[0]}_2"'
        return Fault("", "runs", f"label {', '.join(twice)} is used twice (case does not count)", remedy)
    unfit = next(filter(None, map(label_problem, labels)), "")  # of a class, where no label is given
    return Fault("", "runs", unfit, f"write a label: {LABEL_REMEDY}") if unfit else None


def _names_a_folder(value: str, info: ValidationInfo) -> str:
    if problem := label_problem(value):
        raise refused(Fault("", str(info.field_name), problem, LABEL_REMEDY))
    return value


Label = Annotated[str, AfterValidator(_names_a_folder), Field(description="Letters, digits, _ . and -")]
