"""The charge-point operator's study and benchmark: known optima, files, and a clear message without the reference."""

from __future__ import annotations

import importlib.util
import json
import sys

import numpy as np
import pandas as pd
import pytest

from cosim.controllers.planner.options import Options
from cosim.controllers.planner.plan import plan
from cosim.controllers.planner.requests import make_station
from cosim.errors import InputError
from cosim.experiments.bench import plan as bench
from cosim.experiments.studies.cpo_planner.study import PUBLISHED, REFERENCE, CpoConfig, CpoPlanner, demand_table


def test_the_study(tmp_path):
    result = CpoPlanner().conduct(CpoConfig(seed=2), tmp_path)
    cases = json.loads((tmp_path / "metrics.json").read_text())["cases"]
    assert cases.keys() == result.cases.keys()
    for name, one in REFERENCE.items():
        assert cases[name]["objective_eur"] == pytest.approx(one["optimum_eur"], abs=1e-3)
        assert cases[name]["status"] == "optimal"
    assert cases["milp_as_published"]["objective_eur"] == pytest.approx(cases["lp"]["objective_eur"], rel=1e-4)
    assert cases["milp"]["objective_eur"] >= cases["lp"]["objective_eur"] - 1e-6
    assert cases["lp_fair"]["served_min_percent"] >= cases["lp_service_first"]["served_min_percent"] - 1e-3
    assert cases["lp"]["vehicles"] == 40
    assert max(case["peak_kw"] for case in cases.values()) <= 100.0 + 1e-6
    power_kw = pd.read_parquet(tmp_path / "milp" / "plan.parquet")["power_kw"]
    assert ((power_kw == 0) | (power_kw >= 4.14 - 1e-6)).all()
    for name in ("lp/heatmap.png", "milp/stack.png", "report.md", "manifest.json"):
        assert (tmp_path / name).stat().st_size > 200
    steps = pd.read_csv(tmp_path / "demand_steps.csv")
    assert steps.iloc[:5][["arrivalTime", "departureTime"]].to_numpy().tolist() == [
        [47, 67], [33, 43], [41, 58], [59, 69], [32, 46],
    ]  # fmt: skip


def test_the_demand_keeps_what_is_published():
    table = demand_table(7)
    assert len(table) == 40
    assert table["energyRequired"].iloc[:5].tolist() == PUBLISHED["energyRequired"].tolist()
    assert not table.equals(demand_table(8))


def test_the_benchmark_solves_the_same_model_as_its_reference():
    if importlib.util.find_spec("cvxpy") is None:
        with pytest.raises(InputError, match="needs the package cvxpy"):
            bench.measure(1)
        return
    requests, station = bench.draw_requests(20), make_station(96, 50.0)
    for formulation, solver in (("lp", "HIGHS"), ("lp", "CLARABEL"), ("milp", "HIGHS")):
        status, objective = bench.cvxpy_plan(requests, station, formulation, solver)()
        assert status == "optimal"
        ours = plan(requests, station, Options(formulation=formulation, objective="weighted", gap=0.01))
        assert ours.best.objective == pytest.approx(objective, rel=1e-6 if formulation == "lp" else 0.011)


def test_the_benchmark_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    with pytest.raises(InputError, match=r"pip install 'lv-feeder-cosim\[bench\]'"):
        bench.measure(1)


def test_the_benchmark_rounds_stays_to_whole_steps():
    requests = bench.draw_requests(50)
    assert (requests.arrival_step == np.floor(requests.arrival_step)).all()
    assert (requests.departure_step > requests.arrival_step).all()
