"""Reference optima of the charge-point operator's planner, computed beforehand with an independent model."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.controllers.planner.options import Options
from cosim.controllers.planner.plan import Planning, plan
from cosim.controllers.planner.requests import make_requests, make_station

FIVE = ((22, 26, 52, 47, 67), (7, 17.6711, 30, 33, 43), (11, 45.815, 52, 41, 58), (11, 27.9156, 88, 59, 69),
        (6, 20.305, 88, 32, 46))  # fmt: skip
PAIR = ((7, 16.59, 52, 31, 41), (11, 8.72, 100, 38, 43))
DASHBOARD = ((7, 16, 52, 21, 36), (7, 16, 52, 21, 36))


def solve(
    rows: tuple[tuple[float, ...], ...], capacity_kw: float, *, step_s: float = 900.0, low_kw: float = 0.0, **options
) -> Planning:
    names = [str(k) for k in range(len(rows))]
    requests = make_requests(names, *np.array(rows, float).T, power_min_kw=low_kw)
    return plan(requests, make_station(96, capacity_kw, step_s=step_s), Options(**options))


@pytest.mark.parametrize(
    ("rows", "capacity_kw", "step_s", "objective_eur", "drawn_kwh"),
    [
        (FIVE, 100, 900, 37.2029, 141.6389),
        (FIVE, 40, 900, 37.2029, 141.6389),
        (FIVE, 20, 900, 38.9883, 139.6389),
        (FIVE, 15, 900, 49.1017, 129.5),
        (PAIR, 18, 900, 5.1499, 27.1889),
        (PAIR, 18, 600, 14.8899, 20.8333),
        (DASHBOARD, 100, 900, 4.6222, 35.5556),
    ],
)
@pytest.mark.parametrize("formulation", ["lp", "milp"])
def test_the_weighted_form(rows, capacity_kw, step_s, objective_eur, drawn_kwh, formulation):
    planning = solve(rows, capacity_kw, step_s=step_s, objective="weighted", formulation=formulation)
    assert planning.best.objective == pytest.approx(objective_eur, abs=1e-3)
    assert planning.best.energy_kwh.sum() == pytest.approx(drawn_kwh, abs=1e-3)
    assert planning.best.peak_kw <= capacity_kw + 1e-6
    assert (planning.status, planning.gap) == ("optimal", 0.0)


def test_shortfalls_of_the_five():
    unserved_kwh = solve(FIVE, 100, objective="weighted").best.unserved_kwh
    assert unserved_kwh == pytest.approx([0, 1.9211, 3.7400, 3.1656, 1.4050], abs=1e-3)


def test_the_weighted_form_with_a_least_power():
    planning = solve(FIVE, 20, low_kw=4.2, formulation="milp", objective="weighted")
    assert planning.best.objective == pytest.approx(39.7672, abs=1e-3)
    assert planning.status == "optimal"
    power_kw = planning.best.power_kw
    assert ((power_kw == 0) | (power_kw >= 4.2 - 1e-6)).all()
    assert 0 < power_kw[power_kw > 0].min() < 4.21  # the rule binds


def test_the_linear_programme_has_no_least_power():
    assert solve(FIVE, 20, low_kw=4.2, objective="weighted").best.objective == pytest.approx(38.9883, abs=1e-3)


def test_service_first_delivers_at_least_as_much_as_the_weighted_form():
    first = solve(FIVE, 15).best
    assert first.unserved_kwh.sum() <= solve(FIVE, 15, objective="weighted").best.unserved_kwh.sum() + 1e-6
    assert first.objective == pytest.approx(first.cost_eur)
