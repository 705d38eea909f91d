"""From a folder or an OpenDSS file to a ``Feeder``, with everything said that is missing or will mislead."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cosim import plugins
from cosim.contract import (
    Area,
    Connection,
    Feeder,
    Float,
    Int,
    LoadFact,
    Network,
    Survey,
    TransformerSpec,
    out_of_range,
)
from cosim.errors import Fault, InputError
from cosim.feeders.areas import PUBLIC_V, areas_of, limits_of, rated_v
from cosim.feeders.faults import circuit_faults, no_load_voltages, over_rated
from cosim.feeders.find import find
from cosim.feeders.topology import Trace, trace

SURVEYOR = "cosim.opendss:survey"
"""Who reads a circuit's file, imported only when needed. Only the engine can read its own language, so this name is the
one thread from here to the engine."""

CONNECTION_KW_PER_PHASE = 14.0
"""Where ``feeder.toml`` declares none: about 60 A, the smaller of the main fuses usual in British homes."""

_TAP_CONTROLS = ("RegControl.", "CapControl.")
_MEANT = (0.6, 1.4)
"""Voltage without load over the rated one, where a load can be meant for its bus."""

_TEXT = "give text in quotes, not empty, e.g. {}"
_REMEDIES = {
    "name": _TEXT.format('name = "my_street"'),
    "title": _TEXT.format('title = "My street"'),
    "head_line": _TEXT.format('head_line = "LINE1"'),
    "monitored": 'name one branch or more, none twice, e.g. monitored = ["TR1"]; without the key: the transformer',
    "nominal_voltage_v": "",
    "latitude_deg": "",
    "longitude_deg": "",
    "connection_kw_per_phase": "",
}
"""Keys of ``feeder.toml``, and what to write; of numbers their range says it."""


def title(name: str) -> str:
    """One line about a feeder of ``names()``, from its ``feeder.toml``."""
    return str(_facts(find(name).with_name("feeder.toml")).get("title", ""))


def load(
    name_or_path: str | Path,
    *,
    source_pu: float | None = None,
    transformer: TransformerSpec | None = None,
    connections: Sequence[Connection] = (),
    taps: Literal["frozen", "controlled"] = "frozen",
    accept: Sequence[str] = (),
    roofs: Sequence[str] | bool = (),
) -> Feeder:
    """Load a shipped or installed feeder by name, or any OpenDSS circuit by the path of its master file.

    Parameters
    ----------
    name_or_path : str or Path
        A name of ``feeders.names()``, a folder with a ``Master.dss``, or a master file. A ``feeder.toml`` beside the
        master file may declare what OpenDSS has no word for. A ``.dss`` file is code: it can run and write others.
    source_pu : float, optional
        Source voltage to set instead of the file's.
    transformer : TransformerSpec, optional
        Machine to put in place of the only transformer, impedance and all.
    connections : sequence of Connection, optional
        Customers of the file that are connected elsewhere, and customers that the file does not have.
    taps : str
        ``controlled``: the file's own regulators and capacitor controls act, with their delays between steps.
    accept : sequence of str
        Elements, such as ``Storage.bat``, that a run cannot treat as the file means them and is made with all the same.
    roofs : sequence of str or bool
        PVSystems of the file that are roof plants of the customers at their buses, which controllers can curtail; True
        for all.

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
    faults = [] if source_pu is None else out_of_range("feeders.load", {"source_pu": source_pu})
    if faults:
        raise InputError(faults)
    changes: dict[str, Any] = {"source_pu": source_pu, "transformer": transformer, "connections": tuple(connections)}
    facts = _facts(master.with_name("feeder.toml"))
    survey: Survey = plugins.shipped(SURVEYOR)(master, **changes, roofs=roofs)
    if not survey.loads:
        raise InputError(Fault(str(master), "", "has no load, so no customer", "define at least one Load"))
    wrong = tuple(circuit_faults(master, survey))
    if wrong:
        raise InputError(wrong)
    changes["replaced_transformer"] = changes.pop("transformer")
    own: dict[str, Any] = {"taps": taps, "accepted": tuple(accept)}
    told = tuple(_own_warnings(survey.network, **own))
    feeder = _assemble(master, survey, facts)
    homes = tuple(zip(_homes_of(master, survey), survey.roofs, strict=True))
    return replace(feeder, **changes, **own, roofs=homes, warnings=(*feeder.warnings, *told))


def _facts(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        facts = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        remedy = "give a text file in UTF-8 with lines such as nominal_voltage_v = 230, or none"
        raise InputError(Fault(str(path), "", f"is not TOML: {said}", remedy)) from error
    faults = out_of_range(str(path), {key: value for key, value in facts.items() if key in _REMEDIES})
    for key, value in facts.items():
        if key not in _REMEDIES:
            near = get_close_matches(key, _REMEDIES, n=1)
            remedy = f"write {near[0]}" if near else f"use only {', '.join(_REMEDIES)}"
            faults.append(Fault(str(path), key, "unknown key", remedy))
        elif _REMEDIES[key] and not all(map(_is_text, _members(value) if key == "monitored" else [value])):
            faults.append(Fault(str(path), key, f"is {value!r}", _REMEDIES[key]))
    if faults:
        raise InputError(faults)
    return facts


def _members(value: object) -> list[object]:
    """What is in a list, in which nothing comes twice; of anything else nothing that is text."""
    once = isinstance(value, list) and value and len({str(one).upper() for one in value}) == len(value)
    return list(value) if once else [None]  # type: ignore[call-overload]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


def _assemble(master: Path, survey: Survey, facts: Mapping[str, Any]) -> Feeder:
    traced = trace(survey.network)
    network = traced.network
    row = {name: index for index, name in enumerate(network.node_names)}
    voltage = dict(zip(network.node_names, network.no_load_v.tolist(), strict=True))
    meant = [_MEANT[0] <= over_rated(load, voltage) <= _MEANT[1] for load in survey.loads]
    own_v = [rated_v(load, voltage) if sure else np.nan for load, sure in zip(survey.loads, meant, strict=True)]
    areas, customer_v = areas_of(survey, traced, own_v, facts.get("nominal_voltage_v"))
    main = max(areas, key=lambda area: (len(area.customers), bool(area.transformers)), default=None)
    head = facts.get("head_line") or (main.head_line if main else None)
    fed = [name for area in areas for name in area.transformers if area.customers]
    monitored = facts.get("monitored") or fed or list(traced.regulators) or ([head] if head else [])
    known = {branch.name for branch in network.branches}
    faults = [
        Fault(str(master.with_name("feeder.toml")), key, f"there is no branch '{name}'", "name a Line or Transformer")
        for key, wanted in (("head_line", [head] if head else []), ("monitored", monitored))
        for name in wanted
        if name.upper() not in known
    ]
    if faults:
        raise InputError(faults)
    kw_per_phase = float(facts.get("connection_kw_per_phase", CONNECTION_KW_PER_PHASE))
    nodes = tuple(tuple(row[f"{load.bus}.{n}"] for n in load.node_numbers) for load in survey.loads)
    phases = tuple(_phases(traced.node_phase[list(of_load)]) for of_load in nodes)
    supply = main.transformers[0] if main and main.transformers else next(iter(traced.regulators), None)
    return Feeder(
        name=facts.get("name") or master.parent.name,
        master=master,
        nominal_voltage_v=float(main.nominal_voltage_v if main else np.median(customer_v)),
        customers=tuple(load.name for load in survey.loads),
        customer_bus=tuple(load.bus for load in survey.loads),
        customer_phases=phases,
        customer_nodes=nodes,
        customer_neutral=tuple(row.get(f"{load.bus}.{load.neutral_number}", -1) for load in survey.loads),
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
        delta_customers=tuple(load.name for load in survey.loads if load.delta),
        warnings=(*survey.warnings, *_warnings(survey, facts, traced, areas, own_v, customer_v)),
    )


def _phases(traced: Int) -> tuple[int, ...]:
    return tuple(int(phase) for phase in traced if 1 <= phase <= 3) or (1,)


def _warnings(
    survey: Survey,
    facts: Mapping[str, Any],
    traced: Trace,
    areas: Sequence[Area],
    own_v: Sequence[float],
    customer_v: Float,
) -> Iterator[str]:
    lines = survey.network.lines
    voltage = no_load_voltages(survey.network)
    unrated = sum(not np.isfinite(line.rating_a) for line in lines)
    if unrated == len(lines):
        yield "no line has a rating: line loading cannot be judged (set normamps)"
    elif unrated:
        yield f"{unrated} of {len(lines)} lines have no rating of their own (OpenDSS default 400 A)"
    if not any(branch.kind == "transformer" for branch in survey.network.branches):
        yield "no transformer: transformer measures are empty"
    if any(base == 0 for base in survey.voltage_bases_kv.values()):
        yield "no voltage bases (Set VoltageBases, CalcVoltageBases): OpenDSS gives volts where per unit is expected"
    if not survey.bus_xy:
        yield "no coordinates: the map is left out"
    declared = facts.get("nominal_voltage_v")
    if declared is None:
        levels = ", ".join(
            f"{volts:.1f} V" for volts in sorted({area.nominal_voltage_v for area in areas if area.customers})
        )
        yield f"nominal voltage not declared (feeder.toml): {levels} from the loads' ratings"
    by_problem: dict[str, list[str]] = defaultdict(list)
    for load, rated, nominal in zip(survey.loads, own_v, customer_v, strict=True):
        there_v = abs(voltage[f"{load.bus}.{load.node_numbers[0]}"])
        if not 0.7 <= nominal / there_v <= 1.4:
            by_problem[f"have a nominal voltage of {nominal:.4g} V, but {there_v:.4g} V from phase to earth"].append(
                load.name
            )
        elif nominal == PUBLIC_V != rated and declared is None:
            told = f"rated {rated:.1f} V as the transformer is: nominal is {PUBLIC_V:g} V (or nominal_voltage_v)"
            by_problem[told].append(load.name)
        elif isinstance(declared, (int, float)) and nominal != declared:
            told = f"on another level of voltage than nominal_voltage_v = {declared:g}: judged by their own rating"
            by_problem[told].append(load.name)
        for problem in _load_problems(load, over_rated(load, voltage), traced.distance_m):
            by_problem[problem].append(load.name)
    for problem, who in by_problem.items():
        shown = f"{', '.join(who[:3])}{', …' * (len(who) > 3)}"
        yield f"{len(who)} of {len(survey.loads)} loads {problem} ({shown})"


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
    if faults:
        raise InputError(faults)
    return homes


def _own_warnings(network: Network, taps: str, accepted: Sequence[str]) -> Iterator[str]:
    """What a run does with the elements of the file that move or feed in by themselves."""
    acting = [name for name in network.controls if taps == "controlled" and name.startswith(_TAP_CONTROLS)]
    idle = [name for name in network.controls if name not in acting]
    if idle:
        yield f"tap control disabled, switches as they are at the start: {_few(idle)}"
    if acting:
        yield f"tap control acts; controllers that predict voltages know the first taps only: {_few(acting)}"
    if network.injectors:
        yield f"other sources feed in by the file's shapes, and no controller knows them: {_few(network.injectors)}"
    for name, why in network.unhonoured:
        is_accepted = name.upper() in {one.upper() for one in accepted}
        yield f"{name} {why} ({'accepted' if is_accepted else 'runs are refused unless it is accepted'})"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + ", …" * (len(names) > 5)


def _load_problems(load: LoadFact, over: float, distance_m: Mapping[str, float]) -> Iterator[str]:
    if load.model != 1:
        yield "not constant power (model ≠ 1): runs treat them as constant power"
    if load.delta:
        yield "connected between phases (delta): per-phase figures do not hold for them"
    elif len(load.node_numbers) == 2:
        yield "connected to two phases: measures assume one or three"
    if not _MEANT[0] <= over <= _MEANT[1]:
        yield "rated for another voltage than their bus has: their power will not be served"
    elif load.model == 1 and not load.band_pu[0] <= over <= load.band_pu[1]:
        yield "outside vminpu..vmaxpu without load, where plain OpenDSS makes them impedances: runs do not"
    if load.bus not in distance_m:
        yield "not reached by lines from the source"
