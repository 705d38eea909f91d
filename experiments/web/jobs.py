"""Runs and studies in the background: each is a process of its own, and what finished is never lost."""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from threading import RLock, Thread
from typing import Any

from cosim.experiments import workers
from cosim.experiments.web.catalogue import Catalogue, JobRow, NotFoundError, new_id, now
from cosim.experiments.web.job_records import ConflictError, Ending, FullError, Progress
from cosim.experiments.web.job_records import Job as Job
from cosim.experiments.web.job_schemas import HostingRequest, Kind, RunRequest, Status, StudyRequest
from cosim.experiments.web.job_work import REQUESTS, check_hosting, name_of, scenario_of, work, worlds_of
from cosim.experiments.web.settings import Settings
from cosim.experiments.workers import Worker

_PATIENCE_S = 60.0
"""A job that is cancelled or out of time has that time to write what it computed; less where the server ends."""
_WRITTEN_EVERY_S = 1.0
_AGAIN_S = 1.0
"""Where the catalogue cannot be written, as on a full disk, it is tried again."""
_SAYS_MORE = {("done", "interrupted"), ("done", "cancelled"), ("done", "failed"), ("failed", "interrupted")}
"""What a process says of its end, and what its server thinks of it, where the process knows better."""
_log = logging.getLogger(__name__)


@dataclass
class _Active:
    """A job under way: until when it may run (by force, once it is being ended), why it is, and what it said last."""

    id: str
    until_s: float
    why: tuple[Status, str] | None = None
    ending: Ending | None = None
    written_s: float = 0.0

    def due_s(self) -> float:
        return max(self.until_s - time.monotonic(), 0.0)


class Jobs:
    """Jobs of one server; every method may be called from any thread. None begins before `begin`.

    Those that ran when an earlier server ended are marked ``interrupted``; those that waited go on waiting.

    Parameters
    ----------
    settings : Settings
        Folder, limits, and the plug-ins that requests may name.
    catalogue : Catalogue
        Where their rows are.

    Attributes
    ----------
    is_closing : bool
        Whether the server ends.
    """

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self._settings, self._catalogue, self._folder = settings, catalogue, settings.data / "jobs"
        self._lock = RLock()
        self._waiting: deque[str] = deque()
        self._working: dict[Worker, _Active] = {}
        self._progress: dict[str, Progress] = {}
        self.is_closing, self._hurry_s = False, math.inf
        for row in reversed(catalogue.all(JobRow)):
            if row.status == "waiting":
                self._waiting.append(row.id)
            elif row.status == "running":
                self._end(row.id, self._left(row.id), ("interrupted", "the server ended; what was computed is kept"))
        self._woken, self._waking = Pipe(duplex=False)
        self._thread: Thread | None = None

    def begin(self) -> None:
        """Begin what waits, and whatever comes, until `close`."""
        self._thread = Thread(target=self._serve, name="jobs", daemon=True)
        self._thread.start()

    def start_run(self, request: RunRequest) -> Job:
        """Ask for a run.

        Raises
        ------
        InputError
            With every fault of the scenario, as of ``cosim check``, and of whatever names a file or code.
        FullError
            Where as many jobs wait as may.
        """
        scenario_of(request, self._settings.controllers)
        return self._add("run", request)

    def start_study(self, request: StudyRequest) -> Job:
        """Ask for a study; raises as `start_run`, and where it has more worlds than a request may."""
        worlds_of(request, self._settings.controllers, self._settings.worlds)
        return self._add("study", request)

    def start_hosting(self, request: HostingRequest) -> Job:
        """Ask for hosting capacities; raises as `start_study`."""
        check_hosting(request, self._settings.controllers, self._settings.worlds)
        return self._add("hosting", request)

    def get(self, job_id: str) -> Job:
        """Job of a name; NotFoundError where there is none."""
        row = self._catalogue.get(JobRow, job_id)
        if row is None:
            raise NotFoundError(f"no job '{job_id}'")
        return self._job(row)

    def all(self) -> list[Job]:
        """All jobs, the newest first."""
        return [self._job(row) for row in self._catalogue.all(JobRow)]

    def cancel(self, job_id: str) -> Job:
        """End a job that waits or runs; what was computed is kept and marked. ConflictError where it has ended."""
        with self._lock:
            job = self.get(job_id)
            if job.has_ended:
                raise ConflictError(f"job '{job_id}' has ended: it is {job.status}")
            if job_id in self._waiting:
                self._waiting.remove(job_id)
                self._change(job_id, status="cancelled", message="cancelled before it began", ended=now())
            for worker, active in self._working.items():
                if active.id == job_id and active.why is None:
                    self._stop(worker, active, "cancelled", "cancelled; what was computed is kept and marked")
        self._wake()
        return self.get(job_id)

    def restart(self, job_id: str) -> Job:
        """Let a job begin again that did not come to its end: studies go on, runs begin anew.

        Raises
        ------
        ConflictError
            Where it is done, or has not ended.
        FullError
            Where as many jobs wait as may.
        """
        with self._lock:
            job = self.get(job_id)
            if not job.has_ended or job.status == "done":
                raise ConflictError(f"job '{job_id}' cannot be restarted: it is {job.status}")
            self._refuse_more()
            self._change(job_id, status="waiting", message="", done=0, total=0, started=None, ended=None)
            self._waiting.append(job_id)
        self._wake()
        return self.get(job_id)

    def remove(self, job_id: str) -> None:
        """Forget a job that has ended, and delete its results; ConflictError where it has not."""
        with self._lock:
            job = self.get(job_id)
            if not job.has_ended:
                raise ConflictError(f"job '{job_id}' has not ended: it is {job.status}; cancel it first")
            shutil.rmtree(job.folder, ignore_errors=True)
            self._ending(job_id).unlink(missing_ok=True)
            self._catalogue.remove(JobRow, job_id)  # the last: no folder is left behind that nobody knows

    def close(self) -> None:
        """End all processes: what they computed is kept, their jobs are interrupted; those that wait go on waiting."""
        with self._lock:
            self.is_closing, self._hurry_s = True, time.monotonic() + workers.PATIENCE_S
        self._wake()
        if self._thread is not None:
            self._thread.join()

    def _add(self, kind: Kind, request: RunRequest | StudyRequest | HostingRequest) -> Job:
        row = JobRow(
            id=new_id(), kind=kind, request=request.model_dump_json(exclude_unset=True), status="waiting", done=0,
            total=0, message="", created=now(), started=None, ended=None,
        )  # fmt: skip
        with self._lock:
            self._refuse_more()
            self._catalogue.add(row)
            self._waiting.append(row.id)
        self._wake()
        return self.get(row.id)

    def _refuse_more(self) -> None:
        settings = self._settings
        if len(self._waiting) + len(self._working) >= settings.jobs_at_once + settings.jobs_waiting:
            raise FullError(f"{len(self._waiting)} jobs wait, as many as may: try again when some have ended")

    def _job(self, row: JobRow) -> Job:
        request = REQUESTS[row.kind].model_validate_json(row.request)
        told: dict[str, Any] = {}
        if row.status == "running" and (progress := self._progress.get(row.id)) is not None:
            told = progress._asdict()
        values = {**vars(row), "request": json.loads(row.request), **told}
        return Job(**values, name=name_of(request), folder=self._folder / row.id)

    def _ending(self, job_id: str) -> Path:
        return self._folder / f"{job_id}.json"

    def _change(self, job_id: str, **values: Any) -> None:
        self._catalogue.change(JobRow, job_id, **values)

    def _left(self, job_id: str) -> Ending | None:
        """Return how a job ended that a server no longer heard of."""
        with suppress(OSError, ValueError):
            return Ending(**json.loads(self._ending(job_id).read_text("utf-8")))
        return None

    def _end(self, job_id: str, ending: Ending | None, otherwise: tuple[Status, str]) -> None:
        """Write how a job ended: as it said, unless that is less than is known here."""
        says_more = ending is not None and (ending.status, otherwise[0]) in _SAYS_MORE
        status, message = ending if ending is not None and says_more else otherwise
        progress = self._progress.get(job_id)
        far = {} if progress is None else {"done": progress.done, "total": progress.total}
        self._change(job_id, status=status, message=message, ended=now(), **far)
        self._progress.pop(job_id, None)

    def _wake(self) -> None:
        self._waking.send_bytes(b".")

    def _serve(self) -> None:
        """Begin what waits, hear what runs, end what is to be ended; until the server closes."""
        while not (self.is_closing and not self._working):
            try:
                self._turn()
            except Exception:  # such as a full disk: jobs under way are heard of again
                _log.exception("jobs: tried again in %g s", _AGAIN_S)
                time.sleep(_AGAIN_S)

    def _turn(self) -> None:
        with self._lock:
            while self._waiting and len(self._working) < self._settings.jobs_at_once and not self.is_closing:
                self._begin(self._waiting[0])
                self._waiting.popleft()
            for worker, active in self._working.items():
                if self.is_closing and active.why is None:
                    told = "the server was ended; what was computed is kept and marked"
                    self._stop(worker, active, "interrupted", told)
                elif not active.due_s() and active.why is None:
                    limit = f"stopped after {self._settings.run_time_limit_s:g} s, the server's run_time_limit_s"
                    self._stop(worker, active, "failed", f"{limit}; what was computed is kept and marked")
                elif not active.due_s():
                    worker.process.kill()
                active.until_s = min(active.until_s, self._hurry_s)
            working, due_s = list(self._working), [one.due_s() for one in self._working.values()]
        ready = wait([self._woken, *(worker.connection for worker in working)], min(due_s, default=None))
        if self._woken in ready:
            self._woken.recv_bytes()
        for worker, message in workers.heard(working, 0.0):
            active = self._working[worker]
            if isinstance(message, Progress):
                self._progress[active.id] = message
                if time.monotonic() - active.written_s >= _WRITTEN_EVERY_S:
                    self._change(active.id, done=message.done, total=message.total, message=message.message)
                    active.written_s = time.monotonic()
                continue
            if isinstance(message, Ending):
                active.ending = message
                continue
            lost = worker.lost()
            with self._lock:
                self._end(active.id, active.ending, active.why or ("interrupted", lost))
                del self._working[worker]
            workers.end([worker])

    def _begin(self, job_id: str) -> None:
        row = self._catalogue.get(JobRow, job_id)
        if row is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._ending(job_id).unlink(missing_ok=True)
        self._change(job_id, status="running", message="beginning", started=now(), ended=None)
        told = self._folder / job_id, self._ending(job_id), self._settings.controllers
        worker = workers.begin(work, row.kind, row.request, *told)
        self._working[worker] = _Active(job_id, time.monotonic() + self._settings.run_time_limit_s)

    def _stop(self, worker: Worker, active: _Active, status: Status, message: str) -> None:
        """Interrupt a process, which then keeps what it computed; it has some time for that."""
        active.why, active.until_s = (status, message), time.monotonic() + _PATIENCE_S
        worker.process.terminate()
