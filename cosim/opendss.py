"""OpenDSS, and nothing else in the house: compiling a circuit, reading it, solving it.

The engine has habits that produce wrong numbers silently; each is dealt with here once:

* a failed solve raises nothing, so convergence is asked for after every solve;
* loads turn into constant impedance outside ``vminpu..vmaxpu`` (0.95..1.05 by default), so the band is
  opened to 0.5..1.5 and all customers are constant power;
* ``Lines.*`` and ``Loads.*`` keep active elements of their own, so ratings and nodes are read through ``CktElement``;
* compiling changes the working directory and the engine is a process-wide singleton, unless told otherwise.

A ``.dss`` file can run other files and write anywhere: it is code. Never compile one that you would not execute.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import opendssdirect
from scipy import sparse

from cosim.contract import Branch, Complex, Feeder, Float, LoadFact, LoadShape, Network, Survey, TransformerSpec
from cosim.errors import Fault, InputError, PowerFlowError

TOLERANCE = 1e-8
"""Relative convergence tolerance; the engine's own default of 1e-4 is 7e-6 pu off."""

_DEFAULT_RATING_A = (400.0, 600.0)  # what OpenDSS reports for a line that nobody rated
_NONLINEAR = ("Generator", "PVSystem", "Storage", "Isource", "VCCS", "UPFC", "IndMach012", "VSConverter")
_CONTROLS = ("RegControl", "CapControl", "SwtControl", "InvControl", "StorageController")
_METRES_PER_UNIT = {0: 1.0, 1: 1609.344, 2: 304.8, 3: 1000.0, 4: 1.0, 5: 0.3048, 6: 0.0254, 7: 0.01, 8: 0.001}


def survey(master: Path, *, source_pu: float | None = None, transformer: TransformerSpec | None = None) -> Survey:
    """Compile a circuit and report what is in it.

    Parameters
    ----------
    master : Path
        OpenDSS file that defines the circuit.
    source_pu : float, optional
        Source voltage to set instead of the file's.
    transformer : TransformerSpec, optional
        Machine to put in place of the only transformer.

    Returns
    -------
    Survey
        Loads as the file has them, and the network without loads.

    Raises
    ------
    InputError
        Where the file is missing, OpenDSS refuses it, or it does not converge even without loads.
    """
    dss = _compile(master, source_pu, transformer)
    with _refusals(master):
        dss.Text.Command("makebuslist")  # a file that neither solves nor calculates bases has no nodes yet
        loads = tuple(_load_fact(dss, name) for name in _elements(dss, "Load"))
        _set_options(dss)
        if loads:
            dss.Text.Command("batchedit load..* enabled=no")
        dss.Solution.Solve()
        if not dss.Solution.Converged():
            problem = "the power flow does not converge even without loads"
            raise InputError(Fault(str(master), "", problem, "check source, transformers and other sources of power"))
        xy, bases = _buses(dss)
        return Survey(
            loads=loads,
            network=_network(dss),
            transformer_kva={name: max(_windings(dss, name)[1]) for name in _elements(dss, "Transformer")},
            bus_xy=xy,
            voltage_bases_kv=bases,
        )


class OpenDssEngine:
    """The power flow of a feeder, one constant-power load per customer.

    Parameters
    ----------
    feeder : Feeder
        The place.

    Raises
    ------
    InputError
        Where the circuit's file no longer compiles to the feeder's nodes.
    """

    name = "opendss"

    def __init__(self, feeder: Feeder) -> None:
        dss = _compile(feeder.master, feeder.source_pu, feeder.replaced_transformer)
        _set_options(dss)
        # The engine linearises loads where it first meets them: from a file's huge loads, small ones converge badly.
        dss.Text.Command("batchedit load..* kw=1 kvar=0")
        dss.Solution.Solve()
        names = [name.upper() for name in dss.Circuit.YNodeOrder()]
        if sorted(names) != sorted(feeder.network.node_names):
            problem = "the file no longer defines the nodes that were read from it"
            raise InputError(Fault(str(feeder.master), "", problem, "load the feeder again"))
        row = {name: index for index, name in enumerate(names)}
        order = np.array([row[name] for name in feeder.network.node_names])
        self._order = None if (order == np.arange(len(order))).all() else order
        load_index = {name.upper(): index + 1 for index, name in enumerate(dss.Loads.AllNames())}
        self._loads = [load_index[name] for name in feeder.customers]
        self._nodes = len(names)
        self._own_pu = self._source_pu = feeder.network.source_pu
        self._dss = dss  # keeps the engine's context alive
        # The low-level library: writing 55 loads through the object layer costs more than the power flow itself.
        self._lib = dss.dss_lib
        self._ffi = dss.dss_ffi
        self._pointer = self._ffi.new("double**")

    @property
    def context(self) -> Any:
        """The compiled OpenDSSDirect context, for benchmarks that need the bare engine."""
        return self._dss

    def solve(self, p_kw: Float, q_kvar: Float, source_pu: float) -> Complex:
        """Solve one operating point.

        Parameters
        ----------
        p_kw, q_kvar : ndarray, shape (customer,)
            Net consumption.
        source_pu : float
            Source voltage; nan for the feeder's own.

        Returns
        -------
        ndarray of complex, shape (node,)
            Node voltages [V]; the engine's own memory, valid until the next call.

        Raises
        ------
        PowerFlowError
            Where the engine does not converge, with its number of iterations.
        """
        lib = self._lib
        wanted_pu = source_pu if source_pu == source_pu else self._own_pu
        if wanted_pu != self._source_pu:
            self._dss.Vsources.First()
            self._dss.Vsources.PU(wanted_pu)
            self._source_pu = wanted_pu
        select, set_kw, set_kvar = lib.Loads_Set_idx, lib.Loads_Set_kW, lib.Loads_Set_kvar
        for index, kw, kvar in zip(self._loads, p_kw.tolist(), q_kvar.tolist(), strict=True):
            select(index)
            set_kw(kw)
            set_kvar(kvar)
        lib.Solution_SolveNoControl()
        if not lib.Solution_Get_Converged():
            raise PowerFlowError(
                f"OpenDSS did not converge in {lib.Solution_Get_Iterations()} iterations with a net load of "
                f"{p_kw.sum():.1f} kW (largest customer {p_kw.max():.1f} kW)"
            )
        lib.YMatrix_getVpointer(self._pointer)
        buffer = self._ffi.buffer(self._pointer[0], 16 * (self._nodes + 1))
        voltages: Complex = np.frombuffer(buffer, dtype=complex)[1:]
        return voltages if self._order is None else voltages[self._order]


def _compile(master: Path, source_pu: float | None, transformer: TransformerSpec | None) -> Any:
    """Compile a circuit in an engine of its own, with the changes asked for."""
    if not master.is_file():
        raise InputError(Fault(str(master), "", "no such file", "give the path of an OpenDSS master file"))
    dss = opendssdirect.NewContext()
    dss.Basic.AllowForms(False)
    dss.Basic.AllowEditor(False)
    dss.Basic.AllowChangeDir(False)
    with _refusals(master):
        dss.Text.Command(f'compile "{master.resolve()}"')
        if dss.Basic.NumCircuits() == 0:
            raise InputError(Fault(str(master), "", "defines no circuit", "the file must hold a 'New Circuit' line"))
        if source_pu is not None:
            dss.Text.Command(f"edit Vsource.{dss.Vsources.AllNames()[0]} pu={source_pu!r}")
        if transformer is not None:
            _replace_transformer(dss, master, transformer)
    return dss


@contextmanager
def _refusals(master: Path) -> Iterator[None]:
    """Turn what OpenDSS says of a file into a fault of that file."""
    try:
        yield
    except opendssdirect.DSSException as error:
        raise InputError(
            Fault(str(master), "", f"OpenDSS refuses it: {error}", "mend the file until OpenDSS compiles it by itself")
        ) from error


def _set_options(dss: Any) -> None:
    if dss.Loads.Count():
        dss.Text.Command("batchedit load..* model=1 vminpu=0.5 vmaxpu=1.5 status=variable growth=default")
    for meter in ("EnergyMeter", "Monitor", "Sensor"):
        dss.Circuit.SetActiveClass(meter)
        if dss.ActiveClass.Count():
            dss.Text.Command(f"batchedit {meter}..* enabled=no")
    dss.Text.Command(f"set mode=snap controlmode=off loadmult=1 tolerance={TOLERANCE} maxiterations=100")


def _replace_transformer(dss: Any, master: Path, spec: TransformerSpec) -> None:
    names = dss.Transformers.AllNames() if dss.Transformers.Count() else []
    if len(names) != 1:
        problem = f"the circuit has {len(names)} transformers, so which one to replace is not clear"
        raise InputError(Fault(str(master), "grid.transformer", problem, "leave the key out"))
    reactance = float(np.sqrt(spec.uk_percent**2 - spec.load_loss_percent**2))
    half = spec.load_loss_percent / 2
    dss.Text.Command(
        f"edit Transformer.{names[0]} kvas=[{spec.kva} {spec.kva}] %rs=[{half} {half}] xhl={reactance:.12g}"
    )


def _elements(dss: Any, kind: str) -> Iterator[str]:
    """Make each enabled element of a class the active circuit element, and yield its name in upper case."""
    prefix = kind.lower() + "."
    for full in dss.Circuit.AllElementNames():
        if full.lower().startswith(prefix) and dss.Circuit.SetActiveElement(full) >= 0 and dss.CktElement.Enabled():
            yield full.split(".", 1)[1].upper()


def _property(dss: Any, element: str, key: str) -> str:
    dss.Text.Command(f"? {element}.{key}")
    return str(dss.Text.Result()).strip("[]() ")


def _load_fact(dss: Any, name: str) -> LoadFact:
    numbers = [int(number) for number in dss.CktElement.NodeOrder()]
    bus = dss.CktElement.BusNames()[0].split(".")[0].upper()
    element = f"Load.{name}"
    kw, kvar, kv = (float(_property(dss, element, key)) for key in ("kw", "kvar", "kv"))
    delta = _property(dss, element, "conn").lower() in ("delta", "ll")
    neutral = 0 if delta else numbers.pop()
    if neutral in (1, 2, 3):  # a star whose neutral is a phase: across two phases, whatever it is called
        delta, neutral, numbers = True, 0, [*numbers, neutral]
    model = int(_property(dss, element, "model"))
    band_pu = float(_property(dss, element, "vminpu")), float(_property(dss, element, "vmaxpu"))
    shape = _load_shape(dss, _property(dss, element, "yearly") or _property(dss, element, "daily"), kw)
    return LoadFact(name, bus, tuple(numbers), neutral, kw, kvar, kv, model, delta, band_pu, shape)


def _load_shape(dss: Any, name: str, kw: float) -> LoadShape | None:
    known = [known.lower() for known in dss.LoadShape.AllNames()] if dss.LoadShape.Count() else []
    if name.lower() not in known or name.lower() == "default":
        return None
    dss.LoadShape.Name(name)
    multiplier = np.array(dss.LoadShape.PMult(), dtype=float)
    actual = bool(dss.LoadShape.UseActual())
    return LoadShape(float(dss.LoadShape.MinInterval()), multiplier if actual else multiplier * kw)


def _buses(dss: Any) -> tuple[dict[str, tuple[float, float]], dict[str, float]]:
    xy, bases = {}, {}
    for bus in dss.Circuit.AllBusNames():
        dss.Circuit.SetActiveBus(bus)
        bases[bus.upper()] = float(dss.Bus.kVBase())
        if dss.Bus.Coorddefined():
            xy[bus.upper()] = (float(dss.Bus.X()), float(dss.Bus.Y()))
    return xy, bases


def _windings(dss: Any, name: str) -> tuple[list[float], list[float]]:
    """Rated voltages [kV] and powers [kVA] of the windings of a transformer."""
    element = f"Transformer.{name}"
    kvs, kvas = (
        [float(part) for part in _property(dss, element, key).replace(",", " ").split()] for key in ("kvs", "kvas")
    )
    return kvs, kvas


def _network(dss: Any) -> Network:
    """Read the linear network of a circuit whose loads are disabled and which is solved."""
    names = tuple(name.upper() for name in dss.Circuit.YNodeOrder())
    row = {name: index for index, name in enumerate(names)}
    data, indices, pointers = dss.YMatrix.getYsparse()
    matrix = sparse.csc_matrix((data, indices, pointers), shape=(len(names), len(names)), dtype=complex)
    voltages = np.array(dss.YMatrix.getV(), dtype=float).view(complex)[1:]
    branches = [_branch(dss, name, "line", row) for name in _elements(dss, "Line")]
    branches += [_branch(dss, name, "transformer", row) for name in _elements(dss, "Transformer")]
    injectors = tuple(f"{kind}.{name}" for kind in _NONLINEAR for name in _elements(dss, kind))
    controls = tuple(f"{kind}.{name}" for kind in _CONTROLS for name in _elements(dss, kind))
    dss.Vsources.First()
    return Network(names, matrix, voltages, float(dss.Vsources.PU()), tuple(branches), injectors, controls)


def _branch(dss: Any, name: str, kind: str, row: dict[str, int]) -> Branch:
    """Read the active circuit element, a line or a transformer."""
    buses = tuple(bus.split(".")[0].upper() for bus in dss.CktElement.BusNames())
    numbers = np.array(dss.CktElement.NodeOrder()).reshape(len(buses), -1)
    conductors = numbers.shape[1]
    admittance = np.array(dss.CktElement.YPrim()).view(complex).reshape(numbers.size, numbers.size).T.copy()
    watched, length_m = 0, 0.0
    if kind == "transformer":
        phases = int(dss.CktElement.NumPhases())
        kvs, kvas = _windings(dss, name)
        watched = int(np.argmin(kvs))
        rating_a = kvas[watched] / (kvs[watched] * (np.sqrt(3.0) if phases > 1 else 1.0))
    else:
        ratings = (dss.CktElement.NormalAmps(), dss.CktElement.EmergAmps())
        rating_a = float("nan") if ratings == _DEFAULT_RATING_A or ratings[0] <= 0 else float(ratings[0])
        dss.Lines.Name(name)
        length_m = float(dss.Lines.Length()) * _METRES_PER_UNIT.get(int(dss.Lines.Units()), 1.0)
    return Branch(
        name=name,
        kind=kind,
        buses=buses,
        nodes=np.array([row.get(f"{bus}.{n}", -1) for bus, line in zip(buses, numbers, strict=True) for n in line]),
        phases=tuple(int(n) for n in numbers[watched]),
        admittance_s=admittance,
        monitored=slice(watched * conductors, (watched + 1) * conductors),
        rating_a=float(rating_a),
        length_m=length_m,
    )
