"""Unbalance for people: every index at every bus and line, where the worst is, and who causes it."""
