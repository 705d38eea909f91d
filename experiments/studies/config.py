"""What is asked of a study, apart from what answers it, so that a wrong option is refused before that is loaded."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import get_type_hints

from cosim.errors import Fault, range_faults, refuse


def option_of(name: str) -> str:
    """Return a field's name as it is written on the command line."""
    return name if name.startswith("-") or name.isupper() else f"--{name.replace('_', '-')}"


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """What is asked of a study.

    Every field of a subclass becomes an option of the study's command (an argument where it is annotated as one):
    name, type, default and ``Annotated[type, typer.Option(help=...)]`` are written there and nowhere else.
    """

    def __post_init__(self) -> None:
        """Refuse, with every fault at once: what the options' own ``min`` and ``max`` forbid, nan, and `faults`."""
        files = [(one.name, value) for one in fields(self) if isinstance(value := getattr(self, one.name), Path)]
        found = [
            Fault(str(path), name.replace("_", "-"), "no such file", "write the path of a file that is there")
            for name, path in files
            if not os.path.isfile(path)
        ]
        found += range_faults("options", self._ranges())
        told = {fault.key for fault in found}
        found += [fault for fault in self.faults() if fault.key not in told]
        refuse(found)

    def faults(self) -> Iterator[Fault]:
        """Tell what is unknown or does not go together; ranges, and that a file is there, have been looked at."""
        yield from ()

    def _ranges(self) -> Iterator[tuple[str, float, float, float, str]]:
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            value, (option, *_) = getattr(self, name, None), getattr(hint, "__metadata__", (None,))
            if isinstance(value, int | float):
                low, high = (getattr(option, end, None) for end in ("min", "max"))
                whole = (-math.inf if low is None else low, math.inf if high is None else high)
                yield option_of(name), value, *whole, "a whole number" if isinstance(value, int) else "a number"
