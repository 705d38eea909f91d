"""What binds at a step of a run, in words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cosim.experiments.web.dashboard.feeder_place import Place

Single = NDArray[np.float32]


def binding_words(place: Place, voltage_pu: Single, line_percent: Single, transformer_percent: float) -> str:
    """Say what passes its limit at a step, the worst of each kind; where nothing does, what comes nearest."""
    told, near = [], []
    limits = place.customer_limits_pu
    for word, beyond, limit in (
        ("above", voltage_pu - limits[:, 1], limits[:, 1]), ("below", limits[:, 0] - voltage_pu, limits[:, 0]),
    ):  # fmt: skip
        if not np.isfinite(beyond).any():
            continue
        worst, many = int(np.nanargmax(beyond)), int((beyond > 0.0).sum())
        volts = f"{place.customers[worst]} at {voltage_pu[worst] * place.customer_v[worst]:.1f} V"
        if many:
            told.append(
                f"{many} of {len(limits)} homes {word} {limit[worst] * place.customer_v[worst]:.5g} V, worst {volts}"
            )
        near.append((float(beyond[worst]), volts))
    if np.isfinite(line_percent).any():
        worst, many = int(np.nanargmax(line_percent)), int((line_percent > 100.0).sum())
        if many:
            lines = "line" if many == 1 else "lines"
            told.append(f"{many} {lines} above rating, worst {place.lines[worst]} at {line_percent[worst]:.0f} %")
        near.append((float(line_percent[worst]) / 100.0 - 1.0, f"{place.lines[worst]} at {line_percent[worst]:.0f} %"))
    if np.isfinite(transformer_percent):
        words = f"transformer at {transformer_percent:.0f} % of its rating"
        told += [words] if transformer_percent > 100.0 else []
        near.append((transformer_percent / 100.0 - 1.0, words))
    if told:
        return "; ".join(told)
    return f"no limit is passed; nearest is {max(near)[1]}" if near else "nothing has a limit"
