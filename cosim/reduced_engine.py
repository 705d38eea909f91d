"""The reduced network as the power flow of a run, and what the circuit's file itself feeds in along a day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from cosim.contract import Complex, Feeder, Float
from cosim.errors import PowerFlowError
from cosim.plugins import shipped
from cosim.reduced import VOLTAGE_BAND_PU, BatchResult, ReducedNetwork
from cosim.reduction import refuse_what_is_not_linear

if TYPE_CHECKING:
    from cosim.dss_devices import OwnElements
    from cosim.opendss import OpenDssEngine


class ReducedEngine:
    """The reduced network as the power flow of a run.

    Parameters
    ----------
    feeder : Feeder
        The place.

    Raises
    ------
    UnsupportedError, PowerFlowError
        As `ReducedNetwork`.
    """

    name = "reduced"

    def __init__(self, feeder: Feeder) -> None:
        refuse_what_is_not_linear(feeder, regulating=False)
        self._feeder, self._network = feeder, _network_of(feeder)
        self._own: OwnSources | None = None
        self._last: BatchResult | None = None

    def start(self, start: datetime, step_min: float) -> OwnSources | None:
        """Begin a day: what the file itself runs along its steps; None where it has nothing of that kind.

        Parameters
        ----------
        start : datetime
            Local clock of the first step.
        step_min : float
            Length of a step [min].
        """
        if not self._feeder.network.injectors:
            return None
        if self._own is None or self._own.clock != (start, step_min):
            self._own = OwnSources(self._feeder, start, step_min, self._fed)
        return self._own

    def solve(self, p_kw: Float, q_kvar: Float, source_pu: float) -> Complex:
        """Solve one operating point.

        Parameters
        ----------
        p_kw, q_kvar : ndarray, shape (customer,)
            Net consumption; with chargers on single phases (customer + spur,).
        source_pu : float
            Source voltage; nan for the feeder's own.

        Returns
        -------
        ndarray of complex, shape (node,)
            Node voltages [V].

        Raises
        ------
        PowerFlowError
            Where the iteration does not converge, or a voltage leaves 0.5..1.5 of nominal, or the band of a source.
        """
        fed_kva = None if self._own is None else self._own.now_kva
        self._last = self._network.solve(p_kw[None, :], q_kvar[None, :], source_pu, fed_kva)
        if not self._last.solved[0]:
            low, high = VOLTAGE_BAND_PU
            raise PowerFlowError(
                f"the reduced network finds no solution within {low}..{high} pu of nominal with a net load of "
                f"{p_kw.sum():.1f} kW (largest customer {p_kw.max():.1f} kW)"
            )
        return np.asarray(self._last.node_v[0])

    def solve_all(self, p_kw: Float, q_kvar: Float, source_pu: Float) -> Complex:
        """Solve operating points together, shape (point, node); nan where there is no solution.

        Parameters
        ----------
        p_kw, q_kvar, source_pu : ndarray, shape (point, customer), (point,)
            As of `solve`.
        """
        return np.asarray(self._network.solve(p_kw, q_kvar, source_pu).node_v)

    def _fed(self) -> Complex:
        """What the file's own sources feed in at every node to earth in the last solution, P + jQ [kVA]."""
        assert self._last is not None  # noqa: S101 - asked for after a power flow
        fed_a = -(self._feeder.source_ports @ self._last.source_a[0])
        return np.asarray(self._last.node_v[0] * fed_a.conj() / 1e3)


@lru_cache(maxsize=2)  # a fifth of a day on a street: the same for every run on a feeder
def _network_of(feeder: Feeder) -> ReducedNetwork:
    return ReducedNetwork(feeder, watched=(), others_kva=feeder.network.others_kva)


class OwnSources:
    """The file's own sources along the steps of a day: what OpenDSS says that each feeds in, whatever its voltage.

    Parameters
    ----------
    feeder : Feeder
        The place.
    start : datetime
        Local clock of the first step.
    step_min : float
        Length of a step [min].
    at_nodes : callable, optional
        Gives what is fed in at every node [kVA].

    Attributes
    ----------
    clock : (datetime, float)
        ``start`` and ``step_min``.
    now_kva : ndarray of complex, shape (source,)
        P + jQ of every source in the step that has begun [kVA].
    """

    switchings: tuple[tuple[int, str, float, float], ...] = ()

    def __init__(
        self, feeder: Feeder, start: datetime, step_min: float, at_nodes: Callable[[], Complex] | None = None
    ) -> None:
        self.clock, self._at_nodes = (start, step_min), at_nodes
        self._engine: OpenDssEngine = shipped("cosim.opendss:OpenDssEngine")(feeder)
        for kind in {name.split(".")[0] for name in feeder.network.steady_sources}:
            # without load voltages are high, and it is the power inside the band that is asked for
            self._engine.context.Text.Command(f"batchedit {kind}..* vminpu=0.3 vmaxpu=2")
        own = self._engine.start(start, step_min)
        assert own is not None  # noqa: S101 - there are sources
        self._elements: OwnElements = own
        self._nothing = feeder.at_loads(*np.zeros((2, len(feeder.customers))))
        self._steps: list[Complex] = []
        self.now_kva: Complex = self.of_step(0)

    def of_step(self, step: int) -> Complex:
        """What every source feeds in at a step, P + jQ, shape (source,) [kVA]."""
        while len(self._steps) <= step:  # one after the other: what storage holds follows from the steps before
            self._elements.begin(len(self._steps))
            self._engine.solve(self._nothing, self._nothing, float("nan"))
            self._steps.append(np.array([-kva.sum() for kva in self._elements.drawn_kva()]))
        return self._steps[step]

    def begin(self, step: int) -> None:
        """Go to a step."""
        self.now_kva = self.of_step(step)

    def act(self) -> bool:
        """Nothing is controlled, so nothing acts."""
        return False

    def note_switchings(self) -> dict[str, Complex]:
        """Nothing is switched."""
        return {}

    def sources(self) -> tuple[Float, Complex]:
        """Active power of each source [kW], and P + jQ fed in at each node to earth as solved last [kVA]."""
        assert self._at_nodes is not None  # noqa: S101 - asked for in runs
        return self.now_kva.real, self._at_nodes()
