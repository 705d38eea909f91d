"""From a folder or an OpenDSS file to a ``Feeder``, with everything said that is missing or will mislead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cosim import plugins
from cosim.contract import (
    STANDARDS,
    Connection,
    Feeder,
    Int,
    LoadLaws,
    OilTransformer,
    Survey,
    TransformerSpec,
    ZipShares,
    out_of_range,
)  # fmt: skip
from cosim.errors import Fault, InputError, refuse
from cosim.feeders.areas import areas_of, limits_of, rated_v
from cosim.feeders.facts import apply, of_customers, read_facts
from cosim.feeders.faults import circuit_faults, de_energised, over_rated
from cosim.feeders.find import find
from cosim.feeders.findings import MEANT, findings, of_own_elements, of_sleeping
from cosim.feeders.topology import trace

CONSTANT, OF_THE_FILE = "constant_power", "file"
"""Load models that have a name."""

SURVEYOR = "cosim.opendss:survey"
"""Who reads a circuit's file, imported only when needed. Only the engine can read its own language, so this name is the
one thread from here to the engine."""

CONNECTION_KW_PER_PHASE = 14.0
"""Where ``feeder.toml`` declares none: about 60 A, the smaller of the main fuses usual in British homes."""


def title(name: str) -> str:
    """One line about a feeder of ``names()``, from its ``feeder.toml``."""
    return str(read_facts(find(name).with_name("feeder.toml")).get("title", ""))


def load(
    name_or_path: str | Path,
    *,
    source_pu: float | None = None,
    nominal_voltage_v: float | None = None,
    transformer: TransformerSpec | None = None,
    connections: Sequence[Connection] = (),
    load_model: str | ZipShares = CONSTANT,
    standard: str | None = None,
    taps: Literal["frozen", "controlled"] = "frozen",
    accept: Sequence[str] = (),
    roofs: Sequence[str] | bool = (),
    thermal: OilTransformer | None = None,
) -> Feeder:
    """Load a shipped or installed feeder by name, or any OpenDSS circuit by the path of its master file.

    Parameters
    ----------
    name_or_path : str or Path
        A name of ``feeders.names()``, a folder with a ``Master.dss``, or a master file. A ``feeder.toml`` beside the
        master file may declare what OpenDSS has no word for. A ``.dss`` file is code: it can run and write others.
    source_pu : float, optional
        Source voltage to set instead of the file's.
    nominal_voltage_v : float, optional
        Phase to neutral, of all customers that are rated for about it, instead of ``feeder.toml``'s [V].
    transformer : TransformerSpec, optional
        Machine to put in place of the only transformer, impedance and all.
    connections : sequence of Connection, optional
        Customers of the file that are connected elsewhere, and customers that the file does not have.
    load_model : str or ZipShares
        How households follow their voltage: ``constant_power``, ``file`` for the model, voltages and coefficients that
        the file gives every load, or shares of constant impedance, current and power that all have. Cars and roofs
        are constant power always.
    standard : str, optional
        Name of the standard by which voltages are judged (a key of ``STANDARDS``), instead of the one that
        ``feeder.toml`` names; else EN 50160.
    taps : str
        ``controlled``: the file's own regulators and capacitor controls act, with their delays between steps.
    accept : sequence of str
        Elements, such as ``Storage.bat``, that a run cannot treat as the file means them and is made with all the same.
    roofs : sequence of str or bool
        PVSystems of the file that are roof plants of the customers at their buses, which controllers can curtail; True
        for all.
    thermal : OilTransformer, optional
        Thermal constants of its transformers; those of IEC 60076-7 for distribution transformers without.

    Returns
    -------
    Feeder
        With ``warnings`` about what is missing or will mislead.

    Raises
    ------
    InputError
        Where there is no such feeder, or it does not compile, it holds no customer, or a bus or phase of
        ``connections`` does not exist.
    """
    master = find(name_or_path)
    given = {"source_pu": source_pu, "nominal_voltage_v": nominal_voltage_v}
    refuse(out_of_range("feeders.load", {key: value for key, value in given.items() if value is not None}))
    changes: dict[str, Any] = {"source_pu": source_pu, "transformer": transformer, "connections": tuple(connections)}
    toml = master.with_name("feeder.toml")
    facts = read_facts(toml)
    if nominal_voltage_v is not None:
        facts["nominal_voltage_v"] = nominal_voltage_v
    if standard is not None:
        facts["standard"] = standard
    if facts.get("standard", "en50160") not in STANDARDS:
        remedy = f"write one of {', '.join(STANDARDS)}"
        raise InputError(Fault("feeders.load", "standard", f"is {standard!r}", remedy))
    survey: Survey = plugins.shipped(SURVEYOR)(master, **changes, roofs=roofs)
    if not survey.loads:
        raise InputError(Fault(str(master), "", "has no load, so no customer", "define at least one Load"))
    asleep = [load for load in de_energised(survey) if load.name not in {c.customer.upper() for c in connections}]
    survey = replace(survey, loads=tuple(load for load in survey.loads if load not in asleep))
    refuse(circuit_faults(master, survey))
    if transformer is not None:  # what is asked for is not what the file's machine is said to be
        facts.pop("transformer_kva", None)
    survey, told = apply(facts, survey, toml)
    feeder = _assemble(master, survey, facts, load_model)
    changes["replaced_transformer"] = changes.pop("transformer")
    own: dict[str, Any] = {"taps": taps, "accepted": tuple(accept)}
    told = (*told, *of_sleeping(asleep), *of_own_elements(survey.network, **own))
    own["thermal"] = thermal or feeder.thermal
    homes = tuple(zip(_homes_of(master, survey), survey.roofs, strict=True))
    return replace(feeder, **changes, **own, roofs=homes, findings=(*feeder.findings, *told))


def _laws(survey: Survey, load_model: str | ZipShares) -> LoadLaws | None:
    """Give what the loads' power follows; None where all is constant power after all."""
    loads = survey.loads
    if load_model not in (CONSTANT, OF_THE_FILE) and not isinstance(load_model, ZipShares):
        remedy = f"write {CONSTANT}, {OF_THE_FILE}, or shares p and q of impedance, current and power"
        raise InputError(Fault("feeders.load", "load_model", f"is {load_model!r}", remedy))
    if load_model == CONSTANT:
        return None
    base_v = np.array([load.base_v for load in loads])
    if isinstance(load_model, ZipShares):
        return LoadLaws.of_zip(base_v, load_model.p, load_model.q)
    laws = LoadLaws(
        model=np.array([load.model for load in loads]),
        base_v=base_v,
        band_pu=np.array([(load.low_pu, *load.band_pu) for load in loads]),
        exponents=np.array([load.exponents for load in loads]),
        zipv=np.array([load.zipv for load in loads]),
    )
    return laws if laws.varying.any() else None


def _assemble(master: Path, survey: Survey, facts: Mapping[str, Any], load_model: str | ZipShares) -> Feeder:
    traced = trace(survey.network)
    network = traced.network
    row = {name: index for index, name in enumerate(network.node_names)}
    voltage = dict(zip(network.node_names, network.no_load_v.tolist(), strict=True))
    meant = [MEANT[0] <= over_rated(load, voltage) <= MEANT[1] for load in survey.loads]
    own_v = [rated_v(load, voltage) if sure else np.nan for load, sure in zip(survey.loads, meant, strict=True)]
    areas, customer_v = areas_of(survey, traced, own_v, facts.get("nominal_voltage_v"))
    main = max(areas, key=lambda area: (len(area.customers), bool(area.transformers)), default=None)
    head = facts.get("head_line") or (main.head_line if main else None)
    fed = [name for area in areas for name in area.transformers if area.customers]
    monitored = facts.get("monitored") or fed or list(traced.regulators) or ([head] if head else [])
    known = {branch.name for branch in network.branches}
    refuse(
        Fault(str(master.with_name("feeder.toml")), key, f"there is no branch '{name}'", "name a Line or Transformer")
        for key, wanted in (("head_line", [head] if head else []), ("monitored", monitored))
        for name in wanted
        if name.upper() not in known
    )
    kw_per_phase = float(facts.get("connection_kw_per_phase", CONNECTION_KW_PER_PHASE))
    nodes = tuple(tuple(row[f"{load.bus}.{n}"] for n in load.node_numbers) for load in survey.loads)
    phases = tuple(_phases(traced.node_phase[list(of_load)]) for of_load in nodes)
    supply = main.transformers[0] if main and main.transformers else next(iter(traced.regulators), None)
    constant = load_model == CONSTANT
    return Feeder(
        name=facts.get("name") or master.parent.name,
        master=master,
        nominal_voltage_v=float(main.nominal_voltage_v if main and main.customers else np.median(customer_v)),
        customers=tuple(load.name for load in survey.loads),
        customer_bus=tuple(load.bus for load in survey.loads),
        customer_phases=phases,
        customer_nodes=nodes,
        customer_neutral=tuple(row.get(f"{load.bus}.{load.neutral_number}", -1) for load in survey.loads),
        customer_ends=tuple(
            tuple((row[f"{load.bus}.{there}"], row.get(f"{load.bus}.{back}", -1)) for there, back in load.ends)
            for load in survey.loads
        ),
        load_kw=np.array([load.kw for load in survey.loads]),
        load_kvar=np.array([load.kvar for load in survey.loads]),
        load_shapes=tuple(load.shape for load in survey.loads),
        connection_kw=kw_per_phase * np.array([len(of_load) for of_load in phases], float),
        network=network,
        customer_nominal_v=customer_v,
        areas=areas,
        limits=tuple(limits_of(survey, areas, traced, [*([head] if head else []), *monitored])),
        transformer=supply,
        transformer_kva=main.rating_kva
        if main and main.transformers
        else survey.transformer_kva.get(supply or "", float("nan")),
        head_line=head.upper() if head else None,
        monitored=tuple(name.upper() for name in monitored),
        coordinates=dict(survey.bus_xy),
        distance_m=traced.distance_m,
        latitude_deg=float(facts.get("latitude_deg", 53.48)),
        longitude_deg=float(facts.get("longitude_deg", -2.24)),
        customer_names=tuple(of_customers(facts, "customer_names", survey)),
        customer_types=tuple(of_customers(facts, "customer_types", survey)),
        line_codes={name: fact.code for name, fact in survey.lines.items()},
        standard=STANDARDS[facts.get("standard", "en50160")],
        load_model=load_model,
        load_laws=_laws(survey, load_model),
        delta_customers=tuple(load.name for load in survey.loads if load.delta),
        findings=tuple(findings(survey, facts, areas, traced.distance_m, own_v, customer_v, constant=constant)),
    )


def _phases(traced: Int) -> tuple[int, ...]:
    return tuple(int(phase) for phase in traced if 1 <= phase <= 3) or (1,)


def _homes_of(master: Path, survey: Survey) -> list[int]:
    """Row of the customer under each roof plant: the first at its bus that has all its phases."""
    homes, faults = [], []
    for roof in survey.roofs:
        under = [
            row
            for row, load in enumerate(survey.loads)
            if load.bus == roof.bus and set(load.node_numbers) == set(roof.node_numbers) - {load.neutral_number}
        ]
        homes += under[:1]
        if not under:
            problem = f"PVSystem.{roof.name} has no customer at the same phases of bus '{roof.bus}'"
            faults.append(Fault(str(master), "pv.from_file", problem, "leave it to the file, or add a Load there"))
    refuse(faults)
    return homes
