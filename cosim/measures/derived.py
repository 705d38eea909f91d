"""What several measures, tables and figures make of one run: computed once, when first asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from cosim.contract import Branch
from cosim.measures import voltage_quality
from cosim.measures._arrays import Float
from cosim.measures.energy import bills_eur
from cosim.measures.unbalance import branch_neutral_a, neutral_current_a, vuf_percent
from cosim.trajectory import Trajectory

Found = TypeVar("Found")


def _once(work: Callable[[Trajectory], Found]) -> Callable[[Trajectory], Found]:
    """Keep what is found of a run for as long as the run is there."""
    known: WeakKeyDictionary[Trajectory, Found] = WeakKeyDictionary()

    @wraps(work)
    def kept(run: Trajectory) -> Found:
        if run not in known:
            known[run] = work(run)
        return known[run]

    return kept


def line_phases_percent(run: Trajectory) -> Float:
    """Loading of every phase of the rated lines, shape (step, line, 3) [%]; nan where a line has no such phase."""
    rating_a = np.array([line.rating_a for line in run.rated_lines])
    has_phase = np.array([[column in line.columns for column in range(3)] for line in run.rated_lines], dtype=bool)
    percent = np.abs(run.line_current_a)
    percent /= np.where(rating_a > 0.0, rating_a, np.nan)[:, None]
    percent *= 100.0
    percent[:, ~has_phase.reshape(-1, 3)] = np.nan
    return percent


@_once
def line_percent(run: Trajectory) -> Float:
    """Loading of the worst phase of the rated lines, shape (step, line) [%]."""
    a, b, c = np.moveaxis(line_phases_percent(run), 2, 0)
    return np.asarray(np.fmax(np.fmax(a, b), c))


def neutral_branches(run: Trajectory) -> list[Branch]:
    """Those with a neutral conductor of their own, or with three phases."""
    return [branch for branch in run.feeder.network.branches if branch.neutral_rows or {1, 2, 3} <= set(branch.phases)]


@_once
def neutral_a(run: Trajectory) -> Float:
    """Current of the neutral conductor, else the residual, of `neutral_branches`, shape (step, branch) [A]."""
    branches, row = neutral_branches(run), {id(line): row for row, line in enumerate(run.rated_lines)}
    # the phase currents of rated lines are known already
    is_known = np.array([id(one) in row and not one.neutral_rows for one in branches], dtype=bool)
    found = np.empty((len(branches), run.steps)).T  # as the currents lie in memory
    of_lines = [row[id(branches[column])] for column in np.flatnonzero(is_known)]
    found[:, is_known] = neutral_current_a(run.line_current_a)[:, of_lines]
    found[:, ~is_known] = branch_neutral_a([branches[column] for column in np.flatnonzero(~is_known)], run.node_v)
    return found


@_once
def vuf_windows_percent(run: Trajectory) -> Float:
    """Unbalance factor at the customers' buses with three phases, 10-minute rms, shape (window, bus) [%]."""
    return voltage_quality.ten_minute_rms(vuf_percent(run.three_phase_customer_v), run.step_min)


@_once
def home_bills_eur(run: Trajectory) -> Float:
    """What every home pays, at its own tariff, shape (customer,) [EUR]."""
    day = run.exogenous
    return bills_eur(run.net_kw, day.import_eur_per_kwh, run.step_min, day.export_eur_per_kwh)
