"""The charge-point operator's day-ahead planner: pure functions, tables in, result object out.

``plan(make_requests(...), make_station(...), Options(...))`` returns a ``Planning``; each is imported from its module,
so that options can be refused without a solver.
"""
