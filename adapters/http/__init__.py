"""HTTP: listening, connections, who is at the other end."""
