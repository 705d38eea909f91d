"""Tables of a scenario: what the place, the homes and their inputs are like."""
