"""Studies: many worlds under many controllers, on as many processors as there are, and nothing lost."""

FOLDER = "results.parquet"
"""Of a study: the parts of its dataset lie in it."""
