"""The charge-point operator's day-ahead planner: pure functions, tables in, result object out.

``plan(make_requests(...), make_station(...), Options(...))`` returns a ``Planning``.
"""

from cosim.controllers.planner.options import Fairness, Formulation, Objective, Options, Rounding
from cosim.controllers.planner.plan import Plan, Planning, plan
from cosim.controllers.planner.requests import Requests, Station, make_requests, make_station, request_faults

__all__ = [
    "Fairness",
    "Formulation",
    "Objective",
    "Options",
    "Plan",
    "Planning",
    "Requests",
    "Rounding",
    "Station",
    "make_requests",
    "make_station",
    "plan",
    "request_faults",
]
