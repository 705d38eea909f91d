"""Trajectories on disk: Parquet tables, the same bytes for the same run."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cosim.collapse import Collapse
from cosim.contract import Decision, Float
from cosim.folder import write_whole
from cosim.measures.areas import worst_hot_spot_c
from cosim.measures.balance import balance_error_percent
from cosim.measures.unbalance import vuf_percent
from cosim.trajectory import Trajectory

_CURRENT_STEP_A = 2.0**-10
"""Line currents are stored to the nearest 1/1024 A: a quarter of the size, far below any meter's accuracy."""

_CUSTOMER_COLUMNS = (
    "demand_kw", "pv_available_kw", "pv_kw", "ev_kw", "soc_kwh", "plugged", "import_cap_kw", "ev_limit_kw",
    "pv_limit_kw", "net_kw", "voltage_v", "net_kvar",
)  # fmt: skip
"""Of a run, or of its day."""

_FLOAT, _TEXT = pa.float64(), pa.string()
_DECISION_COLUMNS = {"status": _TEXT, "objective": _FLOAT, "bound": _FLOAT, "gap": _FLOAT, "fallback": _TEXT}


def write_trajectory(
    trajectory: Trajectory, folder: Path, *, part: str = "", first_step: int = 0, without: Collection[str] = ()
) -> None:
    """Write the tables of one run.

    Parameters
    ----------
    trajectory : Trajectory
        A whole run, or the completed part of one.
    folder : Path
        Receives ``steps``, ``customers``, ``nodes``, ``lines``, ``decisions``, where the circuit's file has own sources
        ``other_sources`` (kW fed in), where its regulators act ``taps``, and the tables that the controller left
        behind, each as ``.parquet`` (an index is not written), and its plain data as ``.json``.
    part : str
        Of a run that is written in parts: each table is a folder, with a file of this name.
    first_step : int
        Of the part, counted from the beginning of the run.
    without : collection of str
        Tables that are left out.
    """
    makers: dict[str, Callable[[], pa.Table]] = {
        "steps": lambda: _steps(trajectory),
        "customers": lambda: _customers(trajectory),
        "nodes": lambda: _wide(trajectory.feeder.network.node_names, np.abs(trajectory.node_v)),
        "lines": lambda: _lines(trajectory),
        "decisions": lambda: _decisions(trajectory.decisions),
    }
    if trajectory.others_kw.size:
        makers["other_sources"] = lambda: _wide(trajectory.feeder.network.injectors, trajectory.others_kw)
    if trajectory.feeder.taps == "controlled":
        makers["taps"] = lambda: _taps(trajectory)
    if trajectory.collapses:
        makers["collapses"] = lambda: _collapses(trajectory.collapses)
    for name, left in trajectory.artifacts.items():
        if isinstance(left, Mapping):
            text = json.dumps(left, indent=2, allow_nan=False) + "\n"
            path = _file(folder, name, part, "json")
            write_whole(path, lambda path, text=text: path.write_text(text, encoding="utf-8"))  # type: ignore[misc]
        elif isinstance(left, pd.DataFrame):
            makers[name] = partial(_of_frame, left)
    for name, make in makers.items():  # one after the other: all tables of a town at once fill the memory
        if name not in without:
            table = _counted_from(first_step, make()) if first_step else make()
            write_whole(_file(folder, name, part, "parquet"), partial(_write, table))


def _of_frame(table: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)


def _file(folder: Path, name: str, part: str, suffix: str) -> Path:
    return folder / (f"{name}/{part}.{suffix}" if part else f"{name}.{suffix}")


def _counted_from(first_step: int, table: pa.Table) -> pa.Table:
    """Count steps from the beginning of the whole run."""
    column = table.schema.get_field_index("step")
    if column < 0 or not pa.types.is_integer(table.schema.field(column).type):
        return table
    field = table.schema.field(column)
    return table.set_column(column, field, pc.cast(pc.add(table[column], first_step), field.type))


def _write(table: pa.Table, path: Path) -> None:
    floats = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    others = [field.name for field in table.schema if not pa.types.is_floating(field.type)]
    pq.write_table(
        table, path, compression="zstd", use_dictionary=others, use_byte_stream_split=floats, write_statistics=False
    )


def _collapses(collapses: Sequence[Collapse]) -> pa.Table:
    """One row per area of every step without power flow."""
    return pa.table(
        {
            "step": np.repeat([np.int32(one.step) for one in collapses], [len(one.areas) for one in collapses]),
            "area": [area for one in collapses for area in one.areas],
            "customers": [count for one in collapses for count in one.customers],
            "served_share": np.concatenate([one.served_share for one in collapses]),
            "energy_not_served_kwh": np.concatenate([one.not_served_kwh for one in collapses]),
        }
    )


def _steps(run: Trajectory) -> pa.Table:
    power_kva, source_pu = run.transformer_kva.sum(axis=1), run.exogenous.source_pu
    return pa.table(
        {
            "step": np.arange(run.steps, dtype=np.int32),
            "time": pa.array(run.exogenous.times, type=pa.timestamp("s")),
            "tariff_eur_per_kwh": run.exogenous.tariff_eur_per_kwh,
            "p_kw": power_kva.real,
            "q_kvar": power_kva.imag,
            "s_kva": np.abs(power_kva),
            "worst_phase_percent": run.area_percent(),
            "hot_spot_c": worst_hot_spot_c(run),
            "losses_kw": run.losses_kw,
            "other_sources_kw": run.other_sources_kw,
            "degraded": run.degraded,
            "p_hv_kw": run.transformer_hv_kva.real,
            "q_hv_kvar": run.transformer_hv_kva.imag,
            "source_kw": run.source_kw,
            "consumption_kw": run.consumption_kw.sum(axis=1),
            "generation_kw": run.generation_kw.sum(axis=1),
            "losses_lines_kw": run.losses.lines,
            "losses_transformers_kw": run.losses.transformers,
            "losses_others_kw": run.losses.others,
            "losses_no_load_kw": run.losses.no_load,
            "balance_error_percent": balance_error_percent(run),
            "ambient_c": run.exogenous.ambient_c,
            "source_pu": np.where(np.isnan(source_pu), run.feeder.network.source_pu, source_pu),
            **{f"transformer_{phase}_percent": run.transformer_percent[:, row] for row, phase in enumerate("abc")},
            "vuf_max_percent": _worst_vuf_percent(run),
        }
    )


def _worst_vuf_percent(run: Trajectory) -> Float:
    """Unbalance factor of the step itself at the worst customers' bus with three phases; nan where there is none."""
    phases_v = run.three_phase_customer_v
    return np.asarray(vuf_percent(phases_v).max(axis=1)) if phases_v.shape[1] else np.full(run.steps, np.nan)


def _customers(run: Trajectory) -> pa.Table:
    names = run.feeder.customers
    step = np.repeat(np.arange(run.steps, dtype=np.int32), len(names))
    index = pa.array(np.tile(np.arange(len(names), dtype=np.int32), run.steps))
    columns = {name: getattr(run if hasattr(run, name) else run.exogenous, name) for name in _CUSTOMER_COLUMNS}
    if (own_tariff := run.exogenous.customer_tariff_eur_per_kwh) is not None:
        columns["tariff_eur_per_kwh"] = own_tariff
    return pa.table(
        {
            "step": step,
            "customer": pa.DictionaryArray.from_arrays(index, pa.array(names)),
            **{name: values.reshape(-1) for name, values in {**columns, **run.channels}.items()},
        }
    )


def _wide(names: tuple[str, ...], values: NDArray[np.floating[Any]]) -> pa.Table:
    """One row per step, one float32 column per name."""
    single = np.asfortranarray(values, dtype=np.float32)
    columns = {"step": pa.array(np.arange(len(values), dtype=np.int32))}
    columns.update({name: pa.array(single[:, index]) for index, name in enumerate(names)})
    return pa.table(columns)


def _lines(run: Trajectory) -> pa.Table:
    """Magnitudes at the rated lines, one column ``LINE.phase`` for every phase that the line has."""
    there = [
        (f"{line.name}.{phase}", row, phase - 1)
        for row, line in enumerate(run.rated_lines)
        for phase in line.phases
        if 1 <= phase <= 3
    ]
    current_a, magnitude_a = run.line_current_a, np.empty((run.steps, len(there)), dtype=np.float32, order="F")
    for column, (_, row, phase) in enumerate(there):  # one by one, which stays in the processor's cache
        magnitude_a[:, column] = np.round(np.abs(current_a[:, row, phase]) / _CURRENT_STEP_A) * _CURRENT_STEP_A
    return _wide(tuple(name for name, _, _ in there), magnitude_a)


def _taps(run: Trajectory) -> pa.Table:
    """One row for every tap change [pu of the winding] and capacitor switching [steps in service]."""
    times = run.exogenous.times
    step, element, before, after = zip(*run.switchings, strict=True) if run.switchings else ((), (), (), ())
    return pa.table(
        {
            "step": pa.array(step, type=pa.int32()),
            "time": pa.array([times[k] for k in step], type=pa.timestamp("s")),
            "element": pa.array(element, type=_TEXT),
            "before": pa.array(before, type=_FLOAT),
            "after": pa.array(after, type=_FLOAT),
        }
    )


def _decisions(decisions: tuple[tuple[int, Decision], ...]) -> pa.Table:
    columns = {
        name: pa.array([getattr(decision, name) for _, decision in decisions], type=kind)
        for name, kind in _DECISION_COLUMNS.items()
    }
    return pa.table({"step": pa.array([step for step, _ in decisions], type=pa.int32()), **columns})
