"""The realistic day: shipped households against the published diversity, sun, tariff, temperature."""

from __future__ import annotations

import importlib.util
import sys
from datetime import datetime
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from cosim.errors import InputError
from cosim.feeders.clock import Clock
from cosim.feeders.clouds import CLOUDS, clear_sky_index, partly_cloudy_day
from cosim.feeders.find import DATA, household_sets
from cosim.feeders.households import admd_kw, draw_households, read_profiles
from cosim.feeders.prices import tariff_eur_per_kwh
from cosim.feeders.profiles import ambient_temperature_c, clear_sky, draw_pv, specific_power

NOON = datetime(2026, 5, 15, 12)
MANCHESTER = (53.48, -2.24)
IEEE_PROFILES = Path(__file__).parents[3] / "shared/reference/ieee_european_lv/opendss/Daily_1min_100profiles"

# Diversity of the 100 profiles of the IEEE European LV test feeder, one winter-like day; january_weekday follows it.
GROUPS = (1, 5, 10, 25, 55, 100)
IEEE_ADMD_KW = (4.68, 2.27, 1.68, 1.15, 0.89, 0.743)
IEEE_ENERGY_KWH = {"mean": 8.42, "median": 7.19}
IEEE_PERCENTILES_KW = {5: 0.045, 50: 0.182, 95: 1.142, 99: 3.247}
TOLERANCE = 0.08


def days_of(name: str) -> np.ndarray:
    """Shape (day, minute, home) [kW]."""
    return read_profiles(name, Clock(NOON)).means.reshape(3, 1440, -1)


def mean_admd_kw(days_kw: np.ndarray, draws: int = 120) -> np.ndarray:
    return np.mean([admd_kw(day_kw, GROUPS, np.random.default_rng(7), draws=draws) for day_kw in days_kw], axis=0)


def test_four_seasons_of_a_hundred_homes_and_three_days_are_shipped_in_little_space() -> None:
    assert household_sets() == ("january_weekday", "july_weekday", "may_weekday", "october_weekday")
    for name in household_sets():
        demand_kw = read_profiles(name, Clock(NOON)).means
        assert demand_kw.shape[0] == 3 * 1440
        assert demand_kw.shape[1] >= 100
        assert demand_kw.min() > 0
        assert demand_kw.max() < 20
    assert sum(path.stat().st_size for path in DATA.glob("*.parquet")) < 2e6


def test_january_has_the_published_energy_and_spread_of_power() -> None:
    days_kw = days_of("january_weekday")
    energy_kwh = days_kw.sum(axis=1) / 60
    assert energy_kwh.mean() == pytest.approx(IEEE_ENERGY_KWH["mean"], rel=TOLERANCE)
    assert np.median(energy_kwh) == pytest.approx(IEEE_ENERGY_KWH["median"], rel=TOLERANCE)
    found_kw = np.percentile(days_kw, list(IEEE_PERCENTILES_KW))
    np.testing.assert_allclose(found_kw, list(IEEE_PERCENTILES_KW.values()), rtol=TOLERANCE)


def test_january_has_the_published_diversity() -> None:
    np.testing.assert_allclose(mean_admd_kw(days_of("january_weekday")), IEEE_ADMD_KW, rtol=TOLERANCE)


def test_january_has_the_diversity_of_the_ieee_profiles_themselves() -> None:
    files = sorted(IEEE_PROFILES.glob("load_profile_*.txt"))
    if not files:
        pytest.skip(f"reference profiles are not beside the project ({IEEE_PROFILES})")
    ieee_kw = np.column_stack([np.loadtxt(file) for file in files])
    expected_kw = admd_kw(ieee_kw, GROUPS, np.random.default_rng(7), draws=400)
    np.testing.assert_allclose(mean_admd_kw(days_of("january_weekday")), expected_kw, rtol=0.10)


def test_other_seasons_use_less_and_stay_as_diverse() -> None:
    energy_kwh = {name: days_of(name).sum(axis=1).mean() / 60 for name in household_sets()}
    assert energy_kwh["july_weekday"] < energy_kwh["may_weekday"] < energy_kwh["october_weekday"]
    assert energy_kwh["october_weekday"] < energy_kwh["january_weekday"]
    for name in household_sets():
        admd = mean_admd_kw(days_of(name), draws=40)
        assert (np.diff(admd) < 0).all()
        assert 4.5 < admd[0] / admd[-1] < 8.5


def test_admd_of_known_loads() -> None:
    demand_kw = np.array([[3.0, 0.0], [0.0, 1.0]])  # peaks of 3 and 1 kW that never meet
    np.testing.assert_allclose(admd_kw(demand_kw, (1, 2), np.random.default_rng(0)), [2.0, 1.5])
    three_kw = np.array([[3.0, 3.0, 0.0], [0.0, 0.0, 3.0]])  # pairs: one of three meets, peaks 6, 3 and 3 kW
    assert admd_kw(three_kw, (2,), np.random.default_rng(0), draws=4000)[0] == pytest.approx(2.0, abs=0.05)
    with pytest.raises(ValueError, match="between 1 and 2"):
        admd_kw(demand_kw, (3,), np.random.default_rng(0))


def test_households_are_seeded_distinct_and_know_their_yesterday() -> None:
    def draw(seed: int, start: datetime = NOON, day: int = 0) -> np.ndarray:
        return draw_households("may_weekday", 55, start, 1440, np.random.default_rng(seed), day=day)

    first = draw(1)
    assert first.shape == (1440, 55)
    np.testing.assert_array_equal(first, draw(1))
    assert not np.array_equal(first, draw(2))
    assert len({column.tobytes() for column in first.T}) == 55
    # the morning of a day from noon is the evening's tomorrow, and yesterday's second half is today's first
    midnight = draw(1, datetime(2026, 5, 15))
    np.testing.assert_array_equal(first[:720], midnight[720:])
    np.testing.assert_array_equal(draw(1, day=-1)[720:], midnight[:720])
    np.testing.assert_array_equal(draw(1, day=1)[:720], draw(1, datetime(2026, 5, 16), day=1)[720:])


def test_more_customers_than_homes_begin_a_second_round() -> None:
    demand_kw = draw_households("may_weekday", 200, NOON, 60, np.random.default_rng(3))
    homes = read_profiles("may_weekday", Clock(NOON)).means.shape[1]
    names = [column.tobytes() for column in demand_kw.T]
    assert len(set(names[:homes])) == homes
    assert len(set(names)) == homes


def test_the_shipped_sets_are_what_their_script_makes() -> None:
    script = _script("make_households")
    made = script.make_set(script.SEASONS["january_weekday"], 0)
    assert made.shape == (3 * 1440, script.HOMES)
    assert made.dtype == np.int16
    # not bit by bit: another processor rounds a logarithm otherwise, and the draws part from there
    shipped_kw = read_profiles("january_weekday", Clock(NOON)).means
    assert made.mean() / 1000 == pytest.approx(shipped_kw.mean(), rel=0.05)


def test_clear_sky_yields_of_a_south_roof_in_manchester() -> None:
    for day, expected_kwh, expected_peak_kw in (
        (datetime(2026, 6, 21), 6.79, 0.805),
        (datetime(2026, 1, 10), 2.24, 0.470),
    ):
        yield_kw = specific_power(clear_sky(*MANCHESTER, day, 1440), 35.0, 180.0)
        assert yield_kw.sum() / 60 == pytest.approx(expected_kwh, rel=0.04)
        assert yield_kw.max() == pytest.approx(expected_peak_kw, rel=0.04)
        assert abs(int(yield_kw.argmax()) - 12 * 60) < 30


def test_south_of_the_equator_roofs_face_north() -> None:
    fleet = draw_pv(10, 1.0, 1.0, -35.0, 149.0, datetime(2026, 7, 1), 1440, np.random.default_rng(0), cloud="clear")
    assert fleet.pv_available_kw.sum() / 60 / 10 > 2.5
    assert abs(int(fleet.pv_available_kw.sum(axis=1).argmax()) - 12 * 60) < 60


def test_roofs_are_seeded_differ_and_keep_to_their_inverters() -> None:
    def draw(seed: int, **options: object) -> object:
        return draw_pv(55, 0.6, 4.0, *MANCHESTER, NOON, 1440, np.random.default_rng(seed), **options)

    fleet, again, other = draw(1), draw(1), draw(2)
    np.testing.assert_array_equal(fleet.pv_available_kw, again.pv_available_kw)
    assert not np.array_equal(fleet.pv_available_kw, other.pv_available_kw)
    assert np.count_nonzero(fleet.kwp) == 33
    assert set(fleet.kwp) == {0.0, 4.0}
    assert ((fleet.inverter_kva > 0) == (fleet.kwp > 0)).all()
    assert (fleet.pv_available_kw <= fleet.inverter_kva + 1e-12).all()
    assert fleet.pv_available_kw.min() >= 0
    assert fleet.pv_available_kw[13 * 60 : 15 * 60].max() == 0  # night
    assert len({column.tobytes() for column in fleet.pv_available_kw.T}) == 34
    yesterday = draw(1, day=-1)
    np.testing.assert_array_equal(yesterday.inverter_kva, fleet.inverter_kva)
    assert not np.array_equal(yesterday.pv_available_kw, fleet.pv_available_kw)


def test_where_the_sun_is_stronger_than_the_inverter_the_inverter_decides() -> None:
    """Cold, bright and between clouds: nowhere else do roofs give more than the smallest inverters can."""
    fleet = draw_pv(30, 1.0, 4.0, 35.0, 0.0, datetime(2026, 2, 15, 10), 240, np.random.default_rng(1))
    most = fleet.pv_available_kw.max(axis=0) / fleet.inverter_kva
    assert most.max() == 1.0
    assert np.count_nonzero(most == 1.0) < 15


def test_an_edge_of_a_cloud_takes_two_minutes_to_pass() -> None:
    day = np.array([partly_cloudy_day(np.random.default_rng(seed)) for seed in range(5)])
    in_one, in_two = (np.abs(day[:, step:] - day[:, :-step]).max() for step in (1, 2))
    assert in_two > 0.55  # out of the sun and behind a thick cloud
    assert in_one < 0.75 * in_two


def test_kinds_of_sky_differ_in_energy_and_in_ramps() -> None:
    energy_kwh, ramp_kw = {}, {}
    for cloud in CLOUDS:
        fleet = draw_pv(55, 0.6, 4.0, *MANCHESTER, NOON, 1440, np.random.default_rng(1), cloud=cloud)
        total_kw = fleet.pv_available_kw.sum(axis=1)
        energy_kwh[cloud] = total_kw.sum() / 60 / fleet.kwp.sum()
        ramp_kw[cloud] = np.abs(np.diff(total_kw)).max() / fleet.kwp.sum()
    assert energy_kwh["overcast"] < 0.5 * energy_kwh["clear"]
    assert 0.6 < energy_kwh["partly_cloudy"] / energy_kwh["clear"] < 0.9
    assert ramp_kw["partly_cloudy"] > 0.1 > ramp_kw["overcast"] > ramp_kw["clear"]


def test_a_day_of_clouds_is_the_same_from_every_horizon() -> None:
    whole = clear_sky_index("partly_cloudy", datetime(2026, 5, 15), 2 * 1440, root=5)
    noon = clear_sky_index("partly_cloudy", NOON, 1440, root=5)
    np.testing.assert_array_equal(noon, whole[720 : 720 + 1440])
    np.testing.assert_array_equal(clear_sky_index("partly_cloudy", NOON, 720, root=5, day=1), whole[720 + 1440 :])


def test_roofs_refuse_what_cannot_be() -> None:
    with pytest.raises(InputError) as caught:
        draw_pv(55, 1.2, -1.0, 99.0, 0.0, NOON, 60, np.random.default_rng(0), cloud="foggy")
    assert [fault.key for fault in caught.value.faults] == ["share", "kwp", "latitude", "cloud"]


def test_three_band_tariff_by_the_clock() -> None:
    price = tariff_eur_per_kwh(NOON, 1440)
    by_clock = np.roll(price, 720)
    for hour, expected in ((0, 0.12), (6, 0.12), (7, 0.22), (15, 0.22), (16, 0.32), (19, 0.32), (20, 0.22), (23, 0.12)):
        assert by_clock[hour * 60] == expected
        assert by_clock[hour * 60 + 59] == expected
    with pytest.raises(InputError, match="three_band"):
        tariff_eur_per_kwh(NOON, 60, "agile")


def test_temperature_follows_month_day_and_place() -> None:
    may = ambient_temperature_c(datetime(2026, 5, 15), 1440)
    assert (may.min(), may.max()) == (pytest.approx(7.7), pytest.approx(16.1))
    assert may.argmax() == 15 * 60
    assert ambient_temperature_c(datetime(2026, 1, 15), 1440).mean() == pytest.approx(4.5)
    assert ambient_temperature_c(datetime(2026, 1, 15), 1440, latitude=-35.0).mean() > 20
    assert ambient_temperature_c(datetime(2026, 5, 31, 23, 30), 90).shape == (90,)


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DATA / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
