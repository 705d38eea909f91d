"""The words of the house: what a feeder, a day, an observation and a setpoint are.

Signs, in this one place: load convention. ``+`` is consumption, ``+`` is import at the meter and at the transformer;
photovoltaic generation is a positive ``pv_kw`` in an array of its own, so ``net = demand + ev - pv``. Reactive power
likewise: ``+`` is consumed; ``pv_kvar`` is what the inverter *consumes*. Arrays are (step, customer) or (step, node) in
the order of the ``Feeder``. A limit of ``inf`` is no limit.
"""

from cosim.contract.areas import Area, Limit
from cosim.contract.changes import Connection, TransformerSpec, ZipShares, out_of_range
from cosim.contract.day import EXPORT_EUR_PER_KWH, EvSessions, Exogenous, Forecast, Units
from cosim.contract.intake import AsIs, Finding, LineFact
from cosim.contract.place import Feeder
from cosim.contract.roles import Artifact, BaseController, Controller, Engine, Prediction, Predictor
from cosim.contract.signals import Curve, Decision, LocalCurves, Observation, Setpoints
from cosim.contract.survey import PHASES, LoadFact, LoadShape, Roof, Survey
from cosim.contract.thermal import OilTransformer
from cosim.load_laws import LoadLaws
from cosim.network import Branch, Complex, Float, Int, Network, branch_losses_kw, monitored_currents, terminal_currents
from cosim.standards import ANSI_C84_1, AS_61000, EN_50160, ESQCR, LOW_VOLTAGE_V, STANDARDS, Standard

__all__ = [
    "ANSI_C84_1", "AS_61000", "EN_50160", "ESQCR", "EXPORT_EUR_PER_KWH", "LOW_VOLTAGE_V", "PHASES", "STANDARDS",
    "Area", "Artifact", "AsIs", "BaseController", "Branch", "Complex", "Connection", "Controller", "Curve", "Decision",
    "Engine", "EvSessions", "Exogenous", "Feeder", "Finding", "Float", "Forecast", "Int", "Limit", "LineFact",
    "LoadFact", "LoadLaws", "LoadShape", "LocalCurves", "Network", "Observation", "OilTransformer", "Prediction",
    "Predictor", "Roof", "Setpoints", "Standard", "Survey", "TransformerSpec", "Units", "ZipShares",
    "branch_losses_kw", "monitored_currents", "out_of_range", "terminal_currents",
]  # fmt: skip
