import numpy as np
import pytest

from cosim.errors import InputError
from experiments import scenario as scenarios
from experiments.compose import compose


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


def test_stubborn_homes_are_counted():
    assert compose(changed(households={"stubborn_share": 0.34})).behaviour.stubborn.sum() == 1


def test_faults_of_several_parts_come_together():
    runs = [{"controller": "nonne"}, {"controller": "equal_share", "options": {"margin_pct": 10.0}}]
    with pytest.raises(InputError) as caught:
        compose(
            changed(runs=runs, households={"profiles": "march_weekday"}, pv={"cloud": "fog", "share": 1.0}), "mine.toml"
        )
    text = str(caught.value)
    assert "march_weekday" in text
    assert "fog" in text
    assert "nonne" in text
    with pytest.raises(InputError) as caught:
        compose(changed(runs=runs), "mine.toml")
    text = str(caught.value)
    assert "runs.1" in text
    assert "runs.2" in text
    assert "did you mean 'margin_percent'?" in text


def test_an_unknown_feeder_is_named_with_the_known_ones():
    with pytest.raises(InputError, match="european_lv"):
        compose(changed(feeder="european_mv"), "mine.toml")


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
