"""Clients in the same process, for tests and other programs."""
