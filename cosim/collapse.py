"""A step that no power flow solves: what part of its consumption can be served, area by area, and what cannot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cosim.contract import Complex, Engine, Feeder, Float
from cosim.errors import PowerFlowError
from cosim.network import CONSTANT_POWER_PU, TerminalPu, is_constant_power

ON_COLLAPSE = ("stop", "shed")
"""What a run does at a step without solution: it ends, or goes on with what can be served."""

_NAMED = 3
SHARE_TOLERANCE = 0.01
"""Relative width of the last bracket: the share found solves, one larger by this does not."""


class Answer(NamedTuple):
    """What devices want at the voltages that a step was solved with; of what they draw the whole, served or not.

    ``powers`` [kW, kvar] has the shape (2, device, customer), see `cosim.devices.group`.
    """

    voltage: Complex
    powers: Float
    apart_kw: float = 0.0


@dataclass(frozen=True, eq=False)
class Collapse:
    """One step without a power flow, and what was served instead.

    Attributes
    ----------
    step : int
        Which; of a run that it ended, the one after the last completed.
    areas : tuple of str
        Names of the areas that have customers.
    customers : tuple of int
        How many each has.
    served_share : ndarray, shape (area,)
        Largest share of the consumption of all its customers at which the feeder solves.
    not_served_kwh : ndarray, shape (area,)
        The rest over the step.
    asked_kw, asked_kvar : ndarray, shape (customer + spur,)
        Net consumption that has no solution, see `Feeder.at_loads`.
    source_pu : float
        Source voltage of the step; nan for the feeder's own.
    """

    step: int
    areas: tuple[str, ...]
    customers: tuple[int, ...]
    served_share: Float
    not_served_kwh: Float
    asked_kw: Float
    asked_kvar: Float
    source_pu: float

    def __str__(self) -> str:
        """Areas that are not served whole, those of one share together."""
        alike: dict[str, list[int]] = defaultdict(list)
        for row, share in enumerate(self.served_share.tolist()):
            if not share >= 1.0:
                alike[f"{100.0 * share:.1f} % of consumption served in"].append(row)
        return ", ".join(
            f"{share} {', '.join(self.areas[row] for row in rows[:_NAMED])}{', …' * (len(rows) > _NAMED)} "
            f"({sum(self.customers[row] for row in rows)} customers)"
            for share, rows in alike.items()
        )


def largest_share(solves: Callable[[float], bool]) -> float:
    """Largest share that solves where 1 does not, bisected to `SHARE_TOLERANCE`; nan where not even 0 does.

    The last call of ``solves`` that returned True was with the share that is returned.
    """
    if not solves(0.0):
        return float("nan")
    low, high = 0.0, 1.0
    while high - low > SHARE_TOLERANCE * max(low, SHARE_TOLERANCE):
        middle = (low + high) / 2.0
        low, high = (middle, high) if solves(middle) else (low, middle)
    return low


class PowerFlow:
    """An engine whose answers serve the customers of a feeder, and what it can serve where there is no answer.

    Parameters
    ----------
    feeder : Feeder
        The place.
    engine : Engine
        Its power flow.
    """

    def __init__(self, feeder: Feeder, engine: Engine) -> None:
        self._engine = engine
        self._later: list[tuple[Float, Float, float]] | None = None
        self._names = feeder.network.node_names
        # what a customer between phases feels is the voltage between them
        self._terminal_pu = TerminalPu(*feeder.load_ends[1:], feeder.port_nominal_v)
        # without areas that hold no customers, which there is nothing to shed in
        held, self._area = np.unique(feeder.area_of_customer, return_inverse=True)
        self._areas = tuple(feeder.areas[area].name if area >= 0 else feeder.name for area in held)

    def solve(self, net_kw: Float, net_kvar: Float, source_pu: float) -> Complex:
        """Solve one operating point; voltages at which loads are no longer constant power are no solution of it.

        Raises
        ------
        PowerFlowError
            Where the engine finds no solution, or one at which customers are not served.
        """
        if self._later is not None:
            self._later.append((net_kw, net_kvar, source_pu))
            return self._unknown_v
        voltage = self._engine.solve(net_kw, net_kvar, source_pu)
        pu = self._terminal_pu(voltage)
        if is_constant_power(pu):
            return voltage
        worst = int(np.abs(pu - 1.0).argmax())
        # an engine that starts from the voltages that it has would start the next solve from these
        self._engine.solve(np.zeros_like(net_kw), np.zeros_like(net_kw), source_pu)
        name, nominal_v = self._name(worst), self._terminal_pu.nominal_v[worst]
        raise PowerFlowError(
            f"voltage collapse: {pu[worst] * nominal_v:.1f} V at {name}, outside {CONSTANT_POWER_PU[0]}.."
            f"{CONSTANT_POWER_PU[1]} of {nominal_v:.0f} V, where the power asked for is not served"
        )

    def defer(self) -> bool:
        """Solve operating points to come together, in `settle`; whether the engine can do that."""
        if can := hasattr(self._engine, "solve_all"):
            self._later, self._unknown_v = [], np.full(len(self._names), complex(np.nan, np.nan))
        return can

    @property
    def deferred(self) -> bool:
        """Whether voltages are not known yet."""
        return self._later is not None

    def settle(self) -> Complex:
        """Node voltages of all operating points since `defer`, shape (point, node) [V]; nan where there is none."""
        points, self._later = self._later, None
        if not points:
            return np.empty((0, len(self._names)), complex)
        net_kw, net_kvar, source_pu = (np.array(values) for values in zip(*points, strict=True))
        voltages: Complex = self._engine.solve_all(net_kw, net_kvar, source_pu)  # type: ignore[attr-defined]
        low, high = CONSTANT_POWER_PU
        pu = self._terminal_pu(voltages)
        voltages[~((pu > low) & (pu < high)).all(axis=1)] = complex(np.nan, np.nan)
        return voltages

    def lowest(self, voltages: Complex) -> Iterator[tuple[float, str]]:
        """Lowest voltage of any customer, of its own nominal, and its node, for voltages of shape (step, node)."""
        for pu in self._terminal_pu(voltages):
            lowest = int(pu.argmin())
            yield float(pu[lowest]), self._name(lowest)

    def carried(self, solve: Callable[[Float | float], Answer]) -> tuple[Answer, Float | float, PowerFlowError | None]:
        """Solve for all consumption or, where that has no solution, for the largest share of it that has one.

        First each area alone, with nothing consumed in the others: its own share. Where these do not solve together,
        the areas that cannot be served whole are lowered by one common factor; where no factor is low enough (none is
        too much alone, all together are), all areas are. The order of areas does not matter.

        Parameters
        ----------
        solve : callable
            Solves with a share, or shares of shape (customer,).

        Returns
        -------
        answer : Answer
            To the shares; its voltages are valid until the next call.
        share : float or ndarray, shape (customer,)
            1.0 where all consumption is served.
        error : PowerFlowError or None
            What is wrong with all consumption; None also where the engine only needed a fresh start.

        Raises
        ------
        PowerFlowError
            That one, where not even nothing consumed has a solution.
        """
        try:
            return solve(1.0), 1.0, None
        except PowerFlowError as error:
            last: list[tuple[Float, Answer]] = []

            def solves(shares: Float) -> bool:
                try:
                    answer = solve(shares[self._area])
                except PowerFlowError:
                    return False
                # copied: the engine overwrites its buffer, and what is tried last is not what is kept
                last[:] = [(shares[self._area], answer._replace(voltage=answer.voltage.copy()))]
                return True

            areas = len(self._areas)
            if solves(np.ones(areas)):
                return last[0][1], 1.0, None
            alone = np.ones(areas)
            for area, whole in enumerate(np.eye(areas)):
                if areas == 1 or not solves(whole):
                    alone[area] = largest_share(_along(solves, np.zeros(areas), whole))
            if np.isnan(alone).any():
                raise
            if areas > 1 and not solves(alone):
                for lowered in (alone < 1.0, np.ones(areas, dtype=bool)):
                    kept, moved = np.where(lowered, 0.0, alone), np.where(lowered, alone, 0.0)
                    if not np.isnan(largest_share(_along(solves, kept, moved))):
                        break
            return last[0][1], last[0][0], error

    def collapse(
        self,
        step: int,
        share: Float | float,
        not_served_kwh: Float,
        asked_kw: Float,
        asked_kvar: Float,
        source_pu: float,
    ) -> Collapse:
        """Put together what is recorded of a step, from figures of every customer."""
        served = np.ones(len(self._areas))
        served[self._area] = share
        return Collapse(
            step,
            self._areas,
            tuple(np.bincount(self._area).tolist()),
            served,
            np.asarray(np.bincount(self._area, not_served_kwh), dtype=float),
            asked_kw,
            asked_kvar,
            source_pu,
        )

    def _name(self, terminal: int) -> str:
        return str(self._names[self._terminal_pu.nodes[terminal]])


def _along(solves: Callable[[Float], bool], start: Float, direction: Float) -> Callable[[float], bool]:
    return lambda factor: solves(start + factor * direction)
