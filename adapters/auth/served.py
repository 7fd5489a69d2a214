"""What the server asks of a verifier that it runs, beside the domain's port."""

from __future__ import annotations

from typing import Protocol

from domain.ports import TokenVerifier


class ServedVerifier(TokenVerifier, Protocol):
    """A TokenVerifier that can be looked after."""

    @property
    def fault(self) -> str | None:
        """The code of what is wrong while it is known that no token at all could be verified."""

    async def close(self) -> None:
        """End what runs in the background; nothing is verified from then on."""
