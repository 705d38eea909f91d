"""Devices by name: one line each."""

from __future__ import annotations

from typing import cast

from cosim import plugins
from cosim.devices.base import Device
from cosim.errors import Fault, InputError

REGISTRY: dict[str, str] = {
    "heat_pump": "cosim.devices.heat_pump:HeatPump",
    "battery": "cosim.devices.battery:Battery",
}
"""Name of a scenario's table to ``module:Class``; cars and roofs, which every day has, are not in it."""

GROUP = "cosim.devices"
"""Entry points by which installed packages offer devices."""


def find(name: str) -> type[Device]:
    """Class of a device, by name or target (``my_file.py:MyDevice``); InputError where there is none."""
    if name in REGISTRY:
        return cast("type[Device]", plugins.shipped(REGISTRY[name]))
    kind = plugins.load(plugins.target_for(GROUP, name, "device", REGISTRY), "device")
    if not (isinstance(kind, type) and issubclass(kind, Device)):
        remedy = "derive it from cosim.devices.Device, see docs/devices.md"
        raise InputError(Fault(GROUP, "device", f"'{name}' is no device", remedy))
    return kind
