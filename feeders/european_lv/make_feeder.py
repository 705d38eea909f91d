"""Convert pandapower's IEEE European LV test feeder into the files that Master.dss beside this script redirects to.

Run once, by hand, in an environment of its own; pandapower is not a dependency of the project::

    python -m venv /some/where
    /some/where/bin/pip install pandapower==3.5.6
    /some/where/bin/python feeders/european_lv/make_feeder.py

The same pandapower gives the same bytes. ``--out DIR`` writes elsewhere, to compare with what is shipped.

What is changed on the way, and why, is told in ``SOURCE.md``: single-precision noise is rounded away, reactive power
follows the power factor of the test feeder, the source gets its short-circuit currents, loads keep their power at any
voltage, and line codes get a rated current.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import pandapower
import pandapower.networks
from pandapower.auxiliary import pandapowerNet

SCENARIO = "on_peak_566"
MADE_BY = f"! Written by make_feeder.py from pandapower {pandapower.__version__}, scenario {SCENARIO}. Do not edit."
POWER_FACTOR = 0.95  # of every load in the test feeder; pandapower's own reactive power is wrong on phases b and c
IMPEDANCE_DIGITS = 4  # the test feeder gives no more; the rest is single-precision noise

# Name in pandapower: (name in the test feeder, rated current [A]). Where the currents come from: SOURCE.md.
LINE_CODES = {
    "2c_007": ("2c_.007", 50),
    "2c_0225": ("2c_.0225", 97),
    "2c_16": ("2c_16", 102),
    "35_SAC_XSC": ("35_SAC_XSC", 123),
    "4c_06": ("4c_.06", 168),
    "4c_1": ("4c_.1", 225),
    "4c_35": ("4c_.35", 410),
    "4c_185": ("4c_185", 313),
    "4c_70": ("4c_70", 179),
    "4c_95_SAC_XC": ("4c_95_SAC_XC", 215),
}


def number(value: float, digits: int) -> str:
    """Write a number without trailing zeros and without the noise of single precision."""
    text = f"{float(value):.{digits}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def bus_names(net: pandapowerNet) -> dict[int, str]:
    """Map pandapower's bus index to the test feeder's bus name."""
    return {index: "SourceBus" if name == "SOURCEBUS" else str(name) for index, name in net.bus["name"].items()}


def line_codes(net: pandapowerNet) -> Iterable[str]:
    """One LineCode per cable type, with its rated current."""
    columns = {"R1": "r_ohm_per_km", "X1": "x_ohm_per_km", "R0": "r0_ohm_per_km", "X0": "x0_ohm_per_km"}
    types = net.line.groupby("std_type")[[*columns.values(), "c_nf_per_km", "c0_nf_per_km"]].agg(["min", "max"])
    if set(types.index) != set(LINE_CODES):
        raise ValueError(f"cable types {sorted(types.index)} are not those of the rated currents {sorted(LINE_CODES)}")
    for source_name, (name, rated_a) in LINE_CODES.items():
        row = types.loc[source_name]
        spread = max(row[column]["max"] - row[column]["min"] for column in columns.values())
        if spread > 0 or row["c_nf_per_km"]["max"] > 0 or row["c0_nf_per_km"]["max"] > 0:
            raise ValueError(f"lines of type {source_name} differ among each other, or have a capacitance")
        impedances = " ".join(
            f"{key}={number(row[column]['min'], IMPEDANCE_DIGITS)}" for key, column in columns.items()
        )
        yield (
            f"New LineCode.{name} nphases=3 BaseFreq=50 {impedances} C1=0 C0=0 Units=km "
            f"NormAmps={rated_a} EmergAmps={rated_a}"
        )


def lines(net: pandapowerNet) -> Iterable[str]:
    """One Line per cable; the length in metres, to a micrometre."""
    buses = bus_names(net)
    for row in net.line.itertuples():
        yield (
            f"New Line.{row.name} Bus1={buses[row.from_bus]} Bus2={buses[row.to_bus]} Phases=3 "
            f"LineCode={LINE_CODES[row.std_type][0]} Length={number(row.length_km * 1e3, 6)} Units=m"
        )


def transformers(net: pandapowerNet) -> Iterable[str]:
    """Write the one transformer; half of the resistance belongs to each winding."""
    buses = bus_names(net)
    (row,) = net.trafo.itertuples()
    resistance = row.vkr_percent
    reactance = (row.vk_percent**2 - resistance**2) ** 0.5
    kva = number(row.sn_mva * 1e3, 3)
    yield (
        f"New Transformer.TR1 Phases=3 Windings=2 Buses=[{buses[row.hv_bus]} {buses[row.lv_bus]}] "
        f"Conns=[Delta Wye] kVs=[{number(row.vn_hv_kv, 3)} {number(row.vn_lv_kv, 3)}] kVAs=[{kva} {kva}] "
        f"XHL={number(reactance, 4)} %Rs=[{number(resistance / 2, 4)} {number(resistance / 2, 4)}] sub=y"
    )


def loads(net: pandapowerNet) -> Iterable[str]:
    """One single-phase, constant-power Load per customer, in watts as published."""
    buses = bus_names(net)
    for row in net.asymmetric_load.itertuples():
        power_kw = {1: row.p_a_mw * 1e3, 2: row.p_b_mw * 1e3, 3: row.p_c_mw * 1e3}
        used = [phase for phase, kw in power_kw.items() if kw > 0]
        if len(used) != 1:
            raise ValueError(f"{row.name} has power on phases {used}, expected exactly one")
        (phase,) = used
        yield (
            f"New Load.{row.name} Phases=1 Bus1={buses[row.bus]}.{phase} kV=0.23 "
            f"kW={number(power_kw[phase], 3)} PF={POWER_FACTOR} Model=1 Vminpu=0.5 Vmaxpu=1.5"
        )


def bus_coordinates(net: pandapowerNet) -> Iterable[str]:
    """Bus, easting and northing in metres, to a millimetre."""
    buses = bus_names(net)
    for index, geometry in net.bus["geo"].items():
        x, y = json.loads(geometry)["coordinates"]
        yield f"{buses[index]}, {number(x, 3)}, {number(y, 3)}"


def write_feeder(folder: Path) -> None:
    """Write the files that Master.dss redirects to."""
    net = pandapower.networks.ieee_european_lv_asymmetric(SCENARIO)
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"LineCode": line_codes, "Lines": lines, "Transformers": transformers, "Loads": loads}
    for name, rows in parts.items():
        text = "\n".join([MADE_BY, *rows(net)]) + "\n"
        (folder / f"{name}.dss").write_text(text, encoding="ascii", newline="\n")
    (folder / "Buscoords.csv").write_text("\n".join(bus_coordinates(net)) + "\n", encoding="ascii", newline="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    destination = parser.parse_args().out
    write_feeder(destination)
    print(f"wrote {destination}")
