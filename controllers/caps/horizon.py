"""What comes of planning: caps from the first step of a horizon to its last."""

from __future__ import annotations

from dataclasses import dataclass

from cosim.contract import Float
from cosim.controllers.caps.follower import usable_withheld_kwh
from cosim.controllers.caps.network import Round, Row
from cosim.controllers.caps.problem import CapsProblem
from cosim.controllers.caps.result import CapsResult
from cosim.controllers.solver import Termination, worst


@dataclass(frozen=True, eq=False)
class HorizonPlan:
    """Caps from the first step of a horizon to its last, and what they lead to.

    Attributes
    ----------
    problem : CapsProblem
        In slots, extra limits included.
    result : CapsResult or None
        Its solution; None where caps published before were kept.
    caps_kw : ndarray, shape (step, home)
        As published; inf where nothing is steered [kW].
    planned_kva : ndarray, shape (step,)
        Apparent power expected at the transformer [kVA].
    coordination : str
        As asked for.
    rows : tuple of Row
        Extra limits.
    rounds : tuple of Round
        What the power flow found after each solve; empty where only the transformer's limits are planned with.
    kept_round : int
        Which of them belongs to these caps; 0 where there is none.
    not_from_charging : tuple of str
        Limits that are broken without any car.
    struck : bool
        Whether the wall clock left no time for a further round.
    """

    problem: CapsProblem
    result: CapsResult | None
    caps_kw: Float
    planned_kva: Float
    coordination: str
    rows: tuple[Row, ...] = ()
    rounds: tuple[Round, ...] = ()
    kept_round: int = 0
    not_from_charging: tuple[str, ...] = ()
    struck: bool = False

    @property
    def verified(self) -> Round | None:
        """What the power flow says of these caps; None where it was not asked."""
        return self.rounds[self.kept_round - 1] if self.kept_round else None

    @property
    def status(self) -> Termination:
        """How the plan ended; ``fallback`` where the last look at caps as they are sent found a limit broken."""
        ended = Termination.OPTIMAL if self.result is None else self.result.status
        broken = self.verified is not None and not self.verified.clean
        return worst((ended, Termination.FALLBACK)) if broken else ended

    @property
    def withheld_kwh(self) -> float:
        """What the objectives that withhold least count: usable energy, under ``sum_of_caps`` rooms [kWh]."""
        caps_kw = self.caps_kw[:: len(self.caps_kw) // self.problem.slots]
        if self.coordination == "sum_of_caps":
            return self.problem.withheld_kwh(caps_kw)
        return usable_withheld_kwh(self.problem, caps_kw)

    @property
    def reproducible(self) -> bool:
        """Whether no wall-clock limit was reached."""
        return not self.struck and (self.result is None or self.result.reproducible)

    @property
    def fallback(self) -> str:
        """Empty, or what could not be had."""
        verified, fallback = self.verified, "" if self.result is None else self.result.fallback
        if verified is None or verified.clean:
            return fallback
        over = f"{100.0 * verified.over_limit:.2g} % over its limit after {len(self.rounds)} rounds"
        return "; ".join(part for part in (fallback, f"{verified.over_limit_where} is {over}") if part)
