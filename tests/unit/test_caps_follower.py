"""The household's best response, and the single house of the seed study in every form."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.controllers.caps import (
    CapsOptions,
    CapsProblem,
    best_response,
    best_response_lp,
    charging_cost_eur,
    share_of_phase,
    solve_caps,
)

HOURS = np.arange(1, 25)
SEED_TARIFF = np.select(
    [np.isin(HOURS, [7, 8, 9, 10, 17, 18, 19, 20]), (HOURS >= 11) & (HOURS <= 16)], [0.50, 0.20], 0.10
)


def one_home(**changes: object) -> CapsProblem:
    data = {
        "slot_h": 0.5,
        "tariff_eur_per_kwh": np.array([0.3, 0.1, 0.2, 0.1]),
        "inflexible_kw": np.ones((4, 1)),
        "connection_kw": np.array([14.0]),
        "phase_share": share_of_phase(np.array([0])),
        "limit_kw": np.full((4, 3), 20.0),
        "home": np.array([0]),
        "plugged": np.ones((4, 1)),
        "charger_kw": np.array([7.4]),
        "charger_min_kw": np.array([1.38]),
        "energy_need_kwh": np.array([0.9 * 0.5 * 9.0]),
        "efficiency": np.array([0.9]),
    }
    return CapsProblem(**(data | changes))  # type: ignore[arg-type]


def the_single_house() -> CapsProblem:
    """One house of the seed study: 24 h, limit 2.4 kW, 20 kWh needed, a charger without a rating of its own."""
    morning, evening, width = 0.7404, 1.8906, 2.57245
    load = 0.5 + morning * np.exp(-(((HOURS - 7) / width) ** 2)) + evening * np.exp(-(((HOURS - 19) / width) ** 2))
    return one_home(
        slot_h=1.0,
        tariff_eur_per_kwh=SEED_TARIFF,
        inflexible_kw=load[:, None],
        limit_kw=np.full((24, 3), 2.4),
        plugged=np.ones((24, 1)),
        charger_kw=np.array([12.0]),
        charger_min_kw=np.array([0.0]),
        energy_need_kwh=np.array([20.0]),
        efficiency=np.array([1.0]),
    )


def test_the_cheapest_slots_are_filled_first() -> None:
    problem = one_home()
    free = np.full((4, 1), 14.0)
    assert best_response(problem, free)[:, 0] == pytest.approx([0.0, 7.4, 0.0, 1.6])
    capped = np.array([[14.0], [4.0], [14.0], [3.0]])
    assert best_response(problem, capped)[:, 0] == pytest.approx([0.0, 3.0, 4.0, 2.0])
    assert charging_cost_eur(problem, best_response(problem, capped)) == pytest.approx([0.5 * (0.3 + 0.8 + 0.2)])


def test_a_room_below_six_ampere_is_of_no_use_and_no_cap_leaves_more_than_the_connection() -> None:
    problem = one_home()
    assert best_response(problem, np.array([[14.0], [2.3], [99.0], [14.0]]))[:, 0] == pytest.approx(
        [0.0, 0.0, 1.6, 7.4]
    )


def test_as_much_as_possible_where_the_need_cannot_be_met() -> None:
    problem = one_home(energy_need_kwh=np.array([50.0]))
    assert best_response(problem, np.full((4, 1), 3.0))[:, 0] == pytest.approx([2.0] * 4)


def test_the_linear_programme_agrees() -> None:
    problem = one_home()
    for cap in (3.0, 5.0, 14.0):
        caps = np.full((4, 1), cap)
        assert best_response_lp(problem, caps, 0) == pytest.approx(best_response(problem, caps)[:, 0], abs=1e-9)


def check_single_house(problem: CapsProblem, charge: np.ndarray) -> None:
    off_peak, peak = SEED_TARIFF == 0.10, SEED_TARIFF == 0.50
    assert charging_cost_eur(problem, charge)[0] == pytest.approx(2.4047, abs=5e-5)
    assert SEED_TARIFF @ (problem.inflexible_kw + charge)[:, 0] == pytest.approx(10.0410, abs=5e-4)
    assert charge[off_peak].sum() == pytest.approx(15.9528, abs=5e-4)
    assert charge[(SEED_TARIFF == 0.20)].sum() == pytest.approx(4.0472, abs=5e-4)
    assert charge[peak].sum() == pytest.approx(0.0, abs=1e-6)
    assert charge[[0, 5, 20, 23], 0] == pytest.approx([1.897, 1.263, 0.867, 1.857], abs=1e-3)


def test_the_single_house_of_the_seed_study_in_closed_form() -> None:
    problem = the_single_house()
    assert problem.inflexible_kw.max() == pytest.approx(2.3906, abs=1e-4)
    check_single_house(problem, best_response(problem, np.full((24, 1), 2.4)))


@pytest.mark.parametrize("form", ["auto", "kkt"])
def test_the_single_house_of_the_seed_study_in_every_form(form: str) -> None:
    problem = the_single_house()
    result = solve_caps(problem, CapsOptions("least_restriction", form=form, gap=1e-6))
    assert result.status == "optimal"
    assert result.max_response_error_kw < 1e-5
    check_single_house(problem, result.charge_kw)
