"""Places: the feeders that are shipped, and any OpenDSS feeder that a user brings."""

from typing import TYPE_CHECKING

from cosim.feeders.find import GROUP, check, is_installed, names
from cosim.lazy import exports

if TYPE_CHECKING:
    from cosim.feeders.read import load, title

if not __name__.startswith("cosim."):  # from the project's root a second copy of every class would load
    raise ImportError("import cosim.feeders, not feeders")

__all__ = ["GROUP", "check", "is_installed", "load", "names", "title"]

__getattr__ = exports(__name__, __file__)
