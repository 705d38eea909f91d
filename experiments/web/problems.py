"""Answers to what went wrong: problem details (RFC 9457), with every fault by file, column, row and remedy."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from cosim.errors import CosimError, Fault, InputError

MEDIA_TYPE = "application/problem+json"
_ROW = re.compile(r"^(?P<where>.*), row (?P<row>\d+)$", re.DOTALL)
_OPTION = re.compile(r"--([a-z][a-z-]*)")
_MOST_INPUT = 80


class FaultAnswer(BaseModel):
    """One thing that is wrong."""

    where: str = Field(description="File, or part of the request.")
    key: str = Field(description="Column, or name in the request; empty where the whole is at fault.")
    row: int | None = Field(None, description="Row in the file, from 1.")
    problem: str
    remedy: str


class ProblemAnswer(BaseModel):
    """Problem details as of RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    faults: list[FaultAnswer] = []


def fault_answer(fault: Fault) -> FaultAnswer:
    """Return a fault with its row apart, and options of the command line by their names in requests."""
    found = _ROW.match(fault.where)
    where, row = (found["where"], int(found["row"])) if found else (fault.where, None)
    where = "request" if where in ("cosim plan", "options", "planner", "station") else where
    key, problem, remedy = map(by_request_names, (fault.key, fault.problem, fault.remedy))
    return FaultAnswer(where=where, key=key, row=row, problem=problem, remedy=remedy)


def by_request_names(text: str) -> str:
    """Return a message with the names of requests instead of options of the command line."""
    return _OPTION.sub(lambda option: option[1].replace("-", "_"), text)


def problem(
    status: int, detail: str, faults: Iterable[FaultAnswer] = (), headers: Mapping[str, str] | None = None, **more: Any
) -> Response:
    """Answer with a problem; whatever a text holds, it is written as ASCII."""
    title = HTTPStatus(status).phrase
    answer = ProblemAnswer(title=title, status=status, detail=detail, faults=list(faults))
    body = json.dumps({**answer.model_dump(), **more}, ensure_ascii=True).encode("ascii")
    return Response(body, status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def of_input(error: InputError, **more: Any) -> Response:
    """Answer with the faults of an input."""
    return problem(422, by_request_names(str(error)), map(fault_answer, error.faults), **more)


def document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of an app, with problems where FastAPI writes errors of its own, and the token."""
    found: dict[str, Any] = get_openapi(
        title=app.title, version=app.version, routes=app.routes, description=app.description
    )
    components = found["components"]
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    schema = ProblemAnswer.model_json_schema(ref_template="#/components/schemas/{model}")
    components["schemas"] |= {**schema.pop("$defs"), ProblemAnswer.__name__: schema}
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    wrong = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemAnswer.__name__}"}}}
    for operation in (one for path in found["paths"].values() for one in path.values()):
        operation["responses"].pop("422", None)
        operation["responses"]["4XX"] = {"description": "What is wrong, as a problem.", "content": wrong}
        operation["security"] = [{}, {"token": []}]
    return found


def install(app: FastAPI, data: Path) -> None:
    """Answer every error of an app with a problem, which does not say where its data lie."""

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> Response:
        faults = [_of_item(item) for item in error.errors()]
        return problem(422, "; ".join(f"{one.key}: {one.problem}" for one in faults), faults)

    @app.exception_handler(HTTPException)
    def http(_: Request, error: HTTPException) -> Response:
        return problem(error.status_code, str(error.detail), headers=error.headers)

    @app.exception_handler(InputError)
    def wrong(_: Request, error: InputError) -> Response:
        return of_input(error)

    @app.exception_handler(CosimError)
    def failed(_: Request, error: CosimError) -> Response:
        told = by_request_names(str(error)).replace(f"{data}{os.sep}", "")
        return problem(422 if error.exit_code == InputError.exit_code else 500, told)

    @app.exception_handler(Exception)
    def unforeseen(_: Request, error: Exception) -> Response:
        return problem(500, f"{type(error).__name__}; the server's own log says where")


def _of_item(item: Mapping[str, Any]) -> FaultAnswer:
    place, *names = [str(part) for part in item["loc"]] or ["request"]
    given = item.get("input")
    told = "" if isinstance(given, dict | list | bytes) or item["type"] == "missing" else f": {given!r:.{_MOST_INPUT}}"
    remedy = "give it" if item["type"] == "missing" else "see /api/v1/openapi.json for what it may be"
    return FaultAnswer(where=place, key=".".join(names), row=None, problem=f"{item['msg']}{told}", remedy=remedy)
