"""Who plays: controller, predictor and engine, as protocols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, Union, runtime_checkable

from cosim.contract.day import Exogenous, Forecast
from cosim.contract.place import Feeder
from cosim.contract.signals import Observation, Setpoints
from cosim.errors import Fault
from cosim.network import Complex, Float

if TYPE_CHECKING:  # nobody who imports cosim waits for pandas
    import pandas as pd
    from _typeshed import DataclassInstance

Artifact: TypeAlias = Union["pd.DataFrame", Mapping[str, Any], "DataclassInstance"]
"""A table, as a DataFrame or as columns of one length by name; nested plain data; a record for who knows its class."""


@runtime_checkable
class Controller(Protocol):
    """A decision maker: what every one must have. `BaseController` says what it may have, with defaults."""

    def plan(self, forecast: Forecast) -> None:
        """Prepare the horizon; called once, before the first step."""
        ...

    def decide(self, observation: Observation) -> Setpoints:
        """Answer the last observation with setpoints that act in the step that begins."""
        ...


class BaseController:
    """Defaults of everything but ``decide``; a controller may inherit from it, or simply have the parts it needs.

    Attributes
    ----------
    every_step : bool
        Whether it is called at every step, not only at control steps.
    sees : {"grid", "homes", "nothing"}
        What its decisions follow: voltages and currents too; homes and their devices only; or nothing after ``plan``,
        and its first answer holds. Where they do not follow the grid an engine may solve all steps at once: voltages
        and currents are then shown as nan, and it is planned and asked anew where a step has no power flow.
    """

    every_step: bool = False
    sees: Literal["grid", "homes", "nothing"] = "grid"

    @staticmethod
    def option_faults(options: Mapping[str, Any]) -> list[Fault]:  # noqa: ARG004 - the protocol's signature
        """What is wrong with values of options, as far as it can be told without a place.

        Parameters
        ----------
        options : mapping
            Those that were given, of the right types.
        """
        return []

    def check(self, feeder: Feeder, day: Exogenous) -> list[Fault]:  # noqa: ARG002 - the protocol's signature
        """What is wrong with a place and the day that will be told; asked before any run of the scenario begins."""
        return []

    def plan(self, forecast: Forecast) -> None:
        """Prepare the horizon: nothing."""

    def artifacts(self) -> Mapping[str, Artifact]:
        """What a run leaves behind beside its trajectory, asked once, after the last step.

        Returns
        -------
        mapping of str to DataFrame, columns by name, nested plain data, or dataclass
            Written as ``trajectories/<label>/<name>.parquet``, or ``.json`` where it is no table; a dataclass is kept
            in the trajectory only. Figures and measures read ``front``, ``reference`` and ``certificates`` where they
            are there, see `cosim.artifacts`.
        """
        return {}


class Predictor(Protocol):
    """Predicts voltages and currents for candidates; handed to controllers that need one."""

    def predict(self, p_kw: Float, q_kvar: Float, source_pu: float | Float | None = None) -> Prediction:
        """Solve a batch of candidates.

        Parameters
        ----------
        p_kw, q_kvar : ndarray, shape (candidate, customer)
            Net consumption of every customer.
        source_pu : float or ndarray of shape (candidate,), optional
            Source voltage; the network's own where not given or nan.
        """
        ...


@dataclass(frozen=True, eq=False)
class Prediction:
    """Answer of a predictor; a candidate without a solution is nan throughout.

    Attributes
    ----------
    voltage_v : ndarray of complex, shape (candidate, customer node)
        Phase-to-neutral voltages at the customers, customer by customer, phase by phase [V].
    current_a : ndarray of complex, shape (candidate, branch, 3)
        Currents of the watched branches towards the customers [A].
    branches : tuple of str
        Names of the watched branches.
    """

    voltage_v: Complex
    current_a: Complex
    branches: tuple[str, ...]


class Engine(Protocol):
    """A power flow: net powers in, node voltages out."""

    name: str

    def solve(self, p_kw: Float, q_kvar: Float, source_pu: float) -> Complex:
        """Return all node voltages [V], valid until the next call; PowerFlowError where there is no solution.

        Powers are of shape (customer,), all at constant power; of a feeder with ``load_laws`` (2 · customer,): first
        what the loads draw at rated voltage, then what is drawn beside them at constant power. Last come chargers on
        one phase of homes with several, where there are any (see `Feeder.at_loads`).
        """
        ...
