"""Adapters built as the settings say: what the container calls."""
