"""Settings, wiring and the commands."""
