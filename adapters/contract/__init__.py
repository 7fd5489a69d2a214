"""The public JSON, both ways."""
