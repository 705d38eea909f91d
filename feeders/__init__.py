"""Places: the feeders that are shipped, and any OpenDSS feeder that a user brings."""

from cosim.feeders.read import GROUP, is_installed, load, names, title

if not __name__.startswith("cosim."):  # from the project's root a second copy of every class would load
    raise ImportError("import cosim.feeders, not feeders")

__all__ = ["GROUP", "is_installed", "load", "names", "title"]
