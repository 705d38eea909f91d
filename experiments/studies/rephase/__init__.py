"""Which customers to connect to another phase: ``cosim rephase``."""
