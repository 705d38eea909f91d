"""Questions: scenarios, composition, command line, comparison, figures, report, benchmarks."""

from __future__ import annotations

import sys

if not __name__.startswith("cosim."):  # from the project's root a second copy of every class would load
    raise ImportError("import cosim.experiments, not experiments")

DEFAULT = "european_lv_may_day"
"""The scenario that runs where none is named."""


def memory_limit_mb() -> int | None:
    """Return what ``ulimit -v`` allows this process [MB]; None where that is everything."""
    if sys.platform == "win32":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit // 2**20
