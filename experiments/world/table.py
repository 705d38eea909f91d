"""What the tables of a scenario are made of: keys checked by type and range, files named in them found beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

from cosim import plugins
from cosim.errors import Fault, InputError, meant
from cosim.experiments.remedies import refused

Share = Annotated[float, Field(ge=0, le=1)]
Value = TypeVar("Value")


Known = Callable[[Sequence[str]], Iterable[str]]
"""Names that a request may give where a file may name a path; of the plug-ins that it may name."""


def named_in_a_file(check: Callable[[Any], None], known: Known = lambda _: ()) -> AfterValidator:
    """Of a file, make what names a file beside it absolute, and refuse what is not there; nothing is loaded for it.

    Of a request, whose context holds the plug-ins that are ``allowed``, refuse whatever is not a known name: no file is
    looked for. So a key that says nothing of names takes none from a request.
    """

    def validate(value: Value, info: ValidationInfo) -> Value | str:
        if info.context is None or not isinstance(value, str):
            return value
        if "allowed" in info.context:
            refuse_unregistered(value, str(info.field_name), list(known(info.context["allowed"])))
        try:
            check(found := value if "allowed" in info.context else beside(value, info.context["folder"]))
        except InputError as error:
            raise refused(*(replace(fault, key=str(info.field_name)) for fault in error.faults)) from None
        except (OSError, ValueError) as error:  # too long, or with a null byte in it
            problem, remedy = (
                f"cannot be the name of a file ({error})"[:200],
                "write a shorter name, of printed letters",
            )
            raise refused(Fault("", str(info.field_name), problem, remedy)) from None
        return found

    return AfterValidator(validate)


def refuse_unregistered(value: str, key: str, known: Sequence[str]) -> None:
    """Refuse what a request names and is not known by that name: it can name neither files nor code."""
    if value not in known:
        problem = f"'{value[:80]}' is no registered name, and a request can name neither files nor code"
        remedy = meant(value, known, f"write one of {', '.join(known)}" if known else "leave it out")
        raise refused(Fault("", key, problem, remedy))


def beside(value: str, folder: Path) -> str:
    """Return the absolute path of what is seen from a folder, and of a target's file; any other text as it is."""
    if plugins.is_target(value):
        return plugins.resolved(value, folder)
    candidate = folder / value
    return str(candidate.resolve()) if ("/" in value or "." in value) and candidate.exists() else value


def table_file(value: str) -> None:
    """Refuse a table that is not there."""
    if not Path(value).is_file():
        remedy = "write the path of a CSV or Parquet file, seen from the scenario's folder"
        raise InputError(Fault("", "", f"there is no file '{value}'", remedy))


class Table(BaseModel):
    """A table: no unknown key, nothing converted, no nan."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
