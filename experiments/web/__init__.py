"""``cosim serve``: plans, runs and studies over HTTP, and their dashboard."""
