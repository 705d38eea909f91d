"""PowerTrip on other feeders: what adding roofs did, what control does, and what the index does not see."""
