"""The border between a controller and the world: what comes back is looked at before anything acts on it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from numbers import Real
from typing import Any

import numpy as np

from cosim.contract import Controller, Decision, Forecast, LocalCurves, Observation, Setpoints
from cosim.errors import ControllerError, CosimError, TooLateError, kind_and_text


def guarded_plan(controller: Controller, forecast: Forecast) -> None:
    """Let a controller prepare the horizon; ControllerError where it raises something that it should not."""
    with _named("plan()"):
        controller.plan(forecast)


def guarded_decide(
    controller: Controller, observation: Observation, customers: int, steps: int, limit_s: float | None = None
) -> Setpoints:
    """Ask a controller for setpoints, and refuse what nobody could follow.

    Parameters
    ----------
    controller : Controller
        Asked.
    observation : Observation
        Shown to it; it must be the same afterwards.
    customers, steps : int
        Of the feeder and of the day.
    limit_s : float, optional
        Longest time that the decision may take [s].

    Raises
    ------
    TooLateError
        Where it took longer. Python code is interrupted at the limit where the system allows it (POSIX, main thread);
        elsewhere, and inside a solver's compiled code, the answer is dropped when it comes.
    ControllerError
        Where it raised, changed the observation, or answered with something else than possible setpoints.
    """
    shown = contents(observation)
    with _named("decide()"), _deadline(limit_s):
        setpoints = controller.decide(observation)
    if contents(observation) != shown:
        raise ControllerError("decide() changed the observation that it was shown")
    check_setpoints(setpoints, customers, steps)
    return setpoints


def check_setpoints(setpoints: Any, customers: int, steps: int) -> None:
    """Refuse setpoints that no feeder could follow; ControllerError with all of `setpoint_problems`."""
    problems = setpoint_problems(setpoints, customers, steps)
    if problems:
        raise ControllerError("; ".join(problems))


def setpoint_problems(setpoints: Any, customers: int, steps: int) -> list[str]:
    """Look for what no feeder could follow.

    A shape that would merely broadcast is refused too: one number for all homes is nearly always a mistake, and nan as
    a cap would silently stop all charging.

    Parameters
    ----------
    setpoints : Setpoints
        What a controller answered.
    customers, steps : int
        Of the feeder and of the day.

    Returns
    -------
    list of str
        Every field at fault, and why.
    """
    if not isinstance(setpoints, Setpoints):
        return [f"the answer is {type(setpoints).__name__}, not Setpoints"]
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("import_cap_kw", "ev_limit_kw", "pv_limit_kw"), (customers,))
    whole = {"published_cap_kw": (steps, customers), "export_cap_kw": (customers,), "fallback_kw": (2, customers)}
    shapes |= {name: shape for name, shape in whole.items() if getattr(setpoints, name) is not None}
    problems = {name: _problem(getattr(setpoints, name), shape) for name, shape in shapes.items()}
    problems |= {name: _problem(values, (customers,), bounded=False) for name, values in setpoints.channels.items()}
    at_once = setpoints.ev_at_once
    if at_once is not None and (np.shape(at_once) != (customers,) or np.asarray(at_once).dtype != bool):
        problems["ev_at_once"] = f"is no array of {customers} booleans"
    if not isinstance(setpoints.planned_kva, Real) or setpoints.planned_kva < 0.0:
        problems["planned_kva"] = f"is {setpoints.planned_kva!r}: give 0 or more, or nan"
    if not isinstance(setpoints.curves, LocalCurves | None):
        problems["curves"] = f"is {type(setpoints.curves).__name__}, not LocalCurves"
    problems["decision"] = _decision_problem(setpoints.decision)
    return [f"{name} {problem}" for name, problem in problems.items() if problem]


def _decision_problem(decision: Any) -> str:
    if not isinstance(decision, Decision):
        return f"is {type(decision).__name__}, not Decision"
    wanted = {"status": str, "fallback": str, **dict.fromkeys(("objective", "bound", "gap", "wall_s"), Real)}
    wrong = [name for name, kind in wanted.items() if not isinstance(getattr(decision, name), kind)]
    return f"holds {', '.join(f'{name}={getattr(decision, name)!r}' for name in wrong)}" if wrong else ""


def _problem(values: Any, shape: tuple[int, ...], *, bounded: bool = True) -> str:
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        kind = f"an array of {values.dtype}" if isinstance(values, np.ndarray) else type(values).__name__
        return f"is {kind}, not an array of numbers"
    if values.shape != shape:
        return f"has shape {values.shape}, not {shape}"
    if not bounded:  # what a channel bears its device says, where it is there
        return ""
    bad = ~(values >= 0.0)  # nan too
    if bad.any():
        place = np.argwhere(bad)[0]
        return f"is {values[tuple(place)]:g} at {', '.join(map(str, place))} (a limit is 0 or more; inf: none)"
    return ""


def contents(thing: Any, left_out: Collection[str] = ()) -> bytes:
    """Fields of a frozen dataclass as bytes, to compare two."""
    return b"".join([_bytes(getattr(thing, name)) for name in _names(thing.__class__) if name not in left_out])


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(spec.name for spec in fields(kind))


def _bytes(value: Any) -> bytes:
    if isinstance(value, np.ndarray):  # most are: whether one is a mapping takes ten times as long to tell
        return value.tobytes()
    if isinstance(value, Mapping):
        return b"".join([name.encode() + _bytes(of_name) for name, of_name in value.items()])
    return repr(value).encode()


class _Struck(BaseException):
    """The deadline: no Exception, so that no controller catches it by accident."""


@contextmanager
def _named(door: str) -> Iterator[None]:
    """Name what a controller raises that is none of the product's own errors."""
    try:
        yield
    except CosimError:
        raise
    except (Exception, SystemExit) as error:  # a controller does not end the program
        raise ControllerError(f"{door} raised {kind_and_text(error)}") from error


@contextmanager
def _deadline(limit_s: float | None) -> Iterator[None]:
    if limit_s is None:
        yield
        return

    def strike(*_: object) -> None:
        raise _Struck

    can_interrupt = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    began, before = time.perf_counter(), None
    try:
        if can_interrupt:
            before = signal.signal(signal.SIGALRM, strike)
            signal.setitimer(signal.ITIMER_REAL, limit_s)
        yield
    except _Struck:
        raise TooLateError(f"decide() was stopped after {limit_s:g} s") from None
    finally:
        if can_interrupt:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, before)
    if (took_s := time.perf_counter() - began) > limit_s:
        raise TooLateError(f"decide() took {took_s:.3g} s, longer than {limit_s:g} s")
