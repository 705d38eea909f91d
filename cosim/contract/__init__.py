"""The words of the house: what a feeder, a day, an observation and a setpoint are.

Signs, in this one place: load convention. ``+`` is consumption, ``+`` is import at the meter and at the transformer;
photovoltaic generation is a positive ``pv_kw`` in an array of its own, so ``net = demand + ev - pv``. Reactive power
likewise: ``+`` is consumed; ``pv_kvar`` is what the inverter *consumes*. Arrays are (step, customer) or (step, node) in
the order of the ``Feeder``. A limit of ``inf`` is no limit.
"""

from cosim.contract.day import EvSessions, Exogenous, Forecast
from cosim.contract.place import Connection, Feeder, LoadFact, LoadShape, Survey, TransformerSpec
from cosim.contract.roles import Artifact, BaseController, Controller, Engine, Prediction, Predictor
from cosim.contract.signals import Curve, Decision, LocalCurves, Observation, Setpoints
from cosim.network import Branch, Complex, Float, Int, Network, monitored_currents

__all__ = [
    "Artifact",
    "BaseController",
    "Branch",
    "Complex",
    "Connection",
    "Controller",
    "Curve",
    "Decision",
    "Engine",
    "EvSessions",
    "Exogenous",
    "Feeder",
    "Float",
    "Forecast",
    "Int",
    "LoadFact",
    "LoadShape",
    "LocalCurves",
    "Network",
    "Observation",
    "Prediction",
    "Predictor",
    "Setpoints",
    "Survey",
    "TransformerSpec",
    "monitored_currents",
]
