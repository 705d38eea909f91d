"""Batteries, heat pumps and a device of one's own: physics against code that shares nothing with it, and the doors."""

import json
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import solve_ivp

from cosim import Setpoints, load
from cosim.contract import Units
from cosim.controllers.rules.dimming import Dimming
from cosim.devices.battery import Batteries, Battery
from cosim.devices.buildings import TwoNodes, draw_heat_pumps
from cosim.devices.heat_pump import HeatPump, cop, guaranteed_kw
from cosim.errors import ControllerError
from cosim.feeders.draw import DaySpec, draw_day
from cosim.households import Behaviour
from cosim.stepper import Stepper
from cosim.trajectory import Trajectory

DOCS = Path(__file__).parents[2] / "docs" / "devices.md"


def batteries(start_kwh=(4.0, 0.0, 8.0)) -> Units:
    each = np.ones(3)
    return Units(Battery, Batteries(8.0 * each, 3.0 * each, 0.9 * each, 0.8 * each, np.array(start_kwh)))


def heat_pumps(share: float = 1.0, **options) -> Units:
    given = {"loss_kw_per_k": 0.2, "backup_kw": 3.0} | options
    return Units(HeatPump, draw_heat_pumps(3, share, np.random.default_rng(4), **given))


@pytest.fixture
def world(two_bus, make_day):
    """A stepper on three homes, given devices and setpoints of a day; returns its trajectory."""

    def run(steps: int, asked: Setpoints | None = None, behaviour: Behaviour | None = None, **day) -> Trajectory:
        exogenous = make_day(two_bus, steps, **day)
        stepper = Stepper(two_bus, exogenous, engine="reduced", step_min=exogenous.step_min, behaviour=behaviour)
        stepper.reset()
        for _ in range(steps):
            stepper.step(asked or Setpoints.free(3))
        return stepper.trajectory()

    return run


def asked(cap_kw: float = np.inf, **channels: float) -> Setpoints:
    free = Setpoints.free(3)
    return replace(
        free, import_cap_kw=np.full(3, cap_kw), channels={name: np.full(3, kw) for name, kw in channels.items()}
    )


def test_a_battery_by_itself_takes_the_surplus_and_covers_the_deficit(world):
    sun_kw = np.repeat([[4.0], [0.5]], 12, axis=0) * np.ones(3)
    run = world(
        24, demand_kw=np.full((24, 3), 1.0), pv_available_kw=sun_kw, inverter_kva=5.0, devices={"battery": batteries()}
    )
    kw, content_kwh = run.channels["battery_kw"], run.channels["battery_soc_kwh"]
    # by hand, a step of 5 minutes: 3 kW of surplus into 90 %, then 0.5 kW out of 80 %
    for home, start_kwh in enumerate((4.0, 0.0, 8.0)):
        by_hand = start_kwh
        for step in range(24):
            wanted = 3.0 if step < 12 else -0.5
            most, least = (8.0 - by_hand) / 0.9 * 12, -by_hand * 0.8 * 12
            power = min(max(wanted, least), most, 3.0)
            by_hand += (power * 0.9 if power > 0 else power / 0.8) / 12
            assert kw[step, home] == pytest.approx(power)
            assert content_kwh[step, home] == pytest.approx(by_hand)
    measured = Battery.measure(run)
    assert measured["battery_losses_kwh"] == pytest.approx(
        measured["battery_charged_kwh"] - measured["battery_discharged_kwh"] - (content_kwh[-1].sum() - 12.0)
    )
    np.testing.assert_allclose(run.net_kw, run.consumption_kw - run.generation_kw, atol=1e-12)


def test_a_battery_follows_its_target_within_rating_content_and_cap(world):
    demand = {"demand_kw": np.full((6, 3), 2.0), "devices": {"battery": batteries()}}
    charged = world(6, asked(battery_target_kw=5.0), **demand).channels["battery_kw"]
    np.testing.assert_allclose(charged[0], [3.0, 3.0, 0.0])  # the third is full
    limited = world(6, asked(battery_target_kw=5.0, battery_limit_kw=1.0), **demand).channels["battery_kw"]
    np.testing.assert_allclose(limited[0], [1.0, 1.0, 0.0])
    capped = world(6, asked(1.5, battery_target_kw=5.0), **demand)
    np.testing.assert_allclose(capped.net_kw[:, 0], 1.5)  # its cap before what is asked of it
    assert capped.net_kw[0, 1] == pytest.approx(2.0)  # nothing in it to keep the cap with
    defied = world(6, asked(1.5), Behaviour(noncompliant=np.array([True, False, False])), **demand)
    np.testing.assert_allclose(defied.net_kw[0, [0, 2]], [0.0, 0.0])  # self-consumption asks for more than the cap


def test_two_nodes_of_heat_are_those_of_the_differential_equation():
    data = draw_heat_pumps(4, 1.0, np.random.default_rng(1), loss_kw_per_k=0.2, backup_kw=3.0)
    building, heat_kw = TwoNodes(data, 0.25), np.array([0.0, 2.0, 4.0, 8.0])
    for outdoor_c in (5.0, -5.0, -10.0):
        ahead_c, per_kw = building.ahead(outdoor_c)
        before = building.room_c, building.mass_c
        building.advance(outdoor_c, heat_kw)
        np.testing.assert_allclose(building.room_c, ahead_c + per_kw * heat_kw)
        for home in range(4):

            def change(_, state, home=home, outdoor_c=outdoor_c):
                room, mass = state
                between = data.coupling_kw_per_k[home] * (room - mass)
                out = data.loss_kw_per_k[home] * (room - outdoor_c)
                gain = heat_kw[home] + data.gains_kw[home]
                return (gain - out - between) / data.room_kwh_per_k[home], between / data.mass_kwh_per_k[home]

            end = solve_ivp(change, (0.0, 0.25), [before[0][home], before[1][home]], rtol=1e-10, atol=1e-10).y[:, -1]
            np.testing.assert_allclose([building.room_c[home], building.mass_c[home]], end, atol=1e-7)


def test_the_coefficient_of_performance_is_that_of_the_source():
    # 6.81 - 0.121 dT + 0.00063 dT^2 at lifts of 28, 43 and (held) 60 K
    np.testing.assert_allclose(
        cop(np.array([7.0, -3.0, -20.0]), np.array([35.0, 40.0, 55.0])), [3.91592, 2.77187, 1.818]
    )


def test_what_a_dimmed_heat_pump_keeps():
    np.testing.assert_allclose(guaranteed_kw(np.array([5.0, 11.0, 12.0, 20.0])), [4.2, 4.2, 4.8, 8.0])


def test_a_heat_pump_keeps_room_and_water_warm_and_its_heat_balance_closes(world):
    units = heat_pumps()
    run = world(288, ambient_c=np.full(288, 2.0), devices={"heat_pump": units}, demand_kw=np.full((288, 3), 0.3))
    room_c, data = run.channels["indoor_c"], units.data
    hour = np.array([time.hour for time in run.exogenous.times])
    assert HeatPump.measure(run)["comfort_short_max_kh"] < 3.0  # in the morning, after a lowered night
    assert (room_c[hour > 10] > data.wanted_c[hour[hour > 10]] - 2.0).all()  # water goes before
    assert run.channels["hot_water_c"].min() > 25.0
    # all heat that was made is lost, drawn as water, or still there
    drawn_kwh = run.channels["heat_pump_kw"].sum(axis=0) / 12
    lost_kwh = (data.loss_kw_per_k * (room_c - 2.0)).sum(axis=0) / 12 - 24 * data.gains_kw
    water_kwh = data.water_kw.reshape(7, -1, 3)[run.exogenous.start.weekday()].sum(axis=0) / 60
    mean_cop = (lost_kwh + water_kwh) / drawn_kwh
    assert (mean_cop > 2.2).all()
    assert (mean_cop < cop(2.0, 38.0)).all()
    assert HeatPump.measure(run)["heat_pump_kwh"] == pytest.approx(drawn_kwh.sum())


def test_longer_steps_draw_the_same_energy(world):
    fine = world(1440, ambient_c=np.full(1440, 2.0), devices={"heat_pump": heat_pumps()}, step_min=1.0)
    coarse = world(144, ambient_c=np.full(144, 2.0), devices={"heat_pump": heat_pumps()}, step_min=10.0)
    kwh = [HeatPump.measure(run)["heat_pump_kwh"] for run in (fine, coarse)]
    assert kwh[1] == pytest.approx(kwh[0], rel=0.03)


def test_a_limit_takes_the_backup_heater_first_and_cools_the_home(world):
    cold = {"ambient_c": np.full(144, -15.0), "devices": {"heat_pump": heat_pumps()}}
    free, limited = world(144, **cold), world(144, asked(heat_pump_limit_kw=1.5), **cold)
    assert free.channels["backup_heater_kw"].max() > 1.0
    assert limited.channels["heat_pump_kw"].max() <= 1.5 + 1e-9
    assert limited.channels["backup_heater_kw"].max() < 0.1
    assert limited.channels["indoor_c"][-1].max() < free.channels["indoor_c"][-1].min()
    assert HeatPump.measure(limited)["comfort_short_max_kh"] > HeatPump.measure(free)["comfort_short_max_kh"]


@pytest.mark.parametrize(("outdoor_c", "misses"), [(16.0, False), (-25.0, True)])
def test_warmth_is_missed_only_where_homes_are_heated(world, outdoor_c, misses):
    run = world(288, ambient_c=np.full(288, outdoor_c), devices={"heat_pump": heat_pumps(backup_kw=0.0)})
    assert run.channels["indoor_c"].min() < 20.0  # gains alone do not hold what is wanted
    assert (HeatPump.measure(run)["comfort_short_mean_kh"] > 0.0) == misses


def test_a_home_keeps_its_cap_with_all_its_devices(world, make_sessions):
    day = {
        "demand_kw": np.full((48, 3), 0.5), "ambient_c": np.full(48, 0.0),
        "sessions": make_sessions((0, 0.0, 240.0, 15.0, 7.4), (1, 0.0, 240.0, 15.0, 7.4), (2, 0.0, 240.0, 15.0, 7.4)),
        "devices": {"heat_pump": heat_pumps(), "battery": batteries((8.0, 8.0, 8.0))},
    }  # fmt: skip
    run = world(48, asked(3.0), Behaviour(response="immediate"), **day)
    assert run.net_kw.max() <= 3.0 + 1e-9
    assert run.ev_kw.max() > 3.0  # the battery carries what the cap does not leave
    assert run.degraded.sum() == 0


def test_what_is_expected_of_devices_is_what_they_do_by_themselves(two_bus, make_day):
    steps = 96
    devices = {"heat_pump": heat_pumps(), "battery": batteries()}
    sun_kw = np.repeat(np.linspace(0.0, 5.0, steps)[:, None], 3, axis=1)
    day = make_day(
        two_bus, steps, ambient_c=np.full(steps, 3.0), pv_available_kw=sun_kw, inverter_kva=5.0, devices=devices
    )
    stepper = Stepper(two_bus, day, engine="reduced", step_min=day.step_min)
    first = stepper.reset()
    for _ in range(steps):
        seen = stepper.step(Setpoints.free(3))
    run, expected = stepper.trajectory(), stepper.forecast.expected
    np.testing.assert_allclose(sum(run.devices_kw.values()), expected.devices_kw, atol=1e-9)
    drawn_kw = sum(kw.clip(0.0) for kw in run.devices_kw.values())
    np.testing.assert_allclose(drawn_kw, expected.devices_load_kw, atol=1e-9)  # no battery hides a heat pump
    np.testing.assert_allclose(first.devices_kw, expected.devices_kw[0])
    np.testing.assert_allclose(seen.devices_kw, run.channels["heat_pump_kw"][-1] + run.channels["battery_kw"][-1])
    np.testing.assert_allclose(seen.inflexible_kw, run.demand_kw[-1] + seen.devices_kw - sun_kw[-1])


def test_a_channel_that_no_device_has_is_refused(world):
    with pytest.raises(
        ControllerError, match=r"no channel batery_target_kw on this day \(there are: battery_target_kw"
    ):
        world(2, asked(batery_target_kw=1.0), devices={"battery": batteries()})
    with pytest.raises(ControllerError, match="battery_limit_kw is -1 at customer 0, not 0 to inf"):
        world(2, asked(battery_limit_kw=-1.0), devices={"battery": batteries()})


def test_dimming_dims_every_kind_that_keeps_something(two_bus, make_day):
    day = make_day(two_bus, 2, devices={"heat_pump": heat_pumps(backup_kw=9.0), "battery": batteries()})
    stepper = Stepper(two_bus, day, engine="reduced", step_min=day.step_min)
    seen, controller = stepper.reset(), Dimming(two_bus)
    over = replace(seen, limit_percent=np.full_like(seen.limit_percent, 120.0), net_kw=np.full(3, 5.0))
    channels = controller.decide(over).channels
    rated_kw = seen.channels["heat_pump_rated_kw"]
    np.testing.assert_allclose(channels["heat_pump_limit_kw"], np.where(rated_kw > 11.0, 0.4 * rated_kw, 4.2))
    np.testing.assert_allclose(channels["battery_limit_kw"], 4.2)
    assert (
        np.isinf(
            controller.decide(replace(seen, limit_percent=0 * seen.limit_percent)).channels["battery_limit_kw"]
        ).sum()
        == 0
    )


SCENARIO = """
name = "pools"
feeder = "two_bus"
start = 2026-06-15T08:00:00
horizon_h = 4
[battery]
share = 0.67
[devices.pool_pump]
device = "my_pump.py:PoolPump"
options = {{ share = {share} }}
[[runs]]
controller = "none"
"""


def test_a_kind_of_ones_own_is_one_file_and_one_line(tmp_path, cosim, monkeypatch):
    code = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)[0]
    (tmp_path / "my_pump.py").write_text(code.rpartition("\n\nprint")[0], encoding="utf-8")
    (tmp_path / "pools.toml").write_text(SCENARIO.format(share="1.0"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    code, _, err = cosim("run", "pools.toml", "--out", "out", "--no-figures", "--quiet")
    assert code == 0, err
    assert (
        "Devices of the kind pool_pump (my_pump.py:PoolPump) act by" in (tmp_path / "out" / "report.html").read_text()
    )
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))["controllers"]["none"]
    assert metrics["pool_pump_kwh"] == pytest.approx(3 * 1.1 * 2)  # from 10 to 12 h
    assert metrics["balance_error_percent"] < 0.1
    table = pd.read_parquet(tmp_path / "out" / "trajectories" / "none" / "customers.parquet")
    assert {"pool_pump_kw", "pool_pump_limit_kw", "battery_kw", "battery_soc_kwh"} <= set(table.columns)
    (tmp_path / "pools.toml").write_text(
        SCENARIO.format(share="1.0").replace("share = 1.0", "shares = 1"), encoding="utf-8"
    )
    code, _, err = cosim("check", "pools.toml")
    assert code == 2
    assert "my_pump.py" in err
    assert "unexpected keyword argument 'shares'" in err


BAD_DEVICE = """
import numpy as np
from cosim.devices import Device


class Lamp(Device):
    name = "lamp"

    @staticmethod
    def draw(feeder, day, rng):
        return len(feeder.customers)

    def __init__(self, data, feeder, day):
        self.kw = np.zeros(data)

    def power(self, moment):
        return {power}, 0.0 * self.kw

    def advance(self, step, kw, kvar):
        {advance}

    def observe(self):
        return {{{reading!r}: self.kw}}
"""


@pytest.mark.parametrize(
    ("bad", "code", "said"),
    [
        ({"power": "self.kw + np.nan"}, 3, "device 'lamp': power() is not finite at customer 0"),
        ({"power": "np.zeros(7)"}, 3, "device 'lamp': power() raised ValueError"),
        ({"advance": "1 / 0"}, 3, "device 'lamp': advance() raised ZeroDivisionError"),
        ({"reading": "kw"}, 2, "observe() reports no lamp_kw"),
    ],
)
def test_a_device_that_answers_badly_is_named(tmp_path, cosim, monkeypatch, bad, code, said):
    text = BAD_DEVICE.format(**{"power": "self.kw", "advance": "pass", "reading": "lamp_kw"} | bad)
    (tmp_path / "my_lamp.py").write_text(text, encoding="utf-8")
    scenario = SCENARIO.format(share="1.0").replace("options = { share = 1.0 }", "")
    scenario = scenario.replace("my_pump.py:PoolPump", "my_lamp.py:Lamp").replace("pool_pump", "lamp")
    (tmp_path / "lamps.toml").write_text(scenario, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    ended, out, err = cosim("run", "lamps.toml", "--out", "out", "--no-figures", "--quiet")
    assert ended == code
    assert said in re.sub(r"\s+", " ", out + err)


OWN = """
name = "own"
feeder = "two_bus"
start = 2026-01-15T06:00:00
horizon_h = 2
[battery]
units = "batteries.csv"
[heat_pump]
units = "pumps.csv"
water = "water.csv"
[weather]
outdoor_c = "outdoor.csv"
[[runs]]
controller = "none"
"""


def test_own_units_water_and_weather_are_joined_by_name(tmp_path):
    (tmp_path / "batteries.csv").write_text("customer,capacity_kwh,power_kw,start_share\nload3,10,4,0.5\nload1,5,2,1\n")
    (tmp_path / "pumps.csv").write_text("customer,compressor_kw,wanted_c\nload2,2.5,22\n")
    (tmp_path / "water.csv").write_text("load2,load1\n" + "0.5,9\n" * 1440)
    hours = pd.date_range("2026-01-15T00:00", periods=24, freq="h")
    pd.DataFrame({"time": hours, "air": 10.0 - 0.5 * np.arange(24.0)}).to_csv(tmp_path / "outdoor.csv", index=False)
    (tmp_path / "own.toml").write_text(OWN)
    day = load(tmp_path / "own.toml")
    names = [name.lower() for name in day.feeder.customers]
    rows = [names.index(f"load{number}") for number in (1, 2, 3)]
    stored, pumps = (day.exogenous.devices[name].data for name in ("battery", "heat_pump"))
    np.testing.assert_allclose(stored.capacity_kwh[rows], [5.0, 0.0, 10.0])
    np.testing.assert_allclose(stored.start_kwh[rows], [5.0, 0.0, 5.0])
    np.testing.assert_allclose(pumps.compressor_kw[rows], [0.0, 2.5, 0.0])
    assert pumps.wanted_c[12, rows[1]] == 22.0
    np.testing.assert_allclose(pumps.water_kw[:, rows].mean(axis=0), [0.0, 0.5, 0.0])
    np.testing.assert_allclose(day.exogenous.ambient_c[[0, 59, 60]], [7.0, 7.0, 6.5])
    run = day.run("none", engine="reduced")
    assert run.metrics["balance_error_max_percent"] < 0.1
    assert {"battery/batteries.csv", "heat_pump/pumps.csv", "weather/outdoor.csv"} <= set(day.inputs_sha256)
    assert not [warning for warning in day.warnings if "hot water" in warning]  # nobody without a heat pump needs any


def test_a_customer_above_low_voltage_is_drawn_no_household_devices(two_bus):
    feeder = replace(two_bus, customer_nominal_v=np.array([230.0, 11_000.0 / np.sqrt(3.0), 230.0]))
    spec = DaySpec(start=datetime(2026, 5, 15), minutes=1440, ev_share=1.0, pv_share=1.0)
    day = draw_day(feeder, spec, lambda name, _: np.random.default_rng(len(name)))
    assert set(day.sessions.customer.tolist()) == {0, 2}
    assert (day.inverter_kva > 0.0).tolist() == day.pv_available_kw.any(axis=0).tolist() == [True, False, True]
    rng, each = np.random.default_rng(1), {"share": 1.0, "kwh": 8.0, "kw": 3.0, "efficiency": 0.9, "start_share": 0.5}
    assert Battery.draw(feeder, day, rng, **each).rated_kw.tolist() == [3.0, 0.0, 3.0]
    pumps = HeatPump.draw(feeder, day, rng, share=0.5, loss_kw_per_k=0.2, backup_kw=3.0)
    assert [(pumps.rated_kw > 0.0).sum(), pumps.rated_kw[1]] == [1, 0.0]


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("batteries.csv", "customer,capacity_kwh\nload1,5\n", "power_kw: column is missing"),
        ("batteries.csv", "customer,capacity_kwh,power_kw\nload1,-5,1\n", "capacity_kwh"),
        ("pumps.csv", "customer,compressor_kw,kw\nload1,2,1\n", "unknown column"),
        ("water.csv", "load1\n" + "500\n" * 1440, "water"),
        ("outdoor.csv", "time,air\n2026-01-14T00:00,1\n2026-01-14T01:00,1\n", "not 2026-01-15 06:00:00"),
    ],
)
def test_bad_own_files_of_devices_are_named(tmp_path, cosim, file, text, said):
    files = {
        "batteries.csv": "customer,capacity_kwh,power_kw\nload3,10,4\n",
        "pumps.csv": "customer,compressor_kw\nload2,2.5\n",
        "water.csv": "load2\n" + "0.5\n" * 1440,
        "outdoor.csv": "air\n" + "1\n" * 1440,
    } | {file: text}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "own.toml").write_text(OWN)
    code, _, err = cosim("check", str(tmp_path / "own.toml"))
    assert code == 2
    assert file in err
    assert said in err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("share = 0.67", "share = 1.2", "battery.share"),
        ("share = 0.67", "kwh = 0", "battery.kwh"),
        ("share = 0.67", "effiency = 0.9", "battery.effiency"),
        ("[battery]\nshare = 0.67", "[heat_pump]\nbackup_kw = 40", "heat_pump.backup_kw"),
        ("[battery]\nshare = 0.67", "[weather]\noutdoor_c = 300", "outdoor_c: input should be less than"),
        ("[battery]\nshare = 0.67", '[weather]\noutdoor_c = "a.csv"', "weather.outdoor_c: there is no file"),
        ("my_pump.py:PoolPump", "my_pumps.py:PoolPump", "devices.pool_pump.device"),
    ],
)
def test_bad_tables_of_devices_are_named(tmp_path, cosim, old, new, said):
    (tmp_path / "my_pump.py").write_text("PoolPump = 1", encoding="utf-8")
    (tmp_path / "bad.toml").write_text(SCENARIO.format(share="1.0").replace(old, new), encoding="utf-8")
    code, _, err = cosim("check", str(tmp_path / "bad.toml"))
    assert code == 2
    assert said in err
    assert err.count("error:") == 1


SUMMER = """
name = "summer"
feeder = "two_bus"
start = 2026-07-15T00:00:00
horizon_h = 96
step_min = 60
control_min = 60
[ev]
share = 1.0
weekly_energy_kwh = {kwh}
[heat_pump]
share = 1.0
[weather]
outdoor_c = {outdoor}
[[runs]]
controller = "none"
"""


def test_rooms_are_heated_below_the_heating_limit_and_energy_that_is_not_kept_is_told(tmp_path):
    energies = {}
    for outdoor in (14.0, 16.0):
        (tmp_path / "summer.toml").write_text(SUMMER.format(kwh=70, outdoor=outdoor), encoding="utf-8")
        day = load(tmp_path / "summer.toml")
        energies[outdoor] = day.run("none", engine="reduced").metrics["heat_pump_kwh"]
    water_kwh = day.exogenous.devices["heat_pump"].data.water_kw.sum() / 60 * 4 / 7
    assert energies[16.0] < 1.2 * water_kwh / cop(16.0, 55.0)
    assert energies[14.0] > 1.3 * energies[16.0]
    assert not any("kWh a week" in warning for warning in day.warnings)
    (tmp_path / "summer.toml").write_text(SUMMER.format(kwh=480, outdoor=16.0), encoding="utf-8")
    assert any("not the 480 kWh asked for" in warning for warning in load(tmp_path / "summer.toml").warnings)
