"""What adapters share of the system: clock, ids and randomness, and the nodes that there are."""
