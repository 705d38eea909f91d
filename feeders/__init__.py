"""Places: the feeders that are shipped, and any OpenDSS feeder that a user brings."""

from feeders.read import load, names, title

__all__ = ["load", "names", "title"]
