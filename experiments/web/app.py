"""The server's application: guard, routes of the interface, and the dashboard where it is there."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import Response
from fastapi.routing import APIRoute

from cosim import __version__
from cosim.experiments.web import problems, routes_jobs, routes_plans, routes_sessions
from cosim.experiments.web.catalogue import Catalogue, NotFoundError
from cosim.experiments.web.dashboard import attach
from cosim.experiments.web.guard import Guard
from cosim.experiments.web.jobs import Jobs
from cosim.experiments.web.planning import Planning
from cosim.experiments.web.settings import Settings

PREFIX = "/api/v1"
ABOUT = """Plans of charging stations, runs and studies of low-voltage feeders.

Units are in the names of all fields. What is wrong is answered as a problem (RFC 9457) with every fault by file, column
and row. Requests that change something bring `Origin` of this server, or the token as `Authorization: Bearer`."""


def create_app(settings: Settings) -> FastAPI:
    """Application of a server.

    Parameters
    ----------
    settings : Settings
        Its folder must be there.
    """
    catalogue = Catalogue(settings.data / "catalogue.sqlite3")
    planning = Planning(settings, catalogue)
    jobs = Jobs(settings, catalogue)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        jobs.begin()
        yield
        await to_thread(jobs.close)
        catalogue.close()

    app = FastAPI(
        title="cosim", version=__version__, description=ABOUT, openapi_url=f"{PREFIX}/openapi.json", docs_url=None,
        redoc_url=None, lifespan=lifespan,
    )  # fmt: skip
    problems.install(app, settings.data)

    @app.exception_handler(NotFoundError)
    def missing(_: object, error: NotFoundError) -> Response:
        return problems.problem(404, str(error))

    routers = (
        routes_sessions.router(planning), routes_plans.router(planning, settings), routes_jobs.router(jobs),
    )  # fmt: skip
    for router in routers:
        app.include_router(router, prefix=PREFIX)

    @app.get("/api/{path:path}", include_in_schema=False)
    def no_such_route(path: str) -> Response:
        """Answer before the dashboard's pages do: they would be found for every path."""
        inner = path.removeprefix(PREFIX.removeprefix("/api/"))
        others = (route for router in routers for route in router.routes if isinstance(route, APIRoute))
        allowed = sorted(method for route in others if route.path_regex.match(inner) for method in route.methods or ())
        if allowed:
            return problems.problem(405, f"not for GET: /api/{path}", headers={"Allow": ", ".join(allowed)})
        return problems.problem(404, f"no such route: /api/{path}")

    document = problems.document(app)
    setattr(app, "openapi", lambda: document)  # noqa: B010 - FastAPI's own way to say it, which mypy refuses
    attach(app, planning, jobs)
    app.add_middleware(Guard, settings=settings)  # the last that is added looks first
    return app
