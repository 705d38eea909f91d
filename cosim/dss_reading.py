"""What a compiled OpenDSS circuit holds, in the words of the house; ``cosim.opendss`` hands the circuit over.

``Lines.*`` and ``Loads.*`` keep active elements of their own, so ratings and nodes are read through ``CktElement``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from cosim.contract import Branch, Int, LineFact, LoadFact, LoadShape, Network

_DEFAULT_RATING_A = (400.0, 600.0)  # what OpenDSS reports for a line that nobody rated
_NONLINEAR = ("Generator", "PVSystem", "Storage", "Isource", "VCCS", "UPFC", "IndMach012", "VSConverter")
_CONTROLS = ("RegControl", "CapControl", "SwtControl", "InvControl", "StorageController")
_METRES_PER_UNIT = {0: 1.0, 1: 1609.344, 2: 304.8, 3: 1000.0, 4: 1.0, 5: 0.3048, 6: 0.0254, 7: 0.01, 8: 0.001}


def elements(dss: Any, kind: str) -> Iterator[str]:
    """Make each enabled element of a class the active circuit element, and yield its name in upper case."""
    prefix = kind.lower() + "."
    for full in dss.Circuit.AllElementNames():
        if full.lower().startswith(prefix) and dss.Circuit.SetActiveElement(full) >= 0 and dss.CktElement.Enabled():
            yield full.split(".", 1)[1].upper()


def load_fact(dss: Any, name: str) -> LoadFact:
    """Facts of the active circuit element, a load."""
    numbers = [int(number) for number in dss.CktElement.NodeOrder()]
    bus = dss.CktElement.BusNames()[0].split(".")[0].upper()
    dss.Loads.Name(name)
    load = dss.Loads
    delta = bool(load.IsDelta())
    if delta and 0 in numbers and len(numbers) == 2:  # between a phase and earth, whatever it is called
        delta, numbers = False, sorted(numbers, reverse=True)
    neutral = 0 if delta else numbers.pop()
    if neutral in (1, 2, 3):  # a star whose neutral is a phase: across two phases, whatever it is called
        delta, neutral, numbers = True, 0, [*numbers, neutral]
    kw, kvar, kv = float(load.kW()), float(load.kvar()), float(load.kV())
    band_pu = float(load.Vminpu()), float(load.Vmaxpu())
    shape = _load_shape(dss, load.Yearly() or load.Daily(), kw)
    return LoadFact(name, bus, tuple(numbers), neutral, kw, kvar, kv, int(load.Model()), delta, band_pu, shape)


def _load_shape(dss: Any, name: str, kw: float) -> LoadShape | None:
    known = [known.lower() for known in dss.LoadShape.AllNames()] if dss.LoadShape.Count() else []
    if name.lower() not in known or name.lower() == "default":
        return None
    dss.LoadShape.Name(name)
    multiplier = np.array(dss.LoadShape.PMult(), dtype=float)
    actual = bool(dss.LoadShape.UseActual())
    return LoadShape(float(dss.LoadShape.MinInterval()), multiplier if actual else multiplier * kw)


def buses_of(dss: Any) -> tuple[dict[str, tuple[float, float]], dict[str, float]]:
    """Coordinates where there are any, and the phase-to-neutral base of every bus [kV]."""
    xy, bases = {}, {}
    for bus in dss.Circuit.AllBusNames():
        dss.Circuit.SetActiveBus(bus)
        bases[bus.upper()] = float(dss.Bus.kVBase())
        if dss.Bus.Coorddefined():
            xy[bus.upper()] = (float(dss.Bus.X()), float(dss.Bus.Y()))
    return xy, bases


def windings_of(dss: Any, name: str) -> tuple[list[float], list[float]]:
    """Rated voltages [kV] and powers [kVA] of the windings of a transformer."""
    dss.Transformers.Name(name)
    kvs, kvas = [], []
    for number in range(1, dss.Transformers.NumWindings() + 1):
        dss.Transformers.Wdg(number)
        kvs.append(float(dss.Transformers.kV()))
        kvas.append(float(dss.Transformers.kVA()))
    return kvs, kvas


def line_facts(dss: Any) -> dict[str, LineFact]:
    """What the file says of every line beside its impedance."""
    facts = {}
    for name in elements(dss, "Line"):
        dss.Lines.Name(name)
        code, unit = dss.Lines.LineCode().upper(), _unit_of_line(dss)
        dss.Text.Command(f'? "Line.{name}.BaseFreq"')
        facts[name] = LineFact(code, unit != 0, float(dss.Text.Result()), bool(dss.Lines.IsSwitch()))
    return facts


def _unit_of_line(dss: Any) -> int:
    """Unit of the length of the line that has been named; OpenDSS takes its line code's where it has none itself."""
    unit = int(dss.Lines.Units())
    if unit == 0 and dss.Lines.LineCode():
        dss.LineCodes.Name(dss.Lines.LineCode())
        unit = int(dss.LineCodes.Units())
    return unit


def taps_of(dss: Any) -> dict[str, float]:
    """Tap of every winding of every transformer, ``T1.2`` [pu]."""
    taps = {}
    for name in elements(dss, "Transformer"):
        dss.Transformers.Name(name)
        for number in range(1, dss.Transformers.NumWindings() + 1):
            dss.Transformers.Wdg(number)
            taps[f"{name}.{number}"] = float(dss.Transformers.Tap())
    return taps


def voltages_of(dss: Any, names: Sequence[str]) -> NDArray[np.complex128]:
    """Solved voltages to earth of nodes by name [V]; nan of what is not there."""
    solved = np.array(dss.Circuit.YNodeVArray(), dtype=float).view(complex)
    of_node = dict(zip((name.upper() for name in dss.Circuit.YNodeOrder()), solved.tolist(), strict=True))
    return np.array([of_node.get(name, complex("nan")) for name in names])


def cut_off(dss: Any) -> list[str]:
    """Buses that no enabled element joins to the source's, in upper case; open terminals do not count."""
    joined: dict[str, set[str]] = {bus.upper(): set() for bus in dss.Circuit.AllBusNames()}
    for full in dss.Circuit.AllElementNames():
        if dss.Circuit.SetActiveElement(full) >= 0 and dss.CktElement.Enabled():
            buses = [bus.split(".")[0].upper() for bus in dss.CktElement.BusNames()]
            for bus in buses:
                joined.setdefault(bus, set()).update(buses)
    dss.Circuit.SetActiveElement(f"Vsource.{dss.Vsources.AllNames()[0]}")
    reached, ahead = set(), [dss.CktElement.BusNames()[0].split(".")[0].upper()]
    while ahead:
        bus = ahead.pop()
        if bus not in reached:
            reached.add(bus)
            ahead += joined.get(bus, ())
    return [bus for bus in joined if bus not in reached]


def network_of(dss: Any) -> Network:
    """Read the linear network of a circuit whose loads are disabled and which is solved."""
    names = tuple(name.upper() for name in dss.Circuit.YNodeOrder())
    row = {name: index for index, name in enumerate(names)}
    data, indices, pointers = dss.YMatrix.getYsparse()
    matrix = sparse.csc_matrix((data, indices, pointers), shape=(len(names), len(names)), dtype=complex, copy=True)
    voltages = np.array(dss.YMatrix.getV(), dtype=float).view(complex)[1:]
    branches = [_branch(dss, name, "line", row) for name in elements(dss, "Line")]
    branches += [_branch(dss, name, "transformer", row) for name in elements(dss, "Transformer")]
    injectors = tuple(f"{kind}.{name}" for kind in _NONLINEAR for name in elements(dss, kind))
    controls = tuple(f"{kind}.{name}" for kind in _CONTROLS for name in elements(dss, kind))
    sources = [dss.CktElement.BusNames()[0].split(".")[0].upper() for _ in elements(dss, "Vsource")]
    dss.Vsources.First()
    pu = float(dss.Vsources.PU())
    return Network(names, matrix, voltages, pu, tuple(branches), tuple(sources), injectors, controls)


def _branch(dss: Any, name: str, kind: str, row: dict[str, int]) -> Branch:
    """Read the active circuit element, a line or a transformer; ``feeders.topology`` says which terminal feeds whom."""
    buses = tuple(bus.split(".")[0].upper() for bus in dss.CktElement.BusNames())
    numbers = np.array(dss.CktElement.NodeOrder()).reshape(len(buses), -1)
    conductors = numbers.shape[1]
    admittance = np.array(dss.CktElement.YPrim()).view(complex).reshape(numbers.size, numbers.size).T.copy()
    watched, length_m = 0, 0.0
    if kind == "transformer":
        kvs, ratings_a = _windings(dss, name, numbers)
        watched = int(np.argmin(kvs))
    else:
        ratings = (dss.CktElement.NormalAmps(), dss.CktElement.EmergAmps())
        rating_a = float("nan") if ratings == _DEFAULT_RATING_A or ratings[0] <= 0 else float(ratings[0])
        ratings_a = [rating_a] * len(buses)
        dss.Lines.Name(name)
        length_m = float(dss.Lines.Length()) * _METRES_PER_UNIT.get(_unit_of_line(dss), 1.0)
    return Branch(
        name=name,
        kind=kind,
        buses=buses,
        nodes=np.array([row.get(f"{bus}.{n}", -1) for bus, line in zip(buses, numbers, strict=True) for n in line]),
        phases=tuple(int(n) for n in numbers[watched]),
        admittance_s=admittance,
        monitored=slice(watched * conductors, (watched + 1) * conductors),
        rating_a=ratings_a[watched],
        length_m=length_m,
        terminal_ratings_a=tuple(ratings_a),
    )


def _windings(dss: Any, name: str, numbers: Int) -> tuple[list[float], list[float]]:
    """Rated voltage [kV] and rated current of a conductor [A] of every winding of the active element."""
    phases = int(dss.CktElement.NumPhases())
    kvs, kvas = windings_of(dss, name)
    # two windings of one phase that meet in a node are halves of one, each good for half of the machine
    is_centre_tapped = phases == 1 and len(kvs) == 3 and set(numbers[1]) & set(numbers[2])
    if is_centre_tapped:
        kvas = [kvas[0], kvas[0] / 2.0, kvas[0] / 2.0]
    # OpenDSS rates windings of several phases line to line
    to_phase_kv = np.sqrt(3.0) if phases > 1 else 1.0
    return kvs, [float(kva / phases / kv * to_phase_kv) if kv else np.inf for kv, kva in zip(kvs, kvas, strict=True)]
