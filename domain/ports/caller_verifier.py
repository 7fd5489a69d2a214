"""Which backend calls."""

from __future__ import annotations

from typing import Protocol

from domain.model import Caller


class CallerVerifier(Protocol):
    async def authenticate(self, credential: str) -> Caller:
        """Which backend a bearer credential (RFC 6750, section 2.1) belongs to.

        Raises Unauthenticated for an unknown one and KeysUnavailable where the keys cannot be had.
        """
