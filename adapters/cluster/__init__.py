"""Several servers that serve from one store: what they know of one another, and sessions that one holds for all."""
