"""A decision in numbers: objectives and limits of candidates on the predictor, and what they are near one of them."""

from __future__ import annotations

import numpy as np

from cosim.contract import Complex, Float
from cosim.contract.signals import Bool
from cosim.controllers.pareto.objectives import OBJECTIVES, rises_kw
from cosim.controllers.pareto.scene import Evaluated, Scene, Slopes, Space
from cosim.controllers.pareto.surroundings import Surroundings

HOPELESS = 1e9
"""Value of a candidate that has no power flow: finite, so that ranking works."""

STEP_KW = 0.05  # of difference quotients


class DispatchProblem:
    """Powers of cars and roofs that trade the objectives, within the limits of voltage and current at every step.

    It knows nothing of the loop: what is given is in the scene, what can be set in the space.

    Parameters
    ----------
    surroundings : Surroundings
        Feeder, predictor, objectives.
    scene : Scene
        The steps.
    space : Space
        The variables.

    Attributes
    ----------
    allowed : ndarray, shape (limit,)
        How far each limit may be exceeded [pu]: 0, or what is least where it cannot be kept.
    """

    def __init__(self, surroundings: Surroundings, scene: Scene, space: Space) -> None:
        self.around, self.scene, self.space = surroundings, scene, space
        ratings = np.column_stack([surroundings.rating_a] * 3 + [surroundings.neutral_a])
        self._most_a = ratings * surroundings.loading_limit_percent / 100.0
        self._rated: Bool = np.isfinite(self._most_a)
        self._low_pu, self._high_pu = surroundings.low_pu, surroundings.high_pu
        self._ramp_kw = surroundings.max_ramp_kw
        #: how many limits of ramps there are, the last of all
        self._ramps = 2 * (scene.steps - int(np.isnan(scene.before_kw))) if np.isfinite(self._ramp_kw) else 0
        self.allowed: Float = np.zeros(len(self.places))

    @property
    def places(self) -> list[tuple[int, str]]:
        """Step and name of every limit, in the order of `margins`."""
        names = [
            f"{side} voltage of {home}" for side, there in self._sides() if there for home in self.around.terminals
        ]
        branches = [name for row, name in enumerate(self.around.branches) for rated in self._rated[row] if rated]
        names += [f"current of {name}" for name in branches]
        places = [(step, name) for step in range(self.scene.steps) for name in names]
        changes = range(self.scene.steps - self._ramps // 2, self.scene.steps)
        return places + 2 * [(step, "ramp of all homes") for step in changes]

    def _sides(self) -> tuple[tuple[str, bool], ...]:
        return (("highest", np.isfinite(self._high_pu)), ("lowest", self._low_pu > 0.0))

    def evaluated(self, kw: Float) -> Evaluated:
        """Power flow at every point; powers are (candidate, variable) [kW]."""
        return self.solved(*self.space.powers(kw))

    def solved(self, ev_kw: Float, pv_kw: Float) -> Evaluated:
        """The same of charging and generation, each of shape (candidate, point, customer) [kW]."""
        scene, around, (count, points) = self.scene, self.around, ev_kw.shape[:2]
        net_kw = scene.net_kw + ev_kw - pv_kw
        flat_kw, flat_kvar = (
            values.reshape(count * points, -1) for values in (net_kw, np.broadcast_to(scene.net_kvar, net_kw.shape))
        )
        others_kva = None if scene.others_kva is None else np.tile(scene.others_kva, (count, 1))
        found = around.predictor.predict(flat_kw, flat_kvar, np.tile(scene.source_pu, count), others_kva)
        pu = np.where(np.isnan(scene.source_pu), around.network_pu, scene.source_pu)
        scale = np.tile(pu / around.network_pu, count)[:, None]
        power_va = (flat_kw + 1j * flat_kvar)[:, around.port_customer] * around.port_va_per_kw
        drawn_a = np.conjugate(power_va / found.voltage_v)
        if found.source_a.size:
            drawn_a = np.hstack([drawn_a, found.source_a])

        def by_point(values: Complex) -> Complex:
            return np.asarray(values.reshape(count, points, *values.shape[1:]))

        loading_a = by_point(found.current_a)
        return Evaluated(
            scene=scene,
            ev_kw=ev_kw,
            pv_kw=pv_kw,
            net_kw=net_kw,
            voltage_v=by_point(found.voltage_v),
            drawn_a=by_point(drawn_a),
            lossy=around.lossy,
            current_a=loading_a[:, :, around.monitored],
            loading_a=loading_a,
            bus_v=by_point((around.bus_no_load_v * scale - drawn_a @ around.to_buses).reshape(len(flat_kw), -1, 3)),
            nominal_v=around.nominal_v,
        )

    def values(self, batch: Evaluated) -> Float:
        """Objectives, shape (candidate, objective)."""
        with np.errstate(invalid="ignore"):
            found = np.column_stack([OBJECTIVES[name].of(batch) for name in self.around.objectives])
        # no power flow: worse than anything else, but comparable, which nan is not
        return np.nan_to_num(found, nan=HOPELESS)

    def excess(self, batch: Evaluated) -> Float:
        """How far each limit is exceeded beyond what is allowed, shape (candidate, limit) [pu]."""
        steps, count = self.scene.steps, len(batch.ev_kw)
        voltage_pu = np.abs(batch.voltage_v[:, :steps]) / batch.nominal_v
        parts = [voltage_pu - self._high_pu] if np.isfinite(self._high_pu) else []
        parts += [self._low_pu - voltage_pu] if self._low_pu > 0.0 else []
        phases = np.abs(_with_neutral(batch.loading_a[:, :steps]))
        parts.append((phases / self._most_a)[:, :, self._rated] - 1.0)
        flat = [np.nan_to_num(np.concatenate(parts, axis=2).reshape(count, -1), nan=HOPELESS)]
        if np.isfinite(self._ramp_kw):
            rises = rises_kw(batch.net_kw, self.scene) / self._ramp_kw
            flat += [rises - 1.0, -rises - 1.0]
        return np.hstack(flat) - self.allowed

    def near(self, kw: Float, *, first: bool = False) -> tuple[Slopes, Float, Float]:
        """What the network is to first order near powers.

        Parameters
        ----------
        kw : ndarray, shape (variable,)
            The powers.
        first : bool
            Whether a roof that the sun does not fill in a step counts with what its limit would allow wherever that is
            on the safe side: lowering the limit helps in other steps too, which no slope at this point says.

        Returns
        -------
        slopes : Slopes
            For the objectives.
        margin : ndarray, shape (limit,)
            `excess`.
        rise : ndarray, shape (variable, limit)
            Its slope.
        """
        space, scene, roof = self.space, self.scene, self.space.roof
        ev_kw, pv_kw = space.powers(kw[None, :])
        points, steps = ev_kw.shape[1], scene.steps
        homes, own = np.unique(space.customer, return_inverse=True)
        more_kw = np.zeros((1 + len(homes), points, ev_kw.shape[2]))
        more_kw[1 + np.arange(len(homes)), :, homes] = STEP_KW
        batch = self.solved(ev_kw + more_kw, np.broadcast_to(pv_kw, more_kw.shape))
        at = self.solved(ev_kw, pv_kw)

        # what a variable moves at its own customer: of cars by difference, as what is due can end within a step
        down = np.where(kw >= STEP_KW, -STEP_KW, STEP_KW)
        moved_kw, _ = space.powers(kw + np.diag(np.where(roof, 0.0, down)))
        cars_kw = (moved_kw - ev_kw) / down[:, None, None]
        mine = np.pad(scene.period, (0, points - steps), constant_values=-1) == space.period[:, None]
        mine &= roof[:, None]
        sun_kw = scene.sun_kw[:, space.customer].T
        # a roof that the sun does not fill gives a share of its limit: the slope of the chord from nothing
        share = np.minimum(np.divide(sun_kw, kw[:, None], out=np.ones_like(sun_kw), where=kw[:, None] > 0.0), 1.0)
        roofs_kw = np.where(mine, share, 0.0)[..., None] * np.eye(ev_kw.shape[2])[space.customer][:, None, :]
        change_kw = (cars_kw - roofs_kw).sum(axis=2)

        def slope(values: Complex) -> Complex:
            by_home = (values[1:] - values[:1]) / STEP_KW
            return np.asarray(by_home[own] * change_kw.reshape(*change_kw.shape, *[1] * (values.ndim - 2)))

        slopes = Slopes(
            at, kw, space, cars_kw, roofs_kw, cars_kw - roofs_kw,
            *map(slope, (batch.voltage_v, batch.drawn_a, batch.current_a)),
        )  # fmt: skip
        excess = self.excess(batch)
        margins = excess[:, : excess.shape[1] - self._ramps].reshape(len(excess), steps, -1)
        by_home = (margins[1:] - margins[0]) / STEP_KW  # (home, step, limit)
        filled = mine & (kw[:, None] <= sun_kw + 1e-9)
        moves_kw = (cars_kw.sum(axis=2) - filled)[:, :steps, None]
        per_home = by_home[own]
        rise, margin = per_home * moves_kw, margins[0]
        if first:
            allowed = (mine & ~filled)[:, :steps, None] & (per_home < 0.0)
            rise = np.where(allowed, -per_home, rise)
            unfilled_kw = np.where(allowed, (kw[:, None] - sun_kw)[:, :steps, None], 0.0)
            margin = margin - (unfilled_kw * per_home).sum(axis=0)
        margin, rise = margin.ravel(), rise.reshape(len(kw), -1)
        if self._ramps:
            rises = rises_kw(slopes.net_kw, scene, 0.0) / self._ramp_kw
            margin = np.append(margin, self.excess(at)[0, -self._ramps :])
            rise = np.hstack([rise, rises, -rises])
        return slopes, margin, rise


def _with_neutral(current_a: Complex) -> Complex:
    """The three phases, and what they leave over."""
    return np.concatenate([current_a, current_a.sum(axis=-1, keepdims=True)], axis=-1)
