"""Day-ahead caps for every household and slot: the bilevel problem of capacity limits under a tariff.

Import is capped by `solve_caps`, export by `solve_export`; `BilevelCaps` does both on a feeder, day by day. What homes
do inside their caps is `best_response`; `deviation_test` asks what if they do otherwise.
`Envelopes` limits both for every home, whatever they do: `Shares` are handed out, and what a `Box` of them can do to a
network is told by its corners (`worst_of_box`) and proven (`bound_of_box`).
What is not exported here may change without notice.
"""

from typing import TYPE_CHECKING

from cosim.lazy import exports

if TYPE_CHECKING:
    from cosim.controllers.caps.controller import BilevelCaps
    from cosim.controllers.caps.core.search import Parts
    from cosim.controllers.caps.deviation import DRAWS, Deviation, deviation_test
    from cosim.controllers.caps.envelopes import Envelopes
    from cosim.controllers.caps.export.allocation import ExportProblem, ExportResult, FeedInRows, solve_export
    from cosim.controllers.caps.export.plan import ExportPlan
    from cosim.controllers.caps.follower import (
        best_response,
        best_response_lp,
        charging_cost_eur,
        usable_withheld_kwh,
        worst_draw,
    )
    from cosim.controllers.caps.network import Elements, Round
    from cosim.controllers.caps.network.allocation import ALLOCATIONS, Shares
    from cosim.controllers.caps.network.box import Box, Limits
    from cosim.controllers.caps.network.corners import farthest_corner, worst_of_box
    from cosim.controllers.caps.network.proof import bound_of_box
    from cosim.controllers.caps.options import COORDINATIONS, FORMS, LIMITS_ON, OBJECTIVES, CapsOptions
    from cosim.controllers.caps.problem import CapsProblem, share_of_phase
    from cosim.controllers.caps.receding import CapsRecord, Replan, RunningPlan
    from cosim.controllers.caps.result import CapsResult, Relaxation, over_limit_kw
    from cosim.controllers.caps.solve import solve_caps

__all__ = [
    "ALLOCATIONS", "COORDINATIONS", "DRAWS", "FORMS", "LIMITS_ON", "OBJECTIVES", "BilevelCaps", "Box", "CapsOptions",
    "CapsProblem", "CapsRecord", "CapsResult", "Deviation", "Elements", "Envelopes", "ExportPlan", "ExportProblem",
    "ExportResult", "FeedInRows", "Limits", "Parts", "Relaxation", "Replan", "Round", "RunningPlan", "Shares",
    "best_response", "best_response_lp", "bound_of_box", "charging_cost_eur", "deviation_test",
    "farthest_corner", "over_limit_kw", "share_of_phase", "solve_caps", "solve_export", "usable_withheld_kwh",
    "worst_draw", "worst_of_box",
]  # fmt: skip

__getattr__ = exports(__name__, __file__)  # what may be asked for is known without waiting for a solver
