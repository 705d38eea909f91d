"""``cosim reproduce powertrip``: places and weights on the command line."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from cosim.errors import Fault, InputError
from cosim.experiments.files import writable_folder

_out = Console()
WHERE = "powertrip"


def powertrip_command(
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/powertrip-<time>/.")] = None,
    feeder: Annotated[str, typer.Option(help="Shipped name, or path of an OpenDSS file.")] = "european_lv",
    charge_points: Annotated[
        str | None, typer.Option(help="BUS.PHASE@HH-HH,... [691.1@09-10,499.2@12-13,179.3@14-16]")
    ] = None,
    pv: Annotated[
        str | None, typer.Option(help="BUS.PHASE:KWP,... [7.2 on every phase of 691, 499, 179 and 100]")
    ] = None,
    households: Annotated[
        str | None, typer.Option(help="Profiles of the feeder's customers: a set, a path, or 'feeder'.")
    ] = None,
    source_pu: Annotated[
        float | None, typer.Option(min=0.8, max=1.2, help="Source voltage; the feeder's own without.")
    ] = None,
    weights: Annotated[str, typer.Option(help="Pairs for unbalance and curtailment.")] = "0.5/0.5,0.8/0.2",
    voltage_pu: Annotated[str, typer.Option(help="Limits of voltage_control.")] = "0.94-1.10",
    population: Annotated[int, typer.Option(min=10, help="Of NSGA-II.")] = 40,
    generations: Annotated[int, typer.Option(min=1, help="Of NSGA-II, at most.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Of profiles and search.")] = 1,
) -> None:
    """Run the study on any feeder, with charge points and roofs anywhere on it."""
    from cosim.experiments.studies.powertrip import study
    from cosim.experiments.studies.powertrip.data import CHARGE_POINTS, PV_UNITS

    question = study.Question(
        feeder=feeder,
        charge_points=CHARGE_POINTS if charge_points is None else charge_points,
        pv=PV_UNITS if pv is None else pv,
        households=households,
        source_pu=source_pu,
        weights=parse_weights(weights),
        voltage_pu=parse_band(voltage_pu),
        population=population,
        generations=generations,
        seed=seed,
    )
    place = study.place_of(question)
    folder = writable_folder(out or Path("runs") / f"powertrip-{datetime.now():%Y%m%d-%H%M%S}")
    with _out.status("Both days without control") as status:
        told = study.reproduce(folder, question, place, lambda name: status.update(f"Searching fronts of {name}"))
    for line in told.lines:
        _out.print(escape(line), highlight=False, soft_wrap=True)
    _out.print(f"Written to [bold]{escape(str(folder))}[/bold]: open report.md for the story and the figures.")


def parse_weights(text: str) -> tuple[tuple[float, float], ...]:
    """Read ``0.5/0.5,0.8/0.2``; InputError names every pair that is none, is negative, repeats or does not sum to 1."""
    pairs: list[tuple[float, float]] = []
    faults = []
    for entry in [part.strip() for part in text.split(",") if part.strip()]:
        try:
            first, second = (float(part) for part in entry.split("/"))
        except ValueError:
            faults.append(Fault(WHERE, "--weights", f"'{entry}' is no pair", "give two numbers, e.g. 0.8/0.2"))
            continue
        if first < 0 or second < 0:
            faults.append(Fault(WHERE, "--weights", f"'{entry}' holds a negative weight", "give shares, e.g. 0.8/0.2"))
        elif any(weights_name((first, second)) == weights_name(other) for other in pairs):
            faults.append(Fault(WHERE, "--weights", f"'{entry}' is there twice", "give each pair once"))
        elif not abs(first + second - 1) < 1e-6:
            faults.append(Fault(WHERE, "--weights", f"'{entry}' does not sum to 1", "give shares, e.g. 0.8/0.2"))
        pairs.append((first, second))
    if not pairs and not faults:
        faults.append(Fault(WHERE, "--weights", "names no pair", "give at least one, e.g. 0.8/0.2"))
    if faults:
        raise InputError(faults)
    return tuple(pairs)


def weights_name(pair: tuple[float, float]) -> str:
    """Return the part of a case's name that tells its weights, in percent: ``80_20``, ``33.3_66.7``."""
    return "_".join(f"{100 * weight:g}" for weight in pair)


def parse_band(text: str) -> tuple[float, float]:
    """Read ``0.94-1.10``; InputError where it is no band of voltages in pu."""
    try:
        low, high = (float(part) for part in text.split("-"))
    except ValueError:
        low, high = 0.0, 0.0
    if not 0.5 < low < high < 1.5:
        raise InputError(
            Fault(WHERE, "--voltage-pu", f"'{text}' is no band", "give two voltages in pu, e.g. 0.94-1.10")
        )
    return low, high
