"""The connection policy of synkrone-socket: authenticate, route to room, deliver.

Nothing in this package performs I/O, starts a task, sleeps or reads a clock by itself.
"""
