"""Options of the host-capacity study."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from cosim.controllers.caps.options import CapsOptions
from cosim.errors import Fault, InputError
from cosim.experiments.studies.config import StudyConfig

WHERE = "cosim reproduce host_capacity"
LIMITS = ("total", "per-phase")
MOST_HOUSEHOLDS = 100_000
UNLIMITED_NODES = 10**9
DAY_MIN = 1440


@dataclass(frozen=True, kw_only=True)
class HostConfig(StudyConfig):
    """Options; anything about size or solver also runs the corrected model on the shipped profiles, or on own data."""

    households: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_HOUSEHOLDS, help="Also run this many homes of the shipped profiles; default 55."),
    ] = None
    slots: Annotated[int | None, typer.Option(help="Slots of the day; must divide 1440 minutes; default 96.")] = None
    form: Annotated[str | None, typer.Option(help="Form of the problem; the solver's choice without it.")] = None
    objective: Annotated[str | None, typer.Option(help="What caps are chosen for; default least_restriction.")] = None
    coordination: Annotated[str | None, typer.Option(help="What must respect the limits; default anticipated.")] = None
    ties: Annotated[str | None, typer.Option(help="How households choose among equals; default unique.")] = None
    time_limit: Annotated[
        float | None, typer.Option(min=0, max=1e6, help="Seconds for the solver; lifts its node limit.")
    ] = None
    gap: Annotated[float | None, typer.Option(min=0, max=1, help="Relative gap at which the solver may stop.")] = None
    limits: Annotated[str | None, typer.Option(help="One limit on the 'total', or 'per-phase'; default total.")] = None
    margin: Annotated[float | None, typer.Option(min=0, max=0.99, help="Share of the limits kept free; default 0.")] = (
        None
    )
    floor_kw: Annotated[
        float | None, typer.Option(min=0, max=10_000, help="Floor above inflexible load, of floor_then_least.")
    ] = None
    data: Annotated[Path | None, typer.Option(help="Own homes: a CSV with the columns of caps.csv.")] = None
    seed: Annotated[int, typer.Option(min=0, help="Of homes, cars and the search.")] = 1

    @property
    def own_size(self) -> bool:
        """Whether more than the seed's own cases is asked for."""
        return replace(self, seed=0) != HostConfig(seed=0)

    @property
    def options(self) -> CapsOptions:
        """For the solver; InputError where it knows better."""
        names = ("coordination", "form", "ties", "gap", "floor_kw")
        given: dict[str, Any] = {key: value for key in names if (value := getattr(self, key)) is not None}
        if self.time_limit is not None:
            given |= {"time_limit_s": self.time_limit, "node_limit": UNLIMITED_NODES}
        return CapsOptions(self.objective or "least_restriction", whole_floor=self.floor_kw is not None, **given)

    def faults(self) -> Iterator[Fault]:
        """Tell every option that is unknown, unsupported or out of range."""
        ranges: dict[str, tuple[Callable[[Any], bool], str]] = {
            "slots": (lambda n: n > 0 and DAY_MIN % n == 0, f"give a divisor of {DAY_MIN} minutes, such as 24 or 96"),
            "limits": (lambda word: word in LIMITS, f"use one of {', '.join(LIMITS)}"),
        }
        for key, (fits, remedy) in ranges.items():
            value = getattr(self, key)
            if value is not None and not fits(value):
                yield Fault(WHERE, f"--{key}", f"is {value}", remedy)
        if self.data is not None:
            given = [f"--{key}" for key in ("households", "slots", "limits") if getattr(self, key) is not None]
            if given:
                problem = f"is given together with {', '.join(given)}"
                yield Fault(WHERE, "--data", problem, "the file says these: leave out")
        if self.floor_kw is not None and self.objective != "floor_then_least":
            remedy = "ask for --objective floor_then_least, or leave it out"
            yield Fault(WHERE, "--floor-kw", "only counts with another objective", remedy)
        try:
            self.options  # noqa: B018 - the solver knows best what it can do
        except InputError as error:
            for fault in error.faults:
                yield replace(fault, where=WHERE, key="--" + fault.key.removesuffix("_s").replace("_", "-"))
