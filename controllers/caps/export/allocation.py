"""How much each home may feed in: linear programmes over all slots and homes, under limits on what flows back.

What homes use themselves, charging included, is known; what of their sun is left over they sell, up to their caps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from cosim.contract import Float, Int
from cosim.contract.survey import FrozenArrays
from cosim.controllers.caps.result import Relaxation
from cosim.controllers.solver import Model, Solver, Termination, minimise_in_turn
from cosim.controllers.solver import Rows as ModelRows
from cosim.errors import Fault, SolverError, refuse

CLOSE_KW = 1e-7
SLACK = 1e-7  # of what an aim reached, that later aims may give up


@dataclass(frozen=True, eq=False)
class FeedInRows(FrozenArrays):
    """Limits on what flows back, one row each: ``share @ net load >= -limit`` in its slot.

    Attributes
    ----------
    slot : ndarray of int, shape (row,)
        Which slot.
    share : ndarray, shape (row, home)
        How much of a home's export counts; below 0 where it relieves.
    limit_kw : ndarray, shape (row,)
        Most that may flow back [kW].
    names : tuple of str
        What they protect, to be read in a sentence.
    """

    slot: Int
    share: Float
    limit_kw: Float
    names: tuple[str, ...]

    def joined(self, other: FeedInRows) -> FeedInRows:
        """Both, one after the other."""
        return FeedInRows(
            np.concatenate([self.slot, other.slot]),
            np.concatenate([self.share, other.share]),
            np.concatenate([self.limit_kw, other.limit_kw]),
            (*self.names, *other.names),
        )


@dataclass(frozen=True, eq=False)
class ExportProblem(FrozenArrays):
    """Export caps per home and slot: the data.

    Attributes
    ----------
    slot_h : float
        Length of a slot [h].
    load_kw : ndarray, shape (slot, home)
        What a home uses itself, charging included, at least 0 [kW].
    sun_kw : ndarray, shape (slot, home)
        What the roof could give, at most its rating [kW].
    rated_kw : ndarray, shape (home,)
        Rating of the inverter, and the export cap where nothing is withheld; 0 without a roof [kW].
    rows : FeedInRows
        Limits on what flows back.
    at_will_kw : ndarray, shape (slot, home), or None
        Where limits shall hold whatever homes do inside their caps while the sun is as forecast: what cars may draw
        beside the load, or not [kW].
    """

    slot_h: float
    load_kw: Float
    sun_kw: Float
    rated_kw: Float
    rows: FeedInRows
    at_will_kw: Float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        rules = (
            ("load_kw", self.load_kw >= 0.0, "is negative", "give the sun as sun_kw"),
            ("sun_kw", self.sun_kw >= 0.0, "is negative", "give what the roof could yield"),
            ("rated_kw", self.rated_kw >= self.sun_kw - CLOSE_KW, "is below the sun", "give the inverter's rating"),
            ("rows", np.isfinite(self.rows.share), "have a share that is no number", "give shares of homes"),
        )
        refuse([Fault("export caps", key, what, remedy) for key, good, what, remedy in rules if not np.all(good)])

    @cached_property
    def surplus_kw(self) -> Float:
        """Sun above load: what would be sold without caps, shape (slot, home) [kW]."""
        return np.maximum(self.sun_kw - self.load_kw, 0.0)

    def net_kw(self, caps_kw: Float) -> Float:
        """Load at the meter under caps, export below 0, shape (slot, home) [kW]."""
        return np.maximum(self.load_kw - self.sun_kw, -np.minimum(caps_kw, self.rated_kw))

    @cached_property
    def room_kw(self) -> Float:
        """What exports of a row may come to, with what can be counted on being drawn meanwhile, shape (row,) [kW]."""
        share, drawn = self.rows.share, np.maximum(self.load_kw - self.sun_kw, 0.0)[self.rows.slot]
        if self.at_will_kw is None:
            counted = share * drawn
        else:
            most = drawn + self.at_will_kw[self.rows.slot]
            counted = np.maximum(share, 0.0) * drawn + np.minimum(share, 0.0) * most
        return np.asarray(self.rows.limit_kw + counted.sum(axis=1))


@dataclass(frozen=True, eq=False)
class ExportResult(FrozenArrays):
    """Export caps, an optimum of a linear programme, and what they lead to.

    Attributes
    ----------
    caps_kw : ndarray, shape (slot, home)
        Largest export; the rating where nothing is withheld [kW].
    net_kw : ndarray, shape (slot, home)
        Load at the meter that follows [kW].
    objective_name : str
        What is optimal about them.
    withheld_kwh : float
        Export that is withheld [kWh].
    worst_share : float
        Largest share of what it would sell that is withheld from a home.
    relaxations : tuple of Relaxation
        Limits that cannot be kept.
    over_reverse_kw : float
        Largest excess of what flows back over a limit, beyond what is relaxed [kW].
    """

    caps_kw: Float
    net_kw: Float
    objective_name: str
    withheld_kwh: float
    worst_share: float
    relaxations: tuple[Relaxation, ...]
    over_reverse_kw: float


def solve_export(problem: ExportProblem, objective: str = "least") -> ExportResult:
    """Choose export caps.

    Parameters
    ----------
    problem : ExportProblem
        The data.
    objective : str
        ``least``: least withheld energy, then the worst home's share smallest; ``max_min``: the largest share of its
        export that any home loses as small as possible, then least withheld.

    Raises
    ------
    SolverError
        Where a linear programme that always has an optimum ends without one: whatever comes back is optimal.
    """
    wanted, rows = problem.surplus_kw, problem.rows
    export, relaxed = _least_withheld(problem, objective)
    caps = np.where(export < wanted - CLOSE_KW, export, problem.rated_kw)
    net, withheld, lost = problem.net_kw(caps), np.maximum(wanted - export, 0.0), wanted.sum(axis=0)
    over = -(rows.share * net[rows.slot]).sum(axis=1) - rows.limit_kw - relaxed
    share = np.divide(withheld.sum(axis=0), lost, out=np.zeros_like(lost), where=lost > CLOSE_KW)
    return ExportResult(
        caps_kw=caps,
        net_kw=net,
        objective_name=objective,
        withheld_kwh=float(np.maximum(wanted - caps, 0.0).sum() * problem.slot_h),
        worst_share=float(share.max(initial=0.0)),
        relaxations=tuple(_relaxations(rows, relaxed)),
        over_reverse_kw=float(np.max(over, initial=0.0)),
    )


def _least_withheld(problem: ExportProblem, objective: str) -> tuple[Float, Float]:
    """Exports, shape (slot, home), and by how much rows give way, shape (row,) [kW].

    Columns: export, withheld of each pair (slot, home); relaxations of rows; the worst share. Limits that nothing can
    keep give way first, as little in all as possible.
    """
    wanted_kw, rows, room = problem.surplus_kw, problem.rows, problem.room_kw
    counted = rows.share if problem.at_will_kw is None else np.maximum(rows.share, 0.0)
    slot, home = np.nonzero(wanted_kw > 0)
    wanted, pairs = wanted_kw[slot, home], len(slot)
    at = np.full(wanted_kw.shape, -1, np.int64)
    at[slot, home] = every = np.arange(pairs)
    # rows that even full export of all who load them cannot reach are left out: most of them
    tight = np.flatnonzero((np.maximum(rows.share, 0.0) * wanted_kw[rows.slot]).sum(axis=1) > room)
    gives = 2 * pairs + np.arange(len(tight))
    columns, model = 2 * pairs + len(tight) + 1, ModelRows()
    # withheld >= wanted - export, an epigraph: being minimised, withheld settles at max(wanted - export, 0)
    model.add(pairs, -np.inf, -wanted, (every, every, -1.0), (every, pairs + every, -1.0))
    pair, share = at[rows.slot[tight]], counted[tight]
    row, homes = np.nonzero((pair >= 0) & (share != 0))
    give = np.arange(len(tight)), gives, -1.0
    model.add(len(tight), -np.inf, room[tight], (row, pair[row, homes], share[row, homes]), give)
    lost = wanted_kw.sum(axis=0)
    losing = np.flatnonzero(lost > CLOSE_KW)
    of_losing = np.flatnonzero(np.isin(home, losing))
    # withheld <= worst share x what the home would have exported, summed over the horizon
    withheld = np.searchsorted(losing, home[of_losing]), pairs + of_losing, 1.0
    worst = np.arange(len(losing)), np.array(columns - 1), -lost[losing]
    model.add(len(losing), -np.inf, 0.0, withheld, worst)
    free, held, share_lost, relaxed = np.zeros((4, columns))
    free[:pairs], held[pairs : 2 * pairs], share_lost[-1], relaxed[gives] = -1.0, 1.0, 1.0, 1.0
    aims = [held, share_lost, free] if objective == "least" else [share_lost, held, free]
    programme = model.model(free, np.zeros(columns), np.concatenate([wanted, wanted, np.zeros(len(tight)), [1.0]]))
    value = _in_turn(programme, aims)
    if value is None:
        # relaxations are fixed at 0 unless needed: first as little of them as possible, then the aims
        high = np.where(relaxed > 0.0, np.inf, programme.high)
        value = _in_turn(replace(programme, high=high), [relaxed, *aims])
    if value is None:
        raise SolverError("linear programme of export caps has no point even with its limits relaxed")
    export, gave = np.zeros_like(wanted_kw), np.zeros(len(rows.slot))
    export[slot, home] = np.maximum(value[:pairs], 0.0)
    gave[tight] = np.where(value[gives] > CLOSE_KW, value[gives], 0.0)
    return export, gave


def _in_turn(model: Model, aims: list[Float]) -> Float | None:
    """Minimise aims in order of importance; None where there is no feasible point."""
    # of equal optima, that which caps have been since they come from a linear programme: the seed decides
    found = minimise_in_turn(Solver(model, random_seed=0), aims, slack=SLACK)
    if found.termination is Termination.INFEASIBLE:
        return None
    if found.reached < len(aims) - 1:  # only the last one, which frees what may be exported, can be done without
        raise SolverError(f"linear programme of export caps ended with '{found.termination}'")
    return found.x


def _relaxations(rows: FeedInRows, relaxed_kw: Float) -> Iterator[Relaxation]:
    for name in dict.fromkeys(rows.names):
        of_name = np.array([one == name for one in rows.names]) & (relaxed_kw > 0)
        if of_name.any():
            slots = sorted(set(rows.slot[of_name].tolist()))
            where = f"more flows back over {name} than it allows, whatever is curtailed, in {len(slots)} slots"
            yield Relaxation("limit", where, float(relaxed_kw[of_name].max()), "kW")
