"""The physical world: devices and households react to setpoints, then the power flow is solved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from cosim.collapse import Answer, Collapse, PowerFlow
from cosim.contract import Complex, Decision, Engine, Exogenous, Feeder, Float, Observation, Setpoints
from cosim.contract.areas import LimitCurrents
from cosim.devices import CURVE_ITERATIONS, EvFleet, pv_output, settled
from cosim.errors import PowerFlowError
from cosim.households import Behaviour, Households
from cosim.network import SERVED_TOLERANCE_KVA, Network, ServedPower, monitored_currents
from cosim.trajectory import DEEP_UNDERVOLTAGE_PU, Trajectory, meter_voltage_v

if TYPE_CHECKING:
    from cosim.dss_devices import OwnElements

Solved = TypeVar("Solved")

_CONTROL_ITERATIONS = 15  # OpenDSS's own number
_CUSTOMER_RECORDS = (
    "demand_kw", "demand_kvar", "ev_kw", "pv_kw", "pv_kvar", "soc_kwh", "import_cap_kw", "ev_limit_kw", "pv_limit_kw",
    "net_kw", "net_kvar",
)  # fmt: skip


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
        self.homes = Households(behaviour, self.fleet, exogenous.tariff_eur_per_kwh, expected)
        self._expected = expected
        shape = (exogenous.steps, len(feeder.customers))
        self._record: dict[str, Float] = {name: np.zeros(shape) for name in _CUSTOMER_RECORDS}
        self._node_v = np.empty((exogenous.steps, len(feeder.network.node_names)), complex)
        self._degraded = np.zeros(exogenous.steps, dtype=bool)
        self._planned_kva = np.full(exogenous.steps, np.nan)
        self._notes: list[tuple[int, str]] = []
        self._collapses: list[Collapse] = []
        self._sheds = on_collapse == "shed"
        self._decisions: list[tuple[int, Decision]] = []
        self.completed = 0
        self._passive = len(exogenous.sessions) == 0 and not exogenous.pv_available_kw.any()
        self._laws = feeder.load_laws
        self._nothing = np.zeros(len(feeder.customers))
        self.engine = engine
        self._flow = PowerFlow(feeder, engine)
        # local curves are given in volts of the feeder's own nominal voltage; each device feels its own per unit
        self._of_curve = feeder.nominal_voltage_v / feeder.customer_nominal_v
        self._port_customer = feeder.load_ends[0]
        self._ports_each = np.bincount(self._port_customer)
        # an engine that knows the circuit's file also runs what the file brings along
        start = getattr(engine, "start", None)
        self._own: OwnElements | None = start(exogenous.start, exogenous.step_min) if start else None
        self._others_kw = np.zeros((exogenous.steps, len(feeder.network.injectors) if self._own else 0))
        self._fed_kva: Complex | None = None
        self._moves: list[tuple[int, dict[str, Complex]]] = []
        watched = [*feeder.monitored, *feeder.supplies, *([feeder.head_line] if feeder.head_line else [])]
        self._watched_names = watched
        self._take(feeder.network)

    def reset(self) -> Observation:
        """Return to the first moment; the first observation is the power flow that the forecast expects of it."""
        self.completed = 0
        expected, nothing = self._expected, self._nothing
        # no step has been metered yet, and the true first step would be a look ahead
        pv_kw, source_pu = expected.pv_available_kw[0], self.day.source_pu[0]
        if self._own is not None:
            self._own.begin(0)

        def solve(share: Float | float) -> Answer:
            demand = _served(expected, 0, share)
            voltage = self._flow.solve(*self._asked(demand, nothing, pv_kw, nothing), source_pu)
            return Answer(voltage, nothing, pv_kw, nothing)

        answer, share, error = self._flow.carried(solve)
        if error is not None and not self._sheds:
            raise error
        demand_kw, demand_kvar, _ = self._drawn(_served(expected, 0, share), answer.voltage)
        return self._observe(
            answer.voltage, pv_kw, demand_kw, demand_kvar, nothing, pv_kw, demand_kw - pv_kw, demand_kvar
        )

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
        """
        k, day, record = self.completed, self.day, self._record
        answer, share, error = self._with_own(k, lambda: self._carried(k, setpoints))
        demand_kw, demand_kvar, port_kva = self._drawn(_served(day, k, share), answer.voltage)
        net_kw, net_kvar = demand_kw, demand_kvar
        if not self._passive:
            ev_kw = answer.ev_kw * share
            net_kw = demand_kw + ev_kw - answer.pv_kw
            net_kvar = demand_kvar + answer.pv_kvar
            beside_kva = ev_kw - answer.pv_kw + 1j * answer.pv_kvar
            port_kva = port_kva + (beside_kva / self._ports_each)[self._port_customer]
        if error is not None:
            self._take_down(k, answer, share, error)
        if not self._passive:
            self.fleet.charge(k, ev_kw)
            record["ev_kw"][k], record["pv_kw"][k], record["pv_kvar"][k] = ev_kw, answer.pv_kw, answer.pv_kvar
            there = self.fleet.stays.session[k]
            # session -1 (no car) reads the zero appended at the end
            record["soc_kwh"][k] = np.where(there >= 0, np.append(self.fleet.soc_kwh, 0.0)[there], 0.0)
        if answer.apart_kw:
            apart = f"{answer.apart_kw:.2f} kW apart after {CURVE_ITERATIONS} power flows"
            self._mark(k, f"local curves did not settle: {apart}")
        self._check(k, answer.voltage, port_kva)
        record["demand_kw"][k], record["demand_kvar"][k] = demand_kw, demand_kvar
        record["net_kw"][k], record["net_kvar"][k] = net_kw, net_kvar
        for name in ("import_cap_kw", "ev_limit_kw", "pv_limit_kw"):
            record[name][k] = getattr(setpoints, name)
        self._planned_kva[k] = setpoints.planned_kva
        self._node_v[k] = answer.voltage  # copied: the engine overwrites its buffer at the next solve
        self.completed = k + 1

    def observe(self) -> Observation:
        """What the meters report at the start of the step to come: means of the last completed step."""
        k, record = self.completed - 1, self._record
        names = ("demand_kw", "demand_kvar", "ev_kw", "pv_kw", "net_kw", "net_kvar")
        return self._observe(self._node_v[k], self.day.pv_available_kw[k], *(record[name][k] for name in names))

    def trajectory(self, label: str, control_min: float, **outcome: Any) -> Trajectory:
        """Everything that happened so far; shorter than the day where the run was stopped."""
        n, day, share = self.completed, self.day, self.fleet.stays.share
        records: dict[str, Any] = {name: values[:n] for name, values in self._record.items()}
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
            notes=tuple(self._notes),
            collapses=tuple(self._collapses),
            decisions=tuple(self._decisions),
            planned_kva=self._planned_kva[:n],
            delivered_kwh=self.fleet.delivered_kwh,
            unservable_kwh=self.fleet.unservable_kwh,
            others_kw=self._others_kw[:n],
            switchings=tuple(one for one in self._own.switchings if one[0] < n) if self._own else (),
            complete=n == day.steps,
            reproducible=all(decision.reproducible for _, decision in self._decisions),
            **records,
            **outcome,
        )

    def _take_down(self, k: int, answer: Answer, share: Float | float, error: PowerFlowError) -> None:
        """Record a step without solution; it ends the run unless that goes on with less."""
        day = self.day
        asked_kw, asked_kvar = day.demand_kw[k] + answer.ev_kw - answer.pv_kw, day.demand_kvar[k] + answer.pv_kvar
        not_served_kw = day.demand_kw[k] - _served(day, k, share)[0] + answer.ev_kw * (1.0 - share)
        not_served_kwh = not_served_kw * day.step_min / 60.0
        collapse = self._flow.collapse(k, share, not_served_kwh, asked_kw, asked_kvar, float(day.source_pu[k]))
        self._collapses.append(collapse)
        if not self._sheds:
            raise PowerFlowError(f"{error}; {collapse} would have one") from error
        self._mark(k, f"collapse: {collapse}")

    def _check(self, k: int, voltage: Complex, port_kva: Complex) -> None:
        """Mark a step whose voltages do not serve the powers asked for, and tell of one where they are very low."""
        mismatch_kva = self._served_power.mismatch_kva(voltage, port_kva, self._fed_kva)
        if not mismatch_kva <= SERVED_TOLERANCE_KVA:  # "not <=", so that nan is marked too
            self._mark(k, f"power served differs from power requested by {mismatch_kva:.3f} kVA")
        lowest_pu, where = self._flow.lowest(voltage)
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

    def _asked(self, demand: tuple[Float, Float], *beside: Float) -> tuple[Float, Float]:
        """What the engine is asked to serve: households, and ``ev_kw, pv_kw, pv_kvar`` beside them where given."""
        kw, kvar = demand
        if self._laws is not None:
            ev_kw, pv_kw, pv_kvar = beside or (self._nothing,) * 3
            return np.concatenate([kw, ev_kw - pv_kw]), np.concatenate([kvar, pv_kvar])
        return (kw + beside[0] - beside[1], kvar + beside[2]) if beside else (kw, kvar)

    def _drawn(self, demand: tuple[Float, Float], voltage: Complex) -> tuple[Float, Float, Complex]:
        """Active and reactive power of the households at these voltages, and what it is at every port [kVA]."""
        customer, (demand_kw, demand_kvar) = self._port_customer, demand
        port_kva = np.asarray((demand_kw + 1j * demand_kvar) / self._ports_each, dtype=complex)[customer]
        if self._laws is None:
            return demand_kw, demand_kvar, port_kva
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
        day, curves = self.day, setpoints.curves
        demand, source_pu = _served(day, k, share), day.source_pu[k]
        # no car and no sun: nothing reacts to setpoints, and the power flow is all there is to a step
        if self._passive:
            nothing = self._nothing
            return Answer(self._flow.solve(*self._asked(demand), source_pu), nothing, nothing, nothing)
        asked_kw = self.homes.asked_kw(k, setpoints)

        def answer(voltage: Complex | None) -> tuple[Float, Float, Float]:
            felt_v, demand_kw = np.full(len(self.feeder.customers), self.feeder.nominal_voltage_v), day.demand_kw[k]
            if voltage is not None:
                felt_v, demand_kw = self._felt_v(voltage), self._drawn(_served(day, k, 1.0), voltage)[0]
            pv_kw, pv_kvar = pv_output(day.pv_available_kw[k], setpoints.pv_limit_kw, day.inverter_kva, felt_v, curves)
            headroom_kw = self.homes.cap_limit_kw(setpoints.import_cap_kw, demand_kw, pv_kw)
            limit_kw = np.minimum(setpoints.ev_limit_kw, headroom_kw)
            if curves is not None and curves.ev_volt_watt is not None:
                limit_kw = np.minimum(limit_kw, self.fleet.volt_watt_kw(k, felt_v, curves.ev_volt_watt))
            return self.fleet.feasible_kw(k, asked_kw, limit_kw), pv_kw, pv_kvar

        def solve(ev_kw: Float, pv_kw: Float, pv_kvar: Float) -> Complex:
            return self._flow.solve(*self._asked(demand, ev_kw * share, pv_kw, pv_kvar), source_pu)

        if curves is None and self._laws is None:
            powers = answer(None)  # nothing depends on the voltage: one solve
            return Answer(solve(*powers), *powers)
        # the last step is the best first guess, and keeps devices on the branch of solutions that they are on
        return settled(answer, solve, self._node_v[k - 1] if k else None)

    def _felt_v(self, voltage: Complex) -> Float:
        """What local curves see of node voltages, shape (customer,) [V]."""
        return np.asarray(meter_voltage_v(self.feeder, voltage[None, :])[0] * self._of_curve)

    def _observe(
        self,
        voltage: Complex,
        pv_available_kw: Float,
        demand_kw: Float,
        demand_kvar: Float,
        ev_kw: Float,
        pv_kw: Float,
        net_kw: Float,
        net_kvar: Float,
    ) -> Observation:
        session = self.fleet.present(self.completed)
        sessions, there = self.fleet.sessions, session >= 0
        currents = monitored_currents(self._watched, voltage[None, :])[0]
        monitored, supplies = len(self.feeder.monitored), len(self.feeder.supplies)
        main = currents[monitored : monitored + supplies] if supplies else currents[monitored:]
        transformer = main.sum(axis=0) if len(main) else np.zeros(3, complex)

        def of_car(values: Float, otherwise: float) -> Float:
            return np.where(there, np.append(values, otherwise)[session], otherwise)

        # the tariff is known ahead, so that of the step to come; powers and voltages are those of the last one
        next_step = min(self.completed, self.day.steps - 1)
        return Observation(
            step=self.completed,
            minute=self.completed * self.day.step_min,
            step_min=self.day.step_min,
            voltage_v=meter_voltage_v(self.feeder, voltage[None, :])[0],
            demand_kw=demand_kw,
            demand_kvar=demand_kvar,
            pv_kw=pv_kw,
            pv_available_kw=pv_available_kw,
            ev_kw=ev_kw,
            net_kw=net_kw,
            net_kvar=net_kvar,
            plugged=there,
            energy_left_kwh=of_car(self.fleet.left_kwh, 0.0),
            soc_kwh=of_car(self.fleet.soc_kwh, 0.0),
            departure_min=of_car(sessions.departure_min, np.nan),
            last_left_minutes=self.fleet.last_left_minutes(self.completed),
            charger_kw=of_car(sessions.charger_kw, 0.0),
            charger_min_kw=np.where(there, np.minimum(self.fleet.minimum_kw, of_car(sessions.charger_kw, 0.0)), 0.0),
            efficiency=of_car(sessions.efficiency, 1.0),
            inverter_kva=self.day.inverter_kva,
            tariff_eur_per_kwh=float(self.day.tariff_eur_per_kwh[next_step]),
            source_pu=float(self.day.source_pu[max(self.completed - 1, 0)]),
            current_a=currents[:monitored],
            transformer_current_a=transformer,
            head_current_a=currents[-1] if self.feeder.head_line else transformer,
            limit_percent=self._limit_currents.percent(voltage[None, :])[0],
        )


def _served(day: Exogenous, k: int, share: Float | float) -> tuple[Float, Float]:
    """Demand of a step that is served, active and reactive; what a load of the file feeds in is no consumption."""
    kw, kvar = day.demand_kw[k], day.demand_kvar[k]
    if isinstance(share, float):
        return kw, kvar
    share = np.where(kw < 0.0, 1.0, share)
    return kw * share, kvar * share
