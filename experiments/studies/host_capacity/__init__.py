"""Household caps under a transformer limit: ``cosim reproduce host_capacity``."""
