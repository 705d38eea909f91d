"""Reinforcements as feeders of their own: a folder that redirects to the circuit as built, and what is edited in it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cosim import Trajectory
from cosim.contract import Branch, Feeder
from cosim.errors import Fault, InputError
from cosim.experiments.hosting.config import Reinforcement
from cosim.experiments.hosting.measures import overloaded
from cosim.experiments.hosting.worlds import Network
from cosim.experiments.studies.rephase.moves import Rephasing
from cosim.experiments.studies.rephase.search import Quadratic, best_moves
from cosim.feeders.catalogue import cables, tier_losses_percent
from cosim.feeders.facts import read_facts
from cosim.feeders.lines import ohm_per_km
from cosim.folder import write_whole
from cosim.measures import voltage_compliant

RATINGS_KVA = (25, 50, 100, 160, 250, 315, 400, 500, 630, 800, 1000, 1250, 1600, 2000, 2500, 3150)
"""Usual ones, as in table I.1 of EU regulation 548/2014."""
_SHARED_BY = 2
"""A line with fewer customers behind it is a service cable, and stays."""
_TAPS, _TAP_RANGE_PU, _BAND_TAPS = 8, 0.10, 1.6
"""Of an OLTC: steps of 2.5 % and a band wider than one, or it would hunt."""


class Reinforced(NamedTuple):
    """A reinforcement of one feeder.

    Attributes
    ----------
    network : Network
        With it.
    what : str
        What is built, in words.
    cost_eur : tuple of float
        Low and high [EUR].
    """

    network: Network
    what: str
    cost_eur: tuple[float, float]


def reinforce(
    name: str, told: Reinforcement, built: Network, strained: Sequence[Trajectory], folder: Path
) -> Reinforced:
    """Lay out a reinforcement of a feeder, and write its circuit.

    Parameters
    ----------
    name : str
        Of the reinforcement.
    told : Reinforcement
        Its kind, and what it costs.
    built : Network
        The feeder as built.
    strained : sequence of Trajectory
        Runs without control at the penetration that it is for, by which the limiting path and the moves are chosen.
    folder : Path
        Receives the circuit, where the scenario cannot say it.

    Raises
    ------
    InputError
        Where the feeder cannot be reinforced so, or need not be.
    """
    feeder = strained[0].feeder
    if told.kind == "transformer":
        spec = _larger(feeder, told, name)
        grid = {**built.base.get("grid", {}), "transformer": spec}
        network = Network(name, built.feeder, built.circuit, {**built.base, "grid": grid}, built.engine)
        return Reinforced(network, f"{feeder.transformer_kva:g} to {spec['kva']:g} kVA", told.cost_eur())
    if told.kind == "oltc":
        edits, what = _oltc(feeder, told, name)
        grid = {**built.base.get("grid", {}), "taps": "controlled"}
        network = Network(name, built.feeder, _write(feeder, folder, edits), {**built.base, "grid": grid}, "opendss")
        return Reinforced(network, what, told.cost_eur())
    if told.kind == "rephasing":
        if not (moves := _moves(strained[0], told)):
            problem = f"no other phase of a customer makes {feeder.name} better at that penetration"
            raise InputError(Fault(feeder.name, f"reinforcement.{name}", problem, "leave it out"))
        edits = [f'Edit "Load.{who}" Bus1="{bus}"' for who, bus, _ in moves]
        network = Network(name, built.feeder, _write(feeder, folder, edits), built.base, built.engine)
        return Reinforced(network, "; ".join(words for _, _, words in moves), told.cost_eur(moves=len(moves)))
    path = limiting_path(strained)
    if told.kind == "thicker_cable":
        impedance, cable = ohm_per_km(path), cables()[told.cable]
        path = [line for line in path if impedance[line.name].real > cable.ohm_per_km]
    if not path:
        problem = f"no line limits {feeder.name} at that penetration"
        raise InputError(Fault(feeder.name, f"reinforcement.{name}", problem, "leave it out"))
    edits, ratings_a = [], {}
    for line in path:
        size = len(line.nodes) // 2
        ohm_per_m = np.linalg.inv(-line.admittance_s[:size, size:]) / line.length_m
        if told.kind == "second_cable":
            ohm_per_m, rating_a = ohm_per_m / 2.0, 2.0 * line.rating_a
        else:
            thinner = cable.ohm_per_km / impedance[line.name].real
            ohm_per_m, rating_a = ohm_per_m.real * thinner + 1j * ohm_per_m.imag, max(cable.rating_a, line.rating_a)
        edits.append(_edit_line(line, ohm_per_m, rating_a))
        ratings_a[line.name] = rating_a
    length_m = sum(line.length_m for line in path)
    network = Network(name, built.feeder, _write(feeder, folder, edits, ratings_a), built.base, built.engine)
    as_what = "a second one like it" if told.kind == "second_cable" else told.cable
    return Reinforced(network, f"{length_m:.0f} m of cable: {as_what}", told.cost_eur(length_m=length_m))


def limiting_path(strained: Iterable[Trajectory]) -> list[Branch]:
    """Lines that are overloaded, and those from the source to the customers whose voltage is not kept.

    Of the customers of each run the worst is taken; service cables are left out of its path.
    """
    found: dict[str, Branch] = {}
    for run in strained:
        feeder = run.feeder
        towards, behind = _tree(feeder)
        path = set(overloaded(run))
        customer = feeder.terminals[0]
        nominal_v = feeder.customer_nominal_v[customer]
        kept = voltage_compliant(run.terminal_v, nominal_v, run.step_min, feeder.standard)
        if not kept.all():
            low, high = feeder.standard.limits_pu(nominal_v)
            pu = run.terminal_v / nominal_v
            beyond = np.maximum(pu - high, low - pu).max(axis=0)
            bus = feeder.customer_bus[customer[int(np.where(kept, -np.inf, beyond).argmax())]]
            while bus in towards:
                line, bus = towards[bus]
                if behind[line.name] >= _SHARED_BY:
                    path.add(line.name)
        found |= {line.name: line for line in feeder.network.lines if line.name in path and line.length_m > 0.0}
    return list(found.values())


def _tree(feeder: Feeder) -> tuple[dict[str, tuple[Branch, str]], dict[str, int]]:
    """The line before every bus and the bus before that, and the customers behind every line."""
    metres = feeder.distance_m
    towards = {}
    for line in feeder.network.lines:
        near, far = sorted(line.buses, key=lambda bus: metres.get(bus, math.inf))
        if far in metres and metres[far] > metres[near]:
            towards[far] = (line, near)
    behind = dict.fromkeys((line.name for line in feeder.network.lines), 0)
    for bus in feeder.customer_bus:
        while bus in towards:
            line, bus = towards[bus]
            behind[line.name] += 1
    return towards, behind


def _larger(feeder: Feeder, told: Reinforcement, name: str) -> dict[str, Any]:
    now_kva = feeder.transformer_kva
    if not math.isfinite(now_kva):
        problem, remedy = "has no transformer with a rating", "leave the reinforcement out, or give transformer_kva"
        raise InputError(Fault(feeder.name, f"reinforcement.{name}", problem, remedy))
    wanted = next((kva for kva in RATINGS_KVA if kva >= told.times * now_kva), math.ceil(told.times * now_kva))
    load_loss, no_load_loss = tier_losses_percent(wanted, 2) or (0.8, 0.06)
    return {
        "kva": wanted, "uk_percent": 4.0 if wanted <= 630 else 6.0, "load_loss_percent": load_loss,
        "no_load_loss_percent": no_load_loss,
    }  # fmt: skip


def _oltc(feeder: Feeder, told: Reinforcement, name: str) -> tuple[list[str], str]:
    if len(feeder.supplies) != 1:
        problem = f"has {len(feeder.supplies)} transformers that feed most customers"
        raise InputError(Fault(feeder.name, f"reinforcement.{name}", problem, "leave the reinforcement out"))
    (machine,) = feeder.supplies
    step_pu, low, high = 2 * _TAP_RANGE_PU / _TAPS, 1 - _TAP_RANGE_PU, 1 + _TAP_RANGE_PU
    set_v = told.set_pu * feeder.nominal_voltage_v
    band_v = _BAND_TAPS * step_pu * feeder.nominal_voltage_v
    return [
        f'Edit "Transformer.{machine}" Wdg=2 NumTaps={_TAPS} MinTap={low} MaxTap={high}',
        f"New RegControl.{name} Transformer={machine} Winding=2 PTRatio=1 VReg={set_v:.9g} Band={band_v:.9g} Delay=30",
    ], f"{set_v:.0f} V kept at the terminals of {machine} in steps of {100 * step_pu:g} %"


def _moves(run: Trajectory, told: Reinforcement) -> list[tuple[str, str, str]]:
    """Customers to move, their new nodes, and words."""
    loads = Rephasing(run)
    choice = best_moves(
        Quadratic(*loads.linear()), loads.customer, told.moves, loads.value_a2, np.random.default_rng(1)
    )
    found = []
    for row in choice.moves:
        one = loads.moves[row].connection
        nodes = [*one.phases, *([one.neutral] if one.neutral else [])]
        found.append((one.customer, ".".join(map(str, [one.bus, *nodes])), str(loads.moves[row])))
    return found


def _edit_line(line: Branch, ohm_per_m: np.ndarray[Any, np.dtype[Any]], rating_a: float) -> str:
    def matrix(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
        return " | ".join(" ".join(f"{value:.12g}" for value in row) for row in values.tolist())

    amps = f" NormAmps={rating_a:.9g} EmergAmps={rating_a:.9g}" if math.isfinite(rating_a) else ""
    return (
        f'Edit "Line.{line.name}" Units=m Length={line.length_m:.12g} RMatrix=[{matrix(ohm_per_m.real)}] '
        f"XMatrix=[{matrix(ohm_per_m.imag)}]{amps}"
    )


def _write(feeder: Feeder, folder: Path, edits: Sequence[str], ratings_a: Mapping[str, float] | None = None) -> str:
    """Write a circuit that is another one with edits, and its facts; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = read_facts(feeder.master.with_name("feeder.toml"))
    facts["name"] = f"{feeder.name}_{folder.name}"
    if "coordinates" in facts:
        facts["coordinates"] = str(feeder.master.parent / facts["coordinates"])
    if ratings_a and ("ratings_a" in facts or "cables" in facts):  # a line's own wins over that of its code
        facts["ratings_a"] = {**facts.get("ratings_a", {}), **ratings_a}
    plain = [f"{key} = {json.dumps(value)}" for key, value in facts.items() if not isinstance(value, dict)]
    for key, table in facts.items():
        if isinstance(table, dict):
            plain += [f"[{key}]", *(f"{json.dumps(name)} = {json.dumps(value)}" for name, value in table.items())]
    circuit = [f"! {feeder.name} with a reinforcement", f'Redirect "{feeder.master.resolve()}"', *edits]
    for name, lines in (("Master.dss", circuit), ("feeder.toml", plain)):
        write_whole(folder / name, partial(Path.write_text, data="\n".join(lines) + "\n", encoding="utf-8"))
    return str(folder.resolve())
