"""How the power of a load follows its voltage: the eight models of OpenDSS, for all loads of a feeder at once.

Every formula is that of the engine's ``Load`` (EPRI, OpenDSS Reference Guide, "Load"), per unit of the load's own rated
voltage. With ``v`` the voltage across the load over its rated voltage, a load draws of its rated power

* constant impedance ``v**2``, constant current ``v``, constant power ``1`` within ``vminpu < v <= vmaxpu``;
* above, what the impedance draws that takes the same current at ``vmaxpu``;
* below ``vlowpu`` what its rated impedance draws (``v**2``), and between ``vlowpu`` and ``vminpu`` the current is
  interpolated (models 6 and 7 go on as the impedance that takes the power at ``vminpu``).

Models 3, 4 and 6 follow powers of ``v`` within the band only; the ZIP shares of model 8 mix the three.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cosim.network import Complex, Float, Int

CONSTANT_POWER = 1
OWN_KVAR = (6, 7)
"""Whose reactive power no shape changes."""
ZIP = 8
WIDE_BAND_PU = (0.5, 1.5)
"""In which a load is given any model that is not the file's own; beyond it there is no sound power flow."""

_Z, _I, _P = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
_SHARES = {1: (_P, _P), 2: (_Z, _Z), 3: (_P, _P), 4: (_P, _P), 5: (_I, _I), 6: (_P, _Z), 7: (_P, _Z)}
"""Of models without shares of their own: those of P and of Q."""
_POWERS = {3: (0.0, 2.0), 6: (0.0, 0.0)}
"""Within the band; model 4 has its own."""
_DROP_OUT_STEEPNESS = 500.0


@dataclass(frozen=True, eq=False)
class LoadLaws:
    """The models of all loads of a feeder.

    Attributes
    ----------
    model : ndarray of int, shape (customer,)
        OpenDSS load model, 1 to 8.
    base_v : ndarray, shape (customer,)
        Rated voltage of each of its ports [V].
    band_pu : ndarray, shape (customer, 3)
        ``vlowpu``, ``vminpu`` and ``vmaxpu``.
    exponents : ndarray, shape (customer, 2)
        ``CVRwatts`` and ``CVRvars``, of model 4.
    zipv : ndarray, shape (customer, 7)
        Of model 8: shares of impedance, current and power of P, the same of Q, and the voltage below which it drops
        out [pu].
    """

    model: Int
    base_v: Float
    band_pu: Float
    exponents: Float
    zipv: Float

    @classmethod
    def of_zip(cls, base_v: Float, p: Sequence[float], q: Sequence[float]) -> LoadLaws:
        """Give all loads the same shares of impedance, current and power, in the widest band."""
        count = len(base_v)
        return cls(
            model=np.full(count, ZIP),
            base_v=base_v,
            band_pu=np.tile((WIDE_BAND_PU[0], *WIDE_BAND_PU), (count, 1)),
            exponents=np.zeros((count, 2)),
            zipv=np.tile((*p, *q, 0.0), (count, 1)),
        )

    @property
    def varying(self) -> NDArray[np.bool_]:
        """Which loads are anything but constant power in the band that is solved for, shape (customer,)."""
        wide = (self.band_pu[:, 1] <= WIDE_BAND_PU[0]) & (self.band_pu[:, 2] >= WIDE_BAND_PU[1])
        return np.asarray(~wide | (self.model != CONSTANT_POWER))

    def drawn(self, customer: Int, across_v: Complex) -> tuple[Float, Float]:
        """Active and reactive power over the rated one.

        Parameters
        ----------
        customer : ndarray of int, shape (port,)
            Load of every port.
        across_v : ndarray of complex, shape (port,)
            Voltage across it [V].

        Returns
        -------
        tuple of ndarray, shape (port,)
            Of P and of Q.
        """
        pu = np.abs(across_v) / self.base_v[customer]
        low, least, most = self.band_pu[customer].T
        with np.errstate(divide="ignore", invalid="ignore"):  # bands of no width, which no voltage is in

            def between(at_least: Float | float) -> Float:
                return np.asarray(pu * (low + (at_least - low) * (pu - low) / (least - low)))

            where = [pu <= low, pu <= least, pu > most]
            highest = np.where(most > 0.0, most, 1.0)  # vmaxpu = 0 is the rated impedance at any voltage
            below = np.where(np.isin(self.model, OWN_KVAR)[customer], (pu / least) ** 2, between(1.0 / least))
            current = np.select(where, [pu**2, between(1.0), pu**2 / highest], pu)
            power = np.select(where, [pu**2, below, (pu / highest) ** 2], 1.0)
        parts = np.stack([pu**2, current, power], axis=1)
        drawn = np.einsum("pqz,pz->pq", self._shares[customer], parts)
        inside = ~np.any(where, axis=0)[:, None] & self._by_powers[customer, None]
        drawn = np.where(inside, pu[:, None] ** self._powers[customer], drawn)
        drawn *= 0.5 * (1.0 + np.tanh(_DROP_OUT_STEEPNESS * (pu - self._drop_out_pu[customer])))[:, None]
        drawn = np.where(where[0][:, None], pu[:, None] ** 2, drawn)
        return drawn[:, 0], drawn[:, 1]

    @cached_property
    def _shares(self) -> Float:
        """Of impedance, current and power in P and in Q, shape (customer, 2, 3)."""
        own = self.zipv[:, :6].reshape(-1, 2, 3)
        return np.array([own[k] if model == ZIP else _SHARES[model] for k, model in enumerate(self.model.tolist())])

    @cached_property
    def _by_powers(self) -> NDArray[np.bool_]:
        return np.isin(self.model, [4, *_POWERS])

    @cached_property
    def _powers(self) -> Float:
        own = self.exponents
        return np.array([own[k] if model == 4 else _POWERS.get(model, (0, 0)) for k, model in enumerate(self.model)])

    @cached_property
    def _drop_out_pu(self) -> Float:
        wanted = (self.model == ZIP) & (self.zipv[:, 6] > 0.0)
        return np.where(wanted, self.zipv[:, 6], -np.inf)
