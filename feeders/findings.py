"""What is missing in a circuit that compiles, what is implausible, and what runs treat in another way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from cosim.contract import LOW_VOLTAGE_V, STANDARDS, Area, Finding, Float, LoadFact, Network, Survey
from cosim.feeders.areas import PUBLIC_V
from cosim.feeders.faults import no_load_voltages, over_rated
from cosim.feeders.lines import ohm_per_km

MEANT = (0.6, 1.4)
"""Voltage without load over the rated one, where a load can be meant for its bus."""
_KVA_PER_LOAD_KVA = 100.0
"""Public feeders have up to 40: their loads are one household's mean."""
_SMALLEST_KVA = 500.0
_LARGEST_LV_KVA = 5_000.0
"""Below 1 kV: the largest machines in catalogues have 3,150 kVA."""
_CABLE_OHM_PER_KM = (0.01, 15.0)
"""Resistance of a phase: 2,000 mm2 of copper and 1.5 mm2 (12.1 ohm/km, IEC 60228) are inside."""
_CABLE_REACTANCE_PER_KM = (0.005, 1.5)
"""Cables have 0.06 to 0.15 and many in parallel less, open wires up to 0.5, one wire with earth return about 1."""
_CABLE_X_OVER_R = 15.0
_JOINT_M, _JOINT_OHM = 20.0, 1e-3
"""Fuses and busbars are written as short lines of next to no impedance."""
_SHORT_M = 1.0
_FAR_LV_M = 5_000.0
_EARTHED_S = 1e-3
"""An earth electrode has less than a kiloohm."""
_DEAD_V = 1.0
_TAP_CONTROLS = ("RegControl.", "CapControl.")
_MAINS = {50.0: (215.0, 235.0), 60.0: (110.0, 130.0)}
"""Usual phase-to-neutral voltages at a frequency; 240 V are usual at both."""


def findings(
    survey: Survey,
    facts: Mapping[str, Any],
    areas: Sequence[Area],
    distance_m: Mapping[str, float],
    rated_v: Sequence[float],
    nominal_v: Float,
    *,
    constant: bool,
) -> Iterator[Finding]:
    """Find what to know of a circuit before it is run.

    Parameters
    ----------
    survey : Survey
        What was found in it.
    facts : mapping
        Of its ``feeder.toml``.
    areas : sequence of Area
        Parents first.
    distance_m : mapping of bus to float
        From the transformer [m].
    rated_v : sequence of float, shape (load,)
        Rated phase-to-neutral voltages [V].
    nominal_v : ndarray, shape (load,)
        Those by which customers are judged [V].
    constant : bool
        Whether runs take all loads for constant power.

    Yields
    ------
    Finding
        Of severity ``"warning"`` where results would mislead.
    """
    for text in survey.warnings:
        yield Finding("executes_files", "", text)
    yield from _of_lines(survey)
    yield from _of_transformers(survey, areas)
    levels = sorted({round(volts, 1) for volts in nominal_v.tolist()})
    yield from _of_the_place(survey, facts, levels)
    yield from _of_distances(survey, areas, distance_m)
    yield from _of_loads(survey, facts.get("nominal_voltage_v"), distance_m, rated_v, nominal_v, constant)
    yield from _of_buses(survey)


def grouped(kind: str, names: Iterable[str], shown: int = 3) -> str:
    """Join names of elements of a kind: the first, and an ellipsis for the others."""
    listed = [f"{kind}.{name}" if kind else name for name in names]
    return ", ".join(listed[:shown]) + ", …" * (len(listed) > shown)


def _of_lines(survey: Survey) -> Iterator[Finding]:
    lines, told = survey.network.lines, survey.lines
    unrated = [line.name for line in lines if not np.isfinite(line.rating_a)]
    if len(unrated) == len(lines):
        text = "no line has a rating: line loading cannot be judged (set normamps, or [ratings_a] in feeder.toml)"
        yield Finding("no_ratings", "", text)
    elif unrated:
        text = f"{len(unrated)} of {len(lines)} lines have no rating of their own (OpenDSS default 400 A)"
        yield Finding("no_ratings", grouped("Line", unrated), text)
    without = [line for line in lines if line.name in told and not (told[line.name].has_unit or told[line.name].switch)]
    if without:
        text = (
            f"{len(without)} of {len(lines)} lines have a length without unit ({without[0].name}: "
            f"{without[0].length_m:g}), taken for metres: distances and lengths may be wrong, impedances are not "
            "(set units)"
        )
        yield Finding("length_without_unit", grouped("Line", (line.name for line in without)), text)
    known = [line for line in lines if line.name in told and told[line.name].has_unit and line.length_m >= _SHORT_M]
    length_m = {line.name: line.length_m for line in known if not told[line.name].switch}
    strange: dict[str, dict[str, complex]] = defaultdict(dict)
    for name, z in ohm_per_km(line for line in known if line.name in length_m).items():
        inside = _within(z.real, _CABLE_OHM_PER_KM) and _within(z.imag, _CABLE_REACTANCE_PER_KM)
        joint = length_m[name] < _JOINT_M and abs(z) * length_m[name] / 1e3 < _JOINT_OHM
        if not joint and (not inside or z.imag > _CABLE_X_OVER_R * z.real):
            strange[told[name].code][name] = z
    for code, of in strange.items():
        first, z = next(iter(of.items()))
        text = f"{code or first}: R {z.real:.3g}, X {z.imag:.3g} ohm/km"
        text = f"{len(of)} of {len(lines)} lines are like no cable or wire of any catalogue ({text}): check units"
        yield Finding("impedance_beyond_catalogues", grouped("Line", of), text)
    other = [name for name, fact in told.items() if abs(fact.frequency_hz - survey.network.frequency_hz) > 0.1]
    if other:
        text = (
            f"{len(other)} of {len(lines)} lines have their reactance at {told[other[0]].frequency_hz:g} Hz, but the "
            f"circuit is solved at {survey.network.frequency_hz:g} Hz (Set DefaultBaseFrequency before New Circuit)"
        )
        yield Finding("frequency_mismatch", grouped("Line", other), text)


def _within(value: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] <= value <= bounds[1]


def _of_transformers(survey: Survey, areas: Sequence[Area]) -> Iterator[Finding]:
    if not any(branch.kind == "transformer" for branch in survey.network.branches):
        yield Finding("no_transformer", "", "no transformer: transformer measures are empty")
    load_kva = {area.name: sum(_kva(survey.loads[row]) for row in area.customers) for area in areas}
    for area in reversed(areas):  # children before parents
        if area.parent in load_kva:
            load_kva[area.parent] += load_kva[area.name]
    overloaded = {}
    for area in areas:
        behind = load_kva[area.name]
        for name in area.transformers:
            kva, rating_a = survey.transformer_kva[name], survey.network.branch(name).rating_a
            far_above = behind > 0 and kva > max(_KVA_PER_LOAD_KVA * behind, _SMALLEST_KVA)
            if far_above or (kva > _LARGEST_LV_KVA and area.nominal_voltage_v < LOW_VOLTAGE_V):
                text = (
                    f"{name} is rated {kva:g} kVA ({rating_a:,.0f} A a phase) for {behind:.4g} kVA of load: its "
                    "loading is never a limit (mend kvas, or [transformer_kva] in feeder.toml)"
                )
                yield Finding("transformer_rating_implausible", f"Transformer.{name}", text)
        if behind > area.rating_kva:
            overloaded[area.name] = f"{area.name} {area.rating_kva:g} kVA for {behind:.0f} kVA"
    if overloaded:
        text = f"{len(overloaded)} transformers are rated less than the loads behind them in the file"
        shown = grouped("Transformer", overloaded)
        yield Finding("transformer_overloaded", shown, f"{text} ({grouped('', overloaded.values())})", "note")


def _kva(load: LoadFact) -> float:
    return abs(complex(load.kw, load.kvar))


def of_sleeping(loads: Sequence[LoadFact]) -> Iterator[Finding]:
    """Name loads that nothing joins to a source."""
    if loads:
        names = [load.name for load in loads]
        text = "de-energised loads, which are no customers: nothing that is closed joins them to a source"
        yield Finding("de_energised", grouped("Load", names), f"{len(names)} {text} ({', '.join(names)})")


def of_own_elements(network: Network, taps: str, accepted: Sequence[str]) -> Iterator[Finding]:
    """Say what a run does with the elements of the file that move or feed in by themselves."""
    acting = [name for name in network.controls if taps == "controlled" and name.startswith(_TAP_CONTROLS)]
    idle = [name for name in network.controls if name not in acting]
    for code, names, text in (
        ("controls_off", idle, "tap control disabled, switches as they are at the start"),
        ("controls_act", acting, "tap control acts; controllers that predict voltages know the first taps only"),
        (
            "other_sources",
            network.injectors,
            "other sources feed in by the file's shapes, and no controller moves them",
        ),
    ):
        if names:
            yield Finding(code, grouped("", names), f"{text}: {grouped('', names, 5)}")
    for name, why in network.unhonoured:
        is_accepted = name.upper() in {one.upper() for one in accepted}
        text = f"{name} {why} ({'accepted' if is_accepted else 'runs are refused unless it is accepted'})"
        yield Finding("not_honoured", name, text, "warning" if is_accepted else "error")


def _of_the_place(survey: Survey, facts: Mapping[str, Any], levels: Sequence[float]) -> Iterator[Finding]:
    if any(base == 0 for base in survey.voltage_bases_kv.values()):
        text = "no voltage bases (Set VoltageBases, CalcVoltageBases): OpenDSS gives volts where per unit is expected"
        yield Finding("no_voltage_bases", "", text)
    if not survey.bus_xy:
        yield Finding("no_coordinates", "", "no coordinates: the map is left out")
    standard, hertz = STANDARDS[facts.get("standard", "en50160")], survey.network.frequency_hz
    if round(hertz) != standard.frequency_hz:
        made = f"{standard.title} is made for {standard.frequency_hz:g} Hz: set [grid] standard, or the frequency"
        yield Finding("standard_frequency", "", f"the circuit is of {hertz:g} Hz, and {made}")
    volts = ", ".join(f"{level:.1f} V" for level in levels)
    if "nominal_voltage_v" not in facts:
        text = f"nominal voltage not declared (feeder.toml): {volts} from the loads' ratings"
        yield Finding("nominal_voltage_not_declared", "", text)
    if len(levels) > 1:
        yield Finding("several_voltages", "", f"customers on {len(levels)} nominal voltages: {volts}", "note")
    for hz, (low, high) in _MAINS.items():
        if (
            hz != survey.network.frequency_hz
            and survey.network.frequency_hz in _MAINS
            and any(low <= one <= high for one in levels)
        ):
            text = (
                f"solved at {survey.network.frequency_hz:g} Hz, though {volts} usually comes at {hz:g} Hz: without "
                "Set DefaultBaseFrequency OpenDSS takes 60 Hz"
            )
            yield Finding("frequency_unusual", "", text, "note")


def _of_distances(survey: Survey, areas: Sequence[Area], distance_m: Mapping[str, float]) -> Iterator[Finding]:
    for area in areas:
        buses = {survey.loads[row].bus for row in area.customers}
        farthest = max((distance_m[bus] for bus in buses if bus in distance_m), default=np.nan)
        where = "the transformer" if area.transformers else "the source"
        if farthest < _SHORT_M and len(buses - set(area.buses[:1])) > 0:
            text = f"the farthest customer is {farthest:g} m from {where}: lengths or their units are wrong"
        elif farthest > _FAR_LV_M and area.nominal_voltage_v < LOW_VOLTAGE_V:
            text = f"the farthest customer is {farthest:,.0f} m from {where}, far at {area.nominal_voltage_v:.0f} V"
        else:
            continue
        yield Finding("distance_implausible", area.name, f"{text} ({area.name})" if len(areas) > 1 else text)


def _of_loads(
    survey: Survey,
    declared: object,
    distance_m: Mapping[str, float],
    rated_v: Sequence[float],
    nominal_v: Float,
    constant: bool,
) -> Iterator[Finding]:
    voltage = no_load_voltages(survey.network)
    by_problem: dict[tuple[str, str], list[str]] = defaultdict(list)
    for load, rated, nominal in zip(survey.loads, rated_v, nominal_v.tolist(), strict=True):
        there_v = abs(voltage[f"{load.bus}.{load.node_numbers[0]}"])
        problems = [*_load_problems(load, over_rated(load, voltage), distance_m, constant)]
        if not 0.7 <= nominal / there_v <= 1.4:
            text = f"have a nominal voltage of {nominal:.0f} V, but {there_v:.0f} V from phase to earth"
            problems.insert(0, ("nominal_voltage_contradicted", text))
        elif nominal == PUBLIC_V != rated and declared is None:
            text = f"rated {rated:.1f} V as the transformer is: nominal is {PUBLIC_V:g} V (or nominal_voltage_v)"
            problems.insert(0, ("nominal_voltage_of_machine", text))
        elif isinstance(declared, (int, float)) and nominal != declared:
            text = f"on another level of voltage than nominal_voltage_v = {declared:g}: judged by their own rating"
            problems.insert(0, ("other_voltage_level", text))
        for kind, text in problems:
            by_problem[kind, text].append(load.name)
    for (kind, text), who in by_problem.items():
        shown = f"{len(who)} of {len(survey.loads)} loads {text} ({grouped('', who)})"
        yield Finding(kind, grouped("Load", who), shown)


def _load_problems(
    load: LoadFact, over: float, distance_m: Mapping[str, float], constant: bool
) -> Iterator[tuple[str, str]]:
    if constant and load.model != 1:
        yield "load_model", "not constant power (model ≠ 1): runs treat them as constant power (load_model)"
    if load.delta:
        yield "load_delta", "connected between phases (delta): per-phase figures do not hold for them"
    elif len(load.node_numbers) == 2:
        yield "load_two_phases", "connected to two phases: measures assume one or three"
    if not MEANT[0] <= over <= MEANT[1]:
        yield "load_voltage", "rated for another voltage than their bus has: their power will not be served"
    elif constant and load.model == 1 and not load.band_pu[0] <= over <= load.band_pu[1]:
        text = "outside vminpu..vmaxpu without load, where plain OpenDSS makes them impedances: runs do not"
        yield "load_band", text
    if load.ignored:
        yield "load_ignored", f"with what no run follows: {', '.join(load.ignored)}"
    if load.bus not in distance_m:
        yield "load_not_reached", "not reached by lines from the source"


def _of_buses(survey: Survey) -> Iterator[Finding]:
    network = survey.network
    highest_v = network.highest_no_load_v
    dead = [bus for bus, volts in highest_v.items() if volts < _DEAD_V]
    if dead:
        text = f"{len(dead)} of {len(highest_v)} buses have no voltage, cut off or behind an open switch"
        yield Finding("bus_without_voltage", grouped("Bus", dead), f"{text} ({grouped('', dead)})")
    floating = _neutrals_without_earth(network)
    if floating:
        text = (
            f"{len(floating)} buses have a neutral conductor that is earthed nowhere (Reactor or Line to node 0): its "
            f"voltage has no meaning ({grouped('', floating)})"
        )
        yield Finding("neutral_not_earthed", grouped("Bus", floating), text)
    has_neutral = {bus for bus, name in zip(network.node_buses, network.node_names, strict=True) if name.endswith(".4")}
    stars = (load for load in survey.loads if load.bus in has_neutral and not load.delta)
    past = [load.name for load in stars if load.neutral_number == 0]
    if past:
        text = f"{len(past)} of {len(survey.loads)} loads return their current through earth, past the neutral there"
        yield Finding("load_past_neutral", grouped("Load", past), f"{text} ({grouped('', past)})")


def _neutrals_without_earth(network: Network) -> list[str]:
    """Buses whose fourth conductor hangs together with nothing that leads to earth.

    If all nodes had the same voltage, only what leads to earth would carry current: row sums of the admittance matrix.
    """
    neutral = np.array([name.endswith(".4") for name in network.node_names])
    names = [bus for bus, there in zip(network.node_buses, neutral, strict=True) if there]
    if not names:
        return []
    to_earth = np.asarray(network.admittance_s.sum(axis=1)).reshape(-1)[neutral]
    among = csr_matrix(abs(network.admittance_s.tocsr()[neutral][:, neutral]) > _EARTHED_S)
    parts, part = connected_components(among, directed=False)
    earthed = np.array([abs(to_earth[part == k].sum()) > _EARTHED_S for k in range(parts)])
    return [name for name, k in zip(names, part, strict=True) if not earthed[k]]
