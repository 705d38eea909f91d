"""Limit rows: how much the homes behind a critical element may draw together, slot by slot, as linear inequalities.

The loading of an element near an operating point is linear in what homes draw, with sensitivities found by the power
flow itself (one more kW at each home in turn). Scaled so that the home with the most influence counts 1, such a row
reads like the limit of a phase: ``sum of share · load <= limit`` in kW. A row never joins phases: homes on another
phase than the element's are left out, as are those that relieve it and those of hardly any influence. What that
leaves out is found by the verification and comes off the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cosim.contract import Float, Int
from cosim.controllers.caps.network.elements import Elements
from cosim.controllers.caps.phase_limits import Background

# small influences would join homes of all places in one row; what they add is found by the power flow and comes off
# the limit
HARDLY = 0.05  # of the largest sensitivity: homes with less are left out
ALIKE = 0.98  # cosine between sensitivities above which two elements need one row only
STEP_KW = 1.0


@dataclass(frozen=True, eq=False)
class Row:
    """One linear limit.

    Attributes
    ----------
    element : int
        Of `Elements`.
    share : ndarray, shape (home,)
        Influence of a home's load relative to the home with the most, 0 to 1.
    per_kw : float
        Loading per kW of the home with the most influence.
    """

    element: int
    share: Float
    per_kw: float


def new_rows(
    elements: Elements, background: Background, ev_kw: Float, worst: Sequence[tuple[int, int]], most: int
) -> list[Row]:
    """Return rows for elements at operating points, the worst first; those alike are left out.

    Parameters
    ----------
    elements : Elements
        Of the feeder.
    background : Background
        Load without cars.
    ev_kw : ndarray, shape (state, customer)
        What cars draw [kW].
    worst : sequence of (element, state)
        Elements in need of a row, and the state in which they are loaded most; the most loaded first.
    most : int
        How many rows to return at most.
    """
    rows: list[Row] = []
    sensitivity: dict[int, Float] = {}
    for element, state in worst:
        if state not in sensitivity:
            sensitivity[state] = _per_home(elements, background, ev_kw, state)
        per_kw = _own_phase(elements, element, sensitivity[state][:, element])
        # scaled to the home of most influence, rows read in kW and are alike in size for the solver
        largest = float(per_kw.max())
        if largest <= 0.0:
            continue  # no home that draws more loads it
        share = np.where(per_kw >= HARDLY * largest, per_kw / largest, 0.0)
        if not any(_alike(share, row.share) for row in rows):
            rows.append(Row(element, share, largest))
        if len(rows) == most:
            break
    return rows


def limits_of_rows(
    rows: Sequence[Row],
    loading: Float,
    load_kw: Float,
    kept: float,
) -> Float:
    """Return what each row allows, from the loading at an operating point.

    Parameters
    ----------
    rows : sequence of Row
        Which.
    loading : ndarray, shape (state, element)
        At that point; nan (no power flow) allows nothing beyond half of what it draws there.
    load_kw : ndarray, shape (state, home)
        Net loads there [kW].
    kept : float
        Loading that may be reached.

    Returns
    -------
    ndarray, shape (state, row)
        Limits [kW].
    """
    limit = np.empty((len(loading), len(rows)))
    for column, row in enumerate(rows):
        drawn_kw = load_kw @ row.share
        left_kw = (kept - loading[:, row.element]) / row.per_kw
        # first-order: limit = load there + (kept - loading there) / slope; no slope where no power flow exists, so
        # back off by half
        limit[:, column] = np.where(np.isnan(left_kw), drawn_kw / 2.0, drawn_kw + left_kw)
    return limit


def _per_home(elements: Elements, background: Background, ev_kw: Float, state: int) -> Float:
    """Change of all loadings per kW at each home, shape (home, element)."""
    homes = ev_kw.shape[1]
    repeated = Background(
        np.repeat(background.p_kw[[state]], homes + 1, axis=0),
        np.repeat(background.q_kvar[[state]], homes + 1, axis=0),
        np.repeat(background.source_pu[[state]], homes + 1),
    )
    drawn_kw = np.repeat(ev_kw[[state]], homes + 1, axis=0)
    # one more state for each home and one untouched last: a whole column of differences in one batch
    drawn_kw[np.arange(homes), np.arange(homes)] += STEP_KW
    loading = elements.flow(repeated, drawn_kw).loading
    # no power flow, no slope: such a home is left out of the row rather than guessed
    return np.nan_to_num((loading[:homes] - loading[homes]) / STEP_KW)


def _own_phase(elements: Elements, element: int, per_kw: Float) -> Float:
    phase = int(elements.phase[element])
    there: Int = np.array([phase in on for on in elements.feeder.customer_phases])
    # homes that relieve the element are not counted on: a row must hold though they draw nothing
    return np.where(there, np.maximum(per_kw, 0.0), 0.0)


def _alike(one: Float, other: Float) -> bool:
    return float(one @ other) > ALIKE * float(np.linalg.norm(one) * np.linalg.norm(other))
