"""Objectives to choose from, each a function of a batch of evaluated candidates. All are minimised.

Where cars wait, an objective of the network is the mean over the period and the rest of the cars' window: what is not
charged now is charged then, so an objective that saw the period alone would push everything into the last hours. Two
operating points are enough for that, because squares make an even spread the best.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from cosim.contract import Float
from cosim.controllers.pareto.scene import Evaluated
from cosim.measures import neutral_current_a, pui_percent, sequence_components, vuf_percent


def sequence_residuals(batch: Evaluated) -> Float:
    """Sequence currents whose squares sum to `unbalance_current`, shape (candidate, residual) [A]."""
    zero, _, negative = sequence_components(batch.current_a)  # (candidate, period, line)
    parts = np.stack([zero.real, zero.imag, negative.real, negative.imag], axis=-1)
    weighted = parts * np.sqrt(batch.scene.share)[None, :, None, None]
    return np.asarray(weighted.reshape(len(weighted), -1))


def unbalance_current(batch: Evaluated) -> Float:
    """Squared negative- and zero-sequence current, summed over the lines, mean over time, shape (candidate,) [A²]."""
    return np.asarray((sequence_residuals(batch) ** 2).sum(axis=1))


def neutral_current(batch: Evaluated) -> Float:
    """Squared residual current, summed over the lines, mean over time, shape (candidate,) [A²]."""
    return _mean(batch, (neutral_current_a(batch.current_a) ** 2).sum(axis=2))


def pui(batch: Evaluated) -> Float:
    """Squared phase unbalance index, summed over the lines, mean over time, shape (candidate,) [%²].

    A ratio of magnitudes that misleads (`cosim.measures.pui_percent`); without current it counts as 0.
    """
    index = pui_percent(np.abs(batch.current_a), 0.0)  # of rating 0: however small the current
    return _mean(batch, (np.nan_to_num(index, nan=0.0) ** 2).sum(axis=2))


def vuf(batch: Evaluated) -> Float:
    """Squared true voltage unbalance factor, mean of the buses and over time, shape (candidate,) [%²]."""
    return _mean(batch, (vuf_percent(batch.bus_v) ** 2).mean(axis=2))


def voltage_deviation(batch: Evaluated) -> Float:
    """Squared distance of the voltages from nominal, mean of the terminals and over time, shape (candidate,) [%²]."""
    percent = 100.0 * (np.abs(batch.voltage_v) / batch.nominal_v - 1.0)
    return _mean(batch, (percent**2).mean(axis=2))


def losses(batch: Evaluated) -> Float:
    r"""Power lost on the way to the customers, mean over time, shape (candidate,) [kW].

    :math:`\sum_p \Re\{(U_{0,p} - U_p)\,\bar I_p\}` over the terminals: what currents take from the no-load voltages.
    The source's own impedance counts, losses of the unloaded network do not. Exact for a reciprocal network whose
    transfer ratios are real.
    """
    lost_va = ((batch.no_load_v - batch.voltage_v) * batch.drawn_a.conj()).sum(axis=2).real
    return _mean(batch, lost_va / 1e3)


def pv_curtailment(batch: Evaluated) -> Float:
    """Squared curtailed power, summed over the roofs, shape (candidate,) [kW²]: many small cuts before one large."""
    return _controlled(batch, batch.scene.sun_kw - batch.pv_kw)


def ev_shortfall(batch: Evaluated) -> Float:
    """Squared charging that is put off, summed over the cars, shape (candidate,) [kW²]; due energy is kept anyway."""
    return _controlled(batch, batch.scene.wanted_kw - batch.ev_kw)


def cost(batch: Evaluated) -> Float:
    """What all homes pay for import less what they get for export, rest included, shape (candidate,) [EUR]."""
    scene = batch.scene
    paid = batch.net_kw.clip(0.0).sum(axis=2) * scene.tariff_eur_per_kwh
    earned = (-batch.net_kw).clip(0.0).sum(axis=2) * scene.export_eur_per_kwh
    return np.asarray((paid - earned) @ scene.hours)


def _mean(batch: Evaluated, values: Float) -> Float:
    """Mean over all periods, each by its length; values are (candidate, period)."""
    return np.asarray(values @ batch.scene.share)


def _controlled(batch: Evaluated, kept_back_kw: Float) -> Float:
    scene = batch.scene
    squares = (kept_back_kw[:, : scene.controlled] ** 2).sum(axis=2)
    return np.asarray(squares @ scene.controlled_share)


@dataclass(frozen=True)
class Objective:
    """A quantity to minimise.

    Attributes
    ----------
    unit : str
        Of its values.
    of : callable
        Values of a batch of candidates.
    about : str
        For people, in a few words.
    needs : str
        What there has to be: ``roofs``, ``cars``, ``buses``, ``lines`` or nothing in particular.
    signed : bool
        Whether values can be below zero, so that zero is no measure of how much was gained.
    """

    unit: str
    of: Callable[[Evaluated], Float]
    about: str
    needs: str = ""
    signed: bool = False


OBJECTIVES: Mapping[str, Objective] = MappingProxyType(
    {
        "unbalance_current": Objective("A²", unbalance_current, "unbalance current, squared", "lines"),
        "pv_curtailment": Objective("kW²", pv_curtailment, "PV curtailment, squared", "roofs"),
        "neutral_current": Objective("A²", neutral_current, "neutral current, squared", "lines"),
        "pui": Objective("%²", pui, "phase unbalance index, squared", "lines"),
        "vuf": Objective("%²", vuf, "voltage unbalance factor, squared", "buses"),
        "voltage_deviation": Objective("%²", voltage_deviation, "voltage deviation, squared"),
        "losses": Objective("kW", losses, "losses"),
        "ev_shortfall": Objective("kW²", ev_shortfall, "charging put off, squared", "cars"),
        "cost": Objective("EUR", cost, "cost of energy", signed=True),
    }
)
"""Objective by name."""

CONVEX_PAIR = ("unbalance_current", "pv_curtailment")
"""Convex quadratics of the powers on a linear network: their front can be computed."""
