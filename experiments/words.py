"""How moments, lengths of time and numbers are said to a reader."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any


def clock_text(start: datetime, minute: float, of_min: float = 0.0) -> str:
    """Clock time so many minutes after a moment, to the nearest minute; with its day where one of more than a day."""
    moment = start + timedelta(minutes=minute, seconds=30)
    return f"{moment.day} {moment:%b %H:%M}" if of_min > 24 * 60 else f"{moment:%H:%M}"


def span_words(start: datetime, step_min: float, steps: int) -> str:
    """Say from when to when: 15 May 2026 12:00 to 16 May 12:00."""
    end = start + timedelta(minutes=step_min * steps)
    last = f"{end:%H:%M}" if end.date() == start.date() else f"{end.day} {end:%B %H:%M}"
    return f"{start.day} {start:%B %Y %H:%M} to {last}"


def minutes(value: float) -> str:
    """Minutes as a reader says them: 45 min, 3 h 20 min."""
    if not math.isfinite(value):
        return "–"
    whole = round(value)
    return f"{whole} min" if whole < 120 else f"{whole // 60} h {whole % 60:02d} min"


def signed(value: float, pattern: str) -> str:
    """Number with its sign, with a typographic minus."""
    return f"{value:+{pattern}}".replace("-", "−")


def listed(names: Sequence[str]) -> str:
    """Say names one after another: a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def counted(count: int, noun: str) -> str:
    """Say how many there are: no car, 1 car, 2 cars."""
    return f"{'no' if count == 0 else count} {noun}{'' if count == 1 else 's'}"


def place_words(place: Mapping[str, Any]) -> str:
    """Say where a figure is worst: a customer, an element or a bus, and its phase."""
    there = place.get("customer") or place.get("element") or f"bus {place['bus']}"
    return f"{there} {place['phase']}" if "phase" in place else str(there)


def in_runs(found: Sequence[str], count: int) -> str:
    """Say in which of so many runs something was found: in every run, in this run, in any run, in 2 of 3 runs: a, b."""
    if len(found) in (0, count):
        return "in this run" if count == 1 else "in every run" if found else "in any run"
    return f"in {len(found)} of {count} runs: {', '.join(found)}"
