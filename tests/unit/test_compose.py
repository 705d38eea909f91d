from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from cosim.contract.survey import LoadShape
from cosim.errors import InputError
from cosim.experiments import scenario as scenarios
from cosim.experiments.compose import compose
from cosim.feeders.draw import DaySpec, draw_day, feeder_demand


def changed(name="two_bus_evening", **updates):
    scenario = scenarios.read(name)
    data = scenario.model_dump()
    for key, value in updates.items():
        if isinstance(value, dict):
            data[key].update(value)
        else:
            data[key] = value
    return scenarios.parse(data, scenarios.find(name))


def test_same_seed_same_day_other_seed_another():
    first, again, other = (compose(changed(seed=seed)).exogenous for seed in (1, 1, 2))
    assert (first.demand_kw == again.demand_kw).all()
    assert (first.sessions.arrival_min == again.sessions.arrival_min).all()
    assert not np.array_equal(first.demand_kw, other.demand_kw)


def test_more_cars_leave_the_households_as_they_are():
    few, many = (compose(changed(ev={"share": share})).exogenous for share in (0.34, 1.0))
    assert (few.demand_kw == many.demand_kw).all()
    assert len(few.sessions) < len(many.sessions)


def test_forecasts_by_name():
    truth = compose(changed()).exogenous
    oracle, persistence, noisy = (
        compose(changed(forecast={"kind": kind})).forecast for kind in ("oracle", "persistence", "noisy")
    )
    assert (oracle.expected.demand_kw == truth.demand_kw).all()
    assert not np.allclose(persistence.expected.demand_kw, truth.demand_kw)
    assert not np.allclose(noisy.expected.demand_kw, truth.demand_kw)
    assert noisy.expected.demand_kw.mean() == pytest.approx(truth.demand_kw.mean(), rel=0.3)
    for forecast in (oracle, persistence, noisy):
        assert (forecast.expected.tariff_eur_per_kwh == truth.tariff_eur_per_kwh).all()
        sessions = forecast.expected.sessions
        stay_h = (sessions.departure_min - sessions.arrival_min) / 60
        assert (sessions.energy_need_kwh <= sessions.charger_kw * sessions.efficiency * stay_h + 1e-9).all()


def test_the_loads_of_the_feeders_own_file():
    day = compose(changed(households={"profiles": "feeder"}))
    assert (day.exogenous.demand_kw == day.feeder.load_kw).all()
    assert day.exogenous.demand_kvar[0] == pytest.approx(day.feeder.load_kvar)


def test_noncompliant_homes_are_counted():
    assert compose(changed(households={"noncompliant_share": 0.34})).behaviour.noncompliant.sum() == 1


def test_noncompliant_homes_are_drawn_from_the_seed_and_not_the_first_of_the_file():
    """The first homes of a file stand at the head of the feeder, where ignoring a cap does least."""
    day = compose(changed("european_lv_may_day", horizon_h=1, households={"noncompliant_share": 0.4}))
    other_seeds = [day.scenario.model_copy(update={"seed": seed}) for seed in range(1, 7)]
    drawn = [np.flatnonzero(replace(day, scenario=other).behaviour.noncompliant) for other in other_seeds]
    homes = len(day.feeder.customers)
    assert {len(rows) for rows in drawn} == {round(0.4 * homes)}
    assert len({tuple(rows) for rows in drawn}) == 6
    assert [rows.tolist() for rows in drawn if rows.max() == len(rows) - 1] == []
    # of six draws of 22 out of 55 a home's share of being in none is 5 %: nearly all have had their turn
    assert len(np.unique(np.concatenate(drawn))) > 0.8 * homes


def test_runs_may_differ_in_what_is_told_and_in_who_complies_but_in_nothing_else():
    runs = [
        {"controller": "none", "label": "as_all"},
        {"controller": "none", "label": "some", "noncompliant_share": 0.4, "forecast": "noisy"},
        {"controller": "none", "label": "more", "noncompliant_share": 0.8, "forecast": {"kind": "noisy"}},
    ]
    composition = compose(changed(runs=runs))
    as_all, some, more = composition.scenario.runs
    few, many = (composition.behaviour_of(run).noncompliant for run in (some, more))
    assert (few.sum(), many.sum()) == (1, 2)
    assert many[few].all()
    assert not composition.behaviour_of(as_all).noncompliant.any()
    assert composition.forecast_of(as_all).expected is composition.exogenous
    assert composition.forecast_of(some) is composition.forecast_of(more)
    alone = compose(changed(forecast={"kind": "noisy"})).forecast.expected
    assert (composition.forecast_of(some).expected.demand_kw == alone.demand_kw).all()


def test_a_forecast_by_the_day_before_is_told_of_even_where_only_one_run_has_it():
    own = {"profiles": "feeder"}
    runs = [{"controller": "none"}, {"controller": "none", "label": "b", "forecast": "persistence"}]
    warnings = compose(changed(runs=runs, households=own)).warnings
    assert sum("homes' demand perfectly" in warning for warning in warnings) == 1


def test_names_of_nothing_are_told_together_and_before_anything_is_made():
    runs = [{"controller": "nonne"}, {"controller": "equal_share", "options": {"margin_pct": 10.0}}]
    with pytest.raises(InputError) as caught:
        changed(
            feeder="two_buss", runs=runs, households={"profiles": "may_wekday"}, tariff="flat",
            pv={"cloud": "fog", "share": 1.0}, ev={"share": 0.0, "sessions": "nosess.csv"},
            metrics=["no_such.py:total", "total"],
        )  # fmt: skip
    faults = {fault.key: fault for fault in caught.value.faults}
    assert set(faults) == {
        "feeder", "tariff", "households.profiles", "ev.sessions", "pv.cloud", "runs.1.controller", "runs.2.margin_pct",
        "metrics",
    }  # fmt: skip
    assert "did you mean 'two_bus'?" in faults["feeder"].remedy
    assert "did you mean 'may_weekday'?" in faults["households.profiles"].remedy
    assert "did you mean 'none'?" in faults["runs.1.controller"].remedy
    assert "did you mean 'margin_percent'?" in faults["runs.2.margin_pct"].remedy


def test_faults_of_files_and_of_controllers_come_together(tmp_path):
    homes, cars = tmp_path / "homes.csv", tmp_path / "cars.csv"
    homes.write_text("time,home\n2026-01-15T12:00,0.5\n2026-01-15T12:30,0.5\n", encoding="utf-8")
    cars.write_text(
        "customer,arrival,departure,energy_kwh,charger_kw\nX1,2026-01-15T18:00,2026-01-15T19:00,3,-7.4\n",
        encoding="utf-8",
    )
    runs = [{"controller": "equal_share", "options": {"margin_percent": -5.0}}]
    scenario = changed(
        runs=runs, households={"profiles": str(homes)}, ev={"share": 0.0, "sessions": str(cars)}, metrics=[f"{cars}:f"]
    )
    with pytest.raises(InputError) as caught:
        compose(scenario, "mine.toml")
    assert {"time", "customer", "charger_kw", "runs.1.margin_percent"} <= {fault.key for fault in caught.value.faults}


def yearly(feeder, interval_min=60.0, days=365):
    """Give every load of a feeder one shape whose value is the day of the year."""
    kw = np.repeat(np.arange(1.0, days + 1), int(1440 // (interval_min or 60)))
    return replace(feeder, load_shapes=(LoadShape(interval_min, kw, kw / 4),) * len(feeder.customers))


def test_a_yearly_shape_is_entered_at_its_day_of_the_year(two_bus):
    begin = datetime(2026, 5, 15, 12)
    demand_kw, _ = feeder_demand(yearly(two_bus), begin, 1440)
    assert (demand_kw[:720] == 135).all()  # 31 + 28 + 31 + 30 + 15
    assert (demand_kw[720:] == 136).all()
    over_new_year, _ = feeder_demand(yearly(two_bus), datetime(2026, 12, 31, 12), 1440)
    assert set(over_new_year[:720].ravel()) == {365.0}
    assert set(over_new_year[720:].ravel()) == {1.0}
    a_week, _ = feeder_demand(yearly(two_bus, days=7), begin, 720)
    assert (a_week == 1).all()


def test_the_day_before_has_the_shapes_of_the_day_before_and_the_homes_their_power_factor(two_bus):
    of_the_file = DaySpec(start=datetime(2026, 5, 15, 12), minutes=60, profiles="feeder")
    today, before = (draw_day(yearly(two_bus), of_the_file, streams, day=day) for day in (0, -1))
    assert (set(today.demand_kw.ravel()), set(before.demand_kw.ravel())) == ({135.0}, {134.0})
    drawn = draw_day(two_bus, replace(of_the_file, profiles="may_weekday", power_factor=0.9), streams)
    np.testing.assert_allclose(np.hypot(drawn.demand_kw, drawn.demand_kvar) * 0.9, drawn.demand_kw)


def streams(_part, _customers):
    return np.random.default_rng(1)


def test_a_shape_without_an_interval_is_refused(two_bus):
    with pytest.raises(InputError, match="interval=0") as caught:
        feeder_demand(yearly(two_bus, interval_min=0.0), datetime(2026, 5, 15), 60)
    assert len(caught.value.faults) == len(two_bus.customers)


def test_a_forecast_by_the_day_before_that_is_the_same_day_is_told(tmp_path):
    customer = compose(changed()).feeder.customers[0]
    cars = tmp_path / "cars.csv"
    cars.write_text(
        f"customer,arrival,departure,energy_kwh,charger_kw\n{customer},2026-01-15T18:00,2026-01-15T22:00,5,7.4\n",
        encoding="utf-8",
    )
    own = {"households": {"profiles": "feeder"}, "ev": {"share": 0.0, "sessions": str(cars)}}
    told = compose(changed(forecast={"kind": "persistence"}, **own)).warnings
    assert sum("homes' demand perfectly" in warning for warning in told) == 1
    assert sum("cars' sessions perfectly" in warning for warning in told) == 1
    for kind, parts in (("persistence", {}), ("oracle", own)):
        assert not any(
            "perfectly" in warning for warning in compose(changed(forecast={"kind": kind}, **parts)).warnings
        )


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_profiles_that_several_homes_share_are_told(tmp_path, columns):
    path = tmp_path / "own.csv"
    path.write_text("\n".join([",".join("abc"[:columns])] + [",".join(["0.5"] * columns)] * 1440), encoding="utf-8")
    composition = compose(changed(households={"profiles": str(path), "join": "draw"}))
    assert len(composition.feeder.customers) == 3
    assert any("several homes share one" in warning for warning in composition.warnings) == (columns < 3)


def test_an_unknown_feeder_is_named_with_the_known_ones():
    with pytest.raises(InputError, match="european_lv"):
        changed(feeder="european_mv")


def test_a_car_that_nothing_could_serve(tmp_path):
    customer = compose(changed()).feeder.customers[0]
    cars = tmp_path / "cars.csv"
    cars.write_text(
        f"customer,arrival,departure,energy_kwh,charger_kw\n{customer},2026-01-15T18:00,2026-01-15T19:00,30,7.4\n",
        encoding="utf-8",
    )
    lenient = compose(changed(ev={"share": 0.0, "sessions": str(cars)}))
    assert sum("nothing could serve" in warning for warning in lenient.warnings) == 1
    with pytest.raises(InputError, match="nothing could serve"):
        compose(changed(ev={"share": 0.0, "sessions": str(cars)}, strict=True))
