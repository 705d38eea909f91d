"""Through powerio and back; how much it loses is told, and each loss below has been seen by somebody else's eyes."""

import json
from pathlib import Path

import pytest

from cosim import feeders
from cosim.stepper import make_engine

pytest.importorskip("powerio")

each_format = pytest.mark.parametrize(
    "to", ["bmopf", *[pytest.param(to, marks=pytest.mark.slow) for to in ("pmd", "cim")]]
)

FOUR_WIRES = """Clear
Set DefaultBaseFrequency=50
New Circuit.c basekv=0.4 pu=1.0 isc3=10000 isc1=10000
New Reactor.earth phases=1 bus1=sourcebus.4 bus2=sourcebus.0 R=0.0 X=1E-10
New Line.l1 bus1=sourcebus.1.2.3.4 bus2=b.1.2.3.4 phases=4 length=200 units=m normamps=120
~ rmatrix=[.0003|.0001 .0003|.0001 .0001 .0003|.0001 .0001 .0001 .0003]
~ xmatrix=[.0003|.0001 .0003|.0001 .0001 .0003|.0001 .0001 .0001 .0003] cmatrix=[0|0 0|0 0 0|0 0 0 0]
New Load.a bus1=b.1.4 phases=1 kv=0.23 kw=6 pf=0.95
New Load.b bus1=b.2.4 phases=1 kv=0.23 kw=1 pf=0.95
Set voltagebases=[0.4]
Calcvoltagebases
Solve
"""
FUSED = """Clear
New Circuit.c bus1=mv basekv=11 pu=1.0 isc3=3000 isc1=2500
New Transformer.t windings=2 buses=(mv lv) conns=(delta wye) kvs=(11 0.4) kvas=(100 100) xhl=4 %loadloss=1
New Reactor.fuse phases=3 bus1=lv bus2=a r=0.01 x=0.005
New Line.l1 bus1=a bus2=b phases=3 r1=0.3 x1=0.1 r0=0.9 x0=0.3 c1=0 c0=0 length=0.2
New Load.e1 bus1=b.1 phases=1 kv=0.23 kw=10 pf=0.95
Set voltagebases=[11 0.4]
Calcvoltagebases
Solve
"""


def _report(path):
    return json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(word))


@each_format
def test_a_feeder_comes_back_and_what_it_lost_is_named(cosim, tmp_path, to):
    out = tmp_path / f"two.{to}"
    code, said, _ = cosim("feeder", "convert", "two_bus", "--to", to, "--out", str(out))
    assert code == 0
    assert "Experimental" in said
    report = _report(tmp_path / f"two.{to}.differences.json")
    assert report["experimental"]
    assert report["converter"]["powerio"][0].isdigit()
    assert report["missing_nodes"] == report["missing_customers"] == report["missing_branches"] == []
    # no format takes the source's impedance as the file has it: 1.6e-5 pu, and nothing else on this feeder
    assert 1e-6 < report["largest"]["difference_pu"] < 1e-4
    assert "not the same" in said
    feeder = feeders.load("two_bus")
    own_v = abs(make_engine("opendss", feeder).solve(feeder.load_kw, feeder.load_kvar, float("nan")))
    listed = {item["node"]: item["before_v"] for item in report["nodes"]}
    assert listed == pytest.approx(dict(zip(feeder.network.node_names, own_v.tolist(), strict=True)))
    assert report["facts"]["sum of their ratings, A"] == [180, 0 if to == "cim" else 180]
    assert report["facts"]["buses with coordinates"] == [3, 3 if to == "bmopf" else 0]
    assert sum(loss["count"] for loss in report["lost"]) >= 10


@each_format
def test_what_was_written_is_a_circuit_again(cosim, tmp_path, to):
    assert cosim("feeder", "convert", "two_bus", "--to", to, "--out", str(tmp_path / "file"))[0] == 0
    there, folder = str(tmp_path / "file"), tmp_path / "street"
    code, said, _ = cosim("feeder", "convert", there, "--to", "dss", "--out", str(folder))
    assert code == 0
    assert "the same to 1e-06 pu" in said  # what could be lost was on the first way
    assert _report(folder / "differences.json")["format"] == {"bmopf": "bmopf-json", "pmd": "pmd-json"}.get(
        to, "cim-dist"
    )
    feeder = feeders.load(folder)
    assert feeder.name == "street"
    assert sorted(zip(feeder.customers, feeder.load_kw.tolist(), strict=True)) == [
        ("LOAD1", 12.0), ("LOAD2", 6.0), ("LOAD3", 3.0),
    ]  # fmt: skip
    code, _, said = cosim("feeder", "convert", there, "--to", "dss", "--out", str(folder))
    assert (code, said.count("error:")) == (2, 1)
    assert cosim("feeder", "convert", there, "--to", "dss", "--out", str(folder), "--overwrite")[0] == 0


def test_neutral_conductors_that_cim_drops_are_named(cosim, tmp_path):
    (tmp_path / "Master.dss").write_text(FOUR_WIRES)
    code, said, _ = cosim("feeder", "convert", str(tmp_path), "--to", "cim", "--out", str(tmp_path / "wires.xml"))
    assert code == 0
    report = _report(tmp_path / "wires.xml.differences.json")
    assert report["missing_nodes"] == ["B.4", "SOURCEBUS.4"]
    assert "missing nodes: 2 (B.4, SOURCEBUS.4)" in said
    assert report["facts"]["customers with a neutral conductor"] == [2, 0]
    assert report["largest"]["difference_pu"] > 1e-3
    assert "not the same" in said


@pytest.mark.slow
def test_a_vector_group_that_is_lost_turns_phasors_and_leaves_magnitudes(cosim, tmp_path):
    circuit = FUSED.replace("xhl=4", "leadlag=euro xhl=4").replace("New Reactor.fuse", "New Line.fuse")
    (tmp_path / "Master.dss").write_text(circuit.replace("r=0.01 x=0.005", "r1=0.01 x1=0.005"))
    code, said, _ = cosim("feeder", "convert", str(tmp_path), "--to", "pmd", "--out", str(tmp_path / "turned"))
    assert code == 0
    report = _report(tmp_path / "turned.differences.json")
    assert report["largest"]["difference_pu"] == pytest.approx(1.0, abs=0.05)  # Dyn11 and Dyn1 are 60 degrees apart
    assert abs(report["largest_magnitude"]["magnitude_difference_pu"]) < 0.01
    assert "of magnitudes" in said


def test_a_way_back_that_leads_to_no_feeder_ends_with_the_file_kept_and_exit_3(cosim, tmp_path):
    (tmp_path / "Master.dss").write_text(FUSED)  # powerio drops the reactor, and with it the way to the customer
    code, said, error = cosim("feeder", "convert", str(tmp_path), "--to", "pmd", "--out", str(tmp_path / "fused"))
    assert code == 3
    assert "reactor fuse" in said
    assert "written, but what was converted cannot be checked" in error
    assert _report(tmp_path / "fused.differences.json")["error"] in error
    assert (tmp_path / "fused").exists()


@pytest.mark.parametrize(
    ("content", "more", "words"),
    [
        ("", (), "neither JSON nor XML"),
        ("[1", (), "neither JSON nor XML"),
        ("{}", (), "--from"),
        ('{"bus": {}}', (), "is no feeder"),
        ("{}", ("--from", "pmd"), "is no feeder"),
        ("<rdf/>", (), "powerio does not convert it"),
        (FUSED, (), "neither JSON nor XML"),
        (None, (), "no such file"),
    ],
)
def test_what_is_no_circuit_is_one_message(cosim, tmp_path, content, more, words):
    path = tmp_path / "input.json"
    if content is not None:
        path.write_text(content)
    code, _, said = cosim("feeder", "convert", str(path), "--to", "dss", "--out", str(tmp_path / "out"), *more)
    assert (code, said.count("\n")) == (2, 1)
    assert words in said
    assert str(path) in said
    assert not (tmp_path / "out").exists()
    assert not list(Path(tmp_path).glob("*.part"))
