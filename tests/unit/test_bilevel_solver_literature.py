"""Linear bilevel problems of the literature with their known optima, and the same by going through all multipliers.

Statements and optima were compared with two collections: BASBLib (Paulavičius, Kleniati and Adjiman, doi
10.5281/zenodo.44997) and BOLIB version 2 (Zhou, Zemkoho and Tin, 2019). Where a collection differs from the proven
optimum, the case says so.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linprog

from cosim.controllers.bilevel import BilevelLP, solve_bilevel

FREE = None
POSITIVE = (0, None)


@dataclass(frozen=True)
class Case:
    name: str
    source: str
    problem: BilevelLP
    value: float
    x: tuple[float, ...] | None = None  # where the optimum is unique
    y: tuple[float, ...] | None = None


def _no_rows(
    c_x: list, c_y: list, d: list, C: list, D: list, b: list, x_bounds=POSITIVE, y_bounds=POSITIVE
) -> BilevelLP:
    """A problem whose leader has no rows: the form of most textbook examples."""
    return BilevelLP(c_x, c_y, None, None, None, d, C, D, b, x_bounds, y_bounds)


BARD_1984_C, BARD_1984_D = [[-1], [-0.25], [1], [1]], [[-0.5], [1], [0.5], [-2]]
CANDLER_C, CANDLER_D = [[0, 0], [2, 0], [0, 2]], [[-1, 1, 1], [-1, 2, -0.5], [2, -1, -0.5]]

CASES = [
    Case(
        "pineda_morales_2019",
        "Pineda and Morales, IEEE Trans. Power Syst. 34 (2019), arXiv:1809.10448: enlarging M until no "
        "multiplier is at its bound ends at (1, 0)",
        _no_rows([-1], [-1], [1], [[1]], [[-0.01]], [1], x_bounds=(0, 2)),
        -102.0, (2,), (100,),
    ),
    Case(
        "pineda_morales_2019_scaled",
        "the same with its row times 100",
        _no_rows([-1], [-1], [1], [[100]], [[-1]], [100], x_bounds=(0, 2)),
        -102.0, (2,), (100,),
    ),
    Case(
        "bard_falk_1982_1",
        "Bard and Falk, Comput. Oper. Res. 9 (1982) 77, doi 10.1016/0305-0548(82)90007-7, example 1",
        _no_rows([-8, -4], [4, -40, 4], [1, 1, 2], CANDLER_C, CANDLER_D, [1, 1, 1]),
        -26.0, (0, 0.9), (0, 0.6, 0.4),
    ),
    Case(
        "bard_falk_1982_2",
        "Bard and Falk (1982), example 2",
        _no_rows([-2, 1], [0.5, 0], [-4, 1], [[-2, 0], [1, -3], [1, 1]], [[1, -1], [0, 1], [0, 0]], [-2.5, 2, 2]),
        -3.25, (2, 0), (1.5, 0),
    ),
    Case(
        "candler_townsley_1982",
        "Candler and Townsley, Comput. Oper. Res. 9 (1982) 59, doi 10.1016/0305-0548(82)90006-5",
        _no_rows([-8, -4], [4, -40, -4], [1, 1, 2], CANDLER_C, CANDLER_D, [1, 1, 1]),
        -29.2, (0, 0.9), (0, 0.6, 0.4),
    ),
    Case(
        "bard_1984_1",
        "Bard, Nav. Res. Logist. Q. 31 (1984) 13, doi 10.1002/nav.3800310104, example 1 (last row <= 2, as in BASBLib)",
        _no_rows([1], [1], [-1], BARD_1984_C, BARD_1984_D, [-2, 2, 8, 2]),
        28 / 9, (8 / 9,), (20 / 9,),
    ),
    Case(
        "bard_1984_2",
        "Bard (1984), second example (last row <= 4, as in BOLIB)",
        _no_rows([-5], [-1], [1], BARD_1984_C, BARD_1984_D, [-2, 2, 8, 4]),
        -37.6, (7.2,), (1.6,),
    ),
    Case(
        "visweswaran_1996",
        "Visweswaran, Floudas, Ierapetritou and Pistikopoulos in State of the Art in Global Optimization (1996) 139; "
        "Floudas et al., Handbook of Test Problems in Local and Global Optimization (1999), chapter 9.2",
        _no_rows([1], [1], [-1], BARD_1984_C, BARD_1984_D, [-2, 2, 8, 2]),
        28 / 9, (8 / 9,), (20 / 9,),
    ),
    Case(
        "bialas_karwan_1984_1",
        "Bialas and Karwan, Manage. Sci. 30 (1984) 1004, doi 10.1287/mnsc.30.8.1004, first example",
        _no_rows(
            [-1], [0, -1], [0, -1], [[1], [-1], [-1], [1], [0]], [[1, 1], [-1, 1], [1, 1], [-1, 1], [0, 1]],
            [3, -1, 1, 1, 0.5],
        ),
        -2.0, (1.5,), (1, 0.5),
    ),
    Case(
        "bialas_karwan_1984_2",
        "Bialas and Karwan (1984), second example",
        _no_rows(
            [0], [-1], [1], [[-1], [1], [-1], [1], [2]], [[-2], [2], [2], [-2], [-1]], [-10, 38, 18, 6, 21],
        ),
        -11.0, (16,), (11,),
    ),
    Case(
        "clark_westerberg_1988",
        "Clark and Westerberg, Nav. Res. Logist. 35 (1988) 413; both variables free",
        _no_rows([1], [-4], [1], [[-2], [2], [2]], [[1], [5], [-3]], [0, 108, -4], FREE, FREE),
        -37.0, (19,), (14,),
    ),
    Case(
        "clark_westerberg_1990",
        "Clark and Westerberg, Comput. Chem. Eng. 14 (1990) 87, doi 10.1016/0098-1354(90)87007-C",
        _no_rows(
            [-1], [-3, 2], [-1, 0], [[-2], [8], [-2]], [[1, 4], [3, -2], [1, -3]], [16, 48, -12],
            (0, 8), [(0, 4), FREE],
        ),
        -13.0, (5,), (4, 2),
    ),
    Case(
        "anandalingam_white_1990",
        "Anandalingam and White, IEEE Trans. Autom. Control 35 (1990) 1170, doi 10.1109/9.58565",
        _no_rows([-1], [-3], [3], [[-1], [1], [2], [1], [-1]], [[-2], [-2], [-1], [2], [2]], [-10, 6, 21, 38, 18]),
        -49.0, (16,), (11,),
    ),
    Case(
        "ben_ayed_blair_1990_1",
        "Ben-Ayed and Blair, Oper. Res. 38 (1990) 556, doi 10.1287/opre.38.3.556, first example",
        _no_rows([-1.5], [-6, -1], [-1, -5], [[1], [2]], [[3, 1], [1, 3]], [5, 5], (0, 1)),
        -2.5, (1,), (0, 1),
    ),
    Case(
        "ben_ayed_blair_1990_2",
        "Ben-Ayed and Blair (1990), second example",
        _no_rows([-1], [-1], [1], [[-4], [1], [3]], [[-3], [2], [1]], [-19, 11, 13]),
        -6.0, (1,), (5,),
    ),
    Case(
        "haurie_savard_white_1990",
        "Haurie, Savard and White, Oper. Res. 38 (1990) 553; both variables free",
        _no_rows([1], [5], [-1], [[-3], [3], [2], [-1]], [[2], [4], [-5], [-1]], [6, 48, 9, -8], FREE, FREE),
        27.0, (12,), (3,),
    ),
    Case(
        "bard_1991_2",
        "Bard, J. Optim. Theory Appl. 68 (1991) 371, doi 10.1007/BF00941574; the optimum has two points",
        _no_rows([-1], [10, -1], [-1, -1], [[1], [1], [0]], [[1, 0], [0, 1], [1, 1]], [1, 1, 1]),
        -1.0,
    ),
    Case(
        "tuy_1993",
        "Tuy, Migdalas and Värbrand, J. Glob. Optim. 3 (1993) 1",
        BilevelLP(
            [-2, 1], [0.5, 0], [[1, 1]], [[0, 0]], [2], [-4, 1], [[-2, 0], [1, -3]], [[1, -1], [0, 1]], [-2.5, 2],
            POSITIVE, POSITIVE,
        ),
        -3.25, (2, 0), (1.5, 0),
    ),
    Case(
        "tuy_1994",
        "Tuy, Migdalas and Värbrand, J. Glob. Optim. 4 (1994) 243; a coupling row",
        BilevelLP(
            [3, 2], [1, 1], [[1, 1]], [[1, 1]], [4], [4, 1], [[-3, -5]], [[-6, -2]], [-15], POSITIVE, POSITIVE,
        ),
        6.0, (0, 3), (0, 0),
    ),
    Case(
        "liu_hart_1994",
        "Liu and Hart, Eur. J. Oper. Res. 73 (1994) 164, doi 10.1016/0377-2217(94)90155-4",
        _no_rows([-1], [-3], [1], [[-1], [1], [4]], [[1], [2], [-1]], [3, 12, 12]),
        -16.0, (4,), (4,),
    ),
    Case(
        "savard_1989",
        "Savard, thesis, École Polytechnique de Montréal (1989), as s_1989_01 in BASBLib; a coupling row",
        BilevelLP(
            [-8, -4], [4, -40, 4], [[1, 2]], [[0, 0, -1]], [1.3], [2, 1, 2], [[0, 0], [4, 0], [0, 4]],
            [[-1, 1, 1], [-2, 4, -1], [4, -2, -1]], [1, 2, 2], (0, 10), (0, 10),
        ),
        -14.6, (0, 0.65), (0, 0.3, 0),
    ),
    Case(
        "bard_1998_5_1_1",
        "Bard, Practical Bilevel Optimization (1998), example 5.1.1 (last row corrected, as in BASBLib)",
        _no_rows([1], [-4], [1], [[-1], [-2], [2], [3]], [[-1], [1], [1], [-2]], [-3, 0, 12, 4]),
        -12.0, (4,), (4,),
    ),
    Case(
        "mersha_dempe_2006_2",
        "Mersha and Dempe, Appl. Math. Comput. 180 (2006) 247, doi 10.1016/j.amc.2005.11.134: coupling rows; "
        "they may not be moved to the follower (that gives -22)",
        BilevelLP([-1], [-2], [[-2], [1]], [[3], [1]], [12, 14], [-1], [[-3], [3]], [[1], [1]], [-3, 30], FREE, FREE),
        -20.0, (8,), (6,),
    ),
    Case(
        "wang_jiao_li_2005",
        "Wang, Jiao and Li, IEEE Trans. Syst. Man Cybern. C 35 (2005), as in BOLIB; follower variables free",
        _no_rows([-100], [-1000, 0], [-1, -1], [[1], [0]], [[1, -1], [1, 1]], [1, 1], (0, 1), FREE),
        -1000.0, (0,), (1, 0),
    ),
    Case(
        "lan_wen_shih_lee_2007",
        "Lan, Wen, Shih and Lee, Appl. Math. Comput. (2007), as in BOLIB, where the best known value is -85.0855",
        _no_rows(
            [2], [-11], [3], [[1], [2], [3], [1], [-4], [-1]], [[-2], [-1], [4], [7], [5], [-4]],
            [4, 24, 96, 126, 65, -8],
        ),
        -936 / 11, (192 / 11,), (120 / 11,),
    ),
    Case(
        "glackin_2009",
        "Glackin, Ecker and Kupferschmid, J. Optim. Theory Appl. 140 (2009) 197",
        BilevelLP(
            [-2, 4], [3], [[1, -1]], [[0]], [-1], [-1], [[1, 1], [2, 2]], [[1], [1]], [4, 6], POSITIVE, POSITIVE,
        ),
        6.0, (1, 2), (0,),
    ),
    Case(
        "allende_still_2013",
        "Allende and Still, Math. Program. 138 (2013) 309, doi 10.1007/s10107-012-0535-x, example 3.1",
        _no_rows([-1], [-1], [1], [[1], [0]], [[-1], [1]], [0, 0], (-10, 10), (-10, 10)),
        0.0, (0,), (0,),
    ),
    Case(
        "mitsos_barton_2007_1",
        "Mitsos and Barton, A Test Set for Bilevel Programs (2007), example 3.1: no leader variable",
        BilevelLP([], [1], None, None, None, [-1], None, None, None, None, (-1, 1)),
        1.0, (), (1,),
    ),
]  # fmt: skip


def by_enumeration(problem: BilevelLP) -> float:
    """Best value over all sets of tight follower rows that can carry a multiplier; finite bounds and rows only."""
    ny = len(problem.d)
    D, b = np.array(problem.D if problem.D is not None else np.zeros((0, ny)), float), np.array(problem.b or [], float)
    nx = len(problem.c_x)
    C = np.array(problem.C, float) if nx and problem.C is not None else np.zeros((len(b), nx))
    bounds = problem.y_bounds if isinstance(problem.y_bounds, list) else [problem.y_bounds] * ny
    for i, (low, high) in enumerate(pair or (None, None) for pair in bounds):
        for sign, end in ((-1.0, low), (1.0, high)):
            if end is not None:
                D, C = np.vstack([D, sign * np.eye(ny)[i]]), np.vstack([C, np.zeros(nx)])
                b = np.append(b, sign * end)
    rows, limits = np.hstack([C, D]), b
    if problem.a is not None:
        rows = np.vstack([rows, np.hstack([problem.A, problem.B])])
        limits = np.append(limits, problem.a)
    pairs = [problem.x_bounds if problem.x_bounds is not None else (None, None)] * nx + [(None, None)] * ny
    best = np.inf
    for size in range(min(ny, len(b)) + 1):
        for tight in itertools.combinations(range(len(b)), size):
            held = list(tight)
            if _carries(D[held], np.array(problem.d, float)):
                best = min(best, _lowest(problem, rows, limits, np.hstack([C, D])[held], b[held], pairs))
    return best


def _carries(D: NDArray[np.float64], d: NDArray[np.float64]) -> bool:
    """Whether non-negative multipliers of these rows alone make the follower's objective stationary."""
    if not len(D):
        return not d.any()
    return linprog(np.zeros(len(D)), A_eq=D.T, b_eq=-d).status == 0


def _lowest(problem: BilevelLP, rows, limits, held, at, pairs) -> float:
    cost = np.concatenate([np.array(problem.c_x, float), np.array(problem.c_y, float)])
    equal = {"A_eq": held, "b_eq": at} if len(held) else {}
    solved = linprog(cost, A_ub=rows, b_ub=limits, bounds=pairs, **equal)
    assert solved.status in (0, 2), solved.message
    return float(solved.fun) if solved.status == 0 else np.inf


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_known_optimum(case: Case) -> None:
    result = solve_bilevel(case.problem)
    assert (result.status, result.proven) == ("optimal", True)
    assert result.value == pytest.approx(case.value, abs=1e-6)
    assert result.bound == pytest.approx(case.value, abs=1e-4)
    if case.x is not None:
        np.testing.assert_allclose(result.x, case.x, atol=1e-6)
        np.testing.assert_allclose(result.y, case.y, atol=1e-6)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_known_optimum_by_enumeration(case: Case) -> None:
    """The published optimum itself is checked: a wrong statement would make the other test worthless."""
    assert by_enumeration(case.problem) == pytest.approx(case.value, abs=1e-6)


def test_mitsos_barton_2007_2_is_infeasible() -> None:
    """Example 3.2: the follower's only optimum breaks the leader's row."""
    result = solve_bilevel(BilevelLP([], [1], [], [[1]], [0], [-1], None, None, None, None, (-1, 1)))
    assert (result.status, result.proven, result.value, result.bound) == ("infeasible", True, np.inf, np.inf)
