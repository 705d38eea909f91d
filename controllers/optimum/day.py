"""A day as columns of a linear model: what every charger, roof and battery may do in every step, and what it costs.

Charging ``e``, curtailment ``c`` and batteries are columns from 0 to what is there; net power of a home is what nobody
controls plus their signed sum. The least power of chargers (6 A) is not in here: a bound does without it, and a plan
is repaired afterwards. Two batteries' directions are columns of their own; to use both at once gains nothing that a
bound would have to forbid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy import sparse

from cosim.contract import Complex, Exogenous, Feeder, Float, Int, Predictor
from cosim.controllers.caps.network.box import Limits
from cosim.controllers.caps.network.elements import Elements, source_share
from cosim.controllers.optimum.forms import Form, form_of
from cosim.controllers.solver import Model, Rows
from cosim.errors import Fault

Cars = Literal["free", "neutral", "uncontrolled"]
"""What cars may do: charge whenever they are there; only so that no household pays more for its car than with the
cheapest hours first; nothing but that, the earliest first."""

EV, CUT, CHARGE, DISCHARGE = range(4)
SIGN = np.array([1.0, 1.0, 1.0, -1.0])
_SMALL_KW = 1e-9
_SAME_COST = 1e-9


def faults(feeder: Feeder, objective: str) -> list[Fault]:
    """What of a place the optimum does not know, and what an objective has no meaning without."""
    where, found = "controller 'optimum'", []
    if len(feeder.spurs[0]):
        remedy = "leave ev.single_phase_share and charger_phase out"
        found.append(Fault(where, "charger_phase", "chargers on one phase of several are not modelled", remedy))
    if feeder.network.injectors:
        sources = ", ".join(feeder.network.injectors)
        remedy = "take them out, or make PVSystems roof plants of customers: [pv] from_file = true"
        found.append(Fault(where, "feeder", f"what {sources} of the file feed in is not modelled", remedy))
    if objective == "peak" and not np.isfinite(feeder.transformer_rating_a):
        remedy = "set [grid] transformer, or minimise something else"
        found.append(Fault(where, "objective", "'peak': no rating of a transformer is known", remedy))
    if objective == "unbalance" and not feeder.monitored_branches:
        found.append(Fault(where, "objective", "'unbalance': no branch is monitored", "minimise something else"))
    return found


class Draft:
    """A linear model as it is written: columns with their limits and cost, then rows."""

    def __init__(self) -> None:
        self.rows, self.count = Rows(), 0
        self._limits: list[tuple[Float, Float]] = []
        self._steps: list[Int] = []
        self._cost: list[tuple[Int, Float]] = []
        self.offset = 0.0

    def columns(self, count: int, low: Float | float, high: Float | float, step: Int | int = -1) -> Int:
        """Append columns, of steps where they belong to one; return their numbers."""
        self._limits.append((np.broadcast_to(low, count), np.broadcast_to(high, count)))
        self._steps.append(np.broadcast_to(np.asarray(step), count))
        self.count += count
        return np.arange(self.count - count, self.count)

    @property
    def steps(self) -> Int:
        """Step of every column, -1 where it belongs to none."""
        return np.concatenate(self._steps)

    def cost(self, columns: Int, values: Float | float) -> None:
        """Add to the objective."""
        self._cost.append((columns, np.broadcast_to(np.asarray(values, float), len(columns))))

    def row(self, low: float, high: float, columns: Int, values: Float | float) -> None:
        """Append one row."""
        self.rows.add(1, low, high, (np.zeros(len(columns), np.int64), columns, values))

    def model(self) -> Model:
        """All of it."""
        low, high = (np.concatenate([part[i] for part in self._limits]).astype(float) for i in range(2))
        cost = np.zeros(self.count)
        for columns, values in self._cost:
            np.add.at(cost, columns, values)
        if not self.rows.count:
            self.row(-np.inf, np.inf, np.zeros(1, np.int64), 0.0)
        return self.rows.model(cost, low, high, offset=self.offset)


@dataclass(frozen=True, eq=False)
class Plan:
    """What every device does, shape (step, customer) each [kW]; discharging batteries are negative."""

    ev_kw: Float
    cut_kw: Float
    battery_kw: Float
    unserved_kwh: Float

    @property
    def kw(self) -> Float:
        """What it adds to what nobody controls."""
        return self.ev_kw + self.cut_kw + self.battery_kw


@dataclass(frozen=True, eq=False)
class Day:
    """Everything that is known of a day, on the steps of the run.

    Attributes
    ----------
    feeder, day : Feeder, Exogenous
        Place and day.
    predictor : Predictor
        Power flow of the reduced network.
    cars : str
        See `Cars`.
    """

    feeder: Feeder
    day: Exogenous
    predictor: Predictor
    cars: Cars = "free"

    @cached_property
    def step_h(self) -> float:
        """Length of a step [h]."""
        return self.day.step_min / 60.0

    @cached_property
    def limits(self) -> Limits:
        """Rated conductors, and the band of the feeder's standard at every customer."""
        low, high = (float(pu) for pu in self.feeder.standard.limits_pu(self.feeder.nominal_voltage_v))
        low, high = (0.0, 10.0) if np.isnan(low) else (low, high)
        return Limits(Elements(self.feeder, self.predictor, low), low, high)

    @cached_property
    def sun_kw(self) -> Float:
        """What roofs give without a limit, shape (step, customer) [kW]."""
        return np.minimum(self.day.pv_available_kw, self.day.inverter_kva)

    @cached_property
    def battery(self) -> Any:
        """Batteries that are commanded; None where there are none, or other devices beside them."""
        return self.day.devices["battery"].data if set(self.day.devices) == {"battery"} else None

    @cached_property
    def base_kw(self) -> Float:
        """Net power without cars, curtailment and batteries, shape (step, customer) [kW].

        Devices that are not commanded draw what they are expected to.
        """
        load_kw = self.day.demand_kw if self.battery is not None else self.day.inflexible_load_kw
        return np.asarray(load_kw - self.sun_kw)

    @cached_property
    def source(self) -> Float:
        """Voltage of the source over the file's own, shape (step,)."""
        return source_share(self.feeder, self.day.source_pu)

    @cached_property
    def price(self) -> Float:
        """Of import, shape (step, customer) [EUR/kWh]."""
        return np.broadcast_to(self.day.import_eur_per_kwh, self.base_kw.shape)

    @cached_property
    def session(self) -> tuple[Int, Float]:
        """Which session may charge, -1 where none is there, and for what share of the step; shape (step, customer)."""
        cars, shape = self.day.sessions, self.base_kw.shape
        session, share = np.full(shape, -1, np.int64), np.zeros(shape)
        for row, part in enumerate(cars.share_of_steps(shape[0], self.day.step_min).T):
            column = int(cars.customer[row])
            longer = part > share[:, column]
            session[longer, column], share[longer, column] = row, part[longer]
        return session, share

    @cached_property
    def least_kw(self) -> Float:
        """Least that the present charger draws at any moment, shape (step, customer) [kW]."""
        return np.minimum(self.feeder.charger_min_kw, self.of_car(self.day.sessions.charger_kw, 0.0))

    def of_car(self, values: Float, otherwise: float) -> Float:
        """A property of sessions laid on the steps, shape (step, customer)."""
        return np.asarray(np.append(values, otherwise)[self.session[0]])

    @cached_property
    def room_kw(self) -> Float:
        """Largest mean charging power of a step, shape (step, customer) [kW]."""
        return np.asarray(self.of_car(self.day.sessions.charger_kw, 0.0) * self.session[1])

    @cached_property
    def need_kwh(self) -> Float:
        """What each battery can get at all of what is wanted, shape (session,) [kWh]."""
        cars = self.day.sessions
        possible = np.zeros(len(cars) + 1)
        np.add.at(possible, self.session[0], self.room_kw * self.of_car(cars.efficiency, 1.0) * self.step_h)
        room_kwh = np.minimum(possible[:-1], cars.battery_kwh - cars.soc_arrival_kwh)
        return np.asarray(np.minimum(cars.energy_need_kwh, room_kwh).clip(0.0))

    @cached_property
    def cheapest(self) -> tuple[Float, Float]:
        """Charging of cheapest hours first, (step, customer) [kW], and its cost at the tariff, (session,) [EUR]."""
        ev_kw, cost = np.zeros_like(self.base_kw), np.zeros(len(self.need_kwh))
        for row, need in enumerate(self.need_kwh):
            there = np.flatnonzero(self.session[0][:, who := int(self.day.sessions.customer[row])] == row)
            left = need / self.day.sessions.efficiency[row] / self.step_h
            for step in there[np.argsort(self.price[there, who], kind="stable")]:
                ev_kw[step, who] = min(left, self.room_kw[step, who])
                cost[row] += ev_kw[step, who] * self.price[step, who] * self.step_h
                left -= ev_kw[step, who]
        return ev_kw, cost

    @cached_property
    def columns(self) -> tuple[Int, Int, Int, Float]:
        """Kind, step, customer and upper limit [kW] of every power that can be chosen."""
        room_kw, rated_kw = self.room_kw, np.zeros(len(self.base_kw[0]))
        if self.cars == "uncontrolled":
            room_kw = np.zeros_like(room_kw)
        if self.battery is not None:
            rated_kw = self.battery.rated_kw
        rated_kw = np.broadcast_to(rated_kw, room_kw.shape)
        most_kw = np.stack([room_kw, self.sun_kw, rated_kw, rated_kw])
        kind, step, customer = np.nonzero(most_kw > _SMALL_KW)
        return kind, step, customer, most_kw[kind, step, customer]

    @cached_property
    def signs(self) -> Float:
        """What one kilowatt of every column adds to its home's net power."""
        return np.asarray(SIGN[self.columns[0]])

    @cached_property
    def fixed_kw(self) -> Float:
        """What nobody may choose, shape (step, customer) [kW]."""
        return self.base_kw + (self.cheapest[0] if self.cars == "uncontrolled" else 0.0)

    @cached_property
    def place(self) -> sparse.csr_array:
        """Signed powers of the columns by step and customer, shape (step x customer, column)."""
        kind, step, customer, _ = self.columns
        at = step * self.base_kw.shape[1] + customer
        return sparse.csr_array((SIGN[kind], (at, np.arange(len(at)))), (self.base_kw.size, len(at)))

    def net_kw(self, x: Float) -> Float:
        """Net power of every home, shape (step, customer) [kW]."""
        return np.asarray(self.fixed_kw + (self.place @ x[: len(self.columns[0])]).reshape(self.base_kw.shape))

    def states(self, net_kw: Float) -> Float:
        """Coordinates of the power flow, shape (step, coordinate)."""
        return np.concatenate([net_kw, self.day.demand_kvar, self.source[:, None]], axis=1)

    def flow(self, net_kw: Float) -> tuple[Complex, Complex]:
        """Voltages at ports and currents of conductors, shape (step, port) and (step, conductor)."""
        return self.limits.elements.solve(net_kw, self.day.demand_kvar, self.source)

    def bill_eur(self, net_kw: Float) -> float:
        """What all homes pay together [EUR]."""
        exported = self.day.export_eur_per_kwh * np.minimum(net_kw, 0.0)
        return float((np.maximum(net_kw, 0.0) * self.price + exported).sum() * self.step_h)

    def cut_kwh(self, x: Float) -> float:
        """What powers curtail [kWh]."""
        return float(x[self.columns[0] == CUT].sum() * self.step_h)

    @cached_property
    def of_step(self) -> list[Int]:
        """Columns of every step."""
        step = self.columns[1]
        order = np.argsort(step, kind="stable")
        return np.split(order, np.searchsorted(step[order], np.arange(1, len(self.base_kw))))

    def port_a(self, net_kw: Float, port_v: Complex) -> Complex:
        """Currents drawn at the ports, shape (step, port) [A]."""
        return np.conj(1e3 * self.feeder.at_ports(net_kw + 1j * self.day.demand_kvar) / port_v)

    def parts(self, form: Form, x: Float) -> Complex:
        """Parts of a form by the full power flow, shape (step, part)."""
        net_kw = self.net_kw(x)
        return form.parts(self.port_a(net_kw, self.flow(net_kw)[0]), self.source)

    def form(self, objective: str) -> Form:
        """Convex form of an objective of currents, made once: of losses it takes the eigenvalues of the network."""
        if objective not in self._forms:
            self._forms[objective] = form_of(objective, self.feeder, len(self.base_kw), self.step_h)
        return self._forms[objective]

    @cached_property
    def _forms(self) -> dict[str, Form]:
        return {}

    def begin(self, draft: Draft) -> tuple[Int, Int]:
        """Write columns of powers and unserved energy, and the energy that cars and batteries take; return both."""
        kind, step, customer, high = self.columns
        cars, count = self.day.sessions, len(self.need_kwh)
        x = draft.columns(len(kind), 0.0, high, step)
        unserved = draft.columns(count, 0.0, self.need_kwh)
        if self.cars != "uncontrolled" and count:
            ev = np.flatnonzero(kind == EV)
            whose, there = self.session[0][step[ev], customer[ev]], np.arange(count)
            energy = self.step_h * cars.efficiency[whose]
            draft.rows.add(count, self.need_kwh, self.need_kwh, (whose, x[ev], energy), (there, unserved, 1.0))
            if self.cars == "neutral":
                paid = self.step_h * self.price[step[ev], customer[ev]]
                most = self.cheapest[1] * (1.0 + _SAME_COST) + _SAME_COST
                draft.rows.add(count, -np.inf, most, (whose, x[ev], paid))
        if self.battery is not None:
            self._batteries(draft, x)
        return x, unserved

    def _batteries(self, draft: Draft, x: Int) -> None:
        kind, _, customer, _ = self.columns
        data = self.battery
        steps = len(self.base_kw)
        for who in np.flatnonzero(data.rated_kw > 0.0):
            content = draft.columns(steps, 0.0, data.capacity_kwh[who])
            into = x[(kind == CHARGE) & (customer == who)]
            out = x[(kind == DISCHARGE) & (customer == who)]
            at, start = np.arange(steps), np.zeros(steps)
            start[0] = data.start_kwh[who]
            draft.rows.add(
                steps, start, start, (at, content, 1.0), (at[1:], content[:-1], -1.0),
                (at, into, -self.step_h * data.charge_efficiency[who]),
                (at, out, self.step_h / data.discharge_efficiency[who]),
            )  # fmt: skip
            # one direction at a time, relaxed
            draft.rows.add(steps, -np.inf, data.rated_kw[who], (at, into, 1.0), (at, out, 1.0))

    def bill(self, draft: Draft, x: Int, *, runs: bool = False) -> tuple[Int, Float, float]:
        """Write columns of imported power; return columns, coefficients and constant of the bill [EUR].

        With ``runs`` power below a charger's least costs as much as the pause and the least between which it lies: what
        own sun alone cannot keep running is not worth its price.
        """
        at, which = self.place.nonzero()
        pairs, row = np.unique(at, return_inverse=True)
        net = self.fixed_kw.ravel()
        above = self.price.ravel() - self.day.export_eur_per_kwh
        most = np.zeros(len(pairs))
        rises = SIGN[self.columns[0][which]] > 0
        np.add.at(most, row[rises], self.columns[3][which[rises]])
        imported = draft.columns(len(pairs), 0.0, (net[pairs] + most).clip(0.0), pairs // self.base_kw.shape[1])
        sign = SIGN[self.columns[0][which]]
        draft.rows.add(len(pairs), net[pairs], np.inf, (np.arange(len(pairs)), imported, 1.0), (row, x[which], -sign))
        if runs:
            self._runs(draft, x, dict(zip(pairs.tolist(), imported.tolist(), strict=True)))
        exported = self.step_h * self.day.export_eur_per_kwh
        others = np.setdiff1d(np.arange(net.size), pairs)
        constant = exported * net.sum() + self.step_h * (above[others] * net[others].clip(0.0)).sum()
        columns = np.concatenate([imported, x[which]])
        return columns, np.concatenate([self.step_h * above[pairs], exported * sign]), float(constant)

    @cached_property
    def _short(self) -> tuple[Int, Float]:
        """Columns of cars that own sun alone cannot keep running, and which part of their least they import then."""
        kind, step, customer, _ = self.columns
        stored = np.isin(customer, customer[kind >= CHARGE])
        least_kw, net_kw = (self.least_kw * self.session[1])[step, customer], self.fixed_kw[step, customer]
        short = np.flatnonzero((kind == EV) & ~stored & (net_kw < 0.0) & (net_kw + least_kw > _SMALL_KW))
        return short, (net_kw[short] + least_kw[short]) / least_kw[short]

    @cached_property
    def ends_eur(self) -> float:
        """Most that bills save where every session has one step below the least of its charger, as it ends [EUR]."""
        (short, rate), saved = self._short, np.zeros(len(self.need_kwh))
        _, step, customer, _ = self.columns
        at = step[short], customer[short]
        above = self.price[at] - self.day.export_eur_per_kwh
        np.maximum.at(saved, self.session[0][at], rate * -self.fixed_kw[at] * above.clip(0.0) * self.step_h)
        return float(saved.sum())

    def _runs(self, draft: Draft, x: Int, imported: dict[int, int]) -> None:
        (short, rate), homes = self._short, self.base_kw.shape[1]
        _, step, customer, _ = self.columns
        where = np.array([imported[at] for at in (step * homes + customer)[short]], np.int64)
        count = np.arange(len(short))
        draft.rows.add(len(short), 0.0, np.inf, (count, where, 1.0), (count, x[short], -rate))

    def plan(self, x: Float, unserved_kwh: Float) -> Plan:
        """Return powers of columns as a plan."""
        kind, step, customer, _ = self.columns
        powers = np.zeros((4, *self.base_kw.shape))
        powers[kind, step, customer] = x[: len(kind)]
        ev_kw = self.cheapest[0] if self.cars == "uncontrolled" else powers[EV]
        return Plan(ev_kw, powers[CUT], powers[CHARGE] - powers[DISCHARGE], unserved_kwh)
