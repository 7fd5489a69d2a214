"""What the server needs of a store that it runs, beside the domain's port."""

from __future__ import annotations

from typing import Protocol

from domain.errors import SynkroneError
from domain.ports import Store


class StoreUnusable(SynkroneError):
    code = "store_unusable"
    title = "The store cannot be opened."


class ServedStore(Store, Protocol):
    @property
    def place(self) -> str:
        """What it is and where, as a URL for operators; without credentials."""

    def check(self) -> str | None:
        """Whether ``open`` would succeed, without doing it: None, or what stands in its way for the moment only.

        Raises SynkroneError, with what is wrong in one line. Not while it is open.
        """

    def migrate(self) -> str:
        """Bring what is stored into the form of today; what was done, in a few words.

        Raises SynkroneError, with what is wrong in one line. Not while it is open.
        """

    async def open(self) -> None:
        """Make it usable. Raises SynkroneError, with what is wrong in one line."""

    async def close(self) -> None:
        """Finish what was begun, and let go of the store."""

    async def tidy(self) -> bool:
        """One small step of removing what need not be kept; whether there is more. Raises StoreUnavailable."""
