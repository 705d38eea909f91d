"""The intake check: what a circuit is, what is odd about it, and how far runs are from OpenDSS's own solution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cosim import plugins
from cosim.contract import AsIs, Complex, Feeder, Finding, Float, branch_losses_kw
from cosim.errors import InputError
from cosim.feeders.find import find
from cosim.feeders.findings import grouped
from cosim.feeders.read import load

AS_IS = "cosim.opendss:as_is"
MISSPELT = "cosim.dss_files:misspelt"
REPAIRED = "cosim.dss_files:repaired_case"
"""Who solves a file as it is, and who knows its files: imported only when needed."""

_ALIKE_V = 0.01
"""Smaller differences say nothing: meters and statutory limits have coarser steps."""
_LARGE_SHARE = 0.01
"""Of the voltage there: what decides over bands of 10 percent."""
_ALIKE_LOSSES = 0.01
"""Share by which losses may differ."""


@dataclass(frozen=True, eq=False)
class Intake:
    """The answer of an intake check.

    Attributes
    ----------
    feeder : Feeder
        The place.
    as_is : AsIs
        OpenDSS's own solution of its file.
    findings : tuple of Finding
        The feeder's, then those of the comparison.
    losses_kw : float
        Of lines and transformers as runs have it, at the file's own loads [kW].
    """

    feeder: Feeder
    as_is: AsIs
    findings: tuple[Finding, ...]
    losses_kw: float

    @property
    def largest_difference(self) -> tuple[float, str]:
        """Largest difference of a node's voltage from OpenDSS's own solution [V], and where; nan where one failed."""
        return _largest(self.feeder, self.as_is.voltage_v, self.as_is.model_v)

    def facts(self) -> dict[str, Any]:
        """Return all of it as plain data, for scripts."""
        feeder, solved = self.feeder, self.as_is
        volts, node = self.largest_difference
        return {
            "name": feeder.name,
            "circuit": str(feeder.master),
            "nodes": len(feeder.network.node_names),
            "customers": len(feeder.customers),
            "customer_names": dict(zip(feeder.customers, feeder.customer_names, strict=False)),
            "customer_types": dict(zip(feeder.customers, feeder.customer_types, strict=False)),
            "load_kw": float(feeder.load_kw.sum()),
            "areas": [
                asdict(area)
                | {"customers": [feeder.customers[row] for row in area.customers], "buses": len(area.buses)}
                for area in feeder.areas
            ],
            "findings": [asdict(one) for one in self.findings],
            "largest_voltage_difference_v": volts,
            "largest_voltage_difference_at": node,
            "as_is": {
                "converged": solved.converged,
                "iterations": solved.iterations,
                "control_iterations": solved.control_iterations,
                "losses_kw": solved.losses_kw,
                "taps": {name: list(moved) for name, moved in solved.taps.items()},
            },
            "losses_kw": self.losses_kw,
        }


def examine(name_or_path: str | Path, *, fix_case: bool = False) -> Intake:
    """Load a feeder and check it in.

    Parameters
    ----------
    name_or_path : str or Path
        As of ``feeders.load``.
    fix_case : bool
        Whether to read a copy in which files have the names that the circuit asks for, where those that are there
        differ in capital letters. Nothing in the circuit's own folder is written.

    Returns
    -------
    Intake
        With every finding.

    Raises
    ------
    InputError
        As ``feeders.load``, and where OpenDSS crashes on the file's own solution.
    """
    master = find(name_or_path)
    if not fix_case:
        found = check_in(load(name_or_path))
        text = "asks for {}, but the file is {}, which Linux takes for another: write the same, or use --fix-case"
    else:
        with plugins.shipped(REPAIRED)(master, beside=("feeder.toml",)) as copy:
            found = check_in(load(copy))
        found = replace(found, feeder=replace(found.feeder, master=master))
        text = "asks for {}; {} was read in its place (--fix-case)"
    wrong = [
        Finding("file_name_case", master.name, text.format(name, there), "note" if fix_case else "warning")
        for name, there in plugins.shipped(MISSPELT)(master).items()
    ]
    return replace(found, findings=(*found.findings, *wrong))


def check_in(feeder: Feeder) -> Intake:
    """Compare a feeder with OpenDSS's own solution of its file.

    Parameters
    ----------
    feeder : Feeder
        As loaded, without changes.

    Returns
    -------
    Intake
        With every finding.

    Raises
    ------
    InputError
        Where OpenDSS crashes on the file's own solution.
    """
    solved: AsIs = plugins.shipped(AS_IS)(feeder)
    losses_kw = float(branch_losses_kw(feeder.network.branches, solved.model_v[None]).sum())
    return Intake(feeder, solved, (*feeder.findings, *_compared(feeder, solved, losses_kw)), losses_kw)


def refused_facts(error: InputError) -> dict[str, Any]:
    """Return a refusal as `Intake.facts` would: findings that are errors, and nothing else."""
    findings = [asdict(Finding("refused", fault.key, str(fault), "error")) for fault in error.faults]
    return {"areas": [], "findings": findings, "largest_voltage_difference_v": None}


def _largest(feeder: Feeder, one: Complex, other: Complex) -> tuple[float, str]:
    apart: Float = np.abs(np.abs(one) - np.abs(other))
    if not np.isfinite(apart).any():
        return float("nan"), ""
    row = int(np.nanargmax(apart))
    return float(apart[row]), feeder.network.node_names[row]


def _compared(feeder: Feeder, solved: AsIs, losses_kw: float) -> Iterator[Finding]:
    if not solved.converged:
        words = solved.said or f"no solution after {solved.iterations} iterations"
        if solved.converged_at_last:
            words += "; with 100 iterations allowed it does"
        yield Finding("as_is_not_converged", "", f"OpenDSS does not solve the file as it is: {words}")
    if np.isnan(solved.model_v).all():
        text = "runs find no solution at the file's own loads held at constant power: the loads are too large"
        if solved.converged:
            text += ', or meant to follow the voltage ([households] load_model = "file")'
        yield Finding("model_not_converged", "", text)
        return
    if solved.load_multiplier != 1:
        text = f"the file multiplies its loads by {solved.load_multiplier:g} (LoadMult), runs do not"
        yield Finding("load_multiplier", "", text, "note")
    if solved.taps:
        moved = [f"{name} {before:.5g} to {after:.5g}" for name, (before, after) in solved.taps.items()]
        text = f"the file's own controls move {len(moved)} taps, in runs they stay: {grouped('', moved)}"
        yield Finding("taps_move", grouped("Transformer", solved.taps), text, "note")
    steps = (
        ("difference_controls", "the file's controls, which runs leave out", solved.voltage_v, solved.frozen_v),
        ("difference_load_models", "load models and bands, constant power in runs", solved.frozen_v,
         solved.constant_power_v),
        ("difference_other", "something else: load multiplier, status, shapes or sources", solved.constant_power_v,
         solved.model_v),
    )  # fmt: skip
    for code, why, before, after in steps:
        volts, node = _largest(feeder, before, after)
        if volts > _ALIKE_V:
            text = f"{volts:.2f} V at {node} come from {why}"
            share = volts / abs(before[feeder.network.node_names.index(node)])
            yield Finding(code, f"Bus.{node}", text, "warning" if share > _LARGE_SHARE else "note")
    if abs(losses_kw - solved.losses_kw) > max(_ALIKE_LOSSES * abs(solved.losses_kw), 1e-3):
        text = (
            f"lines and transformers lose {losses_kw:.4g} kW in runs, all elements {solved.losses_kw:.4g} kW as it is"
        )
        yield Finding("difference_losses", "", text, "note")
