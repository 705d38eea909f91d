"""A study of its own."""
