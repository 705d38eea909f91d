"""Entry point: loads the command line so that an interruption while loading is no traceback either."""

from __future__ import annotations

import os
import sys

# Before any linear algebra is loaded: a second thread makes the small products of this work slower on a busy machine,
# up to a hundred times. Whoever sets the variable knows better.
for _library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")


def main() -> None:
    """Run ``cosim``."""
    try:
        from cosim.experiments.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
