"""Witnesses: other ways to the same answer, for tests alone. They import the product by its public doors only."""
