"""Routes of plans: plan, look, plan again, and what goes out: tables, figures, messages to chargers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import pandas as pd
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Query, Response
from fastapi import Path as FromPath
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

from cosim.experiments.plan.options import OcppUnit, OcppVersion
from cosim.experiments.web.answers import PlanAnswer, PlanEntry, plan_answer, plan_entry
from cosim.experiments.web.catalogue import NotFoundError
from cosim.experiments.web.downloads import (
    FORMS,
    MEDIA_TYPES,
    Figure,
    Form,
    attachment,
    documented,
    figure_png,
    json_attachment,
)
from cosim.experiments.web.planning import Planning
from cosim.experiments.web.records import PlanRecord
from cosim.experiments.web.schemas import Id, LiveStateRequest, PlanOrder
from cosim.experiments.web.settings import Settings

PlanId = Annotated[Id, FromPath()]
FileName = Annotated[str, FromPath(pattern=r"^[a-z_]+\.(csv|parquet|json|md)$")]
TableName = Literal["plan", "vehicles", "station", "other_plans", "rows", "diff", "changes"]
WAIT_S = 5


def router(planning: Planning, settings: Settings) -> APIRouter:
    """Routes of one server."""
    routes = APIRouter(tags=["plans"])
    at_once = CapacityLimiter(settings.jobs_at_once)

    async def in_turn(work: Callable[[], PlanRecord], response: Response) -> PlanAnswer:
        """Plan in a thread, as many at once as the settings say; others wait without one, up to a number."""
        if at_once.statistics().tasks_waiting >= settings.jobs_waiting:
            waiting = f"{settings.jobs_waiting} plans are waiting already: ask again later"
            raise HTTPException(429, waiting, {"Retry-After": str(WAIT_S)})
        found = await to_thread.run_sync(work, limiter=at_once)
        response.headers["Location"] = f"/api/v1/plans/{found.id}"
        return plan_answer(found)

    @routes.post("/plans", status_code=201)
    async def plan(asked: PlanOrder, response: Response) -> PlanAnswer:
        """Plan sessions: the answer is the plan, the best that was found within the time limit."""
        return await in_turn(lambda: planning.plan(asked.sessions, asked.request), response)

    @routes.get("/plans")
    def plans() -> list[PlanEntry]:
        """Return all plans, the newest first."""
        return [plan_entry(row) for row in planning.plan_rows()]

    @routes.get("/plans/{plan_id}")
    def get_plan(plan_id: PlanId) -> PlanAnswer:
        """Return a plan with its figures."""
        return plan_answer(planning.get_plan(plan_id))

    @routes.delete("/plans/{plan_id}", status_code=204)
    def forget(plan_id: PlanId) -> None:
        """Forget a plan and its files."""
        planning.forget_plan(plan_id)

    @routes.post("/plans/{plan_id}/replan", status_code=201)
    async def replan(plan_id: PlanId, state: LiveStateRequest, response: Response) -> PlanAnswer:
        """Plan the rest anew from what has happened until now.

        The past stands, and its import counts for the peak. Who is plugged beyond its departure and lacks energy is
        charged on. Both plans side by side: tables `diff` (by vehicle and step) and `changes` (by vehicle).
        """
        return await in_turn(lambda: planning.replan(plan_id, state), response)

    @routes.post("/plans/{plan_id}/restart")
    async def restart(plan_id: PlanId, response: Response) -> PlanAnswer:
        """Plan again what was interrupted or failed."""
        return await in_turn(lambda: planning.restart(plan_id), response)

    files = documented("csv", "parquet", "json", "md")

    @routes.get("/plans/{plan_id}/files/{name}", response_class=FileResponse, responses=files)
    def download(plan_id: PlanId, name: FileName) -> FileResponse:
        """Return a file of a plan, as `cosim plan` writes it."""
        found = planning.get_plan(plan_id)
        if name not in found.files:
            raise NotFoundError(f"no file '{name}' of plan '{plan_id}'")
        return FileResponse(found.folder / name, filename=name, media_type=MEDIA_TYPES[name.partition(".")[2]])

    @routes.get("/plans/{plan_id}/tables/{table}.{form}", response_class=Response, responses=documented(*FORMS))
    def table(plan_id: PlanId, table: TableName, form: Form) -> Response:
        """Return a table of a plan as a file of any kind."""
        found = planning.get_plan(plan_id)
        path = found.folder / f"{table}.parquet"
        if table == "rows" and "rows.csv" in found.files:
            return attachment(planning.sessions(found.sessions_id).findings, table, form)
        if path.name not in found.files:
            raise NotFoundError(f"no table '{table}' of plan '{plan_id}'")
        return attachment(pd.read_parquet(path), table, form)

    @routes.get("/plans/{plan_id}/figures/{figure}.png", response_class=Response, responses=documented("png"))
    def figure(plan_id: PlanId, figure: Figure) -> Response:
        """Draw a plan: who charges when, or all powers on top of each other under the capacity."""
        return Response(figure_png(planning.kept(plan_id), figure), media_type=MEDIA_TYPES["png"])

    @routes.get("/plans/{plan_id}/ocpp", response_class=Response, responses=documented("json"))
    def ocpp(
        plan_id: PlanId,
        version: Annotated[OcppVersion, Query(description="Of the protocol.")] = "2.0.1",
        unit: Annotated[OcppUnit, Query(description="Of the limits.")] = "A",
    ) -> Response:
        """Return one `SetChargingProfile` for each charger, from now on."""
        return json_attachment(planning.ocpp(plan_id, version, unit), "ocpp")

    return routes
