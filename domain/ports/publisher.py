"""What the domain offers to whoever takes notifications from backends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from domain.errors import InvalidPublication
from domain.model import Appended, Publication


class Publisher(Protocol):
    """What the domain offers to whoever takes notifications from backends."""

    async def publish(
        self,
        publications: Sequence[Publication | InvalidPublication],
        *,
        by: str = "",
        idempotency_key: str | None = None,
        by_index: bool = False,
        traceparent: str | None = None,
    ) -> Sequence[Appended]:
        """Store all or none. Returned means stored as durably as the store promises.

        ``by`` is who publishes and ``traceparent`` the trace that they do it in, both for operators.
        What could not be read stands in its place as what is wrong with it, so that all that is wrong is said at once.
        Raises InvalidPublication, PublicationTooLarge or PublicationConflict, naming the bad ones by their index where
        there are several or ``by_index`` asks for it; TooManyScheduled, StoreUnavailable or ShuttingDown, and then
        nothing was stored.
        """
