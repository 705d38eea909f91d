"""What stands behind a meter beside the household's own demand: one file a kind."""

# "x as x" says that a name is meant for others to import from here.
from cosim.devices.base import Channel as Channel
from cosim.devices.base import Device as Device
from cosim.devices.base import Moment as Moment
from cosim.devices.ev import EvFleet as EvFleet
from cosim.devices.ev import lay_out as lay_out
from cosim.devices.pv import pv_output as pv_output
