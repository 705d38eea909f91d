"""Figures of the planner's page: what they draw is what the plan's tables say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dash import dcc, html

from cosim.experiments.web.dashboard.planner_figures import Planned, pictures

DEMAND = """vehicle,powerNom,energyRequired,energyMax,arrivalTime,departureTime
a,22,26,52,2025-03-18 08:00,2025-03-18 12:00
b,7,15.5,30,2025-03-18 08:30,2025-03-18 11:00
"""
Plan = Callable[..., tuple[int, str, str]]


def drawn(cosim: Plan, folder: Path, *options: str) -> tuple[Planned, list[tuple[str, str, dict[str, Any]]]]:
    (folder / "demand.csv").write_text(DEMAND, encoding="utf-8")
    code, _, err = cosim("plan", str(folder / "demand.csv"), *options, "--out", str(folder / "out"))
    assert code == 0, err
    planned = Planned.read(folder / "out")
    found = []
    for figure in pictures(planned, "light"):
        title, summary, graph = figure.children[0], figure.children[1], figure.children[2].children
        assert isinstance(title, html.Figcaption)
        assert isinstance(graph, dcc.Graph)
        assert title.children in figure.children[2].to_plotly_json()["props"]["aria-label"]
        found.append((title.children, summary.children, graph.figure))
    return planned, found


def test_they_draw_the_tables(cosim: Plan, tmp_path: Path) -> None:
    planned, figures = drawn(cosim, tmp_path, "--capacity-kw", "9")
    (title, summary, station), (short, _, heat), (_, _, stack), (missing, _, leaving) = figures
    power_kw = pd.read_parquet(tmp_path / "out" / "plan.parquet").groupby("step")["power_kw"].sum()
    whole_kw = power_kw.reindex(range(96), fill_value=0.0)
    full = int((whole_kw >= 9 - 1e-3).sum())
    assert full > 0
    assert title == f"The capacity binds in {full} of 96 steps"
    assert "between 08:00 and" in summary
    charging, capacity = station["data"]
    np.testing.assert_allclose(charging["y"], whole_kw, atol=1e-4)
    assert set(capacity["y"]) == {9.0}
    assert charging["x"][32] == "2025-03-18T08:00:00"
    (cells,) = heat["data"]
    assert len(cells["x"]) == 97  # edges: a cell ends where its step ends
    there = [[cell is not None for cell in row] for row in cells["z"]]
    assert np.sum(there, axis=1).tolist() == [16, 10]  # of a and b, in steps of 15 minutes
    assert short == f"{(planned.vehicles['unserved_kwh'] > 0.005).sum()} of 2 vehicles leave with less than they need"
    layers = [np.array(trace["y"], float) for trace in stack["data"] if "stackgroup" in trace]
    np.testing.assert_allclose(np.sum(layers, axis=0), whole_kw, atol=1e-3)
    lost_kwh = planned.vehicles["unserved_kwh"].sum()
    assert missing == f"{lost_kwh:.1f} of 41.5 kWh are missing at departure"
    assert sum(leaving["data"][1]["y"]) == pytest.approx(lost_kwh, abs=1e-3)


def test_nothing_binds_and_nobody_is_short_where_there_is_no_limit(cosim: Plan, tmp_path: Path) -> None:
    _, figures = drawn(cosim, tmp_path, "--capacity-kw", "inf")
    titles = [title for title, _, _ in figures]
    assert titles[:2] == ["Nothing limits the connection", "All 2 vehicles get what they need"]
    assert titles[3] == "Nobody leaves short"
    assert [trace["name"] for trace in figures[0][2]["data"]] == ["charging"]


def test_no_capacity_draws_no_power(cosim: Plan, tmp_path: Path) -> None:
    _, figures = drawn(cosim, tmp_path, "--capacity-kw", "0")
    assert figures[0][0] == "The capacity binds in 16 of 96 steps"  # those in which somebody is there
    assert figures[3][0] == "41.5 of 41.5 kWh are missing at departure"
