"""OpenDSS, and nothing else in the house: compiling a circuit, reading it, solving it.

The engine has habits that produce wrong numbers silently; each is dealt with here once:

* a failed solve raises nothing, so convergence is asked for after every solve;
* loads turn into constant impedance outside ``vminpu..vmaxpu`` (0.95..1.05 by default), so the band is
  opened to 0.5..1.5 and all customers are constant power;
* compiling changes the working directory and the engine is a process-wide singleton, unless told otherwise.

A ``.dss`` file can run other files and write anywhere: it is code. Never compile one that you would not execute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import opendssdirect

from cosim.contract import AsIs, Complex, Connection, Feeder, Float, Survey, TransformerSpec
from cosim.dss_files import is_shipped
from cosim.dss_reading import (
    buses_of,
    cut_off,
    elements,
    line_facts,
    load_fact,
    network_of,
    taps_of,
    voltages_of,
    windings_of,
)
from cosim.dss_trial import refused, try_alone
from cosim.errors import Fault, InputError, PowerFlowError

TOLERANCE = 1e-8
"""Relative convergence tolerance; the engine's own default of 1e-4 is 7e-6 pu off."""

_SNAPSHOT = (
    "set mode=snap controlmode=off maxcontroliter=10 loadmodel=powerflow loadmult=1 year=0 "
    f"tolerance={TOLERANCE} maxiterations=100"
)
"""One snapshot a solve: time, growth and taps are the co-simulation's to decide, or nobody's."""
_OWN_SNAPSHOT = "set mode=snap"
_TIGHT = f"set tolerance={TOLERANCE} maxiterations=100"
_HARMLESS_LOADS = "batchedit load..* kw=1 kvar=0"
"""The engine linearises loads where it first meets them: from a file's huge loads, small ones converge badly."""
_CONSTANT_POWER = "batchedit load..* model=1 vminpu=0.5 vlowpu=0.5 vmaxpu=1.5"
"""In the band that the reduced network and the plant check against."""
_RELEASE = "clearall"
"""Lets go of the files that a circuit's controls write to: another engine could not open them."""
_NO_LOADS = "batchedit load..* enabled=no"
_EXECUTES = "OpenDSS executes {} and what it names, which can write files: use only circuits that you trust"


def survey(
    master: Path,
    *,
    source_pu: float | None = None,
    transformer: TransformerSpec | None = None,
    connections: Sequence[Connection] = (),
) -> Survey:
    """Compile a circuit and report what is in it.

    Parameters
    ----------
    master : Path
        OpenDSS file that defines the circuit.
    source_pu : float, optional
        Source voltage to set instead of the file's.
    transformer : TransformerSpec, optional
        Machine to put in place of the only transformer.
    connections : sequence of Connection, optional
        Loads to move, or to add.

    Returns
    -------
    Survey
        Loads as the file has them, and the network without loads.

    Raises
    ------
    InputError
        Where the file is missing, OpenDSS refuses it, a bus or phase of ``connections`` is not in it, or it does not
        converge even without loads.
    """
    dss = _compile(master, source_pu, transformer, connections)
    with _refusals(master):
        dss.Text.Command("makebuslist")  # a file that neither solves nor calculates bases has no nodes yet
        loads = tuple(load_fact(dss, name) for name in elements(dss, "Load"))
        _set_options(dss)
        if loads:
            # the network's own voltages and admittances: loads would be in both as linear impedances
            dss.Text.Command(_NO_LOADS)
        dss.Solution.Solve()
        if not dss.Solution.Converged():
            problem = "the power flow does not converge even without loads"
            remedy = "check source, transformers and other sources of power"
            for name in elements(dss, "Transformer"):
                if min(min(rated) for rated in windings_of(dss, name)) <= 0:
                    problem += f"; Transformer.{name} has a winding of 0 kV or 0 kVA"
            apart = cut_off(dss)
            if apart:
                problem += f"; {len(apart)} buses hang together with no source: {', '.join(apart[:5])}"
                remedy = "join them to the circuit, or disable what hangs on them"
            raise InputError(Fault(str(master), "", problem, remedy))
        xy, bases = buses_of(dss)
        windings = {name: windings_of(dss, name) for name in elements(dss, "Transformer")}
        found = Survey(
            loads=loads,
            network=network_of(dss),
            winding_kvs={name: tuple(kvs) for name, (kvs, _) in windings.items()},
            winding_kvas={name: tuple(kvas) for name, (_, kvas) in windings.items()},
            bus_xy=xy,
            voltage_bases_kv=bases,
            warnings=() if is_shipped(master) else (_EXECUTES.format(master.name),),
            lines=line_facts(dss),
            frequency_hz=float(dss.Solution.Frequency()),
        )
        dss.Text.Command(_RELEASE)
        return found


def as_is(feeder: Feeder) -> AsIs:
    """Solve a feeder's file as it is, then with one treatment after the other that runs give it.

    Parameters
    ----------
    feeder : Feeder
        A place without changes to its circuit.

    Returns
    -------
    AsIs
        Voltages in the order of the feeder's nodes.

    Raises
    ------
    InputError
        Where OpenDSS crashes on the file's own solution.
    """
    file, nodes = feeder.master, feeder.network.node_names
    dss = _compile(file, None, None, (), solving=(_OWN_SNAPSHOT, "solve"))
    start = taps_of(dss)
    dss.Text.Command(_OWN_SNAPSHOT)
    said = _solve_whatever_comes(dss)
    converged = bool(dss.Solution.Converged()) and not said
    iterations, rounds = int(dss.Solution.Iterations()), int(dss.Solution.ControlIterations())
    dss.Text.Command(_TIGHT)
    said = _solve_whatever_comes(dss) or said
    at_last = bool(dss.Solution.Converged())
    own_v, losses_kw, end = voltages_of(dss, nodes), float(dss.Circuit.Losses()[0]) / 1e3, taps_of(dss)
    dss.Text.Command(_RELEASE)
    dss = _compile(file, None, None, ())
    dss.Text.Command(f"{_OWN_SNAPSHOT} controlmode=off {_TIGHT.removeprefix('set ')}")
    _solve_whatever_comes(dss)
    frozen_v, multiplier = voltages_of(dss, nodes), float(dss.Solution.LoadMult())
    if dss.Loads.Count():
        dss.Text.Command(_CONSTANT_POWER)
    _solve_whatever_comes(dss)
    constant_power_v = voltages_of(dss, nodes)
    dss.Text.Command(_RELEASE)
    try:
        model_v = OpenDssEngine(feeder).solve(feeder.load_kw, feeder.load_kvar, np.nan).copy()
    except PowerFlowError:
        model_v = np.full(len(nodes), np.nan, complex)
    return AsIs(
        converged=converged,
        iterations=iterations,
        control_iterations=rounds,
        losses_kw=losses_kw,
        load_multiplier=multiplier,
        taps={name: (start[name], tap) for name, tap in end.items() if abs(tap - start[name]) > 1e-9},
        voltage_v=own_v,
        frozen_v=frozen_v,
        constant_power_v=constant_power_v,
        model_v=model_v,
        converged_at_last=at_last,
        said=said,
    )


class OpenDssEngine:
    """The power flow of a feeder, one constant-power load per customer.

    Parameters
    ----------
    feeder : Feeder
        The place.

    Attributes
    ----------
    context
        The compiled OpenDSSDirect context.

    Raises
    ------
    InputError
        Where the circuit's file no longer compiles to the feeder's nodes.
    """

    name = "opendss"

    def __init__(self, feeder: Feeder) -> None:
        dss = _compile(feeder.master, feeder.source_pu, feeder.replaced_transformer, feeder.connections)
        _set_options(dss)
        dss.Text.Command(_HARMLESS_LOADS)
        dss.Solution.Solve()
        names = [name.upper() for name in dss.Circuit.YNodeOrder()]
        # voltages are handed over by position: another order is mapped below, other nodes would be wrong silently
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
        self.context = dss  # stays alive with the engine; benchmarks solve with it
        # The low-level library: writing 55 loads through the object layer costs more than the power flow itself.
        self._lib = dss.dss_lib
        self._ffi = dss.dss_ffi
        self._pointer = self._ffi.new("double**")

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
        wanted_pu = source_pu if source_pu == source_pu else self._own_pu  # nan is not itself
        if wanted_pu != self._source_pu:
            self.context.Vsources.First()
            self.context.Vsources.PU(wanted_pu)
            self._source_pu = wanted_pu
        select, set_kw, set_kvar = lib.Loads_Set_idx, lib.Loads_Set_kW, lib.Loads_Set_kvar
        for index, kw, kvar in zip(self._loads, p_kw.tolist(), q_kvar.tolist(), strict=True):
            select(index)
            set_kw(kw)
            set_kvar(kvar)
        lib.Solution_SolveNoControl()  # taps and switches stay as in the file; only the loop is skipped
        if not lib.Solution_Get_Converged():
            raise PowerFlowError(
                f"OpenDSS did not converge in {lib.Solution_Get_Iterations()} iterations with a net load of "
                f"{p_kw.sum():.1f} kW (largest customer {p_kw.max():.1f} kW)"
            )
        lib.YMatrix_getVpointer(self._pointer)
        buffer = self._ffi.buffer(self._pointer[0], 16 * (self._nodes + 1))  # 16 bytes a complex number
        voltages: Complex = np.frombuffer(buffer, dtype=complex)[1:]  # entry 0 is earth
        return voltages if self._order is None else voltages[self._order]


def _compile(
    master: Path,
    source_pu: float | None,
    transformer: TransformerSpec | None,
    connections: Sequence[Connection],
    solving: Sequence[str] = ("makebuslist", _SNAPSHOT, _HARMLESS_LOADS, "solve", _NO_LOADS, "solve"),
) -> Any:
    """Compile a circuit in an engine of its own, with the changes asked for, once a child has, and has solved it."""
    if not master.is_file():
        raise InputError(Fault(str(master), "", "no such file", "give the path of an OpenDSS master file"))
    compile_it = f'compile "{master.resolve()}"'
    try_alone(master, [compile_it, *solving])
    with chdir("."):  # the first context of a process goes where the library was loaded, and stays there
        dss = opendssdirect.NewContext()
    dss.Basic.AllowForms(False)
    dss.Basic.AllowEditor(False)
    # paths of the run are relative to where it was started
    dss.Basic.AllowChangeDir(False)
    with _refusals(master):
        dss.Text.Command(compile_it)
        if dss.Basic.NumCircuits() == 0:
            raise InputError(Fault(str(master), "", "defines no circuit", "the file must hold a 'New Circuit' line"))
        if source_pu is not None:
            dss.Text.Command(f"edit Vsource.{dss.Vsources.AllNames()[0]} pu={source_pu!r}")
        if transformer is not None:
            _replace_transformer(dss, master, transformer)
        if connections:
            _connect(dss, master, connections)
    return dss


@contextmanager
def _refusals(master: Path) -> Iterator[None]:
    """Turn what OpenDSS says of a file into a fault of that file."""
    try:
        yield
    except opendssdirect.DSSException as error:
        raise refused(master, str(error)) from error


def _solve_whatever_comes(dss: Any) -> str:
    """Solve, and return what OpenDSS says where it gives up."""
    try:
        dss.Solution.Solve()
    except opendssdirect.DSSException as error:
        return " ".join(str(error).split())
    return ""


def _set_options(dss: Any) -> None:
    if dss.Loads.Count():
        dss.Text.Command(f"{_CONSTANT_POWER} status=variable growth=default")
    for meter in ("EnergyMeter", "Monitor", "Sensor"):
        dss.Circuit.SetActiveClass(meter)
        if dss.ActiveClass.Count():
            dss.Text.Command(f"batchedit {meter}..* enabled=no")
    dss.Text.Command(_SNAPSHOT)


def _replace_transformer(dss: Any, master: Path, spec: TransformerSpec) -> None:
    names = dss.Transformers.AllNames() if dss.Transformers.Count() else []
    if len(names) != 1:
        problem = f"the circuit has {len(names)} transformers, so which one to replace is not clear"
        raise InputError(Fault(str(master), "grid.transformer", problem, "leave the key out"))
    # uk is the impedance; load loss at rated current is its resistive part, half of it in each winding (%rs is per
    # winding)
    reactance = float(np.sqrt(spec.uk_percent**2 - spec.load_loss_percent**2))
    half = spec.load_loss_percent / 2
    dss.Text.Command(
        f'edit "Transformer.{names[0]}" kvas=[{spec.kva} {spec.kva}] %rs=[{half} {half}] xhl={reactance:.12g}'
    )


def _connect(dss: Any, master: Path, connections: Sequence[Connection]) -> None:
    """Move loads of the file, and add those that it does not have, with the voltage that its loads are rated for."""
    dss.Text.Command("makebuslist")
    nodes = {name.upper() for name in dss.Circuit.AllNodeNames()}
    known = {name.upper() for name in dss.Loads.AllNames()} if dss.Loads.Count() else set()
    asked = [(c.customer, f"{c.bus}.{phase}".upper()) for c in connections for phase in c.phases]
    faults = [
        Fault(str(master), f"connection of {who}", f"there is no node '{node}'", "name a bus and a phase of the feeder")
        for who, node in asked
        if node not in nodes
    ]
    if faults:
        raise InputError(faults)
    # rated voltage of the file's loads: it sets the band in which a load keeps its power
    phase_kv = None
    if known:
        dss.Loads.Name(min(known))
        phase_kv = float(dss.Loads.kV()) / np.sqrt(max(dss.Loads.Phases(), 1))
    for one in connections:
        dss.Circuit.SetActiveBus(one.bus)
        # OpenDSS rates loads of several phases line to line, those of one phase to neutral
        kv = (phase_kv or float(dss.Bus.kVBase())) * np.sqrt(3.0 if len(one.phases) > 1 else 1.0)
        where = ".".join(str(n) for n in (*one.phases, *([one.neutral] if one.neutral else [])))
        verb, power = ("edit", "") if one.customer.upper() in known else ("new", "kw=0 kvar=0")
        dss.Text.Command(
            f'{verb} "Load.{one.customer}" bus1="{one.bus}.{where}" phases={len(one.phases)} conn=wye kv={kv:.9g}'
            f" {power}"
        )
