"""Routes of sessions: upload, look, map, edit, draw, download."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Response, UploadFile
from fastapi import Path as FromPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from pydantic import ValidationError

from cosim.errors import InputError
from cosim.experiments.plan.columns import profiles
from cosim.experiments.web.answers import SessionsAnswer, SessionsEntry, entry_of, sessions_answer
from cosim.experiments.web.downloads import FORMS, MEDIA_TYPES, attachment, documented
from cosim.experiments.web.downloads import Form as TableForm
from cosim.experiments.web.planning import Planning
from cosim.experiments.web.problems import of_input
from cosim.experiments.web.records import Sessions
from cosim.experiments.web.schemas import DemandRequest, Id, SessionReading

Upload = Annotated[UploadFile, File(description="CSV, XLSX, JSON or Parquet.")]
ReadingText = Annotated[str, Form(description="How it is understood: JSON, see `SessionReading`.", max_length=20_000)]
SessionsId = Annotated[Id, FromPath()]


def router(planning: Planning) -> APIRouter:
    """Routes of one server."""
    routes = APIRouter(tags=["sessions"])

    @routes.get("/profiles")
    def known_profiles() -> dict[str, Any]:
        """Layouts of files that are known: title, and columns by quantity."""
        return {name: {"title": one.title, "columns": one.columns} for name, one in profiles().items()}

    @routes.post("/sessions", status_code=201, response_model=SessionsAnswer)
    def upload(file: Upload, response: Response, reading: ReadingText = "{}") -> Any:
        """Keep a file and read it.

        A file of which the columns are not understood is kept, too: the answer is 422 with its `id`, for
        `/sessions/{id}/map`.
        """
        asked = _reading(reading)
        return _answered(planning.upload(file.filename or "", file.file.read(), asked), response)

    @routes.post("/sessions/check")
    def check(file: Upload, reading: ReadingText = "{}") -> SessionsAnswer:
        """Say how a file is understood, and keep nothing."""
        asked = _reading(reading)
        return sessions_answer(planning.check(file.filename or "", file.file.read(), asked))

    @routes.post("/demand", status_code=201, response_model=SessionsAnswer)
    def generate(asked: DemandRequest, response: Response) -> Any:
        """Draw demand of a day from a seed."""
        return _answered(planning.generate(asked), response)

    @routes.get("/sessions")
    def all_sessions() -> list[SessionsEntry]:
        """Return all sessions, the newest first."""
        return [entry_of(row) for row in planning.all_sessions()]

    @routes.get("/sessions/{sessions_id}")
    def sessions(sessions_id: SessionsId) -> SessionsAnswer:
        """Return sessions as they were understood, with every fault of a row."""
        return sessions_answer(planning.sessions(sessions_id))

    @routes.post("/sessions/{sessions_id}/map", status_code=201, response_model=SessionsAnswer)
    def remap(sessions_id: SessionsId, reading: SessionReading, response: Response) -> Any:
        """Understand the same file in another way: new sessions, with these as parent."""
        return _answered(planning.remap(sessions_id, reading), response)

    @routes.get("/sessions/{sessions_id}/file", response_class=FileResponse, responses=documented(""))
    def original(sessions_id: SessionsId) -> FileResponse:
        """Return the file as it came, under a name of ours."""
        path = planning.sessions(sessions_id).path
        return FileResponse(path, media_type=MEDIA_TYPES[""], filename=f"sessions{path.suffix}")

    @routes.get("/sessions/{sessions_id}/table.{form}", response_class=Response, responses=documented(*FORMS))
    def table(sessions_id: SessionsId, form: TableForm) -> Response:
        """Return its rows, as they stand in the file, as another kind of file."""
        return attachment(planning.sessions(sessions_id).table.reset_index(allow_duplicates=True), "sessions", form)

    @routes.delete("/sessions/{sessions_id}", status_code=204)
    def forget(sessions_id: SessionsId) -> None:
        """Forget sessions and their file; 422 while there are plans of them."""
        planning.forget_sessions(sessions_id)

    return routes


def _reading(text: str) -> SessionReading:
    try:
        return SessionReading.model_validate_json(text)
    except ValidationError as error:
        items = error.errors(include_url=False)
        raise RequestValidationError([{**item, "loc": ("reading", *item["loc"])} for item in items]) from None


def _answered(found: Sessions, response: Response) -> Any:
    place = f"/api/v1/sessions/{found.id}"
    if found.faults:
        return of_input(InputError(found.faults), id=found.id, columns=list(found.table.columns))
    response.headers["Location"] = place
    return sessions_answer(found)
