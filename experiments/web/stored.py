"""Plans as the server keeps them: the folder of ``cosim plan``, and in it how the plan stands, for all that follows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cosim.controllers.planner.plan import Plan, Planned
from cosim.controllers.planner.requests import Requests, Station
from cosim.errors import Fault, InputError
from cosim.experiments.figures.style import Drawing
from cosim.experiments.files import write_json
from cosim.experiments.plan.config import PlanConfig
from cosim.experiments.plan.read import Demand, step_times
from cosim.experiments.plan.replan import Rest, stand_after
from cosim.experiments.plan.standing import Standing, by_step, by_vehicle, standing_of
from cosim.experiments.plan.study import PlanResult, PlanStudy
from cosim.experiments.plan.write import write_both, write_parquet
from cosim.experiments.studies.base import Progress
from cosim.experiments.web.words import replaced

STANDING = "standing"
MOST_POWERS = 4_000_000
"""Of one plan on a server: 0.1 GB in tables."""
_POWERS, _STATION = ("power_kw", "past_kwh", "rest_kwh"), ("capacity_kw", "tariff_eur_per_kwh", "site_kw")
_REQUESTS = [one.name for one in fields(Requests) if one.name != "phase_share"]
_SHARE, _LIMIT = (["share_l1", "share_l2", "share_l3"], ["l1_kw", "l2_kw", "l3_kw"])
"""Of `phase_share` of vehicles and `phase_kw` of the station."""


class KeptPlan(PlanStudy):
    """`PlanStudy` for a server: how the plan stands is written, and figures only when somebody asks for them.

    Parameters
    ----------
    demand : Demand
        What is planned, as it was read.
    names : mapping of str to str
        What the client calls the server's paths.

    Raises
    ------
    InputError
        Where there are more powers to plan than a server takes on.
    """

    def __init__(self, demand: Demand, names: Mapping[str, str]) -> None:
        if len(demand.requests) * demand.steps > MOST_POWERS:
            problem = f"{len(demand.requests)} vehicles in {demand.steps} steps are more than {MOST_POWERS} powers"
            raise InputError(Fault("request", "time_step_s", problem, "give longer steps, or a day by `day`"))
        self._demand, self._names = demand, names

    def read(self, config: PlanConfig) -> Demand:  # noqa: ARG002 - it has been read
        """Return what is planned."""
        return self._demand

    def run(self, config: PlanConfig, progress: Progress) -> PlanResult:
        """Plan, and tell it by the client's names."""
        result = super().run(config, progress)
        return replace(result, warnings=[replaced(text, self._names) for text in result.warnings])

    def figures(self, result: PlanResult) -> dict[str, Drawing]:  # noqa: ARG002 - none
        """Draw nothing."""
        return {}

    def write(self, result: PlanResult, folder: Path) -> None:
        """Write what ``cosim plan`` writes, and how the plan stands."""
        super().write(result, folder)
        write_standing(Kept(standing_of(result.planning, result.demand.plug), result.demand), folder / STANDING)


class KeptReplan(KeptPlan):
    """A plan of the rest of a day, and what changes by it: ``changes`` by vehicle, and ``diff`` by step.

    Parameters
    ----------
    before : Kept
        The plan so far.
    rest : Rest
        What is left of it.
    new : Demand
        Everybody with plugs and phases, new vehicles last, over the new horizon.
    names : mapping of str to str
        What the client calls the server's paths.
    """

    def __init__(self, before: Kept, rest: Rest, new: Demand, names: Mapping[str, str]) -> None:
        super().__init__(part_of(new, rest.requests, rest.kept, warnings=rest.notes), names)
        self._before, self._rest, self._new = before, rest, new

    def write(self, result: PlanResult, folder: Path) -> None:
        """Write the plan of the rest, both plans side by side, and how the whole stands."""
        PlanStudy.write(self, result, folder)
        before, after = self._before.standing, stand_after(self._rest, result.planning)
        times = step_times(self._new.start, after.station.steps, after.station.step_s)
        write_both(by_step(before, after, times), folder / "diff")
        write_both(by_vehicle(before, after, self._rest.words), folder / "changes")
        write_standing(Kept(after, part_of(self._new, after.requests)), folder / STANDING)


@dataclass(frozen=True, eq=False)
class Kept:
    """A plan as it stands, with everybody who is or was in it.

    Attributes
    ----------
    standing : Standing
        The past and the rest.
    demand : Demand
        Its requests are the standing's; with plugs, connectors, phases and rows.
    """

    standing: Standing
    demand: Demand

    def rest(self) -> tuple[Planned, Demand]:
        """What is planned from now on, of who is there then, for messages to chargers."""
        standing = self.standing
        kept = np.flatnonzero(standing.stays)
        requests = standing.rest_requests(kept)
        later = np.arange(standing.station.steps) >= np.floor(standing.now_step + 1e-9)
        best = replace(standing.best, power_kw=np.where(later[:, None], standing.power_kw, 0.0)[:, kept])
        return _RestPlan(requests, standing.station, best), part_of(self.demand, requests, kept.tolist())


@dataclass(frozen=True, eq=False)
class _RestPlan:
    requests: Requests
    station: Station
    best: Plan


def part_of(demand: Demand, requests: Requests, kept: Sequence[int] | None = None, **changes: Any) -> Demand:
    """Demand of some vehicles, or of all, with their requests as they are now."""
    rows = list(range(len(requests)) if kept is None else kept)
    return replace(
        demand, requests=requests, line=tuple(demand.line[row] for row in rows),
        plug=tuple(demand.plug[row] for row in rows), connector=tuple(demand.connector[row] for row in rows),
        phases=demand.phases[rows], rows=len(rows), changed=0, **changes,
    )  # fmt: skip


def write_standing(kept: Kept, folder: Path) -> None:
    """Write a plan as it stands: vehicles, powers and the station as Parquet, the rest as JSON."""
    standing, demand = kept.standing, kept.demand
    vehicles = pd.DataFrame({name: getattr(standing.requests, name) for name in _REQUESTS})
    vehicles = vehicles.assign(
        delivered_kwh=standing.delivered_kwh, plug=demand.plug, connector=demand.connector, phases=demand.phases,
        row=demand.line, **dict(zip(_SHARE, standing.requests.phase_share.T, strict=True)),
    )  # fmt: skip
    some = standing.power_kw + standing.energy_kwh > 0
    step, vehicle = np.nonzero(some)
    powers = pd.DataFrame({"step": step, "vehicle": vehicle})
    powers = powers.assign(**{name: getattr(standing, name)[step, vehicle] for name in _POWERS})
    station = pd.DataFrame({name: getattr(standing.station, name) for name in _STATION})
    station = station.assign(**dict(zip(_LIMIT, standing.station.phase_kw.T, strict=False)))
    for name, table in {"vehicles": vehicles, "powers": powers, "station": station}.items():
        write_parquet(table, folder / f"{name}.parquet")
    start = demand.start
    facts = {name: getattr(standing.station, name) for name in ("step_s", "peak_eur_per_kw", "peak_so_far_kw")}
    zone = None if start is None or start.tzinfo is None else str(start.tzinfo)
    begin = None if start is None else start.tz_localize(None).isoformat()
    write_json(folder / "standing.json", {"now_step": standing.now_step, "start": begin, "zone": zone, **facts})


def read_standing(folder: Path) -> Kept:
    """Read what `write_standing` wrote."""
    vehicles, powers, station = (pd.read_parquet(folder / f"{n}.parquet") for n in ("vehicles", "powers", "station"))
    facts = json.loads((folder / "standing.json").read_text("utf-8"))
    columns = {name: vehicles[name].to_numpy() for name in _REQUESTS if name != "vehicle"}
    requests = Requests(tuple(vehicles["vehicle"]), **columns, phase_share=vehicles[_SHARE].to_numpy())
    whole = {name: np.zeros((len(station), len(vehicles))) for name in _POWERS}
    for name, values in whole.items():
        values[powers["step"], powers["vehicle"]] = powers[name]
    series: dict[str, Any] = {name: station[name].to_numpy() for name in _STATION}
    series |= {name: facts[name] for name in ("step_s", "peak_eur_per_kw", "peak_so_far_kw")}
    series["phase_kw"] = station[[name for name in _LIMIT if name in station]].to_numpy(np.float64)
    plug = tuple(vehicles["plug"])
    standing = Standing(
        requests, plug, Station(**series), facts["now_step"], vehicles["delivered_kwh"].to_numpy(), **whole
    )
    start = None if facts["start"] is None else pd.Timestamp(facts["start"]).tz_localize(facts["zone"])
    demand = Demand(
        requests, len(station), start, line=tuple(vehicles["row"]), plug=plug, connector=tuple(vehicles["connector"]),
        phases=vehicles["phases"].to_numpy(),
    )  # fmt: skip
    return Kept(standing, demand)
