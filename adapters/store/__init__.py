"""The log, by storage technology."""
