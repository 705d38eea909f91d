"""Routes of background jobs: ask, watch, end, begin again, and read what they left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Annotated, Any
from zlib import crc32

from fastapi import APIRouter, Header, HTTPException, Query, Request, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse, StreamingResponse

from cosim import controllers, feeders
from cosim.errors import InputError
from cosim.experiments import scenario as scenarios
from cosim.experiments.study import config as studies
from cosim.experiments.web import run_results
from cosim.experiments.web.catalogue import ID_PATTERN, NotFoundError
from cosim.experiments.web.job_records import ConflictError, FullError, Job
from cosim.experiments.web.job_schemas import (
    HostingRequest,
    JobAnswer,
    Named,
    NamedController,
    ResultFile,
    ResultPage,
    RunRequest,
    Scoreboard,
    Status,
    StudyRequest,
)
from cosim.experiments.web.jobs import Jobs
from cosim.feeders.find import profile_names, shipped_names

_POLL_S = 0.5
_KEEP_ALIVE_S = 15.0
_RETRY_AFTER_S = 10
_SHOWN = {".png": "image/png", ".html": "text/html; charset=utf-8"}
"""What a browser may show; all else is saved."""
_APART = {
    "Content-Security-Policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}
"""A report that is shown here has no part in the rest of the server."""
_MEDIA = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}

JobId = Annotated[str, InPath(pattern=ID_PATTERN, description="Name given by the server")]
_GONE: dict[int | str, dict[str, Any]] = {404: {"description": "There is no such job, or nothing of that name in it"}}
_STATE: dict[int | str, dict[str, Any]] = {**_GONE, 409: {"description": "The job is in no state for that"}}
_BUSY: dict[int | str, dict[str, Any]] = {429: {"description": "As many jobs wait as may"}}


@contextmanager
def _told() -> Iterator[None]:
    """Turn what jobs refuse into answers."""
    try:
        yield
    except ConflictError as error:
        raise HTTPException(409, str(error)) from None
    except FullError as error:
        raise HTTPException(429, str(error), {"Retry-After": str(_RETRY_AFTER_S)}) from None


def answer(job: Job) -> JobAnswer:
    """Return what is told of a job."""
    return JobAnswer(**{name: getattr(job, name) for name in JobAnswer.model_fields})


def router(jobs: Jobs) -> APIRouter:
    """Routes of the jobs of a server."""
    routes = APIRouter()
    _asking(routes, jobs)
    _reading(routes, jobs)
    _naming(routes)
    return routes


def _asking(routes: APIRouter, jobs: Jobs) -> None:
    def asked(start: Callable[[Any], Job], request: Any, response: Response) -> JobAnswer:
        with _told():
            job = start(request)
        response.headers["Location"] = f"jobs/{job.id}"
        return answer(job)

    @routes.post("/runs", status_code=202, responses=_BUSY, tags=["jobs"])
    def start_run(request: RunRequest, response: Response) -> JobAnswer:
        """Run one scenario under every controller named in it, in the background; see its job."""
        return asked(jobs.start_run, request, response)

    @routes.post("/studies", status_code=202, responses=_BUSY, tags=["jobs"])
    def start_study(request: StudyRequest, response: Response) -> JobAnswer:
        """Run many worlds under many controllers, in the background; what is finished is kept whatever ends it."""
        return asked(jobs.start_study, request, response)

    @routes.post("/hosting", status_code=202, responses=_BUSY, tags=["jobs"])
    def start_hosting(request: HostingRequest, response: Response) -> JobAnswer:
        """Find hosting capacities of feeders, in the background."""
        return asked(jobs.start_hosting, request, response)

    @routes.post("/jobs/{job_id}/cancel", responses=_STATE, tags=["jobs"])
    def cancel_job(job_id: JobId) -> JobAnswer:
        """End a job that waits or runs; what it computed is kept and marked."""
        with _told():
            return answer(jobs.cancel(job_id))

    @routes.post("/jobs/{job_id}/restart", status_code=202, responses={**_STATE, **_BUSY}, tags=["jobs"])
    def restart_job(job_id: JobId) -> JobAnswer:
        """Begin a job again that did not come to its end: studies go on where they were, runs begin anew."""
        with _told():
            return answer(jobs.restart(job_id))

    @routes.delete("/jobs/{job_id}", status_code=204, responses=_STATE, tags=["jobs"])
    def delete_job(job_id: JobId) -> None:
        """Forget a job that has ended, and delete its results."""
        with _told():
            jobs.remove(job_id)


def _reading(routes: APIRouter, jobs: Jobs) -> None:
    @routes.get("/jobs", tags=["jobs"])
    def list_jobs(
        status: Annotated[Status | None, Query(description="Only those")] = None,
        limit: Annotated[int, Query(ge=1, le=1000, description="At most so many")] = 100,
    ) -> list[JobAnswer]:
        """All jobs, the newest first."""
        return [answer(job) for job in jobs.all() if status in (None, job.status)][:limit]

    @routes.get("/jobs/{job_id}", responses=_GONE, tags=["jobs"])
    def get_job(job_id: JobId) -> JobAnswer:
        """How far a job is."""
        return answer(jobs.get(job_id))

    @routes.get(
        "/jobs/{job_id}/events", tags=["jobs"], response_class=StreamingResponse,
        responses={**_GONE, 200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    )  # fmt: skip
    async def job_events(
        job_id: JobId, request: Request, last_event_id: Annotated[str | None, Header(max_length=100)] = None
    ) -> StreamingResponse:
        """Server-sent events: ``progress`` with the job as JSON at every change, and ``end`` with its last state."""
        jobs.get(job_id)
        events = _events(jobs, job_id, request, last_event_id)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    @routes.get("/jobs/{job_id}/files", responses=_GONE, tags=["results"])
    def list_files(job_id: JobId) -> list[ResultFile]:
        """Files that a job has written so far."""
        return run_results.file_list(jobs.get(job_id).folder)

    @routes.get(
        "/jobs/{job_id}/files/{name:path}", tags=["results"], response_class=FileResponse,
        responses={**_GONE, 200: {"content": {"application/octet-stream": {}}, "description": "The file"}},
    )  # fmt: skip
    def get_file(job_id: JobId, name: str) -> FileResponse:
        """One of the files that are listed, by the name that is listed."""
        path = run_results.files(jobs.get(job_id).folder).get(name)
        if path is None:
            raise HTTPException(404, "no file of that name is listed")
        shown = _SHOWN.get(path.suffix)
        return FileResponse(
            path, media_type=shown or "application/octet-stream", filename=path.name, headers=_APART,
            content_disposition_type="inline" if shown else "attachment",
        )  # fmt: skip

    @routes.get("/jobs/{job_id}/scoreboard", responses=_STATE, tags=["results"])
    def get_scoreboard(job_id: JobId) -> Scoreboard:
        """Controllers of a run by measures; of those that have ended so far."""
        job = jobs.get(job_id)
        if job.kind != "run":
            raise HTTPException(404, f"a {job.kind} has no scoreboard: see its results")
        try:
            return run_results.scoreboard(job.folder)
        except InputError:
            raise HTTPException(409, f"there is none yet: the job is {job.status}") from None

    @routes.get("/jobs/{job_id}/results", responses=_STATE, tags=["results"])
    def get_results(
        job_id: JobId,
        offset: Annotated[int, Query(ge=0, lt=2**31, description="Rows to leave out")] = 0,
        limit: Annotated[int, Query(ge=1, le=1000, description="At most so many rows")] = 100,
    ) -> ResultPage:
        """Rows of a study, a page at a time; a row for each world and controller."""
        return run_results.page(_with_rows(jobs.get(job_id)).folder, offset, limit)

    @routes.get(
        "/jobs/{job_id}/results.{form}", tags=["results"], response_class=Response,
        responses={**_STATE, 200: {"content": {media: {} for media in _MEDIA.values()}, "description": "The table"}},
    )  # fmt: skip
    def get_table(job_id: JobId, form: run_results.TableFormat) -> Response:
        """All rows of a study as one file."""
        job = _with_rows(jobs.get(job_id))
        try:
            content = run_results.table_as(job.folder, form)
        except InputError:
            raise HTTPException(409, f"there are none yet: the job is {job.status}") from None
        headers = {"Content-Disposition": f'attachment; filename="{job_id}.{form}"'}
        return Response(content, media_type=_MEDIA[form], headers=headers)


def _with_rows(job: Job) -> Job:
    if job.kind == "run":
        raise HTTPException(404, "a run has no rows: see its scoreboard and files")
    return job


async def _events(jobs: Jobs, job_id: str, request: Request, last: str | None) -> AsyncIterator[str]:
    """Tell a job's changes until it ends or nobody listens; nothing is kept for a slow listener, who hears less."""
    sent_s = time.monotonic()
    while not await request.is_disconnected():
        try:
            job = await asyncio.to_thread(jobs.get, job_id)
        except NotFoundError:  # removed meanwhile
            return
        data = answer(job).model_dump_json(exclude={"request"})
        name = f"{crc32(data.encode()):08x}"
        if job.has_ended or name != last:
            yield f"id: {name}\nevent: {'end' if job.has_ended else 'progress'}\ndata: {data}\n\n"
            last, sent_s = name, time.monotonic()
        elif time.monotonic() - sent_s > _KEEP_ALIVE_S:
            yield ": still here\n\n"
            sent_s = time.monotonic()
        if job.has_ended or jobs.is_closing:
            return
        await asyncio.sleep(_POLL_S)


@cache
def _controllers() -> list[NamedController]:
    """Return what there is; described by the classes themselves, which brings their solvers."""
    return [
        NamedController(name=name, about=controllers.describe(name), options=controllers.option_texts(name))
        for name in controllers.REGISTRY
    ]


def _naming(routes: APIRouter) -> None:
    @routes.get("/feeders", tags=["names"])
    def list_feeders() -> list[Named]:
        """Feeders that requests may name."""
        return [Named(name=name, about=feeders.title(name)) for name in shipped_names()]

    @routes.get("/controllers", tags=["names"])
    def list_controllers() -> list[NamedController]:
        """Shipped controllers, and what their options are for."""
        return _controllers()

    @routes.get("/scenarios", tags=["names"])
    def list_scenarios() -> list[Named]:
        """Shipped scenarios: feeder and runs of each."""
        read = {name: scenarios.read(name) for name in scenarios.shipped()}
        return [
            Named(name=name, about=f"{one.feeder}: {', '.join(run.name for run in one.runs)}")
            for name, one in read.items()
        ]

    @routes.get("/studies", tags=["names"])
    def list_studies() -> list[Named]:
        """Shipped studies, and what each asks."""
        return [Named(name=name, about=studies.about(name)) for name in studies.shipped()]

    @routes.get("/household-profiles", tags=["names"])
    def list_profiles() -> list[str]:
        """Profiles of homes that scenarios may name."""
        return list(profile_names())
