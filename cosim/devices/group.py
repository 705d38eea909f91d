"""All devices of a feeder: who is there, in which order they answer, and what they draw together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from cosim.collapse import Answer
from cosim.contract import Complex, Exogenous, Feeder, Float, Setpoints
from cosim.devices.base import Device, Moment
from cosim.devices.ev import EvCharger
from cosim.devices.pv import PvInverter
from cosim.errors import CosimError, DeviceError, PowerFlowError, kind_and_text

if TYPE_CHECKING:
    from cosim.contract.signals import Bool
    from cosim.households import Households

_CURVE_TOLERANCE_KW = 0.01
CURVE_ITERATIONS = 200
"""Power flows in which local curves and the voltages that they cause have to agree."""


class DeviceGroup:
    """Every device of a feeder on one day.

    Parameters
    ----------
    feeder : Feeder
        The place.
    day : Exogenous
        On the steps of the run.
    homes : Households or None
        Who chooses the charging of cars; without, neither cars nor roofs take part.

    Attributes
    ----------
    devices : tuple of Device
        In the order of their powers: cars, roofs, then those of ``day.devices``.
    passive : bool
        No car, no sun and no other device: nothing answers setpoints.
    """

    def __init__(self, feeder: Feeder, day: Exogenous, homes: Households | None) -> None:
        own: list[Device] = [EvCharger(homes, feeder, day), PvInverter(None, feeder, day)] if homes else []
        self.devices = (*own, *(kind(data, feeder, day) for kind, data in day.devices.values()))
        self.passive = not day.devices and len(day.sessions) == 0 and not day.pv_available_kw.any()
        self._first_other = len(own)
        self._shape = (2, len(self.devices), len(feeder.customers))
        turns = sorted(range(len(self.devices)), key=lambda row: self.devices[row].turn)
        supports = [row for row in turns if type(self.devices[row]).support_kw is not Device.support_kw]
        self._turns = [
            (row, [self.devices[later] for later in turns[place + 1 :] if later in supports])
            for place, row in enumerate(turns)
        ]

    def none(self) -> Float:
        """No power of any device, shape (2, device, customer) [kW, kvar]."""
        return np.zeros(self._shape)

    def begin(self, step: int, setpoints: Setpoints) -> None:
        """Prepare a step."""
        for device in self.devices:
            with _Blamed(device, "begin()"):
                device.begin(step, setpoints)

    def answer(
        self,
        step: int,
        setpoints: Setpoints,
        demand_kw: Float,
        voltage_v: Float,
        obeys: Bool,
        charger_v: Float | None = None,
    ) -> Float:
        """What all devices draw under setpoints, at voltages; changes nothing.

        Parameters
        ----------
        step : int
            Which.
        setpoints : Setpoints
            In force.
        demand_kw, voltage_v : ndarray, shape (customer,)
            Of the homes without devices; at the terminals, in volts of the feeder's nominal voltage.
        obeys : ndarray of bool, shape (customer,)
            Homes that keep caps on import and export.
        charger_v : ndarray, shape (customer,), optional
            As `voltage_v`, where chargers feel another.

        Returns
        -------
        ndarray, shape (2, device, customer)
            Drawn power [kW] and [kvar].

        Raises
        ------
        DeviceError
            Where a device raises, or answers with something else than one number a customer.
        """
        powers, net_kw = self.none(), demand_kw
        headroom_kw = np.where(obeys, setpoints.import_cap_kw - demand_kw, np.inf)
        for row, helpers in self._turns:
            felt_v = charger_v if charger_v is not None and isinstance(self.devices[row], EvCharger) else voltage_v
            moment = Moment(step, setpoints, felt_v, net_kw, headroom_kw)
            if helpers:
                support_kw = sum((device.support_kw(moment) for device in helpers), np.zeros_like(net_kw))
                moment = Moment(step, setpoints, felt_v, net_kw, headroom_kw, support_kw)
            with _Blamed(self.devices[row], "power()"):
                powers[0, row], powers[1, row] = self.devices[row].power(moment)
            if row >= self._first_other and not np.isfinite(powers[:, row]).all():
                customer = np.flatnonzero(~np.isfinite(powers[:, row]).all(axis=0))[0]
                raise DeviceError(f"device '{self.devices[row].name}': power() is not finite at customer {customer}")
            net_kw, headroom_kw = net_kw + powers[0, row], headroom_kw - powers[0, row]
        if setpoints.export_cap_kw is not None:
            # what answered last gives way first: a battery stops feeding in before a roof does
            beyond_kw = np.where(obeys, (-setpoints.export_cap_kw - net_kw).clip(0.0), 0.0)
            for row, _ in reversed(self._turns):
                less_kw = np.minimum(beyond_kw, (-powers[0, row]).clip(0.0))
                powers[0, row], beyond_kw = powers[0, row] + less_kw, beyond_kw - less_kw
        return powers

    def advance(self, step: int, powers: Float) -> None:
        """Let a step pass in which these powers were drawn, shape (2, device, customer)."""
        for device, kw, kvar in zip(self.devices, powers[0], powers[1], strict=True):
            with _Blamed(device, "advance()"):
                device.advance(step, kw, kvar)

    def observe(self) -> dict[str, Float]:
        """Readings of all devices, by channel."""
        return {name: values for device in self.devices for name, values in device.observe().items()}

    def nameplate(self) -> dict[str, Float]:
        """What is known of all units, by name."""
        return {name: values for device in self.devices for name, values in device.nameplate().items()}


class _Blamed:
    """Names the device of whatever is raised inside that is none of the product's own errors; made for every step."""

    __slots__ = ("device", "door")

    def __init__(self, device: Device, door: str) -> None:
        self.device, self.door = device, door

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, CosimError):
            raise DeviceError(f"device '{self.device.name}': {self.door} raised {kind_and_text(error)}") from error


def own_kw(feeder: Feeder, day: Exogenous) -> tuple[Float, Float]:
    """What the devices of ``day.devices`` draw by their own controls, and without those that feed in meanwhile.

    Shape (step, customer) each [kW]. Beside demand and the whole sun, without cars, at nominal voltage: what a
    controller that does not command them has to expect.
    """
    group, free = DeviceGroup(feeder, day, None), Setpoints.free(len(feeder.customers))
    net_kw = day.demand_kw - np.minimum(day.pv_available_kw, day.inverter_kva)
    nominal_v, obeys = (
        np.full(len(feeder.customers), feeder.nominal_voltage_v),
        np.ones(len(feeder.customers), dtype=bool),
    )
    drawn_kw, load_kw = np.empty_like(net_kw), np.empty_like(net_kw)
    for step in range(day.steps):
        group.begin(step, free)
        powers = group.answer(step, free, net_kw[step], nominal_v, obeys)
        group.advance(step, powers)
        drawn_kw[step], load_kw[step] = powers[0].sum(axis=0), powers[0].clip(0.0).sum(axis=0)
    return drawn_kw, load_kw


def settled(
    answer: Callable[[Complex | None], Float],
    solve: Callable[[Float], Complex],
    last_voltage: Complex | None,
) -> Answer:
    """Find powers that are the devices' own answer to the voltages that they cause, by a damped fixed point.

    Every power moves a part of the way to that answer. Its part is halved whenever it overshot and grows while it
    keeps its direction, so each device finds the pace that its place bears: with one pace for all, a steep curve
    on a weak feeder hunts for ever. All powers on the way lie between answers, so none is more than is possible.
    """
    powers = answer(last_voltage)
    part, last_gap = np.full(powers.shape, 0.5), np.zeros(powers.shape)
    for attempt in range(CURVE_ITERATIONS):
        try:
            voltage = solve(powers)
        except PowerFlowError:
            # The feeder cannot carry what the devices would start with; what they settle at may be far less.
            # Where they draw nothing any more, it is not they.
            if attempt > CURVE_ITERATIONS // 2 or np.abs(powers).max() <= _CURVE_TOLERANCE_KW:
                raise
            powers, part = powers / 2.0, part / 2.0
            continue
        # what is recorded are the powers that this voltage was solved with, not the next guess
        applied, gap = powers, answer(voltage) - powers
        distance_kw = float(np.abs(gap).max())
        if distance_kw <= _CURVE_TOLERANCE_KW:
            distance_kw = 0.0
            break
        part = np.where(gap * last_gap < 0.0, part / 2.0, np.minimum(part * 1.2, 1.0))
        powers, last_gap = powers + part * gap, gap
    return Answer(voltage, applied, distance_kw)
