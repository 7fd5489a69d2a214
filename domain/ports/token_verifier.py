"""Who a user's token speaks for."""

from __future__ import annotations

from typing import Protocol

from domain.model import Identity


class TokenVerifier(Protocol):
    async def verify(self, token: str) -> Identity:
        """Who the token speaks for, whatever the type of user.

        Raises InvalidToken for every token that is not good, TokenExpired for one that only is too old, and
        KeysUnavailable where the keys cannot be had; nothing else, whatever the token holds.
        """
