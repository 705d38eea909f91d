"""Questions: scenarios, composition, command line, comparison, figures, report, benchmarks."""

if not __name__.startswith("cosim."):  # from the project's root a second copy of every class would load
    raise ImportError("import cosim.experiments, not experiments")

DEFAULT = "european_lv_may_day"
"""The scenario that runs where none is named."""
