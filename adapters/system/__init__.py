"""Clock, ids and randomness of the system."""
