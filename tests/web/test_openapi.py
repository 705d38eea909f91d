"""The interface against its own document: requests that keep to it and such that do not, drawn by schemathesis."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields

import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed
from hypothesis import settings as limits
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.specs.openapi import checks

from cosim.experiments.web.schemas import LiveStateRequest
from cosim.experiments.web.settings import Settings
from tests.web.conftest import PROJECT, Served
from tests.web.test_api import DATED, planned, uploaded

load_all_checks()
HELD = [
    not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
    checks.response_schema_conformance, checks.response_headers_conformance, checks.negative_data_rejection,
]  # fmt: skip
"""Left out: that whatever keeps to the document is accepted, for what is asked together may still contradict itself."""


def ask(
    server: Served, operation: schemathesis.APIOperation, mode: GenerationMode, there: Mapping[str, str], examples: int
) -> None:
    """Ask one operation so many times; of what is right, for things that are there."""

    @seed(7)
    @limits(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def asked(case: schemathesis.Case) -> None:
        for held in (case.path_parameters, case.body):
            if isinstance(held, dict) and mode is GenerationMode.POSITIVE:
                held.update({name: there[name] for name in held.keys() & there.keys()})
        case.call_and_validate(headers={"Origin": server.url}, checks=HELD)

    with suppress(Unsatisfiable):  # of what takes nothing, nothing can be wrong
        asked()


def hold(server: Served, examples: int) -> None:
    document = schemathesis.openapi.from_url(f"{server.url}/api/v1/openapi.json").include(tag=["sessions", "plans"])
    operations = [found.ok() for found in document.get_all_operations()]
    operations.sort(key=lambda operation: operation.method.upper() == "DELETE")  # what is there goes last
    assert len(operations) >= 15
    with server.client() as client:
        sessions = uploaded(client, DATED, timezone="Europe/Berlin")
        there = {"sessions_id": sessions, "sessions": sessions, "plan_id": planned(client, sessions)["id"]}
    for operation, mode in itertools.product(operations, GenerationMode):
        ask(server, operation, mode, there, examples)


def test_some_requests(server: Served) -> None:
    hold(server, 1)


def test_the_page_says_what_there_is(server: Served) -> None:
    page = (PROJECT / "docs" / "serve.md").read_text(encoding="utf-8")
    settings = re.search(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    assert settings is not None
    told = {
        key: tuple(value) if isinstance(value, list) else value for key, value in tomllib.loads(settings[1]).items()
    }
    usual = {one.name: one.default for one in fields(Settings) if one.name not in ("data", "host", "port", "token")}
    assert told == usual
    state = re.search(r"```json\n(.*?)```", page, flags=re.DOTALL)
    assert state is not None
    assert len(LiveStateRequest.model_validate_json(state[1]).vehicles) == 3
    with server.client() as client:
        document = client.get("/openapi.json").json()
    paths = {re.sub(r"\{\w+\}", "", path.removeprefix("/api/v1")) for path in document["paths"]}
    for path in re.findall(r"`(?:GET|POST|DELETE) (/[^`?]*)", page):
        assert re.sub(r"^/api/v1|\{\w+\}|TABLE|FORM|NAME|FIGURE", "", path) in paths, path


@pytest.mark.slow
def test_many_requests(server: Served) -> None:
    hold(server, 150)
