"""Export caps for homes with a roof: the lower level also sells, and the power flow says what may flow back."""

from cosim.controllers.caps.export.network import ExportPlan, ExportRound, Verified, export_problem
from cosim.controllers.caps.export.problem import ExportProblem, ExportRow
from cosim.controllers.caps.export.running import ExportCaps, ExportManner, RunningBothWays, export_faults
from cosim.controllers.caps.export.solve import ExportResult, solve_export

__all__ = [
    "ExportCaps",
    "ExportManner",
    "ExportPlan",
    "ExportProblem",
    "ExportResult",
    "ExportRound",
    "ExportRow",
    "RunningBothWays",
    "Verified",
    "export_faults",
    "export_problem",
    "solve_export",
]
