"""Least withheld energy of cars that share limits: the problem in rows, its bound by prices, its plans."""
