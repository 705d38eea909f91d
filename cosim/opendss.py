"""OpenDSS, and nothing else in the house: compiling a circuit, reading it, solving it.

The engine has habits that produce wrong numbers silently; each is dealt with here once:

* a failed solve raises nothing, so convergence is asked for after every solve;
* loads turn into constant impedance outside ``vminpu..vmaxpu`` (0.95..1.05 by default), so the band is
  opened to 0.5..1.5 and all customers are constant power, unless the feeder has ``load_laws``;
* compiling changes the working directory and the engine is a process-wide singleton, unless told otherwise.

A ``.dss`` file can run other files and write anywhere: it is code. Never compile one that you would not execute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import opendssdirect

from cosim.contract import AsIs, Complex, Connection, Feeder, Float, Survey, TransformerSpec
from cosim.dss_devices import OwnElements
from cosim.dss_edit import (
    CONSTANT_POWER,
    SNAPSHOT,
    TOLERANCE,
    add_spurs,
    connect,
    follow,
    replace_transformer,
    set_missing_bases,
    set_options,
    take_out,
)
from cosim.dss_files import is_shipped
from cosim.dss_reading import (
    branch_name,
    buses_of,
    cut_off,
    disabled_buses,
    elements,
    line_facts,
    line_names,
    load_fact,
    network_of,
    roofs_of,
    sources_of,
    taps_of,
    unhonoured,
    voltages_of,
    windings_of,
    with_no_load_loss,
)
from cosim.dss_trial import refused, try_alone
from cosim.errors import Fault, InputError, PowerFlowError
from cosim.network import TerminalPu, is_constant_power

_OWN_SNAPSHOT = "set mode=snap"
_TIGHT = f"set tolerance={TOLERANCE} maxiterations=100"
_PATIENCE = 10
"""So many times 100 iterations: towards the point of collapse they slow down, and 100 end 0.5 % before it."""
_HARMLESS_LOADS = "batchedit load..* kw=1 kvar=0"
"""The engine linearises loads where it first meets them: from a file's huge loads, small ones converge badly."""
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
    roofs: Sequence[str] | bool = (),
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
    roofs : sequence of str or bool
        PVSystems to take out, which are to be customers' roof plants; True for all.

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
        plants = list(roofs_of(dss, roofs))
        if wrong := [one for one in plants if isinstance(one, str)]:
            raise InputError([Fault(str(master), "pv.from_file", one, "name others of the file") for one in wrong])
        taken = tuple(one for one in plants if not isinstance(one, str))
        take_out(dss, taken)
        set_options(dss)
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
        sources, missed = sources_of(dss), list(unhonoured(dss))
        if sources:  # what they feed in is measured in each step: it is no property of the network
            for name in sources:
                dss.Text.Command(f'edit "{name}" enabled=no')
            dss.Solution.Solve()
        xy, bases = buses_of(dss)
        lines = line_names(dss)
        windings = {
            branch_name("Transformer", name, lines): windings_of(dss, name) for name in elements(dss, "Transformer")
        }
        found = Survey(
            loads=loads,
            network=with_no_load_loss(dss, network_of(dss, sources, missed)),
            winding_kvs={name: tuple(kvs) for name, (kvs, _) in windings.items()},
            winding_kvas={name: tuple(kvas) for name, (_, kvas) in windings.items()},
            roofs=taken,
            bus_xy=xy,
            disabled_buses=disabled_buses(dss),
            voltage_bases_kv=bases,
            warnings=() if is_shipped(master) else (_EXECUTES.format(master.name),),
            lines=line_facts(dss),
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
        dss.Text.Command(f"batchedit load..* {CONSTANT_POWER}")
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
    """The power flow of a feeder: one load per customer, and where they have laws one of constant power beside it.

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
        Where the circuit's file no longer compiles to the feeder's nodes, or holds what a run cannot honour.
    """

    name = "opendss"

    def __init__(self, feeder: Feeder) -> None:
        feeder.refuse_unhonoured()
        self._feeder = feeder
        self._open()

    def _open(self) -> None:
        """Compile the circuit as its file has it."""
        feeder = self._feeder
        dss = _compile(feeder.master, feeder.source_pu, feeder.replaced_transformer, feeder.connections)
        take_out(dss, [roof for _, roof in feeder.roofs])
        set_options(dss)
        drawing = list(feeder.customers)
        if feeder.load_laws is not None:
            drawing += follow(dss, feeder.customers, feeder.load_laws)
        drawing += add_spurs(dss, feeder)
        for name in {name.upper() for name in dss.Loads.AllNames()} - set(drawing):
            dss.Text.Command(f'edit "Load.{name}" enabled=no')  # de-energised, so no customer
        dss.Text.Command(_HARMLESS_LOADS)
        dss.Solution.Solve()
        names = [name.upper() for name in dss.Circuit.YNodeOrder()]
        # voltages are handed over by position: another order is mapped below, other nodes would be wrong silently
        # (a conductor that only a source of the file's own has, is not in the network)
        others = set(names) - set(feeder.network.node_names)
        if len(names) - len(others) != len(feeder.network.node_names) or (others and not feeder.network.injectors):
            problem = "the file no longer defines the nodes that were read from it"
            raise InputError(Fault(str(feeder.master), "", problem, "load the feeder again"))
        set_missing_bases(dss, feeder)
        row = {name: index for index, name in enumerate(names)}
        order = np.array([row[name] for name in feeder.network.node_names])
        self._order = None if len(order) == len(names) and (order == np.arange(len(order))).all() else order
        load_index = {name.upper(): index + 1 for index, name in enumerate(dss.Loads.AllNames())}
        self._loads = [load_index[name] for name in drawing]
        self._nodes = len(names)
        self._own_pu = self._source_pu = feeder.network.source_pu
        self.context = dss  # stays alive with the engine; benchmarks solve with it
        # The low-level library: writing 55 loads through the object layer costs more than the power flow itself.
        self._lib = low_level(dss)
        self._ffi = dss.dss_ffi
        self._pointer = self._ffi.new("double**")
        self._terminal_pu = TerminalPu(*feeder.load_ends[1:], feeder.port_nominal_v)
        self._sound_v = self._engine_v().copy()
        self._is_new = True

    def close(self) -> None:
        """Let go of the circuit, about 9 MB: the library keeps every context until the process ends."""
        self.context.Text.Command("clear")

    def start(self, start: datetime, step_min: float) -> OwnElements | None:
        """Return to what the file says, at the beginning of a day.

        Parameters
        ----------
        start : datetime
            Local clock of the first step.
        step_min : float
            Length of a step [min].

        Returns
        -------
        OwnElements or None
            What the file itself runs along the steps; None where it has nothing of that kind.
        """
        if not self._feeder.network.injectors and self._feeder.taps != "controlled":
            return None
        if not self._is_new:
            self._open()  # taps, storage and what controls remember
        self._is_new = False
        return OwnElements(self.context, self._feeder, start, step_min)

    def solve(self, p_kw: Float, q_kvar: Float, source_pu: float) -> Complex:
        """Solve one operating point.

        Parameters
        ----------
        p_kw, q_kvar : ndarray, shape (customer,)
            Net consumption; of a feeder with ``load_laws`` or chargers on single phases more, see
            `cosim.contract.Engine`.
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
        iterations = 0
        for _ in range(_PATIENCE):
            lib.Solution_SolveNoControl()  # taps and switches stay as in the file; only the loop is skipped
            iterations += lib.Solution_Get_Iterations()
            if lib.Solution_Get_Converged() or not is_constant_power(self._terminal_pu(self._ordered_v())):
                break
        if not lib.Solution_Get_Converged():
            # the next solve starts from the voltages that are there, and from these it may find none for any load
            self._engine_v()[:] = self._sound_v
            raise PowerFlowError(
                f"OpenDSS did not converge in {iterations} iterations with a net load of "
                f"{p_kw.sum():.1f} kW (largest customer {p_kw.max():.1f} kW)"
            )
        return self._ordered_v()

    def _ordered_v(self) -> Complex:
        voltages = self._engine_v()
        return voltages if self._order is None else voltages[self._order]

    def _engine_v(self) -> Complex:
        """Node voltages in the engine's own memory and order."""
        self._lib.YMatrix_getVpointer(self._pointer)
        buffer = self._ffi.buffer(self._pointer[0], 16 * (self._nodes + 1))  # 16 bytes a complex number
        return np.frombuffer(buffer, dtype=complex)[1:]  # entry 0 is earth


def low_level(dss: Any) -> Any:
    """Return the C library's functions, bound to a context.

    ``dss_lib``, the public name of the same, has them bound in OpenDSSDirect 0.9 only: in 0.10 each wants the context
    as its first argument, and binding it in Python takes twice as long as the library's own binding.
    """
    return dss._lib


def _compile(
    master: Path,
    source_pu: float | None,
    transformer: TransformerSpec | None,
    connections: Sequence[Connection],
    solving: Sequence[str] = ("makebuslist", SNAPSHOT, _HARMLESS_LOADS, "solve", _NO_LOADS, "solve"),
) -> Any:
    """Compile a circuit in an engine of its own, with the changes asked for, once a child has, and has solved it."""
    if not master.is_file():
        raise InputError(Fault(str(master), "", "no such file", "give the path of an OpenDSS master file"))
    compile_it = f'compile "{master.resolve()}"'
    try_alone(master, [compile_it, *solving])
    with chdir("."):  # the first context of a process goes where the library was loaded, and stays there
        dss = opendssdirect.NewContext()
    lib = low_level(dss)
    lib.DSS_Set_AllowForms(0)
    lib.DSS_Set_AllowEditor(0)
    # paths of the run are relative to where it was started
    lib.DSS_Set_AllowChangeDir(0)
    with _refusals(master):
        dss.Text.Command(compile_it)
        if dss.Basic.NumCircuits() == 0:
            raise InputError(Fault(str(master), "", "defines no circuit", "the file must hold a 'New Circuit' line"))
        if source_pu is not None:
            dss.Text.Command(f"edit Vsource.{dss.Vsources.AllNames()[0]} pu={source_pu!r}")
        if transformer is not None:
            replace_transformer(dss, master, transformer)
        if connections:
            connect(dss, master, connections)
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
