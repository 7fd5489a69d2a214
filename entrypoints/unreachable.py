"""What is said of a server that cannot be reached."""

from __future__ import annotations


def reason_of(error: Exception) -> str:
    """In one line, and never empty: a time-out has no words of its own."""
    words = " ".join(str(error).split())
    return words or ("no answer came in time" if isinstance(error, TimeoutError) else type(error).__name__)
