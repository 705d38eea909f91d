"""Objectives to choose from: values of a batch of candidates, and what they are near one of them. All are minimised.

Where cars wait, an objective of the network is the mean over the period and the rest of the cars' window: what is not
charged now is charged then, so an objective that saw the period alone would push everything into the last hours. Two
operating points are enough for that, because squares make an even spread the best.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from cosim.contract import Complex, Float
from cosim.controllers.pareto.scene import Evaluated, Scene, Slopes
from cosim.measures import neutral_current_a, pui_percent, sequence_components, vuf_percent

_CHARGING_KW = 0.05


@dataclass(frozen=True, eq=False)
class Form:
    """A convex objective near a point: ``sum((offset + slope @ d)²) + linear @ d`` and sums of largest rows.

    Attributes
    ----------
    offset, slope : ndarray, shape (residual,) and (residual, variable)
        Squares; d is the change of the powers.
    linear : ndarray, shape (variable,), or 0
        What is linear.
    largest : tuple of (ndarray, ndarray), shape (row,) and (row, variable)
        Of each pair the largest of ``value + slope @ d`` is added.
    falling : tuple of (int, ndarray, ndarray), shape (break,)
        For single variables: where below a break, falling from above, one kW less costs so much, more with every break.
    """

    offset: Float = field(default_factory=lambda: np.zeros(0))
    slope: Float = field(default_factory=lambda: np.zeros((0, 0)))
    linear: Float | float = 0.0
    largest: tuple[tuple[Float, Float], ...] = ()
    falling: tuple[tuple[int, Float, Float], ...] = ()


def _parts(values: Complex) -> Float:
    return np.stack([values.real, values.imag], axis=-1)


def _sequences(current_a: Complex, scene: Scene) -> Float:
    """Residuals whose squares sum to `unbalance_current`, shape (candidate, residual) [A]; linear in the currents."""
    zero, _, negative = sequence_components(current_a)  # (candidate, point, line)
    weighted = _parts(np.stack([zero, negative], axis=-1)) * np.sqrt(scene.share)[:, None, None, None]
    return np.asarray(weighted.reshape(len(weighted), -1))


def unbalance_current(batch: Evaluated) -> Float:
    """Squared negative- and zero-sequence current, summed over the lines, mean over time, shape (candidate,) [A²]."""
    return np.asarray((_sequences(batch.current_a, batch.scene) ** 2).sum(axis=1))


def _unbalance_form(near: Slopes) -> Form:
    scene = near.at.scene
    return Form(_sequences(near.at.current_a, scene)[0], _sequences(near.current_a, scene).T)


def _neutral(current_a: Complex, scene: Scene) -> Float:
    weighted = _parts(current_a.sum(axis=3)) * np.sqrt(scene.share)[:, None, None]
    return np.asarray(weighted.reshape(len(weighted), -1))


def neutral_current(batch: Evaluated) -> Float:
    """Squared residual current, summed over the lines, mean over time, shape (candidate,) [A²]."""
    return _mean(batch, (neutral_current_a(batch.current_a) ** 2).sum(axis=2))


def _neutral_form(near: Slopes) -> Form:
    scene = near.at.scene
    return Form(_neutral(near.at.current_a, scene)[0], _neutral(near.current_a, scene).T)


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


def losses(batch: Evaluated) -> Float:
    r"""Power lost on the way to the customers, mean over time, shape (candidate,) [kW].

    :math:`\Re\{\bar I^\top Z I\}` over the terminals and the file's own sources: what currents take from the no-load
    voltages. The source's own impedance counts, losses of the unloaded network do not. Exact for a reciprocal network
    whose transfer ratios are real.
    """
    return np.asarray((_lost(batch.drawn_a, batch.lossy, batch.scene) ** 2).sum(axis=1))


def _lost(drawn_a: Complex, lossy: Complex, scene: Scene) -> Float:
    weighted = _parts(drawn_a @ lossy) * np.sqrt(scene.share)[:, None, None]
    return np.asarray(weighted.reshape(len(weighted), -1))


def _losses_form(near: Slopes) -> Form:
    at = near.at
    return Form(_lost(at.drawn_a, at.lossy, at.scene)[0], _lost(near.drawn_a, at.lossy, at.scene).T)


def peak_current(batch: Evaluated) -> Float:
    """Largest phase current of the first watched line, whenever it comes, shape (candidate,) [A]."""
    return np.asarray(np.abs(batch.current_a[:, :, :1]).max(axis=(1, 2, 3), initial=0.0))


def _peak_form(near: Slopes) -> Form:
    current_a = near.at.current_a[0, :, :1]
    slope = along(near.current_a[:, :, :1], current_a).reshape(len(near.kw), -1).T
    return Form(largest=((np.abs(current_a).ravel(), slope),))


def pv_curtailment(batch: Evaluated) -> Float:
    """Energy that is not fed in, shape (candidate,) [kWh]."""
    return np.asarray(_cut_kwh(batch).sum(axis=1))


def _curtailment_form(near: Slopes) -> Form:
    """Of each roof exactly: the highest generation cuts the sunniest steps first."""
    scene, prices = near.at.scene, []
    for row in np.flatnonzero(near.space.roof):
        steps = np.flatnonzero(scene.period == near.space.period[row])
        sun_kw = scene.sun_kw[steps, near.space.customer[row]]
        order = np.argsort(-sun_kw, kind="stable")
        prices.append((int(row), sun_kw[order], np.cumsum(scene.hours[steps][order])))
    return Form(falling=tuple(prices))


def squared_curtailment(batch: Evaluated) -> Float:
    """Squared curtailed power, summed over the roofs, shape (candidate,) [kW²]: many small cuts before one large."""
    return _in_steps(batch, batch.scene.sun_kw - batch.pv_kw)


def ev_shortfall(batch: Evaluated) -> Float:
    """Squared charging that is put off, summed over the cars, shape (candidate,) [kW²]; due energy is kept anyway."""
    return _in_steps(batch, batch.scene.wanted_kw - batch.ev_kw)


def _own_form(kept_back_kw: Float, slope: Float, near: Slopes) -> Form:
    """Squares of what single customers keep back, shapes (step, customer) and (variable, step)."""
    steps, root = near.at.scene.steps, np.sqrt(near.at.scene.step_share)
    customers = kept_back_kw.shape[1]
    spread = np.zeros((len(near.kw), steps, customers))
    spread[np.arange(len(near.kw)), :, near.space.customer] = -slope[:, :steps] * root
    return Form((kept_back_kw[:steps] * root[:, None]).ravel(), spread.reshape(len(near.kw), -1).T)


def _squared_form(near: Slopes) -> Form:
    return _own_form(near.at.scene.sun_kw - near.at.pv_kw[0], near.pv_kw, near)


def _shortfall_form(near: Slopes) -> Form:
    return _own_form(near.at.scene.wanted_kw - near.at.ev_kw[0], near.ev_kw, near)


def cost(batch: Evaluated) -> Float:
    """What all homes pay for import less what they get for export, rest included, shape (candidate,) [EUR]."""
    scene = batch.scene
    paid = batch.net_kw.clip(0.0).sum(axis=2) * scene.tariff_eur_per_kwh
    earned = (-batch.net_kw).clip(0.0).sum(axis=2) * scene.export_eur_per_kwh
    return np.asarray((paid - earned) @ scene.hours)


def _cost_form(near: Slopes) -> Form:
    scene, customer = near.at.scene, near.space.customer
    prices = np.stack([scene.tariff_eur_per_kwh, np.full(len(scene.hours), scene.export_eur_per_kwh)])
    groups = []
    for home in np.unique(customer):
        slope = np.where(customer == home, near.net_kw.T, 0.0)  # (point, variable)
        net_kw, apart = near.at.net_kw[0, :, home], np.abs(slope).any(axis=1)
        for point in np.flatnonzero(apart):
            per_kw = prices[:, point] * scene.hours[point]
            if per_kw[0] < per_kw[1]:  # feeding in pays more than import costs: not convex, so the side it is on
                per_kw = per_kw[int(net_kw[point] < 0.0) :][:1]
            groups.append((per_kw * net_kw[point], per_kw[:, None] * slope[point]))
    return Form(largest=tuple(groups))


def rises_kw(net_kw: Float, scene: Scene, before_kw: float) -> Float:
    """Change of the sum of all from step to step, shape (candidate, change)."""
    total_kw = net_kw[:, : scene.steps]
    first = np.full((len(total_kw), 1), before_kw)
    return np.diff(total_kw if np.isnan(before_kw) else np.concatenate([first, total_kw], axis=1), axis=1)


def ramp(batch: Evaluated) -> Float:
    """Squared change of the net power of all homes from step to step, mean of the changes, shape (candidate,) [kW²]."""
    rises = rises_kw(batch.net_kw.sum(axis=2), batch.scene, batch.scene.before_kw)
    return np.asarray((rises**2).sum(axis=1) / max(rises.shape[1], 1))


def _ramp_form(near: Slopes) -> Form:
    scene = near.at.scene
    now = rises_kw(near.at.net_kw.sum(axis=2), scene, scene.before_kw)[0]
    change = rises_kw(near.net_kw, scene, 0.0 * scene.before_kw)
    root = 1.0 / np.sqrt(max(len(now), 1))
    return Form(root * now, root * change.T)


def curtailment_fairness(batch: Evaluated) -> Float:
    """Variance of the shares of their sun that homes were not let feed in so far, shape (candidate,) [%²]."""
    percent = _cut_percent(batch)
    return np.asarray(percent.var(axis=1)) if percent.shape[1] else np.zeros(len(percent))


def _fairness_form(near: Slopes) -> Form:
    scene, percent = near.at.scene, _cut_percent(near.at)[0]
    homes = np.flatnonzero(_offered_kwh(scene) > 0.0)
    cut_kwh = -near.pv_kw[:, : scene.steps] @ scene.hours[: scene.steps]
    slope = np.where(near.space.customer == homes[:, None], cut_kwh, 0.0) * 100.0 / _offered_kwh(scene)[homes, None]
    root = 1.0 / np.sqrt(max(len(homes), 1))
    return Form(root * (percent - percent.mean()), root * (slope - slope.mean(axis=0)))


def _cut_kwh(batch: Evaluated) -> Float:
    steps = batch.scene.steps
    return np.asarray(
        np.tensordot(
            batch.scene.sun_kw - batch.pv_kw, batch.scene.hours * (np.arange(len(batch.scene.hours)) < steps), (1, 0)
        )
    )


def _offered_kwh(scene: Scene) -> Float:
    return np.asarray(scene.offered_kwh + scene.hours[: scene.steps] @ scene.sun_kw[: scene.steps])


def _cut_percent(batch: Evaluated) -> Float:
    offered_kwh = _offered_kwh(batch.scene)
    homes = offered_kwh > 0.0
    return np.asarray(100.0 * (batch.scene.curtailed_kwh + _cut_kwh(batch))[:, homes] / offered_kwh[homes])


def _mean(batch: Evaluated, values: Float) -> Float:
    """Mean over all points, each by its length; values are (candidate, point)."""
    return np.asarray(values @ batch.scene.share)


def _in_steps(batch: Evaluated, kept_back_kw: Float) -> Float:
    squares = (kept_back_kw[:, : batch.scene.steps] ** 2).sum(axis=2)
    return np.asarray(squares @ batch.scene.step_share)


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


OBJECTIVES: Mapping[str, Objective] = MappingProxyType(
    {
        "unbalance_current": Objective("A²", unbalance_current, "unbalance current, squared", _unbalance_form, "lines"),
        "pv_curtailment": Objective("kWh", pv_curtailment, "PV curtailment", _curtailment_form, "roofs"),
        "squared_curtailment": Objective("kW²", squared_curtailment, "PV curtailment, squared", _squared_form, "roofs"),
        "curtailment_fairness": Objective(
            "%²", curtailment_fairness, "spread of curtailed shares, squared", _fairness_form, "roofs"
        ),
        "neutral_current": Objective("A²", neutral_current, "neutral current, squared", _neutral_form, "lines"),
        "peak_current": Objective("A", peak_current, "largest phase current", _peak_form, "lines"),
        "losses": Objective("kW", losses, "losses", _losses_form),
        "voltage_deviation": Objective("%²", voltage_deviation, "voltage deviation, squared", _voltage_form),
        "ramp": Objective("kW²", ramp, "change from step to step, squared", _ramp_form),
        "cost": Objective("EUR", cost, "cost of energy", _cost_form, signed=True),
        "ev_shortfall": Objective("kW²", ev_shortfall, "charging put off, squared", _shortfall_form, "cars"),
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
