"""What a compiled OpenDSS circuit holds, in the words of the house; ``cosim.opendss`` hands the circuit over.

``Lines.*`` and ``Loads.*`` keep active elements of their own, so ratings and nodes are read through ``CktElement``.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from cosim.contract import PHASES, Branch, Complex, Int, LineFact, LoadFact, LoadShape, Network, Roof
from cosim.load_laws import OWN_KVAR
from cosim.network import SteadySource

_DEFAULT_RATING_A = (400.0, 600.0)  # what OpenDSS reports for a line that nobody rated
FOLLOWED = ("Generator", "PVSystem", "Storage", "Isource")
_NOT_RUN = ("VCCS", "UPFC", "IndMach012", "VSConverter", "GICLine", "GICsource")
_UNTOLD = ("InvControl", "ExpControl", "StorageController", "GenDispatcher", "UPFCControl", "ESPVLControl")
_SWITCHES = ("SwtControl", "Relay", "Recloser", "Fuse")
OTHER_CONTROLS = (*_SWITCHES, *_UNTOLD)
TAP_CONTROLS = ("RegControl", "CapControl")
_INSTEAD = {
    **dict.fromkeys(_NOT_RUN, "is solved as in a snapshot, without what it does over time"),
    **dict.fromkeys(_UNTOLD, "does not act: what it controls stays as the file has it"),
    **dict.fromkeys(("AutoTrans", "GICTransformer"), "is in the losses, but not watched as a transformer"),
}
_DISPATCHED = {"Generator": ("default",), "Storage": ("default", "follow")}
_PASSIVE = ("Line", "Transformer", "Reactor", "Capacitor", "Fault", "AutoTrans", "GICTransformer")
_FIXED = 1
"""Status of a load that no shape changes."""
_METRES_PER_UNIT = {0: 1.0, 1: 1609.344, 2: 304.8, 3: 1000.0, 4: 1.0, 5: 0.3048, 6: 0.0254, 7: 0.01, 8: 0.001}


def elements(dss: Any, kind: str) -> Iterator[str]:
    """Make each enabled element of a class the active circuit element, and yield its name in upper case."""
    if not (dss.Circuit.SetActiveClass(kind) > 0 and dss.ActiveClass.Count()):
        return
    prefix = kind.lower() + "."
    for full in dss.Circuit.AllElementNames():
        if full.lower().startswith(prefix) and dss.Circuit.SetActiveElement(full) >= 0 and dss.CktElement.Enabled():
            yield full.split(".", 1)[1].upper()


def disabled_buses(dss: Any) -> frozenset[str]:
    """Buses that lines and other elements of two ends would reach if they were enabled, in upper case."""
    return frozenset(bus for buses in _buses_by_element(dss, enabled=False) if len(buses) > 1 for bus in buses)


def _buses_by_element(dss: Any, *, enabled: bool) -> Iterator[list[str]]:
    """Buses of every element that is enabled, or of every one that is not, in upper case."""
    for full in dss.Circuit.AllElementNames():
        if dss.Circuit.SetActiveElement(full) >= 0 and bool(dss.CktElement.Enabled()) == enabled:
            yield [bus.split(".")[0].upper() for bus in dss.CktElement.BusNames()]


def load_fact(dss: Any, name: str) -> LoadFact:
    """Facts of the active circuit element, a load."""
    numbers = [int(number) for number in dss.CktElement.NodeOrder()]
    bus, phases = dss.CktElement.BusNames()[0].split(".")[0].upper(), int(dss.CktElement.NumPhases())
    load = dss.Loads
    load.Name(name)
    star = not load.IsDelta()
    ends = _ends(numbers, phases, star=star)
    returns = {back for _, back in ends}
    delta = len(returns) > 1 or bool(returns & set(PHASES))
    touched = [number for number in numbers if number] if delta else [number for number, _ in ends]
    kw, kvar, kv = float(load.kW()), float(load.kvar()), float(load.kV())
    shapes = load.Yearly() or load.Daily()
    fixed, model = int(load.Status()) == _FIXED, int(load.Model())
    return LoadFact(
        name=name,
        bus=bus,
        node_numbers=tuple(dict.fromkeys(touched)) if delta else tuple(touched),
        neutral_number=0 if delta else returns.pop(),
        kw=kw,
        kvar=kvar,
        kv=kv,
        model=model,
        delta=delta,
        ends=ends,
        base_v=_base_v(kv, phases, star=star),
        low_pu=float(dss.Properties.Value("vlowpu")),
        band_pu=(float(load.Vminpu()), float(load.Vmaxpu())),
        exponents=(float(load.CVRwatts()), float(load.CVRvars())),
        zipv=tuple(float(one) for one in load.ZipV()),
        shape=None if fixed else _load_shape(dss, shapes, kw, kvar, own_kvar=model in OWN_KVAR),
        ignored=tuple(
            f"{what}={other}"
            for what, other, followed in (("duty", load.Duty(), shapes), ("CVRcurve", load.CVRCurve(), ""))
            if other.lower() not in ("", followed.lower())
        ),
    )


def _ends(numbers: Sequence[int], phases: int, *, star: bool) -> tuple[tuple[int, int], ...]:
    """Pairs of conductors between which an element draws or feeds in equal parts.

    A delta goes round: from every conductor to the next, from the last to the first; of fewer phases than three it
    stops after as many.
    """
    backs = [numbers[-1]] * phases if star else [numbers[(k + 1) % len(numbers)] for k in range(phases)]
    # earth and neutrals second: which of its two ends an element names first changes nothing
    return tuple((b, a) if a not in PHASES and b in PHASES else (a, b) for a, b in zip(numbers, backs, strict=False))


def _base_v(kv: float, phases: int, *, star: bool) -> float:
    """Rated voltage from one end to the other: OpenDSS rates elements of several phases line to line."""
    return 1e3 * kv / (np.sqrt(3.0) if star and phases in (2, 3) else 1.0)


def _load_shape(dss: Any, name: str, kw: float, kvar: float, *, own_kvar: bool) -> LoadShape | None:
    known = [known.lower() for known in dss.LoadShape.AllNames()] if dss.LoadShape.Count() else []
    if name.lower() not in known or name.lower() == "default":
        return None
    dss.LoadShape.Name(name)
    active, reactive = (np.array(values, dtype=float) for values in (dss.LoadShape.PMult(), dss.LoadShape.QMult()))
    actual = bool(dss.LoadShape.UseActual())
    shape_kw = active if actual else active * kw
    if own_kvar:
        shape_kvar = np.full_like(shape_kw, kvar)
    elif len(reactive) == len(active) and reactive.any():  # the engine gives one zero where there is no qmult
        shape_kvar = reactive if actual else reactive * kvar
    else:
        shape_kvar = shape_kw * (kvar / kw) if kw else active * kvar * (not actual)
    return LoadShape(float(dss.LoadShape.MinInterval()), shape_kw, shape_kvar)


def buses_of(dss: Any) -> tuple[dict[str, tuple[float, float]], dict[str, float]]:
    """Coordinates where there are any, and the phase-to-neutral base of every bus [kV]."""
    xy, bases = {}, {}
    for bus in dss.Circuit.AllBusNames():
        dss.Circuit.SetActiveBus(bus)
        bases[bus.upper()] = float(dss.Bus.kVBase())
        if dss.Bus.Coorddefined():
            xy[bus.upper()] = (float(dss.Bus.X()), float(dss.Bus.Y()))
    return xy, bases


def line_names(dss: Any) -> frozenset[str]:
    """Names of all lines, in upper case."""
    return frozenset(name.upper() for name in dss.Lines.AllNames()) if dss.Lines.Count() else frozenset()


def branch_name(kind: str, name: str, lines: Container[str]) -> str:
    """What a branch is called here: lines and transformers by their names, unless they share one; all else by class."""
    is_alone = kind.lower() == "line" or (kind.lower() == "transformer" and name not in lines)
    return name if is_alone else f"{kind}.{name}".upper()


def windings_of(dss: Any, name: str) -> tuple[list[float], list[float]]:
    """Rated voltages [kV] and powers [kVA] of the windings of a transformer."""
    rated = [(float(dss.Transformers.kV()), float(dss.Transformers.kVA())) for _ in _each_winding(dss, name)]
    return [kv for kv, _ in rated], [kva for _, kva in rated]


def _each_winding(dss: Any, name: str) -> Iterator[int]:
    """Make each winding of a transformer the active one, and yield its number."""
    dss.Transformers.Name(name)
    for number in range(1, dss.Transformers.NumWindings() + 1):
        dss.Transformers.Wdg(number)
        yield number


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
    return {
        f"{name}.{number}": float(dss.Transformers.Tap())
        for name in elements(dss, "Transformer")
        for number in _each_winding(dss, name)
    }


def voltages_of(dss: Any, names: Sequence[str]) -> NDArray[np.complex128]:
    """Solved voltages to earth of nodes by name [V]; nan of what is not there."""
    solved = np.array(dss.Circuit.YNodeVArray(), dtype=float).view(complex)
    of_node = dict(zip((name.upper() for name in dss.Circuit.YNodeOrder()), solved.tolist(), strict=True))
    return np.array([of_node.get(name, complex("nan")) for name in names])


def cut_off(dss: Any) -> list[str]:
    """Buses that no enabled element joins to the source's, in upper case; open terminals do not count."""
    joined: dict[str, set[str]] = {bus.upper(): set() for bus in dss.Circuit.AllBusNames()}
    for buses in _buses_by_element(dss, enabled=True):
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


def ask(dss: Any, element: str, key: str) -> str:
    """What the circuit says of a property of an element; empty where it says nothing."""
    dss.Text.Command(f'? "{element}.{key}"')
    said = str(dss.Text.Result()).strip()
    return "" if said.lower() in ("property unknown", "none") else said


class OtherSource(NamedTuple):
    """Nodes by name of each conductor of a source, and what it is if its power does not follow its voltage.

    Rows of its ends are numbers of conductors at its bus.
    """

    nodes: list[str]
    steady: SteadySource | None


def sources_of(dss: Any) -> dict[str, OtherSource]:
    """Other sources than the circuit's own, as they are solved."""
    found = {}
    for kind in (*FOLLOWED, *_NOT_RUN):
        for name in elements(dss, kind):
            buses = [bus.split(".")[0].upper() for bus in dss.CktElement.BusNames()]
            numbers = np.array(dss.CktElement.NodeOrder()).reshape(len(buses), -1)
            nodes = [f"{bus}.{n}" for bus, of in zip(buses, numbers, strict=True) for n in of]
            found[f"{kind}.{name}"] = OtherSource(nodes, _steady(dss, f"{kind}.{name}", numbers[0].tolist()))
    return found


def _steady(dss: Any, full: str, numbers: Sequence[int]) -> SteadySource | None:
    """The active circuit element, where it feeds in constant power."""
    phases, drawn_kva = int(dss.CktElement.NumPhases()), np.array(dss.CktElement.Powers()).view(complex).sum()
    if full.split(".")[0] not in ("Generator", "PVSystem", "Storage") or ask(dss, full, "model") != "1":
        return None
    star = ask(dss, full, "conn").lower() in ("wye", "y", "ln")
    kv, low, high = (float(ask(dss, full, key)) for key in ("kv", "vminpu", "vmaxpu"))
    ends = _ends(numbers, phases, star=star)
    return SteadySource(ends, -complex(drawn_kva), _base_v(kv, phases, star=star), (low, high))


def roofs_of(dss: Any, wanted: Sequence[str] | bool) -> Iterator[Roof | str]:
    """PVSystems that are to be roof plants; as text, why one cannot be (or is not there)."""
    asked = () if isinstance(wanted, bool) else [name.upper().removeprefix("PVSYSTEM.") for name in wanted]
    known = list(elements(dss, "PVSystem"))
    yield from (f"there is no PVSystem.{name}" for name in asked if name not in known)
    for name in known if wanted is True else [name for name in asked if name in known]:
        full = f"PVSystem.{name}"
        if curves := [key for key in ("EffCurve", "P-TCurve") if ask(dss, full, key)]:
            yield f"{full} has {' and '.join(curves)}, which a roof plant has not"
            continue
        kva, pmpp, sun, cut_in = (float(ask(dss, full, key)) for key in ("kVA", "Pmpp", "irradiance", "%cutin"))
        kw = np.full(1, pmpp * sun)
        interval_min = 1.0
        if shape := ask(dss, full, "yearly") or ask(dss, full, "daily"):
            dss.LoadShape.Name(shape)
            interval_min = float(dss.LoadShape.MinInterval())
            multiplier = np.array(dss.LoadShape.PMult(), dtype=float)
            # a shape in actual units stands for the irradiance itself
            kw = pmpp * multiplier * (1.0 if dss.LoadShape.UseActual() else sun)
        # (the inverter stops where it starts: %cutout is taken as %cutin)
        kw = np.where(kw < cut_in / 100.0 * kva, 0.0, np.minimum(kw, kva))
        dss.Circuit.SetActiveElement(full)
        bus = dss.CktElement.BusNames()[0].split(".")[0].upper()
        numbers = tuple(int(number) for number in dss.CktElement.NodeOrder() if number)
        yield Roof(name, bus, numbers, kva, LoadShape(interval_min, kw, np.zeros_like(kw)))


def unhonoured(dss: Any) -> Iterator[tuple[str, str]]:
    """Elements that a run cannot treat as the file means them, and what it does with them instead."""
    for kind, instead in _INSTEAD.items():
        yield from ((f"{kind}.{name}", instead) for name in elements(dss, kind))
    for kind, known in _DISPATCHED.items():
        for full in [f"{kind}.{name}" for name in elements(dss, kind)]:
            mode = ask(dss, full, "dispmode")
            if mode.lower() not in known:
                yield full, f"has dispmode={mode}, which nothing dispatches: it stays as the file starts it"
    for full in [f"Vsource.{name}" for name in elements(dss, "Vsource")]:
        if ask(dss, full, "daily") or ask(dss, full, "yearly"):
            yield full, "has a shape over time, but is held at its pu"


def network_of(dss: Any, sources: Mapping[str, OtherSource], missed: Sequence[tuple[str, str]]) -> Network:
    """Read the linear network of a circuit that is solved, its loads and other sources disabled."""
    names = tuple(name.upper() for name in dss.Circuit.YNodeOrder())
    row = {name: index for index, name in enumerate(names)}
    data, indices, pointers = dss.YMatrix.getYsparse()
    matrix = sparse.csc_matrix((data, indices, pointers), shape=(len(names), len(names)), dtype=complex, copy=True)
    voltages = np.array(dss.YMatrix.getV(), dtype=float).view(complex)[1:]
    lines = line_names(dss)
    branches = [_branch(dss, name, kind.lower(), row, lines) for kind in _PASSIVE for name in elements(dss, kind)]
    mains = [dss.CktElement.BusNames()[0].split(".")[0].upper() for _ in elements(dss, "Vsource")]
    nodes = tuple(np.array([row.get(node, -1) for node in of.nodes]) for of in sources.values())
    steady = {}
    for name, of in sources.items():
        # a conductor that only a source has is no node of the network: what happens there depends on voltages
        if of.steady and all(node in row or node.endswith(".0") for node in of.nodes):
            bus = of.nodes[0].rpartition(".")[0]
            ends = tuple((row[f"{bus}.{a}"], row.get(f"{bus}.{b}", -1)) for a, b in of.steady.ends)
            steady[name] = of.steady._replace(ends=ends)
    controls = tuple(f"{kind}.{name}" for kind in (*TAP_CONTROLS, *_SWITCHES) for name in elements(dss, kind))
    dss.Vsources.First()
    return Network(
        node_names=names,
        admittance_s=matrix,
        no_load_v=voltages,
        source_pu=float(dss.Vsources.PU()),
        branches=tuple(branches),
        source_buses=tuple(mains),
        injectors=tuple(sources),
        controls=controls,
        injector_nodes=nodes,
        steady_sources=steady,
        unhonoured=tuple(missed),
        frequency_hz=float(dss.Solution.Frequency()),
    )


def with_no_load_loss(dss: Any, network: Network) -> Network:
    """Return the network with what the cores of its transformers take; the circuit is left without it.

    The engine has one admittance for a transformer: what changes in it without the no-load loss is the core's.
    """
    percents = {
        branch.name: tuple(float(ask(dss, branch.element, key)) for key in ("%loadloss", "%noloadloss"))
        for branch in network.branches
        if branch.kind == "transformer"
    }
    lossy = {branch.name: branch for branch in network.branches if percents.get(branch.name, (0.0, 0.0))[1] > 0.0}
    for branch in lossy.values():
        dss.Text.Command(f'edit "{branch.element}" %noloadloss=0')
    if lossy:
        dss.Solution.Solve()  # which is when the engine builds the admittances anew
    branches = []
    for branch in network.branches:
        core = None
        if branch.name in lossy:
            dss.Circuit.SetActiveElement(branch.element)
            core = branch.admittance_s - primitive_admittance(dss)
        load, no_load = percents.get(branch.name, branch.loss_percent)
        branches.append(replace(branch, no_load_s=core, loss_percent=(load, no_load)))
    return replace(network, branches=tuple(branches))


def primitive_admittance(dss: Any) -> Complex:
    """Primitive admittance of the active circuit element [S]."""
    flat = np.array(dss.CktElement.YPrim()).view(complex)
    return flat.reshape(round(len(flat) ** 0.5), -1).T.copy()


def _branch(dss: Any, name: str, kind: str, row: dict[str, int], lines: Container[str]) -> Branch:
    """Read the active circuit element, which is passive; ``feeders.topology`` says which terminal feeds whom."""
    buses = tuple(bus.split(".")[0].upper() for bus in dss.CktElement.BusNames())
    numbers = np.array(dss.CktElement.NodeOrder()).reshape(len(buses), -1)
    conductors = numbers.shape[1]
    admittance = primitive_admittance(dss)
    watched, length_m, ratings_a = 0, 0.0, [float("nan")] * len(buses)
    if kind == "transformer":
        kvs, ratings_a = _windings(dss, name, numbers)
        watched = int(np.argmin(kvs))
    elif kind == "line":
        ratings = (dss.CktElement.NormalAmps(), dss.CktElement.EmergAmps())
        rating_a = float("nan") if ratings == _DEFAULT_RATING_A or ratings[0] <= 0 else float(ratings[0])
        if ratings[0] == _DEFAULT_RATING_A[0] > ratings[1] > 0:  # only emergamps was given, as some converters do
            rating_a = float(ratings[1])
        ratings_a = [rating_a] * len(buses)
        dss.Lines.Name(name)
        length_m = float(dss.Lines.Length()) * _METRES_PER_UNIT.get(_unit_of_line(dss), 1.0)
    return Branch(
        name=branch_name(kind, name, lines),
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
