"""Convert a low-voltage feeder of the roseau-load-flow wheel into what Master.dss beside this script redirects to.

Run once, by hand; the wheel is read as the archive that it is, not installed, and is not a dependency of the project::

    pip download --no-deps --only-binary :all: --python-version 3.13 roseau-load-flow==0.16.0
    python feeders/rural_four_wire/make_feeder.py roseau_load_flow-0.16.0-py3-none-any.whl

The same wheel gives the same bytes. ``--out DIR`` writes elsewhere, to compare with what is shipped. ``--reference
FILE`` writes the data that were read, without the course of the lines: tests solve them without OpenDSS.

What is changed on the way, and why, is told in ``SOURCE.md``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from math import cos, pi, radians
from pathlib import Path
from typing import Any
from zipfile import ZipFile

SOURCE = "roseau/load_flow/data/networks/LVFeeder18498_Winter.json"
MADE_BY = "! Written by make_feeder.py from roseau-load-flow 0.16.0, LVFeeder18498_Winter. Do not edit."
EARTH_RADIUS_M = 6_371_009.0
FREQUENCY_HZ = 50.0
EARTHING_OHM = 1e-7
PLACEHOLDER_KW = 0.001  # of load points without power in the snapshot: OpenDSS refuses a load of nothing

Data = dict[str, Any]


def lower_triangle(matrix: list[list[float]], factor: float = 1.0) -> str:
    """Write a symmetric matrix as OpenDSS reads it."""
    rows = [" ".join(f"{factor * value:.12g}" for value in row[: n + 1]) for n, row in enumerate(matrix)]
    return "[" + " | ".join(rows) + "]"


def line_codes(data: Data) -> Iterable[str]:
    """One LineCode of four conductors per cable type, neutral last, with its rated current."""
    for one in data["lines_params"]:
        (rated_a,) = set(one["ampacities"])  # the same in every conductor
        resistance, reactance = (lower_triangle(part) for part in one["z_line"])
        capacitance = lower_triangle(one["y_shunt"][1], 1e9 / (2 * pi * FREQUENCY_HZ))
        yield (
            f"New LineCode.{one['id']} nphases=4 BaseFreq={FREQUENCY_HZ:g} Units=km NormAmps={rated_a:g} "
            f"EmergAmps={rated_a:g}\n~ Rmatrix={resistance}\n~ Xmatrix={reactance}\n~ Cmatrix={capacitance}"
        )


def transformer(data: Data) -> Iterable[str]:
    """Write the only transformer; OpenDSS magnetises the second winding, the data the one of high voltage."""
    ((place,), (plate,)) = data["transformers"], data["transformers_params"]
    base_ohm = plate["ulv"] ** 2 / plate["sn"]
    resistance, reactance = (100 * part / base_ohm for part in plate["z2"])
    loss = 100 * plate["p0"] / plate["sn"]
    magnetising = ((100 * plate["i0"]) ** 2 - loss**2) ** 0.5
    kva, kv_high, kv_low = plate["sn"] / 1e3, plate["uhv"] / 1e3, plate["ulv"] / 1e3
    yield (
        f"New Transformer.TR1 Phases=3 Windings=2 LeadLag=Euro "
        f"Buses=[{place['bus_lv']}.1.2.3.4 {place['bus_hv']}.1.2.3] Conns=[Wye Delta] kVs=[{kv_low:g} {kv_high:g}] "
        f"kVAs=[{kva:g} {kva:g}]\n~ XHL={reactance:.12g} %Rs=[{resistance / 2:.12g} {resistance / 2:.12g}] "
        f"%NoLoadLoss={loss:.12g} %imag={magnetising:.12g} ppm_antifloat=0 sub=y"
    )


def earthing(data: Data) -> Iterable[str]:
    """Earth the neutral where the data do; a reactor of no resistance at all is not to be had."""
    for one in data["ground_connections"]:
        if one["phase"] != "n" or one["impedance"] != [0.0, 0.0]:
            raise ValueError(f"the neutral is not earthed as expected: {one}")
        bus = one["element"]["id"]
        yield f"New Reactor.earth_{bus} Phases=1 Bus1={bus}.4 Bus2={bus}.0 R={EARTHING_OHM:g} X=0"


def lines(data: Data) -> Iterable[str]:
    """One Line of four conductors per cable."""
    for one in data["lines"]:
        yield (
            f"New Line.{one['id']} Bus1={one['bus1']}.1.2.3.4 Bus2={one['bus2']}.1.2.3.4 Phases=4 "
            f"LineCode={one['params_id']} Length={one['length'] * 1e3:.6f} Units=m"
        )


def loads(data: Data) -> Iterable[str]:
    """One single-phase Load from phase to neutral per place of consumption."""
    for one in data["loads"]:
        bus, what = one["id"].rsplit("_", 1)
        ((watt, var),) = one["powers"]
        if what == "consumption":
            yield (
                f"New Load.{bus.replace('LVBus', 'H')} Phases=1 Bus1={bus}.{'abc'.index(one['phases'][0]) + 1}.4 "
                f"kV=0.23 kW={watt / 1e3 or PLACEHOLDER_KW:g} kvar={var / 1e3:g} Model=1 Vminpu=0.5 Vmaxpu=1.5"
            )
        elif watt or var:
            raise ValueError(f"{one['id']} produces in winter")


def bus_coordinates(data: Data) -> Iterable[str]:
    """Bus and metres east and north of the transformer; small enough for the earth to be flat."""
    at = {bus["id"]: bus["geometry"]["coordinates"] for bus in data["buses"]}
    east0, north0 = at[data["transformers"][0]["bus_lv"]]
    for bus, (east, north) in at.items():
        x = EARTH_RADIUS_M * radians(east - east0) * cos(radians(north0))
        yield f"{bus}, {x:.2f}, {EARTH_RADIUS_M * radians(north - north0):.2f}"


def write_feeder(data: Data, folder: Path) -> None:
    """Write the files that Master.dss redirects to."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [MADE_BY, *line_codes(data), *transformer(data), *earthing(data), *lines(data), *loads(data)]
    (folder / "Network.dss").write_text("\n".join(rows) + "\n", encoding="ascii", newline="\n")
    text = "\n".join(bus_coordinates(data)) + "\n"
    (folder / "Buscoords.csv").write_text(text, encoding="ascii", newline="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path, help="the wheel of roseau-load-flow")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    parser.add_argument("--reference", type=Path, help="file for the data as they were read")
    asked = parser.parse_args()
    found = json.loads(ZipFile(asked.wheel).read(SOURCE))
    write_feeder(found, asked.out)
    if asked.reference:
        kept = {**found, "lines": [{k: v for k, v in one.items() if k != "geometry"} for one in found["lines"]]}
        asked.reference.write_text(json.dumps(kept, separators=(",", ":")) + "\n", encoding="ascii", newline="\n")
    print(f"wrote {asked.out}")
