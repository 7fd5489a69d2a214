"""Adapters plug the world into the domain: one folder a port, one file a technology."""
