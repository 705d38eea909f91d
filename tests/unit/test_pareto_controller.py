"""The multi-objective controller on real runs: what it keeps, what it gains, and that it repeats itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pymoo.indicators.hv import HV

from cosim import Trajectory, controllers, experiments, load, run
from cosim.contract import Exogenous, Feeder, Float, Forecast, Observation, Prediction, Setpoints
from cosim.controllers.pareto.choice import RULES
from cosim.controllers.pareto.controller import Pareto
from cosim.controllers.pareto.decide import Method
from cosim.controllers.pareto.objectives import OBJECTIVES
from cosim.controllers.rules.none import NoControl
from cosim.errors import InputError
from cosim.measures import neutral_current_a, scoreboard
from cosim.record import write_trajectory
from cosim.reduced import ReducedNetwork

SMALL: dict[str, Any] = {"population": 16, "generations": 10}


class Counting(ReducedNetwork):
    """The real predictor, counting its calls."""

    calls = 0

    def predict(self, *candidates: Any) -> Prediction:
        self.calls += 1
        return super().predict(*candidates)


def dominated(front: Float) -> np.ndarray:
    """Rows that another row beats."""
    no_worse = (front[None, :, :] <= front[:, None, :]).all(axis=2)
    better = (front[None, :, :] < front[:, None, :]).any(axis=2)
    return np.asarray((no_worse & better).any(axis=1))


@pytest.fixture(scope="module")
def lopsided_night(
    european_lv: Feeder, make_day: Callable[..., Exogenous], make_sessions: Callable[..., Any]
) -> Exogenous:
    """Eight hours: cars on phases 1 and 2 want to charge from the start, the sun rises on phase 3 in the last two."""
    on_phase = [np.flatnonzero(european_lv.phase_matrix[:, phase]) for phase in range(3)]
    rows = [(c, 0.0, 420.0, 9.0, 7.4) for c in on_phase[0][:8]] + [(c, 0.0, 450.0, 9.0, 3.7) for c in on_phase[1][:4]]
    roofs = np.isin(np.arange(55), on_phase[2])
    sun = np.where(np.arange(96)[:, None] >= 72, 1.0 * roofs, 0.0)
    demand = np.random.default_rng(1).gamma(2.0, 0.15, (96, 55))
    return make_day(
        european_lv, 96, demand_kw=demand, demand_kvar=0.2 * demand, pv_available_kw=sun, inverter_kva=4.0 * roofs,
        sessions=make_sessions(*sorted(rows)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def both(european_lv: Feeder, lopsided_night: Exogenous) -> tuple[Trajectory, Trajectory]:
    """The same night without control and with."""
    controllers = NoControl(european_lv), Pareto(european_lv, ReducedNetwork(european_lv), control_min=30.0)
    none, pareto = (
        run(european_lv, lopsided_night, controller, engine="reduced", control_min=30.0) for controller in controllers
    )
    return none, pareto


def neutral_p95_a(trajectory: Trajectory) -> float:
    return float(np.percentile(neutral_current_a(trajectory.monitored_current_a[:, 0]), 95))


def test_less_neutral_current_and_every_car_served(both: tuple[Trajectory, Trajectory]) -> None:
    none, pareto = both
    assert neutral_p95_a(pareto) < 0.8 * neutral_p95_a(none)
    assert none.delivered_kwh == pytest.approx(9.0, abs=1e-6)
    assert pareto.delivered_kwh == pytest.approx(9.0, abs=1e-6)
    assert pareto.pv_kw == pytest.approx(none.pv_kw, abs=1e-9)  # no limit needs curtailment, so there is none
    runs = np.vstack([np.zeros(55, bool), pareto.ev_kw > 0.05])
    assert 1 <= (runs[1:] & ~runs[:-1]).sum(axis=0).max() <= 3


def test_every_front_is_kept_and_free_of_dominated_points(both: tuple[Trajectory, Trajectory]) -> None:
    trajectory = both[1]
    assert len(trajectory.decisions) == 16
    searched = {step: decision for step, decision in trajectory.decisions if decision.status == "convex"}
    assert len(searched) >= 15
    table = trajectory.table("front")
    assert table is not None
    assert list(table.columns) == ["step", "point", "chosen", "unbalance_current", "pv_curtailment"]
    fronts = dict(iter(table.groupby("step")))
    assert fronts.keys() == searched.keys()
    for step, decision in searched.items():
        assert not dominated(fronts[step].iloc[:, 3:].to_numpy()).any()
        assert fronts[step]["chosen"].sum() == 1
        assert np.isnan([decision.objective, decision.bound, decision.gap]).all()  # nothing is proven
        assert not decision.fallback
    assert max(map(len, fronts.values())) >= 8
    assert both[0].artifacts == {}


def test_fronts_are_judged_by_the_exact_one(both: tuple[Trajectory, Trajectory]) -> None:
    front, reference = both[1].table("front"), both[1].table("reference")
    assert front is not None
    assert reference is not None
    assert set(front["step"]) == set(reference["step"])
    metrics = scoreboard(both[1])
    assert metrics["hypervolume_ratio_mean"] > 0.9
    assert 0.5 < metrics["hypervolume_ratio_min"] <= metrics["hypervolume_ratio_mean"] <= 1.0
    assert 0.0 <= metrics["regret_mean_a"] < 3.0
    assert 0.0 <= metrics["regret_kwh"] < 1.5
    assert metrics["hypervolume_ratio_above_one"] <= 6.0  # by the curvature of the network
    assert np.isnan(scoreboard(both[0])["hypervolume_ratio_mean"])


@pytest.mark.parametrize("method", ["convex", "nsga2"])
def test_several_periods_and_three_objectives(
    two_bus: Feeder, make_day: Callable[..., Exogenous], make_sessions: Callable[..., Any], method: Method
) -> None:
    """A horizon of three hours, decided by either method: every car is served all the same."""
    cars = make_sessions((0, 0.0, 300.0, 9.0, 7.4), (1, 0.0, 200.0, 5.0, 3.7), (2, 70.0, 400.0, 6.0, 7.4))
    day = make_day(two_bus, 96, demand_kw=[0.5, 0.9, 0.2], sessions=cars)
    controller = Pareto(
        two_bus, ReducedNetwork(two_bus), objectives=("neutral_current", "losses", "ev_shortfall"),
        horizon_steps=3, method=method, population=12, generations=2, control_min=60.0,
    )  # fmt: skip
    trajectory = run(two_bus, day, controller, engine="reduced", control_min=60.0)
    assert trajectory.delivered_kwh == pytest.approx(np.array([9.0, 5.0, 6.0]), abs=1e-6)
    assert {decision.status for _, decision in trajectory.decisions} == {method, "idle"}
    assert not any(decision.fallback for _, decision in trajectory.decisions)
    table = trajectory.table("certificates")
    assert table is not None
    assert len(table) >= 3
    assert table["regret_a"].isna().all()  # of an objective that was not asked for


def test_what_is_not_convex_is_searched(two_bus: Feeder, make_day: Callable[..., Exogenous]) -> None:
    day = make_day(two_bus, 6, demand_kw=[0.5, 0.5, 0.9], pv_available_kw=[5.0, 1.0, 2.0], inverter_kva=5.0)
    controller = Pareto(two_bus, ReducedNetwork(two_bus), objectives=("vuf", "pv_curtailment"), rule="asf", **SMALL)
    trajectory = run(two_bus, day, controller, engine="reduced")
    assert {decision.status for _, decision in trajectory.decisions} == {"nsga2"}
    faults = controllers.option_faults("pareto", {"objectives": ["pui", "pv_curtailment"], "method": "convex"})
    assert [fault.key for fault in faults] == ["method"]


def test_an_objective_without_anything_to_act_on_is_refused(
    two_bus: Feeder, make_day: Callable[..., Exogenous]
) -> None:
    dark = Forecast("oracle", make_day(two_bus, 12))
    controller = Pareto(two_bus, ReducedNetwork(two_bus), objectives=("ev_shortfall", "pv_curtailment"))
    with pytest.raises(InputError) as caught:
        controller.plan(dark)
    assert [fault.key for fault in caught.value.faults] == ["objectives", "objectives"]
    assert "needs roofs" in str(caught.value)
    Pareto(two_bus, ReducedNetwork(two_bus)).plan(dark)  # by default it makes do with what there is


def test_faults_that_need_no_feeder() -> None:
    faults = controllers.option_faults("pareto", {"weights": [0.7, 0.7], "objectives": ["sleep", "cost"]})
    assert {fault.key for fault in faults} == {"weights", "objectives"}
    assert controllers.option_faults("pareto", {"objectives": ["vuf", "losses", "cost"], "horizon_steps": 4}) == []


def test_same_seed_same_decisions(two_bus: Feeder, make_day: Callable[..., Exogenous]) -> None:
    """A controller begins anew with every plan, and being judged changes nothing; another seed is another search."""
    day = make_day(two_bus, 6, demand_kw=[0.5, 0.5, 0.9], pv_available_kw=[5.0, 1.0, 2.0], inverter_kva=5.0)

    def limits(seed: int, *, certificate: bool = True) -> Float:
        controller = Pareto(
            two_bus, ReducedNetwork(two_bus), method="nsga2", rule="asf", seed=seed, certificate=certificate,
            certificate_seeds=False, **SMALL,
        )  # fmt: skip
        controller.plan(Forecast("oracle", day))
        return run(two_bus, day, controller, engine="reduced").pv_limit_kw

    assert (limits(0) == limits(0, certificate=False)).all()
    assert (limits(0) != limits(1)).any()


def test_nothing_is_evaluated_when_nothing_can_move(
    two_bus: Feeder, make_day: Callable[..., Exogenous], make_sessions: Callable[..., Any], scripted: type
) -> None:
    """Cars wait for the cheap hours that begin after two hours, and there is no sun."""
    tariff = np.where(np.arange(96) < 24, 0.3, 0.1)
    cars = make_sessions(*[(home, 0.0, 480.0, 8.0, 7.4) for home in range(3)])
    day = make_day(two_bus, 96, demand_kw=0.5, sessions=cars, tariff_eur_per_kwh=tariff)
    predictor = Counting(two_bus)
    controller = Pareto(two_bus, predictor, **SMALL)
    controller.plan(Forecast("oracle", day))
    calls = [predictor.calls]

    def decide(observation: Observation) -> Setpoints:
        setpoints = controller.decide(observation)
        calls.append(predictor.calls)
        return setpoints

    watched = scripted(decide)
    trajectory = run(two_bus, day, watched, engine="reduced")
    assert calls[:9] == calls[:1] * 9
    for setpoints in watched.answered[:8]:
        assert setpoints.decision.status == "idle"
        assert np.isinf(setpoints.ev_limit_kw).all()
        assert np.isinf(setpoints.pv_limit_kw).all()
    assert calls[9] > calls[8]
    assert watched.answered[8].decision.status == "convex"
    assert trajectory.delivered_kwh == pytest.approx(8.0, abs=1e-6)


def test_voltage_is_a_limit(two_bus: Feeder, make_day: Callable[..., Exogenous]) -> None:
    """Roofs lift two buses above 253 V without control; the forecast is exact, so with control they never do."""
    day = make_day(two_bus, 12, pv_available_kw=[75.0, 70.0, 65.0], inverter_kva=75.0)
    none = run(two_bus, day, NoControl(two_bus), engine="reduced")
    pareto = run(two_bus, day, Pareto(two_bus, ReducedNetwork(two_bus)), engine="reduced")
    assert none.voltage_v.max() > 255.0
    assert pareto.voltage_v.max() <= 253.0 + 1e-3
    assert pareto.transformer_percent.max() < none.transformer_percent.max()


SUNNY = {"pv_available_kw": [75.0, 70.0, 65.0], "inverter_kva": 75.0}


@pytest.mark.parametrize(("option", "axis"), [("max_curtailment_percent", 0), ("max_total_curtailment_percent", None)])
def test_no_more_is_curtailed_than_may_be(
    two_bus: Feeder, make_day: Callable[..., Exogenous], option: str, axis: int | None
) -> None:
    """Of each home or of all: voltages then stay above the limit, and the steps are named."""
    day = make_day(two_bus, 12, **SUNNY)
    controller = Pareto(two_bus, ReducedNetwork(two_bus), **{option: 5.0})
    pareto = run(two_bus, day, controller, engine="reduced")
    cut = (day.pv_available_kw - pareto.pv_kw).sum(axis=axis) / day.pv_available_kw.sum(axis=axis)
    assert 0.04 < np.max(cut) <= 0.05 + 1e-6
    assert pareto.voltage_v.max() > 253.1
    told = [decision.fallback for _, decision in pareto.decisions]
    assert all(f"step {step}: current of TR1 by " in told[2] for step in (6, 7, 8))


def test_ramps_are_a_limit(two_bus: Feeder, make_day: Callable[..., Exogenous]) -> None:
    """The sun comes out at once; what all homes feed in rises by no more than 4 kW from step to step."""
    sun = np.where(np.arange(24)[:, None] >= 6, np.array([5.0, 6.0, 4.0]), 0.0)
    day = make_day(two_bus, 24, demand_kw=0.3, pv_available_kw=sun, inverter_kva=6.0)
    free, held = (
        run(two_bus, day, Pareto(two_bus, ReducedNetwork(two_bus), max_ramp_kw=most), engine="reduced")
        for most in (np.inf, 4.0)
    )
    assert np.abs(np.diff(free.net_kw.sum(axis=1))).max() > 14.0
    assert np.abs(np.diff(held.net_kw.sum(axis=1))).max() <= 4.0 + 1e-3
    assert held.pv_kw[-1] == pytest.approx(sun[-1])  # and in the end all of it is fed in


def test_a_scenario_gives_the_time_between_its_decisions(tmp_path: Path) -> None:
    """Or limits would not hold in all of the first period; an option goes before it."""
    text = (Path(experiments.__file__).parent / "scenarios" / "two_bus_evening.toml").read_text(encoding="utf-8")
    scenario = tmp_path / "day.toml"
    scenario.write_text(text.replace("control_min = 15", "control_min = 30"), encoding="utf-8")
    day = load(scenario)
    assert day.made("pareto", {})._control_min == 30.0  # type: ignore[attr-defined]
    assert day.made("pareto", {"control_min": 60.0})._control_min == 60.0  # type: ignore[attr-defined]


def test_bad_options_are_named_together(two_bus: Feeder) -> None:
    with pytest.raises(InputError) as caught:
        Pareto(
            two_bus, ReducedNetwork(two_bus), objectives=("losses_of_sleep", "pv_curtailment"), weights=(0.5, 0.6),
            rule="best", population=2, generations=0, control_min=0.0,
        )  # fmt: skip
    keys = {fault.key for fault in caught.value.faults}
    assert keys == {"objectives", "weights", "rule", "population", "generations", "control_min"}


def test_limits_that_make_no_sense_are_named_with_the_rest(two_bus: Feeder) -> None:
    with pytest.raises(InputError) as caught:
        Pareto(
            two_bus, ReducedNetwork(two_bus), objectives=("losses_of_sleep", "cost"), voltage_limits_pu=(1.1, 0.9),
            loading_limit_percent=0.0, max_ramp_kw=-1.0, max_curtailment_percent=120.0, max_starts=0,
        )  # fmt: skip
    keys = sorted(fault.key for fault in caught.value.faults)
    assert keys == [
        "loading_limit_percent", "max_curtailment_percent", "max_ramp_kw", "max_starts", "objectives",
        "voltage_limits_pu",
    ]  # fmt: skip


def test_the_options_texts_name_all_that_can_be_chosen() -> None:
    texts = controllers.option_texts("pareto")
    assert all(texts.values())
    assert all(f"``{name}``" in texts["objectives"] for name in OBJECTIVES)
    assert all(f"``{name}``" in texts["rule"] for name in RULES)
    assert all(f"``{kind}``" in texts["method"] for kind in ("auto", "convex", "nsga2"))


def test_ratios_can_be_computed_again_from_the_files(both: tuple[Trajectory, Trajectory], tmp_path: Path) -> None:
    write_trajectory(both[1], tmp_path)
    certificates, front, reference = (
        pq.read_table(tmp_path / f"{name}.parquet").to_pandas() for name in ("certificates", "front", "reference")
    )
    names = ["unbalance_current", "pv_curtailment"]
    assert len(front) > 30
    for row in certificates.itertuples():
        zero, one = ([getattr(row, f"{name}_at_{end}") for name in names] for end in (0, 1))
        for table, expected in ((front, row.hypervolume), (reference, row.hypervolume_reference)):
            scaled = (table.loc[table.step == row.step, names].to_numpy() - zero) / (np.array(one) - zero)
            inside = scaled[(scaled < 1.0 + 1e-9).all(axis=1)]
            volume = float(HV(ref_point=np.ones(2))(inside)) if len(inside) else 0.0
            assert volume == pytest.approx(expected, abs=1e-9)
