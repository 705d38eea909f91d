"""What is kept of one run: written and measured as it ends, whatever else goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np

from cosim import Trajectory
from cosim.collapse import PowerFlow
from cosim.contract import Decision
from cosim.errors import CosimError, PowerFlowError, RunStoppedError, UnsupportedError, reason
from cosim.experiments.unbalance_tables import analyse, describe, write_unbalance
from cosim.measures import worst_moments
from cosim.measures.areas import by_area
from cosim.measures.own import measure_own
from cosim.record import write_trajectory
from cosim.stepper import Engines

if TYPE_CHECKING:
    from cosim.experiments.day import Day

Progress = Callable[[str, str, int, int], None]
"""Called with (label of a run or ``SHARED``, phase, completed parts, all parts)."""

Item = TypeVar("Item")

INTERRUPTED = 130
LEFT_OUT_OF_PARTS = {
    "trajectories/*/nodes": "voltages of all nodes would be two thirds of the size; those at homes are in customers",
    "unbalance": "who causes it is told of a week: run that week as a scenario of its own",
    "caps": "best responses to caps are told of a week: run that week as a scenario of its own",
}
"""What runs of more than 31 days do not keep, and why."""
_CROSS_CHECKED_STEPS = 24


@dataclass(frozen=True, eq=False)
class RunResult:
    """One run with what was measured in it; what could not be measured is missing.

    Attributes
    ----------
    trajectory : Trajectory
        What happened, in one step at least; marked as incomplete where the run was stopped.
    metrics : dict of str to float
        Scoreboard.
    areas : list of dict
        Figures of every area, see `by_area`.
    unbalance : list of str
        Where it is worst, and who causes it.
    worst : dict of str to dict
        Place and time of the worst of each metric that has one; see `cosim.measures.worst_moments`.
    crosscheck : dict of str to float
        See `cross_check`; empty of a run on OpenDSS in which every step has a power flow.
    missing : list of str
        Phases that failed: what they write and measure is not there, or only in part.
    """

    trajectory: Trajectory
    metrics: dict[str, float] = field(default_factory=dict)
    areas: list[dict[str, object]] = field(default_factory=list)
    unbalance: list[str] = field(default_factory=list)
    worst: dict[str, dict[str, Any]] = field(default_factory=dict)
    crosscheck: dict[str, float] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether the run came to its last step, and all of it is on disk."""
        return self.trajectory.complete and not self.missing

    @property
    def timing(self) -> dict[str, float]:
        """Durations [s]."""
        return durations(self.trajectory)


class Timed(Protocol):
    """What took its time."""

    @property
    def wall_s(self) -> float:
        """Of the whole."""

    @property
    def plan_s(self) -> float:
        """Of the plan."""

    @property
    def decide_s(self) -> float:
        """Of all work of the controller."""

    @property
    def decisions(self) -> tuple[tuple[int, Decision], ...]:
        """Steps and decisions."""


def durations(run: Timed) -> dict[str, float]:
    """Durations of a run [s]."""
    decisions = [decision.wall_s for _, decision in run.decisions]
    wholes = {"wall_s": run.wall_s, "plan_s": run.plan_s, "decide_s": run.decide_s}
    return {**wholes, "decide_max_s": max(decisions, default=0.0)}


class PartPlace(NamedTuple):
    """Which part of a run this is, its first step in the whole, and the power flows of all parts."""

    number: int
    first_step: int
    engines: Engines


def nobody(_label: str, _phase: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""


@contextmanager
def going_on(label: str, failed: list[RunStoppedError]) -> Iterator[None]:
    """Take down whatever goes wrong inside, a bug or an interruption too, and go on: it costs no other result."""
    try:
        yield
    except RunStoppedError as error:
        failed.append(error)
    except BaseException as error:  # such as SystemExit in a measure of others
        is_interrupted = isinstance(error, KeyboardInterrupt)
        told = f"{label}: {'interrupted' if is_interrupted else reason(error)}"
        failed.append(RunStoppedError(told, None, INTERRUPTED if is_interrupted else CosimError.exit_code))
        failed[-1].__cause__ = error


def keep_run(
    trajectory: Trajectory, day: Day, folder: Path, progress: Progress = nobody, *, part: PartPlace | None = None
) -> tuple[RunResult | None, list[RunStoppedError]]:
    """Write a run and measure it: the trajectory first, so that nothing that fails afterwards can lose it.

    Parameters
    ----------
    trajectory : Trajectory
        Of the whole run, or of as much as was completed; judged.
    day : Day
        What it ran on.
    folder : Path
        Receives ``trajectories/<label>``, ``unbalance/<label>`` and, of caps, ``caps/<label>``.
    progress : callable, optional
        Told of each phase.
    part : PartPlace, optional
        Where it is a week of a longer run: tables are folders of weeks, without voltages of all nodes; what is written
        beside the trajectory is left out.

    Returns
    -------
    result : RunResult or None
        None where no step was completed.
    failed : list of RunStoppedError
        What could not be written or measured.
    """
    failed: list[RunStoppedError] = []
    label = trajectory.label
    if trajectory.invalid:
        failed.append(RunStoppedError(f"{label}: invalid: {trajectory.invalid}", None, CosimError.exit_code))
    result = RunResult(trajectory)

    def write() -> None:
        place = folder / "trajectories" / label
        if part is None:
            write_trajectory(trajectory, place)
        else:
            name = f"part-{part.number:03d}"
            write_trajectory(trajectory, place, part=name, first_step=part.first_step, without=("nodes",))

    def measure() -> None:
        result.metrics.clear()
        result.metrics.update(day.measure(trajectory))
        result.worst.update(worst_moments(trajectory))
        result.areas[:] = by_area(trajectory)
        found = measure_own(trajectory, day.scenario.metrics, result.metrics)
        failed.extend(RunStoppedError(f"{label}: {error}", None, error.exit_code) for error in found)

    def analyse_unbalance() -> None:
        found = analyse(trajectory)
        result.unbalance[:] = describe(found)
        write_unbalance(found, folder / "unbalance" / label)

    def check() -> None:
        if trajectory.engine != "opendss" or trajectory.collapses:
            result.crosscheck.update(cross_check(trajectory, None if part is None else part.engines))

    def prove() -> None:
        write_proof(folder / "caps" / label, trajectory, day)

    parts = {"writing": write, "measures": measure, "unbalance": analyse_unbalance, "cross-check": check}
    if part is not None:
        del parts["unbalance"]
    proves = "caps" in trajectory.artifacts and part is None
    parts = {**(parts if trajectory.steps else {}), **({"proof": prove} if proves else {})}
    for done, (phase, work) in enumerate(parts.items()):
        broken: list[RunStoppedError] = []
        with going_on(label, broken):
            try:
                progress(label, phase, done, len(parts))
                work()
            except KeyboardInterrupt:  # what is computed is quickly kept; a second interruption is obeyed
                failed.append(RunStoppedError(f"{label}: interrupted", None, INTERRUPTED))
                work()
        result.missing.extend([phase] if broken else [])
        failed += broken
    with going_on(label, failed):
        progress(label, "done", 1, 1)
    return result if trajectory.steps else None, failed


def write_proof(folder: Path, trajectory: Trajectory, composition: Day) -> None:
    """Write the caps of a controller that left a record of some, with every household's own best response beside them.

    The deviation test is judged by the limits planned to, margin and all; its draws are the same for every run.
    """
    record = trajectory.artifacts.get("caps")
    if is_dataclass(record):
        from cosim.controllers.caps import CapsRecord  # brings Pyomo, which other controllers do without
        from cosim.experiments.caps_output import write_caps
        from cosim.experiments.caps_tables import deviation_rows

        if isinstance(record, CapsRecord) and record.day_ahead.result is not None:
            problem, result = record.day_ahead.problem, record.day_ahead.result
            rng, names = composition.scenario.stream("deviation"), composition.feeder.customers
            deviations = deviation_rows(problem, result.caps_kw, rng, plan=folder.name)
            write_caps(folder, problem, result, households=names, deviations=deviations, record=record)


def cross_check(trajectory: Trajectory, engines: Engines | None = None) -> dict[str, float]:
    """Replay sampled steps of a run in the other engine: the same voltages, and none where there was no solution.

    Parameters
    ----------
    trajectory : Trajectory
        A run on another engine than OpenDSS, of which all node voltages are compared; or one on OpenDSS, of whose steps
        without power flow the reduced network is asked.
    engines : Engines, optional
        Of the same feeder; without, one is made.

    Returns
    -------
    dict
        ``steps`` compared, and the largest difference ``voltage_max_pu`` of the declared nominal voltage; where steps
        had no power flow, the number of those asked about, ``collapses``. Empty where the reduced network cannot
        represent the feeder.

    Raises
    ------
    PowerFlowError
        Where one engine has a solution and the other none.
    """
    is_truth = trajectory.engine == "opendss"
    other = "reduced" if is_truth else "opendss"
    if engines is None or engines.feeder is not trajectory.feeder:  # which has branches that moved
        with Engines(trajectory.feeder, other) as own:
            return cross_check(trajectory, own)
    try:
        engine = engines(other)
    except UnsupportedError:
        return {}
    begin: Callable[[int], object] | None = None
    if trajectory.feeder.network.injectors:  # which feed in what they do at the step
        begin = getattr(engine, "start")(trajectory.exogenous.start, trajectory.step_min).begin  # noqa: B009 - no part of Engine
    return _compared(trajectory, PowerFlow(trajectory.feeder, engine), other, begin)


def _compared(
    trajectory: Trajectory, flow: PowerFlow, other: str, begin: Callable[[int], object] | None
) -> dict[str, float]:
    is_truth = trajectory.engine == "opendss"
    base, worst, loads = trajectory.feeder.nominal_voltage_v, 0.0, trajectory.feeder.loads
    steps = [] if is_truth else _sampled(range(trajectory.steps))
    # what storage holds follows from all steps before
    for k in range(trajectory.steps if steps else 0) if begin else steps:
        if begin:
            begin(k)
        try:
            cars_kw, source_pu = trajectory.ev_kw[k], float(trajectory.exogenous.source_pu[k])
            voltage = flow.solve(*loads(trajectory.net_kw[k], trajectory.net_kvar[k], cars_kw), source_pu)
        except PowerFlowError as error:
            raise PowerFlowError(f"step {k} has a solution in {trajectory.engine} only: {error}") from error
        if k in steps:
            worst = max(worst, float(np.abs(voltage - trajectory.node_v[k]).max()) / base)
    collapses = _sampled(trajectory.collapses)
    for one in collapses:
        if begin:
            begin(one.step)
        with suppress(PowerFlowError):
            flow.solve(one.asked_kw, one.asked_kvar, one.source_pu)
            raise CosimError(f"step {one.step} has a solution in {other}, and none in {trajectory.engine}")
    compared = {} if is_truth else {"steps": float(len(steps)), "voltage_max_pu": worst}
    return {**compared, **({"collapses": float(len(collapses))} if collapses else {})}


def _sampled(items: Sequence[Item]) -> list[Item]:
    """Take as many as are cross-checked, evenly; the first and the last among them."""
    count = min(len(items), _CROSS_CHECKED_STEPS)
    return [items[row] for row in np.linspace(0, len(items) - 1, count).astype(int).tolist()]
