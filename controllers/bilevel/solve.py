"""Solve a linear bilevel problem, with proof."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosim.controllers.bilevel.game import game_of, primal_columns, primal_matrix, split
from cosim.controllers.bilevel.lp import WarmLp
from cosim.controllers.bilevel.pessimistic import search_pessimistic
from cosim.controllers.bilevel.problem import WHERE, BilevelLP, Data, checked
from cosim.controllers.bilevel.result import BilevelResult
from cosim.controllers.bilevel.search import PROVEN_GAP, Found, Search
from cosim.controllers.bilevel.verify import objections
from cosim.controllers.solver import UNLIMITED, Clock, Limits, Termination
from cosim.errors import Fault, InputError

Floats = NDArray[np.float64]

VIEWS = ("optimistic", "pessimistic")
DEFAULTS = {"time_limit_s": 60.0, "node_limit": 1_000_000, "gap": PROVEN_GAP}
NO_LIMIT = {"time_limit_s": math.inf, "node_limit": math.inf, "gap": PROVEN_GAP}
ALSO_READ = {"time_limit": "time_limit_s"}
DECIDED = ("infeasible", "unbounded")


def solve_bilevel(problem: BilevelLP, view: str = "optimistic", **limits: float) -> BilevelResult:
    """Minimise ``c_x x + c_y y`` over x, where y is an optimum of the follower's linear programme for x.

    Branch and bound on complementarities over linear programmes: no big-M, no bound on a multiplier, no tolerance on
    the follower's optimality (see ``search``). What is returned has been checked by solving the follower's problem
    again.

    Parameters
    ----------
    problem : BilevelLP
        The problem.
    view : {"optimistic", "pessimistic"}
        Which of the follower's optima the leader counts on: the best for it, or the worst. In the pessimistic view
        coupling rows must hold for every optimum of the follower; the best value is attained (see ``pessimistic``).
    **limits : float
        ``time_limit_s`` (default 60; also read as ``time_limit``) [s]; ``node_limit`` (default 1,000,000); ``gap``,
        (value - bound) / (1 + |value|) at which to stop (default 1e-6; above that the result is not called optimal).
        None is no limit.

    Returns
    -------
    BilevelResult
        Infeasible also where the follower is unbounded below for every decision it can answer.

    Raises
    ------
    InputError
        Shapes that do not fit, numbers that are not finite, crossed bounds, an unknown view or limit; all at once.

    References
    ----------
    J. F. Bard and J. T. Moore, "A branch and bound algorithm for the bilevel programming problem", SIAM J. Sci. Stat.
    Comput. 11 (1990) 281-292, doi 10.1137/0911017. T. Kleinert, M. Labbé, F. Plein and M. Schmidt, "There's no free
    lunch: on the hardness of choosing a correct big-M in bilevel optimization", Oper. Res. 68 (2020), doi
    10.1287/opre.2019.1944.
    """
    options = _options(view, limits)
    clock = Clock(options["time_limit_s"])
    data = checked(problem)
    stop = Limits(options["gap"], int(min(options["node_limit"], UNLIMITED)))
    pessimistic = view == "pessimistic"
    game = game_of(data)
    found = search_pessimistic(data, stop, clock) if pessimistic else Search(game, stop, clock).run()
    if found.status == "infeasible":
        found.note = found.note or _why_infeasible(data)
    x: Floats | None = None
    y: Floats | None = None
    value, bound = found.value * game.cost_scale, found.bound * game.cost_scale
    if found.point is not None and found.status not in DECIDED:
        x, answers = split(game, found.point[: game.nx + game.ny])
        x, y = np.clip(x, data.x_low, data.x_high), np.clip(answers[0], data.y_low, data.y_high)
        value = float(data.c_x @ x + data.c_y @ y)
        bound = min(bound, value)
        _check(found, data, x, y, pessimistic=pessimistic)
    proven = found.status in (*DECIDED, "optimal")
    return BilevelResult(x, y, value, bound, found.status, proven, found.note, found.nodes, clock.passed_s)


def _check(found: Found, data: Data, x: Floats, y: Floats, *, pessimistic: bool) -> None:
    """Withdraw the proof of a point that does not pass its check."""
    wrong = objections(data, x, y, pessimistic=pessimistic)
    if wrong:
        found.status, found.note = "not_proven", "; ".join(wrong)


def _options(view: str, limits: dict[str, Any]) -> dict[str, float]:
    """Limits with their defaults, after a check of everything."""
    faults = []
    if view not in VIEWS:
        faults.append(Fault(WHERE, "view", f"{view!r} is unknown", f"choose one of {', '.join(VIEWS)}"))
    options = dict(DEFAULTS)
    for given, limit in limits.items():
        name = ALSO_READ.get(given, given)
        if name not in DEFAULTS:
            faults.append(Fault(WHERE, given, "is not a limit", f"choose among {', '.join(DEFAULTS)}"))
        elif limit is None:
            options[name] = NO_LIMIT[name]
        elif not isinstance(limit, Real) or not float(limit) >= 0.0:
            faults.append(Fault(WHERE, given, f"{limit!r} is not a number of at least 0", "give a number"))
        else:
            options[name] = float(limit)
    if faults:
        raise InputError(faults)
    return options


def _why_infeasible(data: Data) -> str:
    """Reason in words, from two linear programmes."""
    game = game_of(data)
    matrix, limit = primal_matrix(game)
    rows = (np.full(len(limit), -np.inf), limit)
    cost = np.zeros(matrix.shape[1])
    if WarmLp(matrix, rows, primal_columns(game), cost).best().termination is Termination.INFEASIBLE:
        return "no decision and answer satisfy all rows"
    free = np.full(game.ny, np.inf)
    falling = (np.full(game.rows, -np.inf), np.zeros(game.rows))
    ray = WarmLp(game.H, falling, (-free, free), game.d).best()
    if ray.termination is Termination.UNBOUNDED:
        return "the follower is unbounded below for every decision that it can answer"
    return "no optimum of the follower satisfies the leader's rows"
