"""The charge-point operator's plan as a command: demand read or made, results written and drawn."""
