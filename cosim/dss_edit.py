"""What is changed in a compiled OpenDSS circuit before runs solve it; ``cosim.opendss`` hands the circuit over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cosim.contract import Connection, Feeder, LoadLaws, Roof, TransformerSpec
from cosim.errors import Fault, InputError, refuse

TOLERANCE = 1e-8
"""Relative convergence tolerance; the engine's own default of 1e-4 is 7e-6 pu off."""

SNAPSHOT = (
    "set mode=snap controlmode=off maxcontroliter=10 loadmodel=powerflow loadmult=1 year=0 "
    f"tolerance={TOLERANCE} maxiterations=100"
)
"""One snapshot a solve: time, growth and taps are the co-simulation's to decide, or nobody's."""
CONSTANT_POWER = "model=1 vminpu=0.5 vlowpu=0.5 vmaxpu=1.5"
"""In the band that the reduced network and the plant check against."""


def take_out(dss: Any, roofs: Sequence[Roof]) -> None:
    """Disable PVSystems that are customers' roof plants."""
    for roof in roofs:
        dss.Text.Command(f'edit "PVSystem.{roof.name}" enabled=no')


def set_options(dss: Any) -> None:
    """Make all loads constant power, and what the co-simulation decides its own."""
    if dss.Loads.Count():
        dss.Text.Command(f"batchedit load..* {CONSTANT_POWER} status=variable growth=default")
    for meter in ("EnergyMeter", "Monitor", "Sensor"):
        dss.Circuit.SetActiveClass(meter)
        if dss.ActiveClass.Count():
            dss.Text.Command(f"batchedit {meter}..* enabled=no")
    dss.Text.Command(SNAPSHOT)


def follow(dss: Any, customers: Sequence[str], laws: LoadLaws) -> list[str]:
    """Give every load its law, and a load of constant power beside it for what is not the household's."""
    beside = []
    for row, name in enumerate(customers):
        dss.Loads.Name(name)
        loads, bus = dss.Loads, dss.CktElement.BusNames()[0]
        conn = "delta" if loads.IsDelta() else "wye"
        same = f'bus1="{bus}" phases={loads.Phases()} conn={conn} kv={loads.kV()!r}'
        low, least, most = laws.band_pu[row].tolist()
        watts, variables = laws.exponents[row].tolist()
        dss.Text.Command(
            f'edit "Load.{name}" model={laws.model[row]} vminpu={least!r} vmaxpu={most!r} vlowpu={low!r}'
            f" CVRwatts={watts!r} CVRvars={variables!r} zipv={laws.zipv[row].tolist()}"
        )
        beside.append(f"{name}_AT_CONSTANT_POWER")
        dss.Text.Command(f'new "Load.{beside[-1]}" {same} {CONSTANT_POWER}')
    return beside


def add_spurs(dss: Any, feeder: Feeder) -> list[str]:
    """Add a load for every charger on one phase of a home with several; return their names."""
    names, (_, there, back), added = feeder.network.node_names, feeder.load_ends, []
    for row, port in zip(*feeder.spurs, strict=True):
        neutral = f".{names[back[port]].rpartition('.')[2]}" if back[port] >= 0 else ""
        added.append(f"{feeder.customers[row]}_ON_ONE_PHASE")
        dss.Text.Command(
            f'new "Load.{added[-1]}" bus1="{names[there[port]]}{neutral}" phases=1 conn=wye'
            f" kv={feeder.port_nominal_v[port] / 1e3:.9g} {CONSTANT_POWER}"
        )
    return added


def set_missing_bases(dss: Any, feeder: Feeder) -> None:
    """Give buses without a voltage base their voltage without loads.

    Without one, the engine asks a neutral conductor that carries next to nothing to stand still within a part of its
    own few nanovolts, which it never does.
    """
    for bus, volts in feeder.network.highest_no_load_v.items():
        dss.Circuit.SetActiveBus(bus)
        if volts > 0.0 and not dss.Bus.kVBase():
            dss.Text.Command(f'setkvbase bus="{bus}" kvln={volts / 1e3:.9g}')


def replace_transformer(dss: Any, master: Path, spec: TransformerSpec) -> None:
    """Give the only transformer another rating and impedance; InputError where there are more."""
    names = dss.Transformers.AllNames() if dss.Transformers.Count() else []
    if len(names) != 1:
        problem = f"the circuit has {len(names)} transformers, so which one to replace is not clear"
        raise InputError(Fault(str(master), "grid.transformer", problem, "leave the key out"))
    # uk is the impedance; load loss at rated current is its resistive part, half of it in each winding (%rs is per
    # winding); the file's own iron is the other machine's
    reactance = float(np.sqrt(spec.uk_percent**2 - spec.load_loss_percent**2))
    half = spec.load_loss_percent / 2
    dss.Text.Command(
        f'edit "Transformer.{names[0]}" kvas=[{spec.kva} {spec.kva}] %rs=[{half} {half}] xhl={reactance:.12g}'
        f" %noloadloss={spec.no_load_loss_percent}"
    )


def connect(dss: Any, master: Path, connections: Sequence[Connection]) -> None:
    """Move loads of the file, and add those that it does not have, with the voltage that its loads are rated for."""
    dss.Text.Command("makebuslist")
    nodes = {name.upper() for name in dss.Circuit.AllNodeNames()}
    known = {name.upper() for name in dss.Loads.AllNames()} if dss.Loads.Count() else set()
    asked = [(c.customer, f"{c.bus}.{phase}".upper()) for c in connections for phase in c.phases]
    refuse(
        Fault(str(master), f"connection of {who}", f"there is no node '{node}'", "name a bus and a phase of the feeder")
        for who, node in asked
        if node not in nodes
    )
    # rated voltage of the file's loads, where they are of the bus's level
    own_kv = 0.0
    if known:
        dss.Loads.Name(min(known))
        own_kv = float(dss.Loads.kV()) / np.sqrt(max(dss.Loads.Phases(), 1))
    for one in connections:
        dss.Circuit.SetActiveBus(one.bus)
        base_kv = float(dss.Bus.kVBase())
        phase_kv = own_kv if own_kv and not 0.7 * own_kv > base_kv > 0.0 and base_kv < 1.4 * own_kv else base_kv
        # OpenDSS rates loads of several phases line to line, those of one phase to neutral
        kv = phase_kv * np.sqrt(3.0 if len(one.phases) > 1 else 1.0)
        where = ".".join(str(n) for n in (*one.phases, *([one.neutral] if one.neutral else [])))
        verb, model = ("edit", "") if one.customer.upper() in known else ("new", CONSTANT_POWER)
        dss.Text.Command(
            f'{verb} "Load.{one.customer}" bus1="{one.bus}.{where}" phases={len(one.phases)} conn=wye kv={kv:.9g}'
            f" {model}"
        )
        if verb == "new":
            dss.Loads.kW(0.0)  # as text, OpenDSSDirect 0.10 refuses a load of nothing
            dss.Loads.kvar(0.0)
