"""Multi-objective dispatch: a front for every control period."""
