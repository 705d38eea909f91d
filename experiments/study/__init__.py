"""Studies: many worlds under many controllers, on as many processors as there are, and nothing lost."""
