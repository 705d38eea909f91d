"""``cosim reproduce powertrip``: cases and their figures on a short search, and bad places named."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from controllers.pareto.snapshot import front_of
from cosim.errors import InputError
from experiments.cli import app
from experiments.reproduce.trip_command import parse_band, parse_weights
from experiments.reproduce.trip_place import CHARGE_POINTS, PV_UNITS, make_place, parse_charge_points, parse_pv


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("powertrip")
    # two charge points and four roofs on one hour, so that the search is short
    command = [
        "reproduce", "powertrip", "--out", str(folder), "--charge-points", "691.1@12-13,179.3@12-13",
        "--pv", "691.1:7.2,691.2:7.2,179.3:7.2,100.1:7.2", "--population", "20", "--generations", "10",
    ]  # fmt: skip
    ended = CliRunner().invoke(app, command)
    assert ended.exit_code == 0, ended.output
    assert "NaN" not in (folder / "metrics.json").read_text()
    assert (folder / "report.md").read_text().count("figures/") == 6
    return json.loads((folder / "metrics.json").read_text())["cases"]


def test_every_case_is_there_with_its_metrics(cases):
    controls = ("seed_control", "rated_control", "voltage_control", "unbalance_current")
    names = {f"{name}{weights}" for name in controls for weights in ("", "_50_50", "_80_20")}
    assert set(cases) == names | {"ev_no_pv", "ev_all_pv"}
    wanted = {
        "f1_mean", "pui_mean_percent", "neutral_current_mean_a", "vuf_mean_percent", "pv_use_percent", "ev_kwh",
        "voltage_min_pu",
    }  # fmt: skip
    assert all(wanted <= set(case) for case in cases.values())


def test_controls_keep_their_bounds_and_lower_what_they_are_after(cases):
    base = cases["ev_all_pv"]
    assert base["ev_kwh"] == pytest.approx(22.0)
    assert 0.95 * 22.0 - 1e-6 <= cases["rated_control"]["ev_kwh"] <= 22.0 + 1e-6
    assert 0.90 * 22.0 - 1e-6 <= cases["seed_control"]["ev_kwh"] <= 1.1 * 22.0 + 1e-6
    assert cases["rated_control"]["f1_mean"] < base["f1_mean"]
    assert cases["unbalance_current"]["unbalance_current_mean_a2"] < base["unbalance_current_mean_a2"]
    assert cases["voltage_control"]["voltage_max_pu"] < base["voltage_max_pu"] - 0.005
    assert cases["rated_control_80_20"]["pv_use_percent"] <= cases["rated_control_50_50"]["pv_use_percent"] + 1e-9


def test_charge_points_stand_on_three_phase_lines_and_are_busy_in_their_hours():
    place = make_place("european_lv", parse_charge_points(CHARGE_POINTS), parse_pv(PV_UNITS), None, 1)
    assert [line.name for line in place.lines] == ["LINE690", "LINE498", "LINE178"]
    assert len(place.active) == 48
    assert place.ev_kw.sum() / 12 == pytest.approx(44.0)
    assert place.sun_kw.shape == (288, 12)
    assert not place.demand_kw[:, place.chargers].any()


@pytest.mark.parametrize(
    ("charge_points", "pv", "said"),
    [
        ("9999.1@09-10", PV_UNITS, "9999.1"),
        ("691.1", PV_UNITS, "691.1"),
        ("691.1@12-11", PV_UNITS, "691.1@12-11"),
        (CHARGE_POINTS, "", "names no roof"),
        (CHARGE_POINTS, "691.7:3", "691.7:3"),
    ],
)
def test_wrong_places_are_named(charge_points, pv, said):
    with pytest.raises(InputError, match=said):
        make_place("european_lv", parse_charge_points(charge_points), parse_pv(pv), None, 1)


def test_wrong_weights_and_bands_are_named():
    with pytest.raises(InputError, match=r"'0.5/0.6' does not sum to 1"):
        parse_weights("0.5/0.5,0.5/0.6")
    with pytest.raises(InputError, match="'half' is no pair"):
        parse_weights("half")
    with pytest.raises(InputError, match="no band"):
        parse_band("1.1-0.9")


def test_the_front_of_two_parabolas_is_found():
    def evaluate(x):
        return np.column_stack([(x**2).sum(axis=1), ((x - 1) ** 2).sum(axis=1)]), np.zeros((len(x), 0))

    found = front_of(
        evaluate, np.zeros(2), np.ones(2), start=np.array([[0.5, 0.5]]), population=40, generations=60, seed=1
    )
    share = np.sqrt(found.values[:, 0] / 2)  # on the front both variables are equal
    assert np.abs(found.values[:, 1] - 2 * (1 - share) ** 2).mean() < 0.03
    assert found.feasible
