"""Tables of sessions that the server keeps: uploaded, mapped, edited, drawn."""

from __future__ import annotations

import io
import shutil
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd

from cosim.controllers.planner.requests import EFFICIENCY
from cosim.errors import Fault, InputError
from cosim.experiments.plan.generate import generate_demand
from cosim.experiments.plan.read import Demand, read_demand
from cosim.experiments.plan.table import Limits, read_table
from cosim.experiments.web.catalogue import Catalogue, NotFoundError, PlanRow, SessionsRow, new_id, now
from cosim.experiments.web.orders import read_options
from cosim.experiments.web.records import Sessions
from cosim.experiments.web.schemas import DemandRequest, PlanRequest, SessionReading
from cosim.experiments.web.settings import Settings
from cosim.experiments.web.words import as_text, replaced, shown, told_as
from cosim.folder import write_whole

STEP_S = 900.0
SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx", ".xlsm", ".json", ".parquet")
UNPACKED, CELLS = 2, 200
"""A workbook or Parquet file may unpack to so many times the largest body; cells of a row, empty ones included."""
CHECK = "check-"
_CACHED = 16


class SessionStore:
    """Sessions of one server; every method may be called from any thread.

    Parameters
    ----------
    settings : Settings
        Folder and limits.
    catalogue : Catalogue
        Where their rows are.
    """

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self._settings, self._catalogue = settings, catalogue
        self._sessions_folder = settings.data / "sessions"
        self._read: OrderedDict[str, Sessions] = OrderedDict()
        self._demands: OrderedDict[tuple[str, float, str], Demand] = OrderedDict()
        self._limits = Limits(
            unpacked_bytes=UNPACKED * settings.body_bytes, rows=settings.rows, cells=CELLS * settings.rows
        )
        self._lock = Lock()
        sweep(settings.data, {path.name for path in settings.data.iterdir() if not path.name.startswith(CHECK)})
        sweep(self._sessions_folder, {row.id for row in catalogue.all(SessionsRow)})

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

    def _remember(self, found: Sessions) -> Sessions:
        with self._lock:
            _keep_last(self._read, found.id, found)
        return found


def sweep(folder: Path, known: set[str]) -> None:
    """Take away what an interrupted request left without a row."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in known and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def _keep_last(kept: OrderedDict[Any, Any], key: object, value: object) -> None:
    """Put a value last, and let go of the first where there are too many."""
    kept[key] = value
    while len(kept) > _CACHED:
        kept.popitem(last=False)
