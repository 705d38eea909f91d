"""Everything that happened in one run; the only thing that measures, figures and reports read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cosim.collapse import Collapse
from cosim.contract import Area, Artifact, Branch, Complex, Decision, Exogenous, Feeder, Float
from cosim.losses import Losses, entering_kva, leaving_sources_kw, losses_of
from cosim.network import monitored_currents, terminal_currents

if TYPE_CHECKING:
    import pandas as pd


DEEP_UNDERVOLTAGE_PU = 0.8
"""Below it real devices leave the model: they trip, stall or draw other powers. A step that goes there is told."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A run, step by step. Derived quantities are computed from the node voltages when first asked for.

    Attributes
    ----------
    label, engine : str
        Name of the run, and of the power flow that produced it.
    feeder : Feeder
        The place.
    exogenous : Exogenous
        The day on the steps of the run; cut to the steps that were completed.
    control_min : float
        Time between decisions [min].
    demand_kw, demand_kvar : ndarray, shape (step, customer)
        Demand of the homes that was served; that of ``exogenous``, but where a step was shed.
    ev_kw, pv_kw, pv_kvar, soc_kwh, plugged : ndarray, shape (step, customer)
        Charging, generation, reactive power consumed by the inverter, battery content at the end of the step,
        share of the step in which a car was plugged in.
    import_cap_kw, ev_limit_kw, pv_limit_kw : ndarray, shape (step, customer)
        Setpoints in force; inf where there is none.
    net_kw, net_kvar : ndarray, shape (step, customer)
        Net consumption at the meter, as drawn at the solved voltages (served, or the step is degraded).
    node_v : ndarray of complex, shape (step, node)
        Phase-to-earth voltages [V].
    degraded : ndarray of bool, shape (step,)
        A fallback, a clipped setpoint, a curve that did not settle, power not served as requested or no power flow.
    notes : tuple of (int, str)
        Step and reason of every degradation and of every warning.
    decisions : tuple of (int, Decision)
        Step at which each decision took effect, and how it was obtained.
    planned_kva : ndarray, shape (step,)
        Apparent power at the transformer that the controller promised; nan where it promised nothing.
    delivered_kwh, unservable_kwh : ndarray, shape (session,)
        Energy in the battery by departure, and the part of the need that no control could have delivered [kWh].
    others_kw : ndarray, shape (step, injector)
        What each of the file's own sources feeds in (``feeder.network.injectors``), as solved; without columns where
        there is none, or the engine has none.
    switchings : tuple of (int, str, float, float)
        Step, element, and tap [pu] or capacitor steps in service before and after, where ``feeder.taps`` are
        controlled.
    collapses : tuple of Collapse
        Steps without a power flow, and what was served instead; the last may be the one that ended the run.
    artifacts : mapping of str to DataFrame or plain data
        What the controller left behind, see `cosim.artifacts`.
    channels : mapping of str to ndarray, shape (step, customer)
        Readings of other devices and what was asked of them, by channel, such as ``battery_kw`` (see `cosim.devices`).
    device_measures : tuple of callable
        Metrics of a run that the devices' kinds bring along.
    device_states : mapping of str to mapping
        By kind, fields of the data with which its units go on after the last step (``Device.state``).
    complete : bool
        False where the run was interrupted or failed before its last step.
    reproducible : bool
        False where a wall-clock limit decided anything.
    invalid : str
        Why nothing of the run may be used, as found by `cosim.measures.balance.judged`; empty where it may.
    wall_s, plan_s, decide_s : float
        Duration of the whole run, of the controller's plan and of all its work, the plan included [s].
    """

    label: str
    engine: str
    feeder: Feeder
    exogenous: Exogenous
    control_min: float
    demand_kw: Float
    demand_kvar: Float
    ev_kw: Float
    pv_kw: Float
    pv_kvar: Float
    soc_kwh: Float
    plugged: Float
    import_cap_kw: Float
    ev_limit_kw: Float
    pv_limit_kw: Float
    net_kw: Float
    net_kvar: Float
    node_v: Complex
    degraded: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
    notes: tuple[tuple[int, str], ...]
    decisions: tuple[tuple[int, Decision], ...]
    planned_kva: Float
    delivered_kwh: Float
    unservable_kwh: Float
    others_kw: Float = field(default_factory=lambda: np.empty((0, 0)))
    switchings: tuple[tuple[int, str, float, float], ...] = ()
    collapses: tuple[Collapse, ...] = ()
    artifacts: Mapping[str, Artifact] = field(default_factory=dict)
    channels: Mapping[str, Float] = field(default_factory=dict)
    device_measures: tuple[Callable[[Trajectory], dict[str, float]], ...] = ()
    device_states: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    complete: bool = True
    reproducible: bool = True
    invalid: str = ""
    wall_s: float = float("nan")
    plan_s: float = float("nan")
    decide_s: float = float("nan")

    @property
    def steps(self) -> int:
        """Number of completed steps."""
        return len(self.net_kw)

    @property
    def devices_kw(self) -> dict[str, Float]:
        """What every kind of other device drew, fed in negative, by its name; shape (step, customer) each [kW]."""
        return {name: self.channels[f"{name}_kw"] for name in self.exogenous.devices}

    @cached_property
    def consumption_kw(self) -> Float:
        """What customers drew behind their meters, charging included, shape (step, customer) [kW]."""
        return np.asarray(self.demand_kw.clip(0.0) + self.ev_kw + sum(kw.clip(0.0) for kw in self.devices_kw.values()))

    @cached_property
    def generation_kw(self) -> Float:
        """What they fed in behind their meters, discharging included, shape (step, customer) [kW]."""
        fed_in_kw = self.pv_kw - self.demand_kw.clip(max=0.0)  # loads of the file may feed in
        return np.asarray(fed_in_kw - sum(kw.clip(max=0.0) for kw in self.devices_kw.values()))

    @property
    def step_min(self) -> float:
        """Length of a step [min]."""
        return self.exogenous.step_min

    @property
    def step_h(self) -> float:
        """Length of a step [h]."""
        return self.exogenous.step_min / 60.0

    def table(self, name: str) -> pd.DataFrame | None:
        """Table that the controller left behind under a name; None where there is none, or it is empty."""
        import pandas as pd

        left = self.artifacts.get(name)
        return left if isinstance(left, pd.DataFrame) and len(left) else None

    @cached_property
    def voltage_v(self) -> Float:
        """Voltage at the meter, shape (step, customer) [V]; of several phases the one farthest from nominal."""
        return meter_voltage_v(self.feeder, self.node_v)

    @cached_property
    def terminal_v(self) -> Float:
        """Phase-to-neutral voltage of every customer's every phase, shape (step, terminal) [V].

        Of a customer between phases what its loads feel, in the ratio of its two nominal voltages.
        """
        customer, nodes, neutrals = self.feeder.terminals
        neutral_v = np.where(neutrals >= 0, self.node_v[:, neutrals], 0)  # -1: the load returns to earth
        felt_v = np.abs(self.node_v[:, nodes] - neutral_v)
        for row, between_v in _between_phases(self.feeder, self.node_v):
            own = np.flatnonzero(customer == row)
            felt_v[:, own] = between_v[:, np.arange(len(own)) % between_v.shape[1]]
        return np.asarray(felt_v)

    @cached_property
    def limit_percent(self) -> Float:
        """Current over rated current of every one of ``feeder.limits``, shape (step, limit) [%]."""
        return self.feeder.limit_currents.percent(self.node_v)

    def area_percent(self, area: str | None = None) -> Float:
        """Loading of the worst winding of an area's transformers and regulators, without one of all, shape (step,) [%].

        nan where none is rated.
        """
        own = [
            column
            for column, limit in enumerate(self.feeder.limits)
            if limit.kind != "line" and (area is None or limit.area == area)
        ]
        return self.limit_percent[:, own].max(axis=1) if own else np.full(self.steps, np.nan)

    @cached_property
    def area_kva(self) -> dict[str, Complex]:
        """Complex power P + jQ into each area that transformers feed, by its name, shape (step, 3) [kVA]."""
        branch = self.feeder.network.branch
        return {
            area.name: np.sum(
                [terminal_power(self._towards(branch(name), area), self.node_v)[1] for name in area.transformers],
                axis=0,
            )
            for area in self.feeder.areas
            if area.transformers
        }

    @cached_property
    def transformer_current_a(self) -> Complex:
        """Currents into the area with most customers, at its transformers' terminals, shape (step, 3) [A]."""
        return np.asarray(np.sum([current for current, _ in self._main_terminals], axis=0))

    @cached_property
    def transformer_kva(self) -> Complex:
        """Complex power P + jQ per phase at the same terminals, shape (step, 3) [kVA]."""
        return np.asarray(np.sum([power for _, power in self._main_terminals], axis=0))

    @cached_property
    def transformer_hv_kva(self) -> Complex:
        """Complex power P + jQ into the same transformers at all their other terminals, shape (step,) [kVA]."""
        feeder, names = self.feeder, self.feeder.supplies
        fed = {bus for area in feeder.areas if set(names) & set(area.transformers) for bus in area.buses}
        branches = [feeder.network.branch(name) for name in names]
        power = np.full(self.steps, 0.0 if names else complex(np.nan, np.nan), dtype=complex)
        for branch, current in zip(branches, terminal_currents(branches, self.node_v), strict=True):
            outside = np.repeat([bus not in fed for bus in branch.buses], branch.terminals.shape[1])
            power += entering_kva(branch, current, self.node_v, outside)
        return power

    @cached_property
    def transformer_percent(self) -> Float:
        """Current of every phase over rated current there, shape (step, 3) [%]."""
        return 100.0 * np.abs(self.transformer_current_a) / self.feeder.transformer_rating_a

    @cached_property
    def rated_lines(self) -> tuple[Branch, ...]:
        """Lines that have a rating."""
        return tuple(line for line in self.feeder.network.lines if np.isfinite(line.rating_a))

    @property
    def line_current_a(self) -> Complex:
        """Phase currents of the rated lines towards the customers, shape (step, line, 3) [A]."""
        return self._losses_and_lines[1]

    @cached_property
    def monitored_current_a(self) -> Complex:
        """Phase currents of the watched branches, shape (step, branch, 3) [A]."""
        return monitored_currents(self.feeder.monitored_branches, self.node_v)

    @property
    def losses(self) -> Losses:
        """Losses by what loses them, from the elements' own currents."""
        return self._losses_and_lines[0]

    @cached_property
    def _losses_and_lines(self) -> tuple[Losses, Complex]:
        return losses_of(self.feeder.network, self.node_v, self.rated_lines)

    @property
    def losses_kw(self) -> Float:
        """Losses of lines, transformers and all else that is passive, shape (step,) [kW]."""
        return self.losses.total

    @cached_property
    def source_kw(self) -> Float:
        """Active power that the circuit's sources deliver, shape (step,) [kW].

        It is what enters the branches at their buses and what customers draw there, less what other sources feed in
        there.
        """
        network = self.feeder.network
        power_kw = leaving_sources_kw(network, self.node_v)
        there = {-1, *(node for node, bus in enumerate(network.node_buses) if bus in network.source_buses)}
        for column, drawn_at in enumerate(self.feeder.customer_nodes):
            if there.issuperset(drawn_at):
                power_kw += self.net_kw[:, column]
        for column, fed_at in enumerate(network.injector_nodes[: self.others_kw.shape[1]]):
            if there.issuperset(fed_at.tolist()):
                power_kw -= self.others_kw[:, column]
        return power_kw

    @cached_property
    def three_phase_customer_buses(self) -> tuple[str, ...]:
        """Customers' buses that have three phases."""
        return tuple(bus for bus in dict.fromkeys(self.feeder.customer_bus) if bus in self.feeder.three_phase_nodes)

    @cached_property
    def other_sources_kw(self) -> Float:
        """Sum of what the file's own sources feed in, shape (step,) [kW]."""
        return np.asarray(self.others_kw.sum(axis=1)) if self.others_kw.size else np.zeros(self.steps)

    @cached_property
    def three_phase_customer_v(self) -> Complex:
        """Phase-to-neutral voltages of customers' buses with three phases, shape (step, bus, 3) [V]."""
        return self.phase_to_neutral_v(self.three_phase_customer_buses)

    def phase_to_neutral_v(self, buses: Sequence[str]) -> Complex:
        """Voltages of buses with three phases against the neutral conductor there, else against earth.

        Returns
        -------
        ndarray of complex, shape (step, bus, 3)
            Phases a, b, c [V].
        """
        nodes = np.array([self.feeder.three_phase_nodes[bus] for bus in buses], dtype=int).reshape(-1, 3)
        neutral = self.feeder.node_neutral[nodes]
        return np.asarray(self.node_v[:, nodes] - np.where(neutral >= 0, self.node_v[:, neutral], 0.0))

    def _towards(self, branch: Branch, area: Area) -> Branch:
        """A transformer, watched where it feeds that area; it may feed others."""
        ends = [end for end, bus in enumerate(branch.buses) if bus in area.buses]
        there = branch.watched_at(ends, self.feeder.node_phase)
        return branch if there.monitored == branch.monitored else there

    @property
    def _main_terminals(self) -> list[tuple[Complex, Complex]]:
        feeder = self.feeder
        names = feeder.supplies or ((feeder.head_line,) if feeder.head_line else ())
        missing = np.full((self.steps, 3), complex(np.nan, np.nan))
        return [terminal_power(feeder.network.branch(name), self.node_v) for name in names] or [(missing, missing)]


def terminal_power(branch: Branch, node_v: Complex) -> tuple[Complex, Complex]:
    """Current [A] and complex power [kVA] towards the customers at a branch's terminal, each of shape (step, 3)."""
    current = monitored_currents((branch,), node_v)[:, 0]
    power = np.zeros_like(current)
    for node, column in zip(branch.nodes[branch.monitored], branch.columns, strict=True):
        if node >= 0 and column >= 0:
            power[:, column] = node_v[:, node] * current[:, column].conj() / 1e3
    return current, power


def _between_phases(feeder: Feeder, node_v: Complex) -> Iterator[tuple[int, Float]]:
    """Customers between phases: row, and voltages across their loads, of shape (step, port), as if to neutral [V].

    What stands between phase and earth there says nothing: at a corner of a delta it may be anything.
    """
    if feeder.delta_rows:
        customer, across_v = feeder.load_ends[0], np.abs(feeder.load_ports.T @ node_v.T).T
        for row in feeder.delta_rows:
            own = np.flatnonzero(customer == row)
            yield row, across_v[:, own] * (feeder.customer_nominal_v[row] / feeder.port_nominal_v[own])


def meter_voltage_v(feeder: Feeder, node_v: Complex) -> Float:
    """Voltage magnitude that the meter of each customer reports.

    Parameters
    ----------
    feeder : Feeder
        The place.
    node_v : ndarray of complex, shape (step, node)
        Node voltages [V].

    Returns
    -------
    ndarray of float, shape (step, customer)
        Phase-to-neutral voltage [V]; of several phases the one farthest from nominal.
    """
    nodes, neutral = feeder.meter_nodes
    width, phase_v = nodes.shape[1], node_v[:, nodes]
    if (neutral >= 0).any():
        phase_v = phase_v - np.where(neutral >= 0, node_v[:, neutral], 0.0)[:, :, None]
    magnitude = np.abs(phase_v)
    for row, between_v in _between_phases(feeder, node_v):
        magnitude[:, row] = between_v[:, np.arange(width) % between_v.shape[1]]
    if width == 1:
        return np.asarray(magnitude[:, :, 0])
    farthest = np.abs(magnitude - feeder.customer_nominal_v[:, None]).argmax(axis=2)
    return np.asarray(np.take_along_axis(magnitude, farthest[:, :, None], axis=2)[:, :, 0])
