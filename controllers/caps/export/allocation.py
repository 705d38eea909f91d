"""What limits export, as rows, and what comes of them: how much each home may send back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.contract import Float, Int
from cosim.controllers.caps.export.problem import ExportProblem

CLOSE_KW = 1e-7


@dataclass(frozen=True, eq=False)
class Rows:
    """Limits on what flows back, one row each: ``share @ net >= -limit``.

    Attributes
    ----------
    slot : ndarray of int, shape (row,)
        Which slot.
    share : ndarray, shape (row, home)
        Counting of each home's net load.
    limit_kw : ndarray, shape (row,)
        Most that may flow back [kW].
    names : tuple of str
        What they protect.
    """

    slot: Int
    share: Float
    limit_kw: Float
    names: tuple[str, ...]

    def over_kw(self, net_kw: Float) -> Float:
        """Return by how much net loads, shape (slot, home), break each row [kW]."""
        flowing = -(self.share * net_kw[self.slot]).sum(axis=1)
        over: Float = np.maximum(flowing - self.limit_kw, 0.0)
        return over


def rows_of(problem: ExportProblem) -> Rows:
    """Return the limits of phases, where there are any, and all further ones."""
    slot, phase = np.nonzero(np.isfinite(problem.reverse_limit_kw))
    names = [f"phase {one + 1}" for one in phase]
    extra = problem.rows
    return Rows(
        np.concatenate([slot, np.array([row.slot for row in extra], np.int64)]),
        np.concatenate([problem.phase_share[:, phase].T, *(row.share[None, :] for row in extra)]),
        np.concatenate([problem.reverse_limit_kw[slot, phase], np.array([row.limit_kw for row in extra])]),
        (*names, *(row.name for row in extra)),
    )


@dataclass(frozen=True, eq=False)
class Allocation:
    """What a linear programme or equal sharing came to.

    Attributes
    ----------
    export_kw : ndarray, shape (slot, home)
        What is exported, or may be [kW].
    withheld_kw : float
        Sum of what is withheld [kW].
    worst_share : float
        Largest share of its uncontrolled export that a home loses.
    relaxed_kw : ndarray, shape (row,)
        By how much limits had to give way [kW].
    """

    export_kw: Float
    withheld_kw: float
    worst_share: float
    relaxed_kw: Float

    @classmethod
    def of(cls, wanted_kw: Float, export_kw: Float, relaxed_kw: Float) -> Allocation:
        """Add up what is withheld of what homes want to export, shape (slot, home) [kW]."""
        withheld = np.maximum(wanted_kw - export_kw, 0.0)
        return cls(export_kw, float(withheld.sum()), worst_share(withheld, wanted_kw), relaxed_kw)


def worst_share(withheld_kw: Float, wanted_kw: Float) -> float:
    """Return the largest share of what it wants to export over all slots that is withheld from a home."""
    wanted = wanted_kw.sum(axis=0)
    share = np.divide(withheld_kw.sum(axis=0), wanted, out=np.zeros_like(wanted), where=wanted > CLOSE_KW)
    return float(share.max(initial=0.0))
