"""Load and no-load loss of transformers: by tier, in the power flow, and in the thermal model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import opendssdirect
import pytest

import cosim
from cosim import feeders
from cosim.contract import OilTransformer, TransformerSpec
from cosim.controllers import make as make_controller
from cosim.errors import InputError
from cosim.experiments.report import assumptions
from cosim.experiments.scenario import read
from cosim.feeders.catalogue import tier_losses_percent
from cosim.measures.areas import hot_spot_c, loss_ratio, worst_hot_spot_c
from oracles import textbook

Make = Callable[..., Any]

SCENARIO = """name = "winter"
feeder = "two_bus"
start = 2026-01-15T16:00:00
horizon_h = 1
[grid]
transformer = { kva = 160, tier = TIER }
[thermal]
ambient_surcharge_k = 10.0
[[runs]]
controller = "none"
"""


@pytest.mark.parametrize(
    ("kva", "tier", "load_w", "no_load_w"),
    [
        (160, 1, 2350, 210),
        (160, 2, 1750, 189),
        (25, 1, 900, 70),
        (400, 1, 4600, 430),
        (630, 2, 4600, 540),
        (3150, 1, 27_500, 2200),
        # between two ratings the regulation interpolates; below the smallest its losses are the most that is allowed
        (200, 2, 1750 + 600 * 40 / 90, 189 + 81 * 40 / 90),
        (15, 1, 900, 70),
    ],
)
def test_what_the_regulation_allows(kva: float, tier: int, load_w: float, no_load_w: float) -> None:
    load, no_load = tier_losses_percent(kva, tier) or (np.nan, np.nan)
    assert (load * kva * 10, no_load * kva * 10) == pytest.approx((load_w, no_load_w))


def test_the_table_keeps_its_own_rule() -> None:
    """Every machine loses more than a smaller one, of tier 2 less than of tier 1, and the iron of tier 2 10 % less."""
    ratings = (25, 50, 100, 160, 250, 315, 400, 500, 630, 800, 1000, 1250, 1600, 2000, 2500, 3150)
    by_tier = np.array([[tier_losses_percent(kva, tier) for kva in ratings] for tier in (1, 2)], dtype=float)
    watts = 10.0 * by_tier * np.array(ratings)[:, None]
    assert (np.diff(watts, axis=1) > 0.0).all()
    assert (watts[0] > watts[1]).all()
    np.testing.assert_allclose(watts[1, :, 1], 0.9 * watts[0, :, 1], atol=0.5)


def test_what_the_regulation_does_not_say() -> None:
    assert tier_losses_percent(3151, 2) is None


def test_the_default_machine_loses_what_tier_1_allows() -> None:
    machine = read("european_lv_may_day").grid.transformer
    assert machine is not None
    assert machine.load_loss_percent == pytest.approx((tier_losses_percent(160, 1) or (0.0,))[0], abs=0.005)


@pytest.mark.parametrize("engine", ["opendss", "reduced"])
def test_iron_is_lost_by_the_square_of_the_voltage_in_both_engines(make_day: Make, engine: str) -> None:
    place = feeders.load("two_bus", source_pu=1.05, transformer=TransformerSpec(160.0, 4.0, 1.47, 0.131))
    nobody = cosim.run(place, make_day(place, 2), make_controller("none", place), control_min=5, engine=engine)
    assert nobody.losses.no_load == pytest.approx(0.00131 * 160.0 * 1.05**2, rel=1e-4)
    assert nobody.losses.total == pytest.approx(nobody.losses.no_load, rel=1e-3)
    assert nobody.source_kw == pytest.approx(nobody.losses.total)
    loaded = cosim.run(
        place, make_day(place, 2, demand_kw=10.0), make_controller("none", place), control_min=5, engine=engine
    )
    low_v = loaded.node_v[:, [place.network.node_names.index(f"1.{phase}") for phase in (1, 2, 3)]]
    iron_s = 0.00131 * 160e3 / 400**2  # of each phase, at the low-voltage terminals
    assert loaded.losses.no_load == pytest.approx(iron_s * (np.abs(low_v) ** 2).sum(axis=1) / 1e3)
    winding_a = np.abs(loaded.transformer_current_a + iron_s * low_v)  # which windings carry too
    winding_kw = (0.0147 * 160 / 3 * (winding_a / (160e3 / 400 / 3**0.5)) ** 2).sum(axis=1)
    assert loaded.losses.transformers - loaded.losses.no_load == pytest.approx(winding_kw, rel=1e-4)


def test_iron_of_the_files_own_machine_is_counted_and_another_machine_brings_its_own() -> None:
    own = feeders.load("rural_four_wire")
    assert own.network.branch("TR1").loss_percent == pytest.approx((1.46875, 0.2875))
    assert loss_ratio(own, "TR1") == pytest.approx(1.46875 / 0.2875)
    other = feeders.load("rural_four_wire", transformer=TransformerSpec(160.0))
    assert other.network.branch("TR1").loss_percent == pytest.approx((1.5, 0.0))
    assert other.network.branch("TR1").no_load_s is None
    assert loss_ratio(other, "TR1") == 5.0
    dss = opendssdirect.NewContext()
    dss.Basic.AllowChangeDir(False)
    dss.Text.Command(f'compile "{own.master}"')
    dss.Text.Command("batchedit load..* enabled=no")
    dss.Solution.Solve()
    dss.Circuit.SetActiveElement("Transformer.TR1")
    branch = own.network.branch("TR1")
    assert branch.no_load_s is not None
    v = np.where(branch.nodes >= 0, own.network.no_load_v[branch.nodes], 0.0)
    lost_kw = (v * (branch.no_load_s @ v).conj()).sum().real / 1e3
    assert lost_kw == pytest.approx(dss.CktElement.Losses()[0] / 1e3, rel=1e-3)


def test_machines_in_parallel_have_the_ratio_of_their_sums(two_bus: Any) -> None:
    branch = two_bus.network.branch("TR1")
    pair = [
        replace(branch, name=name, loss_percent=percent, rating_a=rating)
        for name, percent, rating in (("A", (1.4, 0.2), 100.0), ("B", (1.0, 0.1), 300.0))
    ]
    area = replace(two_bus.areas[0], name="A+B", transformers=("A", "B"))
    place = replace(two_bus, network=replace(two_bus.network, branches=tuple(pair)), areas=(area,), monitored=())
    assert loss_ratio(place, "A+B") == pytest.approx((1.4 * 100 + 1.0 * 300) / (0.2 * 100 + 0.1 * 300))
    assert loss_ratio(replace(place, thermal=OilTransformer(loss_ratio=7.0)), "A+B") == 7.0
    assert loss_ratio(place, None) == 5.0


@pytest.mark.parametrize(("tier", "ratio"), [(1, 2350 / 210), (2, 1750 / 189)])
def test_the_machine_of_a_scenario_has_its_losses_in_the_hot_spot_too(tmp_path: Path, tier: int, ratio: float) -> None:
    (tmp_path / "winter.toml").write_text(SCENARIO.replace("TIER", str(tier)), encoding="utf-8")
    day = cosim.load(tmp_path / "winter.toml")
    run = day.run("none").trajectory
    ambient_c = run.exogenous.ambient_c + 10.0
    by_hand = textbook.hot_spot(run.area_percent() / 100.0, ambient_c, 5.0, loss_ratio=ratio)
    assert worst_hot_spot_c(run) == pytest.approx(by_hand, abs=1e-9)
    assert hot_spot_c(run, run.feeder.areas[-1].name) == pytest.approx(by_hand, abs=1e-9)
    said = "\n".join(assumptions(day, "opendss"))
    assert f"Transformer TR1: load loss {1.47 if tier == 1 else 1.09:g} % of rating, no-load loss 0.1" in said
    assert f"R = {ratio:.3g}." in said
    assert "10 K warmer around it than outdoors" in said


def test_the_report_says_where_iron_is_missing() -> None:
    said = assumptions(cosim.load("two_bus_evening"), "opendss")
    line = "Transformer TR1: load loss 1.5 % of rating, no-load loss: none given, so losses lack the iron, R = 5."
    assert line in said


@pytest.mark.parametrize(
    ("key", "value"), [("top_oil_rise_k", 0.0), ("k21", 0.9), ("loss_ratio", np.nan), ("ambient_surcharge_k", -1.0)]
)
def test_thermal_constants_that_are_none(key: str, value: float) -> None:
    with pytest.raises(InputError, match=f"OilTransformer: {key}"):
        OilTransformer(**{key: value})
