"""A charge-point operator plans a day: ``cosim reproduce cpo_planner``."""
