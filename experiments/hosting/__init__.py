"""Hosting capacity of feeders, with and without control, and beside what reinforcing them would do."""
