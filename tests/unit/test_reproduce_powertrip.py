"""``cosim reproduce powertrip``: cases and their figures on a short search, and bad places named."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cosim.errors import InputError
from cosim.experiments.cli import app
from cosim.experiments.studies.powertrip import descent
from cosim.experiments.studies.powertrip.config import TripConfig, parse_weights, weights_name
from cosim.experiments.studies.powertrip.data import make_place
from cosim.experiments.studies.powertrip.descent import Local, polished
from cosim.experiments.studies.powertrip.study import moves, of_control


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("powertrip")
    # two charge points and four PV units on one hour, so that the search is short
    command = [
        "reproduce", "powertrip", "--out", str(folder), "--charge-points", "691.1@12-13,179.3@12-13",
        "--pv", "691.1:7.2,691.2:7.2,179.3:7.2,100.1:7.2", "--population", "10", "--generations", "5",
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(descent, "LEVELS", 1)  # and so are the descents
        patch.setattr(descent, "STARTS", 1)
        patch.setattr(descent, "NEAREST", 1)
        patch.setattr(descent, "ITERATIONS", 12)
        ended = CliRunner().invoke(app, command)
    assert ended.exit_code == 0, ended.output
    return folder


@pytest.fixture(scope="module")
def cases(folder):
    text = (folder / "metrics.json").read_text()
    assert "NaN" not in text
    return json.loads(text)["cases"]


def test_the_report_has_its_figures_and_every_line_its_index(folder, cases):
    text = (folder / "report.md").read_text()
    assert text.count("](figures/") == 6
    assert "so little headroom for feed-in" in text
    case = cases["rated_control_80_20"]
    assert case["pui_mean_percent"] == pytest.approx((case["pui_mean_percent_1"] + case["pui_mean_percent_2"]) / 2)
    assert case["pui_max_percent"] == max(case["pui_max_percent_1"], case["pui_max_percent_2"])
    assert case["pui_own_percent_1"] == pytest.approx(case["pui_mean_percent_1"])  # busy in every active step
    table = pd.read_csv(folder / "cases.csv").set_index("case")
    assert table.loc["rated_control_80_20", "pui_own_percent_2"] == pytest.approx(case["pui_own_percent_2"], abs=1e-6)


def test_disagreements_are_listed_step_by_step(folder, cases):
    table = pd.read_csv(folder / "disagreements.csv")
    pui = table["pui_after_percent"] - table["pui_before_percent"]
    neutral = table["neutral_after_a"] - table["neutral_before_a"]
    praised = table["verdict"] == "praised"
    assert ((pui < 0) == praised).all()
    assert ((neutral > 0) == praised).all()
    shares = 100.0 * table[praised].groupby("case").size() / (12 * 2)
    for name, case in cases.items():
        if name[-1].isdigit() or name.startswith("ev_"):
            assert case["pui_praises_percent"] == pytest.approx(shares.get(name, 0.0)), name


def test_the_convex_pair_is_certified(cases):
    case = cases["unbalance_current"]
    assert 0.97 < case["hypervolume_ratio_min"] <= case["hypervolume_ratio_mean"] < 1.001
    assert case["regret_mean_a"] >= 0.0
    assert "hypervolume_ratio_mean" not in cases["rated_control"]


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
    place = make_place(TripConfig())
    assert [line.name for line in place.lines] == ["LINE690", "LINE498", "LINE178"]
    assert len(place.active) == 48
    assert place.ev_kw.sum() / 12 == pytest.approx(44.0)
    assert place.pv_available_kw.shape == (288, 12)
    assert not place.demand_kw[:, place.chargers].any()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"charge_points": "9999.1@09-10"}, r"--charge-points: '9999.1@09-10': there is no node '9999.1'"),
        ({"pv": "99999.1:7.2"}, r"--pv: '99999.1:7.2': there is no node '99999.1'"),
        ({"charge_points": "34.1@23-24"}, "no PV unit has any sun"),
        ({"charge_points": "691.1"}, "691.1"),
        ({"charge_points": "691.1@12-11"}, "691.1@12-11"),
        ({"charge_points": ""}, "names none"),
        ({"pv": ""}, "names no unit"),
        ({"pv": "691.7:3"}, "691.7:3"),
        ({"weights": "0.5/0.5,0.5/0.6"}, r"'0.5/0.6' does not sum to 1"),
        ({"weights": "-1/2"}, r"'-1/2' holds a negative weight"),
        ({"weights": "0.8/0.2,0.8/0.2"}, r"'0.8/0.2' is there twice"),
        ({"weights": "half"}, "'half' is no pair"),
        ({"weights": ""}, "names none"),
        ({"voltage_pu": "1.1-0.9"}, "no band"),
    ],
)
def test_wrong_options_are_named(options, said):
    with pytest.raises(InputError, match=said):
        make_place(TripConfig(**options))


def test_sun_can_come_from_a_file_and_is_of_one_kilowatt_peak(tmp_path):
    file = tmp_path / "sun.csv"
    hours = pd.date_range("2024-05-28", periods=24, freq="h")
    file.write_text("time,kW\n" + "\n".join(f"{hour},{0.5 * (8 <= hour.hour < 20)}" for hour in hours))
    place = make_place(TripConfig(pv="691.1:4,100.2:6", pv_profile=file))
    assert place.pv_available_kw[[90, 150, 250]].tolist() == [[0.0, 0.0], [2.0, 3.0], [0.0, 0.0]]
    file.write_text("time,a,b\n" + "\n".join(f"{hour},1,1" for hour in hours))
    with pytest.raises(InputError, match="--pv-profile: holds 2 columns"):
        make_place(TripConfig(pv_profile=file))


def test_a_grid_with_units_of_its_own_is_told_what_to_leave_out(tmp_path):
    (tmp_path / "Master.dss").write_text(
        "Clear\nNew Circuit.own Bus1=a BasekV=0.4\nNew Line.l Bus1=a Bus2=b R1=0.1 X1=0.1 length=1\n"
        "New Load.home phases=1 kV=0.23 kW=1 Bus1=b.1\nRedirect CPs.dss\nSet VoltageBases=[0.4]\nCalcVoltageBases\n"
    )
    (tmp_path / "CPs.dss").write_text("New Load.CP_1  phases=1 kV=0.23 kW=0  pf=1 bus1=b.1\n")
    with pytest.raises(InputError, match=r"loads of its own called CP_1 .* put a '!' before 'Redirect CPs.dss'"):
        make_place(TripConfig(feeder=str(tmp_path / "Master.dss"), charge_points="b.1@12-13", pv="b.2:4"))


def test_wrong_options_are_named_all_at_once():
    with pytest.raises(InputError) as raised:
        TripConfig(charge_points="", pv="", weights="half", voltage_pu="high")
    assert {fault.key for fault in raised.value.faults} == {"--charge-points", "--pv", "--weights", "--voltage-pu"}


def test_weights_are_read_and_named_apart():
    assert parse_weights("0.5/0.5, 0.8/0.2") == ((0.5, 0.5), (0.8, 0.2))
    assert weights_name((0.333, 0.667)) != weights_name((0.334, 0.666))


def two_pv_units(limit_pu):
    """One line; a steady 10 A on each phase, less the PV units on phases 1 and 2, whose feed-in lifts the voltage."""

    def flow(kw):
        current_a = 10.0 - np.column_stack([kw, np.zeros(len(kw))])
        return np.abs(current_a)[:, None, :], 1.0 + 0.01 * kw

    return Local(flow, np.zeros(2), np.array([4.0, 6.0]), np.ones(2, dtype=bool), (0.9, limit_pu))


def test_descents_find_known_optima():
    """Least curtailment is the limit itself; without any feed-in the phases are level."""
    local = two_pv_units(1.03)
    least = local.least_curtailment(np.array([1.0, 1.0]))
    assert least == pytest.approx([3.0, 3.0], abs=1e-4)
    level = local.least_index(np.array([1.0, 2.0]))
    assert local.values(level[None, :])[0, 0] == pytest.approx(0.0, abs=1e-3)
    kw = local.least_index(np.array([1.0, 2.0]), most_cut=20.0)  # on the circle of cuts, both as little as can be
    cut, index = local.cut(kw[None, :])[0], local.values(kw[None, :])[0, 0]
    angle = np.linspace(0.0, np.pi / 2.0, 2001)
    circle = np.array([4.0, 6.0]) - np.sqrt(20.0) * np.column_stack([np.cos(angle), np.sin(angle)])
    circle = circle[[local.keeps(one) and (one >= 0).all() for one in circle]]
    assert cut <= 20.0 + 1e-5
    assert index == pytest.approx(local.values(circle)[:, 0].min(), rel=1e-3)
    assert two_pv_units(0.95).least_curtailment(np.array([1.0, 1.0])) is None  # the limit is below what nothing gives


def test_a_polished_front_keeps_its_limits_and_betters_its_start():
    local = two_pv_units(1.03)
    rough = np.array([[0.5, 1.0], [2.0, 1.0], [2.9, 2.0]])
    fine = polished(local, rough)
    values = local.values(fine)
    assert all(local.keeps(one) for one in fine)
    for row in local.values(rough):
        assert (values <= row + 1e-9).all(axis=1).any()
    assert len(fine) > len(rough)


BARE = {"f1_mean": 100.0, "neutral_current_mean_a": 10.0, "phase_current_mean_a": 5.0, "pv_use_percent": 90.0}


@pytest.mark.parametrize(
    ("f1", "neutral", "said"),
    [
        (40.0, 12.0, "the index praises what loads the neutral more"),
        (40.0, 9.0, "much less is gained"),
        (99.8, 9.0, "the index does not see"),
        (120.0, 9.0, "worse than no control"),
        (40.0, 4.0, "90 % of the PV used."),
    ],
)
def test_sentences_follow_the_numbers(f1, neutral, said):
    after = BARE | {"f1_mean": f1, "neutral_current_mean_a": neutral}
    assert said in of_control("Control", BARE, after)
    assert moves(0.4) == "hardly changes (+0.4 %)"
    assert moves(-12.0) == "falls by 12 %"
