"""Users who are erased."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from domain.model import Erasure, UserId


class Erasures(Protocol):
    """Everything here raises StoreUnavailable where the store cannot do it at the moment."""

    async def begin_erasure(self, user: UserId, id_: str, at: datetime) -> Erasure:
        """Begin to erase a user, or answer with the last erasure of them that is running, where nothing of them has
        come since: what is stored before the answer is gone once that is done. Several erasures of one user may run.

        From then on the user is one who was never seen: what was published for them, what they did to it and up to
        where they have read is in no list, count, replay or report. The log says so by the control EraseUser. What was
        for them alone loses its content, and what was for others, too, loses their name; places in the log stay, so
        that offsets have no gap. A cursor from before it is TRIMMED for them. What somebody publishes again under an id
        or key of before is a duplicate, or a conflict where its content is other, as it was.

        The bytes themselves go in small steps, beside the trimming of the log, and go on after a restart. A block and
        a revocation stand as before: they keep somebody out.
        """

    async def erased_at(self, user: UserId) -> int:
        """As of which offset a user was erased last, as far as that is remembered; 0 for one who never was."""

    async def erasure(self, id_: str) -> Erasure | None:
        """One that was begun; None for what is none, or was done so long ago that it is forgotten."""
