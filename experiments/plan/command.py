"""``cosim plan``: from a demand table to a plan on disk, or make such a table."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cosim.errors import Fault, InputError

if TYPE_CHECKING:
    from cosim.controllers.planner import Planning

_out, _err = Console(), Console(stderr=True)


class Formulation(StrEnum):
    """Kinds of model."""

    lp = "lp"
    milp = "milp"


class Objective(StrEnum):
    """What comes first."""

    service = "service"
    weighted = "weighted"


class Fairness(StrEnum):
    """How shortfall is shared."""

    total = "total"
    maxmin = "maxmin"


class Rounding(StrEnum):
    """Stays that begin or end inside a step."""

    prorata = "prorata"
    inside = "inside"
    outside = "outside"
    nearest = "nearest"
    down = "down"


def plan_command(
    demand: Annotated[Path | None, typer.Argument(help="Table of requests: .csv or .xlsx.")] = None,
    capacity_kw: Annotated[float | None, typer.Option(help="Largest sum of charging powers.")] = None,
    formulation: Annotated[Formulation, typer.Option(help="milp: with on and off.")] = Formulation.lp,
    min_power_kw: Annotated[float, typer.Option(help="Least power while charging (milp).")] = 0.0,
    objective: Annotated[Objective, typer.Option(help="Service first, or one weighted sum.")] = Objective.service,
    fairness: Annotated[Fairness, typer.Option(help="maxmin: raise the worst served first.")] = Fairness.total,
    time_step_s: Annotated[float, typer.Option(help="Length of a step.")] = 900.0,
    rounding: Annotated[Rounding, typer.Option(help="Of stays to steps.")] = Rounding.prorata,
    tariff_eur_per_kwh: Annotated[float, typer.Option(help="Price of energy drawn.")] = 0.13,
    peak_eur_per_kw: Annotated[float, typer.Option(help="Price of the largest sum of powers.")] = 0.0,
    efficiency: Annotated[float, typer.Option(help="Battery energy per energy drawn.")] = 0.9,
    min_up_steps: Annotated[int, typer.Option(help="Steps that a vehicle stays on (milp).")] = 1,
    max_starts: Annotated[int | None, typer.Option(help="Most starts of a vehicle (milp).")] = None,
    n_sols: Annotated[int, typer.Option(help="Plans wanted: the best and others near it.")] = 1,
    gap: Annotated[float, typer.Option(help="Relative gap at which the milp may stop.")] = 1e-4,
    time_limit_s: Annotated[float, typer.Option(help="For all solves together.")] = 300.0,
    out: Annotated[Path | None, typer.Option(help="Folder; with --generate, the file.")] = None,
    generate: Annotated[int | None, typer.Option(min=1, help="Make demand of so many vehicles instead.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of --generate.")] = 1,
    any_need: Annotated[bool, typer.Option("--any-need", help="With --generate: needs may be unservable.")] = False,
) -> None:
    """Plan a day of charging behind one connection, or make demand to plan (--generate N --seed S --out FILE)."""
    if generate is not None:
        _make_demand(generate, seed, out, feasible=not any_need, efficiency=efficiency)
        return
    given = {"DEMAND": demand, "--capacity-kw": capacity_kw}
    missing = [Fault("cosim plan", key, "is missing", "give it") for key, value in given.items() if value is None]
    if demand is None or capacity_kw is None:
        raise InputError(missing)
    from cosim.controllers.planner import Options, make_station, plan
    from cosim.experiments.files import writable_folder
    from cosim.experiments.plan.read import read_demand
    from cosim.experiments.plan.report import write_all

    faults: list[Fault] = []
    options = _collect(faults, Options, formulation=formulation.value, objective=objective.value,
                       fairness=fairness.value, min_up_steps=min_up_steps, max_starts=max_starts, n_sols=n_sols,
                       gap=gap, time_limit_s=time_limit_s)  # fmt: skip
    _collect(faults, make_station, 1, capacity_kw, step_s=time_step_s, tariff_eur_per_kwh=tariff_eur_per_kwh,
             peak_eur_per_kw=peak_eur_per_kw)  # fmt: skip
    if faults:
        raise InputError(faults)
    read = read_demand(demand, time_step_s, power_min_kw=min_power_kw, efficiency=efficiency)
    station = make_station(
        read.steps, capacity_kw, step_s=time_step_s, tariff_eur_per_kwh=tariff_eur_per_kwh,
        peak_eur_per_kw=peak_eur_per_kw,
    )  # fmt: skip
    folder = out or Path("runs") / f"plan-{demand.stem}-{datetime.now():%Y%m%d-%H%M%S}"
    writable_folder(folder)
    with _err.status("Planning"):
        planning = plan(read.requests, station, options, rounding=rounding.value)
        write_all(planning, read, options, rounding.value, folder)
    _tell(planning, folder)


def _collect(faults: list[Fault], make: Any, *values: Any, **options: Any) -> Any:
    try:
        return make(*values, **options)
    except InputError as error:
        faults.extend(error.faults)
        return None


def _make_demand(count: int, seed: int, out: Path | None, *, feasible: bool, efficiency: float) -> None:
    import numpy as np

    from cosim.experiments.plan.generate import generate_demand
    from cosim.record import write_whole

    if out is None or out.suffix.lower() != ".csv":
        raise InputError(Fault("cosim plan --generate", "--out", "is no CSV file", "give a file, such as demand.csv"))
    if not 0.0 < efficiency <= 1.0:
        raise InputError(Fault("cosim plan", "--efficiency", f"is {efficiency}", "give a share above 0, at most 1"))
    table = generate_demand(count, np.random.default_rng(seed), feasible=feasible, efficiency=efficiency)
    try:
        write_whole(out, lambda temporary: table.to_csv(temporary, index=False))
    except OSError as error:
        raise InputError(Fault(str(out), "--out", f"cannot be written ({error.strerror})", "give another")) from None
    marked = int((~table["feasible"]).sum())
    told = f", {marked} of them with needs that no plan can serve" if marked else ""
    _out.print(f"{count} vehicles{told}, written to [bold]{escape(str(out))}[/bold]")


def _tell(planning: Planning, folder: Path) -> None:
    from cosim.experiments.plan.write import station_kpis

    table = Table(title="Plan", title_justify="left", show_header=False)
    gap = "unknown" if planning.gap == float("inf") else f"{100 * planning.gap:.3g} %"
    table.add_row("status", f"{planning.status} (gap {gap})")
    table.add_row("objective", f"{planning.best.objective:.4f} EUR")
    for key, value in station_kpis(planning).items():
        table.add_row(key, f"{value:.6g}")
    table.add_row("build_s, solve_s", f"{planning.build_s:.3f}, {planning.solve_s:.3f}")
    if planning.others:
        table.add_row("other plans", str(len(planning.others)))
    _out.print(table)
    short = planning.lost_step > 1e-9
    if short.any():
        most_min = planning.lost_step.max() * planning.station.step_s / 60.0
        _warn(f"rounding shortens {short.sum()} stays, by up to {most_min:.1f} min (vehicles.csv); prorata does not")
    lengthened = planning.gained_step > 1e-9
    if lengthened.any():
        _warn(f"rounding plans {lengthened.sum()} vehicles while they are not there (vehicles.csv)")
    unservable = planning.unservable_kwh > 1e-6
    if unservable.any():
        worst = [
            planning.requests.vehicle[k]
            for k in (-planning.unservable_kwh).argsort(kind="stable")[: min(5, unservable.sum())]
        ]
        amount = planning.unservable_kwh.sum()
        _warn(f"no plan can serve {amount:.2f} kWh of {unservable.sum()} vehicles, most of all {', '.join(worst)}")
    _out.print(f"Written to [bold]{escape(str(folder))}[/bold]")


def _warn(text: str) -> None:
    _err.print(f"[yellow]warning:[/yellow] {escape(text)}", highlight=False, soft_wrap=True)
