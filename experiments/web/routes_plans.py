"""Routes of plans: plan, look, download."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from fastapi import Path as FromPath
from fastapi.responses import FileResponse

from cosim.experiments.web.answers import PlanAnswer, PlanEntry, plan_answer, plan_entry
from cosim.experiments.web.catalogue import NotFoundError
from cosim.experiments.web.planning import Planning
from cosim.experiments.web.schemas import Id, PlanOrder

PlanId = Annotated[Id, FromPath()]
FileName = Annotated[str, FromPath(pattern=r"^[a-z_]+\.(csv|parquet|json|md)$")]


def router(planning: Planning) -> APIRouter:
    """Routes of one server."""
    routes = APIRouter(tags=["plans"])

    @routes.post("/plans", status_code=201)
    def plan(asked: PlanOrder, response: Response) -> PlanAnswer:
        """Plan sessions: the answer is the plan, the best that was found within the time limit."""
        found = planning.plan(asked.sessions, asked.request)
        response.headers["Location"] = f"/api/v1/plans/{found.id}"
        return plan_answer(found)

    @routes.get("/plans")
    def plans() -> list[PlanEntry]:
        """Return all plans, the newest first."""
        return [plan_entry(found) for found in planning.plans()]

    @routes.get("/plans/{plan_id}")
    def get_plan(plan_id: PlanId) -> PlanAnswer:
        """Return a plan with its figures."""
        return plan_answer(planning.get_plan(plan_id))

    @routes.post("/plans/{plan_id}/restart")
    def restart(plan_id: PlanId) -> PlanAnswer:
        """Plan again what was interrupted or failed."""
        return plan_answer(planning.restart(plan_id))

    @routes.get("/plans/{plan_id}/files/{name}")
    def download(plan_id: PlanId, name: FileName) -> FileResponse:
        """Return a file of a plan, as `cosim plan` writes it."""
        found = planning.get_plan(plan_id)
        if name not in found.files:
            raise NotFoundError(f"no file '{name}' of plan '{plan_id}'")
        return FileResponse(found.folder / name, filename=name)

    return routes
