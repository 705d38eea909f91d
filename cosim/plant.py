"""The physical world: devices and households react to setpoints, then the power flow is solved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cosim.contract import Complex, Decision, Engine, Exogenous, Feeder, Float, Observation, Setpoints
from cosim.devices import EvFleet, pv_output
from cosim.errors import PowerFlowError
from cosim.households import Behaviour, Households
from cosim.network import ServedPower, monitored_currents
from cosim.trajectory import Trajectory, meter_voltage_v

SERVED_TOLERANCE_KW = 0.01
"""Largest difference between power requested and power that the solved voltages serve before a step is marked."""

SERVED_BAND_PU = (0.5, 1.5)
"""Voltages of nominal between which OpenDSS keeps loads at constant power; beyond, a "solution" serves other powers."""

_CURVE_TOLERANCE_KW = 0.01
_CURVE_ITERATIONS = 200
_CUSTOMER_RECORDS = (
    "ev_kw", "pv_kw", "pv_kvar", "soc_kwh", "import_cap_kw", "ev_limit_kw", "pv_limit_kw", "net_kw", "net_kvar",
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

    Attributes
    ----------
    completed : int
        Number of completed steps.
    """

    def __init__(
        self, feeder: Feeder, exogenous: Exogenous, engine: Engine, expected: Exogenous, behaviour: Behaviour
    ) -> None:
        self.feeder = feeder
        self.day = exogenous
        self.engine = engine
        self.fleet = EvFleet(feeder, exogenous)
        self.homes = Households(behaviour, self.fleet, exogenous.tariff_eur_per_kwh, expected)
        self._expected = expected
        shape = (exogenous.steps, len(feeder.customers))
        self._record: dict[str, Float] = {name: np.zeros(shape) for name in _CUSTOMER_RECORDS}
        self._node_v = np.empty((exogenous.steps, len(feeder.network.node_names)), complex)
        self._degraded = np.zeros(exogenous.steps, dtype=bool)
        self._planned_kva = np.full(exogenous.steps, np.nan)
        self._notes: list[tuple[int, str]] = []
        self._decisions: list[tuple[int, Decision]] = []
        self.completed = 0
        self._passive = len(exogenous.sessions) == 0 and not exogenous.pv_available_kw.any()
        earthed_stars = not feeder.delta_customers and max(feeder.customer_neutral, default=-1) < 0
        customer, self._phase_node, neutral = feeder.terminals
        self._neutral_node = np.where(neutral >= 0, neutral, len(feeder.network.node_names))  # earth is appended
        self._terminal_nominal_v = feeder.customer_nominal_v[customer]
        # local curves are given in volts of the feeder's own nominal voltage; each device feels its own per unit
        self._of_curve = feeder.nominal_voltage_v / feeder.customer_nominal_v
        self._served = ServedPower(
            feeder.network, feeder.customer_nodes, feeder.customer_neutral, per_node=earthed_stars
        )
        watched = [*feeder.monitored, *feeder.supplies, *([feeder.head_line] if feeder.head_line else [])]
        self._watched = tuple(feeder.network.branch(name) for name in watched)

    def reset(self) -> Observation:
        """Return to the first moment; the first observation is the power flow that the forecast expects of it."""
        self.completed = 0
        expected = self._expected
        net = expected.inflexible_kw[0]
        # no step has been metered yet, and the true first step would be a look ahead
        voltage = self.engine.solve(net, expected.demand_kvar[0], self.day.source_pu[0])
        pv = expected.pv_available_kw[0]
        return self._observe(expected, 0, voltage, np.zeros_like(net), pv, net, expected.demand_kvar[0])

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
        # no car and no sun: nothing reacts to setpoints, and the power flow is all there is to a step
        if self._passive:
            net_kw, net_kvar = day.demand_kw[k], day.demand_kvar[k]
            voltage = self.engine.solve(net_kw, net_kvar, day.source_pu[k])
            self._refuse_collapse(voltage)
        else:
            voltage, (ev_kw, pv_kw, pv_kvar) = self._react(k, setpoints)
            self._refuse_collapse(voltage)
            net_kw = day.demand_kw[k] + ev_kw - pv_kw
            net_kvar = day.demand_kvar[k] + pv_kvar
            self.fleet.charge(k, ev_kw)
            record["ev_kw"][k], record["pv_kw"][k], record["pv_kvar"][k] = ev_kw, pv_kw, pv_kvar
            there = self.fleet.stays.session[k]
            # session -1 (no car) reads the zero appended at the end
            record["soc_kwh"][k] = np.where(there >= 0, np.append(self.fleet.soc_kwh, 0.0)[there], 0.0)
        mismatch_kw = self._served.mismatch_kw(voltage, net_kw)
        if not mismatch_kw <= SERVED_TOLERANCE_KW:  # "not <=", so that nan is marked too
            self._mark(k, f"power served differs from power requested by {mismatch_kw:.3f} kW")
        record["net_kw"][k], record["net_kvar"][k] = net_kw, net_kvar
        for name in ("import_cap_kw", "ev_limit_kw", "pv_limit_kw"):
            record[name][k] = getattr(setpoints, name)
        self._planned_kva[k] = setpoints.planned_kva
        self._node_v[k] = voltage  # copied: the engine overwrites its buffer at the next solve
        self.completed = k + 1

    def observe(self) -> Observation:
        """What the meters report at the start of the step to come: means of the last completed step."""
        k, record = self.completed - 1, self._record
        powers = (record[name][k] for name in ("ev_kw", "pv_kw", "net_kw", "net_kvar"))
        return self._observe(self.day, k, self._node_v[k], *powers)

    def trajectory(self, label: str, control_min: float, **outcome: Any) -> Trajectory:
        """Everything that happened so far; shorter than the day where the run was stopped."""
        n, day, share = self.completed, self.day, self.fleet.stays.share
        records: dict[str, Any] = {name: values[:n] for name, values in self._record.items()}
        return Trajectory(
            label=label,
            engine=self.engine.name,
            feeder=self.feeder,
            # a stopped run is judged on the steps that it has
            exogenous=day if n == day.steps else day.first(n),
            control_min=control_min,
            plugged=share[:n],
            node_v=self._node_v[:n],
            degraded=self._degraded[:n],
            notes=tuple(self._notes),
            decisions=tuple(self._decisions),
            planned_kva=self._planned_kva[:n],
            delivered_kwh=self.fleet.delivered_kwh,
            unservable_kwh=self.fleet.unservable_kwh,
            complete=n == day.steps,
            reproducible=all(decision.reproducible for _, decision in self._decisions),
            **records,
            **outcome,
        )

    def _refuse_collapse(self, voltage: Complex) -> None:
        """Refuse voltages at which loads are no longer constant power: the engine then solved another feeder."""
        with_earth = np.append(voltage, 0.0)
        magnitude_v = np.abs(with_earth[self._phase_node] - with_earth[self._neutral_node])
        away = np.abs(magnitude_v / self._terminal_nominal_v - 1.0)
        if (away < 1.0 - SERVED_BAND_PU[0]).all():  # the band is as wide upwards as downwards
            return
        worst = int(away.argmax())
        low, high = SERVED_BAND_PU
        raise PowerFlowError(
            f"voltage collapse: {magnitude_v[worst]:.1f} V at "
            f"{self.feeder.network.node_names[self._phase_node[worst]]}, outside {low}..{high} of "
            f"{self._terminal_nominal_v[worst]:.0f} V, where the power asked for is not served"
        )

    def _mark(self, step: int, reason: str) -> None:
        self._degraded[step] = True
        self._notes.append((step, reason))

    def _react(self, k: int, setpoints: Setpoints) -> tuple[Complex, tuple[Float, Float, Float]]:
        """Devices and power flow of one step; without local curves the voltage does not matter to the devices."""
        day, asked_kw, curves = self.day, self.homes.asked_kw(k, setpoints), setpoints.curves

        def answer(felt_v: Float) -> tuple[Float, Float, Float]:
            pv_kw, pv_kvar = pv_output(day.pv_available_kw[k], setpoints.pv_limit_kw, day.inverter_kva, felt_v, curves)
            headroom_kw = self.homes.cap_limit_kw(setpoints.import_cap_kw, day.demand_kw[k], pv_kw)
            limit_kw = np.minimum(setpoints.ev_limit_kw, headroom_kw)
            if curves is not None and curves.ev_volt_watt is not None:
                limit_kw = np.minimum(limit_kw, self.fleet.volt_watt_kw(k, felt_v, curves.ev_volt_watt))
            return self.fleet.feasible_kw(k, asked_kw, limit_kw), pv_kw, pv_kvar

        def solve(ev_kw: Float, pv_kw: Float, pv_kvar: Float) -> Complex:
            return self.engine.solve(day.demand_kw[k] + ev_kw - pv_kw, day.demand_kvar[k] + pv_kvar, day.source_pu[k])

        if curves is None:
            powers = answer(np.empty(0))  # without curves nothing depends on the voltage: one solve
            return solve(*powers), powers
        return self._settle(k, answer, solve)

    def _settle(
        self, k: int, answer: Callable[[Float], tuple[Float, Float, Float]], solve: Callable[..., Complex]
    ) -> tuple[Complex, tuple[Float, Float, Float]]:
        """Find powers that are the devices' own answer to the voltages that they cause, by a damped fixed point.

        Every power moves a part of the way to that answer. Its part is halved whenever it overshot and grows while it
        keeps its direction, so each device finds the pace that its place bears: with one pace for all, a steep curve
        on a weak feeder hunts for ever. All powers on the way lie between answers, so none is more than is possible.
        """
        feeder = self.feeder
        felt_v = np.full(len(feeder.customers), feeder.nominal_voltage_v)
        if k:
            # the last step is the best first guess, and keeps devices on the branch of solutions that they are on
            felt_v = self._felt_v(self._node_v[k - 1])
        powers = np.array(answer(felt_v))
        part, last_gap = np.full(powers.shape, 0.5), np.zeros(powers.shape)
        for attempt in range(_CURVE_ITERATIONS):
            try:
                voltage = solve(*powers)
            except PowerFlowError:
                # The feeder cannot carry what the devices would start with; what they settle at may be far less.
                if attempt > _CURVE_ITERATIONS // 2:
                    raise
                powers, part = powers / 2.0, part / 2.0
                continue
            # what is recorded are the powers that this voltage was solved with, not the next guess
            applied, gap = powers, np.array(answer(self._felt_v(voltage))) - powers
            distance_kw = float(np.abs(gap).max())
            if distance_kw <= _CURVE_TOLERANCE_KW:
                break
            part = np.where(gap * last_gap < 0.0, part / 2.0, np.minimum(part * 1.2, 1.0))
            powers, last_gap = powers + part * gap, gap
        else:
            apart = f"{distance_kw:.2f} kW apart after {_CURVE_ITERATIONS} power flows"
            self._mark(k, f"local curves did not settle: {apart}")
        return voltage, (applied[0], applied[1], applied[2])

    def _felt_v(self, voltage: Complex) -> Float:
        """What local curves see of node voltages, shape (customer,) [V]."""
        return np.asarray(meter_voltage_v(self.feeder, voltage[None, :])[0] * self._of_curve)

    def _observe(
        self, day: Exogenous, k: int, voltage: Complex, ev_kw: Float, pv_kw: Float, net_kw: Float, net_kvar: Float
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
            demand_kw=day.demand_kw[k],
            demand_kvar=day.demand_kvar[k],
            pv_kw=pv_kw,
            pv_available_kw=day.pv_available_kw[k],
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
            source_pu=float(self.day.source_pu[k]),
            current_a=currents[:monitored],
            transformer_current_a=transformer,
            head_current_a=currents[-1] if self.feeder.head_line else transformer,
            limit_percent=self.feeder.limit_currents.percent(voltage[None, :])[0],
        )
