"""How the log reaches connections: each entry once, in order, whatever becomes of the connection."""
