"""The words of the house: what a feeder, a day, an observation and a setpoint are.

Signs, in this one place: load convention. ``+`` is consumption, ``+`` is import at the meter and at the transformer;
photovoltaic generation is a positive ``pv_kw`` in an array of its own, so ``net = demand + ev - pv``. Reactive power
likewise: ``+`` is consumed; ``pv_kvar`` is what the inverter *consumes*. Arrays are (step, customer) or (step, node) in
the order of the ``Feeder``. A limit of ``inf`` is no limit.
"""

# "x as x" says that a name is meant for others to import from here.
from cosim.contract.areas import Area as Area
from cosim.contract.areas import Limit as Limit
from cosim.contract.changes import Connection as Connection
from cosim.contract.changes import TransformerSpec as TransformerSpec
from cosim.contract.changes import ZipShares as ZipShares
from cosim.contract.changes import out_of_range as out_of_range
from cosim.contract.day import EXPORT_EUR_PER_KWH as EXPORT_EUR_PER_KWH
from cosim.contract.day import EvSessions as EvSessions
from cosim.contract.day import Exogenous as Exogenous
from cosim.contract.day import Forecast as Forecast
from cosim.contract.day import Units as Units
from cosim.contract.intake import AsIs as AsIs
from cosim.contract.intake import Finding as Finding
from cosim.contract.intake import LineFact as LineFact
from cosim.contract.place import Feeder as Feeder
from cosim.contract.roles import Artifact as Artifact
from cosim.contract.roles import BaseController as BaseController
from cosim.contract.roles import Controller as Controller
from cosim.contract.roles import Engine as Engine
from cosim.contract.roles import Prediction as Prediction
from cosim.contract.roles import Predictor as Predictor
from cosim.contract.signals import Curve as Curve
from cosim.contract.signals import Decision as Decision
from cosim.contract.signals import LocalCurves as LocalCurves
from cosim.contract.signals import Observation as Observation
from cosim.contract.signals import Setpoints as Setpoints
from cosim.contract.survey import PHASES as PHASES
from cosim.contract.survey import LoadFact as LoadFact
from cosim.contract.survey import LoadShape as LoadShape
from cosim.contract.survey import Roof as Roof
from cosim.contract.survey import Survey as Survey
from cosim.contract.thermal import OilTransformer as OilTransformer
from cosim.load_laws import LoadLaws as LoadLaws
from cosim.network import Branch as Branch
from cosim.network import Complex as Complex
from cosim.network import Float as Float
from cosim.network import Int as Int
from cosim.network import Network as Network
from cosim.network import branch_losses_kw as branch_losses_kw
from cosim.network import monitored_currents as monitored_currents
from cosim.standards import ANSI_C84_1 as ANSI_C84_1
from cosim.standards import AS_61000 as AS_61000
from cosim.standards import EN_50160 as EN_50160
from cosim.standards import ESQCR as ESQCR
from cosim.standards import LOW_VOLTAGE_V as LOW_VOLTAGE_V
from cosim.standards import STANDARDS as STANDARDS
from cosim.standards import Standard as Standard
