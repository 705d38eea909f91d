"""What can be asked of the caps: objective, coordination, form, and when a solver may stop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cosim.errors import Fault, range_faults, refuse

if TYPE_CHECKING:
    from cosim.controllers.solver import Limits

FLOOR_KW = 4.2  # EnWG section 14a; BNetzA BK6-22-300
OBJECTIVES = ("floor_then_least", "least_restriction", "max_min", "proportional", "min_cost")
OF_TIES = ("least_restriction", "floor_then_least")
TIES = ("unique", "optimistic", "pessimistic")
COORDINATIONS = ("anticipated", "sum_of_caps")
LIMITS_ON = ("mean", "peak")
FORMS = ("auto", "kkt")


@dataclass(frozen=True)
class CapsOptions:
    """How caps are chosen.

    Attributes
    ----------
    objective : str
        ``least_restriction``: least usable energy withheld: what cars could draw in the slots in which they are there,
        and their caps keep from them; a cap that leaves less than the charger runs at keeps all of it;
        ``floor_then_least``: the same above a floor for every plugged-in car;
        ``max_min``: the smallest room that any cap leaves as large as possible, then the next smallest home by home
        (``levels``), then least withheld;
        ``proportional``: the sum over homes of the logarithm of the mean power that they may use as large as possible;
        ``min_cost``: charging as cheap as the limits allow, then least withheld.
        All of them first serve as much as can be served. With ``sum_of_caps``, where every kW of a cap is taken from
        the limits, what counts is the room, connection - cap.
    coordination : str
        ``anticipated``: the load that follows from the caps respects the limits (the bilevel problem);
        ``sum_of_caps``: the caps themselves do, whatever households do inside them.
    form : str
        ``auto``: columns of plans, priced household by household, and finishing rows as mixed-integer programmes, at
        any size; ``kkt``: the textbook programme of all optimality conditions, for up to 1,500 slots of cars that share
        limits.
    floor_kw : float
        Floor of ``floor_then_least`` for chargers that can take it [kW].
    gap : float
        Relative gap on the withheld energy (with ``max_min`` also on the smallest room) at which a solve may stop.
    node_limit : int
        Branch-and-bound nodes of one solve.
    time_limit_s : float
        Wall clock of the whole solve, for safety: pieces share what is left by their size. Where it is reached, the
        result is flagged as not reproducible; caps to fall back on may then take 5 s more [s].
    limit_on : str
        What of a slot must respect the limits: its ``mean``, or also its ``peak``, the beginning of a slot in which
        cars that need only a part of it draw all they can (``anticipated`` only; caps bind at any moment anyway).
    ties : str
        Which of its cheapest ways to charge a household takes (``anticipated`` only): ``unique``: the earliest slots of
        a price first; ``optimistic``: the one that suits the limits best; ``pessimistic``: in every slot whichever
        draws most there. The last two are textbook programmes (``kkt``) that know means of slots, and the objectives
        ``least_restriction`` and ``floor_then_least``.
    whole_floor : bool
        Try the floor as asked for before any that equal sharing can promise: closer to what is possible, slower where
        it is not (``anticipated`` only; a floor that is lowered is reported in any case).
    levels : int
        Of ``max_min``: how many different smallest rooms are made as large as possible in turn; more than one where at
        most 22 cars share limits, and under ``sum_of_caps``.

    Raises
    ------
    InputError
        With every value that is unknown or out of range.
    """

    objective: str = "floor_then_least"
    coordination: str = "anticipated"
    form: str = "auto"
    floor_kw: float = FLOOR_KW
    gap: float = 0.01
    node_limit: int = 300
    time_limit_s: float = 120.0
    limit_on: str = "mean"
    ties: str = "unique"
    levels: int = 3
    whole_floor: bool = False

    def __post_init__(self) -> None:
        refuse(_faults(self))

    @property
    def stop(self) -> Limits:
        """Limits of one mixed-integer solve."""
        from cosim.controllers.solver import Limits  # and a solver, which nobody needs to be refused

        return Limits(self.gap, self.node_limit, self.time_limit_s)


@dataclass(frozen=True)
class Manner:
    """How caps are planned.

    Attributes
    ----------
    options : CapsOptions
        Of the solver.
    limit_a : float
        Rated current of a phase of the transformer or the head line, whichever carries less [A].
    margin : float
        Share of all limits that the mean of a slot leaves free.
    whole_network : bool
        Whether other rated cables and voltages are kept too (with a predictor only).
    voltage_min_pu : float
        Lowest voltage permitted at a customer.
    rounds : int
        Most solves of one plan: limits are tightened between them until the power flow shows no excess.
    again_s : float
        Wall clock of one look at the rest of a day, its rounds and pieces together [s].
    export : bool
        Whether export is capped too.
    export_objective : str
        See `solve_export`.
    voltage_max_pu : float
        Highest voltage permitted at a customer, for caps on export.
    """

    options: CapsOptions
    limit_a: float
    margin: float
    whole_network: bool
    voltage_min_pu: float
    rounds: int
    again_s: float
    export: bool
    export_objective: str
    voltage_max_pu: float

    @property
    def holds_whatever(self) -> bool:
        """Whether caps hold whatever households do inside them, not only for what they are expected to do."""
        return self.options.coordination == "sum_of_caps"

    @property
    def peaks_count(self) -> bool:
        """Whether the highest step of a slot counts, not only its mean."""
        return self.options.limit_on == "peak"


def _faults(options: CapsOptions) -> Iterator[Fault]:
    for key, known in (
        ("objective", OBJECTIVES),
        ("coordination", COORDINATIONS),
        ("form", FORMS),
        ("limit_on", LIMITS_ON),
        ("ties", TIES),
    ):
        if getattr(options, key) not in known:
            yield Fault("caps", key, f"is {getattr(options, key)!r}", f"use one of {', '.join(known)}")
    if options.ties in TIES[1:]:
        yield from _tie_faults(options)
    ranges = (
        ("floor_kw", options.floor_kw, 0.0, 1e4, "a power in kW (0: no floor)"),
        ("gap", options.gap, 0.0, 1.0, "a share"),
        ("node_limit", options.node_limit, 0, 10**9, "a whole number of nodes"),
        ("levels", options.levels, 1, 10**6, "a whole number"),
        ("time_limit_s", options.time_limit_s, 0.0, 1e6, "seconds"),
    )
    yield from range_faults("caps", ranges)


def _tie_faults(options: CapsOptions) -> Iterator[Fault]:
    if options.limit_on == "peak":
        yield Fault("caps", "ties", f"is {options.ties!r}, which knows means of slots only", "use limit_on='mean'")
    if options.coordination == "anticipated" and options.objective not in OF_TIES:
        text = f"is {options.ties!r}, which knows the objectives {' and '.join(OF_TIES)}"
        yield Fault("caps", "ties", text, "use ties='unique'")
