"""Broken inputs through every door of the product, and what must become of each: ``python -m tests.border``."""
