"""The optimum of a day: what could have been, with perfect knowledge of it, and a proof of what could not."""
