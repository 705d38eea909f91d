"""Resistance and reactance of lines per kilometre, from the admittances that the engine built."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from cosim.contract import Branch, Complex


def ohm_per_km(lines: Iterable[Branch]) -> dict[str, complex]:
    """Return the positive-sequence impedance of lines by name [ohm/km]; a line of one conductor has its own.

    Lines without length are left out, and those that are open at one end or have no impedance.
    """
    by_size: dict[int, list[Branch]] = defaultdict(list)
    for line in lines:
        if line.length_m > 0:
            by_size[len(line.nodes) // 2].append(line)
    found = {}
    for size, group in by_size.items():
        series = -np.stack([line.admittance_s[:size, size:] for line in group])
        usable = np.abs(np.linalg.det(series / np.abs(series).max(axis=(1, 2), initial=1e-12)[:, None, None])) > 1e-12
        impedance = np.full(series.shape, np.nan, complex)
        impedance[usable] = np.linalg.inv(series[usable])
        for line, z in zip(group, _positive(impedance), strict=True):
            if np.isfinite(z):
                found[line.name] = complex(z * 1e3 / line.length_m)
    return found


def _positive(impedance: Complex) -> Complex:
    """Mean own less mean mutual impedance, of each matrix of a stack."""
    size = impedance.shape[-1]
    own = np.einsum("lii->l", impedance) / size
    mutual = (impedance.sum(axis=(1, 2)) - own * size) / max(size * (size - 1), 1)
    return np.asarray(own - mutual)
