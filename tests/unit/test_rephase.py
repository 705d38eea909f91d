"""Re-phasing: the best moves by enumeration with the power flow itself, and what the command writes."""

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cosim import Connection
from cosim.experiments.cli import app
from cosim.experiments.compose import compose
from cosim.experiments.scenario import Run, read
from cosim.experiments.studies.base import lines_of
from cosim.experiments.studies.rephase.moves import Rephasing, with_connections
from cosim.experiments.studies.rephase.search import Quadratic, best_moves
from cosim.experiments.unbalance_tables import analyse, describe
from cosim.measures import unbalance_current_a2
from cosim.network import monitored_currents
from cosim.opendss import OpenDssEngine

RNG = np.random.default_rng


@pytest.fixture(scope="module")
def evening():
    composition = compose(read("two_bus_evening"))
    feeder = composition.feeder
    crowded = [Connection(name, bus, (1,)) for name, bus in zip(feeder.customers, feeder.customer_bus, strict=True)]
    composition = replace(composition, feeder=with_connections(feeder, crowded))
    run = Run(controller="none")
    return composition, composition.run_spec(run).trajectory


@pytest.fixture(scope="module")
def day(evening):
    return Rephasing(evening[1])


def test_without_a_move_it_is_the_day_as_it_was(evening, day):
    as_it_was = unbalance_current_a2(evening[1].monitored_current_a).sum(axis=1).mean()
    assert day.value_a2() == pytest.approx(as_it_was, rel=1e-6)


def test_the_quadratic_is_the_norm_of_the_linear_currents(day):
    now, change = day.linear()
    quadratic = Quadratic(now, change)
    for moves in [(), (0,), (1, 2), (0, 3, 5)]:
        assert quadratic.value(moves) == pytest.approx(np.linalg.norm(now + change[list(moves)].sum(axis=0)) ** 2)
    assert quadratic.added((1,))[3] == pytest.approx(quadratic.value((1, 3)))


@pytest.mark.parametrize("count", [1, 2])
def test_up_to_two_moves_are_the_best_by_power_flow(day, count):
    choice = best_moves(Quadratic(*day.linear()), day.customer, count, day.value_a2, RNG(1))
    every = [()] + [
        rows
        for size in range(1, count + 1)
        for rows in combinations(range(len(day.moves)), size)
        if len(set(day.customer[list(rows)])) == size
    ]
    assert choice.verified
    assert choice.unbalance_current_after_a2 == pytest.approx(min(day.value_a2(rows) for rows in every))
    assert choice.unbalance_current_after_a2 < 0.7 * choice.unbalance_current_before_a2


def test_more_moves_are_no_worse_and_move_nobody_twice(day):
    pair = best_moves(Quadratic(*day.linear()), day.customer, 2, day.value_a2, RNG(1))
    more = best_moves(Quadratic(*day.linear()), day.customer, 3, day.value_a2, RNG(1))
    assert more.unbalance_current_after_a2 <= pair.unbalance_current_after_a2 + 1e-9
    assert not more.verified
    assert len(set(day.customer[list(more.moves)])) == len(more.moves)


def test_opendss_agrees_on_what_the_moves_bring(evening, day):
    composition, before = evening
    choice = best_moves(Quadratic(*day.linear()), day.customer, 1, day.value_a2, RNG(1))
    moved = with_connections(composition.feeder, [day.moves[row].connection for row in choice.moves])
    engine, column = OpenDssEngine(moved), moved.monitored_branches
    current = [
        monitored_currents(column, engine.solve(p, q, np.nan)[None, :])[0]
        for p, q in zip(before.net_kw, before.net_kvar, strict=True)
    ]
    assert unbalance_current_a2(np.array(current)).sum(axis=1).mean() == pytest.approx(
        choice.unbalance_current_after_a2, rel=1e-6
    )


def test_indices_and_causes_agree_with_the_measures(evening):
    _, run = evening
    found = analyse(run)
    assert found.buses["vuf_max_percent"].is_monotonic_decreasing
    assert found.lines["neutral_max_a"].iloc[0] == pytest.approx(
        np.abs(run.transformer_current_a.sum(axis=1)).max(), rel=1e-3
    )
    idle = found.causes[found.causes["net_kw_at_worst_line_time"] == 0]
    assert (np.abs(idle["neutral_share_a"]) < 1e-9).all()
    assert found.causes["neutral_share_a"].iloc[0] > 0
    assert "neutral current" in describe(found)[1]


def test_the_command_writes_moves_metrics_and_tables(tmp_path):
    ended = CliRunner().invoke(
        app, ["rephase", "two_bus_evening", "--moves", "2", "--beside", "", "--out", str(tmp_path)]
    )
    assert ended.exit_code == 0, ended.output
    cases = json.loads((tmp_path / "metrics.json").read_text())["cases"]
    assert cases["after"]["unbalance_current_mean_a2"] <= cases["before"]["unbalance_current_mean_a2"]
    told = json.loads((tmp_path / "rephase.json").read_text())
    assert told["verified"] is True
    assert json.loads((tmp_path / "manifest.json").read_text())["seed"] == told["seed"]
    assert cases["after"]["unbalance_current_mean_a2"] == pytest.approx(told["unbalance_current_after_a2"], rel=1e-4)
    assert len(pd.read_csv(tmp_path / "moves.csv")) == len(told["moves"])
    for name in (
        "before/buses.csv",
        "after/lines.csv",
        "before/causes.csv",
        "phase_loads.csv",
        "rephase.png",
        "manifest.json",
    ):
        assert (tmp_path / name).stat().st_size > 0


def test_moves_stand_beside_control_in_one_table(tmp_path):
    """Of one home that may be moved; the first row is the day as it is, and what is won counts from there."""
    ended = CliRunner().invoke(app, [
        "rephase", "two_bus_evening", "--candidates", "load2", "--move-eur", "300", "--beside", "even",
        "--out", str(tmp_path),
    ])  # fmt: skip
    assert ended.exit_code == 0, ended.output
    table = pd.read_csv(tmp_path / "control.csv").set_index("case")
    assert list(table.index) == ["none", "none, moved", "even", "even, moved"]
    moves = json.loads((tmp_path / "rephase.json").read_text())["moves"]
    assert {move["customer"] for move in moves} <= {"LOAD2"}
    assert table["moves_eur"].tolist() == [0.0, 300.0 * len(moves), 0.0, 300.0 * len(moves)]
    won_a = table.loc["none", "neutral_current_p95_a"] - table["neutral_current_p95_a"]
    assert table["neutral_won_a"].to_numpy() == pytest.approx(won_a.to_numpy(), abs=1e-3)
    assert (tmp_path / "control.png").stat().st_size > 0
    refused = CliRunner().invoke(
        app, ["rephase", "two_bus_evening", "--candidates", "nobody", "--out", str(tmp_path / "b")]
    )
    assert refused.exit_code != 0
    assert "NOBODY" in str(refused.exception)


def test_every_row_beside_control_has_a_line_of_its_own():
    case = dict.fromkeys(("unbalance_current_mean_a2", "neutral_current_p95_a", "vuf_p95_percent"), 1.0)
    cases = {"before": case | {"transformer_peak_percent": 90.0}, "after": case | {"transformer_peak_percent": 80.0}}
    row = {"neutral_current_p95_a": 50.0, "pv_curtailed_kwh": 1.0, "cost_eur": 2.0}
    rows = [{"case": "none", "moves_eur": 0.0, **row}, {"case": "none, moved", "moves_eur": 300.0, **row}]
    choice = {"verified": True, "combinations_compared": 9, "combinations_checked_by_power_flow": 3}
    said = lines_of("rephase", moves=["LOAD1 from 1 to 2"], choice=choice, cases=cases, control=pd.DataFrame(rows))
    assert [line.split(":")[0] for line in said if line] == [
        "LOAD1 from 1 to 2", "Unbalance current, mean of the day", "Neutral current, 95 %", "none", "none, moved"
    ]  # fmt: skip


def test_an_unknown_controller_is_named(tmp_path):
    ended = CliRunner().invoke(app, ["rephase", "two_bus_evening", "--controller", "nobody", "--out", str(tmp_path)])
    assert ended.exit_code != 0
    assert "nobody" in str(ended.exception)
