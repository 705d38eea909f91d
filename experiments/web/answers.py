"""What the interface answers of sessions and plans."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from cosim.experiments.files import json_ready
from cosim.experiments.web.catalogue import PlanRow, SessionsRow
from cosim.experiments.web.problems import FaultAnswer, by_request_names, fault_answer
from cosim.experiments.web.records import PlanRecord, Sessions
from cosim.experiments.web.schemas import PlanRequest, SessionReading


class FindingAnswer(BaseModel):
    """Fault of one row, and what became of the row."""

    row: int
    column: str
    problem: str
    action: str
    remedy: str


class SessionsEntry(BaseModel):
    """Sessions in the list of all."""

    id: str
    name: str
    created: str = Field(description="Moment of UTC.")
    parent: str | None = Field(description="Sessions that these were made from.")


class SessionsAnswer(SessionsEntry):
    """Sessions as they were understood."""

    reading: SessionReading
    profile: str = Field(description="Layout by which they were understood.")
    columns: list[str] = Field(description="Header of the file.")
    counts: dict[str, int] = Field(description="Rows, planned, changed among these, left out.")
    warnings: list[str] = Field(description="What was assumed.")
    findings: list[FindingAnswer] = Field(description="Faults of rows.")
    faults: list[FaultAnswer] = Field(description="Why the file as a whole is not understood; map its columns.")


class PlanEntry(BaseModel):
    """Plan in the list of all."""

    id: str
    sessions: str = Field(description="Sessions that are planned.")
    parent: str | None = Field(description="Plan that this one re-plans.")
    created: str = Field(description="Moment of UTC.")
    status: str = Field(description="planning, done, failed or interrupted.")


class PlanAnswer(PlanEntry):
    """Plan with its figures."""

    request: PlanRequest
    metrics: dict[str, Any] = Field(description="Figures of the station, units in the names; `status` of the solver.")
    warnings: list[str]
    faults: list[FaultAnswer] = Field(description="Why there is no plan.")
    files: list[str] = Field(description="What can be had at `/plans/{id}/files/{name}`.")


def entry_of(row: SessionsRow) -> SessionsEntry:
    """Entry of a list."""
    return SessionsEntry(id=row.id, name=row.name, created=row.created, parent=row.parent)


def sessions_answer(found: Sessions) -> SessionsAnswer:
    """Answer of sessions."""
    return SessionsAnswer(
        id=found.id, name=found.name, created=found.created, parent=found.parent, reading=found.reading,
        profile=found.profile, columns=list(found.table.columns), counts=found.counts,
        warnings=list(map(by_request_names, found.warnings)),
        findings=[
            FindingAnswer.model_validate({**row, "remedy": by_request_names(row["remedy"])})
            for row in found.findings.to_dict("records")
        ],
        faults=[fault_answer(fault) for fault in found.faults],
    )  # fmt: skip


def plan_entry(found: PlanRecord | PlanRow) -> PlanEntry:
    """Entry of a list."""
    return PlanEntry(
        id=found.id, sessions=found.sessions_id, parent=found.parent, created=found.created, status=found.status
    )


def plan_answer(found: PlanRecord) -> PlanAnswer:
    """Answer of a plan."""
    return PlanAnswer(
        **plan_entry(found).model_dump(), request=found.request, metrics=json_ready(found.metrics),
        warnings=list(map(by_request_names, found.warnings)),
        faults=[fault_answer(fault) for fault in found.faults], files=found.files,
    )  # fmt: skip
