"""The day: what nobody controls, and what is known of it beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cosim.contract.survey import FrozenArrays
from cosim.contract.thermal import ThermalState
from cosim.network import Complex, Float, Int


@dataclass(frozen=True, eq=False)
class EvSessions(FrozenArrays):
    """Stays of cars at home, one row each, ordered by customer and arrival.

    Attributes
    ----------
    customer : ndarray of int, shape (session,)
        Column of the customer.
    arrival_min, departure_min : ndarray, shape (session,)
        Minutes from the start of the horizon [min].
    energy_need_kwh : ndarray, shape (session,)
        Energy wanted *in the battery* by departure [kWh].
    charger_kw : ndarray, shape (session,)
        Rating on the grid side [kW].
    efficiency : ndarray, shape (session,)
        Battery energy per energy drawn.
    battery_kwh, soc_arrival_kwh : ndarray, shape (session,)
        Capacity, and content on arrival [kWh].
    """

    customer: Int
    arrival_min: Float
    departure_min: Float
    energy_need_kwh: Float
    charger_kw: Float
    efficiency: Float
    battery_kwh: Float
    soc_arrival_kwh: Float

    def __len__(self) -> int:
        return len(self.customer)

    def __getitem__(self, rows: Int | NDArray[np.bool_]) -> EvSessions:
        """Some of the sessions, by their rows or a mask."""
        return EvSessions(*(getattr(self, spec.name)[rows] for spec in fields(self)))

    def share_of_steps(self, steps: int, step_min: float) -> Float:
        """Part of each step in which each car is there, shape (step, session)."""
        edges = np.arange(steps + 1)[:, None] * step_min
        inside = np.minimum(edges[1:], self.departure_min) - np.maximum(edges[:-1], self.arrival_min)
        return np.asarray((inside / step_min).clip(0.0, 1.0))

    @classmethod
    def none(cls) -> EvSessions:
        """No car at all."""
        return cls(np.empty(0, np.int64), *[np.empty(0) for _ in range(7)])


EXPORT_EUR_PER_KWH = 0.05
"""What homes get for export where a scenario says nothing."""

_PER_STEP = (
    "demand_kw", "demand_kvar", "pv_available_kw", "tariff_eur_per_kwh", "ambient_c", "source_pu", "devices_kw",
    "devices_load_kw", "customer_tariff_eur_per_kwh", "others_kva",
)  # fmt: skip


class Units(NamedTuple):
    """All units of one kind of device: its class, a ``cosim.devices.Device``, and the data that it is made of."""

    kind: Any
    data: Any


@dataclass(frozen=True, eq=False)
class Exogenous(FrozenArrays):
    """What nobody controls, on a regular grid of steps.

    Attributes
    ----------
    start : datetime
        Local clock of the first step.
    step_min : float
        Length of a step [min].
    demand_kw, demand_kvar : ndarray, shape (step, customer)
        Household demand without car and roof, mean of the step.
    pv_available_kw : ndarray, shape (step, customer)
        What the roof could give.
    inverter_kva : ndarray, shape (customer,)
        Rating of the inverter; 0 where there is none.
    sessions : EvSessions
        Cars.
    tariff_eur_per_kwh, ambient_c, source_pu : ndarray, shape (step,)
        Price of import, temperature out of doors, voltage of the source (nan: as in the feeder's file). The price is
        that of the homes of no group, where groups of homes have other tariffs.
    devices : mapping of str to Units
        Other devices behind the meters by their kind's name (see `cosim.devices`).
    devices_kw : ndarray, shape (step, customer), or None
        What they are expected to draw together by their own controls, fed in negative; None without any [kW].
    devices_load_kw : ndarray, shape (step, customer), or None
        The same without those that feed in meanwhile, such as a battery beside a heat pump [kW].
    customer_tariff_eur_per_kwh : ndarray, shape (step, customer), or None
        Price of import of every home; None where all have the same.
    others_kva : ndarray of complex, shape (step, source), or None
        P + jQ that the file's own sources (``Network.injectors``) feed in, for who plans; None where nobody says [kVA].
    export_eur_per_kwh : float
        Price that homes get for export [EUR/kWh].
    announced : EvSessions or None
        Departures and needs that drivers announce, session by session; None where they announce the truth.
    thermal_start : mapping of str to ThermalState
        Temperatures with which the transformers of an area begin, by its name; of one that is not there in the steady
        state of their mean load.
    """

    start: datetime
    step_min: float
    demand_kw: Float
    demand_kvar: Float
    pv_available_kw: Float
    inverter_kva: Float
    sessions: EvSessions
    tariff_eur_per_kwh: Float
    ambient_c: Float
    source_pu: Float
    devices: Mapping[str, Units] = field(default_factory=dict)
    devices_kw: Float | None = None
    devices_load_kw: Float | None = None
    customer_tariff_eur_per_kwh: Float | None = None
    others_kva: Complex | None = None
    export_eur_per_kwh: float = EXPORT_EUR_PER_KWH
    announced: EvSessions | None = None
    thermal_start: Mapping[str, ThermalState] = field(default_factory=dict)

    @property
    def import_eur_per_kwh(self) -> Float:
        """Price of import, shape (step, customer), or (step, 1) where all homes have the same [EUR/kWh]."""
        if self.customer_tariff_eur_per_kwh is None:
            return self.tariff_eur_per_kwh[:, None]
        return self.customer_tariff_eur_per_kwh

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.demand_kw)

    @property
    def inflexible_kw(self) -> Float:
        """Net load without cars and without limits, below 0 where PV exceeds it; shape (step, customer) [kW]."""
        return self.inflexible_load_kw - self.pv_available_kw

    @property
    def inflexible_load_kw(self) -> Float:
        """Demand, and what devices other than cars and roofs are expected to draw; shape (step, customer) [kW]."""
        return self.demand_kw if self.devices_kw is None else self.demand_kw + self.devices_kw

    @property
    def times(self) -> list[datetime]:
        """Start of every step."""
        return [self.start + timedelta(minutes=k * self.step_min) for k in range(self.steps)]

    def resample(self, step_min: float) -> Exogenous:
        """Return the same day in longer steps: the power of a step is the mean of its parts.

        Parameters
        ----------
        step_min : float
            A whole multiple of the present step that divides the horizon [min].

        Raises
        ------
        ValueError
            Where it is not.
        """
        every = round(step_min / self.step_min)
        if every < 1 or abs(every * self.step_min - step_min) > 1e-9 or self.steps % every:
            raise ValueError(
                f"step_min={step_min} must be a whole multiple of {self.step_min} that divides "
                f"{self.steps * self.step_min} min"
            )
        if every == 1:
            return self
        whole = self.per_step()
        means: dict[str, Any] = {k: x.reshape(-1, every, *x.shape[1:]).mean(axis=1) for k, x in whole.items()}
        return replace(self, step_min=step_min, **means)

    def first(self, steps: int) -> Exogenous:
        """Return the beginning of the same day; sessions are kept whole."""
        cut: dict[str, Any] = {name: values[:steps] for name, values in self.per_step().items()}
        return replace(self, **cut)

    def per_step(self) -> dict[str, Float | Complex]:
        """Arrays whose rows are steps, by field."""
        return {name: values for name in _PER_STEP if (values := getattr(self, name)) is not None}


@dataclass(frozen=True, eq=False)
class Forecast(FrozenArrays):
    """What a controller is told about the horizon before it begins, and how good that is.

    Attributes
    ----------
    kind : str
        ``oracle`` (perfect foresight), ``persistence`` (yesterday), ``noisy`` (the truth with seeded errors).
    expected : Exogenous
        The day as forecast, on the steps of the run. The tariff is always known.
    """

    kind: str
    expected: Exogenous
