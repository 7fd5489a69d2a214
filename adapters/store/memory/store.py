"""A log in memory: bounded, gone with the process, and in everything else a log like any other."""

from __future__ import annotations

from adapters.store.memory.amendments import MemoryAmendments
from adapters.store.memory.erasures import MemoryErasures
from adapters.store.memory.ledger import MemoryLedger
from adapters.store.memory.log import MemoryLog
from adapters.store.memory.recipients import MemoryRecipients
from adapters.store.memory.restrictions import MemoryRestrictions
from adapters.store.memory.topics import MemoryTopics


class MemoryStore(
    MemoryLog, MemoryLedger, MemoryRecipients, MemoryRestrictions, MemoryAmendments, MemoryErasures, MemoryTopics
):
    """A store for one process and one event loop.

    The oldest entries go when there are more than ``max_entries``, when they take more than about ``max_bytes`` of
    memory, and, as later ones come, when they are older than ``retention``; what was known of their ids and
    idempotency keys goes with them. They leave lists and counts by then, and at that age in any case. Of
    ``max_trimmed_rooms`` rooms it is remembered exactly what they lost; any other room is taken to have lost as much as
    the last one that was forgotten. Of more than ``max_users`` users the one who was not seen for the longest is
    forgotten, and is then a new one.

    As many as ``scheduled_most``, and no more than ``max_entries``, may wait in the schedule; an append of one more
    raises TooManyScheduled.

    An append that does not fit without trimming what a follower was not given yet raises StoreUnavailable. Where a
    conflict keeps a whole batch out, a duplicate of an entry of the log stays one, and what is WITHHELD has the
    position of the head.

    ``tail`` raises CursorRefused for a position from which the log cannot be continued, as ``read`` does for one
    from which some room cannot. Whoever leaves its loop other than by cancellation closes the iterator.
    """

    @property
    def place(self) -> str:
        """As in the setting ``store``."""
        return "memory://"

    def check(self) -> str | None:
        """Nothing can stand in its way."""
        return None

    def migrate(self) -> str:
        """Nothing is kept from one process to the next."""
        return "there is nothing to migrate"

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def tidy(self) -> bool:
        """Trim what has grown old."""
        self._trim_old()
        self._notes.trim(self._clock.now())
        self._schedule.forget(self._clock.monotonic() - self._retention)
        return self._erase_deleted()

    async def secret(self) -> bytes:
        return self._secret

    @property
    def silent_seconds(self) -> float:
        return 0.0

    def registry(self) -> None:
        """It is one server's own."""

    async def size(self) -> int:
        """About."""
        return self._tail.bytes

    async def ensure_writable(self) -> None:
        """It always is."""
