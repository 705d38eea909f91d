"""What the answer depends on: ``cosim reproduce sensitivity``."""
