"""The physical world: devices and households react to setpoints, then the power flow is solved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from cosim.collapse import Answer, Collapse, PowerFlow
from cosim.contract import Complex, Decision, Engine, Exogenous, Feeder, Float, Observation, Setpoints
from cosim.contract.areas import LimitCurrents
from cosim.devices.ev import EvCharger, EvFleet
from cosim.devices.group import CURVE_ITERATIONS, DeviceGroup, settled
from cosim.errors import ControllerError, PowerFlowError
from cosim.households import Behaviour, Households
from cosim.network import SERVED_TOLERANCE_KVA, Network, ServedPower, monitored_currents
from cosim.trajectory import DEEP_UNDERVOLTAGE_PU, Trajectory, meter_voltage_v

if TYPE_CHECKING:
    from cosim.dss_devices import OwnElements
    from cosim.reduced_engine import OwnSources

Solved = TypeVar("Solved")

_CHECKED_AT_ONCE = 64  # steps: the check of one takes as long as its power flow by the reduced network
_CONTROL_ITERATIONS = 15  # OpenDSS's own number
_NAMED_READINGS = ("ev_kw", "soc_kwh", "pv_kw", "pv_kvar")  # fields of a trajectory; other readings are its channels
_LIMITS = ("import_cap_kw", "ev_limit_kw", "pv_limit_kw")


class Plant:
    """A feeder with its homes on one day.

    Parameters
    ----------
    feeder : Feeder
        The place.
    exogenous : Exogenous
        The day, on the steps of the run.
    engine : Engine
        The power flow.
    expected : Exogenous
        What households expect of their own day (the forecast).
    behaviour : Behaviour
        How households react.
    on_collapse : str
        What a step without solution does: ``stop`` or ``shed``.

    Attributes
    ----------
    completed : int
        Number of completed steps.
    """

    def __init__(
        self,
        feeder: Feeder,
        exogenous: Exogenous,
        engine: Engine,
        expected: Exogenous,
        behaviour: Behaviour,
        on_collapse: str = "stop",
    ) -> None:
        self.feeder = feeder
        self.day = exogenous
        self.fleet = EvFleet(feeder, exogenous)
        self.homes = Households(behaviour, self.fleet, exogenous, expected)
        self._expected = expected
        self.devices = DeviceGroup(feeder, exogenous, self.homes)
        self._set_channels = {channel.name: channel for device in self.devices.devices for channel in device.setpoints}
        shape = (exogenous.steps, len(feeder.customers))
        own = ("demand_kw", "demand_kvar", "net_kw", "net_kvar")
        names = dict.fromkeys((*own, *_LIMITS, *self._set_channels, *self.devices.observe()))
        self._record: dict[str, Float] = {name: np.zeros(shape) for name in names}
        self._node_v = np.empty((exogenous.steps, len(feeder.network.node_names)), complex)
        self._degraded = np.zeros(exogenous.steps, dtype=bool)
        self._planned_kva = np.full(exogenous.steps, np.nan)
        self._notes: list[tuple[int, str]] = []
        self._unchecked: list[tuple[int, Complex, Complex | None]] = []  # step, power asked for, fed in at nodes
        self._collapses: list[Collapse] = []
        self._sheds = on_collapse == "shed"
        self._decisions: list[tuple[int, Decision]] = []
        self.completed = 0
        self._laws = feeder.load_laws
        self.engine = engine
        self._flow = PowerFlow(feeder, engine)
        # local curves are given in volts of the feeder's own nominal voltage; each device feels its own per unit
        self._of_curve = feeder.nominal_voltage_v / feeder.customer_nominal_v
        self._port_customer = feeder.load_ends[0]
        self._car_row = next(row for row, device in enumerate(self.devices.devices) if isinstance(device, EvCharger))
        nothing = self._beside(self.devices.none())
        is_whole = self._laws is None and nothing.shape[1] == len(feeder.customers)
        self._nothing_beside = None if is_whole else nothing
        # an engine that knows the circuit's file also runs what the file brings along
        start = getattr(engine, "start", None)
        self._own: OwnElements | OwnSources | None = start(exogenous.start, exogenous.step_min) if start else None
        self._others_kw = np.zeros((exogenous.steps, len(feeder.network.injectors) if self._own else 0))
        self._fed_kva: Complex | None = None
        self._moves: list[tuple[int, dict[str, Complex]]] = []
        watched = [*feeder.monitored, *feeder.supplies, *([feeder.head_line] if feeder.head_line else [])]
        self._watched_names = watched
        self._take(feeder.network)

    def reset(self) -> Observation:
        """Return to the first moment; the first observation is the power flow that the forecast expects of it."""
        self.completed = 0
        # no step has been metered yet, and the true first step would be a look ahead
        feeder, expected, source_pu = self.feeder, self._expected, self.day.source_pu[0]
        nothing = np.zeros(len(feeder.customers))
        pv_kw, devices_kw = expected.pv_available_kw[0], nothing
        if expected.devices_kw is not None:
            devices_kw = expected.devices_kw[0]
        if self._own is not None:
            self._own.begin(0)

        def solve(share: Float | float) -> Answer:
            beside = np.stack([_of_share(devices_kw, share) - pv_kw, nothing])
            asked = self._asked(_served(expected, 0, share), feeder.at_loads(beside, nothing))
            voltage = self._flow.solve(*asked, source_pu)
            return Answer(voltage, nothing)

        answer, share, error = self._flow.carried(solve)
        if error is not None and not self._sheds:
            raise error
        demand_kw, demand_kvar, _ = self._drawn(_served(expected, 0, share), answer.voltage)
        net_kw = demand_kw - pv_kw if expected.devices_kw is None else demand_kw - pv_kw + devices_kw
        return self._observe(
            answer.voltage, pv_available_kw=pv_kw, demand_kw=demand_kw, demand_kvar=demand_kvar, ev_kw=nothing,
            pv_kw=pv_kw, net_kw=net_kw, net_kvar=demand_kvar, devices_kw=devices_kw,
        )  # fmt: skip

    def announce(self, decision: Decision) -> None:
        """Record a decision that acts from the step that begins."""
        self._decisions.append((self.completed, decision))
        if decision.fallback:
            self._mark(self.completed, f"fallback: {decision.fallback}")

    def step(self, setpoints: Setpoints) -> None:
        """Let devices and homes react for one step, solve the power flow, check it, record it.

        Raises
        ------
        PowerFlowError
            Where the engine finds no solution, or one at which customers are not served.
        ControllerError
            Where something is asked of a channel that no device of this day has, or beyond its bounds.
        """
        k, day, record = self.completed, self.day, self._record
        setpoints = self.homes.heard(k, setpoints)
        if unknown := setpoints.channels.keys() - self._set_channels.keys():
            listed = ", ".join(self._set_channels) or "none"
            raise ControllerError(f"there is no channel {', '.join(sorted(unknown))} on this day (there are: {listed})")
        problems = [self._set_channels[name].problem(values) for name, values in setpoints.channels.items()]
        if any(problems):
            raise ControllerError("; ".join(filter(None, problems)))
        answer, share, error = self._with_own(k, lambda: self._carried(k, setpoints))
        demand_kw, demand_kvar, asked_kva = self._drawn(_served(day, k, share), answer.voltage)
        net_kw, net_kvar, powers = demand_kw, demand_kvar, answer.powers
        if not self.devices.passive:
            powers = _of_share(powers, share)
            for kw, kvar in zip(*powers, strict=True):
                net_kw, net_kvar = net_kw + kw, net_kvar + kvar
            beside_kw, beside_kvar = self._beside(powers)
            beside_kva = beside_kw + 1j * beside_kvar
            if self._laws is not None:
                asked_kva = asked_kva + self.feeder.at_ports(beside_kva)
            elif len(beside_kva) == len(asked_kva):
                asked_kva = asked_kva + beside_kva
            else:  # chargers on a phase of their own
                beside_kva[: len(asked_kva)] += asked_kva
                asked_kva = beside_kva
        if error is not None:
            self._take_down(k, answer, share, error)
        if not self.devices.passive:
            self.devices.advance(k, powers)
            for name, values in self.devices.observe().items():
                record[name][k] = values
        if answer.apart_kw:
            apart = f"{answer.apart_kw:.2f} kW apart after {CURVE_ITERATIONS} power flows"
            self._mark(k, f"local curves did not settle: {apart}")
        record["demand_kw"][k], record["demand_kvar"][k] = demand_kw, demand_kvar
        record["net_kw"][k], record["net_kvar"][k] = net_kw, net_kvar
        for name in _LIMITS:
            record[name][k] = getattr(setpoints, name)
        if setpoints.export_cap_kw is not None:  # few controllers ask for it, and trajectories of others have no column
            blank = np.full_like(self._record["import_cap_kw"], np.inf)
            record.setdefault("export_cap_kw", blank)[k] = setpoints.export_cap_kw
        for name, channel in self._set_channels.items():
            record[name][k] = setpoints.channels.get(name, channel.free)
        self._planned_kva[k] = setpoints.planned_kva
        if not self._flow.deferred:
            self._node_v[k] = answer.voltage  # copied: the engine overwrites its buffer at the next solve
        self._unchecked.append((k, asked_kva, self._fed_kva))
        self.completed = k + 1
        if len(self._unchecked) >= _CHECKED_AT_ONCE and not self._flow.deferred:
            self._check()

    def defer(self) -> bool:
        """Solve the steps to come together, in `settle`, and know no voltages until then; whether that can be."""
        return self._laws is None and self._own is None and self._flow.defer()

    def settle(self) -> None:
        """Solve all steps since `defer`; PowerFlowError where one has no solution: those before it are completed."""
        asked, unchecked = self.completed, self._unchecked
        self.completed, self._unchecked = 0, []  # of a solution that is interrupted, nothing is known of any step
        voltages = self._flow.settle()
        if len(voltages) == len(self._node_v):
            self._node_v = voltages
        else:
            self._node_v[: len(voltages)] = voltages
        solved = np.isfinite(voltages[:, 0])
        self.completed = asked if solved.all() else int(solved.argmin())
        self._unchecked = unchecked[: self.completed]
        if not solved.all():
            raise PowerFlowError(f"there is no power flow in step {self.completed}")

    def observe(self) -> Observation:
        """What the meters report at the start of the step to come: means of the last completed step."""
        k, record = self.completed - 1, self._record
        names = ("demand_kw", "demand_kvar", "ev_kw", "pv_kw", "net_kw", "net_kvar")
        seen = {name: record[name][k] for name in names}
        devices_kw = sum((record[f"{name}_kw"][k] for name in self.day.devices), np.zeros(len(self.feeder.customers)))
        return self._observe(
            self._node_v[k], pv_available_kw=self.day.pv_available_kw[k], devices_kw=devices_kw, **seen
        )

    def trajectory(self, label: str, control_min: float, **outcome: Any) -> Trajectory:
        """Everything that happened so far; shorter than the day where the run was stopped."""
        self._check()
        n, day, share = self.completed, self.day, self.fleet.stays.share
        records: dict[str, Any] = {name: values[:n] for name, values in self._record.items()}
        named = {field.name for field in fields(Trajectory)}
        records["channels"] = {name: records.pop(name) for name in list(records) if name not in named}
        return Trajectory(
            label=label,
            engine=self.engine.name,
            feeder=self._feeder_with_moves(),
            # a stopped run is judged on the steps that it has
            exogenous=day if n == day.steps else day.first(n),
            control_min=control_min,
            plugged=share[:n],
            node_v=self._node_v[:n],
            degraded=self._degraded[:n],
            notes=tuple(sorted(self._notes, key=lambda note: note[0])),
            collapses=tuple(self._collapses),
            decisions=tuple(self._decisions),
            planned_kva=self._planned_kva[:n],
            delivered_kwh=self.fleet.delivered_kwh,
            unservable_kwh=self.fleet.unservable_kwh,
            others_kw=self._others_kw[:n],
            switchings=tuple(one for one in self._own.switchings if one[0] < n) if self._own else (),
            device_measures=tuple(device.measure for device in self.devices.devices),
            device_states={one.name: one.state() for one in self.devices.devices if one.name in day.devices},
            complete=n == day.steps,
            reproducible=all(decision.reproducible for _, decision in self._decisions),
            **records,
            **outcome,
        )

    def _take_down(self, k: int, answer: Answer, share: Float | float, error: PowerFlowError) -> None:
        """Record a step without solution; it ends the run unless that goes on with less."""
        day = self.day
        asked_kw, asked_kvar = _together((day.demand_kw[k], day.demand_kvar[k]), self._beside(answer.powers))
        not_served_kw = day.demand_kw[k] - _served(day, k, share)[0]
        not_served_kw = not_served_kw + answer.powers[0].clip(0.0).sum(axis=0) * (1.0 - share)
        not_served_kwh = not_served_kw * day.step_min / 60.0
        collapse = self._flow.collapse(k, share, not_served_kwh, asked_kw, asked_kvar, float(day.source_pu[k]))
        self._collapses.append(collapse)
        if not self._sheds:
            raise PowerFlowError(f"{error}; {collapse} would have one") from error
        self._mark(k, f"collapse: {collapse}")

    def _check(self) -> None:
        """Mark steps whose voltages do not serve the powers asked for, and tell of those where they are very low."""
        if not self._unchecked:
            return
        steps, asked_kva, fed_kva = zip(*self._unchecked, strict=True)
        self._unchecked.clear()
        voltages = self._node_v[steps[0] : steps[-1] + 1]
        fed = None if fed_kva[0] is None else np.array(fed_kva)
        port_kva = np.array(asked_kva) if self._laws is not None else self.feeder.at_ports(np.array(asked_kva))
        mismatches_kva = self._served_power.mismatch_kva(voltages, port_kva, fed)
        told = zip(steps, mismatches_kva.tolist(), self._flow.lowest(voltages), strict=True)
        for k, mismatch_kva, (lowest_pu, where) in told:
            if not mismatch_kva <= SERVED_TOLERANCE_KVA:  # "not <=", so that nan is marked too
                self._mark(k, f"power served differs from power requested by {mismatch_kva:.3f} kVA")
            if lowest_pu < DEEP_UNDERVOLTAGE_PU:
                self._notes.append((k, f"voltage below {DEEP_UNDERVOLTAGE_PU:.2f} pu: {lowest_pu:.3f} pu at {where}"))

    def _with_own(self, k: int, solve: Callable[[], Solved]) -> Solved:
        """Solve a step with what the file itself runs: its sources at their time, and its controls until none acts."""
        own = self._own
        if own is None:
            return solve()
        own.begin(k)
        for _ in range(_CONTROL_ITERATIONS):
            solved = solve()
            if not own.act():
                break
        else:
            solved = solve()
            self._mark(k, "the file's own regulators and capacitor controls did not come to rest")
        if switched := own.note_switchings():
            self._moves.append((k, switched))
            self._take(self._network.moved(switched))
        self._others_kw[k], self._fed_kva = own.sources()
        return solved

    def _take(self, network: Network) -> None:
        """Watch and check by these admittances."""
        self._check()  # what was solved before by the admittances of then
        feeder, self._network = self.feeder, network
        self._served_power = ServedPower(network, feeder.load_ports)
        self._watched = tuple(network.branch(name) for name in self._watched_names)
        is_new = network is not feeder.network
        self._limit_currents = LimitCurrents(network, feeder.limits) if is_new else feeder.limit_currents

    def _feeder_with_moves(self) -> Feeder:
        """The place, its branches with what moved: whoever reads the run gets currents and losses right."""
        network = self.feeder.network
        if not self._moves:
            return self.feeder
        branches = [
            replace(branch, later=tuple((k, of[branch.name]) for k, of in self._moves if branch.name in of))
            for branch in network.branches
        ]
        return replace(self.feeder, network=replace(network, branches=tuple(branches)))

    def _beside(self, powers: Float) -> Float:
        """What devices draw beside households, as the engine takes it, shape (2, customer + spur) [kW, kvar]."""
        return self.feeder.at_loads(powers.sum(axis=1), powers[:, self._car_row])

    def _asked(self, demand: tuple[Float, Float], beside: Float) -> tuple[Float, Float]:
        """What the engine is asked to serve: households, and devices beside them."""
        if self._laws is not None:
            kw, kvar = (np.concatenate(pair) for pair in zip(demand, beside, strict=True))
            return kw, kvar
        return _together(demand, beside)

    def _drawn(self, demand: tuple[Float, Float], voltage: Complex) -> tuple[Float, Float, Complex]:
        """Active and reactive power of the households at these voltages, and P + jQ, by port where they follow it."""
        customer, (demand_kw, demand_kvar) = self._port_customer, demand
        if self._laws is None:
            return demand_kw, demand_kvar, demand_kw + 1j * demand_kvar
        port_kva = self.feeder.at_ports(demand_kw + 1j * demand_kvar)
        of_p, of_q = self._laws.drawn(customer, np.asarray(self._served_power.across @ voltage))
        kw, kvar = port_kva.real * of_p, port_kva.imag * of_q
        drawn_kw, drawn_kvar = (np.bincount(customer, of_ports).astype(float) for of_ports in (kw, kvar))
        return drawn_kw, drawn_kvar, kw + 1j * kvar

    def _mark(self, step: int, reason: str) -> None:
        self._degraded[step] = True
        self._notes.append((step, reason))

    def _carried(self, k: int, setpoints: Setpoints) -> tuple[Answer, Float | float, PowerFlowError | None]:
        answer, share, error = self._flow.carried(lambda share: self._react(k, setpoints, share))
        if error is not None and self._own is not None:  # which is read as the circuit was solved last
            answer = self._react(k, setpoints, share)
        return answer, share, error

    def _react(self, k: int, setpoints: Setpoints, share: Float | float) -> Answer:
        """Devices and power flow of one step, of which a share of all consumption is served.

        The voltage matters by local curves, and by what homes draw under a cap.
        """
        day = self.day
        demand, source_pu = _served(day, k, share), day.source_pu[k]
        # no car, no sun, no device: nothing reacts to setpoints, and the power flow is all there is to a step
        if self.devices.passive:
            asked = demand if self._nothing_beside is None else self._asked(demand, self._nothing_beside)
            return Answer(self._flow.solve(*asked, source_pu), self.devices.none())
        self.devices.begin(k, setpoints)

        def answer(voltage: Complex | None) -> Float:
            felt_v, demand_kw = np.full(len(self.feeder.customers), self.feeder.nominal_voltage_v), day.demand_kw[k]
            charger_v = felt_v
            if voltage is not None:
                felt_v, demand_kw = self._felt_v(voltage), self._drawn(_served(day, k, 1.0), voltage)[0]
                charger_v = self._felt_by_chargers_v(voltage, felt_v)
            return self.devices.answer(k, setpoints, demand_kw, felt_v, self.homes.obeys, charger_v)

        def solve(powers: Float) -> Complex:
            return self._flow.solve(*self._asked(demand, self._beside(_of_share(powers, share))), source_pu)

        if setpoints.curves is None and self._laws is None:
            powers = answer(None)  # nothing depends on the voltage: one solve
            return Answer(solve(powers), powers)
        if self._flow.deferred:
            raise ControllerError("the controller asks for local curves, which follow voltages that are not known yet")
        # the last step is the best first guess, and keeps devices on the branch of solutions that they are on
        return settled(answer, solve, self._node_v[k - 1] if k else None)

    def _felt_v(self, voltage: Complex) -> Float:
        """What local curves see of node voltages, shape (customer,) [V]."""
        return np.asarray(meter_voltage_v(self.feeder, voltage[None, :])[0] * self._of_curve)

    def _felt_by_chargers_v(self, voltage: Complex, felt_v: Float) -> Float:
        """The same, but of a charger on one phase of a home with several that phase."""
        who, port = self.feeder.spurs
        if not len(who):
            return felt_v
        charger_v = felt_v.copy()
        charger_v[who] = np.abs(self._served_power.across @ voltage)[port] * self._of_curve[who]
        return charger_v

    def _metered(self, voltage: Complex) -> tuple[Complex, Float, Float]:
        """Currents of watched branches, loading of limits and voltages of customers; nan where not known yet."""
        if self._flow.deferred:
            unknown = np.full(max(len(self.feeder.limits), len(self.feeder.customers)), np.nan)
            currents = np.full((len(self._watched), 3), complex(np.nan, np.nan))
            return currents, unknown[: len(self.feeder.limits)], unknown[: len(self.feeder.customers)]
        return (
            monitored_currents(self._watched, voltage[None, :])[0],
            self._limit_currents.percent(voltage[None, :])[0],
            meter_voltage_v(self.feeder, voltage[None, :])[0],
        )

    def _observe(self, voltage: Complex, **metered: Any) -> Observation:
        currents, limit_percent, voltage_v = self._metered(voltage)
        monitored, supplies = len(self.feeder.monitored), len(self.feeder.supplies)
        main = currents[monitored : monitored + supplies] if supplies else currents[monitored:]
        transformer = main.sum(axis=0) if len(main) else np.zeros(3, complex)
        # the tariff is known ahead, so that of the step to come; powers and voltages are those of the last one
        next_step = min(self.completed, self.day.steps - 1)
        others = {name: x for name, x in self.devices.observe().items() if name not in _NAMED_READINGS}
        return Observation(
            step=self.completed,
            minute=self.completed * self.day.step_min,
            step_min=self.day.step_min,
            voltage_v=voltage_v,
            inverter_kva=self.day.inverter_kva,
            tariff_eur_per_kwh=float(self.day.tariff_eur_per_kwh[next_step]),
            source_pu=float(self.day.source_pu[max(self.completed - 1, 0)]),
            current_a=currents[:monitored],
            transformer_current_a=transformer,
            head_current_a=currents[-1] if self.feeder.head_line else transformer,
            limit_percent=limit_percent,
            channels={**others, **self.devices.nameplate()},
            **self.fleet.seen(self.completed),
            **metered,
        )


def _served(day: Exogenous, k: int, share: Float | float) -> tuple[Float, Float]:
    """Demand of a step that is served, active and reactive; what a load of the file feeds in is no consumption."""
    kw, kvar = day.demand_kw[k], day.demand_kvar[k]
    if isinstance(share, float):
        return kw, kvar
    share = np.where(kw < 0.0, 1.0, share)
    return kw * share, kvar * share


def _together(demand: tuple[Float, Float], beside: Float) -> tuple[Float, Float]:
    """Households and devices of every load; of a charger on a phase of its own there is no household."""
    (kw, kvar), apart = demand, beside.shape[1] - len(demand[0])
    if apart:
        kw, kvar = np.pad(kw, (0, apart)), np.pad(kvar, (0, apart))
    return kw + beside[0], kvar + beside[1]


def _of_share(powers_kw: Float, share: Float | float) -> Float:
    """What of these powers is served: of what is drawn a share, all of what is fed in."""
    return powers_kw if isinstance(share, float) and share == 1.0 else _shared(powers_kw, share)


def _shared(powers: Float, share: Float | float) -> Float:
    """The share holds for a device that draws, its reactive power included."""
    draws = powers[0] > 0.0 if powers.ndim > 2 else powers > 0.0
    return np.where(draws, powers * share, powers)
