"""What is asked of a study, apart from what answers it, so that a wrong option is refused before that is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from cosim.errors import Fault, InputError


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """What is asked of a study.

    Every field of a subclass becomes an option of the study's command (an argument where it is annotated as one):
    name, type, default and ``Annotated[type, typer.Option(help=...)]`` are written there and nowhere else.
    """

    def __post_init__(self) -> None:
        """Refuse, with every fault at once."""
        files = [(one.name, value) for one in fields(self) if isinstance(value := getattr(self, one.name), Path)]
        found = [
            Fault(str(path), name.replace("_", "-"), "no such file", "write the path of a file that is there")
            for name, path in files
            if not path.is_file()
        ]
        found += self.faults()
        if found:
            raise InputError(found)

    def faults(self) -> Iterator[Fault]:
        """Tell what is out of range or does not go together; that a file is there has been looked at."""
        yield from ()
