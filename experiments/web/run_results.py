"""What a job left, read from its folder alone: scoreboard, files by name, rows of a study."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Literal, TypeVar

import pandas as pd

from cosim.errors import Fault, InputError
from cosim.experiments.files import json_ready
from cosim.experiments.metric_table import cells, metric_of
from cosim.experiments.show import read_metrics, read_standard, read_stopped
from cosim.experiments.study import dataset
from cosim.experiments.web.job_schemas import Metric, ResultFile, ResultPage, Scoreboard
from cosim.folder import written

TableFormat = Literal["parquet", "csv"]
Found = TypeVar("Found")
_ATTEMPTS = 5


def files(folder: Path) -> dict[str, Path]:
    """Files that a job has written so far, by the names under which they can be asked for."""
    return {path.relative_to(folder.absolute()).as_posix(): path for path in written(folder)}


def file_list(folder: Path) -> list[ResultFile]:
    """Names and sizes of these files."""
    return [ResultFile(name=name, size_bytes=path.stat().st_size) for name, path in files(folder).items()]


def scoreboard(folder: Path) -> Scoreboard:
    """Scoreboard of the controllers of a run that have ended; InputError where there is none yet."""
    board, stopped, standard = read_metrics(folder), read_stopped(folder), read_standard(folder)
    standards = dict.fromkeys(board, standard)
    found = []
    for name in dict.fromkeys(name for values in board.values() for name in values):
        metric = metric_of(name, standard)
        values = {label: of_run.get(name, math.nan) for label, of_run in board.items()}
        shown = cells(name, values, stopped, standards)
        one = Metric(
            name=name, meaning=metric.meaning, unit=metric.unit, better=metric.better, limit=metric.limit,
            headline=metric.shown(values.values()), values=json_ready(values),
            best=[label for label, cell in shown.items() if cell.best],
            violated=[label for label, cell in shown.items() if cell.violated],
        )  # fmt: skip
        found.append(one)
    return Scoreboard(runs=list(board), stopped=stopped, standard=standard.title, metrics=found)


def page(folder: Path, offset: int, limit: int) -> ResultPage:
    """Some rows of a study, by hash; pages fit together once it has ended."""
    table = settled(lambda: dataset.read(folder) if dataset.parts(folder) else pd.DataFrame())
    some = table.iloc[offset : offset + limit].astype(object).to_numpy().tolist()
    rows = [[value.isoformat() if hasattr(value, "isoformat") else value for value in row] for row in some]
    return ResultPage(total=len(table), offset=offset, columns=list(table.columns), rows=json_ready(rows))


def table_as(folder: Path, form: TableFormat) -> bytes:
    """All rows of a study as a file; InputError where there are none yet."""
    table, content = settled(partial(dataset.read, folder)), BytesIO()
    write = table.to_parquet if form == "parquet" else table.to_csv
    write(content, index=False)
    return content.getvalue()


def settled(read: Callable[[], Found]) -> Found:
    """Read parts of a study that may be merging some of them at this moment."""
    for _ in range(_ATTEMPTS):
        try:
            return read()
        except FileNotFoundError:
            continue
    raise InputError(Fault("results", "", "are being rearranged", "ask again"))
