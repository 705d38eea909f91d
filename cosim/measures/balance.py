"""Whether a run may be believed: energy closes at every step, and what devices say they draw is what is served.

The sum over all elements of a network nearly always closes, whatever was solved. So consumption and generation are
what the customers' devices recorded, import and losses what the elements' own currents say; and since errors at two
customers may cancel in a sum, the devices' records are compared with the power that the voltages serve, node by node.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cosim.errors import CosimError, RunStoppedError
from cosim.measures import energy
from cosim.measures._arrays import Float
from cosim.network import SERVED_TOLERANCE_KVA, Complex
from cosim.trajectory import Trajectory

BALANCE_LIMIT_PERCENT = 0.1
"""Of the larger of gross consumption and gross generation; a step beyond it makes its run invalid."""


def balance_error_percent(run: Trajectory) -> Float:
    """Power that does not close, of the larger of gross consumption and gross generation, shape (step,) [%].

    nan in all steps where the file's own sources feed in and the engine has not measured them.

    See Also
    --------
    cosim.measures.energy.balance_error_of_steps_percent
    """
    if not _is_measured(run):
        return np.full(run.steps, np.nan)
    others_kw = run.others_kw if run.others_kw.size else np.zeros((run.steps, 1))
    return energy.balance_error_of_steps_percent(
        run.source_kw,
        run.generation_kw.sum(axis=1) + np.maximum(others_kw, 0.0).sum(axis=1),
        run.consumption_kw.sum(axis=1) + np.maximum(-others_kw, 0.0).sum(axis=1),
        run.losses_kw,
    )


def served_error(run: Trajectory) -> tuple[Float, Float]:
    """Difference between what devices recorded and what the voltages serve, at the worst node of each step.

    Served is what Kirchhoff's current law leaves at a node for those who are connected there, on the admittances of the
    network alone. Left out are the nodes of sources, of the circuit or of the file's own.

    Parameters
    ----------
    run : Trajectory
        What happened.

    Returns
    -------
    error_kva, limit_kva : ndarray, shape (step,)
        The difference where it is the largest part of what is allowed there, and what is allowed there: the tolerance
        of a node, or `BALANCE_LIMIT_PERCENT` of all that is drawn and given there where that is more [kVA].
    """
    feeder, network, steps = run.feeder, run.feeder.network, run.steps
    ports = feeder.load_ports.tocsr()
    fed = {node for nodes in network.injector_nodes for node in nodes.tolist()}
    buses = network.node_buses
    drawn_at = np.diff(ports.indptr).nonzero()[0].tolist()
    rows = np.array([row for row in drawn_at if row not in fed and buses[row] not in network.source_buses], dtype=int)
    if not rows.size or not steps:
        return np.zeros(steps), np.full(steps, SERVED_TOLERANCE_KVA)
    here = ports[rows]
    across_v = np.asarray((ports.T @ run.node_v.T).T, dtype=complex)
    node_v, port_kva = run.node_v[:, rows], _at_ports(run, across_v)
    with np.errstate(divide="ignore", invalid="ignore"):  # without a voltage nothing is served
        drawn_a = (here @ (1e3 * port_kva / across_v).conj().T).T
    missing_a = (network.admittance_s.tocsr()[rows] @ run.node_v.T).T + drawn_a
    _add_moved(run, rows, missing_a)
    error_kva = np.abs(node_v * missing_a) / 1e3
    gross_kva = (abs(here) @ np.abs(port_kva).T).T
    limit_kva = np.maximum(SERVED_TOLERANCE_KVA, BALANCE_LIMIT_PERCENT / 100.0 * gross_kva)
    worst = np.where(np.isnan(error_kva), np.inf, error_kva / limit_kva).argmax(axis=1)[:, None]
    return (np.take_along_axis(error_kva, worst, 1)[:, 0], np.take_along_axis(limit_kva, worst, 1)[:, 0])


def judged(run: Trajectory) -> Trajectory:
    """Mark the steps in which energy does not close, or devices are not served as they say, and the run with them.

    Returns
    -------
    Trajectory
        The same where nothing is wrong; else with these steps ``degraded``, a note of each, and the reason in
        ``invalid``.
    """
    error_percent, (served_kva, limit_kva) = balance_error_percent(run), served_error(run)
    is_open = ~(error_percent <= BALANCE_LIMIT_PERCENT) & _is_measured(run)  # "not <=": nan is no balance
    is_unserved = ~(served_kva <= limit_kva)
    found = [
        *(
            (k, f"energy balance misses {error_percent[k]:.3g} % of what is consumed or generated")
            for k in np.flatnonzero(is_open).tolist()
        ),
        *(
            (k, f"devices' records differ from the power served by {served_kva[k]:.3g} kVA")
            for k in np.flatnonzero(is_unserved).tolist()
        ),
    ]
    if not found:
        return run
    said = []
    if is_open.any():
        said.append(
            f"energy balance misses up to {_largest(error_percent):.3g} % (limit {BALANCE_LIMIT_PERCENT:g} %) "
            f"in {is_open.sum()} of {run.steps} steps, first in step {is_open.argmax()}"
        )
    if is_unserved.any():
        said.append(
            f"devices' records differ from the power served by up to {_largest(served_kva[is_unserved]):.3g} kVA "
            f"in {is_unserved.sum()} of {run.steps} steps, first in step {is_unserved.argmax()}"
        )
    return replace(
        run,
        degraded=run.degraded | is_open | is_unserved,
        notes=(*run.notes, *sorted(found, key=lambda one: one[0])),
        invalid="; ".join(said),
    )


def valid(run: Trajectory) -> Trajectory:
    """Return the run; `RunStoppedError` (exit code 3) where it is invalid: for who uses its figures at once."""
    found = judged(run)
    if found.invalid:
        raise RunStoppedError(f"{run.label}: invalid: {found.invalid}", found, CosimError.exit_code)
    return found


def _largest(values: Float) -> float:
    return float("nan") if np.isnan(values).any() else float(values.max())


def _is_measured(run: Trajectory) -> bool:
    """Whether all that feeds in is known: not where the file's own sources do, and the engine does not say how much."""
    return not run.feeder.network.injectors or run.others_kw.size > 0


def _at_ports(run: Trajectory, across_v: Complex) -> Complex:
    """What devices recorded, at every port of every customer, shape (step, port) [kVA]."""
    feeder = run.feeder
    customer = feeder.load_ends[0]
    home_kva: Complex = run.demand_kw + 1j * run.demand_kvar
    beside_kva: Complex = run.consumption_kw - run.generation_kw - run.demand_kw + 1j * (run.net_kvar - run.demand_kvar)
    cars_kva = run.ev_kw.astype(complex)
    if feeder.load_laws is None:
        return feeder.at_ports(feeder.at_loads(home_kva + beside_kva, cars_kva))
    flat = np.tile(customer, run.steps)
    shares = feeder.load_laws.drawn(flat, across_v.reshape(-1))  # a household's ports draw as their own voltages say
    cells = flat + len(feeder.customers) * np.repeat(np.arange(run.steps), len(customer))
    home_at: list[Float] = []
    for power, share in zip((home_kva.real, home_kva.imag), shares, strict=True):
        whole = np.bincount(cells, share, minlength=power.size)[cells]
        of_port = np.divide(share, whole, out=np.zeros_like(share), where=whole > 0.0).reshape(across_v.shape)
        home_at.append(power[:, customer] * of_port)
    return home_at[0] + 1j * home_at[1] + feeder.at_ports(feeder.at_loads(beside_kva, cars_kva))


def _add_moved(run: Trajectory, rows: np.ndarray[tuple[int, ...], np.dtype[np.int64]], missing_a: Complex) -> None:
    """Add the currents of elements whose taps or switches moved during the run, beyond those of the first step."""
    column = {row: index for index, row in enumerate(rows.tolist())}
    for branch in [branch for branch in run.feeder.network.branches if branch.later]:
        ends = [step for step, _ in branch.later[1:]] + [run.steps]
        there = [(place, column[node]) for place, node in enumerate(branch.nodes.tolist()) if node in column]
        wired = branch.nodes >= 0
        for (step, moved_s), end in zip(branch.later if there else (), ends, strict=False):
            change = (moved_s - branch.admittance_s)[:, wired]
            v = run.node_v[step:end][:, branch.nodes[wired]]
            for place, index in there:
                missing_a[step:end, index] += v @ change[place]
