"""Solve a linear bilevel problem, with proof."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np

from cosim.contract import Float
from cosim.controllers.bilevel.follower import Proof, prove
from cosim.controllers.bilevel.game import WarmLp, game_of, primal, split
from cosim.controllers.bilevel.pessimistic import search_pessimistic, worst_excess
from cosim.controllers.bilevel.problem import WHERE, BilevelLP, Data, checked
from cosim.controllers.bilevel.search import PROVEN_GAP, Limits, Search
from cosim.controllers.solver import Clock, Model, Termination
from cosim.errors import Fault, refuse

TOLERANCE = 1e-6  # of rows, relative to 1 + their size; of the follower's objective, relative to 1 + its size
VIEWS = ("optimistic", "pessimistic")
DEFAULTS = {"time_limit_s": 60.0, "node_limit": 1_000_000, "gap": PROVEN_GAP}
NO_LIMIT = {"time_limit_s": math.inf, "node_limit": math.inf, "gap": PROVEN_GAP}
ALSO_READ = {"time_limit": "time_limit_s"}
DECIDED = ("infeasible", "unbounded")


@dataclass(frozen=True)
class BilevelResult:
    """Outcome of ``solve_bilevel``.

    Attributes
    ----------
    x, y : ndarray or None
        The leader's best decision found and the follower's answer to it (the one best for the leader, or, in the
        pessimistic view, the one worst for it); None where there is none to show.
    value : float
        The leader's objective there; inf without a point, -inf where it is unbounded.
    bound : float
        Proven lower bound of the leader's objective (-inf where nothing is known).
    status : str
        ``optimal``; ``gap_limit``, ``node_limit``, ``time_limit`` (stopped with what there is); ``infeasible`` (no
        decision of the leader leads to an answer it may accept); ``unbounded``; ``not_proven`` (a linear programme
        ended without an answer, or the point did not pass its check: value and bound are what could be had).
    proven : bool
        True only where the bound meets the value (both inf where infeasible, both -inf where unbounded), and the point
        passed its check.
    note : str
        Why, in words; empty where there is nothing to add.
    nodes : int
        Nodes of the tree.
    wall_s : float
        Wall clock [s].
    """

    x: Float | None
    y: Float | None
    value: float
    bound: float
    status: str
    proven: bool
    note: str = ""
    nodes: int = 0
    wall_s: float = 0.0


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
    stop = Limits(options["node_limit"], options["gap"], clock)
    pessimistic = view == "pessimistic"
    game = game_of(data)
    found = search_pessimistic(data, stop) if pessimistic else Search(game, stop).run()
    if found.status == "infeasible":
        found.note = found.note or _why_infeasible(data)
    x: Float | None = None
    y: Float | None = None
    value, bound = found.value * game.cost_scale, found.bound * game.cost_scale
    if found.point is not None and found.status not in DECIDED:
        x, answers = split(game, found.point[: game.nx + game.ny])
        # solvers may leave a bound by their tolerance: valued and checked as it is handed out
        x, y = np.clip(x, data.x_low, data.x_high), np.clip(answers[0], data.y_low, data.y_high)
        value = float(data.c_x @ x + data.c_y @ y)
        bound = min(bound, value)
        wrong = objections(data, x, y, pessimistic=pessimistic)
        if wrong:
            found.status, found.note = "not_proven", "; ".join(wrong)
    proven = found.status in (*DECIDED, "optimal")
    return BilevelResult(x, y, value, bound, found.status, proven, found.note, found.nodes, clock.passed_s)


def objections(data: Data, x: Float, y: Float, *, pessimistic: bool) -> list[str]:
    """What is wrong with a point, in words; nothing for a bilevel point: the follower's problem is solved again.

    Parameters
    ----------
    data : Data
        The problem as stated.
    x, y : ndarray
        Decision and answer.
    pessimistic : bool
        Whether the answer must be the worst optimum for the leader, and coupling rows must hold for all optima.
    """
    found = []
    excess = {
        "the leader's rows": data.A @ x + data.B @ y - data.a,
        "the follower's rows": data.C @ x + data.D @ y - data.b,
        "the bounds of x": np.concatenate([data.x_low - x, x - data.x_high]),
        "the bounds of y": np.concatenate([data.y_low - y, y - data.y_high]),
    }
    size = 1.0 + np.abs(np.concatenate([x, y])).max(initial=0.0)
    for what, by in excess.items():
        if by.max(initial=0.0) > TOLERANCE * size:
            found.append(f"{what} are violated by {by.max():.2g}")
    proof = prove(data, data.c_y if pessimistic else None, x, y)
    if not isinstance(proof, Proof):
        return [*found, f"the follower's problem, solved again, ended {proof.value}"]
    better = float(data.d @ (y - proof.answer))
    if better > TOLERANCE * (1.0 + abs(float(data.d @ y))):
        found.append(f"the follower can do better by {better:.2g}")
    if pessimistic:
        worse = float(data.c_y @ (proof.answer - y))
        if abs(worse) > TOLERANCE * (1.0 + abs(float(data.c_y @ y))):
            found.append(f"the follower's worst optimum costs the leader {worse:.2g} more")
        rows = [
            row for row in range(len(data.a)) if data.B[row].any() and worst_excess(data, row, x, y) > TOLERANCE * size
        ]
        found += [f"coupling row {row} fails for one of the follower's optima" for row in rows]
    return found


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
    refuse(faults)
    return options


def _why_infeasible(data: Data) -> str:
    """Reason in words, from two linear programmes."""
    game, endless = game_of(data), Clock(math.inf)
    model = primal(game)
    without_aim = replace(model, cost=np.zeros_like(model.cost))
    if WarmLp(without_aim, endless).best().termination is Termination.INFEASIBLE:
        return "no decision and answer satisfy all rows"
    rays = Model(game.d, game.H, -np.inf, 0.0, -np.inf)
    if WarmLp(rays, endless).best().termination is Termination.UNBOUNDED:
        return "the follower is unbounded below for every decision that it can answer"
    return "no optimum of the follower satisfies the leader's rows"
