"""Maps as a geographic information system reads them: by RFC 7946 alone, with distances on a sphere of our own."""

import csv
import json
import math
import sys
from collections import Counter, defaultdict
from itertools import pairwise

import pandas as pd
import pytest

from cosim import feeders

TWO_AREAS = """Clear
New Circuit.c bus1=mv basekv=11 pu=1.0 isc3=3000 isc1=2500
New Transformer.ta windings=2 buses=(mv lva) conns=(delta wye) kvs=(11 0.416) kvas=(100 100) xhl=4 %loadloss=1
New Transformer.tb windings=2 buses=(mv lvb) conns=(delta wye) kvs=(11 0.416) kvas=(25 25) xhl=4 %loadloss=1
New Line.la bus1=lva bus2=a phases=3 r1=0.1 x1=0.1 r0=0.3 x0=0.3 c1=0 c0=0 length=200 units=m
New Line.lb bus1=lvb bus2=b.2 phases=1 r1=0.1 x1=0.1 r0=0.3 x0=0.3 c1=0 c0=0 length=100 units=m
New Load.a1 bus1=a.1 phases=1 kv=0.24 kw=3 pf=0.95
New Load.b1 bus1=b.2 phases=1 kv=0.24 kw=5 pf=0.95
Set voltagebases=[11 0.416]
Calcvoltagebases
{buscoords}
Solve
"""


def _metres(one, other):
    """Great circle by the haversine formula."""
    (x1, y1), (x2, y2) = ((math.radians(x), math.radians(y)) for x, y in (one[:2], other[:2]))
    half = math.sin((y2 - y1) / 2) ** 2 + math.cos(y1) * math.cos(y2) * math.sin((x2 - x1) / 2) ** 2
    return 2 * 6_371_008.8 * math.asin(math.sqrt(half))


def _read(path):
    """Features by kind and name, after what RFC 7946 asks of every one of them has been looked at."""
    collection = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda word: pytest.fail(word))
    assert collection["type"] == "FeatureCollection"
    found = defaultdict(dict)
    for feature in collection["features"]:
        assert feature["type"] == "Feature"
        properties, geometry = feature["properties"], feature["geometry"]
        found[properties["kind"]][properties["name"]] = feature
        if geometry is None:
            continue
        places = geometry["coordinates"]
        if geometry["type"] == "Polygon":
            (places,) = places
            assert places[0] == places[-1]
            assert len(places) >= 4
            twice_area = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairwise(places))
            assert twice_area > 0  # the exterior ring is anticlockwise
        elif geometry["type"] == "Point":
            places = [places]
        else:
            assert geometry["type"] == ("LineString" if properties["kind"] == "line" else "MultiPoint")
            assert len(places) >= 1 + (geometry["type"] == "LineString")
        for longitude, latitude in places:
            assert -180 <= longitude <= 180
            assert -90 <= latitude <= 90
    assert len({feature["id"] for feature in collection["features"]}) == len(collection["features"])
    return collection["cosim"], found


def _circuit(folder, coordinates):
    folder.mkdir(exist_ok=True)
    rows = "".join(f"{bus},{x!r},{y!r}\n" for bus, (x, y) in coordinates.items())
    (folder / "xy.csv").write_text(rows)
    text = TWO_AREAS.format(buscoords="Buscoords xy.csv" if coordinates else "")
    (folder / "Master.dss").write_text(text)
    return str(folder / "Master.dss")


def test_a_street_is_where_its_place_is_and_as_large_as_in_its_file(cosim, tmp_path):
    code, said, _ = cosim("feeder", "convert", "european_lv", "--to", "geojson", "--out", str(tmp_path / "street"))
    assert code == 0
    assert "approximate" in said
    about, found = _read(tmp_path / "street")
    assert "approximate" in about["placement"]
    assert {kind: len(named) for kind, named in found.items()} == {
        "area": 1, "bus": 907, "line": 905, "transformer": 1, "customer": 55,
    }  # fmt: skip
    at = {bus: feature["geometry"]["coordinates"] for bus, feature in found["bus"].items()}
    longitudes, latitudes = zip(*at.values(), strict=True)
    middle = (min(longitudes) + max(longitudes)) / 2, (min(latitudes) + max(latitudes)) / 2
    assert middle == pytest.approx((-2.24, 53.48), abs=1e-9)
    with feeders.load("european_lv").master.with_name("Buscoords.csv").open() as file:
        given = {bus.strip().upper(): (float(x), float(y)) for bus, x, y in csv.reader(file)}
    for bus in ("100", "500", "900"):  # as far and in the same direction from the first pole as in the file
        east, north = given[bus][0] - given["1"][0], given[bus][1] - given["1"][1]
        assert _metres(at["1"], at[bus]) == pytest.approx(math.hypot(east, north), rel=1e-4)
        assert math.copysign(1, at[bus][0] - at["1"][0]) == math.copysign(1, east)
        assert math.copysign(1, at[bus][1] - at["1"][1]) == math.copysign(1, north)
    drawn = sum(_metres(*feature["geometry"]["coordinates"]) for feature in found["line"].values())
    assert drawn == pytest.approx(sum(f["properties"]["length_m"] for f in found["line"].values()), rel=0.02)
    for feature in found["customer"].values():
        assert feature["geometry"]["coordinates"] == at[feature["properties"]["bus"]]
    assert Counter(len(f["properties"]["phases"]) for f in found["customer"].values()) == {1: 55}
    assert found["area"]["TR1"]["geometry"]["type"] == "Polygon"
    assert found["area"]["TR1"]["properties"]["rating_kva"] == 800


def test_coordinates_in_degrees_are_not_touched(cosim, tmp_path):
    step = 100 / 111_195
    given = {"mv": (151.2, -33.8), "lva": (151.2, -33.8), "a": (151.2, -33.8 - 2 * step), "lvb": (151.2, -33.8)}
    path = _circuit(tmp_path, {**given, "b": (151.2, -33.8 + step)})
    assert cosim("feeder", "convert", path, "--to", "geojson", "--out", str(tmp_path / "map"))[0] == 0
    about, found = _read(tmp_path / "map")
    assert found["bus"]["A"]["geometry"]["coordinates"] == list(given["a"])
    assert found["bus"]["A"]["properties"]["position"] == "as given"
    assert "degrees" in about["placement"]


def test_few_metres_are_no_degrees(cosim, tmp_path):
    given = {"mv": (0.0, 0.0), "lva": (0.0, 0.0), "a": (160.0, 60.0), "lvb": (0.0, 0.0), "b": (-80.0, 60.0)}
    path = _circuit(tmp_path, given)
    (tmp_path / "feeder.toml").write_text("latitude_deg = -33.8\nlongitude_deg = 151.2\n")
    assert cosim("feeder", "convert", path, "--to", "geojson", "--out", str(tmp_path / "map"))[0] == 0
    at = {bus: feature["geometry"]["coordinates"] for bus, feature in _read(tmp_path / "map")[1]["bus"].items()}
    assert _metres(at["LVA"], at["A"]) == pytest.approx(math.hypot(160, 60), rel=1e-4)
    assert at["A"][0] == pytest.approx(151.2, abs=0.01)
    assert at["A"][1] == pytest.approx(-33.8, abs=0.01)


def test_areas_are_apart_and_what_has_no_coordinates_is_there_without_a_position(cosim, tmp_path):
    given = {"mv": (0.0, 0.0), "lva": (10.0, 0.0), "a": (210.0, 0.0), "lvb": (0.0, -10.0)}
    path = _circuit(tmp_path, given)
    assert "3 without a position" in cosim("feeder", "convert", path, "--to", "geojson", "--out", f"{path}.json")[1]
    found = _read(tmp_path / "Master.dss.json")[1]
    assert {kind: [n for n, f in named.items() if f["geometry"] is None] for kind, named in found.items()} == {
        "area": [], "bus": ["B"], "line": ["LB"], "transformer": [], "customer": ["B1"],
    }  # fmt: skip
    assert {name: f["properties"]["rating_kva"] for name, f in found["transformer"].items()} == {"TA": 100, "TB": 25}
    behind = {name: f["properties"]["area"] for name, f in [*found["customer"].items(), *found["line"].items()]}
    assert behind == {"A1": "TA", "B1": "TB", "LA": "TA", "LB": "TB"}
    assert found["area"]["TA"]["geometry"]["type"] == "MultiPoint"  # two buses span no polygon
    assert found["customer"]["A1"]["properties"]["nominal_voltage_v"] == pytest.approx(240.0)


@pytest.mark.parametrize(
    ("coordinates", "words"),
    [
        ({}, "no coordinates"),
        ({"mv": (0.0, 0.0), "lva": (0.0, 0.0), "a": (9e7, 0.0)}, "neither degrees nor metres"),
    ],
)
def test_a_feeder_that_cannot_be_on_a_map_is_one_message(cosim, tmp_path, coordinates, words):
    path = _circuit(tmp_path, coordinates)
    code, _, said = cosim("feeder", "convert", path, "--to", "geojson", "--out", str(tmp_path / "map"))
    assert (code, said.count("error:")) == (2, 1)
    assert words in said
    assert not (tmp_path / "map").exists()


def test_results_on_the_map_are_those_of_the_run(cosim, tmp_path):
    run = tmp_path / "run"
    scenario = ("run", "two_bus_evening", "--controllers", "none,equal_share", "--no-figures", "--quiet")
    assert cosim(*scenario, "--out", str(run))[0] == 0
    for label in ("none", "equal_share"):
        arguments = ("--results", str(run), "--controller", label, "--out", str(tmp_path / label))
        assert cosim("feeder", "convert", "two_bus", "--to", "geojson", *arguments)[0] == 0
        found = _read(tmp_path / label)[1]
        metrics = json.loads((run / "metrics.json").read_text())["controllers"][label]
        customers = [feature["properties"] for feature in found["customer"].values()]
        assert min(one["voltage_min_pu"] for one in customers) == pytest.approx(metrics["voltage_min_pu"])
        assert max(one["voltage_max_pu"] for one in customers) == pytest.approx(metrics["voltage_max_pu"])
        peak = pytest.approx(metrics["transformer_peak_percent"], rel=1e-3)  # which looks at both windings
        assert found["transformer"]["TR1"]["properties"]["peak_percent"] == peak
        assert found["area"]["TR1"]["properties"]["peak_percent"] == peak
        assert found["bus"]["2"]["properties"]["vuf_max_percent"] > 0
        currents = pd.read_parquet(run / "trajectories" / label / "lines.parquet").drop(columns="step")
        line = found["line"]["LINE1"]["properties"]
        assert line["peak_percent"] == pytest.approx(100 * currents.to_numpy().max() / line["rating_a"])
    refusals = {
        ("two_bus", "--results", str(run)): "equal_share, none",
        ("two_bus", "--results", str(run), "--controller", "nobody"): "there is no run 'nobody'",
        ("two_bus", "--results", str(tmp_path / "nothing")): "holds no run",
        ("european_lv", "--results", str(run), "--controller", "none"): "another feeder than european_lv",
        ("two_bus", "--controller", "none"): "names a run of --results",
        ("two_bus", "--from", "pmd"): "goes with --to dss only",
        ("two_bus", "--out", str(tmp_path / "none")): "is there already",
    }
    for arguments, words in refusals.items():
        out = () if "--out" in arguments else ("--out", str(tmp_path / "refused"))
        code, _, said = cosim("feeder", "convert", *arguments, "--to", "geojson", *out)
        assert (code, said.count("error:")) == (2, 1)
        assert words in said
        assert not (tmp_path / "refused").exists()


def test_a_feeder_is_shown_as_before_where_the_second_word_is_no_command(cosim):
    code, said, _ = cosim("feeder", "two_bus")
    assert code == 0
    assert "Feeder two_bus" in said


def test_other_formats_name_the_package_that_they_need(cosim, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "powerio", None)
    for to in ("bmopf", "pmd", "cim", "dss"):
        code, _, said = cosim("feeder", "convert", "two_bus", "--to", to, "--out", str(tmp_path / to))
        assert (code, said.count("error:")) == (2, 1)
        assert "lv-feeder-cosim[convert]" in said
        assert not (tmp_path / to).exists()
