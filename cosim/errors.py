"""Everything that can go wrong, as a tree.

CosimError
├── InputError        the input is wrong; lists every fault found (exit code 2)
├── PowerFlowError    the power flow gave no answer that can be trusted (exit code 3)
├── SolverError       an optimisation gave no answer that can be trusted (exit code 3)
├── ControllerError   a controller raised, or answered with what nobody could follow (exit code 3)
│   └── TooLateError  a decision took longer than it may
├── RunStoppedError   a run ended before its last step; carries what was computed (exit code 3 or 130)
├── WriteError        a result could not be written: a full disk, a quota, no right to (exit code 3)
└── UnsupportedError  the model holds something that the reduced network cannot represent (exit code 2)
"""

from __future__ import annotations

import math
import os
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path


class CosimError(Exception):
    """Root of every error that the product raises on purpose."""

    exit_code = 3


@dataclass(frozen=True)
class Fault:
    """One thing wrong with the input.

    Attributes
    ----------
    where : str
        File, and line or row where there is one.
    key : str
        Key, column or element at fault; empty when the whole file is.
    problem : str
        What is wrong, with the offending value.
    remedy : str
        What to do about it.
    """

    where: str
    key: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.where}: {self.key}" if self.key else self.where
        return f"{place}: {self.problem} → {self.remedy}"


class InputError(CosimError):
    """The input is wrong. Faults are collected and raised together.

    Parameters
    ----------
    faults : Fault or iterable of Fault
        What was found.
    """

    exit_code = 2

    def __init__(self, faults: Fault | Iterable[Fault]) -> None:
        self.faults: tuple[Fault, ...] = (faults,) if isinstance(faults, Fault) else tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


def refuse(faults: Iterable[Fault]) -> None:
    """Raise an `InputError` with all faults, if there is any."""
    found = tuple(faults)
    if found:
        raise InputError(found)


class PowerFlowError(CosimError):
    """The power flow did not converge."""


class SolverError(CosimError):
    """An optimisation ended without an answer that can be trusted."""


class ControllerError(CosimError):
    """A controller raised, changed what it was shown, or answered with setpoints that nobody could follow."""


class TooLateError(ControllerError):
    """A decision took longer than it may."""


class DeviceError(CosimError):
    """A device raised, or answered with something else than one finite power a customer."""


class RunStoppedError(CosimError):
    """A run ended before its last step; what was computed is kept.

    Parameters
    ----------
    message : str
        Why, and at which step.
    trajectory : object
        The ``Trajectory`` of the completed steps, marked as incomplete.
    exit_code : int
        3 where a power flow or a solver failed, 130 where the user interrupted.
    """

    def __init__(self, message: str, trajectory: object, exit_code: int) -> None:
        self.trajectory = trajectory
        self.exit_code = exit_code
        super().__init__(message)

    def __reduce__(self) -> tuple[type[RunStoppedError], tuple[str, None, int]]:
        """Go from one process to another without the trajectory, which goes by itself."""
        return type(self), (str(self), None, self.exit_code)


class WriteError(CosimError):
    """A result could not be written; the message names the file and the reason."""


class UnsupportedError(CosimError):
    """The reduced network cannot represent an element; the message names it."""

    exit_code = 2


def reason(error: BaseException) -> str:
    """Say in one line what went wrong; of what nobody foresaw, also where."""
    if isinstance(error, CosimError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"out of memory ({error})" if str(error) else "out of memory"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{kind_and_text(error)}{place}"


def kind_and_text(error: BaseException) -> str:
    """Return class and text of an error; code of others makes the text, and may fail or give what is not UTF-8."""
    try:
        text = str(error).encode(errors="backslashreplace").decode()
    except Exception:
        text = "(its text cannot be made)"
    return f"{type(error).__name__}: {text}"


def meant(word: str, known: Iterable[str], otherwise: str) -> str:
    """Return a remedy for a word that is unknown: the known one that is like it, or else something to do."""
    near = get_close_matches(word, list(known), n=1)
    return f"did you mean '{near[0]}'?" if near else otherwise


def shares_faults(where: str, shares: Mapping[str, Sequence[float]]) -> list[Fault]:
    """Return the faults of shares that are not three numbers with the sum 1."""
    remedy = "give three shares with the sum 1, e.g. [0.4, 0.3, 0.3]"
    return [
        Fault(where, key, f"is {list(value)}", remedy)
        for key, value in shares.items()
        if not (len(value) == 3 and abs(sum(value) - 1.0) <= 1e-6)
    ]


def range_faults(where: str, ranges: Iterable[tuple[str, float, float, float, str]]) -> Iterator[Fault]:
    """Faults of numbers that lie outside their ranges.

    Parameters
    ----------
    where : str
        Whose numbers.
    ranges : iterable of (key, value, low, high, what)
        Both ends are allowed, nan never is; ``what`` says what to give, with its unit.
    """
    for key, value, low, high, what in ranges:
        if not low <= value <= high:
            allowed = f"from {low:.10g} to {high:.10g}" if high < math.inf else f"of {low:.10g} or more"
            yield Fault(where, key, f"is {value}, out of range", f"give {what} {allowed}")


@contextmanager
def collecting(faults: list[Fault], key: str = "", where: str | Path = "") -> Iterator[None]:
    """Turn errors of one part of an input into faults, and go on with the next.

    Parameters
    ----------
    faults : list of Fault
        Takes what is found.
    key : str
        Key of the part in the input.
    where : str or Path
        The input's file. Faults that name a file of their own (one that exists) keep it; of all others this is the
        place to mend them, and what they said of their place becomes part of the problem.
    """
    try:
        yield
    except InputError as error:
        faults.extend(_rehomed(fault, key, str(where)) for fault in error.faults)
    except CosimError as error:
        if error.exit_code != InputError.exit_code:
            raise
        faults.append(Fault(str(where), key, str(error), "choose another feeder or controller"))


def _rehomed(fault: Fault, key: str, where: str) -> Fault:
    if os.path.isfile(fault.where.split(",")[0]):  # the file, perhaps followed by a line; no error for a long text
        return fault
    inner = f"{key}.{fault.key}" if key and fault.key not in ("", key) else fault.key or key
    if not where:
        return replace(fault, key=inner)
    told = f"{fault.where}: {fault.problem}" if fault.where else fault.problem
    return replace(fault, where=where, key=inner, problem=told)
