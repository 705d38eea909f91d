"""What ``cosim hosting`` does with its options: checks them, shows the way, prints what was found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cosim.experiments.hosting.config import HostingConfig, Technology, read
from cosim.experiments.study.progress import shown_on
from cosim.experiments.study.runner import check_workers
from cosim.folder import claimed, default_folder


def conduct(
    feeders: Sequence[str],
    technology: Technology,
    controllers: str,
    out_to: Console,
    told_to: Console,
    *,
    placements: int | None,
    reinforce: bool,
    config: Path | None,
    jobs: int,
    scheduler: str | None,
    dry_run: bool,
    out: Path | None,
    resume: bool,
    overwrite: bool,
) -> None:
    """Run a study and print its table; the options are those of the command.

    Raises
    ------
    InputError
        As `cosim.experiments.hosting.study.hosting`.
    """
    asked_config = read(config)
    method = asked_config.method
    if placements is not None:
        method = method.model_copy(update={"placements": placements})
    changes: dict[str, object] = {"method": method} | ({} if reinforce else {"reinforcement": {}})
    asked_config = asked_config.model_copy(update=changes)
    names = [name.strip() for name in controllers.split(",") if name.strip()]
    folder = out or default_folder(f"hosting-{technology}")
    check_workers(jobs, scheduler)
    if not dry_run:
        with claimed(folder, overwrite=overwrite or resume) as owned:
            if not resume:
                owned.clear()
    from cosim.experiments.hosting.asked import Asked
    from cosim.experiments.hosting.estimate import estimate
    from cosim.experiments.hosting.study import hosting  # brings everything, and the above may be refused

    asked = Asked(feeders, technology, names, asked_config)
    if dry_run:
        with told_to.status("Running a day under every controller"):
            out_to.print(estimate(asked).words(jobs), highlight=False, soft_wrap=True)
        return
    with shown_on(told_to, "Reading the feeders") as progress:
        found = hosting(asked, folder, jobs=jobs, scheduler=scheduler, progress=progress)
    for line in asked_config.lines():
        out_to.print(line, highlight=False, markup=False, soft_wrap=True)
    for name, days in found.days.items():
        told = " and ".join(f"{when.date} ({when.kind})" for when in days)
        out_to.print(f"Critical days of {name}: {told}.", highlight=False, markup=False, soft_wrap=True)
    for warning in found.warnings:
        told_to.print(f"[yellow]warning:[/yellow] {escape(warning)}", highlight=False, soft_wrap=True)
    for name in found.days:
        out_to.print(_shown(found.table[found.table["feeder"] == name], name, asked_config))
    out_to.print(f"Written to [bold]{escape(str(folder))}[/bold]: hosting.csv, placements.csv, hosting.png.")


def _shown(table: pd.DataFrame, feeder: str, config: HostingConfig) -> Table:
    percent = config.method.quantile_percent
    shown = Table(title=f"{feeder}: {percent:g} % quantile of placements", title_justify="left")
    for column in ("", "capacity", "interval", "binds first", "where", "whole weeks", "EUR per added kW"):
        shown.add_column(column)
    some_failed = table["placements_failed"].any()
    if some_failed:  # the quantile is without them
        shown.add_column("placements failed")
    for row in table.to_dict("records"):
        low, high = ("?" if np.isnan(row[end]) else f"{row[end]:.0f}" for end in ("low", "high"))
        cost = row["eur_per_added_kw_low"]
        built = row["network"] != "as_built"
        shown.add_row(
            str(row["network"] if built else row["controller"]).replace("_", " "),
            f"{row['capacity_percent']:.0f} %, {row['capacity_kw']:.0f} kW",
            f"{low} to {high} %",
            f"{row['limit_binding'].replace('_', ' ')} ({row['limit_binding_percent']:.0f} %)",
            row["where"],
            f"{row['weeks_violated']} of {row['weeks_run']} violated" if row["weeks_run"] else "",
            f"{cost:.0f} to {row['eur_per_added_kw_high']:.0f}" if built and not np.isnan(cost) else row["avoided"],
            *([f"{row['placements_failed']} of {row['placements'] + row['placements_failed']}"] if some_failed else []),
        )
    return shown
