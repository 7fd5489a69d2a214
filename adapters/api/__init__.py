"""The HTTP routes, thin."""
