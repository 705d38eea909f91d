"""Entry point: loads the command line so that an interruption while loading is no traceback either."""

from __future__ import annotations

import os
import sys

from cosim.experiments import memory_limit_mb

# Before any linear algebra is loaded: a second thread makes the small products of this work slower on a busy machine,
# up to a hundred times. Whoever sets the variable knows better.
for _library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")


_LEAST_MB = 1200
"""Of addresses, which the libraries map before the first step; with less, some crash and OpenBLAS waits for ever."""


def main() -> None:
    """Run ``cosim``."""
    _refuse_too_little_memory()
    try:
        from cosim.experiments.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.exit(130)


def _refuse_too_little_memory() -> None:
    limit_mb = memory_limit_mb()
    if limit_mb is not None and limit_mb < _LEAST_MB:
        needed = f"cosim needs {_LEAST_MB} MB or more → raise the limit (ulimit -v)"
        sys.stderr.write(f"error: the limit of memory, {limit_mb} MB, is too low: {needed}\n")
        sys.exit(3)


if __name__ == "__main__":
    main()
