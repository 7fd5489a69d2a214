"""What is said of a server that cannot be reached."""

from __future__ import annotations

import aiohttp

from adapters.http.unreachable import why_unreachable


def reason_of(error: Exception) -> str:
    """In one line, and never empty: a time-out has no words of its own."""
    said = why_unreachable(error) if isinstance(error, aiohttp.ClientConnectorError) else str(error)
    words = " ".join(said.split())
    return words or ("no answer came in time" if isinstance(error, TimeoutError) else type(error).__name__)
