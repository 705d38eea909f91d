"""Prices at charging stations: what an operator earns when drivers choose by cost and by time.

The slides of seed 004 give a model and an algorithm, and no numbers. Here is a small instance whose answers are all
known, any other instance, the exact optimum where it can be had, and the slides' algorithm beside it.
"""
