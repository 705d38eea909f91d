"""PowerTrip on other feeders: what adding PV did, what control does, and what the index does not see."""
