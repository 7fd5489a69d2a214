"""Connections of clients, by technology."""
