"""What the page of studies holds once a study is chosen: controllers compared, rows, hosting capacities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dash import dcc, html
from dash.development.base_component import Component

from cosim.experiments.comparison.paired import ALL
from cosim.experiments.comparison.write import board, lines
from cosim.experiments.metric_table import metric_of
from cosim.experiments.web.dashboard.controls import card, choice, table
from cosim.experiments.web.dashboard.studies_data import StudyFolder, read_hosting, read_study

if TYPE_CHECKING:
    from cosim.experiments.web.job_records import Job

ANY = "any"
"""Of a factor: rows are not chosen by it."""


def of_study(job: Job) -> list[Component]:
    """Comparison and rows of a study; InputError where nothing is finished yet."""
    found = read_study(job.folder)
    return [html.P(f"{job.name}: {len(found.rows)} rows are finished."), _compared(found), _rows(job, found)]


def _compared(found: StudyFolder) -> Component:
    if found.comparison is None:
        content: list[Component] = [html.P(f"Not yet: {found.why}", className="shell-doubt")]
    else:
        measures = {name: f"{metric_of(name).meaning} [{metric_of(name).unit or '1'}]" for name in found.measures}
        factors = {ALL: "all worlds", **{name: name.replace("_", " ") for name in found.comparison.factors}}
        chosen = [choice("studies-measure", "Measure", measures), choice("studies-factor", "By", factors)]
        content = [
            *(html.P(line, className="shell-hint") for line in lines(found.comparison)),
            table(board(found.comparison, found.measures), "Means of the controllers"),
            html.Div(chosen, className="shell-form"),
            html.Div(id="studies-comparison"),
        ]
    return card("Controllers compared", content, "studies-compared")


def _rows(job: Job, found: StudyFolder) -> Component:
    """The dataset a page at a time: chosen by factor, sorted by any column that is shown."""
    chosen = []
    for name, values in found.factors.items():
        offered = {ANY: "any", **{value: value or "none" for value in values}}
        chosen.append(choice({"type": "studies-only", "name": name}, name.replace("_", " "), offered))
    columns = {name: name.replace("_", " ") for name in [*found.factors, *found.measures]}
    chosen.append(choice("studies-by", "Sorted by", columns))
    chosen.append(choice("studies-order", "Order", {"up": "rising", "down": "falling"}))
    turned = [
        html.Button("Rows before", id="studies-before", type="button"),
        html.Button("Next rows", id="studies-next", type="button"),
        html.Output(id="studies-extent"),
    ]
    for form in ("csv", "parquet"):
        address = f"/api/v1/jobs/{job.id}/results.{form}"
        turned.append(html.A(f"All rows and columns as {form}", href=address, className="shell-button"))
    content = [
        html.Div(chosen, className="shell-form"),
        html.Div(id="studies-rows"),
        html.Div(turned, className="shell-row"),
        dcc.Store(id="studies-page"),
    ]
    return card("Rows", content, "studies-table")


def of_hosting(job: Job) -> list[Component]:
    """Curves of a hosting study, and its two tables; InputError where it has not come so far."""
    found, placements = read_hosting(job.folder)
    tables = [
        html.H3("hosting.csv"),
        table(found, "Capacities"),
        html.Details([html.Summary("placements.csv"), table(placements, "Placements")]),
    ]
    return [
        card("How much is hosted", html.Div(id="studies-curves"), "studies-hosted"),
        card("Tables", tables, "studies-tables"),
    ]
