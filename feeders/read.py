"""From a folder or an OpenDSS file to a ``Feeder``, with everything said that is missing or will mislead."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Mapping
from importlib import import_module
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from cosim.contract import Branch, Feeder, Float, LoadFact, Network, Survey, TransformerSpec
from cosim.errors import Fault, InputError

SURVEYORS = {".dss": "cosim.opendss:survey"}
"""Who can read which kind of circuit file: suffix to ``module:function``, imported only when needed.
Only the engine can read its own language, so this name is the one thread from here to the engine."""

CONNECTION_KW_PER_PHASE = 14.0
"""Where ``feeder.toml`` declares none: about 60 A, the smaller of the main fuses usual in British homes."""

NEARLY_EQUAL_VOLTAGES = 1.25
"""Up to this ratio a transformer is a regulator or isolates, and customers behind it are on the same feeder."""

Edge = tuple[str, str, float]  # two buses, and the metres between them

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
    """Names of the feeders that are shipped."""
    return tuple(sorted(folder.parent.name for folder in _HERE.glob("*/feeder.toml")))


def title(name: str) -> str:
    """One line about a shipped feeder, from its ``feeder.toml``."""
    return str(_facts(_HERE / name / "feeder.toml").get("title", ""))


def load(
    name_or_path: str | Path, *, source_pu: float | None = None, transformer: TransformerSpec | None = None
) -> Feeder:
    """Load a shipped feeder by name, or any OpenDSS circuit by the path of its master file.

    Parameters
    ----------
    name_or_path : str or Path
        A name of ``feeders.names()``, a folder with a ``Master.dss``, or a master file. A ``feeder.toml`` beside the
        master file may declare what OpenDSS has no word for. A ``.dss`` file is code: it can run and write others.
    source_pu : float, optional
        Source voltage to set instead of the file's.
    transformer : TransformerSpec, optional
        Machine to put in place of the only transformer, impedance and all.

    Returns
    -------
    Feeder
        With ``warnings`` about what is missing or will mislead.

    Raises
    ------
    InputError
        Where there is no such feeder, or it does not compile, or it holds no customer.
    """
    master = _find(name_or_path)
    surveyor = SURVEYORS.get(master.suffix.lower())
    if surveyor is None:
        raise InputError(Fault(str(master), "", f"'{master.suffix}' is no circuit file", "give an OpenDSS .dss file"))
    module, function = surveyor.split(":")
    survey: Survey = getattr(import_module(module), function)(master, source_pu=source_pu, transformer=transformer)
    facts = _facts(master.with_name("feeder.toml"))
    if not survey.loads:
        raise InputError(Fault(str(master), "", "has no load, so no customer", "define at least one Load"))
    return _assemble(master, survey, facts, source_pu, transformer)


def _find(name_or_path: str | Path) -> Path:
    path = _HERE / str(name_or_path) / "Master.dss" if str(name_or_path) in names() else Path(name_or_path)
    if path.is_dir():
        path = path / "Master.dss"
    if not path.is_file():
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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
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


def _assemble(
    master: Path,
    survey: Survey,
    facts: Mapping[str, Any],
    source_pu: float | None,
    transformer: TransformerSpec | None,
) -> Feeder:
    network = survey.network
    row = {name: index for index, name in enumerate(network.node_names)}
    supply = _supply(survey)
    start = supply.buses[_low_voltage_terminal(supply)] if supply else network.node_names[0].split(".")[0]
    distance_m = _distances([*_spans(network.lines), *_passages(network)], start)
    head = facts.get("head_line") or _head_line(network, start)
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
        connection_kw=_phase_count(survey) * float(facts.get("connection_kw_per_phase", CONNECTION_KW_PER_PHASE)),
        network=network,
        transformer=supply.name if supply else None,
        transformer_kva=survey.transformer_kva[supply.name] if supply else float("nan"),
        head_line=head.upper() if head else None,
        monitored=tuple(name.upper() for name in monitored),
        coordinates=dict(survey.bus_xy),
        distance_m=distance_m,
        source_pu=source_pu,
        replaced_transformer=transformer,
        latitude_deg=float(facts.get("latitude_deg", 53.48)),
        longitude_deg=float(facts.get("longitude_deg", -2.24)),
        delta_customers=tuple(load.name for load in survey.loads if load.delta),
        warnings=tuple(_warnings(survey, facts, distance_m)),
    )


def _phases(load: LoadFact) -> tuple[int, ...]:
    return tuple(number for number in load.node_numbers if 1 <= number <= 3) or (1,)


def _phase_count(survey: Survey) -> Float:
    return np.array([float(len(_phases(load))) for load in survey.loads])


def _low_voltage_terminal(transformer: Branch) -> int:
    return int(transformer.monitored.start) // len(transformer.phases)


def _supply(survey: Survey) -> Branch | None:
    """The transformer behind which most customers are; one that changes the voltage, where there is any."""
    network = survey.network
    edges = [*_spans(network.lines), *_passages(network)]
    transformers = [branch for branch in network.branches if branch.kind == "transformer"]

    def behind(branch: Branch) -> int:
        reached = _distances(edges, branch.buses[_low_voltage_terminal(branch)])
        return sum(load.bus in reached for load in survey.loads)

    changing = [branch for branch in transformers if not _levels_joined(network, branch)]
    return max(changing or transformers, key=behind, default=None)


def _spans(lines: tuple[Branch, ...]) -> list[Edge]:
    return [(line.buses[0], line.buses[1], line.length_m) for line in lines]


def _passages(network: Network) -> list[Edge]:
    """Transformers whose terminals have nearly the same voltage, as lines without length."""
    transformers = (branch for branch in network.branches if branch.kind == "transformer")
    return [(*pair, 0.0) for branch in transformers for pair in _levels_joined(network, branch)]


def _levels_joined(network: Network, transformer: Branch) -> list[tuple[str, str]]:
    """Pairs of buses that a transformer joins at nearly the same voltage."""
    nodes = transformer.nodes.reshape(len(transformer.buses), -1)
    at_terminal_v = np.where(nodes < 0, 0.0, np.abs(network.no_load_v[nodes])).max(axis=1)
    return [
        (one, other)
        for (one, one_v), (other, other_v) in combinations(zip(transformer.buses, at_terminal_v, strict=True), 2)
        if one != other and 0.0 < max(one_v, other_v) <= NEARLY_EQUAL_VOLTAGES * min(one_v, other_v)
    ]


def _distances(edges: list[Edge], start: str) -> dict[str, float]:
    """Length of the shortest path from a bus [m]; only buses that can be reached."""
    buses = {bus: index for index, bus in enumerate(dict.fromkeys([start, *(bus for e in edges for bus in e[:2])]))}
    ends = np.array([[buses[one], buses[other]] for one, other, _ in edges]).reshape(-1, 2)
    # An edge without length still joins its ends; zero would mean "no edge" to the graph routine.
    length = np.array([max(metres, 1e-9) for _, _, metres in edges])
    graph = coo_matrix((length, (ends[:, 0], ends[:, 1])), shape=(len(buses), len(buses))).tocsr()
    metres = np.asarray(dijkstra(graph, directed=False, indices=[0])).reshape(-1)
    return {bus: round(float(metres[index]), 6) for bus, index in buses.items() if np.isfinite(metres[index])}


def _head_line(network: Network, start: str) -> str | None:
    """The only line that leaves the transformer's bus, or the regulator there; None where several share the load."""
    near = _distances(_passages(network), start)
    leaving = [line.name for line in network.lines if (line.buses[0] in near) != (line.buses[1] in near)]
    return leaving[0] if len(leaving) == 1 else None


def _nominal_voltage_v(survey: Survey) -> float:
    """Median rated phase-to-neutral voltage of the loads [V]."""
    return float(np.median([1e3 * ld.kv / (np.sqrt(3) if len(ld.node_numbers) > 1 else 1.0) for ld in survey.loads]))


def _voltage_over_rated(survey: Survey, load: LoadFact) -> float:
    """Voltage without any load over the rated one, both as the load is connected."""
    network = survey.network
    at_bus_v = abs(network.no_load_v[network.node_names.index(f"{load.bus}.{load.node_numbers[0]}")])
    if load.delta:
        return float(np.sqrt(3) * at_bus_v / (1e3 * load.kv))
    return float(at_bus_v / (1e3 * load.kv / (np.sqrt(3) if len(load.node_numbers) > 1 else 1.0)))


def _warnings(survey: Survey, facts: Mapping[str, Any], distance_m: Mapping[str, float]) -> list[str]:
    lines = survey.network.lines
    unrated = sum(not np.isfinite(line.rating_a) for line in lines)
    transformers = [branch for branch in survey.network.branches if branch.kind == "transformer"]
    several = [branch.name for branch in transformers if len(branch.buses) > 2]
    by_problem: dict[str, list[str]] = defaultdict(list)
    for load in survey.loads:
        if load.model != 1:
            by_problem["not constant power (model ≠ 1): runs treat them as constant power"].append(load.name)
        if load.delta:
            by_problem["connected between phases (delta): per-phase figures do not hold for them"].append(load.name)
        elif len(_phases(load)) == 2:
            by_problem["connected to two phases: measures assume one or three"].append(load.name)
        over = _voltage_over_rated(survey, load)
        if not 0.6 <= over <= 1.4:
            by_problem["rated for another voltage than their bus has: their power will not be served"].append(load.name)
        elif load.model == 1 and not load.band_pu[0] <= over <= load.band_pu[1]:
            trap = "outside vminpu..vmaxpu without load, where plain OpenDSS makes them impedances: runs do not"
            by_problem[trap].append(load.name)
        if load.bus not in distance_m:
            by_problem["not reached by lines from the transformer"].append(load.name)
    found = [
        (unrated == len(lines), "no line has a rating: line loading cannot be judged (set normamps)"),
        (
            0 < unrated < len(lines),
            f"{unrated} of {len(lines)} lines have no rating of their own (OpenDSS default 400 A)",
        ),
        (not transformers, "no transformer: transformer measures are empty"),
        (
            len(transformers) > 1,
            f"{len(transformers)} transformers: measures follow the one with most customers behind it",
        ),
        (
            any(base == 0 for base in survey.voltage_bases_kv.values()),
            "no voltage bases (Set VoltageBases, CalcVoltageBases): OpenDSS gives volts where per unit is expected",
        ),
        (
            bool(several),
            f"more than two windings: only the one of lowest voltage is watched, of equal ones the first; currents in "
            f"the others are left out ({', '.join(several[:5])})",
        ),
        (not survey.bus_xy, "no coordinates: the map is left out"),
        (
            bool(survey.network.controls),
            f"regulators and switches stay as they are at the start: {', '.join(survey.network.controls[:5])}",
        ),
        (
            "nominal_voltage_v" not in facts,
            f"nominal voltage not declared (feeder.toml): {_nominal_voltage_v(survey):.1f} V from the loads' ratings",
        ),
        (
            bool(survey.network.injectors),
            "other sources run as in the file, so served power cannot be checked: "
            + ", ".join(survey.network.injectors[:5]),
        ),
    ]
    warnings = [text for applies, text in found if applies]
    for problem, who in by_problem.items():
        warnings.append(
            f"{len(who)} of {len(survey.loads)} loads {problem} ({', '.join(who[:3])}{', …' * (len(who) > 3)})"
        )
    return warnings
