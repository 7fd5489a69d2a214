"""Socket.IO on Tornado."""
