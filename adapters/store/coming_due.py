"""What comes due, in a store that is a database."""

from __future__ import annotations

from typing import Final

DUE_BYTES: Final = 2 * 1024 * 1024
"""So much comes into the log at once of what was scheduled, payloads and names of rooms, and so much of what was
snoozed, payloads alone."""
