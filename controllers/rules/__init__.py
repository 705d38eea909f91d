"""Controllers that follow a rule: no solver, no plan of the network. What every result is compared with."""
