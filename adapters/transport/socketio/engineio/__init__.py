"""Engine.IO v4 for Tornado: a session as a pure state machine, and the thin shell that does its I/O."""
