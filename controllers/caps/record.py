"""What a run of the caps leaves behind: the plan, what became of it, and how it was verified."""

from __future__ import annotations

from dataclasses import dataclass

from cosim.controllers.caps.export.network import ExportPlan
from cosim.controllers.caps.export.running import RunningBothWays
from cosim.controllers.caps.receding import Replan, RunningPlan
from cosim.controllers.caps.study import HorizonPlan


@dataclass(frozen=True, eq=False)
class ExportRecord:
    """Export caps of a run.

    Attributes
    ----------
    plan : ExportPlan
        Of the day ahead.
    wall_s : float
        Wall clock of the plan [s].
    corrected_steps : int
        Steps that were planned anew with what meters told.
    """

    plan: ExportPlan
    wall_s: float
    corrected_steps: int


@dataclass(frozen=True, eq=False)
class CapsRecord:
    """Caps of a run; plain data, without the predictor and the planner that made them.

    Attributes
    ----------
    day_ahead : HorizonPlan
        The first plan: problem, result, and what the power flow says of it.
    replans : tuple of Replan
        All later looks at the rest of the day.
    export : ExportRecord or None
        Where export was capped.
    """

    day_ahead: HorizonPlan
    replans: tuple[Replan, ...]
    export: ExportRecord | None

    @classmethod
    def of(cls, running: RunningPlan) -> CapsRecord:
        """Record a plan as it stands."""
        both = running.export if isinstance(running, RunningBothWays) else None
        export = None if both is None else ExportRecord(both.plan, both.wall_s, both.corrected_steps)
        return cls(running.day_ahead, tuple(running.replans), export)
