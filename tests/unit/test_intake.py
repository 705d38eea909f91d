"""The intake check: findings of implausible circuits, the comparison with the file as it is, and what it writes."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from cosim import feeders
from cosim.contract import Feeder, Finding
from cosim.errors import InputError
from cosim.experiments.show import intake_facts
from cosim.feeders.catalogue import cables, like
from cosim.feeders.intake import Intake, check_in, examine
from cosim.feeders.template import template

HEAD = "Clear\nSet DefaultBaseFrequency=50\nNew Circuit.odd Bus1=src BasekV=11 pu=1.0 R1=0 X1=0.001 R0=0 X0=0.001\n"
MACHINE = "New Transformer.T Phases=3 Windings=2 Buses=[src lv] Conns=[Delta Wye] kVs=[11 0.4] kVAs=[100 100]\n"
CODE = "New LineCode.K Nphases=3 R1=0.206 X1=0.08 R0=0.8 X0=0.3 C1=0 C0=0 Units=km\n"
CABLE = "New Line.CABLE Bus1=lv Bus2=home LineCode=K Length=400 Units=m\n"
BAND = "Vminpu=0.5 Vmaxpu=1.5"
HOMES = "".join(f"New Load.{k} Phases=1 Bus1=home.{n} kV=0.23 kW=3 kvar=1 {BAND}\n" for n, k in ((1, "A"), (2, "B")))
BASES = "Set VoltageBases=[11 0.4]\nCalcVoltageBases\n"
GOOD = HEAD + MACHINE + CODE + CABLE + HOMES + BASES
RATED = "NormAmps=200 EmergAmps=200"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a circuit and what lies beside it into a folder; return its master file."""

    def written(master: str = GOOD, name: str = "Master.dss", **beside: str) -> Path:
        (tmp_path / "place").mkdir(exist_ok=True)
        for file, text in {name: master, **{key.replace("__", "."): text for key, text in beside.items()}}.items():
            (tmp_path / "place" / file).write_text(text, encoding="utf-8")
        return tmp_path / "place" / name

    return written


def found(feeder: Feeder | Intake, code: str) -> Finding:
    (finding,) = [one for one in feeder.findings if one.code == code]
    return finding


def codes(feeder: Feeder | Intake) -> set[str]:
    return {one.code for one in feeder.findings}


def test_a_sound_circuit_has_only_what_public_files_lack(write: Write) -> None:
    intake = examine(write())
    assert codes(intake) == {"executes_files", "no_ratings", "no_coordinates", "nominal_voltage_not_declared"}
    assert intake.largest_difference[0] < 1e-6
    assert intake.losses_kw == pytest.approx(intake.as_is.losses_kw, rel=1e-6)


WITHOUT_UNITS = GOOD.replace(" Units=km", "").replace("Length=400 Units=m", "Length=0.4")
FOUR_WIRES = (
    CABLE.replace("=lv ", "=lv.1.2.3.4 ").replace("=home ", "=home.1.2.3.4 ").replace("K ", "K4 ")
    .replace("Length", f"{RATED} Length")
)  # fmt: skip
CODE4 = "New LineCode.K4 Nphases=4 R1=0.206 X1=0.08 R0=0.8 X0=0.3 C1=0 C0=0 Units=km\n"
NEUTRAL = GOOD.replace(CABLE, CODE4 + FOUR_WIRES).replace("[src lv]", "[src lv.1.2.3.4]")
ODD: dict[str, tuple[str, str, str, str]] = {
    "a length without unit": (WITHOUT_UNITS, "length_without_unit", "Line.CABLE", "CABLE: 0.4"),
    "metres for kilometres": (WITHOUT_UNITS, "distance_implausible", "T", "is 0.4 m from the transformer"),
    "far away": (
        GOOD.replace("Length=400 Units=m", "Length=400 Units=km"),
        "distance_implausible", "T", "is 400,000 m from the transformer",
    ),
    "a machine of 250 MVA": (
        GOOD.replace("[100 100]", "[250000 250000]"),
        "transformer_rating_implausible", "Transformer.T", "250000 kVA (360,844 A a phase) for 6.325 kVA of load",
    ),
    "too small a machine": (
        GOOD.replace("[100 100]", "[5 5]"), "transformer_overloaded", "Transformer.T", "T 5 kVA for 6.32",
    ),
    "ohm per km for ohm per m": (
        GOOD.replace("R1=0.206 X1=0.08", "R1=206 X1=80"), "impedance_beyond_catalogues", "Line.CABLE", "K: R 206, X 80",
    ),
    "hardly any resistance": (
        GOOD.replace("R1=0.206", "R1=0.0001"), "impedance_beyond_catalogues", "Line.CABLE", "R 0.0001",
    ),
    "lines for another frequency": (
        GOOD.replace("C1=0", "BaseFreq=60 C1=0"), "frequency_mismatch", "Line.CABLE", "at 60 Hz",
    ),
    "60 Hz by default": (GOOD.replace("Frequency=50", "Frequency=60"), "frequency_unusual", "", "solved at 60 Hz"),
    "a bus behind an open switch": (
        GOOD + CABLE.replace("CABLE", "SPUR").replace("lv", "home", 1).replace("=home L", "=far L")
        + "Open Line.SPUR 1\n",
        "bus_without_voltage", "Bus.FAR", "1 of 4 buses have no voltage",
    ),
    "a neutral without earth": (
        NEUTRAL.replace("home.1 ", "home.1.4 ").replace("home.2 ", "home.2.4 "),
        "neutral_not_earthed", "Bus.LV, Bus.HOME", "earthed nowhere",
    ),
    "loads past the neutral": (
        NEUTRAL + "New Reactor.EARTH Phases=1 Bus1=lv.4 R=1 X=0\n",
        "load_past_neutral", "Load.A, Load.B", "through earth",
    ),
}  # fmt: skip


def _slow_but(quick: set[str], names: Iterable[str]) -> list[object]:
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


QUICK = {"a length without unit", "a machine of 250 MVA", "a neutral without earth"}


@pytest.mark.parametrize("name", _slow_but(QUICK, ODD))
def test_what_is_implausible_is_found_with_element_and_words(write: Write, name: str) -> None:
    text, code, element, words = ODD[name]
    finding = found(feeders.load(write(text)), code)
    assert finding.element == element
    assert words in finding.message


@pytest.mark.slow
def test_an_earthed_neutral_is_no_finding(write: Write) -> None:
    text = NEUTRAL.replace("home.1 ", "home.1.4 ").replace("home.2 ", "home.2.4 ")
    feeder = feeders.load(write(text + "New Reactor.EARTH Phases=1 Bus1=lv.4 R=1 X=0\n"))
    assert not codes(feeder) & {"neutral_not_earthed", "load_past_neutral"}


def test_a_length_takes_the_unit_of_its_line_code(write: Write) -> None:
    """OpenDSS multiplies 0.4 by ohms per kilometre: 400 m, though the line has no unit itself."""
    feeder = feeders.load(write(GOOD.replace("Length=400 Units=m", "Length=0.4")))
    assert feeder.distance_m["HOME"] == 400.0
    assert "length_without_unit" not in codes(feeder)


@pytest.mark.slow
def test_only_warnings_are_repeated_by_runs(write: Write) -> None:
    feeder = feeders.load(write(GOOD.replace("[100 100]", "[5 5]")))
    assert found(feeder, "transformer_overloaded").severity == "note"
    assert found(feeder, "transformer_overloaded").message not in feeder.warnings
    assert found(feeder, "no_ratings").message in feeder.warnings


REGULATED = GOOD + "New RegControl.R Transformer=T Winding=2 Vreg=240 Band=2 PTratio=1\n"
AS_IT_IS: dict[str, tuple[str, str, str]] = {
    "taps": (REGULATED, "taps_move", "T.2 1 to 1.0375"),
    "controls": (REGULATED, "difference_controls", "the file's controls"),
    "impedances below 0.95 pu": (
        GOOD.replace(BAND, "Vminpu=1.02 Vmaxpu=1.5"), "difference_load_models", "load models and bands",
    ),
    "a load multiplier": (GOOD + "Set LoadMult=0.5\n", "load_multiplier", "by 0.5"),
    "other losses": (
        GOOD.replace("Bus1=lv", "Bus1=fused")
        + "New Reactor.FUSE Phases=3 Bus1=lv Bus2=fused R=0.1 X=0\n",
        "difference_losses", "all elements 0.088",
    ),
    "too much load": (GOOD.replace("kW=3", "kW=300"), "model_not_converged", "no solution"),
}  # fmt: skip


@pytest.mark.parametrize("name", _slow_but({"controls"}, AS_IT_IS))
def test_differences_from_the_file_as_it_is_are_named(write: Write, name: str) -> None:
    text, code, words = AS_IT_IS[name]
    assert words in found(examine(write(text)), code).message


def test_the_screen_says_in_words_what_has_no_figure_and_names_the_first_of_many(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    many = "".join(f"New Load.M{n} Phases=1 Bus1=home.{n % 3 + 1} kV=0.23 kW=5 kvar=1 Vminpu=0.9\n" for n in range(100))
    intake = examine(write(GOOD.replace(BASES, many + BASES)))
    intake_facts(intake, Console(width=200))
    said = capsys.readouterr().out
    assert "runs find no solution." in said
    assert "nan" not in said
    assert 'load_model = "file"' in found(intake, "model_not_converged").message
    assert "and 42 more (all: --json)" in said
    assert "M99" not in said


def test_shipped_feeders_agree_with_their_own_solution(two_bus: Feeder) -> None:
    intake = check_in(two_bus)
    assert intake.findings == ()
    assert intake.largest_difference[0] < 1e-6


@pytest.mark.slow
def test_a_file_of_another_solution_mode_is_compared_as_a_snapshot(write: Write) -> None:
    assert examine(write(GOOD + "Set mode=yearly number=8760\n")).largest_difference[0] < 1e-6


SPLIT = HEAD + MACHINE + "Redirect Sub\\Lines.DSS\n" + HOMES + BASES + "Buscoords XY.csv\n"


def _split(folder: Path, lines: str = "sub/lines.dss", xy: str = "xy.CSV") -> Path:
    for name, text in {"Master.dss": SPLIT, lines: CODE + CABLE, xy: "home, 1, 2\n"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "Master.dss"


def test_names_of_another_case_are_named_and_repaired_on_request(tmp_path: Path) -> None:
    master = _split(tmp_path / "place")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(InputError) as refused:
        examine(master)
    said = str(refused.value)
    assert f"asks for {master.parent}/Sub/Lines.DSS, but the file is {master.parent}/sub/lines.dss" in said
    assert "--fix-case" in said
    intake = examine(master, fix_case=True)
    assert intake.feeder.customers == ("A", "B")
    assert intake.feeder.coordinates == {"HOME": (1.0, 2.0)}
    assert (intake.feeder.master, intake.feeder.name) == (master, "place")
    told = [one for one in intake.findings if one.code == "file_name_case"]
    assert [one.severity for one in told] == ["note", "note"]
    assert all("was read in its place" in one.message for one in told)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.slow
def test_names_of_the_right_case_need_no_repair(tmp_path: Path) -> None:
    intake = examine(_split(tmp_path / "place", "Sub/Lines.DSS", "XY.csv"), fix_case=True)
    assert "file_name_case" not in codes(intake)
    assert len(intake.feeder.coordinates) == 1


@pytest.mark.parametrize("name", _slow_but({"Master.txt"}, ["Master.txt", "MASTER.DSS", "master.dss"]))
def test_a_folder_is_opened_by_its_master_file(write: Write, name: str) -> None:
    master = write(name=name)
    assert feeders.load(master.parent).master.name == name


@pytest.mark.slow
def test_of_two_master_files_the_usual_one_counts(write: Write) -> None:
    write("Edit Vsource.Source BasekV=11\n", name="Master.txt")
    assert feeders.load(write().parent).master.name == "Master.dss"


def test_spaces_byte_order_marks_and_backslashes_work(tmp_path: Path) -> None:
    folder = tmp_path / "a place (1)"
    master = _split(folder, "Sub/Lines.DSS", "XY.csv")
    master.write_bytes(b"\xef\xbb\xbf" + SPLIT.replace("\n", "\r\n").encode())
    (folder / "feeder.toml").write_bytes(b"\xef\xbb\xbfnominal_voltage_v = 230\r\n")
    intake = examine(folder)
    assert len(intake.feeder.customers) == 2
    assert intake.largest_difference[0] < 1e-6


def test_ratings_by_line_code_line_and_cable(write: Write) -> None:
    spurs = "".join(
        CABLE.replace("CABLE", f"S{k}").replace("=lv", f"=s{k - 1}").replace("=home", f"=s{k}") for k in (1, 2, 3)
    )
    toml = '[ratings_a]\nk = 180\nS1 = 99\n[cables]\ns2 = "NAYY 4x95"\n[transformer_kva]\nt = 250\n'
    text = GOOD.replace(BASES, spurs.replace("=s0", "=home") + BASES)
    feeder = feeders.load(write(text, feeder__toml=toml))
    rating_a = {line.name: line.rating_a for line in feeder.network.lines}
    assert rating_a == {"CABLE": 180.0, "S1": 99.0, "S2": 180.0, "S3": 180.0}  # amperes given win over a cable
    assert feeder.transformer_kva == 250.0
    assert feeder.transformer_rating_a == pytest.approx(250 / (np.sqrt(3) * 0.4))
    assert "no_ratings" not in codes(feeder)
    feeder = feeders.load(write(text, feeder__toml='[cables]\nK = "NAYY 4x95"\nCABLE = "NAYY 4x150"\n'))
    rating_a = {line.name: line.rating_a for line in feeder.network.lines}
    assert rating_a == {"CABLE": 275.0, "S1": 215.0, "S2": 215.0, "S3": 215.0}
    assert {one.code for one in feeder.findings if "NAYY" in one.message} == {"ratings_of_cables"}


def test_ratings_by_resistance_are_only_given_when_asked_for_and_told(write: Write) -> None:
    assert np.isnan(feeders.load(write()).network.branch("CABLE").rating_a)
    feeder = feeders.load(write(feeder__toml='ratings_from = "catalogue"\n'))
    assert feeder.network.branch("CABLE").rating_a == 275.0
    assert "NAYY 4x150" in found(feeder, "ratings_by_resistance").message
    assert found(feeder, "ratings_by_resistance").severity == "warning"
    rated = GOOD.replace("Units=km", f"{RATED} Units=km")
    assert feeders.load(write(rated)).network.branch("CABLE").rating_a == 200.0


def test_the_catalogue_knows_conductors_by_resistance_reactance_and_voltage() -> None:
    assert like(0.206 + 0.08j, 400.0) == cables()["NAYY 4x150"]
    assert like(0.206 + 0.12j, 11_000.0) == cables()["NA2XS2Y 1x150"]
    assert like(0.594 + 0.3j, 400.0) == cables()["Al/St 48"]
    assert like(0.125 + 0.08j, 400.0) == cables()["NYY 4x150"]  # alike NAYY 4x240, which carries more
    assert like(0.206 + 5.0j, 400.0) is None
    assert like(99.0 + 0.1j, 400.0) is None
    assert all(4.0 < cable.rating_a**2 * cable.ohm_per_km / 1e3 < 60.0 for cable in cables().values())  # watts a metre


def test_coordinates_names_and_types_of_customers(write: Write) -> None:
    toml = 'coordinates = "xy.txt"\n[customer_names]\na = "12 High Street"\n[customer_types]\nB = "shop"\n'
    feeder = feeders.load(write(feeder__toml=toml, xy__txt="bus x y\nHOME\t1.5 2\nlv 0 0\nnowhere 9 9\n"))
    assert feeder.coordinates == {"HOME": (1.5, 2.0), "LV": (0.0, 0.0)}
    assert feeder.customer_names == ("12 High Street", "")
    assert feeder.customer_types == ("", "shop")


def test_a_nominal_voltage_that_is_asked_for_wins(write: Write) -> None:
    master = write(feeder__toml="nominal_voltage_v = 240.0\n")
    assert feeders.load(master).nominal_voltage_v == 240.0
    assert feeders.load(master, nominal_voltage_v=235.0).nominal_voltage_v == 235.0
    with pytest.raises(InputError, match="give volts"):
        feeders.load(master, nominal_voltage_v=0.23)


@pytest.mark.parametrize("text", [GOOD, GOOD.replace("Units=km", f"{RATED} Units=km")])
def test_the_template_is_toml_and_loads_the_same_feeder(write: Write, text: str) -> None:
    master = write(text)
    plain = feeders.load(master)
    toml = template(plain)
    assert tomllib.loads(toml)["nominal_voltage_v"] == {"T": 230.0}
    (master.parent / "feeder.toml").write_text(toml)
    again = feeders.load(master)
    for field in fields(plain):
        one, other = getattr(plain, field.name), getattr(again, field.name)
        if field.name not in ("network", "findings"):
            np.testing.assert_equal(other, one, field.name)
    np.testing.assert_equal([b.rating_a for b in again.network.branches], [b.rating_a for b in plain.network.branches])
    assert codes(plain) - codes(again) == {"nominal_voltage_not_declared"}


def test_what_the_template_leaves_as_a_comment_is_valid_too(write: Write) -> None:
    feeder = replace(feeders.load(write()), name='a "place"\\', customer_names=("Ä, 1", ""))
    toml = template(feeder)
    read = tomllib.loads(toml)
    assert (read["name"], read["customer_names"]) == (feeder.name, {"A": "Ä, 1"})
    opened = tomllib.loads("\n".join(line.removeprefix("# ") for line in toml.splitlines()[1:]))
    assert opened["ratings_a"] == {"K": 275.0}
    assert opened["cables"] == {"K": "NAYY 4x150"}


Call = Callable[..., tuple[int, str, str]]


def test_json_of_a_feeder(write: Write, cosim: Call) -> None:
    master = write()
    path = master.parent / "new.toml"
    code, out, _ = cosim("feeder", str(master), "--json", "--write-template", str(path))
    told = json.loads(out)
    assert code == 0
    (area,) = [area for area in told["areas"] if area["customers"]]
    assert (area["name"], area["transformers"], area["rating_kva"]) == ("T", ["T"], 100.0)
    assert (area["nominal_voltage_v"], area["customers"]) == (230.0, ["A", "B"])
    assert {"code", "element", "message", "severity"} == {*told["findings"][0]}
    assert told["largest_voltage_difference_v"] < 1e-6
    assert tomllib.loads(path.read_text())["head_line"] == "CABLE"
    code, _, err = cosim("feeder", str(master), "--write-template", str(path))
    assert code == 2
    assert "new.toml" in err


def test_json_of_a_refusal_and_of_no_solution(write: Write, cosim: Call) -> None:
    code, out, err = cosim("feeder", str(write(GOOD.replace("home.1", "nowhere.1"))), "--json")
    (finding,) = json.loads(out)["findings"]
    assert (code, finding["severity"], finding["element"]) == (2, "error", "Load.A")
    assert "Load.A" in err
    code, out, _ = cosim("feeder", str(write(GOOD.replace("kW=3", "kW=300"))), "--json")
    assert code == 0
    assert json.loads(out)["largest_voltage_difference_v"] is None


def test_the_page_has_facts_areas_and_findings(write: Write, cosim: Call) -> None:
    code, out, _ = cosim("feeder", str(write(feeder__toml='[customer_names]\nA = "12 [b]High[/b] Street"\n')))
    assert code == 0
    for words in ("Feeder place", "T: 100 kVA, 230 V, 2 customers", "As it is, OpenDSS solves it", "(no_ratings)"):
        assert words in out
    assert "12 [b]High[/b] Street" in " ".join(out.replace("│", " ").split())
