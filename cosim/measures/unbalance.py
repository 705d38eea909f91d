"""Unbalance of three-phase voltages and currents.

Phases a, b, c lie on the last axis, in positive rotation (b lags a by 120 degrees). Every ratio is nan where its
denominator is zero, never an error and never an invented zero.

References
----------
.. [1] C. L. Fortescue, "Method of symmetrical co-ordinates applied to the solution of polyphase networks",
       Transactions of the AIEE 37 (1918), doi:10.1109/T-AIEE.1918.4765570.
.. [2] IEC 61000-4-30, supply voltage unbalance: ratio of sequence components in percent.
.. [3] P. Pillay, M. Manyage, "Definitions of voltage unbalance", IEEE Power Engineering Review 21(5) (2001),
       doi:10.1109/39.920965. LVUR (NEMA MG 1), PVUR (IEEE 141) and the true factor side by side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from cosim.contract import Branch, monitored_currents
from cosim.measures._arrays import Complex, Float, ratio, three_phases
from cosim.network import terminal_currents

_A = np.exp(2j * np.pi / 3)
_INVERSE_FORTESCUE: Complex = np.array([[1, 1, 1], [1, _A, _A**2], [1, _A**2, _A]], dtype=np.complex128) / 3
_ROUNDING = 1e-9


def sequence_components(phasors: ArrayLike) -> tuple[Complex, Complex, Complex]:
    r"""Zero, positive and negative sequence of three phasors.

    .. math:: X_0 = (X_a + X_b + X_c)/3,\; X_1 = (X_a + a X_b + a^2 X_c)/3,\; X_2 = (X_a + a^2 X_b + a X_c)/3

    with :math:`a = e^{j 2\pi/3}` [1]_.

    Parameters
    ----------
    phasors : array_like of complex, shape (..., 3)
        Phases a, b, c. [any unit]

    Returns
    -------
    zero, positive, negative : ndarray of complex, shape (...)
        In the unit of the input.

    Raises
    ------
    InputError
        The last axis does not hold three phases.
    """
    sequence: Complex = three_phases(phasors, "sequence_components", "phasors") @ _INVERSE_FORTESCUE.T
    return sequence[..., 0], sequence[..., 1], sequence[..., 2]


def vuf_percent(v: ArrayLike) -> Float:
    r"""True voltage unbalance factor, :math:`100\,|V_2|/|V_1|` [2]_.

    Parameters
    ----------
    v : array_like of complex, shape (..., 3)
        Phase voltages against any common reference; only their differences matter. [V]

    Returns
    -------
    ndarray, shape (...)
        [%]; nan where there is no positive sequence.
    """
    _, positive_v, negative_v = sequence_components(v)
    return 100 * ratio(np.abs(negative_v), np.abs(positive_v))


def v0_percent(v: ArrayLike) -> Float:
    r"""Zero-sequence voltage, :math:`100\,|V_0|/|V_1|` [2]_.

    Parameters
    ----------
    v : array_like of complex, shape (..., 3)
        Phase-to-neutral voltages. [V]

    Returns
    -------
    ndarray, shape (...)
        [%]; nan where there is no positive sequence.
    """
    zero_v, positive_v, _ = sequence_components(v)
    return 100 * ratio(np.abs(zero_v), np.abs(positive_v))


def pvur_percent(v_abs: ArrayLike) -> Float:
    r"""Phase voltage unbalance rate, :math:`100 \max_\phi |V_\phi - \bar V| / \bar V` (IEEE 141) [3]_.

    Sees magnitudes of phase-to-neutral voltages only, hence mixes zero and negative sequence and bounds neither.

    Parameters
    ----------
    v_abs : array_like, shape (..., 3)
        Magnitudes of the phase-to-neutral voltages. [V]

    Returns
    -------
    ndarray, shape (...)
        [%]; nan where the mean is zero.
    """
    return _largest_deviation_percent(v_abs, "pvur_percent", "v_abs")


def lvur_percent(line_to_line_abs: ArrayLike) -> Float:
    r"""Line voltage unbalance rate, :math:`100 \max |V_{LL} - \bar V_{LL}| / \bar V_{LL}` (NEMA MG 1) [3]_.

    Parameters
    ----------
    line_to_line_abs : array_like, shape (..., 3)
        Magnitudes of the voltages ab, bc, ca. [V]

    Returns
    -------
    ndarray, shape (...)
        [%]; nan where the mean is zero.
    """
    return _largest_deviation_percent(line_to_line_abs, "lvur_percent", "line_to_line_abs")


def cigre_vuf_percent(line_to_line_abs: ArrayLike) -> Float:
    r"""Unbalance factor from the three line-to-line magnitudes alone, equal to the true factor.

    .. math::
        \beta = \frac{V_{ab}^4 + V_{bc}^4 + V_{ca}^4}{(V_{ab}^2 + V_{bc}^2 + V_{ca}^2)^2}, \qquad
        \mathrm{VUF} = 100 \sqrt{\frac{1 - \sqrt{3 - 6\beta}}{1 + \sqrt{3 - 6\beta}}}

    Three magnitudes determine the triangle of line voltages, hence :math:`|V_2|/|V_1|`. (Formula of CIGRE WG 36.07,
    quoted in IEC 61000-4-30; its equality with the sequence form is a test.)

    Parameters
    ----------
    line_to_line_abs : array_like, shape (..., 3)
        Magnitudes of the voltages ab, bc, ca. [V]

    Returns
    -------
    ndarray, shape (...)
        [%], 0 to 100; nan where all are zero or where no triangle has such sides.

    Notes
    -----
    Written with :math:`e = 6\beta - 2 = 2 \sum_{i<j} (V_i^2 - V_j^2)^2 / (\sum V_i^2)^2`, so that
    VUF :math:`= 100 \sqrt e / (1 + \sqrt{1 - e})`: nothing cancels for nearly balanced voltages, where the form above
    loses half of the digits. Magnitudes do not tell the rotation: with :math:`|V_2| > |V_1|` this is the inverse ratio.
    """
    side = three_phases(line_to_line_abs, "cigre_vuf_percent", "line_to_line_abs").astype(float)
    following = np.roll(side, -1, axis=-1)
    differences = (side - following) * (side + following)
    e = 2 * ratio(np.sum(differences**2, axis=-1), np.sum(side**2, axis=-1) ** 2)
    no_triangle = e > 1 + _ROUNDING
    root = np.sqrt(np.maximum(1 - e, 0))
    return np.where(no_triangle, np.nan, 100 * np.sqrt(e) / (1 + root))


def line_to_line(v: ArrayLike) -> Complex:
    """Voltages ab, bc, ca from phase voltages.

    Parameters
    ----------
    v : array_like of complex, shape (..., 3)
        Phase voltages against a common reference. [V]

    Returns
    -------
    ndarray of complex, shape (..., 3)
        ``Va - Vb``, ``Vb - Vc``, ``Vc - Va``. [V]
    """
    phase = three_phases(v, "line_to_line", "v").astype(np.complex128)
    return np.asarray(phase - np.roll(phase, -1, axis=-1))


def pui_percent(i_abs: ArrayLike, rating_a: ArrayLike, least_share: float = 0.05) -> Float:
    r"""Phase unbalance index, :math:`100 \max_\phi |I_\phi - \bar I| / \bar I`, 0 to 200 %.

    The current analogue of PVUR. It is **not** unbalance: it sees magnitudes and a ratio, so 10 A more on phase a and
    10 A of infeed on b and c leave it at 0 while 20 A flow in the neutral, and one lamp alone at night is 200 %.
    Hence it is left undefined at small currents, and is to be read beside the neutral current.

    Parameters
    ----------
    i_abs : array_like, shape (..., 3)
        Magnitudes of the phase currents. [A]
    rating_a : array_like, broadcast against (...)
        Rated current of the line. [A]
    least_share : float
        The mean current has to exceed this share of the rating.

    Returns
    -------
    ndarray, shape (...)
        [%]; nan where the mean current does not exceed ``least_share * rating_a`` or the rating is unknown (nan).
    """
    current = np.asarray(i_abs, dtype=float)
    index = _largest_deviation_percent(current, "pui_percent", "i_abs")
    enough = current.mean(axis=-1) > least_share * np.asarray(rating_a, dtype=float)
    return np.where(enough, index, np.nan)


def neutral_current_a(i: ArrayLike) -> Float:
    """Residual current ``|Ia + Ib + Ic|``: what returns by neutral and earth together (Kirchhoff).

    Parameters
    ----------
    i : array_like of complex, shape (..., 3)
        Phase currents. [A]

    Returns
    -------
    ndarray, shape (...)
        [A]
    """
    a, b, c = np.moveaxis(three_phases(i, "neutral_current_a", "i"), -1, 0)
    return np.asarray(np.abs(a + b + c))


def branch_neutral_a(branches: Sequence[Branch], node_v: Complex) -> Float:
    """Neutral current of branches: that of the neutral conductor where the branch has its own, else the residual.

    Parameters
    ----------
    branches : sequence of Branch
        Which.
    node_v : ndarray of complex, shape (step, node)
        Node voltages. [V]

    Returns
    -------
    ndarray, shape (step, branch)
        At the monitored terminal; of a branch without a neutral conductor what returns elsewhere, so that the figure of
        one with fewer than three phases and no neutral is no more than the sum of its phases. [A]
    """
    current_a = neutral_current_a(monitored_currents(branches, node_v))
    own = [column for column, branch in enumerate(branches) if branch.neutral_rows]
    for column, into_a in zip(own, terminal_currents([branches[column] for column in own], node_v), strict=True):
        current_a[:, column] = np.abs(into_a[:, branches[column].neutral_rows].sum(axis=1))
    return current_a


def negative_sequence_current_a(i: ArrayLike) -> Float:
    """Magnitude of the negative-sequence current ``|I2|`` [1]_.

    Parameters
    ----------
    i : array_like of complex, shape (..., 3)
        Phase currents. [A]

    Returns
    -------
    ndarray, shape (...)
        [A]
    """
    _, _, negative = sequence_components(i)
    return np.asarray(np.abs(negative))


def unbalance_current_a2(i: ArrayLike) -> Float:
    r"""Squared unbalance current, :math:`|I_2|^2 + |I_0|^2`.

    Everything of the three currents that is not a balanced positive sequence; smooth, and zero only when they are
    balanced. By Parseval it is the mean of :math:`|I_\phi|^2` over the phases less :math:`|I_1|^2`.

    Parameters
    ----------
    i : array_like of complex, shape (..., 3)
        Phase currents. [A]

    Returns
    -------
    ndarray, shape (...)
        [A²], per line; an objective sums it over the lines it watches.
    """
    zero, _, negative = sequence_components(i)
    return np.asarray(zero.real**2 + zero.imag**2 + negative.real**2 + negative.imag**2)


def _largest_deviation_percent(magnitudes: ArrayLike, where: str, key: str) -> Float:
    values = three_phases(magnitudes, where, key).astype(float)
    mean = values.mean(axis=-1)
    deviation = np.abs(values - mean[..., None]).max(axis=-1)
    return 100 * ratio(deviation, mean)
