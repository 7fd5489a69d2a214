"""What waits to be published in the database of an application."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Protocol

from domain.model import Appended, Draft, Incoming


class Outbox(Protocol):
    """What applications publish in transactions of their own waits here, from their commit on, to be taken over.

    Any number of servers may do it at once. Everything here raises StoreUnavailable.
    """

    def waiting(self) -> AsyncGenerator[Sequence[Incoming], None]:
        """What waits, in order, in batches, for ever; a ``resume_id`` names an item here.

        Of a transaction all is there at once, in the order of its calls; what was published after another transaction
        had been committed comes behind what that one published. Asking for the next batch says that each item of the
        one before was taken over or parked. Whoever stops asking closes the generator.
        """

    async def take_over(self, drafts: Mapping[str, Draft]) -> Mapping[str, Appended]:
        """Store the drafts of items, in order, and take the items out of here, in one commit; what became of each.

        What is a conflict, as ``Log.append`` has it, is not stored, and waits on. An item that another server has taken
        is not stored and has no outcome. Raises TooManyScheduled as ``Log.append`` does.
        """

    async def park(self, reasons: Mapping[str, str]) -> Collection[str]:
        """Set items aside, each with why it cannot be published; those that waited until then."""
