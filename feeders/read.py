"""From a folder or an OpenDSS file to a ``Feeder``, with everything said that is missing or will mislead."""

from __future__ import annotations

import os
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cosim import plugins
from cosim.contract import Connection, Feeder, LoadFact, Survey, TransformerSpec
from cosim.errors import Fault, InputError
from cosim.feeders.topology import distances_m, edges_of, head_line, low_voltage_terminal, supply_of

SURVEYOR = "cosim.opendss:survey"
"""Who reads a circuit's file, imported only when needed. Only the engine can read its own language, so this name is the
one thread from here to the engine."""

CONNECTION_KW_PER_PHASE = 14.0
"""Where ``feeder.toml`` declares none: about 60 A, the smaller of the main fuses usual in British homes."""

GROUP = "cosim.feeders"
"""Entry points by which installed packages offer feeders: a path, or a function that returns one."""

_HERE = Path(__file__).parent
_FACTS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "title": str,
    "nominal_voltage_v": (int, float),
    "latitude_deg": (int, float),
    "longitude_deg": (int, float),
    "connection_kw_per_phase": (int, float),
    "head_line": str,
    "monitored": list,
}


def names() -> tuple[str, ...]:
    """Names of the feeders that are shipped, then of those of installed packages; shipped names win."""
    shipped = tuple(sorted(folder.parent.name for folder in _HERE.glob("*/feeder.toml")))
    return (*shipped, *[name for name in plugins.offered(GROUP) if name not in shipped])


def title(name: str) -> str:
    """One line about a feeder of ``names()``, from its ``feeder.toml``."""
    return str(_facts(_find(name).with_name("feeder.toml")).get("title", ""))


def is_installed(name: str) -> bool:
    """Whether a feeder of that name comes from an installed package."""
    return not (_HERE / name / "feeder.toml").is_file() and name in plugins.offered(GROUP)


def load(
    name_or_path: str | Path,
    *,
    source_pu: float | None = None,
    transformer: TransformerSpec | None = None,
    connections: Sequence[Connection] = (),
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
    master = _find(name_or_path)
    if master.suffix.lower() != ".dss":
        raise InputError(Fault(str(master), "", f"'{master.suffix}' is no circuit file", "give an OpenDSS .dss file"))
    changes: dict[str, Any] = {"source_pu": source_pu, "transformer": transformer, "connections": tuple(connections)}
    survey: Survey = plugins.shipped(SURVEYOR)(master, **changes)
    facts = _facts(master.with_name("feeder.toml"))
    if not survey.loads:
        raise InputError(Fault(str(master), "", "has no load, so no customer", "define at least one Load"))
    changes["replaced_transformer"] = changes.pop("transformer")
    return replace(_assemble(master, survey, facts), **changes)


def _find(name_or_path: str | Path) -> Path:
    name = str(name_or_path)
    if is_installed(name):
        target = plugins.target_of(GROUP, name)
        offered = plugins.load(target, "feeder") if target else name
        path = Path(offered() if callable(offered) else offered)
    else:
        path = _HERE / name if name in names() else Path(name_or_path)
    if os.path.isdir(path):  # false, not an error, where a name is too long for a file
        path = path / "Master.dss"
    if not os.path.isfile(path):
        known = ", ".join(names())
        raise InputError(
            Fault(
                str(name_or_path), "feeder", "no such feeder or file", f"use one of {known}, or a path to a .dss file"
            )
        )
    return path


def _facts(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        facts = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(Fault(str(path), "", f"is not TOML: {error}", "mend the syntax")) from error
    faults = []
    for key, value in facts.items():
        if key not in _FACTS:
            faults.append(Fault(str(path), key, "unknown key", f"use only {', '.join(_FACTS)}"))
        elif not isinstance(value, _FACTS[key]):
            faults.append(Fault(str(path), key, f"is {value!r}, of the wrong type", "see feeders/two_bus/feeder.toml"))
    if faults:
        raise InputError(faults)
    return facts


def _assemble(master: Path, survey: Survey, facts: Mapping[str, Any]) -> Feeder:
    network = survey.network
    row = {name: index for index, name in enumerate(network.node_names)}
    supply = supply_of(survey)
    start = supply.buses[low_voltage_terminal(supply)] if supply else network.node_names[0].split(".")[0]
    distance_m = distances_m(edges_of(network), start)
    head = facts.get("head_line") or head_line(network, start)
    monitored = facts.get("monitored") or ([supply.name] if supply else [head] if head else [])
    nominal = facts.get("nominal_voltage_v") or _nominal_voltage_v(survey)
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
    return Feeder(
        name=facts.get("name") or master.parent.name,
        master=master,
        nominal_voltage_v=float(nominal),
        customers=tuple(load.name for load in survey.loads),
        customer_bus=tuple(load.bus for load in survey.loads),
        customer_phases=tuple(_phases(load) for load in survey.loads),
        customer_nodes=tuple(tuple(row[f"{load.bus}.{n}"] for n in load.node_numbers) for load in survey.loads),
        customer_neutral=tuple(row.get(f"{load.bus}.{load.neutral_number}", -1) for load in survey.loads),
        load_kw=np.array([load.kw for load in survey.loads]),
        load_kvar=np.array([load.kvar for load in survey.loads]),
        load_shapes=tuple(load.shape for load in survey.loads),
        connection_kw=kw_per_phase * np.array([len(_phases(load)) for load in survey.loads], float),
        network=network,
        transformer=supply.name if supply else None,
        transformer_kva=survey.transformer_kva[supply.name] if supply else float("nan"),
        head_line=head.upper() if head else None,
        monitored=tuple(name.upper() for name in monitored),
        coordinates=dict(survey.bus_xy),
        distance_m=distance_m,
        latitude_deg=float(facts.get("latitude_deg", 53.48)),
        longitude_deg=float(facts.get("longitude_deg", -2.24)),
        delta_customers=tuple(load.name for load in survey.loads if load.delta),
        warnings=tuple(_warnings(survey, facts, distance_m)),
    )


def _phases(load: LoadFact) -> tuple[int, ...]:
    return tuple(number for number in load.node_numbers if 1 <= number <= 3) or (1,)


def _rated_v(load: LoadFact) -> float:
    """Rated phase-to-neutral voltage [V]."""
    return float(1e3 * load.kv / (np.sqrt(3) if len(load.node_numbers) > 1 else 1.0))


def _nominal_voltage_v(survey: Survey) -> float:
    """Median rated phase-to-neutral voltage of the loads [V]."""
    return float(np.median([_rated_v(load) for load in survey.loads]))


def _voltage_over_rated(survey: Survey, load: LoadFact) -> float:
    """Voltage without any load over the rated one, both as the load is connected."""
    network = survey.network
    at_bus_v = abs(network.no_load_v[network.node_names.index(f"{load.bus}.{load.node_numbers[0]}")])
    if load.delta:
        return float(np.sqrt(3) * at_bus_v / (1e3 * load.kv))
    return float(at_bus_v / _rated_v(load))


def _warnings(survey: Survey, facts: Mapping[str, Any], distance_m: Mapping[str, float]) -> Iterator[str]:
    lines, controls, injectors = survey.network.lines, survey.network.controls, survey.network.injectors
    unrated = sum(not np.isfinite(line.rating_a) for line in lines)
    if unrated == len(lines):
        yield "no line has a rating: line loading cannot be judged (set normamps)"
    elif unrated:
        yield f"{unrated} of {len(lines)} lines have no rating of their own (OpenDSS default 400 A)"
    transformers = [branch for branch in survey.network.branches if branch.kind == "transformer"]
    if not transformers:
        yield "no transformer: transformer measures are empty"
    if len(transformers) > 1:
        yield f"{len(transformers)} transformers: measures follow the one with most customers behind it"
    if any(base == 0 for base in survey.voltage_bases_kv.values()):
        yield "no voltage bases (Set VoltageBases, CalcVoltageBases): OpenDSS gives volts where per unit is expected"
    several = [branch.name for branch in transformers if len(branch.buses) > 2]
    if several:
        watched = "only the one of lowest voltage is watched, of equal ones the first"
        named = ", ".join(several[:5])
        yield f"more than two windings: {watched}; currents in the others are left out ({named})"
    if not survey.bus_xy:
        yield "no coordinates: the map is left out"
    if controls:
        yield f"tap control disabled, switches as they are at the start: {', '.join(controls[:5])}"
    if "nominal_voltage_v" not in facts:
        rated_v = _nominal_voltage_v(survey)
        yield f"nominal voltage not declared (feeder.toml): {rated_v:.1f} V from the loads' ratings"
    if injectors:
        held = "other sources held at constant power as in the file, so served power cannot be checked"
        yield f"{held}: {', '.join(injectors[:5])}"
    by_problem: dict[str, list[str]] = defaultdict(list)
    for load in survey.loads:
        for problem in _load_problems(survey, load, distance_m):
            by_problem[problem].append(load.name)
    for problem, who in by_problem.items():
        shown = f"{', '.join(who[:3])}{', …' * (len(who) > 3)}"
        yield f"{len(who)} of {len(survey.loads)} loads {problem} ({shown})"


def _load_problems(survey: Survey, load: LoadFact, distance_m: Mapping[str, float]) -> Iterator[str]:
    if load.model != 1:
        yield "not constant power (model ≠ 1): runs treat them as constant power"
    if load.delta:
        yield "connected between phases (delta): per-phase figures do not hold for them"
    elif len(_phases(load)) == 2:
        yield "connected to two phases: measures assume one or three"
    over = _voltage_over_rated(survey, load)
    if not 0.6 <= over <= 1.4:
        yield "rated for another voltage than their bus has: their power will not be served"
    elif load.model == 1 and not load.band_pu[0] <= over <= load.band_pu[1]:
        yield "outside vminpu..vmaxpu without load, where plain OpenDSS makes them impedances: runs do not"
    if load.bus not in distance_m:
        yield "not reached by lines from the transformer"
