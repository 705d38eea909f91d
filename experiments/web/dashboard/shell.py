"""Around every page: navigation, theme, skip link, where news are read out, and what happens when a callback fails."""

from __future__ import annotations

import logging
from importlib import resources
from typing import TYPE_CHECKING, Protocol

from dash import ClientsideFunction, Dash, Input, Output, dcc, html, set_props
from dash.development.base_component import Component
from fastapi import FastAPI

from cosim.experiments.web.dashboard import feeder, planner, studies

if TYPE_CHECKING:
    from cosim.experiments.web.jobs import Jobs
    from cosim.experiments.web.planning import Planning

TITLE = "Feeder co-simulation"

INDEX = """<!DOCTYPE html>
<html lang="en">
  <head>
    {%metas%}
    <title>{%title%}</title>
    {%favicon%}
    LINKS
    {%css%}
  </head>
  <body>
    {%app_entry%}
    <footer>
      {%config%}
      {%scripts%}
      {%renderer%}
    </footer>
  </body>
</html>
"""


class Page(Protocol):
    """What a module of a page has: its path, name and heading, its content, and its callbacks."""

    PATH: str
    NAME: str
    TITLE: str

    def layout(self) -> Component:
        """Content below the heading."""
        ...

    def register(self, app: Dash, planning: Planning, jobs: Jobs) -> None:
        """Add the callbacks of the page."""
        ...


PAGES: tuple[Page, ...] = (planner, feeder, studies)


def attach(server: FastAPI, planning: Planning, jobs: Jobs) -> Dash:
    """Add the dashboard to an application, at ``/``.

    Its callbacks are posts to ``/_dash-update-component``. A middleware is added that reads their bodies: whoever
    guards the application adds the guard afterwards, around it.

    Parameters
    ----------
    server : FastAPI
        The application that serves the API.
    planning, jobs : Planning, Jobs
        What the callbacks use, in the same process.
    """
    app = Dash(
        __name__, server=False, backend="fastapi", serve_locally=True, include_assets_files=False, enable_mcp=False,
        websocket_callbacks=False, suppress_callback_exceptions=True, add_log_handler=False, title=TITLE,
        update_title="", on_error=_failed, meta_tags=[{"name": "color-scheme", "content": "light dark"}],
    )  # fmt: skip
    app.enable_dev_tools(debug=False)
    app.backend.websocket_capability = False  # or a door is opened that nobody uses
    app.init_app(server)
    app.index_string = INDEX.replace("LINKS", _links(app))
    app.layout = _layout()
    app.callback(Output("shell-page", "children"), Output("shell-heading", "children"), Input("shell-url", "pathname"))(
        _page
    )
    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("shell", "arrived"), Output("shell-theme", "data"), Input("shell-heading", "children")
    )
    for page in PAGES:
        page.register(app, planning, jobs)
    return app


def _links(app: Dash) -> str:
    """Style sheets and scripts of ``assets``, in order; the theme is set before anything is drawn."""
    names = sorted(entry.name for entry in (resources.files(__package__) / "assets").iterdir())
    styles = [f'<link rel="stylesheet" href="{app.get_asset_url(name)}">' for name in names if name.endswith(".css")]
    scripts = [f'<script src="{app.get_asset_url(name)}"></script>' for name in names if name.endswith(".js")]
    return "\n    ".join([*scripts, *styles])


def _layout() -> Component:
    pages = [
        html.Li(html.A(page.NAME, href=page.PATH, className="shell-tab", **{"data-path": page.PATH}))  # type: ignore[arg-type]
        for page in PAGES
    ]
    return html.Div(
        [
            html.A("Skip to the content", href="#shell-main", className="shell-skip"),
            html.Header(
                [
                    html.A(TITLE, href="/", className="shell-brand"),
                    html.Nav(html.Ul(pages), **{"aria-label": "Pages"}),  # type: ignore[arg-type]
                    html.Button("Theme: as the system", id="shell-theme-switch", type="button"),
                ],
                className="shell-header",
            ),
            html.Main(
                [html.H1(id="shell-heading"), html.Div(id="shell-alert", role="alert"), html.Div(id="shell-page")],
                id="shell-main",
                tabIndex=-1,
            ),
            html.Div(id="shell-live", role="status", className="shell-unseen"),
            dcc.Location(id="shell-url", refresh="callback-nav"),
            dcc.Store(id="shell-theme"),
        ]
    )


def _page(path: str) -> tuple[Component, str]:
    for page in PAGES:
        if path == page.PATH or (path == "/" and page is PAGES[0]):
            return page.layout(), page.TITLE
    there = html.P(["There is nothing at this address. Go to ", html.A(PAGES[0].NAME, href=PAGES[0].PATH), "."])
    return there, "No such page"


def _failed(error: Exception) -> None:
    """Tell the user that a callback failed; what and where is in the server's log."""
    logging.getLogger(__name__).error("a callback of the dashboard failed", exc_info=error)
    set_props("shell-alert", {"children": f"That did not work: {type(error).__name__}. The server's log says more."})
