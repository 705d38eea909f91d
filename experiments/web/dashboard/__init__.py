"""The dashboard of ``cosim serve``: planner, feeder and studies in a browser, on the application of the interface."""

from cosim.experiments.web.dashboard.shell import attach

__all__ = ["attach"]
