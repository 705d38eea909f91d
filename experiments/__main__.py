"""Entry point: loads the command line so that an interruption while loading is no traceback either."""

from __future__ import annotations

import sys


def main() -> None:
    """Run ``cosim``."""
    try:
        from cosim.experiments.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
