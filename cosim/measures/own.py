"""Measures of others: functions from a trajectory to named figures, from files, modules and installed packages."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

from cosim import plugins
from cosim.errors import CosimError, Fault, InputError, collecting, kind_and_text, refuse
from cosim.trajectory import Trajectory

GROUP = "cosim.metrics"
"""Entry points by which installed packages offer measures; those are taken of every run."""

OwnMetric = Callable[[Trajectory], Mapping[str, float]]


def find_own(wanted: Sequence[str]) -> dict[str, OwnMetric]:
    """Find the measures of others, by name or target.

    Parameters
    ----------
    wanted : sequence of str
        Targets (``my_metrics.py:neutral_energy``), or names of installed ones.

    Raises
    ------
    InputError
        With every wanted one that is not there, cannot be imported, or is no function.

    Warns
    -----
    UserWarning
        Of every one that is installed but not wanted, and does not work: it is left out.
    """
    found: dict[str, OwnMetric] = {}
    faults: list[Fault] = []
    for name in dict.fromkeys([*plugins.offered(GROUP), *wanted]):
        broken: list[Fault] = []
        with collecting(broken):
            function = plugins.load(plugins.target_for(GROUP, name, "metrics"), "metrics")
            if not callable(function):
                raise InputError(Fault("measures", "metrics", f"'{name}' is no function", "name a function"))
            found[name] = function
        if name in wanted:
            faults.extend(broken)
        else:  # whoever did not ask for it can do nothing about it in the scenario
            for fault in broken:
                warnings.warn(f"the installed measure '{name}' is left out: {fault}", stacklevel=2)
    refuse(faults)
    return found


def measure_own(run: Trajectory, wanted: Sequence[str], board: dict[str, float]) -> list[CosimError]:
    """Add the measures of others to a scoreboard.

    Parameters
    ----------
    run : Trajectory
        What happened.
    wanted : sequence of str
        See `find_own`.
    board : dict of str to float
        Figures by name; takes those of every function that works.

    Returns
    -------
    list of CosimError
        What was not found, failed, returned anything but numbers by name, or a name that is taken.
    """
    try:
        functions = find_own(wanted)
    except CosimError as error:
        return [error]
    failed = []
    for name, function in functions.items():
        try:
            figures = {str(key): float(value) for key, value in function(run).items()}
        except (Exception, SystemExit) as error:
            failed.append(CosimError(f"metrics: '{name}' failed: {kind_and_text(error)}"))
            failed[-1].__cause__ = error
            continue
        twice = sorted(board.keys() & figures.keys())
        if twice:
            problem = f"returns {', '.join(twice)}, which is measured already: use other names"
            failed.append(CosimError(f"metrics: '{name}' {problem}"))
        else:
            board |= figures
    return failed
