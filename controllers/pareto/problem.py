"""A decision as a pymoo problem, evaluated a population at once on the predictor."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from pymoo.core.problem import Problem

from cosim.contract import Complex, Float
from cosim.controllers.pareto.objectives import OBJECTIVES
from cosim.controllers.pareto.scene import Evaluated, Scene, Space
from cosim.controllers.pareto.surroundings import Surroundings

_HOPELESS = 1e9  # value of a candidate that has no power flow: finite, so that ranking works
_NO_LIMIT = 1e6  # far beyond any voltage and loading, and below the hopeless: no power flow is never within limits
_ROOM = np.array([1e-5, 1e-5])  # beside the least violation: voltages [pu]
_ROOM_LOADING = 1e-4


class DispatchProblem(Problem):  # type: ignore[misc]  # pymoo is not typed
    """Powers of cars and roofs that trade the objectives within the limits of voltage and current.

    It knows nothing of the loop: what is given is in the scene, what can be set in the space.

    Parameters
    ----------
    surroundings : Surroundings
        Feeder, predictor, objectives.
    scene : Scene
        The periods.
    space : Space
        The variables.
    """

    def __init__(self, surroundings: Surroundings, scene: Scene, space: Space) -> None:
        self.around, self.scene, self.space = surroundings, scene, space
        low, high = surroundings.voltage_limits_pu or (-_NO_LIMIT, _NO_LIMIT)
        percent = surroundings.loading_limit_percent
        loading = _NO_LIMIT if percent is None else percent / 100.0
        # all as "at most": the lowest voltage counts negative
        limits = np.array([high, -low, *np.full(len(surroundings.rating_a), loading)])
        self._limits = np.clip(limits, -_NO_LIMIT, _NO_LIMIT)
        super().__init__(
            n_var=space.n_var,
            n_obj=len(surroundings.objectives),
            n_ieq_constr=len(self._limits),
            xl=0.0,
            xu=1.0,
        )

    def with_objectives(self, objectives: tuple[str, ...]) -> DispatchProblem:
        """The same decision and limits for other objectives, which must watch nothing further."""
        twin = DispatchProblem(replace(self.around, objectives=objectives), self.scene, self.space)
        twin._limits = self._limits.copy()
        return twin

    @property
    def limits(self) -> Float:
        """Limits in force: highest and lowest (negative) voltage [pu], loading of every branch."""
        return np.asarray(self._limits.copy())

    def excess(self, quantity: Float) -> Float:
        """How far quantities are above their limits, same shape; negative within them."""
        return np.asarray(quantity - self._limits)

    def relax_what_cannot_be_met(self, tried: Float) -> tuple[str, ...]:
        """Where no candidate tried keeps a limit, ask for the least violation among them instead.

        Parameters
        ----------
        tried : ndarray, shape (candidate, constraint)
            Quantities that the constraints limit, as in the output ``"quantity"`` of an evaluation.

        Returns
        -------
        tuple of str
            Names of the limits that were relaxed.
        """
        least = tried.min(axis=0)
        out_of_reach = least > self._limits
        room = np.concatenate([_ROOM, np.full(len(least) - 2, _ROOM_LOADING)])
        self._limits = np.where(out_of_reach, least + room, self._limits)
        names = ("highest voltage", "lowest voltage", *self.around.branches, *self.around.probe.lines)
        return tuple(name for name, relaxed in zip(names, out_of_reach, strict=True) if relaxed)

    def _evaluate(self, x: Float, out: dict[str, Any], *_: object, **__: object) -> None:
        out["F"], out["quantity"] = self.values(self.space.decode(x))
        out["G"] = self.excess(out["quantity"])

    def values(self, kw: Float) -> tuple[Float, Float]:
        """Objectives (candidate, objective) and limited quantities (candidate, constraint) of powers."""
        batch, loading_a = self.evaluated(kw)
        with np.errstate(invalid="ignore"):
            objectives = np.column_stack([OBJECTIVES[name].of(batch) for name in self.around.objectives])
            quantity = self._quantities(batch, loading_a)
        # no power flow: worse than anything else, but comparable, which nan is not
        return np.nan_to_num(objectives, nan=_HOPELESS), np.nan_to_num(quantity, nan=_HOPELESS)

    def evaluated(self, kw: Float) -> tuple[Evaluated, Complex]:
        """Power flow of every period.

        Parameters
        ----------
        kw : ndarray, shape (candidate, variable)
            Powers.

        Returns
        -------
        batch : Evaluated
            What the objectives see.
        loading_a : ndarray of complex, shape (candidate, period, branch, 3)
            Currents of all branches with a limit.
        """
        scene, around, count = self.scene, self.around, len(kw)
        periods = len(scene.hours)
        ev_kw, pv_kw = self.space.powers(kw)
        net_kw = scene.net_kw + ev_kw - pv_kw
        net_kvar = np.broadcast_to(scene.net_kvar, net_kw.shape)
        flat_kw, flat_kvar = (values.reshape(count * periods, -1) for values in (net_kw, net_kvar))
        found = around.predictor.predict(flat_kw, flat_kvar, scene.source_pu)
        scale = 1.0 if scene.source_pu is None else scene.source_pu / around.network_pu
        power_va = (flat_kw + 1j * flat_kvar)[:, around.port_customer] * around.port_va_per_kw
        drawn_a = np.conjugate(power_va / found.voltage_v)
        current_a = found.current_a
        if around.probe.lines:
            current_a = np.concatenate([current_a, around.probe.line_a(drawn_a, scale)], axis=1)

        def by_period(values: Complex) -> Complex:
            return np.asarray(values.reshape(count, periods, *values.shape[1:]))

        loading_a = by_period(current_a)
        batch = Evaluated(
            scene=scene,
            ev_kw=ev_kw,
            pv_kw=pv_kw,
            net_kw=net_kw,
            voltage_v=by_period(found.voltage_v),
            drawn_a=by_period(drawn_a),
            no_load_v=around.no_load_v * scale,
            current_a=loading_a[:, :, around.monitored],
            bus_v=by_period(around.probe.bus_v(drawn_a, scale)),
            nominal_v=around.nominal_v,
        )
        return batch, loading_a

    def margins(self, batch: Evaluated, loading_a: Complex) -> Float:
        """How far every voltage and every phase current is beyond its limit, shape (candidate, limit) [pu].

        The largest of them are `excess`; each by itself they are smooth.
        """
        controlled, count = self.scene.controlled, len(loading_a)
        voltage_pu = (np.abs(batch.voltage_v[:, :controlled]) / self.around.nominal_v).reshape(count, -1)
        beyond = self._loading(loading_a[:, :controlled]) - self._limits[2:, None]
        rated = np.isfinite(np.column_stack([self.around.rating_a] * 3 + [self.around.neutral_a]))
        loading = beyond[:, :, rated].reshape(count, -1)
        margins = np.hstack([voltage_pu - self._limits[0], -voltage_pu - self._limits[1], loading])
        return margins[:, margins[0] > -_NO_LIMIT / 2.0]

    def _loading(self, current_a: Complex) -> Float:
        """Current over rated current of the three phases and of the neutral, shape (candidate, period, branch, 4)."""
        phases = np.abs(current_a) / self.around.rating_a[:, None]
        neutral = np.abs(current_a.sum(axis=3, keepdims=True)) / self.around.neutral_a[:, None]
        return np.asarray(np.concatenate([phases, neutral], axis=3))

    def _quantities(self, batch: Evaluated, loading_a: Complex) -> Float:
        """What is limited: highest voltage, lowest (negative) [pu], worst phase of every branch over its rating."""
        controlled = self.scene.controlled
        voltage_pu = np.abs(batch.voltage_v[:, :controlled]) / self.around.nominal_v
        loading = self._loading(loading_a[:, :controlled]).max(axis=(1, 3))
        return np.column_stack([voltage_pu.max(axis=(1, 2)), -voltage_pu.min(axis=(1, 2)), loading])
