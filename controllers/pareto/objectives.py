"""Objectives to choose from: values of a batch of candidates, and what they are near one of them. All are minimised.

Where cars wait, an objective of the network is the mean over the period and the rest of the cars' window: what is not
charged now is charged then, so an objective that saw the period alone would push everything into the last hours. Two
operating points are enough for that, because squares make an even spread the best.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from cosim.contract import Complex, Float
from cosim.controllers.pareto.scene import Evaluated, Scene, Slopes
from cosim.measures import pui_percent, sequence_components, vuf_percent

_CHARGING_KW = 0.05


@dataclass(frozen=True, eq=False)
class Form:
    """A convex objective near a point: ``sum((offset + slope @ d)²)`` and sums of largest rows.

    Attributes
    ----------
    offset, slope : ndarray, shape (residual,) and (residual, variable)
        Squares; d is the change of the powers.
    largest : tuple of (ndarray, ndarray), shape (row,) and (row, variable)
        Of each pair the largest of ``value + slope @ d`` is added.
    falling : tuple of (int, ndarray, ndarray), shape (break,)
        For single variables: where below a break, falling from above, one kW less costs so much, more with every break.
    """

    offset: Float = field(default_factory=lambda: np.zeros(0))
    slope: Float = field(default_factory=lambda: np.zeros((0, 0)))
    largest: tuple[tuple[Float, Float], ...] = ()
    falling: tuple[tuple[int, Float, Float], ...] = ()


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
    form : callable or None
        What it is near a candidate; None where it is not convex on a linear network.
    needs : str
        What there has to be: ``roofs``, ``cars``, ``buses``, ``lines`` or nothing in particular.
    signed : bool
        Whether values can be below zero, so that zero is no measure of how much was gained.
    """

    unit: str
    of: Callable[[Evaluated], Float]
    about: str
    form: Callable[[Slopes], Form] | None = None
    needs: str = ""
    signed: bool = False


States = Evaluated | Slopes
"""Arrays of the same names and shapes: of candidates, or of what one kW more of each variable changes."""


def _squares(
    residuals: Callable[[States, Evaluated, float], Float], unit: str, about: str, needs: str = ""
) -> Objective:
    """Make an objective of residuals that are linear in the powers, squared and summed.

    They are told of which states, where (scene), and by what constants count: 1 of candidates, 0 of changes.
    """

    def of(batch: Evaluated) -> Float:
        return np.asarray((residuals(batch, batch, 1.0) ** 2).sum(axis=1))

    def form(near: Slopes) -> Form:
        return Form(residuals(near.at, near.at, 1.0)[0], residuals(near, near.at, 0.0).T)

    return Objective(unit, of, about, form, needs)


def _over_time(values: Any, share: Float) -> Float:
    """Flat, and so weighted that squares sum to their mean over time; (state, point, ...) to (state, residual)."""
    parts: Float = np.stack([values.real, values.imag], axis=-1) if np.iscomplexobj(values) else values.real
    weighted: Float = parts * np.sqrt(share).reshape(-1, *[1] * (parts.ndim - 2))
    return np.asarray(weighted.reshape(len(values), -1))


def _unbalance_current(x: States, at: Evaluated, _: float) -> Float:
    """Negative- and zero-sequence currents of the lines, mean over time [A]."""
    zero, _positive, negative = sequence_components(x.current_a)
    return _over_time(np.stack([zero, negative], axis=-1), at.scene.share)


def _neutral_current(x: States, at: Evaluated, _: float) -> Float:
    """Residual currents of the lines, mean over time [A]."""
    return _over_time(x.current_a.sum(axis=3), at.scene.share)


def _losses(x: States, at: Evaluated, _: float) -> Float:
    r"""What is lost on the way to the customers, mean over time [√kW].

    :math:`\Re\{\bar I^\top Z I\}` over the terminals and the file's own sources: what currents take from the no-load
    voltages. The source's own impedance counts, losses of the unloaded network do not. Exact for a reciprocal network
    whose transfer ratios are real.
    """
    return _over_time(x.drawn_a @ at.lossy, at.scene.share)


def _squared_curtailment(x: States, at: Evaluated, fixed: float) -> Float:
    """Curtailed power of every roof [kW]: many small cuts before one large."""
    steps = at.scene.steps
    return _over_time((fixed * at.scene.sun_kw - x.pv_kw)[:, :steps], at.scene.step_share)


def _ev_shortfall(x: States, at: Evaluated, fixed: float) -> Float:
    """Charging that is put off, of every car [kW]; due energy is kept anyway."""
    steps = at.scene.steps
    return _over_time((fixed * at.scene.wanted_kw - x.ev_kw)[:, :steps], at.scene.step_share)


def rises_kw(net_kw: Float, scene: Scene, fixed: float = 1.0) -> Float:
    """Change of the net power of all from step to step, shape (state, change); net_kw is (state, point, customer)."""
    total_kw = net_kw.sum(axis=2)[:, : scene.steps]
    first = np.full((len(total_kw), 1), fixed * scene.before_kw)
    return np.diff(total_kw if np.isnan(scene.before_kw) else np.concatenate([first, total_kw], axis=1), axis=1)


def _ramp(x: States, at: Evaluated, fixed: float) -> Float:
    """Change of the net power of all homes from step to step, mean of the changes [kW]."""
    rises = rises_kw(x.net_kw, at.scene, fixed)
    return np.asarray(rises / np.sqrt(max(rises.shape[1], 1)))


def _curtailment_fairness(x: States, at: Evaluated, fixed: float) -> Float:
    """Shares of their sun that homes were not let feed in so far, less their mean [%]."""
    scene = at.scene
    offered_kwh = scene.offered_kwh + scene.hours[: scene.steps] @ scene.sun_kw[: scene.steps]
    homes = offered_kwh > 0.0
    cut_kwh = fixed * scene.curtailed_kwh + _cut_kwh(x, scene, fixed)
    percent = 100.0 * cut_kwh[:, homes] / offered_kwh[homes]
    return np.asarray(
        (percent - percent.sum(axis=1, keepdims=True) / max(homes.sum(), 1)) / np.sqrt(max(homes.sum(), 1))
    )


def _cut_kwh(x: States, scene: Scene, fixed: float = 1.0) -> Float:
    """Energy that is not fed in, shape (state, customer)."""
    steps = scene.steps
    return np.asarray(np.tensordot((fixed * scene.sun_kw - x.pv_kw)[:, :steps], scene.hours[:steps], (1, 0)))


def pui(batch: Evaluated) -> Float:
    """Squared phase unbalance index, summed over the lines, mean over time, shape (candidate,) [%²].

    A ratio of magnitudes that misleads (`cosim.measures.pui_percent`); without current it counts as 0.
    """
    index = pui_percent(np.abs(batch.current_a), 0.0)  # of rating 0: however small the current
    return _mean(batch, (np.nan_to_num(index, nan=0.0) ** 2).sum(axis=2))


def vuf(batch: Evaluated) -> Float:
    """Squared true voltage unbalance factor, mean of the buses and over time, shape (candidate,) [%²]."""
    return _mean(batch, (vuf_percent(batch.bus_v) ** 2).mean(axis=2))


def switchings(batch: Evaluated) -> Float:
    """Charges that begin or pause from one step to the next, shape (candidate,); the step before counts."""
    steps = batch.scene.steps
    on = batch.ev_kw[:, :steps] > _CHARGING_KW
    before = np.broadcast_to(batch.scene.charging, on[:, :1].shape)
    return np.asarray((np.diff(np.concatenate([before, on], axis=1), axis=1) != 0).sum(axis=(1, 2)), float)


def voltage_deviation(batch: Evaluated) -> Float:
    """Squared distance of the voltages from nominal, mean of the terminals and over time, shape (candidate,) [%²]."""
    percent = 100.0 * (np.abs(batch.voltage_v) / batch.nominal_v - 1.0)
    return _mean(batch, (percent**2).mean(axis=2))


def _voltage_form(near: Slopes) -> Form:
    at = near.at
    root = 100.0 * np.sqrt(at.scene.share / at.voltage_v.shape[2])[:, None] / at.nominal_v
    offset = root * (np.abs(at.voltage_v[0]) - at.nominal_v)
    return Form(offset.ravel(), (root * along(near.voltage_v, at.voltage_v[0])).reshape(len(near.kw), -1).T)


def along(change: Complex, phasor: Complex) -> Float:
    """Change of a magnitude that a change of the phasor makes, to first order."""
    size = np.abs(phasor)
    return np.asarray((change * phasor.conj()).real / np.where(size > 0.0, size, 1.0))


def peak_current(batch: Evaluated) -> Float:
    """Largest phase current of the first watched line, whenever it comes, shape (candidate,) [A]."""
    return np.asarray(np.abs(batch.current_a[:, :, :1]).max(axis=(1, 2, 3), initial=0.0))


def _peak_form(near: Slopes) -> Form:
    current_a = near.at.current_a[0, :, :1]
    slope = along(near.current_a[:, :, :1], current_a).reshape(len(near.kw), -1).T
    return Form(largest=((np.abs(current_a).ravel(), slope),))


def pv_curtailment(batch: Evaluated) -> Float:
    """Energy that is not fed in, shape (candidate,) [kWh]."""
    return np.asarray(_cut_kwh(batch, batch.scene).sum(axis=1))


def _curtailment_form(near: Slopes) -> Form:
    """Of each roof exactly: the highest generation cuts the sunniest steps first."""
    scene, prices = near.at.scene, []
    for row in np.flatnonzero(near.space.roof):
        steps = np.flatnonzero(scene.period == near.space.period[row])
        sun_kw = scene.sun_kw[steps, near.space.customer[row]]
        order = np.argsort(-sun_kw, kind="stable")
        prices.append((int(row), sun_kw[order], np.cumsum(scene.hours[steps][order])))
    return Form(falling=tuple(prices))


def cost(batch: Evaluated) -> Float:
    """What all homes pay for import less what they get for export, rest included, shape (candidate,) [EUR]."""
    scene = batch.scene
    paid = batch.net_kw.clip(0.0).sum(axis=2) * scene.tariff_eur_per_kwh
    earned = (-batch.net_kw).clip(0.0).sum(axis=2) * scene.export_eur_per_kwh
    return np.asarray((paid - earned) @ scene.hours)


def _cost_form(near: Slopes) -> Form:
    scene = near.at.scene
    prices = np.stack([scene.tariff_eur_per_kwh, np.full(len(scene.hours), scene.export_eur_per_kwh)])
    groups = []
    for home in np.unique(near.space.customer):
        slope = near.net_kw[:, :, home].T
        net_kw, apart = near.at.net_kw[0, :, home], np.abs(slope).any(axis=1)
        for point in np.flatnonzero(apart):
            per_kw = prices[:, point] * scene.hours[point]
            if per_kw[0] < per_kw[1]:  # feeding in pays more than import costs: not convex, so the side it is on
                per_kw = per_kw[int(net_kw[point] < 0.0) :][:1]
            groups.append((per_kw * net_kw[point], per_kw[:, None] * slope[point]))
    return Form(largest=tuple(groups))


def _mean(batch: Evaluated, values: Float) -> Float:
    """Mean over all points, each by its length; values are (candidate, point)."""
    return np.asarray(values @ batch.scene.share)


OBJECTIVES: Mapping[str, Objective] = MappingProxyType(
    {
        "unbalance_current": _squares(_unbalance_current, "A²", "unbalance current, squared", "lines"),
        "pv_curtailment": Objective("kWh", pv_curtailment, "PV curtailment", _curtailment_form, "roofs"),
        "squared_curtailment": _squares(_squared_curtailment, "kW²", "PV curtailment, squared", "roofs"),
        "curtailment_fairness": _squares(_curtailment_fairness, "%²", "spread of curtailed shares, squared", "roofs"),
        "neutral_current": _squares(_neutral_current, "A²", "neutral current, squared", "lines"),
        "peak_current": Objective("A", peak_current, "largest phase current", _peak_form, "lines"),
        "losses": _squares(_losses, "kW", "losses"),
        "voltage_deviation": Objective("%²", voltage_deviation, "voltage deviation, squared", _voltage_form),
        "ramp": _squares(_ramp, "kW²", "change from step to step, squared"),
        "cost": Objective("EUR", cost, "cost of energy", _cost_form, signed=True),
        "ev_shortfall": _squares(_ev_shortfall, "kW²", "charging put off, squared", "cars"),
        "switchings": Objective("1", switchings, "charges begun and paused", needs="cars"),
        "pui": Objective("%²", pui, "phase unbalance index, squared", needs="lines"),
        "vuf": Objective("%²", vuf, "voltage unbalance factor, squared", needs="buses"),
    }
)
"""Objective by name."""

DEFAULT = ("unbalance_current", "pv_curtailment")
"""What is traded where nothing else is asked for."""


def are_convex(names: tuple[str, ...]) -> bool:
    """Whether all of some objectives are convex on a linear network."""
    return all(OBJECTIVES[name].form is not None for name in names if name in OBJECTIVES)
