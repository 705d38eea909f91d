"""Tables of sessions and plans that the server keeps: read, mapped, edited, drawn, planned, by `PlanStudy` itself."""

from __future__ import annotations

import io
import json
import shutil
from collections import OrderedDict
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import BoundedSemaphore, Lock
from typing import Any

import numpy as np
import pandas as pd

from cosim.controllers.planner.requests import EFFICIENCY
from cosim.errors import Fault, InputError, reason
from cosim.experiments.charging_profiles import plan_schedules, set_charging_profile
from cosim.experiments.plan.config import PlanConfig
from cosim.experiments.plan.generate import generate_demand
from cosim.experiments.plan.options import OcppUnit, OcppVersion
from cosim.experiments.plan.read import Demand, read_demand
from cosim.experiments.plan.replan import rest_of
from cosim.experiments.plan.table import Limits, read_table
from cosim.experiments.web.catalogue import Catalogue, NotFoundError, PlanRow, SessionsRow, new_id, now
from cosim.experiments.web.live import demand_after, live_state
from cosim.experiments.web.orders import config_of, read_options
from cosim.experiments.web.records import PlanRecord, Sessions
from cosim.experiments.web.schemas import DemandRequest, LiveStateRequest, PlanRequest, SessionReading
from cosim.experiments.web.settings import Settings
from cosim.experiments.web.stored import STANDING, Kept, KeptPlan, KeptReplan, read_standing
from cosim.experiments.web.words import as_text, replaced, shown, told_as
from cosim.folder import write_whole

STEP_S = 900.0
SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx", ".xlsm", ".json", ".parquet")
UNPACKED, CELLS = 2, 200
"""A workbook or Parquet file may unpack to so many times the largest body; cells of a row, empty ones included."""
CHECK = "check-"
_CACHED = 16


class Planning:
    """Sessions and plans of one server; every method may be called from any thread.

    Parameters
    ----------
    settings : Settings
        Folder and limits.
    catalogue : Catalogue
        Where their rows are.
    """

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self._settings, self._catalogue = settings, catalogue
        self._sessions_folder, self._plans_folder = settings.data / "sessions", settings.data / "plans"
        self._read: OrderedDict[str, Sessions] = OrderedDict()
        self._demands: OrderedDict[tuple[str, float, str], Demand] = OrderedDict()
        self._limits = Limits(
            unpacked_bytes=UNPACKED * settings.body_bytes, rows=settings.rows, cells=CELLS * settings.rows
        )
        self._lock, self._at_once = Lock(), BoundedSemaphore(settings.jobs_at_once)
        for row in catalogue.all(PlanRow):
            if row.status == "planning":
                catalogue.change(PlanRow, row.id, status="interrupted")
        self._sweep(settings.data, {path.name for path in settings.data.iterdir() if path.name[:6] != CHECK})
        self._sweep(self._sessions_folder, {row.id for row in catalogue.all(SessionsRow)})
        self._sweep(self._plans_folder, {row.id for row in catalogue.all(PlanRow)})

    def upload(self, name: str, content: bytes, reading: SessionReading | None = None) -> Sessions:
        """Keep a file and read it; InputError where no table can be read from it."""
        return self._keep(self._row_of(name, reading or SessionReading(), None), content)

    def check(self, name: str, content: bytes, reading: SessionReading | None = None) -> Sessions:
        """Read a file, and keep nothing; InputError where no table can be read from it."""
        row = self._row_of(name, reading or SessionReading(), None)
        with TemporaryDirectory(dir=self._settings.data, prefix=CHECK) as folder:
            path = Path(folder, row.file)
            path.write_bytes(content)
            return self._understood(row, path)

    def generate(self, asked: DemandRequest) -> Sessions:
        """Draw demand; InputError where it is more than the server takes."""
        if asked.vehicles > self._settings.rows:
            remedy = f"give {self._settings.rows} at most; the server's setting is rows"
            raise InputError(Fault("demand", "vehicles", f"is {asked.vehicles}", remedy))
        rng, efficiency = np.random.default_rng(asked.seed), asked.efficiency or EFFICIENCY
        table = generate_demand(asked.vehicles, rng, feasible=not asked.any_need, efficiency=efficiency)
        reading = SessionReading(efficiency=asked.efficiency, timezone=asked.timezone)
        name = f"{asked.vehicles} vehicles, seed {asked.seed}"
        return self._keep(self._row_of(f"{name}.csv", reading, None), table.to_csv(index=False).encode())

    def remap(self, sessions_id: str, reading: SessionReading) -> Sessions:
        """Understand a table in another way: new sessions of the same file."""
        found = self.sessions(sessions_id)
        row = replace(self._row_of(found.name, reading, found.id), file=found.path.name)
        return self._keep(row, found.path.read_bytes())

    def edit(self, sessions_id: str, rows: pd.DataFrame) -> Sessions:
        """Take a table that was edited: new sessions with the same reading."""
        found, text = self.sessions(sessions_id), io.StringIO()
        rows.to_csv(text, index=False)
        row = replace(self._row_of(found.name, found.reading, found.id), file="table.csv")
        return self._keep(row, text.getvalue().encode())

    def sessions(self, sessions_id: str) -> Sessions:
        """Sessions of a name; NotFoundError where there are none."""
        with self._lock:
            if (known := self._read.get(sessions_id)) is not None:
                self._read.move_to_end(sessions_id)
                return known
        row = self._catalogue.get(SessionsRow, sessions_id)
        if row is None:
            raise NotFoundError(f"no sessions '{sessions_id}'")
        return self._remember(self._understood(row, self._sessions_folder / row.id / row.file))

    def all_sessions(self) -> list[SessionsRow]:
        """Rows of all sessions, the newest first."""
        return self._catalogue.all(SessionsRow)

    def plan(self, sessions_id: str, request: PlanRequest) -> PlanRecord:
        """Plan sessions, within the server's time limit; as many wait as are more than it plans at once.

        Raises
        ------
        InputError
            With everything wrong with sessions and request.
        SolverError
            Where there is no plan that can be trusted.
        """
        self.sessions(sessions_id)
        row = PlanRow(
            id=new_id(), sessions_id=sessions_id, parent=None, created=now(), request=request.model_dump_json(),
            state=None, status="planning", problem="[]",
        )  # fmt: skip
        return self._begun(row)

    def replan(self, plan_id: str, state: LiveStateRequest) -> PlanRecord:
        """Plan the rest of a plan anew, from what has happened; as `plan`.

        Raises
        ------
        InputError
            With everything in the state that cannot be, or where nobody is left to be planned.
        SolverError
            Where there is no plan that can be trusted.
        """
        before = self._row(plan_id)
        if before.status != "done":
            raise InputError(Fault(f"plan {plan_id}", "status", f"is {before.status}", "re-plan one that is done"))
        row = replace(
            before, id=new_id(), parent=plan_id, created=now(), state=state.model_dump_json(), status="planning"
        )
        return self._begun(row)

    def kept(self, plan_id: str) -> Kept:
        """Return how a plan stands."""
        found = self.get_plan(plan_id)
        if found.status != "done":
            raise NotFoundError(f"plan '{plan_id}' is {found.status}: there is nothing of it yet")
        return read_standing(found.folder / STANDING)

    def restart(self, plan_id: str) -> PlanRecord:
        """Plan again what was interrupted or failed, under the same name."""
        with self._lock:
            row = self._row(plan_id)
            if row.status in ("done", "planning"):
                problem = "is done" if row.status == "done" else "is being planned"
                raise InputError(Fault(f"plan {plan_id}", "status", problem, "ask for a new plan"))
            self._catalogue.change(PlanRow, plan_id, status="planning", problem="[]")
        return self._conduct(row)

    def forget_plan(self, plan_id: str) -> None:
        """Take a plan away; InputError while it is being made."""
        with self._lock:
            if self._row(plan_id).status == "planning":
                raise InputError(Fault(f"plan {plan_id}", "status", "is being planned", "wait until it is done"))
            self._catalogue.remove(PlanRow, plan_id)
        shutil.rmtree(self._plans_folder / plan_id, ignore_errors=True)

    def forget_sessions(self, sessions_id: str) -> None:
        """Take sessions and their file away; InputError while there are plans of them."""
        self.sessions(sessions_id)
        with self._lock:
            plans = [row.id for row in self._catalogue.all(PlanRow) if row.sessions_id == sessions_id]
            if plans:
                problem = f"are planned by {', '.join(plans[:5])}"
                raise InputError(Fault(f"sessions {sessions_id}", "", problem, "forget these plans first"))
            self._catalogue.remove(SessionsRow, sessions_id)
            self._read.pop(sessions_id, None)
            for key in [key for key in self._demands if key[0] == sessions_id]:
                del self._demands[key]
        shutil.rmtree(self._sessions_folder / sessions_id, ignore_errors=True)

    def plans(self) -> list[PlanRecord]:
        """All plans, the newest first."""
        return [self._record(row) for row in self._catalogue.all(PlanRow)]

    def plan_rows(self) -> list[PlanRow]:
        """Rows of all plans, the newest first."""
        return self._catalogue.all(PlanRow)

    def ocpp(self, plan_id: str, version: OcppVersion, unit: OcppUnit) -> dict[str, Any]:
        """Messages for chargers, as ``cosim plan --ocpp`` writes them, of what is planned from now on.

        Raises
        ------
        InputError
            Where nothing says of which zone the sessions are.
        """
        schedules = plan_schedules(*self.kept(plan_id).rest())
        return {"ocpp": version, "messages": set_charging_profile(schedules, version, unit)}

    def get_plan(self, plan_id: str) -> PlanRecord:
        """Plan of a name; NotFoundError where there is none."""
        return self._record(self._row(plan_id))

    def _begun(self, row: PlanRow) -> PlanRecord:
        """Plan what is new; of what was wrong with the request its sender is told, and nothing is kept."""
        self._catalogue.add(row)
        try:
            return self._conduct(row)
        except InputError:
            self._catalogue.remove(PlanRow, row.id)
            shutil.rmtree(self._plans_folder / row.id, ignore_errors=True)
            raise

    def _conduct(self, row: PlanRow) -> PlanRecord:
        folder, found = self._plans_folder / row.id, self.sessions(row.sessions_id)
        request = PlanRequest.model_validate_json(row.request)
        try:
            with self._at_once, told_as({str(found.path): found.name, f"{folder}/": ""}):
                self._refuse_unread(found)
                config = config_of(request, found.path, folder / "inputs", self._settings)
                if row.parent is None:
                    study = KeptPlan(self._demand(found, request))
                else:
                    study, config = self._replanned(row, config)
                result = study.conduct(config, folder / "results", overwrite=True)
        except BaseException as error:
            faults = (
                error.faults if isinstance(error, InputError) else (Fault("plan", "", reason(error), "plan again"),)
            )
            told = json.dumps([asdict(fault) for fault in faults])
            self._catalogue.change(PlanRow, row.id, status="failed", problem=told)
            raise
        warnings = [replaced(text, {str(found.path): found.name, f"{folder}/": ""}) for text in result.warnings]
        write_whole(folder / "warnings.json", lambda path: path.write_text(json.dumps(warnings), "utf-8"))
        self._catalogue.change(PlanRow, row.id, status="done")
        return self.get_plan(row.id)

    def _replanned(self, row: PlanRow, config: PlanConfig) -> tuple[KeptPlan, PlanConfig]:
        """Study of the rest of a plan; of the config, what was known before the past was known."""
        state, before = LiveStateRequest.model_validate_json(row.state or "{}"), self.kept(str(row.parent))
        rest = rest_of(before.standing, live_state(state, before))
        if not rest.kept:
            raise InputError(Fault("state", "vehicles", "nobody is left to be planned", "give who is there, or is new"))
        study = KeptReplan(before, rest, demand_after(state, before, rest))
        return study, replace(config, rounding="prorata", peak_so_far_kw=rest.peak_so_far_kw)

    def _demand(self, found: Sessions, request: PlanRequest) -> Demand:
        """Requests of sessions, read once for all plans of the same steps."""
        options = read_options(found.reading, request)
        key = (found.id, request.time_step_s, repr(options))
        with self._lock:
            if (known := self._demands.get(key)) is not None:
                return known
        read = read_demand(found.path, request.time_step_s, options)
        with self._lock:
            _keep_last(self._demands, key, read)
        return read

    def _row(self, plan_id: str) -> PlanRow:
        row = self._catalogue.get(PlanRow, plan_id)
        if row is None:
            raise NotFoundError(f"no plan '{plan_id}'")
        return row

    def _record(self, row: PlanRow) -> PlanRecord:
        folder = self._plans_folder / row.id
        done = row.status == "done"
        metrics = json.loads((folder / "results" / "metrics.json").read_text("utf-8"))["cases"]["plan"] if done else {}
        warnings = json.loads((folder / "warnings.json").read_text("utf-8")) if done else []
        return PlanRecord(
            id=row.id, sessions_id=row.sessions_id, parent=row.parent, created=row.created,
            request=PlanRequest.model_validate_json(row.request), status=row.status, metrics=metrics,
            warnings=tuple(warnings), faults=tuple(Fault(**fault) for fault in json.loads(row.problem)),
            folder=folder / "results",
        )  # fmt: skip

    def _row_of(self, name: str, reading: SessionReading, parent: str | None) -> SessionsRow:
        """Row of new sessions; of their owner's name for the file only the kind says where it is written."""
        suffix = Path(name).suffix.lower()
        return SessionsRow(
            id=new_id(), name=shown(name), created=now(), parent=parent,
            file=f"table{suffix if suffix in SUFFIXES else '.csv'}", reading=reading.model_dump_json(),
        )  # fmt: skip

    def _keep(self, row: SessionsRow, content: bytes) -> Sessions:
        """Write the file, read it, and only then its row."""
        folder = self._sessions_folder / row.id
        path = folder / row.file
        try:
            write_whole(path, lambda temporary: temporary.write_bytes(content), durable=True)
            found = self._understood(row, path)
            self._catalogue.add(row)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return self._remember(found)

    def _understood(self, row: SessionsRow, path: Path) -> Sessions:
        reading, names = SessionReading.model_validate_json(row.reading), {str(path): row.name}
        demand: Demand | None = None
        faults: tuple[Fault, ...] = ()
        with told_as(names):
            table = read_table(path, self._limits)
        try:
            with told_as(names):
                demand = read_demand(table, STEP_S, read_options(reading))
        except InputError as error:
            faults = error.faults
        return Sessions(
            id=row.id, name=row.name, created=row.created, parent=row.parent, reading=reading, table=as_text(table),
            findings=pd.DataFrame(columns=["row", "column", "problem", "action", "remedy"])
            if demand is None else demand.findings,
            counts={} if demand is None else demand.counts,
            warnings=() if demand is None else tuple(replaced(text, names) for text in demand.warnings),
            faults=faults, profile="" if demand is None else demand.profile, path=path,
        )  # fmt: skip

    def _refuse_unread(self, found: Sessions) -> None:
        if found.faults:
            raise InputError(found.faults)

    def _remember(self, found: Sessions) -> Sessions:
        with self._lock:
            _keep_last(self._read, found.id, found)
        return found

    def _sweep(self, folder: Path, known: set[str]) -> None:
        """Take away what an interrupted request left without a row."""
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in known and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)


def _keep_last(kept: OrderedDict[Any, Any], key: object, value: object) -> None:
    """Put a value last, and let go of the first where there are too many."""
    kept[key] = value
    while len(kept) > _CACHED:
        kept.popitem(last=False)
